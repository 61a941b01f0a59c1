"""One task of a fitted estimator as a classifier or a regressor."""

from __future__ import annotations

from numbers import Integral

import numpy as np
import torch
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.metrics import accuracy_score, r2_score
from sklearn.pipeline import Pipeline
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skmtl._table import read_targets
from skmtl.tasks import decoded


def _can(method: str):
    """Return a test of whether a view's task has a method."""

    def has(view) -> bool:
        task = view._task()
        if task is None or not hasattr(task, method):
            raise AttributeError(f"Task {view.task!r} has no {method}: {view._kind()}.")
        return True

    return has


def _has_classes(view) -> bool:
    if view._classes() is None:
        raise AttributeError(f"Task {view.task!r} has no classes.")
    return True


def _is_ours(view) -> bool:
    if not hasattr(view._last()[1], "_module_of"):
        raise AttributeError(f"{type(view._last()[1]).__name__} is not an estimator of this package.")
    return True


class TaskView(BaseEstimator):
    """One task of a fitted estimator of several tasks, as a classifier or a regressor of scikit-learn.

    So that all that takes one target works with a task: calibration, tuned thresholds, displays, partial dependence,
    permutation importance. The view only looks: it copies nothing, `fit` changes nothing, and `clone` returns the view
    itself, as for scikit-learn's `FrozenEstimator`.

    Parameters
    ----------
    estimator : estimator
        A fitted predictor of several tasks: of this package, a pipeline or search around one, or another estimator
        whose `predict` returns a column per task, such as a random forest.
    task : str or int
        Name of the task, or its position.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Of a task with classes.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : array of shape (`n_features_in_`,)
        Names of the columns of X where it had names.

    See Also
    --------
    skmtl.MultiTaskEstimator.task : The same in short.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.calibration import CalibratedClassifierCV
    >>> from skmtl import MultiTaskClassifier, TaskView
    >>> X = np.random.default_rng(0).normal(size=(80, 3))
    >>> y = np.where(X[:, :2] > 0, "yes", "no")
    >>> model = MultiTaskClassifier(max_epochs=5, random_state=0).fit(X, y)
    >>> view = TaskView(model, "1")
    >>> view.predict_proba(X).shape
    (80, 2)
    >>> CalibratedClassifierCV(view).fit(X, y[:, 1]).predict(X).shape
    (80,)
    """

    _parameter_constraints = {"estimator": [HasMethods(["predict"])], "task": [str, Integral]}

    def __init__(self, estimator, task):
        self.estimator = estimator
        self.task = task

    # ---- scikit-learn -------------------------------------------------------------------------------------------

    def fit(self, X, y, *args, **kwargs):
        """Check that the estimator is fitted, and learn nothing.

        Parameters
        ----------
        X : object
            Ignored.
        y : object
            Ignored.
        *args : tuple
            Ignored.
        **kwargs : dict
            Ignored.

        Returns
        -------
        self : object
            The view.
        """
        self._validate_params()
        self._number()
        return self

    def __sklearn_clone__(self):
        return self

    def __sklearn_is_fitted__(self):
        try:
            self._number()
        except NotFittedError:
            return False
        return True

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        kind = self._estimator_type_of_task()
        if kind is not None:
            from sklearn.utils import ClassifierTags, RegressorTags

            tags.estimator_type = kind
            tags.classifier_tags = ClassifierTags() if kind == "classifier" else None
            tags.regressor_tags = RegressorTags() if kind == "regressor" else None
        return tags

    @property
    def classes_(self):
        """Classes of the task."""
        classes = self._classes()
        if classes is None:
            raise AttributeError(f"Task {self.task!r} has no classes.")
        return classes

    @property
    def n_features_in_(self):
        """Columns of X."""
        return self.estimator.n_features_in_

    @property
    def feature_names_in_(self):
        """Names of the columns of X."""
        return self.estimator.feature_names_in_

    # ---- predictions --------------------------------------------------------------------------------------------

    def predict(self, X):
        """Predict the task.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        array of shape (n_samples,), or (n_samples, n_outputs) of a task of several outputs
            Predictions in the labels or units of y.
        """
        task, number = self._task(), self._number()
        if task is not None:
            return decoded(task, self._raw(X))
        values, classes = np.asarray(self.estimator.predict(X)), self._classes()
        values = values.reshape(len(values), -1)[:, number]
        return values if classes is None or values.dtype == classes.dtype else values.astype(classes.dtype)

    @available_if(_has_classes)
    def predict_proba(self, X):
        """Predict the probabilities of the task's classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        array of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        return self._part(self.estimator.predict_proba(X))

    @available_if(_has_classes)
    def predict_log_proba(self, X):
        """Predict the logarithms of the probabilities of the task's classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        array of shape (n_samples, n_classes)
            In nats.
        """
        if hasattr(self.estimator, "predict_log_proba"):
            return self._part(self.estimator.predict_log_proba(X))
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    @available_if(_can("predicted_quantiles"))
    def predict_quantiles(self, X):
        """Predict the quantiles of a `Quantile` task.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        array of shape (n_samples, n_quantiles)
            Ascending along each row, in the units of y.
        """
        return self._task().predicted_quantiles(self._raw(X))

    @available_if(_can("predicted_interval"))
    def predict_interval(self, X, coverage=0.9):
        """Predict a central interval of a `Gaussian` or a `Censored` task.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        coverage : float, default=0.9
            Its probability, in (0, 1).

        Returns
        -------
        array of shape (n_samples, 2)
            Lower and upper end, in the units of y.
        """
        return self._task().predicted_interval(self._raw(X), coverage)

    @available_if(_can("predicted_std"))
    def predict_std(self, X):
        """Predict the standard deviation of a `Gaussian` or a `Censored` task.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        array of shape (n_samples,)
            In the units of y: noise and, in an ensemble, disagreement of its members together.
        """
        return self._task().predicted_std(self._raw(X))

    @available_if(_can("predicted_survival"))
    def predict_survival_function(self, X, times):
        """Predict the probability of no event up to some times, of a `Survival` task.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        times : array-like of shape (n_times,)
            Times, in the unit of y.

        Returns
        -------
        array of shape (n_samples, n_times)
            Probabilities.
        """
        return self._task().predicted_survival(self._raw(X), np.asarray(times, dtype=float))

    @available_if(_can("predicted_incidence"))
    def predict_cumulative_incidence(self, X, times):
        """Predict the probability of each kind of event up to some times, of a `Survival` task.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        times : array-like of shape (n_times,)
            Times, in the unit of y.

        Returns
        -------
        array of shape (n_samples, n_causes, n_times)
            Probabilities.
        """
        return self._task().predicted_incidence(self._raw(X), np.asarray(times, dtype=float))

    def score(self, X, y, sample_weight=None):
        """Return the accuracy of a classifier, R² of a regressor, or else the skill of the task.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,) or (n_samples, n_columns)
            Labels of the task, none missing.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights.

        Returns
        -------
        float
            Score.
        """
        kind = self._estimator_type_of_task()
        if kind is None or (np.ndim(y) == 2 and np.shape(y)[1] > 1):
            return self._skill(X, y, sample_weight)
        metric = accuracy_score if kind == "classifier" else r2_score
        return metric(y, self.predict(X), sample_weight=sample_weight)

    @available_if(_is_ours)
    def module(self):
        """Return what the task predicts as a torch module, for torch's tools that explain or export networks.

        Of a pipeline it is the last step: it takes what the steps before give.

        Returns
        -------
        torch.nn.Module
            Takes a float tensor (n_samples, n_features); returns (n_samples, n_classes) probabilities of a classifier,
            else (n_samples,) predictions in the units of y. Differentiable; its activations are modules.
        """
        return self._last()[1]._module_of(self._number())

    # ---- the estimator ------------------------------------------------------------------------------------------

    def _last(self):
        """Return what comes before the estimator of the tasks, if anything, and that estimator."""
        before, last = [], self.estimator
        while isinstance(last, Pipeline) or hasattr(last, "best_estimator_"):
            if isinstance(last, Pipeline):
                before, last = [*before, last[:-1]], last[-1]
            else:
                last = last.best_estimator_
        return before, last

    def _names(self) -> list:
        """Return the names of the estimator's tasks, or their positions."""
        check_is_fitted(self.estimator)
        last = self._last()[1]
        return list(getattr(last, "task_names_", range(_n_outputs(last))))

    def _number(self) -> int:
        """Return the position of the task; refuse an unfitted estimator and an unknown task."""
        names = self._names()
        if self.task in names:
            return names.index(self.task)
        if isinstance(self.task, (int, np.integer)) and 0 <= self.task < len(names):
            return int(self.task)
        raise ValueError(f"The estimator has no task {self.task!r}. Its tasks are {names[:20]}.")

    def _task(self):
        """Return the fitted task of a `MultiTaskEstimator`, else None."""
        tasks = getattr(self._last()[1], "tasks_", None)
        return None if tasks is None else list(tasks.values())[self._number()]

    def _kind(self) -> str:
        task = self._task()
        return f"it is {task!r}" if task is not None else f"it is of {type(self._last()[1]).__name__}"

    def _estimator_type_of_task(self) -> str | None:
        task = self._task()
        if task is not None:
            return task.estimator_type
        last = self._last()[1]
        return "classifier" if is_classifier(last) else "regressor" if is_regressor(last) else None

    def _classes(self):
        """Return the classes of the task; None if it has none, or several levels of them."""
        task, last = self._task(), self._last()[1]
        if task is not None:
            return task.classes_ if task.estimator_type == "classifier" else None
        classes = getattr(last, "classes_", None)
        return classes[self._number()] if isinstance(classes, list) else classes

    def _part(self, proba):
        """Return the entry of the task of what the estimator gives for all."""
        if isinstance(proba, dict):
            return list(proba.values())[list(proba).index(self._last()[1].task_names_[self._number()])]
        return proba[self._number()] if isinstance(proba, list) else proba

    def _raw(self, X) -> list[torch.Tensor]:
        """Return the raw outputs of the task."""
        before, last = self._last()
        for steps in before:
            X = steps.transform(X) if len(steps) else X
        return last._raw_by_task(last._raw(X))[last.task_names_[self._number()]]

    def _skill(self, X, y, sample_weight) -> float:
        table, task = read_targets(y), self._task()
        weight = None if sample_weight is None else np.asarray(sample_weight, dtype=float)
        rows = task.observed_rows(table) if weight is None else task.observed_rows(table) & (weight > 0)
        chosen = torch.from_numpy(np.flatnonzero(rows))
        raw = [part[chosen] for part in self._raw(X)]
        return task.skill(table.take(rows), raw, None if weight is None else weight[rows])


def _n_outputs(estimator) -> int:
    """Return the number of tasks of a foreign estimator."""
    classes = getattr(estimator, "classes_", None)
    return getattr(estimator, "n_outputs_", len(classes) if isinstance(classes, list) else 1)
