"""How numbers become standardised units and come back: moments that survive extremes, updated by chunks of rows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np

from skmtl._weights import label_shares

EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class ScaleCodec:
    """Weighted mean and standard deviation of regression tasks, to and from standardised units.

    Attributes
    ----------
    mean, deviation : arrays of shape (n_tasks,)
        In the units of y.
    count : array of shape (n_tasks,)
        Labels of positive weight.
    weight : array of shape (n_tasks,)
        Sum of their weights.
    """

    mean: np.ndarray
    deviation: np.ndarray
    count: np.ndarray
    weight: np.ndarray

    @classmethod
    def fit(cls, y: np.ndarray, weight: np.ndarray | None = None) -> ScaleCodec:
        """Take the moments of y (n_samples, n_tasks); a missing label has weight 0, None weighs all labels 1.

        Before squaring, subtract the heaviest label and divide by a power of two, so that neither an offset nor the
        size of the numbers costs digits.
        """
        if weight is not None and y.shape[1] == 1:  # numpy adds one column in pairs: what is absent must not be there
            seen = weight[:, 0] > 0
            y, weight = y[seen], weight[seen]
        centre = _heaviest(y, weight)
        with np.errstate(under="ignore"):
            y = y - centre if weight is None else np.where(weight > 0, y, centre) - centre
            _, exponent = np.frexp(np.abs(y).max(axis=0, initial=0.0))
            unit = np.ldexp(1.0, np.clip(exponent, -1022, 1023))
            y /= unit
            share = 1.0 / max(len(y), 1) if weight is None else label_shares(weight)
            mean = (share * y).sum(axis=0)
            y -= mean
            deviation = np.sqrt((share * np.square(y)).sum(axis=0)) * unit
        count = np.full(y.shape[1], len(y)) if weight is None else (weight > 0).sum(axis=0)
        with np.errstate(over="ignore"):
            total = count.astype(np.float64) if weight is None else np.minimum(weight.sum(axis=0), 1e300)
        return cls(centre + mean * unit, deviation, count, total)

    def merge(self, other: ScaleCodec) -> ScaleCodec:
        """Return the moments of the labels of both (Chan, Golub and LeVeque, 1983)."""
        weight = self.weight + other.weight
        theirs = other.weight / np.where(weight > 0, weight, 1.0)
        delta = other.mean - self.mean
        within = np.hypot(np.sqrt(1.0 - theirs) * self.deviation, np.sqrt(theirs) * other.deviation)
        deviation = np.hypot(within, np.sqrt(theirs * (1.0 - theirs)) * delta)
        return ScaleCodec(self.mean + theirs * delta, deviation, self.count + other.count, weight)

    def beside(self, other: ScaleCodec) -> ScaleCodec:
        """Return the moments of the tasks of both, one after the other."""
        pairs = [(getattr(self, field.name), getattr(other, field.name)) for field in fields(self)]
        return ScaleCodec(*map(np.concatenate, pairs))

    def replaced_by(self, other: ScaleCodec) -> ScaleCodec:
        """Return the other moments, but these where the other has no label of a task."""
        pairs = [(getattr(self, field.name), getattr(other, field.name)) for field in fields(self)]
        return ScaleCodec(*(np.where(other.count > 0, theirs, ours) for ours, theirs in pairs))

    @cached_property
    def scale(self) -> np.ndarray:
        """Standard deviation (n_tasks,) in the units of y; 0 for a constant target, whose prediction is its mean.

        Constant is what rounding alone could have made of equal labels, as in scikit-learn's `StandardScaler`:
        ``var <= n * eps * var + (n * mean * eps) ** 2``.
        """
        rounding = self.count * EPS
        with np.errstate(over="ignore", under="ignore"):
            is_constant = self.deviation * np.sqrt(np.maximum(1.0 - rounding, 0.0)) <= rounding * np.abs(self.mean)
        return np.where(is_constant, 0.0, self.deviation)

    def encode(self, y: np.ndarray) -> np.ndarray:
        """Return y in standardised units: (n_samples, n_tasks); 0 for constant targets."""
        scale = self.scale
        y = y - self.mean
        y /= np.where(scale > 0, scale, np.inf)
        return y

    def decode(self, y: np.ndarray) -> np.ndarray:
        """Return standardised values as float64 in the units of y: (..., n_tasks)."""
        scaled = y * self.scale
        scaled += self.mean
        return scaled

    def change(self, to: ScaleCodec) -> tuple[np.ndarray, np.ndarray]:
        """Return factor and shift, (n_tasks,) each, by which values in these units become values in others."""
        scale, known = to.scale, to.scale > 0  # what is said of a constant target does not matter
        safe = np.where(known, scale, 1.0)
        return np.where(known, self.scale / safe, 1.0), np.where(known, (self.mean - to.mean) / safe, 0.0)


def _heaviest(y: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Return the first of the labels of each task that weigh most, (n_tasks,); 0 where there is none."""
    if weight is None:
        return y[0]
    if len(y) == 0:
        return np.zeros(y.shape[1])
    rows = weight.argmax(axis=0)[None]
    labels, weights = (np.take_along_axis(values, rows, axis=0)[0] for values in (y, weight))
    return np.where(weights > 0, labels, 0.0)
