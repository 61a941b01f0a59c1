"""Standardised numbers without far outliers."""

from __future__ import annotations

import numpy as np
from sklearn.preprocessing import StandardScaler

CAP, CAP_OF_TWO = 5.0, 3.0
"""Standard deviations at which columns of numbers, and those of two values, are cut off."""


class CappedScaler(StandardScaler):
    """Standardise, and cut off what is far from the mean: at 5 standard deviations, for columns of two values at 3."""

    def fit(self, X, y=None, sample_weight=None):
        """Learn means, scales and caps.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
            Numbers.
        y : object, default=None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights.

        Returns
        -------
        self : object
            The fitted scaler.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            super().fit(X, y, sample_weight)
        of_two = ((X.min(axis=0) == X) | (X.max(axis=0) == X)).all(axis=0)
        self._cap = np.where(of_two, CAP_OF_TWO, CAP)
        return self

    def transform(self, X, copy=None):
        """Standardise and cut off.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
            Numbers.
        copy : bool, default=None
            As in scikit-learn.

        Returns
        -------
        array of shape (n_samples, n_features)
            Standard deviations from the mean.
        """
        with np.errstate(over="ignore", invalid="ignore"):  # of scales that are hardly numbers
            scaled = super().transform(X, copy)
        return np.clip(np.nan_to_num(scaled, copy=False, nan=0.0), -self._cap, self._cap)
