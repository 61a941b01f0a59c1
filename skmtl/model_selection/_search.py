"""Searches that train their candidates side by side: scikit-learn's, at a fraction of the time."""

from __future__ import annotations

import numpy as np
from sklearn.model_selection import GridSearchCV, ParameterGrid, ParameterSampler, RandomizedSearchCV

from skmtl.model_selection._stacked_search import OPTIONS, StackedSearch


class StackedGridSearchCV(StackedSearch, GridSearchCV):
    """Search a grid of parameters; the candidates of a fold are trained side by side, as one stack.

    A drop-in for `sklearn.model_selection.GridSearchCV`: the same parameters, the same attributes, and for each
    candidate and fold the score that a fit alone would get, to within rounding, in a fraction of the time. Small
    networks spend most of their time on overhead; a stack pays it once for all of its members.

    Parameters
    ----------
    estimator : estimator
        A `MultiTaskClassifier` or `MultiTaskRegressor`, or a pipeline that ends in one. The steps before it are fitted
        once per fold and combination of their parameters. Any other estimator works as well, but its candidates are
        trained alone.
    param_grid : dict or list of dict
        Values of each parameter, or several such grids.
    scoring : str, callable, list, tuple or dict, default=None
        What to score by, as in scikit-learn; `make_task_scorer` makes scorers that skip missing labels. None means the
        estimator's own ``score``.
    n_jobs : int, default=None
        Number of stacks trained at the same time, in threads. None means 1 unless a `joblib.parallel_config` sets
        another number; that may also name another backend, such as ``"loky"`` or ``"dask"``.
    refit : bool, str or callable, default=True
        Fit the best candidate on all rows. With several scores, the name of the one that decides; or a function that
        returns the index of the best candidate, given ``cv_results_``.
    refit_params : dict, default=None
        Parameters that the last fit has beside those of the best candidate: ``{"n_members": 10}`` searches single
        networks and refits an ensemble. ``best_params_`` is without them.
    cv : int, splitter or iterable, default=None
        Folds, as in scikit-learn. A number of folds means a seeded `MultiTaskKFold` where scikit-learn would refuse a
        classifier's missing labels.
    verbose : int, default=0
        1 prints what is trained together, what is trained alone and why, and shows a bar over fits; 2 adds a line per
        finished fit; 3 adds its scores.
    pre_dispatch : int or str, default="2*n_jobs"
        Accepted for compatibility, without effect: threads share the rows, and processes are sent them once.
    error_score : "raise" or float, default=nan
        Score of a candidate that cannot be fitted or diverges; the others of its stack are untouched. ``"raise"``
        raises the error.
    return_train_score : bool, default=False
        Score the training rows too.
    max_bytes : float, default=None
        Upper limit for the memory of one stack; a larger one is trained as several. None means no limit, but a stack
        still has at most 64 members, and stacks of more than 4 are kept below 16 MiB so that they fit the CPU cache.
        Training rows are not counted: about 256 MiB per running job, or one fold if that is larger, times the factor
        by which preprocessing widens X.

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
    n_stacks_ : int
        Number of stacks that were trained; fits that were trained alone are in none.
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
    ``task_weights``, ``class_weight`` and ``random_state``. Candidates that differ in anything else, such as the
    sharing strategy, widths or batch size, go to different stacks. An ensemble counts as ``n_members`` members.

    These are trained alone: estimators with ``callbacks`` (they act on a whole net), with a torch optimizer class (it
    has one learning rate for all its parameters) or with ``warm_start``; estimators of other packages, and classes that
    override ``fit``; fits that take parameters other than ``sample_weight``; candidates with an invalid value, and
    those on rows that cannot be read.

    A sharing module of your own that draws random numbers in training draws them for the whole stack: the scores of
    such candidates depend on the other members of the stack.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.datasets import make_related_regression
    >>> from skmtl.model_selection import StackedGridSearchCV
    >>> X, y = make_related_regression(n_samples=90, n_tasks=3, random_state=0)
    >>> model = MultiTaskRegressor(max_epochs=20, random_state=0)
    >>> grid = {"lr": [1e-4, 1e-2], "weight_decay": [0.0, 0.1]}
    >>> search = StackedGridSearchCV(model, grid, cv=3).fit(X, y)
    >>> search.best_params_["lr"]
    0.01
    >>> search.predict(X).shape
    (90, 3)
    """

    _parameter_constraints = {**GridSearchCV._parameter_constraints, **OPTIONS}

    def __init__(
        self,
        estimator,
        param_grid,
        *,
        scoring=None,
        n_jobs=None,
        refit=True,
        refit_params=None,
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
        self.refit_params = refit_params
        self.max_bytes = max_bytes

    def _candidates(self):
        return ParameterGrid(self.param_grid)


class StackedRandomizedSearchCV(StackedSearch, RandomizedSearchCV):
    """Search parameters drawn at random; the candidates of a fold are trained side by side, as one stack.

    A drop-in for `sklearn.model_selection.RandomizedSearchCV`: equal seeds draw equal candidates, and each gets the
    score that a fit alone would get, to within rounding. `StackedGridSearchCV` describes what is trained together.

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
        What to score by, as in scikit-learn; `make_task_scorer` makes scorers that skip missing labels. None means the
        estimator's own ``score``.
    n_jobs : int, default=None
        Number of stacks trained at the same time, in threads. None means 1 unless a `joblib.parallel_config` sets
        another number; that may also name another backend, such as ``"loky"`` or ``"dask"``.
    refit : bool, str or callable, default=True
        Fit the best candidate on all rows. With several scores, the name of the one that decides; or a function that
        returns the index of the best candidate, given ``cv_results_``.
    refit_params : dict, default=None
        Parameters that the last fit has beside those of the best candidate: ``{"n_members": 10}`` searches single
        networks and refits an ensemble. ``best_params_`` is without them.
    cv : int, splitter or iterable, default=None
        Folds, as in scikit-learn. A number of folds means a seeded `MultiTaskKFold` where scikit-learn would refuse a
        classifier's missing labels.
    verbose : int, default=0
        1 prints what is trained together, what is trained alone and why, and shows a bar over fits; 2 adds a line per
        finished fit; 3 adds its scores.
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
        Upper limit for the memory of one stack; a larger one is trained as several. None means no limit, but a stack
        still has at most 64 members, and stacks of more than 4 are kept below 16 MiB so that they fit the CPU cache.
        Training rows are not counted: about 256 MiB per running job, or one fold if that is larger, times the factor
        by which preprocessing widens X.

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
    n_stacks_ : int
        Number of stacks that were trained; fits that were trained alone are in none.
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
    >>> candidates = {
    ...     "sharing_lambda": loguniform(1e-4, 1e1),
    ...     "lr": loguniform(1e-4, 1e-1),
    ... }
    >>> search = StackedRandomizedSearchCV(
    ...     model, candidates, n_iter=4, cv=3, random_state=0
    ... ).fit(X, y)
    >>> search.cv_results_["mean_test_score"].shape
    (4,)
    """

    _parameter_constraints = {**RandomizedSearchCV._parameter_constraints, **OPTIONS}

    def __init__(
        self,
        estimator,
        param_distributions,
        *,
        n_iter=10,
        scoring=None,
        n_jobs=None,
        refit=True,
        refit_params=None,
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
        self.refit_params = refit_params
        self.max_bytes = max_bytes

    def _candidates(self):
        return ParameterSampler(self.param_distributions, self.n_iter, random_state=self.random_state)
