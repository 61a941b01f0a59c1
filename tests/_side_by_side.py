"""Estimators that a public search trains side by side, and what it says of the memory they take."""

from __future__ import annotations

import re

import numpy as np
import pytest
from sklearn.base import clone

from skmtl.model_selection import StackedGridSearchCV


def fit_side_by_side(estimators, X, y, trains=None, fit_params=None, **options):
    """Fit estimators of one class as candidates of a `StackedGridSearchCV`.

    Parameters
    ----------
    estimators : list of estimator
        They differ in their parameters.
    X, y : array-like
        All rows.
    trains : list of int arrays, default=None
        The rows that each is fitted on, one set after the other; None for all rows.
    fit_params : dict, default=None
        Parameters of ``fit``.
    **options : dict
        Of the search.

    Returns
    -------
    list of list of estimator, StackedGridSearchCV
        The fitted estimators, for each the one of each set of rows, None where it failed; and the search.
    """
    trains = [np.arange(len(X))] if trains is None else trains
    splits = [(train, np.arange(k + 1)) for k, train in enumerate(trains)]  # told apart by the number of test rows
    places = {_name(estimator): c for c, estimator in enumerate(estimators)}
    assert len(places) == len(estimators)
    fitted = [[None] * len(trains) for _ in estimators]

    def keep(estimator, X_test, y_test):
        fitted[places[_name(estimator)]][len(X_test) - 1] = estimator
        return 1.0

    grid = [{name: [value] for name, value in e.get_params(deep=False).items()} for e in estimators]
    search = StackedGridSearchCV(clone(estimators[0]), grid, cv=splits, scoring=keep, refit=False, **options)
    return fitted, search.fit(X, y, **(fit_params or {}))


def _name(estimator) -> str:
    return repr(sorted(estimator.get_params(deep=False).items()))


def bytes_of_member(estimator, X, y) -> int:
    """Return how many bytes a search says that a stack of this estimator alone takes on all rows."""
    with pytest.raises(ValueError, match=r"takes about \d+ bytes in training, more than max_bytes=1\.") as refused:
        fit_side_by_side([estimator], X, y, max_bytes=1)
    return int(re.search(r"takes about (\d+) bytes", str(refused.value)).group(1))
