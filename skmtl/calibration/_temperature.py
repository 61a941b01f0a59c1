"""Temperature scaling: one number per task makes class probabilities honest."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.validation import check_is_fitted

from skmtl.calibration._outputs import label_codes, probabilities, views_of

BOUNDS = (-4.0, 4.0)
"""Of the logarithm of a temperature."""


class TemperatureScaling(ClassifierMixin, BaseEstimator):
    r"""Divide the log odds of each task by a temperature that suits labels which were not trained on.

    The probabilities become :math:`p_c^{1/T} / \sum_k p_k^{1/T}`: with T > 1 less certain, with T < 1 more. Which class
    is the likeliest does not change. Missing labels are skipped; a task without any keeps T = 1.

    Parameters
    ----------
    estimator : estimator
        A fitted classifier of several tasks, a pipeline or search around one, a `MultiTaskEstimator` or a `TaskView`.

    Attributes
    ----------
    temperatures_ : dict
        The temperature of each task.
    classes_ : list or dict
        As the estimator's.

    References
    ----------
    .. [1] C. Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.calibration import TemperatureScaling
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(200, 3))
    >>> y = (X[:, :2] + rng.normal(size=(200, 2)) > 0).astype(int)
    >>> model = MultiTaskClassifier(random_state=0).fit(X[:100], y[:100])
    >>> scaled = TemperatureScaling(model).fit(X[100:], y[100:])
    >>> list(scaled.temperatures_)
    ['0', '1']
    >>> [p.shape for p in scaled.predict_proba(X)]
    [(200, 2), (200, 2)]
    """

    _parameter_constraints = {"estimator": [HasMethods(["predict_proba"])]}

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, X, y):
        """Find the temperature of each task by the log loss of its observed labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows that the estimator was not trained on.
        y : array-like or DataFrame of shape (n_samples,) or (n_samples, n_tasks)
            Their labels; missing ones are skipped.

        Returns
        -------
        self : object
            The calibrated classifier.
        """
        self._validate_params()
        views = views_of(self.estimator, "classifier")
        proba = probabilities(self.estimator, views, X)
        self.temperatures_ = {}
        for name, seen, codes in label_codes(self.estimator, views, y):
            own = proba[name][seen]
            known = (codes >= 0) & ~np.isnan(own).any(axis=1)  # nothing helps a class that was never seen
            self.temperatures_[name] = _temperature(own[known], codes[known])
        self.classes_ = self.estimator.classes_
        return self

    def predict(self, X):
        """Predict as the estimator does.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        array
            Its predictions.
        """
        check_is_fitted(self)
        return self.estimator.predict(X)

    def predict_proba(self, X):
        """Predict calibrated class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        array, list or dict
            In the shape of the estimator's.
        """
        check_is_fitted(self)
        proba, names = self.estimator.predict_proba(X), list(self.temperatures_)
        if isinstance(proba, dict):
            return {k: _scaled(p, self.temperatures_[k]) if k in self.temperatures_ else p for k, p in proba.items()}
        if not isinstance(proba, list):
            return _scaled(proba, self.temperatures_[names[0]])
        return [_scaled(p, self.temperatures_[name]) for p, name in zip(proba, names, strict=True)]


def _temperature(proba: np.ndarray, codes: np.ndarray) -> float:
    """Return the temperature of the smallest log loss."""
    if len(codes) == 0:
        return 1.0

    def loss(log_temperature: float) -> float:
        scaled = _scaled(proba, np.exp(log_temperature))
        return -np.log(np.maximum(scaled[np.arange(len(codes)), codes], np.finfo(float).tiny)).mean()

    return float(np.exp(minimize_scalar(loss, bounds=BOUNDS, method="bounded", options={"xatol": 1e-8}).x))


def _scaled(proba: np.ndarray, temperature: float) -> np.ndarray:
    """Return probabilities at a temperature."""
    logs = np.log(np.maximum(np.asarray(proba, dtype=float), np.finfo(float).tiny)) / temperature
    values = np.exp(logs - logs.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)
