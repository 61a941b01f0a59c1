"""Weighted means over the rows of a task that do not overflow; only the ratios of weights matter."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

import numpy as np

from skmtl._table import TargetTable
from skmtl._weights import read_weights

_TINY = np.finfo(np.float64).tiny


def weight_of_each(sample_weight: Any, table: TargetTable, names: Sequence[str]) -> np.ndarray | None:
    """Return the weights of the labels of `table` as floats >= 0 of shape (n_samples, n_tasks), or None."""
    if sample_weight is None:
        return None
    return np.broadcast_to(read_weights(sample_weight, len(table), names), table.observed.shape)


def relative(weight: np.ndarray) -> np.ndarray | None:
    """Return positive weights, shape (n_rows,), divided by the largest; None if all are equal."""
    largest = weight.max()
    if weight.min() == largest:
        return None
    return np.maximum(weight / largest, _TINY)  # underflow to 0 would drop the row from the score


def mean_of(values: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the mean of values; finite if the values are, even if their sum overflows.

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
    small, exponent = scaled(values)
    return float(np.ldexp(_mean(small, weight), exponent))


def _mean(values: np.ndarray, weight: np.ndarray | None) -> float:
    if weight is None:
        return float(np.add.reduce(values) / len(values))  # takes half the time of values.mean()
    return float(np.add.reduce(weight * values) / np.add.reduce(weight))


def scaled(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Return values / 2**exponent, of size <= 1, and the exponent; exact for finite values."""
    exponent = int(np.frexp(np.abs(values).max())[1])
    return np.ldexp(values, -exponent), exponent
