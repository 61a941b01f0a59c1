"""The fit of all searches that train their candidates side by side.

A search goes from `StackedSearch.fit` down: candidates and splits, `_grouping.plan` (who is trained with whom),
`_evaluation.run` (train and score), results, choice, refit. All but planning and training is scikit-learn's own, so
results have the same keys, and each score is what a fit alone would get, to within rounding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from numbers import Real

from joblib import effective_n_jobs
from sklearn.utils import indexable

from skmtl._base import BaseMultiTask
from skmtl._table import read_targets
from skmtl.metrics import TaskScorer
from skmtl.model_selection._evaluation import results_of, run, stacks_of
from skmtl.model_selection._fit import Protocol, last_step, with_parameters
from skmtl.model_selection._folds import search_splits
from skmtl.model_selection._grouping import bytes_of, plan
from skmtl.model_selection._reporting import announce, naming_undefined, warn_interrupted, warn_not_refitted
from skmtl.model_selection._sklearn_private import Interval, _check_method_params, _fit_context, scorers_by_name

OPTIONS = {"max_bytes": [Interval(Real, 0, None, closed="neither"), None], "refit_params": [dict, None]}
"""What all stacked searches have beside the parameters of scikit-learn's."""


class StackedSearch:
    """The fit of a stacked search, over the constructor and results of a scikit-learn search."""

    @property
    def set_callbacks(self):
        """Not available: candidates are trained side by side, so no callback could follow one of them."""
        raise AttributeError(
            f"{type(self).__name__} calls no callbacks of scikit-learn, for it trains candidates side by side. "
            f"verbose=1 shows a bar, verbose=3 the scores of each fit; or set them on a GridSearchCV."
        )

    @_fit_context(prefer_skip_nested_validation=False)  # the estimator is validated when it is fitted
    def fit(self, X, y=None, **params):
        """Search, then refit the best candidate on all rows.

        Ctrl-C ends the search: the scores of the folds that were finished are kept in ``cv_results_``, with a
        warning, all others are NaN, and nothing is refitted. Running stacks are finished in threads, abandoned in
        processes. Before any fit is finished it raises KeyboardInterrupt, and an earlier search stays as it was. In
        the last fit, on all rows, scores and ``best_params_`` are kept, with a warning.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like or DataFrame of shape (n_samples,) or (n_samples, n_tasks), default=None
            Targets; missing ones are skipped.
        **params : dict
            As for scikit-learn's searches: parameters of the estimator's ``fit``, split by rows; ``groups``.

        Returns
        -------
        self : object
            The fitted search.

        Raises
        ------
        ValueError
            If there is no candidate, a parameter is unknown, every fit failed, or one member of a stack alone takes
            more than `max_bytes`.
        """
        scorers, refit_metric = self._get_scorers()
        X, y = indexable(X, y)
        self._check_refit(y)
        routed = self._get_routed_params_for_fit(_check_method_params(X, params=params))
        candidates = list(self._candidates())  # before the splits: both may draw from one random state
        splits = search_splits(self.estimator, self.cv, X, y, routed.splitter.split)
        if not candidates or not splits:
            raise ValueError("No fits were performed. Was the CV iterator empty? Were there no candidates?")
        protocol = self._protocol(splits, scorers, routed)
        fitted, interrupted = self._evaluate(candidates, X, y, protocol)
        if not interrupted:
            fitted |= self._choose(refit_metric, fitted)
            fitted |= self._refit(fitted, X, y, routed.estimator.fit)
        return self._commit(fitted)

    def _check_refit(self, y) -> None:
        """Refuse, before all the training, a last fit that could not be: its score, or its parameters."""
        if self.refit_params is not None:
            if not self.refit:
                raise ValueError(f"refit_params are of the last fit: set refit=True. Found refit={self.refit!r}.")
            with_parameters(self.estimator, self.refit_params)
        if not isinstance(self.scoring, TaskScorer) or not self.refit or callable(self.refit):
            return
        if y is None or not isinstance(last_step(self.estimator)[1], BaseMultiTask):  # others may name tasks otherwise
            return
        names = ["average", *read_targets(y).task_names()]
        if self.refit not in names:
            raise ValueError(
                f"{self.scoring!r} gives one score per task and their average. refit must be the one that chooses, a "
                f"function, or False. Found refit={self.refit!r}. Choose from {names}."
            )

    def _protocol(self, splits: list, scorers, routed) -> Protocol:
        return Protocol(
            estimator=self.estimator,
            splits=splits,
            scorers=scorers,
            fit_params=routed.estimator.fit,
            score_params=routed.scorer.score,
            error_score=self.error_score,
            return_train_score=self.return_train_score,
            max_bytes=math.inf if self.max_bytes is None else self.max_bytes,
            verbose=self.verbose,
        )

    def _evaluate(self, candidates: list[dict], X, y, protocol: Protocol) -> tuple[dict, bool]:
        """Train and score all candidates; return fitted attributes, and whether Ctrl-C ended it early."""
        jobs = plan(candidates, protocol, bytes_of(X), effective_n_jobs(self.n_jobs))
        if self.verbose:
            announce(jobs, len(protocol.splits))
        finished, interrupted = run(jobs, X, y, protocol, self.n_jobs)
        results = results_of(jobs, finished, protocol)
        if interrupted:
            warn_interrupted(results)
        return self._found(candidates, results, protocol, len(stacks_of(finished))), interrupted

    def _found(self, candidates: list[dict], results: list[dict], protocol: Protocol, n_stacks: int, more=None) -> dict:
        """Return the fitted attributes that tell what was found; `more` are further columns of ``cv_results_``."""
        names, n_splits = scorers_by_name(protocol.scorers), len(protocol.splits)
        with naming_undefined(candidates, results, n_splits):
            table = self._format_results(candidates, n_splits, results, more)
        return {
            "n_splits_": n_splits,
            "scorer_": protocol.scorers if names is None else names,
            "cv_results_": table,
            "multimetric_": isinstance(results[0]["test_scores"], dict),
            "n_stacks_": n_stacks,
        }

    def _choose(self, refit_metric: str, found: dict) -> dict:
        """Return the best index, score and parameters."""
        results, multimetric = found["cv_results_"], found["multimetric_"]
        if callable(self.scoring) and multimetric:
            prefix = "mean_test_"
            self._check_refit_for_multimetric([k.removeprefix(prefix) for k in results if k.startswith(prefix)])
            refit_metric = self.refit
        if not self.refit and multimetric:
            return {}
        best = self._select_best_index(self.refit, refit_metric, results)
        choice = {"best_index_": best, "best_params_": results["params"][best]}
        if not callable(self.refit):
            choice["best_score_"] = results[f"mean_test_{refit_metric}"][best]
        return choice

    def _refit(self, found: dict, X, y, fit_params: Mapping) -> dict:
        """Return the best candidate, fitted on all rows, if that is wanted."""
        if not self.refit:
            return {}
        start = time.time()
        best = with_parameters(self.estimator, {**found["best_params_"], **(self.refit_params or {})})
        try:
            best.fit(X, *(() if y is None else (y,)), **fit_params)
        except KeyboardInterrupt:
            warn_not_refitted()
            return {}
        names = {"feature_names_in_": best.feature_names_in_} if hasattr(best, "feature_names_in_") else {}
        return {"best_estimator_": best, "refit_time_": time.time() - start, **names}

    def _commit(self, fitted: dict):
        """Return the search with these fitted attributes and no earlier ones, exchanged at one stroke.

        No line may follow the exchange: Ctrl-C there would raise and yet leave the new results.
        """
        others = {name: value for name, value in vars(self).items() if name.startswith("_") or not name.endswith("_")}
        return object.__setattr__(self, "__dict__", {**others, **fitted}) or self
