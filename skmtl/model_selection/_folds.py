"""Folds and fits on some of the rows, for the functions that run a cross-validation themselves."""

from __future__ import annotations

import numbers

import numpy as np
from scipy.sparse import issparse
from sklearn.base import clone, is_classifier
from sklearn.model_selection import check_cv
from sklearn.utils.validation import has_fit_parameter

from skmtl._base import BaseMultiTask
from skmtl._table import read_targets
from skmtl.model_selection._fit import last_step
from skmtl.model_selection._sklearn_private import _check_method_params, _num_samples, _safe_indexing
from skmtl.model_selection._splitter import MultiTaskKFold


def as_splitter(cv, seed: int = 0):
    """Return a splitter: seeded `MultiTaskKFold` for None and whole numbers, else what scikit-learn makes of `cv`."""
    return MultiTaskKFold(5 if cv is None else cv, random_state=seed) if _is_number(cv) else check_cv(cv)


def search_splits(estimator, cv, X, y, params: dict) -> list[tuple]:
    """Return the splits of a search, as scikit-learn makes and checks them.

    Where it would refuse the missing labels of one of our classifiers, a number of folds is `as_splitter`'s. What `y`
    of other people's classifiers means only they know.
    """
    classifier = is_classifier(estimator)
    is_ours = classifier and isinstance(last_step(estimator)[1], BaseMultiTask)
    may_lack_labels = is_ours and _is_number(cv) and y is not None and not issparse(y)
    if may_lack_labels and not read_targets(y).observed.all():
        splitter = as_splitter(cv)
    else:
        splitter = check_cv(cv, y, classifier=classifier)
    n_splits, splits = splitter.get_n_splits(X, y, **params), list(splitter.split(X, y, **params))
    if len(splits) != n_splits:
        raise ValueError(
            f"cv.split and cv.get_n_splits return inconsistent results. Expected {n_splits} splits, got {len(splits)}"
        )
    return splits


def _is_number(cv) -> bool:
    return cv is None or (isinstance(cv, numbers.Integral) and not isinstance(cv, bool))


def with_groups(estimator, params: dict) -> tuple[dict, dict]:
    """Return the parameters of fit and those of the splitter: ``groups``, which a fit that takes them gets as well."""
    if "groups" not in params:
        return params, {}
    own = params if has_fit_parameter(estimator, "groups") else {k: v for k, v in params.items() if k != "groups"}
    return own, {"groups": params["groups"]}


def fit_rows(estimator, X, y, rows: np.ndarray, params: dict):
    """Return a clone fitted on some rows; `y` keeps its container, so missing labels stay missing."""
    own_params = _check_method_params(X, params, rows)
    return clone(estimator).fit(take_rows(X, rows), take_rows(y, rows), **own_params)


def take_rows(table, rows: np.ndarray):
    """Return some rows of an array, list or DataFrame."""
    return _safe_indexing(table, rows)


def check_same_length(X, y) -> None:
    """Raise ValueError unless there is one row of targets for each row of X."""
    if y is None or _num_samples(X) != _num_samples(y):
        found = None if y is None else _num_samples(y)
        raise ValueError(f"X and y must have the same number of rows. Found {_num_samples(X)} and {found}.")
