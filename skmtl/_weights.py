"""Weights of labels, of which only the ratios matter, however large or small they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skmtl._labels import floats_of
from skmtl._table import check_columns, check_distinct, read_targets


def read_weights(sample_weight: ArrayLike, n_samples: int, tasks: Sequence[str]) -> np.ndarray:
    """Return weights as floats: of rows, shape (n_samples, 1), or of labels, shape (n_samples, n_tasks).

    Parameters
    ----------
    sample_weight : array-like or frame of shape (n_samples,) or (n_samples, n_tasks)
        Weights >= 0. The columns of a frame must be the tasks, in the same order.
    n_samples : int
        Number of rows that it must have.
    tasks : sequence of str
        Names of the tasks.

    Raises
    ------
    ValueError
        If the shape or the column names do not match, or a weight is negative, missing, infinite or not a number.
    """
    if isinstance(sample_weight, Number):
        sample_weight = np.full(n_samples, sample_weight)  # scikit-learn accepts one number for all rows
    table = read_targets(sample_weight, "sample_weight")
    if table.names is not None and table.n_columns > 1:
        check_columns(table.names, table.n_columns, tasks, "sample_weight")
    shape = table.observed.shape[: table.ndim]
    if shape not in ((n_samples,), (n_samples, len(tasks))):
        raise ValueError(f"sample_weight must have shape {(n_samples,)} or {(n_samples, len(tasks))}. Found {shape}.")
    rule = "weights must be finite and >= 0"
    if not table.observed.all():
        raise ValueError(f"sample_weight contains NaN: {rule}. Found {(~table.observed).sum()} missing or NaN.")
    weight = np.stack([floats_of(column, "sample_weight") for column in table.columns], axis=1)
    if (weight < 0).any():
        raise ValueError(f"Negative values in data passed to `sample_weight`: {rule}. Found {weight.min()}.")
    return weight


def by_name(values: Any) -> Mapping[Any, Any] | None:
    """Return values given by name as a dict: a dict, or a Series with names in its index; None for all other arrays."""
    if isinstance(values, Mapping):
        return values
    if not (hasattr(values, "index") and hasattr(values, "to_numpy")) or np.ndim(values) != 1:
        return None
    if list(values.index) == list(range(len(values))):  # the default index is no names
        return None
    return dict(zip(check_distinct([str(name) for name in values.index]), values.to_numpy(), strict=True))


def in_units_of_the_largest(weight: np.ndarray) -> np.ndarray:
    """Return weights >= 0, shape (n_samples, n_tasks), divided by the largest of their task; same shape."""
    largest = weight.max(axis=0, initial=0.0)
    return weight / np.where(largest > 0, largest, 1.0)


def label_shares(weight: np.ndarray) -> np.ndarray:
    """Return each label's share of the total weight of its task: weights >= 0, shape (n_samples, n_tasks); same shape.

    The shares of a task sum to one, or to zero if it has no weight at all. Rows are summed in their order, so that
    adding rows of weight zero does not change a bit of the result.
    """
    weight = np.ascontiguousarray(weight)  # numpy would sum contiguous columns pairwise, in another order
    shares = in_units_of_the_largest(weight)  # the plain sum could overflow
    total = shares.sum(axis=0)
    shares /= np.where(total > 0, total, 1.0)
    return shares
