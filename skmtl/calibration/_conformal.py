"""Split conformal prediction: intervals and sets that cover what they promise, whatever the model."""

from __future__ import annotations

import math
from numbers import Real

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.validation import check_is_fitted

from skmtl.calibration._outputs import in_shape, known_ranges, label_codes, probabilities, views_of

CONSTRAINTS = {"estimator": [HasMethods(["predict"])], "coverage": [Interval(Real, 0, 1, closed="neither")]}


class ConformalRegressor(BaseEstimator):
    """Intervals around the predictions of a fitted regressor that hold a given share of new labels.

    As wide as the errors on rows that the regressor was not trained on: the same for every row, or, of a `Quantile`
    task, its lowest and highest quantile, moved by the same amount [2]_. The share holds for rows drawn like those of
    `fit`, on average over both [1]_, for each task by itself and for any number of missing labels.

    Parameters
    ----------
    estimator : estimator
        A fitted regressor of several tasks, a pipeline or search around one, a `MultiTaskEstimator` or a `TaskView`.
    coverage : float, default=0.9
        Share of labels that intervals are to hold, in (0, 1).

    Attributes
    ----------
    margins_ : dict
        Of each task what is added to both ends, in the units of y; infinite where a task has too few labels for the
        coverage: fewer than ``coverage / (1 - coverage)``.

    Notes
    -----
    Intervals of a `Count` with an exposure are of the rate that it predicts. Of a label of a `Censored` task the error
    is the largest that its bound allows, which beyond ">10" is infinite: intervals then hold at least the share that
    is promised, and are infinite where more labels than ``1 - coverage`` of all are bounds to one side.

    References
    ----------
    .. [1] J. Lei et al., "Distribution-Free Predictive Inference for Regression", JASA 113, 2018.
    .. [2] Y. Romano et al., "Conformalized Quantile Regression", NeurIPS 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.calibration import ConformalRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 3))
    >>> y = X[:, :2] + rng.normal(size=(300, 2))
    >>> model = MultiTaskRegressor(random_state=0).fit(X[:100], y[:100])
    >>> conformal = ConformalRegressor(model, coverage=0.8)
    >>> conformal = conformal.fit(X[100:200], y[100:200])
    >>> conformal.predict_interval(X[200:]).shape
    (100, 2, 2)
    """

    _parameter_constraints = CONSTRAINTS

    def __init__(self, estimator, coverage=0.9):
        self.estimator = estimator
        self.coverage = coverage

    def fit(self, X, y):
        """Measure the errors of the estimator.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows that the estimator was not trained on.
        y : array-like or DataFrame of shape (n_samples,) or (n_samples, n_tasks)
            Their labels; missing ones are skipped.

        Returns
        -------
        self : object
            The calibrated regressor.
        """
        self._validate_params()
        views = views_of(self.estimator, "regressor")
        ends, self.margins_ = self._ends(views, X), {}
        for name, seen, lower, upper in known_ranges(self.estimator, views, y):
            low, high = ends[name][seen].T
            self.margins_[name] = _conformal_quantile(np.maximum(low - lower, upper - high), self.coverage)
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

    def predict_interval(self, X):
        """Predict an interval for every task.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        array of shape (n_samples, n_tasks, 2), or (n_samples, 2) if y was 1-D
            Lower and upper ends, in the units of y. Of a `MultiTaskEstimator` a dict of arrays (n_samples, 2), of its
            tasks that are numbers.
        """
        check_is_fitted(self)
        ends = self._ends(views_of(self.estimator, "regressor"), X)
        margins = {name: np.array([-margin, margin]) for name, margin in self.margins_.items()}
        return in_shape(self.estimator, {name: ends[name] + margins[name] for name in ends}, stacked=True)

    def _ends(self, views: dict, X) -> dict[str, np.ndarray]:
        """Return the ends of intervals before they are widened: quantiles, or twice the prediction."""
        found, table = {}, None
        for name, view in views.items():
            if hasattr(view, "predict_quantiles"):
                found[name] = view.predict_quantiles(X)[:, [0, -1]]
            elif view is self.estimator or view._task() is not None:
                found[name] = np.repeat(np.asarray(view.predict(X), dtype=float)[:, None], 2, axis=1)
            else:
                table = np.asarray(self.estimator.predict(X), dtype=float) if table is None else table
                own = table.reshape(len(table), -1)[:, view._number()]
                found[name] = np.repeat(own[:, None], 2, axis=1)
        return found


