"""One candidate on one split, and what all of them have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sklearn.base import clone
from sklearn.pipeline import Pipeline


@dataclass(eq=False)
class Fit:
    """One candidate on one split, and what came of it.

    Attributes
    ----------
    candidate, split : int
        Their numbers in the search.
    parameters : dict
        What the candidate sets.
    estimator : estimator or None
        The candidate: unfitted at first, fitted once it is trained, None once nothing asks for it any more.
    last : estimator or None
        The same, or the last step of a pipeline.
    job : int
        The number of its job: fits that one thread or process does at a time.
    preprocessing : str
        Equal for fits of one split that share the fitted steps before the last one of a pipeline.
    is_prepared : bool
        Whether those steps are fitted.
    why_alone : str or None
        Why it cannot be trained side by side with others; None if it can.
    stack : int or None
        In which of its job's stacks it was trained; None if in none.
    seconds : float
        Time of the training; that of a stack is shared equally by its fits.
    error : str or None
        Why it failed.
    scores : dict or None
        What scikit-learn's search notes of a fit that is scored, with its keys; None until then.
    """

    candidate: int
    split: int
    parameters: dict
    estimator: object
    job: int = 0
    preprocessing: str = ""
    is_prepared: bool = False
    why_alone: str | None = None
    stack: int | None = None
    seconds: float = 0.0
    error: str | None = None
    scores: dict | None = None

    def __post_init__(self) -> None:
        self.use(self.estimator)

    def use(self, estimator) -> None:
        """Take another estimator, or let it go for None."""
        self.estimator, self.last = estimator, last_step(estimator)[1]

    @property
    def rows(self) -> str:
        """The name of the rows that its last step learns from, where steps before it make them."""
        return f"split {self.split}, after {self.preprocessing}"

    @property
    def has_preprocessing(self) -> bool:
        """Whether there are steps before the last one."""
        return isinstance(self.estimator, Pipeline) and len(self.estimator.steps) > 1

    def fail(self, reason: str) -> None:
        """Note why the fit failed, and of which candidate it is."""
        self.error = f"{reason}\nCandidate: {self.parameters}"

    def result(self) -> dict:
        """Return what scikit-learn's search notes of a fit."""
        return {"fit_error": self.error, "fit_time": self.seconds, **self.scores}


@dataclass(frozen=True)
class Protocol:
    """What all fits of a search have in common.

    Attributes
    ----------
    estimator : estimator
        What candidates are made of.
    splits : list of (train, test)
        Positions of rows.
    scorers : callable
        A scorer, or scikit-learn's of several metrics.
    fit_params, score_params : dict
        Parameters of the estimator's fit and of the scorer.
    error_score : "raise" or float
        Score of a fit that fails.
    return_train_score : bool
        Whether to score the training rows too.
    max_bytes : float
        Bound on the memory of one stack.
    verbose : int
        How much to print.
    resumes : bool
        Whether fits are trained on later, from where they were.
    """

    estimator: object
    splits: Sequence
    scorers: object
    fit_params: Mapping
    score_params: Mapping
    error_score: object
    return_train_score: bool
    max_bytes: float
    verbose: int
    resumes: bool = False

    def __sizeof__(self) -> int:
        """Return the bytes of all that it holds by rows: backends that send large arguments once go by this."""
        by_rows = [rows for split in self.splits for rows in split]
        by_rows += [*self.fit_params.values(), *self.score_params.values()]
        return object.__sizeof__(self) + sum(getattr(rows, "nbytes", 0) for rows in by_rows)


def with_parameters(estimator, parameters: Mapping):
    """Return a clone of the estimator with these parameters, of which estimators are cloned too."""
    return clone(estimator).set_params(**clone(parameters, safe=False))


def last_step(estimator) -> tuple[str, object]:
    """Return the prefix of its parameters and the last step of a pipeline, however nested; or "" and the estimator."""
    prefix = ""
    while isinstance(estimator, Pipeline):
        step, estimator = estimator.steps[-1]
        prefix += f"{step}__"
    return prefix, estimator
