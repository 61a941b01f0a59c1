"""What labels weigh: only the ratios of weights matter, whatever their size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Number

import numpy as np
from numpy.typing import ArrayLike

from skmtl._labels import floats_of
from skmtl._table import check_columns, check_distinct, read_targets


def read_weights(sample_weight: ArrayLike, n_samples: int, tasks: Sequence[str]) -> np.ndarray:
    """Return weights as floats of shape (n_samples, 1), of rows, or (n_samples, n_tasks), of labels.

    Parameters
    ----------
    sample_weight : array-like or frame of shape (n_samples,) or (n_samples, n_tasks)
        The columns of a frame are the tasks.
    n_samples : int
        Rows that it must have.
    tasks : sequence of str
        Names of the tasks.

    Raises
    ------
    ValueError
        If the shape or the names of columns are others, or a weight is negative, missing, infinite or no number.
    """
    if isinstance(sample_weight, Number):
        sample_weight = np.full(n_samples, sample_weight)  # scikit-learn takes one number for all rows
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


def by_name(values: ArrayLike | Mapping) -> Mapping | None:
    """Return what is given by name: a dict, or a Series with another index than 0, 1, ...; None for other arrays."""
    if isinstance(values, Mapping):
        return values
    if not (hasattr(values, "index") and hasattr(values, "to_numpy")) or np.ndim(values) != 1:
        return None
    if list(values.index) == list(range(len(values))):
        return None
    return dict(zip(check_distinct([str(name) for name in values.index]), values.to_numpy(), strict=True))


def in_units_of_the_largest(weight: np.ndarray) -> np.ndarray:
    """Return weights >= 0 divided by the largest of their task: (n_samples, n_tasks) -> the same shape."""
    largest = weight.max(axis=0, initial=0.0)
    return weight / np.where(largest > 0, largest, 1.0)


def label_shares(weight: np.ndarray) -> np.ndarray:
    """Return each label's share in the weight of its task: weights >= 0 (n_samples, n_tasks) -> the same shape.

    Shares sum to one over the rows of a task that has labels, and to zero for one that has none. Rows are added one
    after the other, so that those without weight leave every bit as it is.
    """
    weight = np.ascontiguousarray(weight)  # columns in a row numpy would add in pairs
    shares = in_units_of_the_largest(weight)  # their sum may be beyond what floats can hold
    total = shares.sum(axis=0)
    shares /= np.where(total > 0, total, 1.0)
    return shares