class ConformalClassifier(BaseEstimator):
    """Sets of classes that hold the label of a given share of new rows.

    A class is in the set of a row if its probability is at least that of the labels with the smallest probabilities
    among rows that the classifier was not trained on [1]_. Sets are small where the classifier is certain, and may be
    empty. The share holds for rows drawn like those of `fit`, for each task by itself.

    Parameters
    ----------
    estimator : estimator
        A fitted classifier of several tasks, a pipeline or search around one, a `MultiTaskEstimator` or a `TaskView`.
    coverage : float, default=0.9
        Share of labels that sets are to hold, in (0, 1).

    Attributes
    ----------
    thresholds_ : dict
        Of each task the smallest probability of a class in a set; 0 where it has too few labels for the coverage.

    References
    ----------
    .. [1] M. Sadinle, J. Lei and L. Wasserman, "Least Ambiguous Set-Valued Classifiers With Bounded Error Levels", JASA
       114, 2019.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import MultiTaskClassifier
    >>> from skmtl.calibration import ConformalClassifier
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(300, 3))
    >>> y = np.digitize(X[:, :2] + rng.normal(size=(300, 2)), [-0.5, 0.5])
    >>> model = MultiTaskClassifier(random_state=0).fit(X[:100], y[:100])
    >>> conformal = ConformalClassifier(model).fit(X[100:200], y[100:200])
    >>> [sets.shape for sets in conformal.predict_set(X[200:])]
    [(100, 3), (100, 3)]
    """

    _parameter_constraints = CONSTRAINTS

    def __init__(self, estimator, coverage=0.9):
        self.estimator = estimator
        self.coverage = coverage

    def fit(self, X, y):
        """Measure how probable the estimator finds labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows that the estimator was not trained on.
        y : array-like or DataFrame of shape (n_samples,) or (n_samples, n_tasks)
            Their labels; missing ones are skipped. One that the estimator does not know has probability 0.

        Returns
        -------
        self : object
            The calibrated classifier.
        """
        self._validate_params()
        views = views_of(self.estimator, "classifier")
        proba, self.thresholds_ = probabilities(self.estimator, views, X), {}
        for name, seen, codes in label_codes(self.estimator, views, y):
            own = np.where(codes >= 0, proba[name][seen][np.arange(len(codes)), codes], 0.0)
            self.thresholds_[name] = max(0.0, 1.0 - _conformal_quantile(1.0 - own, self.coverage))
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

    def predict_set(self, X):
        """Predict a set of classes for every task.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        list of bool arrays of shape (n_samples, n_classes_t)
            Whether each class is in the set, in the order of ``classes_``; one array if y was 1-D, and of a
            `MultiTaskEstimator` a dict of its tasks with classes. Rows without the features that a task reads have all.
        """
        check_is_fitted(self)
        proba = probabilities(self.estimator, views_of(self.estimator, "classifier"), X)
        sets = {name: ~(own < self.thresholds_[name] - 1e-12) for name, own in proba.items()}  # all, without features
        return in_shape(self.estimator, sets, stacked=False)


def _conformal_quantile(scores: np.ndarray, coverage: float) -> float:
    """Return the ceil((n + 1) coverage)-th smallest score; infinity where there are fewer.

    Rows without a prediction, whose features are missing, have no score: NaN.
    """
    scores = scores[~np.isnan(scores)]
    place = math.ceil((len(scores) + 1) * coverage - 1e-12)
    return float(np.sort(scores)[place - 1]) if place <= len(scores) else float("inf")
