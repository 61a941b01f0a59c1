"""One task of a fitted estimator as a classifier or a regressor."""

from __future__ import annotations

import warnings
from numbers import Integral

import numpy as np
import torch
from sklearn.base import BaseEstimator, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import accuracy_score, r2_score
from sklearn.pipeline import Pipeline
from sklearn.utils import ClassifierTags, RegressorTags
from sklearn.utils._param_validation import HasMethods
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skmtl._recommend import recommend, why_not
from skmtl._table import TargetTable, read_targets
from skmtl.tasks import decoded, refuse_unknown_inputs


def _can(method: str):
    """Return a test of whether a view's task has a method."""
    return lambda view: hasattr(view._task(), method)


def _last_can(method: str):
    """Return a test of whether the estimator of a view's task has a method."""
    return lambda view: hasattr(view._last()[1], method)


def _has_classes(view) -> bool:
    return view._classes() is not None


def _has_probabilities(view) -> bool:
    return hasattr(view.estimator, "predict_proba") and (_has_classes(view) or _can("probabilities")(view))


def _has_std(view) -> bool:
    return (_last_can("predict_std") if view._task() is None else _can("predicted_std"))(view)


def _recommends(view) -> bool:
    return why_not(view) is None


class TaskView(FrozenEstimator):
    """One task of a fitted estimator of several tasks, as a classifier or a regressor of scikit-learn.

    So that all that takes one target works with a task: calibration, tuned thresholds, displays, partial dependence,
    permutation importance. The view only looks: it copies nothing, `fit` changes nothing, and `clone` returns the view
    itself. It is a `FrozenEstimator` of scikit-learn, so that `CalibratedClassifierCV` calibrates it on all rows that
    it is given.

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

    def get_params(self, deep=True):
        """Get the parameters of the view; those of the estimator are not its own.

        Parameters
        ----------
        deep : bool, default=True
            Ignored.

        Returns
        -------
        dict
            ``"estimator"`` and ``"task"``.
        """
        return {"estimator": self.estimator, "task": self.task}

    def set_params(self, **params):
        """Look at another estimator or task.

        Parameters
        ----------
        **params : dict
            ``estimator`` and ``task``.

        Returns
        -------
        self : object
            The view.
        """
        return BaseEstimator.set_params(self, **params)

    def __repr__(self, N_CHAR_MAX=700):
        return f"TaskView({type(self.estimator).__name__}(...), {self.task!r})"

    def __getattr__(self, name):
        """Say why the task lacks something; what the estimator has for all tasks is not the view's."""
        text = f"This 'TaskView' has no attribute {name!r}"
        if name.startswith("_") or "estimator" not in vars(self):
            raise AttributeError(f"{text}.")
        try:
            self._number()
        except NotFittedError:
            raise
        except ValueError as error:
            raise AttributeError(str(error)) from None
        reason = why_not(self) if name == "recommend" else None
        raise AttributeError(f"{text}: {self._kind() if reason is None else reason}.")

    def __sklearn_is_fitted__(self):
        try:
            self._number()
        except NotFittedError:
            return False
        return True

    def __sklearn_tags__(self):
        tags, kind = super().__sklearn_tags__(), self._estimator_type_of_task()
        tags.estimator_type, tags.transformer_tags = kind, None
        tags.target_tags.multi_output, tags.target_tags.single_output = kind is None, kind is not None
        if kind is not None:
            tags.classifier_tags = ClassifierTags() if kind == "classifier" else None
            tags.regressor_tags = RegressorTags() if kind == "regressor" else None
        return tags

    @property
    def classes_(self):
        """Classes of the task."""
        classes = self._classes()
        if classes is None:
            raise AttributeError(f"Task {self.task!r} has no classes: {self._kind()}.")
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

    @available_if(_last_can("predict_members"))
    def predict_members(self, X):
        """Predict the task by each member of the ensemble.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        array of shape (n_members, n_samples), or (n_members, n_samples, n_outputs) of a task of several outputs
            Predictions of each member.
        """
        task, (last, X) = self._task(), self._reach(X)
        if task is None:
            values = last.predict_members(X)
            return values.reshape(*values.shape[:2], -1)[..., self._number()]
        values = decoded(task, self._select(last._raw_members(X)))
        return values.reshape(len(last._member_ids), -1, *values.shape[1:])

    @available_if(_has_probabilities)
    def predict_proba(self, X):
        """Predict the probabilities of the task's classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        array of shape (n_samples, n_classes)
            In the order of ``classes_``. Of `Multilabel` and `Chain` (n_samples, n_columns), of `Hierarchy` a list with
            one array for each level.
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
        """Predict a central interval of a `Gaussian`, a `Censored` or a `Quantile` task.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        coverage : float, default=0.9
            Its probability, in (0, 1); of a `Quantile` task that between two of its quantiles.

        Returns
        -------
        array of shape (n_samples, 2)
            Lower and upper end, in the units of y.
        """
        return self._task().predicted_interval(self._raw(X), coverage)

    @available_if(_has_std)
    def predict_std(self, X):
        """Predict the standard deviation of a `Gaussian` or a `Censored` task, or of a regressor's members.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        array of shape (n_samples,)
            In the units of y: noise and, in an ensemble, disagreement of its members together; of a
            `MultiTaskRegressor` the disagreement alone.
        """
        if self._task() is not None:
            return self._task().predicted_std(self._raw(X))
        last, X = self._reach(X)
        values = last.predict_std(X)
        return values.reshape(len(values), -1)[:, self._number()]

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

    @available_if(_recommends)
    def recommend(self, users, k=10, exclude_seen=True):
        """Recommend the items with the highest scores to users.

        Of estimators whose encoder reads ids of users and items, such as `Embeddings`, and of tasks of two classes, of
        numbers, and of `Chain`.

        Parameters
        ----------
        users : id, array-like of shape (n_users,) or DataFrame
            One id, several ids, or a frame with the column of user ids and others of X that are not of the item, such
            as the age of a new user or the hour. An id that `fit` has not seen stands for anybody: what all others
            like, or those of whom the other columns say the same.
        k : int, default=10
            Items for each user, at most.
        exclude_seen : bool, default=True
            Whether to leave out items that were with that user in a row of the fit that had a label.

        Returns
        -------
        DataFrame of at most n_users * k rows
            The user, the item, both called as in X, and ``"score"``: the probability of ``classes_[1]`` or of the last
            event of a `Chain`, else the prediction in the units of y. Rows of a user stand together, the highest score
            first. There are fewer than k where there are no more items.

        Notes
        -----
        Items are those in the rows of the fit, with what these say of them: columns of X that are the same in all rows
        of an item. What is the same in all rows of a user is known too. Of other columns that `users` lacks, the mean
        over the rows of the fit is taken, and no id. The estimator has stored the pairs, 4 bytes each.

        Without hidden layers and with hard sharing, the scores of all items are one matrix product.

        Examples
        --------
        >>> import pandas as pd
        >>> from skmtl import MultiTaskEstimator
        >>> from skmtl.encoders import Embeddings
        >>> from skmtl.tasks import Classification
        >>> X = pd.DataFrame({"user": list("aaabbc"), "film": list("xyzxyx")})
        >>> model = MultiTaskEstimator(
        ...     {"click": Classification(negatives=2)},
        ...     encoder=Embeddings(["user", "film"], dim=2),
        ...     random_state=0,
        ... )
        >>> model.fit(X, pd.DataFrame({"click": [1] * 6}))
        MultiTaskEstimator(...)
        >>> model.task("click").recommend("b", k=2)["film"].tolist()
        ['z']
        """
        return recommend(self, users, k, exclude_seen)

    def score(self, X, y, sample_weight=None):
        """Return the accuracy of a classifier, R² of a regressor, or else the skill of the task.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like or DataFrame of shape (n_samples,) or (n_samples, n_columns)
            Labels of the task; missing ones are skipped. A table with the columns of all tasks will do.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights.

        Returns
        -------
        float
            Score; NaN without a label.
        """
        table, weight = self._own_columns(read_targets(y)), None
        rows = table.observed.all(axis=1) if self._task() is None else self._task().observed_rows(table)
        if sample_weight is not None:
            weight = np.asarray(sample_weight, dtype=float)
            rows &= weight > 0
            weight = weight[rows]
        if not rows.any():
            return float("nan")
        table, kind = table.take(rows), self._estimator_type_of_task()
        raw = [] if self._task() is None else self._raw(X)
        if raw:
            refuse_unknown_inputs(str(self.task), raw, rows)
        chosen = torch.from_numpy(np.flatnonzero(rows))
        raw = [part[chosen] for part in raw]
        if kind is None or table.n_columns > 1:
            return self._task().skill(table, raw, weight)
        predicted = decoded(self._task(), raw) if raw else self.predict(X)[rows]
        metric = accuracy_score if kind == "classifier" else r2_score
        return float(metric(table.columns[0], predicted, sample_weight=weight))

    @available_if(_last_can("_module_of"))
    def module(self):
        """Return what the task predicts as a torch module, for torch's tools that explain or export networks.

        Of a pipeline it is the last step: it takes what the steps before give.

        Returns
        -------
        torch.nn.Module
            Takes a tensor (n_samples, n_features), or what an encoder reads; returns (n_samples, n_classes)
            probabilities of a classifier, else (n_samples,) predictions in the units of y. Differentiable; its
            activations are modules.
        """
        return self._last()[1]._module_of(self._number())

    # ---- the estimator ------------------------------------------------------------------------------------------

    def _last(self):
        """Return what comes before the estimator of the tasks, if anything, and that estimator."""
        before, last = [], self.estimator
        while True:
            if isinstance(last, Pipeline):
                before, last = [*before, last[:-1]], last[-1]
            elif type(last) is FrozenEstimator:
                last = last.estimator
            elif hasattr(last, "best_estimator_"):
                last = last.best_estimator_
            else:
                return before, last

    def _reach(self, X):
        """Return the estimator of the tasks, and X as that one takes it."""
        before, last = self._last()
        for steps in before:
            X = steps.transform(X) if len(steps) else X
        return last, X

    def _names(self) -> list:
        """Return the names of the estimator's tasks, or their positions."""
        check_is_fitted(self.estimator)
        last = self._last()[1]
        names = getattr(last, "task_names_", None)
        return list(range(_n_outputs(last)) if names is None else names)

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
        return f"task {self.task!r} is {task!r}" if task is not None else f"it is of {type(self._last()[1]).__name__}"

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
        if isinstance(classes, list):
            return classes[self._number()]
        return np.array([0, 1]) if _are_indicators(last) else classes

    def _part(self, proba):
        """Return the entry of the task of what the estimator gives for all."""
        if isinstance(proba, dict):
            return proba[self._last()[1].task_names_[self._number()]]
        if isinstance(proba, list):
            return proba[self._number()]
        last = self._last()[1]
        if _are_indicators(last) or isinstance(getattr(last, "classes_", None), list):  # a column for each task
            return np.stack([1 - proba[:, self._number()], proba[:, self._number()]], axis=1)
        return proba

    def _raw(self, X) -> list[torch.Tensor]:
        """Return the raw outputs of the task."""
        last, X = self._reach(X)
        return self._select(last._raw(X))

    def _select(self, raws: list[np.ndarray]) -> list[torch.Tensor]:
        """Return the raw outputs of the task, of those of all."""
        last = self._last()[1]
        return last._raw_by_task(raws)[last.task_names_[self._number()]]

    def _own_columns(self, table: TargetTable) -> TargetTable:
        """Return the columns of y that the task reads: of a table of those alone, or of those of all tasks."""
        last, number = self._last()[1], self._number()
        own = getattr(last, "_columns", None)  # of a `MultiTaskEstimator`
        own = [number] if own is None else own[last.task_names_[number]]
        names = getattr(last, "_y_names", [str(name) for name in self._names()])
        claims = [names[k] for k in own]
        if table.names is not None and set(claims) <= set(table.names):
            return table.select([table.names.index(name) for name in claims])
        if table.n_columns in (len(own), len(names)):
            return table.select(own) if table.n_columns == len(names) else table
        raise ValueError(f"y must hold the columns {claims} of task {self.task!r}. Found {table.n_columns} columns.")


def _n_outputs(estimator) -> int:
    """Return the number of tasks of a foreign estimator: as it says, or else as it predicts."""
    classes = getattr(estimator, "classes_", None)
    if classes is not None:
        return len(classes) if isinstance(classes, list) or _are_indicators(estimator) else 1
    if hasattr(estimator, "n_outputs_"):
        return estimator.n_outputs_
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns without names
        row = np.zeros((1, estimator.n_features_in_)) if hasattr(estimator, "n_features_in_") else None
        return 1 if row is None else np.size(estimator.predict(row))


def _are_indicators(estimator) -> bool:
    """Return whether the tasks of a foreign classifier are columns of 0 and 1, which scikit-learn reads as labels."""
    binarizer = getattr(estimator, "_label_binarizer", getattr(estimator, "label_binarizer_", None))
    return getattr(binarizer, "y_type_", "") == "multilabel-indicator"
