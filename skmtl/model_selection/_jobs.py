"""One job of a search: fits that are trained side by side, or one that must be alone.

A job is what one thread or process does at a time. `prepare`, `do_job` and what stands below it need nothing but their
arguments, so any engine of joblib can run them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from traceback import format_exc

from sklearn.base import clone
from sklearn.metrics._scorer import _MultimetricScorer, _PassthroughScorer, _Scorer
from sklearn.model_selection._validation import _check_method_params, _score
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import _safe_split

from skmtl._base import BaseMultiTask
from skmtl.metrics import TaskScorer
from skmtl.model_selection._stack import (
    Stack,
    Table,
    TooLargeError,
    content_key,
    fit_stack,
    make_stacks,
    reading_key,
)
from skmtl.training import threads_for

Results = dict[tuple[int, int], dict]
"""What scikit-learn's `_fit_and_score` returns, by candidate and split."""


@dataclass(eq=False)
class Fit:
    """One candidate on one split."""

    candidate: int
    split: int
    parameters: dict
    estimator: object
    preprocessing: tuple = ()  # what fits of one split have in common to share it
    is_alone: bool = False
    seconds: float = 0.0
    error: str | None = None

    @property
    def last(self):
        """The estimator itself, or the last step of a pipeline."""
        return self.estimator.steps[-1][1] if isinstance(self.estimator, Pipeline) else self.estimator


@dataclass
class Job:
    """Fits that are trained side by side, or one that must be alone."""

    fits: list[Fit] = field(default_factory=list)
    alone: str | None = None
    prepared: dict[tuple, Prepared | None] = field(default_factory=dict)  # by split and preprocessing
    course: Course | None = None

    def keep(self, candidates: Collection[int]) -> None:
        """Go on with some candidates only."""
        self.fits = [fit for fit in self.fits if fit.candidate in candidates]
        if self.course.stacks is None:
            return
        for stack in self.course.stacks:
            stack.keep([fit.last for fit in self.fits])
        self.course.stacks = [stack for stack in self.course.stacks if stack.estimators]


@dataclass
class Course:
    """How far a job is trained that goes on from where it was when it is done again."""

    max_epochs: int  # in all
    epochs: int = 0  # by the end of the next time
    stacks: list[Stack] | None = None


@dataclass
class Prepared:
    """The fitted steps before the last one; the training rows that they give go beside it, for engines to share."""

    steps: list
    seconds: float


