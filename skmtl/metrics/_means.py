"""Means over the rows of a task: weighted, of which only the ratios matter, and finite wherever they can be."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

import numpy as np

from skmtl._table import TargetTable
from skmtl._weights import read_weights

_TINY = np.finfo(np.float64).tiny


def weight_of_each(sample_weight, table: TargetTable, names: Sequence[str]) -> np.ndarray | None:
    """Return the weights >= 0 of the rows of `table` as floats of shape (n_samples, n_tasks), or None."""
    if sample_weight is None:
        return None
    return np.broadcast_to(read_weights(sample_weight, len(table), names), table.observed.shape)


def relative(weight: np.ndarray) -> np.ndarray | None:
    """Return positive weights of shape (n_rows,) in units of the largest; None if all are equal."""
    largest = weight.max()
    if weight.min() == largest:
        return None
    return np.maximum(weight / largest, _TINY)  # a row of positive weight stays in the score


def mean_of(values: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the mean of values (n_rows,); finite wherever it can be, even if the sum of the values is not.

    Parameters
    ----------
    values : array of shape (n_rows,)
        Numbers or bools, at least one.
    weight : array of shape (n_rows,) or None
        Weights in (0, 1], the largest being 1.

    Returns
    -------
    float
        The weighted mean.
    """
    mean = _mean(values, weight)
    if isfinite(mean):
        return mean
    size = scaled(values)[1]
    return float(np.ldexp(_mean(np.ldexp(values, -size), weight), size))


def _mean(values: np.ndarray, weight: np.ndarray | None) -> float:
    if weight is None:
        return float(np.add.reduce(values) / len(values))  # half the time of values.mean()
    return float(np.add.reduce(weight * values) / np.add.reduce(weight))


def scaled(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Return values of size <= 1 and the power of two that they are multiples of; exact for finite values."""
    size = int(np.frexp(np.abs(values).max())[1])
    return np.ldexp(values, -size), size
