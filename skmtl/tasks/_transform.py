"""A scikit-learn transformer of the labels of one task."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone


@dataclass(frozen=True)
class LabelTransform:
    """A transformer, fitted on the observed labels of a task.

    Attributes
    ----------
    fitted : transformer
        With `transform` and `inverse_transform` of columns, (n, 1).
    low, high : float
        The range of the transformed labels that it was fitted on.
    """

    fitted: Any
    low: float
    high: float

    @classmethod
    def fit(cls, transformer: Any, labels: np.ndarray) -> LabelTransform:
        """Fit a clone on labels (n,) of positive weight."""
        with np.errstate(all="ignore"):  # `forward` refuses what is no number
            fitted = clone(transformer).fit(labels[:, None])
            values = np.asarray(fitted.transform(labels[:, None]), dtype=float)
        return cls(fitted, float(np.min(values)), float(np.max(values)))

    def forward(self, labels: np.ndarray, observed: np.ndarray, task: str) -> np.ndarray:
        """Return transformed labels, 0 where not observed: (n_samples,); refuse those that become no number."""
        found = np.zeros(len(labels))
        if observed.any():
            with np.errstate(all="ignore"):
                values = self.fitted.transform(labels[observed, None])
            found[observed] = np.asarray(values, dtype=float).reshape(-1)
        odd = ~np.isfinite(found)
        if odd.any():
            raise ValueError(
                f"Task {task!r}: {self.fitted!r} must make a finite number of each label. Found {found[odd][0]} of "
                f"{labels[odd][0]:g}."
            )
        return found

    def backward(self, values: np.ndarray) -> np.ndarray:
        """Return values in the units of labels: (n_samples,).

        Where the inverse is not defined, that of the nearest value among transformed labels: a power has no inverse
        beyond its asymptote.
        """
        labels = self._inverse(values)
        odd = ~np.isfinite(labels) & ~np.isnan(values)
        if odd.any():
            labels[odd] = self._inverse(np.clip(values[odd], self.low, self.high))
        return labels

    def _inverse(self, values: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values without an inverse
            return np.array(self.fitted.inverse_transform(values[:, None]), dtype=float).reshape(-1)