@dataclass(frozen=True)
class Protocol:
    """What all fits have in common.

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
        Whether to say why something is fitted one by one.
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

    def __sizeof__(self) -> int:
        """Return the bytes of all that it holds by rows: engines that send large arguments once go by this."""
        by_rows = [rows for split in self.splits for rows in split]
        by_rows += [*self.fit_params.values(), *self.score_params.values()]
        return object.__sizeof__(self) + sum(getattr(rows, "nbytes", 0) for rows in by_rows)


class Watch:
    """Which jobs the threads of this process are at, and whether they shall begin no more."""

    def __init__(self) -> None:
        self.interrupted = False
        self.running: set[int] = set()

    def __reduce__(self):
        return Watch, ()  # a worker process has no threads of ours to watch


def candidate(estimator, parameters: Mapping):
    """Return the estimator with these parameters."""
    return clone(estimator).set_params(**clone(parameters, safe=False))


def prepare(key: tuple, fit: Fit, X, y, train) -> tuple[tuple, Prepared | None, object]:
    """Fit the steps before the last one; None if that fails, which each fit will find out and tell for itself."""
    start = time.perf_counter()
    (name, _), steps = fit.estimator.steps[-1], copy(fit.estimator)
    steps.steps = [*fit.estimator.steps[:-1], (name, "passthrough")]  # a slice would not cache its last step
    X_train, y_train = _safe_split(fit.estimator, X, y, train)
    try:
        X_train = steps.fit_transform(X_train, y_train)
    except Exception:
        return key, None, None
    return key, Prepared(steps.steps[:-1], time.perf_counter() - start), X_train


def do_job(job: Job, X, y, protocol: Protocol, watch: Watch, *prepared_rows) -> Results:
    """Fit and score the fits of a job; nothing if the search has been interrupted meanwhile.

    Whatever is large is an argument of its own, which engines send once: X, y, the rows of each entry of
    `job.prepared`, and what all jobs have in common.
    """
    if watch.interrupted:
        return {}
    watch.running.add(id(job))
    try:
        with threads_for(0):
            rows = dict(zip(job.prepared, prepared_rows, strict=True))
            together = [] if job.alone is not None else _fit_together(job, X, y, protocol, rows)
            for fit in job.fits:
                fit.is_alone = fit not in together
                if fit.is_alone:
                    _fit_alone(fit, X, y, protocol)
            scoring = _Scoring(job, X, y, protocol)
            results = {(fit.candidate, fit.split): scoring.result(fit) for fit in job.fits}
        if job.course is None:
            for fit in job.fits:
                fit.estimator = None  # with its network
        return results
    finally:
        watch.running.discard(id(job))


def _fit_together(job: Job, X, y, protocol: Protocol, rows: Mapping[tuple, object]) -> list[Fit]:
    """Fit a stack; return those that were in it. Each of the others can tell for itself whose fault it is."""
    start = time.perf_counter()
    try:
        if job.course is None:
            errors = _fit_tables(_tables(job, X, y, protocol, rows), protocol)
        else:
            errors = _go_on(job, X, y, protocol, rows)
    except TooLargeError:
        raise
    except Exception as error:
        if protocol.verbose:
            print(f"One by one, for the {len(job.fits)} together raised: {error!r}")  # noqa: T201
        job.alone = "a stack of them cannot be fitted"
        return []
    together = [fit for fit in job.fits if id(fit.last) in errors]
    for fit in together:
        fit.seconds += (time.perf_counter() - start) / len(together)
        error = errors[id(fit.last)]
        fit.error = error and f"{error}\nCandidate: {fit.parameters}"
        if error and protocol.error_score == "raise":
            raise ValueError(fit.error)
    return together


def _fit_tables(tables: list[Table], protocol: Protocol) -> dict[int, str | None]:
    """Fit a stack; return by the id of each estimator in it why it could not be fitted, or None."""
    errors = fit_stack(tables, protocol.max_bytes)
    return dict(zip((id(estimator) for table in tables for estimator in table.estimators), errors, strict=True))


def _go_on(job: Job, X, y, protocol: Protocol, rows: Mapping[tuple, object]) -> dict[int, str | None]:
    """Do what `_fit_tables` does, as far as the course of the job says and from where it was."""
    course, errors = job.course, {}
    if course.stacks is None:
        course.stacks = make_stacks(_tables(job, X, y, protocol, rows), protocol.max_bytes)
    for stack in course.stacks:
        errors.update(stack.fit(course.epochs, course.max_epochs))
        stack.hand_out()
    return errors


def _tables(job: Job, X, y, protocol: Protocol, rows: Mapping[tuple, object]) -> list[Table]:
    """Return what the fits of a job learn from, table by table, but for what cannot be read."""
    tables = []
    for fits in _by_table(job.fits):
        key = (fits[0].split, fits[0].preprocessing)
        try:
            table = _table(fits, X, y, protocol, job.prepared.get(key), rows.get(key))
            table.read()
        except Exception as error:
            if protocol.verbose:
                print(f"One by one, for the rows of {len(fits)} fits cannot be read: {error!r}")  # noqa: T201
        else:
            tables.append(table)
    return tables


def _by_table(fits: Sequence[Fit]) -> list[list[Fit]]:
    """Return the fits that learn from equal rows, table by table."""
    tables: dict[tuple, list[Fit]] = {}
    for fit in fits:
        tables.setdefault(table_key(fit), []).append(fit)
    return list(tables.values())


def table_key(fit: Fit) -> tuple:
    """Return what fits that learn from equal rows have in common; it can be sorted by."""
    return fit.split, fit.preprocessing, reading_key(fit.last)


def _table(fits: list[Fit], X, y, protocol: Protocol, prepared: Prepared | None, rows) -> Table:
    """Return what the last steps of some fits read; `rows` is what the steps before it made of them."""
    first = fits[0]
    train, _ = protocol.splits[first.split]
    weight = _check_method_params(X, protocol.fit_params, train).get(weight_name(first))
    if not isinstance(first.estimator, Pipeline) or len(first.estimator.steps) == 1:
        return Table([fit.last for fit in fits], *_safe_split(first.estimator, X, y, train), weight)
    if prepared is None:
        raise ValueError("the preprocessing cannot be fitted")
    for fit in fits:
        fit.estimator.steps[:-1] = prepared.steps
        fit.seconds += prepared.seconds / len(fits)
    return Table([fit.last for fit in fits], rows, _safe_split(first.estimator, X, y, train)[1], weight)


def _fit_alone(fit: Fit, X, y, protocol: Protocol) -> None:
    start = time.perf_counter()
    train, _ = protocol.splits[fit.split]
    fit.estimator = candidate(protocol.estimator, fit.parameters)
    X_train, y_train = _safe_split(fit.estimator, X, y, train)
    try:
        fit.estimator.fit(X_train, y_train, **_check_method_params(X, protocol.fit_params, train))
    except Exception:
        if protocol.error_score == "raise":
            raise
        fit.error = f"{format_exc()}Candidate: {fit.parameters}"
    else:
        if isinstance(fit.last, BaseMultiTask) and fit.last.net_.interrupted_:
            raise KeyboardInterrupt  # the estimator took it for a wish to keep what it had learned
    fit.seconds = time.perf_counter() - start


class _Scoring:
    """Score the fits of a job; what the steps before the last one make of the rows of a split is made once."""

    def __init__(self, job: Job, X, y, protocol: Protocol) -> None:
        self.X, self.y, self.protocol = X, y, protocol
        self._shares = not protocol.score_params and _asks_last_step(protocol.scorers)
        self._n_fits = Counter((fit.split, fit.preprocessing) for fit in job.fits)
        self._shared: dict[bool, tuple] = {}  # by whether they are training rows: split and preprocessing, and rows

    def result(self, fit: Fit) -> dict:
        """Return what scikit-learn's `_fit_and_score` does."""
        train, test = self.protocol.splits[fit.split]
        test_scores, score_time = self._timed_scores(fit, test, train)
        result = {
            "fit_error": fit.error,
            "test_scores": test_scores,
            "n_test_samples": len(test),
            "fit_time": fit.seconds,
            "score_time": score_time,
        }
        if self.protocol.return_train_score:
            result["train_scores"], _ = self._timed_scores(fit, train, None)
        return result

    def _timed_scores(self, fit: Fit, rows, train) -> tuple[object, float]:
        """Score a fitted candidate, and say how long it took; one that could not be fitted gets `error_score`."""
        scorers, error_score = self.protocol.scorers, self.protocol.error_score
        if fit.error is not None:
            is_dict = isinstance(scorers, _MultimetricScorer)
            return dict.fromkeys(scorers._scorers, error_score) if is_dict else error_score, 0.0
        naming = _NamingScorers if isinstance(scorers, _MultimetricScorer) else _NamingScorer
        scorers = naming(scorers, f"Candidate: {fit.parameters}, split {fit.split}")
        shared = self._rows(fit, rows, train) if self._shares and not fit.is_alone else None
        start = time.perf_counter()
        if shared is not None:
            scores = _score(fit.last, shared.X, shared.y, scorers, {}, error_score)
            return scores, shared.seconds + time.perf_counter() - start
        X_rows, y_rows = _safe_split(fit.estimator, self.X, self.y, rows, train)
        params = _check_method_params(self.X, self.protocol.score_params, rows)
        return _score(fit.estimator, X_rows, y_rows, scorers, params, error_score), time.perf_counter() - start

    def _rows(self, fit: Fit, rows, train) -> _SharedRows | None:
        """Return the rows as the last step reads them; None if that fails, which each fit will find out and tell."""
        key = fit.split, fit.preprocessing
        found, shared = self._shared.get(train is None, (None, None))
        if found == key:
            return shared
        start = time.perf_counter()
        try:
            X_rows, y_rows = _safe_split(fit.estimator, self.X, self.y, rows, train)
            if fit.estimator is not fit.last and len(fit.estimator.steps) > 1:
                X_rows = fit.estimator[:-1].transform(X_rows)
            shared = _SharedRows(X_rows, y_rows, (time.perf_counter() - start) / self._n_fits[key])
        except Exception:
            shared = None
        self._shared[train is None] = key, shared
        return shared


