"""Folds and fits on some of the rows, for the functions that run a cross-validation themselves."""

from __future__ import annotations

import numbers

import numpy as np
from scipy.sparse import issparse
from sklearn.base import clone
from sklearn.model_selection import check_cv
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _check_method_params, _num_samples

from skmtl._table import read_targets
from skmtl.model_selection._splitter import MultiTaskKFold

__all__ = ["as_splitter", "fit_rows", "search_splitter"]


def as_splitter(cv, seed: int = 0):
    """Return a splitter: seeded `MultiTaskKFold` for None and whole numbers, else what scikit-learn makes of `cv`."""
    return MultiTaskKFold(5 if cv is None else cv, random_state=seed) if _is_number(cv) else check_cv(cv)


def search_splitter(cv, y, classifier: bool):
    """Return what scikit-learn makes of `cv`; where it would refuse a classifier's missing labels, `as_splitter`'s."""
    may_lack_labels = classifier and y is not None and not issparse(y)
    if may_lack_labels and _is_number(cv) and not read_targets(y).observed.all():
        return as_splitter(cv)
    return check_cv(cv, y, classifier=classifier)


def _is_number(cv) -> bool:
    return cv is None or (isinstance(cv, numbers.Integral) and not isinstance(cv, bool))


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
