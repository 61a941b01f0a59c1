"""Searches that train their candidates side by side: scikit-learn's, at a fraction of the time.

The way of a search reads from `_StackedSearch.fit` down: candidates, splits, fits (in stacks), scores, results.
All but the fits is scikit-learn's own, so results have the same keys, and each score is what a fit alone would get, to
within rounding.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from numbers import Real

import numpy as np
from sklearn.base import _fit_context, clone, is_classifier
from sklearn.metrics._scorer import _MultimetricScorer
from sklearn.model_selection import GridSearchCV, ParameterGrid, ParameterSampler, RandomizedSearchCV
from sklearn.model_selection._validation import _check_method_params
from sklearn.utils import indexable
from sklearn.utils._param_validation import Interval

from skmtl._base import BaseMultiTask
from skmtl._table import read_targets
from skmtl.metrics import TaskScorer
from skmtl.model_selection._evaluation import Evaluation
from skmtl.model_selection._folds import search_splitter
from skmtl.model_selection._jobs import last_step

CHOICE = ("best_index_", "best_score_", "best_params_", "best_estimator_", "refit_time_", "feature_names_in_")
"""What a search sets once it has chosen."""

_MAX_BYTES = {"max_bytes": [Interval(Real, 0, None, closed="neither"), None]}


class _StackedSearch:
    """The fit of a stacked search, over the constructor and results of a scikit-learn search."""

    @_fit_context(prefer_skip_nested_validation=False)  # the estimator is validated when it is fitted
    def fit(self, X, y=None, **params):
        """Search, then refit the best candidate on all rows.

        Ctrl-C ends the search: the scores of the folds that were finished are kept in ``cv_results_``, with a
        warning, all others are NaN, and nothing is refitted. With several threads it waits for the stacks at hand;
        other processes give them up.

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
        if getattr(self, "_skl_callbacks", None):
            warnings.warn(
                f"{type(self).__name__} calls none of the callbacks that were set on it, for it trains candidates side "
                f"by side. verbose=1 shows a bar.",
                stacklevel=3,
            )
        routed = self._get_routed_params_for_fit(_check_method_params(X, params=params))
        cv = search_splitter(self.cv, y, is_classifier(self.estimator))
        candidates = list(self._candidates())  # before the splits: both may draw from one random state
        splits = list(cv.split(X, y, **routed.splitter.split))
        if not candidates or not splits:
            raise ValueError("No fits were performed. Was the CV iterator empty? Were there no candidates?")
        evaluation = Evaluation(self, X, y, splits, scorers, routed)
        candidates, out, more = self._evaluate(evaluation, candidates)
        self.n_splits_ = len(splits)
        self.scorer_ = scorers._scorers if isinstance(scorers, _MultimetricScorer) else scorers
        self.cv_results_ = self._format_results(candidates, len(splits), out, more)
        self.multimetric_ = isinstance(out[0]["test_scores"], dict)
        for name in CHOICE:  # of an earlier fit: they would not fit to these results
            vars(self).pop(name, None)
        if not evaluation.interrupted:
            self._choose(refit_metric, out[0]["test_scores"])
            self._refit(X, y, routed.estimator.fit)
        return self

    def _check_refit(self, y) -> None:
        """Refuse, before all the training, a `refit` that chooses none of a task scorer's scores."""
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

    def _evaluate(self, evaluation: Evaluation, candidates: list[dict]) -> tuple[list[dict], list[dict], dict | None]:
        """Return the parameters and results of all fits, and further columns of ``cv_results_``."""
        return candidates, evaluation.run(candidates), None

    def _choose(self, refit_metric: str, scores) -> None:
        """Set the best index, score and parameters."""
        if callable(self.scoring) and self.multimetric_:
            self._check_refit_for_multimetric(scores)
            refit_metric = self.refit
        if not self.refit and self.multimetric_:
            return
        self.best_index_ = self._select_best_index(self.refit, refit_metric, self.cv_results_)
        if not callable(self.refit):
            self.best_score_ = self.cv_results_[f"mean_test_{refit_metric}"][self.best_index_]
        self.best_params_ = self.cv_results_["params"][self.best_index_]

    def _refit(self, X, y, fit_params: Mapping) -> None:
        """Fit the best candidate on all rows, if that is wanted."""
        if not self.refit:
            return
        start = time.time()
        self.best_estimator_ = clone(self.estimator).set_params(**clone(self.best_params_, safe=False))
        self.best_estimator_.fit(X, y, **fit_params)
        self.refit_time_ = time.time() - start
        if hasattr(self.best_estimator_, "feature_names_in_"):
            self.feature_names_in_ = self.best_estimator_.feature_names_in_


