"""Searches that train their candidates side by side: scikit-learn's, at a fraction of the time.

The way of a search reads from `_BaseStackedSearch.fit` down: candidates, splits, fits (in stacks), scores, results.
All but the fits is scikit-learn's own, so results have the same keys, and each score is what a fit alone would get.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from traceback import format_exc

from joblib import Parallel, delayed
from sklearn.base import clone, is_classifier
from sklearn.metrics._scorer import _MultimetricScorer
from sklearn.model_selection import GridSearchCV, ParameterGrid, ParameterSampler, RandomizedSearchCV, check_cv
from sklearn.model_selection._validation import (
    _check_method_params,
    _insert_error_scores,
    _score,
    _warn_or_raise_about_fit_failures,
)
from sklearn.pipeline import Pipeline
from sklearn.utils import indexable
from sklearn.utils.metaestimators import _safe_split

from skmtl._base import BaseMultiTask
from skmtl.model_selection._stack import fit_stack, stack_key, why_alone
from skmtl.training import threads_for


class _StackedSearch:
    """The fit of a stacked search, over the constructor and results of a scikit-learn search."""

    def fit(self, X, y=None, **params):
        """Search, then refit the best candidate on all rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like or DataFrame of shape (n_samples,) or (n_samples, n_tasks)
            Targets; missing ones are skipped.
        **params : dict
            As for scikit-learn's searches: parameters of the estimator's ``fit``, split by rows; ``groups``.

        Returns
        -------
        self : object
            The fitted search.
        """
        scorers, refit_metric = self._get_scorers()
        X, y = indexable(X, y)
        routed = self._get_routed_params_for_fit(_check_method_params(X, params=params))
        cv = check_cv(self.cv, y, classifier=is_classifier(self.estimator))
        splits = list(cv.split(X, y, **routed.splitter.split))
        self.n_splits_ = len(splits)
        candidates = list(self._candidates())
        if not candidates or not splits:
            raise ValueError("No fits were performed. Was the CV iterator empty? Were there no candidates?")
        out = _Evaluation(self, X, y, splits, scorers, routed).run(candidates)
        self.cv_results_ = self._format_results(candidates, len(splits), out)
        self.multimetric_ = isinstance(out[0]["test_scores"], dict)
        if callable(self.scoring) and self.multimetric_:
            self._check_refit_for_multimetric(out[0]["test_scores"])
            refit_metric = self.refit
        self._choose(refit_metric)
        self.scorer_ = scorers._scorers if isinstance(scorers, _MultimetricScorer) else scorers
        if self.refit:
            self._refit(X, y, routed.estimator.fit)
        return self

    def _choose(self, refit_metric: str) -> None:
        """Set the best index, score and parameters."""
        if not self.refit and self.multimetric_:
            return
        self.best_index_ = self._select_best_index(self.refit, refit_metric, self.cv_results_)
        if not callable(self.refit):
            self.best_score_ = self.cv_results_[f"mean_test_{refit_metric}"][self.best_index_]
        self.best_params_ = self.cv_results_["params"][self.best_index_]

    def _refit(self, X, y, fit_params: Mapping) -> None:
        start = time.time()
        self.best_estimator_ = clone(self.estimator).set_params(**clone(self.best_params_, safe=False))
        self.best_estimator_.fit(X, y, **fit_params)
        self.refit_time_ = time.time() - start
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_


class StackedGridSearchCV(_StackedSearch, GridSearchCV):
    """`GridSearchCV` that trains its candidates side by side."""

    def _candidates(self):
        return ParameterGrid(self.param_grid)


class StackedRandomizedSearchCV(_StackedSearch, RandomizedSearchCV):
    """`RandomizedSearchCV` that trains its candidates side by side."""

    def _candidates(self):
        return ParameterSampler(self.param_distributions, self.n_iter, random_state=self.random_state)


@dataclass
class _Fit:
    """One candidate on one split."""

    candidate: int
    split: int
    estimator: object
    seconds: float = 0.0
    error: str | None = None

    @property
    def last(self):
        """The estimator itself, or the last step of a pipeline."""
        return self.estimator.steps[-1][1] if isinstance(self.estimator, Pipeline) else self.estimator


@dataclass
class _Batch:
    """Fits of one split that share their preprocessing and can be one stack, or one fit that must be alone."""

    split: int
    fits: list[_Fit] = field(default_factory=list)
    alone: str | None = None


class _Evaluation:
    """Fit and score every candidate on every split."""

    def __init__(self, search, X, y, splits, scorers, routed) -> None:
        self.search, self.X, self.y, self.splits, self.scorers = search, X, y, splits, scorers
        self.fit_params, self.score_params = routed.estimator.fit, routed.scorer.score

    def run(self, candidates: Sequence[dict]) -> list[dict]:
        """Return one result for each candidate and split, splits innermost."""
        batches = self._batches(candidates)
        if self.search.verbose:
            self._announce(batches, len(candidates))
        with threads_for(0):  # one torch thread for each of the Python threads
            done = Parallel(n_jobs=self.search.n_jobs, prefer="threads")(delayed(self._evaluate)(b) for b in batches)
        results = {place: result for part in done for place, result in part}
        out = [results[c, s] for c in range(len(candidates)) for s in range(len(self.splits))]
        _warn_or_raise_about_fit_failures(out, self.search.error_score)
        if callable(self.search.scoring):
            _insert_error_scores(out, self.search.error_score)
        return out

    def _batches(self, candidates: Sequence[dict]) -> list[_Batch]:
        batches: dict[tuple, _Batch] = {}
        for s in range(len(self.splits)):
            for c, parameters in enumerate(candidates):
                estimator = clone(self.search.estimator).set_params(**clone(parameters, safe=False))
                fit = _Fit(c, s, estimator)
                reason = self._why_alone(fit)
                key = (s, c) if reason else (s, _preprocessing_key(estimator), stack_key(fit.last))
                batches.setdefault(key, _Batch(s, alone=reason)).fits.append(fit)
        return list(batches.values())

    def _why_alone(self, fit: _Fit) -> str | None:
        if not isinstance(fit.last, BaseMultiTask):
            return f"{type(fit.last).__name__} is no skmtl estimator"
        if set(self.fit_params) - {self._weight_name(fit)}:
            return f"fit parameters {sorted(self.fit_params)}"
        return why_alone(fit.last)

    @staticmethod
    def _weight_name(fit: _Fit) -> str:
        is_pipeline = isinstance(fit.estimator, Pipeline)
        return f"{fit.estimator.steps[-1][0]}__sample_weight" if is_pipeline else "sample_weight"

    def _announce(self, batches: list[_Batch], n_candidates: int) -> None:
        reasons = defaultdict(int)
        for batch in batches:
            reasons[batch.alone] += 1
        n_stacks = reasons.pop(None, 0)
        alone = "".join(f"; {n} fits alone: {reason}" for reason, n in reasons.items())
        n_splits = len(self.splits)
        print(  # noqa: T201
            f"Fitting {n_splits} folds for each of {n_candidates} candidates, totalling {n_candidates * n_splits} fits "
            f"in {n_stacks} stacks{alone}"
        )

    def _evaluate(self, batch: _Batch) -> list[tuple]:
        """Fit a batch and score its members."""
        train, test = self.splits[batch.split]
        template = batch.fits[0].estimator
        X_train, y_train = _safe_split(template, self.X, self.y, train)
        X_test, y_test = _safe_split(template, self.X, self.y, test, train)
        self._fit(batch, X_train, y_train, _check_method_params(self.X, self.fit_params, train))
        results = []
        for fit in batch.fits:
            result = self._result(fit, X_test, y_test, test)
            if self.search.return_train_score:
                result["train_scores"] = self._scores(fit, X_train, y_train, train)
            results.append(((fit.candidate, fit.split), result))
        return results

    def _fit(self, batch: _Batch, X, y, fit_params: Mapping) -> None:
        """Fit all members of a batch; what fails together is fitted alone, to say whose fault it is."""
        start = time.perf_counter()
        try:
            errors = ["alone"] * len(batch.fits) if batch.alone else self._fit_together(batch.fits, X, y, fit_params)
        except Exception:
            errors = ["alone"] * len(batch.fits)
        for fit, error in zip(batch.fits, errors, strict=True):
            fit.error = self._fit_alone(fit, X, y, fit_params) if error == "alone" else error
            if fit.error and self.search.error_score == "raise":
                raise ValueError(fit.error)
        for fit in batch.fits:
            fit.seconds = (time.perf_counter() - start) / len(batch.fits)

    def _fit_together(self, fits: list[_Fit], X, y, fit_params: Mapping) -> list[str | None]:
        """Fit the preprocessing once and the members as stacks; return what went wrong with each."""
        weight = fit_params.get(self._weight_name(fits[0]))
        first = fits[0].estimator
        if isinstance(first, Pipeline) and len(first.steps) > 1:
            X = first[:-1].fit_transform(X, y)
            for fit in fits[1:]:
                fit.estimator.steps[:-1] = first.steps[:-1]
        return fit_stack([fit.last for fit in fits], X, y, weight)

    @staticmethod
    def _fit_alone(fit: _Fit, X, y, fit_params: Mapping) -> str | None:
        try:
            fit.estimator.fit(X, y, **fit_params)
        except Exception:
            return format_exc()
        return None

    def _result(self, fit: _Fit, X_test, y_test, test) -> dict:
        start = time.perf_counter()
        scores = self._scores(fit, X_test, y_test, test)
        return {
            "fit_error": fit.error,
            "test_scores": scores,
            "n_test_samples": len(test),
            "fit_time": fit.seconds,
            "score_time": time.perf_counter() - start,
        }

    def _scores(self, fit: _Fit, X, y, rows):
        """Score a fitted member; one that could not be fitted gets `error_score`."""
        error_score = self.search.error_score
        if fit.error is None:
            params = _check_method_params(self.X, self.score_params, rows)
            return _score(fit.estimator, X, y, self.scorers, params, error_score)
        if isinstance(self.scorers, _MultimetricScorer):
            return dict.fromkeys(self.scorers._scorers, error_score)
        return error_score


def _preprocessing_key(estimator) -> str:
    """Return what two pipelines must have in common to share their fitted steps before the last."""
    return repr(estimator[:-1]) if isinstance(estimator, Pipeline) and len(estimator.steps) > 1 else ""
