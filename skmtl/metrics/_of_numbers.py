r"""Metrics of numbers that neither overflow nor underflow, and are defined as in scikit-learn for constant targets.

Squares leave the range of float64 long before the numbers do. A mean square is therefore a pair of a mean :math:`m` and
an exponent :math:`e`, with the value :math:`m \cdot 4^e`. For numbers of ordinary size :math:`e` is 0.
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from skmtl.metrics._means import mean_of, scaled

Weight = np.ndarray | None
MeanSquare = tuple[float, int]

_EPS = float(np.finfo(np.float64).eps)
_ORDINARY = 1e-240, 1e300  # a mean square in this range has lost nothing that matters to over- or underflow

_quiet = np.errstate(over="ignore", under="ignore", invalid="ignore", divide="ignore")


@_quiet
def r2(y: np.ndarray, predicted: np.ndarray, weight: Weight) -> float:
    """Return R² as scikit-learn defines it; its function takes a millisecond for checks that were made before."""
    if len(y) < 2:
        return np.nan
    mean = mean_of(y, weight)
    return _explained(_mean_square(y, predicted, weight), _mean_square(y, mean, weight), mean, mean, len(y))


@_quiet
def explained_variance(y: np.ndarray, predicted: np.ndarray, weight: Weight) -> float:
    """Return the share of the variance that predictions plus a constant explain: 1 is perfect."""
    if len(y) < 2:
        return np.nan
    residual, halvings = _difference(y, predicted)
    mean, bias = mean_of(y, weight), mean_of(residual, weight)
    square, exponent = _mean_square(residual, bias, weight)
    level = max(abs(mean), abs(bias))  # the residual has the rounding error of numbers of this size
    return _explained((square, exponent + halvings), _mean_square(y, mean, weight), mean, level, len(y))


@_quiet
def rrmse(y: np.ndarray, predicted: np.ndarray, weight: Weight) -> float:
    """Return the root mean squared error divided by that of predicting the mean of y; NaN if y is constant."""
    mean = mean_of(y, weight)
    variance = _mean_square(y, mean, weight)
    if _is_zero(variance, mean, len(y)):
        return np.nan
    (error, e), (spread, s) = _mean_square(y, predicted, weight), variance
    return _times_power(sqrt(error) / sqrt(spread), e - s)  # the exponents are of 4, so their roots are powers of 2


@_quiet
def mean_absolute_error(y: np.ndarray, predicted: np.ndarray, weight: Weight) -> float:
    """Return the mean absolute error, in units of y."""
    residual, halvings = _difference(y, predicted)
    return _times_power(mean_of(np.abs(residual), weight), halvings)


@_quiet
def mean_squared_error(y: np.ndarray, predicted: np.ndarray, weight: Weight) -> float:
    """Return the mean squared error, in squared units of y."""
    square, exponent = _mean_square(y, predicted, weight)
    return _times_power(square, 2 * exponent)


@_quiet
def root_mean_squared_error(y: np.ndarray, predicted: np.ndarray, weight: Weight) -> float:
    """Return the root mean squared error, in units of y; finite even if the mean squared error overflows."""
    square, exponent = _mean_square(y, predicted, weight)
    return _times_power(sqrt(square), exponent)


def _explained(residual: MeanSquare, variance: MeanSquare, mean: float, level: float, n: int) -> float:
    """Return 1 - residual / variance; for a constant target 1 if the residual is zero, else 0, as scikit-learn does."""
    if _is_zero(variance, mean, n):
        return 1.0 if _is_zero(residual, level, n) else 0.0
    return 1.0 - _times_power(residual[0] / variance[0], 2 * (residual[1] - variance[1]))


def _is_zero(square: MeanSquare, level: float, n: int) -> bool:
    r"""Return whether a mean square may be due to rounding alone, for n numbers of size `level`.

    The bound [1]_ is that of `sklearn.preprocessing._data._is_constant_feature`,
    :math:`v \le n \epsilon v + (n \bar y \epsilon)^2`. Its square roots are compared, which do not over- or underflow.

    References
    ----------
    .. [1] T. F. Chan, G. H. Golub and R. J. LeVeque, "Algorithms for computing the sample variance: analysis and
       recommendations", The American Statistician 37, 1983.
    """
    value, exponent = square
    return sqrt(value * max(1.0 - n * _EPS, 0.0)) <= _times_power(abs(level), -exponent) * n * _EPS


def _mean_square(y: np.ndarray, predicted: np.ndarray | float, weight: Weight) -> MeanSquare:
    """Return the mean square of y - predicted as a pair m, e with the value m * 4**e."""
    residual = y - predicted
    square = mean_of(residual * residual, weight)
    if _ORDINARY[0] < square < _ORDINARY[1]:
        return square, 0
    residual, halvings = _difference(y, predicted)
    residual, exponent = scaled(residual)  # by a power of two, which rounds nothing
    return mean_of(residual * residual, weight), exponent + halvings


def _difference(y: np.ndarray, predicted: np.ndarray | float) -> tuple[np.ndarray, int]:
    """Return y - predicted, and 0; or, if that overflows, half of it, and 1."""
    difference = y - predicted
    if np.isfinite(difference).all():
        return difference, 0
    return np.ldexp(y, -1) - np.ldexp(predicted, -1), 1


def _times_power(value: float, exponent: int) -> float:
    """Return value * 2**exponent; infinity if it overflows."""
    return float(np.ldexp(value, exponent)) if exponent else value