class StackedGridSearchCV(_StackedSearch, GridSearchCV):
    """Search a grid of parameters; the candidates of a fold are trained side by side, as one stack.

    A drop-in for `sklearn.model_selection.GridSearchCV`: the same parameters, the same attributes, and for each
    candidate and fold the score that a fit alone would get, to within rounding, in a fraction of the time. Small
    networks leave most of their time to overhead; a stack pays it once for all of its members.

    Parameters
    ----------
    estimator : estimator
        A `MultiTaskClassifier` or `MultiTaskRegressor`, or a pipeline that ends in one. The steps before it are fitted
        once for each fold and each combination of their own parameters. Any other estimator works as well, but its
        candidates are trained alone.
    param_grid : dict or list of dict
        Values of each parameter, or several such grids.
    scoring : str, callable, list, tuple or dict, default=None
        What to score by, as in scikit-learn; `make_task_scorer` makes scorers that skip missing labels. None is the
        estimator's own ``score``.
    n_jobs : int, default=None
        Stacks trained at the same time, in threads. None is 1 unless a `joblib.parallel_config` says otherwise; it may
        also name another engine, such as ``"loky"`` or ``"dask"``, to train them on.
    refit : bool, str or callable, default=True
        Fit the best candidate on all rows; by which score, where there are several; or a function that chooses the
        index of the best from ``cv_results_``.
    cv : int, splitter or iterable, default=None
        Folds, as in scikit-learn. Where it would refuse a classifier's missing labels, a number of folds means a seeded
        `MultiTaskKFold`.
    verbose : int, default=0
        1 or more prints what is trained together, what is trained alone and why, and shows a bar over fits.
    pre_dispatch : int or str, default="2*n_jobs"
        Accepted for compatibility, without effect: threads share the rows, and processes are sent them once.
    error_score : "raise" or float, default=nan
        Score of a candidate that cannot be fitted or diverges; the others of its stack are untouched. ``"raise"``
        raises the error.
    return_train_score : bool, default=False
        Score the training rows too.
    max_bytes : float, default=None
        Bytes that one stack may take in training; a stack that would take more is trained as several. None is no
        bound, other than that a stack has at most 64 members and, above 4, takes no more than 16 MiB, for the cache.
        Training rows come on top: for each of the jobs at work up to 256 MiB, or one fold's if those take more; as
        many times that as preprocessing makes X wider.

    Attributes
    ----------
    cv_results_ : dict of arrays
        Parameters, scores, ranks and times of the candidates, with scikit-learn's keys. A stack's time is shared
        equally by its members.
    best_estimator_ : estimator
        The best candidate, fitted on all rows; with `refit` only.
    best_score_ : float
        Its mean score.
    best_params_ : dict
        Its parameters.
    best_index_ : int
        Its place in ``cv_results_``.
    scorer_ : callable or dict
        What it was scored with.
    n_splits_ : int
        Number of folds.
    refit_time_ : float
        Seconds of the last fit.
    multimetric_ : bool
        Whether there are several scores.

    See Also
    --------
    StackedRandomizedSearchCV : The same for parameters drawn at random.
    sharing_path : Scores of each task along λ.

    Notes
    -----
    The members of a stack may differ in ``sharing_lambda``, ``lr``, ``weight_decay``, ``dropout`` (all 0, or none),
    ``task_weights``, ``class_weight`` and ``random_state``. Candidates that differ in anything
    else, such as the sharing strategy, widths or batch size, go to different stacks. An ensemble (``n_members``)
    counts as so many members.

    Trained alone is what cannot be stacked: an estimator with ``callbacks`` (they act on a whole net), with a torch
    optimizer class (it has one learning rate for all its parameters) or with ``warm_start``; estimators of other
    packages, and classes with a ``fit`` of their own; fits that take parameters other than ``sample_weight``;
    candidates with an invalid value, and those on rows that cannot be read.

    A sharing module of your own that draws random numbers in training draws them for the whole stack: the scores of
    such candidates vary with their company.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.datasets import make_related_regression
    >>> from skmtl.model_selection import StackedGridSearchCV
    >>> X, y = make_related_regression(n_samples=90, n_tasks=3, random_state=0)
    >>> model = MultiTaskRegressor(max_epochs=20, random_state=0)
    >>> search = StackedGridSearchCV(model, {"lr": [1e-4, 1e-2], "weight_decay": [0.0, 0.1]}, cv=3).fit(X, y)
    >>> search.best_params_["lr"]
    0.01
    >>> search.predict(X).shape
    (90, 3)
    """

    _parameter_constraints = {**GridSearchCV._parameter_constraints, **_MAX_BYTES}

    def __init__(
        self,
        estimator,
        param_grid,
        *,
        scoring=None,
        n_jobs=None,
        refit=True,
        cv=None,
        verbose=0,
        pre_dispatch="2*n_jobs",
        error_score=np.nan,
        return_train_score=False,
        max_bytes=None,
    ):
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.max_bytes = max_bytes

    def _candidates(self):
        return ParameterGrid(self.param_grid)