@dataclass
class _SharedRows:
    """Rows that all fits of one split and preprocessing are scored on, and the seconds of making them for each."""

    X: object
    y: object
    seconds: float


class _NamingScorer:
    """A scorer whose failures say whose score it was."""

    def __init__(self, scorer, whose: str) -> None:
        self._scorer, self._whose = scorer, whose

    def __repr__(self) -> str:
        return repr(self._scorer)

    def __call__(self, *args, **kwargs):
        try:
            return self._scorer(*args, **kwargs)
        except Exception as error:
            error.add_note(self._whose)
            raise


class _NamingScorers(_MultimetricScorer):
    """The same for scikit-learn's scorer of several metrics, which gives a text for each one that fails."""

    def __init__(self, scorer: _MultimetricScorer, whose: str) -> None:
        super().__init__(scorers=scorer._scorers, raise_exc=scorer._raise_exc)
        self._whose = whose

    def __call__(self, estimator, *args, **kwargs):
        scores = _NamingScorer(super().__call__, self._whose)(estimator, *args, **kwargs)
        return {name: f"{score}{self._whose}" if isinstance(score, str) else score for name, score in scores.items()}


def _asks_last_step(scorer) -> bool:
    """Say whether a scorer asks a pipeline for no more than what its last step says of the transformed rows."""
    if isinstance(scorer, _MultimetricScorer):
        return all(_asks_last_step(one) for one in scorer._scorers.values())
    return type(scorer) in (_PassthroughScorer, _Scorer, TaskScorer)


def last_step(estimator) -> tuple[str, object]:
    """Return the prefix of its parameters and the last step of a pipeline, however nested; or "" and the estimator."""
    prefix = ""
    while isinstance(estimator, Pipeline):
        step, estimator = estimator.steps[-1]
        prefix += f"{step}__"
    return prefix, estimator


def weight_name(fit: Fit) -> str:
    """Return what the weights of rows are called among the parameters of fit."""
    is_pipeline = isinstance(fit.estimator, Pipeline)
    return f"{fit.estimator.steps[-1][0]}__sample_weight" if is_pipeline else "sample_weight"


def preprocessing_key(fit: Fit) -> tuple:
    """Return what two fits of one split must have in common to share their preprocessing."""
    if not isinstance(fit.estimator, Pipeline):
        return ()
    return tuple(content_key(step) for step in fit.estimator.steps[:-1])
