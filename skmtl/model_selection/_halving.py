"""Successive halving over epochs: train all candidates a little, the better ones on, until few are left."""

from __future__ import annotations

from math import ceil, floor, log
from numbers import Integral

import numpy as np
from sklearn.model_selection import ParameterGrid, ParameterSampler

from skmtl._base import BaseMultiTask
from skmtl._parameters import epochs_of
from skmtl.model_selection._fit import Protocol, last_step
from skmtl.model_selection._reporting import warn_interrupted
from skmtl.model_selection._resumable import ResumableStacks
from skmtl.model_selection._sklearn_private import BaseSearchCV, Interval, StrOptions
from skmtl.model_selection._stacked_search import OPTIONS, StackedSearch


class HalvingStackedSearchCV(StackedSearch, BaseSearchCV):
    """Search by successive halving: train all candidates a little, then continue training only the better ones.

    All candidates are trained for a few epochs; the best ``1 / factor`` of them continue until they have had `factor`
    times as many epochs, and so on. The last rung has fewer than `factor` candidates, unless the epochs run out before.
    Candidates of a fold are trained side by side as in `StackedGridSearchCV`, and survivors continue instead of
    starting anew, so that a search over many candidates costs little more than a full fit of a few. Each score equals
    that of a separate fit of that many epochs, to within rounding.

    Parameters
    ----------
    estimator : estimator
        A `MultiTaskClassifier` or `MultiTaskRegressor`, or a pipeline that ends in one.
    param_grid : dict or list of dict
        Values of each parameter, or several such grids; with `n_candidates`, distributions too.
    n_candidates : int, default=None
        Number of candidates to draw at random. None tries the whole grid.
    factor : int, default=3
        One candidate in `factor` survives a rung, and the next rung has `factor` times as many epochs; > 1.
    min_resources : int or "exhaust", default="exhaust"
        Epochs of the first rung. ``"exhaust"`` is the largest number with which the last rung still has no more than
        `max_resources`.
    max_resources : int, default=None
        Epochs that no rung exceeds. None means the estimator's ``max_epochs``.
    scoring : str, callable, list, tuple or dict, default=None
        What to score by, as in scikit-learn; `make_task_scorer` makes scorers that skip missing labels. None means the
        estimator's own ``score``.
    n_jobs : int, default=None
        Number of stacks trained at the same time, in threads. None means 1 unless a `joblib.parallel_config` sets
        another number.
    refit : bool, str or callable, default=True
        Fit the best candidate on all rows. With several scores, the name of the one that decides; or a function that
        returns the index of the best candidate of the last rung, given ``cv_results_``, such as `best_mean_rank`.
        Candidates then survive by the only score, or by "average" of a `make_task_scorer`.
    refit_params : dict, default=None
        Parameters that the last fit has beside those of the best candidate: ``{"n_members": 10}`` searches single
        networks and refits an ensemble. ``best_params_`` is without them.
    cv : int, splitter or iterable, default=None
        Folds, as in scikit-learn. A number of folds means a seeded `MultiTaskKFold` where scikit-learn would refuse a
        classifier's missing labels.
    verbose : int, default=0
        1 prints each rung and what is trained alone and why, and shows a bar over fits; 2 adds a line per finished
        fit; 3 adds its scores.
    random_state : int, RandomState or None, default=None
        Draws the candidates, where `n_candidates` is given.
    error_score : "raise" or float, default=nan
        Score of a candidate that cannot be fitted or diverges; the others are untouched. ``"raise"`` raises the error.
    return_train_score : bool, default=False
        Score the training rows too.
    max_bytes : float, default=None
        Upper limit for the memory of one stack; a larger one is trained as several. None means no limit, but a stack
        still has at most 64 members, and stacks of more than 4 are kept below 16 MiB so that they fit the CPU cache.
        Training rows are not counted; those of all stacks are held from rung to rung.

    Attributes
    ----------
    cv_results_ : dict of arrays
        As in scikit-learn's halving searches: a row for each candidate of each rung, with its number ``iter``, its
        epochs ``n_resources`` and ``param_max_epochs``; ``fit_time`` is that of the rung alone.
    best_estimator_ : estimator
        The best candidate of the last rung, fitted on all rows for as many epochs; with `refit` only.
    best_score_ : float
        Its mean score.
    best_params_ : dict
        Its parameters, among them ``max_epochs``.
    best_index_ : int
        Its place in ``cv_results_``.
    n_resources_ : list of int
        Epochs by the end of each rung.
    n_candidates_ : list of int
        Candidates of each rung.
    n_remaining_candidates_ : int
        Candidates that a further rung would have.
    min_resources_ : int
        Epochs of the first rung.
    max_resources_ : int
        Epochs that no rung exceeds.
    n_iterations_ : int
        Number of rungs.
    n_required_iterations_ : int
        Rungs up to the first one with fewer than `factor` candidates.
    n_possible_iterations_ : int
        Rungs that the epochs allow.
    scorer_ : callable or dict
        What it was scored with.
    n_splits_ : int
        Number of folds.
    n_stacks_ : int
        Number of stacks that were trained; one that is trained on in later rungs counts once.
    refit_time_ : float
        Seconds of the last fit.
    multimetric_ : bool
        Whether there are several scores.

    See Also
    --------
    StackedGridSearchCV : Train every candidate to the end.

    Notes
    -----
    Survivors are those with the best scores after the epochs so far; a candidate that learns slowly may drop out early,
    all the more so with few epochs in the first rung. An ``lr_schedule`` runs over the epochs of the last rung, so
    earlier rungs see the beginning of it. With ``early_stopping=True`` a candidate is scored by its best weights so
    far and continues from its last ones; ``"auto"`` is False here, which ``best_params_`` says too. What
    `StackedGridSearchCV` trains alone begins anew in each rung, and runs through the whole schedule each time. Stacks
    keep their state between rungs, so under any joblib backend they stay in this process, in threads.

    References
    ----------
    .. [1] K. Jamieson, A. Talwalkar, "Non-stochastic Best Arm Identification and Hyperparameter Optimization",
       AISTATS 2016.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.datasets import make_related_regression
    >>> from skmtl.model_selection import HalvingStackedSearchCV
    >>> X, y = make_related_regression(n_samples=90, n_tasks=3, random_state=0)
    >>> model = MultiTaskRegressor(max_epochs=18, random_state=0)
    >>> grid = {"lr": [1e-4, 1e-3, 1e-2], "weight_decay": [0.0, 0.1, 1.0]}
    >>> search = HalvingStackedSearchCV(model, grid, cv=3).fit(X, y)
    >>> search.n_candidates_, search.n_resources_
    ([9, 3, 1], [2, 6, 18])
    >>> search.best_params_["lr"]
    0.01
    """

    _parameter_constraints = {
        **BaseSearchCV._parameter_constraints,
        "param_grid": [dict, list],
        "n_candidates": [Interval(Integral, 1, None, closed="left"), None],
        "factor": [Interval(Integral, 2, None, closed="left")],
        "min_resources": [Interval(Integral, 1, None, closed="left"), StrOptions({"exhaust"})],
        "max_resources": [Interval(Integral, 1, None, closed="left"), None],
        "refit": ["boolean", str, callable],
        "random_state": ["random_state"],
        **OPTIONS,
    }
    _parameter_constraints.pop("pre_dispatch")

    def __init__(
        self,
        estimator,
        param_grid,
        *,
        n_candidates=None,
        factor=3,
        min_resources="exhaust",
        max_resources=None,
        scoring=None,
        n_jobs=None,
        refit=True,
        refit_params=None,
        cv=None,
        verbose=0,
        random_state=None,
        error_score=np.nan,
        return_train_score=False,
        max_bytes=None,
    ):
        super().__init__(
            estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.param_grid = param_grid
        self.n_candidates = n_candidates
        self.factor = factor
        self.min_resources = min_resources
        self.max_resources = max_resources
        self.random_state = random_state
        self.refit_params = refit_params
        self.max_bytes = max_bytes

    def _candidates(self):
        name = self._resource()
        if self.n_candidates is None:
            candidates = list(ParameterGrid(self.param_grid))
        else:
            candidates = list(ParameterSampler(self.param_grid, self.n_candidates, random_state=self.random_state))
        if any(name in candidate for candidate in candidates):
            raise ValueError(f"{name!r} cannot be searched: the rungs set it. Leave it out of param_grid.")
        return [self._never_stopping(candidate) for candidate in candidates]

    def _never_stopping(self, candidate: dict) -> dict:
        """Return a candidate that stops early only where it is asked to: the rungs say how long it is trained."""
        prefix, last = last_step(self.estimator)
        name = f"{prefix}early_stopping"
        is_auto = candidate.get(name, last.early_stopping) == "auto"
        return {**candidate, name: False} if is_auto else candidate

    def _resource(self) -> str:
        """Return the name of `max_epochs` among the estimator's parameters."""
        prefix, last = last_step(self.estimator)
        if not isinstance(last, BaseMultiTask):
            raise TypeError(
                f"HalvingStackedSearchCV needs an estimator of skmtl, or a pipeline that ends in one. Found {last!r}."
            )
        return f"{prefix}max_epochs"

    def _evaluate(self, candidates: list[dict], X, y, protocol: Protocol) -> tuple[dict, bool]:
        """Train and score rung by rung; return fitted attributes, and whether Ctrl-C ended it early."""
        schedule, name = self._schedule(len(candidates)), self._resource()
        epochs_by_rung = schedule.pop("n_resources_")
        stacks = ResumableStacks(candidates, X, y, protocol, self.n_jobs, name, epochs_by_rung[-1])
        rows, results, more = [], [], {"iter": [], "n_resources": []}
        for rung, epochs in enumerate(epochs_by_rung):
            alive = stacks.candidates
            if self.verbose:
                print(f"Rung {rung + 1} of {len(epochs_by_rung)}: {len(alive)} candidates, {epochs} epochs")  # noqa: T201
            of_rung, interrupted = stacks.train_up_to(epochs)
            results += of_rung
            rows += [{**candidates[c], name: epochs} for c in alive]
            more["iter"] += [rung] * len(alive)
            more["n_resources"] += [epochs] * len(alive)
            survivors = self._survivors(alive, of_rung)
            if interrupted:
                warn_interrupted(of_rung)
                break
            stacks.select(survivors)
        rungs = {
            "n_candidates_": np.bincount(more["iter"]).tolist(),
            "n_resources_": epochs_by_rung[: rung + 1],
            "n_remaining_candidates_": len(survivors),
        }
        found = self._found(rows, results, protocol, stacks.n_stacks, more)
        return schedule | rungs | found, interrupted

    def _schedule(self, n_candidates: int) -> dict:
        """Return how many rungs there are, and the epochs by the end of each, as fitted attributes."""
        _, last = last_step(self.estimator)
        most = epochs_of(last, last.early_stopping is True) if self.max_resources is None else self.max_resources
        n_required = 1 + floor(log(n_candidates, self.factor) + 1e-9)
        least = (
            max(1, most // self.factor ** (n_required - 1)) if self.min_resources == "exhaust" else self.min_resources
        )
        if least > most:
            raise ValueError(
                f"min_resources={least} epochs must be no more than max_resources, which is {most}. Lower it, or raise "
                f"max_epochs of the estimator."
            )
        n_possible = 1 + floor(log(most // least, self.factor) + 1e-9)
        n_rungs = min(n_required, n_possible)
        return {
            "min_resources_": least,
            "max_resources_": most,
            "n_required_iterations_": n_required,
            "n_possible_iterations_": n_possible,
            "n_iterations_": n_rungs,
            "n_resources_": [min(least * self.factor**rung, most) for rung in range(n_rungs)],
        }

    def _survivors(self, alive: list[int], results: list[dict]) -> list[int]:
        """Return the best candidates of a rung, in their order; those without a score are the worst."""
        scores = [result["test_scores"] for result in results]
        if isinstance(scores[0], dict):
            scores = [score[self._metric(score)] for score in scores]
        means = np.reshape(scores, (len(alive), -1)).mean(axis=1)
        best = np.argsort(np.where(np.isnan(means), np.inf, -means), kind="stable")
        return sorted(alive[k] for k in best[: ceil(len(alive) / self.factor)])

    def _metric(self, scores: dict) -> str:
        """Return by which of several scores candidates survive."""
        name = "average" if callable(self.refit) else self.refit
        if name not in scores:
            raise ValueError(
                f"refit must name the score by which candidates survive, one of {sorted(scores)}. Found {self.refit!r}."
            )
        return name

    @staticmethod
    def _select_best_index(refit, refit_metric, results):
        """Return the best candidate of the last rung."""
        last = np.flatnonzero(results["iter"] == results["iter"].max())
        if callable(refit):
            best = refit(results)
            if best not in last:
                raise ValueError(
                    f"refit must return the index of a candidate of the last rung, one of {last.tolist()}. Found "
                    f"{best!r}."
                )
            return int(best)
        scores = results[f"mean_test_{refit_metric}"][last]
        return int(last[0] if np.isnan(scores).all() else last[np.nanargmax(scores)])