class StackedRandomizedSearchCV(_StackedSearch, RandomizedSearchCV):
    """Search parameters drawn at random; the candidates of a fold are trained side by side, as one stack.

    A drop-in for `sklearn.model_selection.RandomizedSearchCV`: equal seeds draw equal candidates, and each gets the
    score that a fit alone would get, to within rounding. `StackedGridSearchCV` says what is trained together.

    Parameters
    ----------
    estimator : estimator
        A `MultiTaskClassifier` or `MultiTaskRegressor`, or a pipeline that ends in one. Any other estimator works as
        well, but its candidates are trained alone.
    param_distributions : dict or list of dict
        For each parameter a list of values or a distribution with a method ``rvs``, such as those of scipy.stats.
    n_iter : int, default=10
        Number of candidates.
    scoring : str, callable, list, tuple or dict, default=None
        What to score by, as in scikit-learn; `make_task_scorer` makes scorers that skip missing labels. None is the
        estimator's own ``score``.
    n_jobs : int, default=None
        Stacks trained at the same time, in threads. None is 1 unless a `joblib.parallel_config` says otherwise; it may
        also name another engine, such as ``"loky"`` or ``"dask"``, to train them on.
    refit : bool, str or callable, default=True
        Fit the best candidate on all rows; by which score, where there are several; or a function that chooses the
        index of the best from ``cv_results_``.
    cv : int, splitter or iterable, default=None
        Folds, as in scikit-learn. Where it would refuse a classifier's missing labels, a number of folds means a seeded
        `MultiTaskKFold`.
    verbose : int, default=0
        1 or more prints what is trained together, what is trained alone and why, and shows a bar over fits.
    pre_dispatch : int or str, default="2*n_jobs"
        Accepted for compatibility, without effect: threads share the rows, and processes are sent them once.
    random_state : int, RandomState or None, default=None
        Draws the candidates.
    error_score : "raise" or float, default=nan
        Score of a candidate that cannot be fitted or diverges; the others of its stack are untouched. ``"raise"``
        raises the error.
    return_train_score : bool, default=False
        Score the training rows too.
    max_bytes : float, default=None
        Bytes that one stack may take in training; a stack that would take more is trained as several. None is no
        bound, other than that a stack has at most 64 members and, above 4, takes no more than 16 MiB, for the cache.
        Training rows come on top: for each of the jobs at work up to 256 MiB, or one fold's if those take more; as
        many times that as preprocessing makes X wider.

    Attributes
    ----------
    cv_results_ : dict of arrays
        Parameters, scores, ranks and times of the candidates, with scikit-learn's keys. A stack's time is shared
        equally by its members.
    best_estimator_ : estimator
        The best candidate, fitted on all rows; with `refit` only.
    best_score_ : float
        Its mean score.
    best_params_ : dict
        Its parameters.
    best_index_ : int
        Its place in ``cv_results_``.
    scorer_ : callable or dict
        What it was scored with.
    n_splits_ : int
        Number of folds.
    refit_time_ : float
        Seconds of the last fit.
    multimetric_ : bool
        Whether there are several scores.

    See Also
    --------
    StackedGridSearchCV : The same for a grid.

    Notes
    -----
    Distributions of ``sharing_lambda``, ``lr``, ``weight_decay``, ``dropout`` and ``task_weights`` cost little, for
    candidates that differ in nothing else are one stack. See `StackedGridSearchCV` for what is trained alone, and why.

    Examples
    --------
    >>> from scipy.stats import loguniform
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.datasets import make_related_regression
    >>> from skmtl.model_selection import StackedRandomizedSearchCV
    >>> X, y = make_related_regression(n_samples=90, n_tasks=3, random_state=0)
    >>> model = MultiTaskRegressor("soft", max_epochs=5, random_state=0)
    >>> candidates = {"sharing_lambda": loguniform(1e-4, 1e1), "lr": loguniform(1e-4, 1e-1)}
    >>> search = StackedRandomizedSearchCV(model, candidates, n_iter=4, cv=3, random_state=0).fit(X, y)
    >>> search.cv_results_["mean_test_score"].shape
    (4,)
    """

    _parameter_constraints = {**RandomizedSearchCV._parameter_constraints, **_MAX_BYTES}

    def __init__(
        self,
        estimator,
        param_distributions,
        *,
        n_iter=10,
        scoring=None,
        n_jobs=None,
        refit=True,
        cv=None,
        verbose=0,
        pre_dispatch="2*n_jobs",
        random_state=None,
        error_score=np.nan,
        return_train_score=False,
        max_bytes=None,
    ):
        super().__init__(
            estimator,
            param_distributions,
            n_iter=n_iter,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            pre_dispatch=pre_dispatch,
            random_state=random_state,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.max_bytes = max_bytes

    def _candidates(self):
        return ParameterSampler(self.param_distributions, self.n_iter, random_state=self.random_state)
