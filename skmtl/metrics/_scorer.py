"""A scikit-learn scorer with one score per task."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import MetadataRequest

from skmtl._table import TargetTable, check_columns, check_distinct, read_targets
from skmtl.metrics._average import AVERAGES, average_of
from skmtl.metrics._comparison import is_class_list
from skmtl.metrics._means import weight_of_each
from skmtl.metrics._named import TaskMetric, find_metric
from skmtl.metrics._predictions import label_columns, per_task, probabilities
from skmtl.metrics._task_scores import metric_of_each, score_each


class UndefinedTaskWarning(UndefinedMetricWarning):
    """Some tasks have no score in the scored rows: for example, ROC-AUC if only one class is observed."""


def make_task_scorer(metric, average="mean", undefined="skip"):
    """Make a scorer that scores every task on its observed labels.

    Pass it as ``scoring`` to `GridSearchCV`, `cross_validate` or `permutation_importance`. In a search, ``cv_results_``
    then has one ``mean_test_<task>`` per task and ``mean_test_average``; ``refit="average"`` selects by the average.

    Parameters
    ----------
    metric : str, callable or dict
        One metric for all tasks, or a dict with the metric of each task, by task name. Greater is always better in
        a scorer, so a loss given by its plain name is negated: ``"log_loss"`` and ``"neg_log_loss"`` are the same.

        * ``"default"``: the estimator's own `score_tasks`, which suits each kind of task;

        * of predicted classes: ``"accuracy"``, ``"balanced_accuracy"``, ``"f1"`` (of the greater of two classes),
          ``"f1_macro"``;
        * of probabilities: ``"roc_auc"`` and ``"average_precision"`` (of the greater of two classes; of more classes
          the mean over the observed classes, each against the rest), ``"log_loss"`` (nats; the scored rows need not
          contain all classes);
        * of numbers: ``"r2"``, ``"explained_variance"``, ``"mean_absolute_error"``, ``"mean_squared_error"``,
          ``"root_mean_squared_error"``, ``"rrmse"`` (the root mean squared error over that of predicting the mean of
          the scored labels) and the same losses as ``"neg_..."``;
        * a function ``f(y_true, y_pred) -> float`` where greater is better. It receives the observed labels of one
          task and the predicted ones, shape (n_observed,), and, if weights are given, ``sample_weight``, which it
          must then accept.
    average : {"mean", "median", "worst"}, array of shape (n_tasks,), dict or Series, default="mean"
        How ``"average"`` is computed from the tasks' scores: ``"worst"`` is the smallest score; an array, or a dict or
        Series by task name, holds the weights >= 0 of a weighted mean. Tasks without a score are left out.
    undefined : {"skip", "raise"}, default="skip"
        What happens if a task has no score (no observed label; only one class for ``"roc_auc"``; fewer than two labels
        for ``"r2"``). ``"skip"``: its score is NaN, and one `UndefinedTaskWarning` counts such tasks. ``"raise"``: a
        ValueError is raised.

    Returns
    -------
    TaskScorer
        A callable ``scorer(estimator, X, y, sample_weight=None)`` that returns a dict of floats: one score per task
        name, and ``"average"``. `sample_weight` has shape (n_samples,) or (n_samples, n_tasks); only its ratios within
        a task matter, unless the metric is your own function. The scorer can be pickled, and supports metadata routing
        by ``set_score_request(sample_weight=True)``.

    Raises
    ------
    ValueError
        If a metric, `average` or `undefined` is unknown.

    Notes
    -----
    Task names are the estimator's ``task_names_`` (in a pipeline, those of its last step), else the column names of
    `y`, else ``"0"``, ``"1"``, ... If `y`, the predictions or a `sample_weight` of shape (n_samples, n_tasks) have
    column names, these must be the tasks, in the same order. If labels differ in type from the estimator's
    ``classes_`` or predictions, such as strings and numbers, a ValueError is raised. See `task_scores` for which of two
    classes is positive, and for constant targets.

    References
    ----------
    .. [1] E. Spyromitros-Xioufis, G. Tsoumakas, W. Groves and I. Vlahavas, "Multi-target regression via input space
       expansion: treating targets as inputs", Machine Learning 104, 2016 (the relative root mean squared error).

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.dummy import DummyRegressor
    >>> from skmtl.metrics import make_task_scorer
    >>> X = np.zeros((4, 1))
    >>> y = np.array([[1.0, 3.0], [3.0, 5.0], [2.0, 7.0], [2.0, 9.0]])
    >>> regressor = DummyRegressor().fit(X, y)
    >>> y[3, 1] = np.nan  # a missing label is skipped
    >>> make_task_scorer("mean_absolute_error")(regressor, X, y)
    {'0': -0.5, '1': -1.666..., 'average': -1.083...}
    """
    if not (isinstance(metric, str) and metric == "default"):
        for one in metric.values() if isinstance(metric, Mapping) else [metric]:
            find_metric(one)
    if isinstance(average, str) and average not in AVERAGES:
        raise ValueError(f"Unknown average {average!r}. Known: {', '.join(AVERAGES)}, an array or a dict of weights.")
    if undefined not in ("skip", "raise"):
        raise ValueError(f"undefined must be 'skip' or 'raise'. Found {undefined!r}.")
    return TaskScorer(metric, average, undefined)


class TaskScorer:
    """A scorer with one score per task. Make one with `make_task_scorer`, which describes its use.

    Parameters
    ----------
    metric : str, callable or dict
        See `make_task_scorer`.
    average : str, array or dict
        See `make_task_scorer`.
    undefined : {"skip", "raise"}
        See `make_task_scorer`.
    """

    def __init__(self, metric, average, undefined):
        self.metric = metric
        self.average = average
        self.undefined = undefined

    def __repr__(self):
        metric = getattr(self.metric, "__name__", repr(self.metric)) if callable(self.metric) else repr(self.metric)
        return f"make_task_scorer({metric}, average={self.average!r}, undefined={self.undefined!r})"

    def __call__(self, estimator, X, y, sample_weight=None):
        """Score every task.

        Parameters
        ----------
        estimator : object
            A fitted estimator.
        X : array-like of shape (n_samples, n_features)
            Rows to score.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            True labels; missing ones are skipped.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), default=None
            Weights of rows or labels; a label of weight 0 counts as missing.

        Returns
        -------
        dict
            One float per task name, and ``"average"``; greater is better.
        """
        scores = self.score_tasks(estimator, X, y, sample_weight)
        if "average" in scores:
            raise ValueError("No task may be called 'average': the scorer needs that name. Rename the column of y.")
        missing = [name for name, score in scores.items() if np.isnan(score)]
        if missing:
            self._report_undefined(missing, len(scores))
        return scores | {"average": average_of(self.average, scores)}

    def score_tasks(self, estimator, X, y, sample_weight=None):
        """Return the score of each task, without average and without warning; NaN for a task without a score.

        Parameters
        ----------
        estimator : object
            A fitted estimator.
        X : array-like of shape (n_samples, n_features)
            Rows to score.
        y : array-like of shape (n_samples,) or (n_samples, n_tasks)
            True labels; missing ones are skipped.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), default=None
            Weights of rows or labels; a label of weight 0 counts as missing.

        Returns
        -------
        dict
            One float per task name; greater is better.
        """
        if isinstance(self.metric, str) and self.metric == "default":
            return _own_scores(estimator, X, y, sample_weight)
        table = read_targets(y)
        names = _fitted_task_names(estimator, table)
        metrics = metric_of_each(self.metric, names)
        outputs = _outputs_of(estimator, X, metrics, names)
        weight = weight_of_each(sample_weight, table, names)
        scores = score_each(metrics, names, table, outputs, weight, _fitted_classes(estimator, len(names)))
        return {
            name: -score if metric.is_loss else score
            for (name, score), metric in zip(scores.items(), metrics, strict=True)
        }

    def set_score_request(self, *, sample_weight=None):
        """Request `sample_weight` for this scorer, or refuse it, when metadata routing is enabled.

        Parameters
        ----------
        sample_weight : bool, str or None, default=None
            True: it is passed. False: it is not passed. None: an error is raised if it is given. str: the metadata of
            this name is passed instead.

        Returns
        -------
        TaskScorer
            The scorer itself.

        Raises
        ------
        RuntimeError
            If metadata routing is not enabled.
        """
        if not get_config()["enable_metadata_routing"]:
            raise RuntimeError(
                "set_score_request works only with metadata routing. Enable it: "
                "sklearn.set_config(enable_metadata_routing=True)."
            )
        self._sample_weight_request = sample_weight
        return self

    def get_metadata_routing(self):
        """Return the metadata that this scorer requests.

        Returns
        -------
        MetadataRequest
            The request.
        """
        request = MetadataRequest(owner=self)
        request.score.add_request(param="sample_weight", alias=getattr(self, "_sample_weight_request", None))
        return request

    def _report_undefined(self, missing: list[str], n_tasks: int) -> None:
        """Warn about tasks without a score, or raise ValueError."""
        listed = ", ".join(map(repr, missing[:10])) + (", ..." if len(missing) > 10 else "")
        text = f"{len(missing)} of {n_tasks} tasks are undefined in the scored rows: {listed}."
        hint = "They lack observed labels or classes there"
        if self.undefined == "raise":
            raise ValueError(f"{text} {hint}: stratify with MultiTaskKFold, use fewer folds, or undefined='skip'.")
        # stacklevel 3: the line that called the scorer
        warnings.warn(f"{text} {hint}, and are left out of the average.", UndefinedTaskWarning, stacklevel=3)


def _own_scores(estimator: Any, X: Any, y: Any, sample_weight: Any) -> dict[str, float]:
    """Return what the estimator's own `score_tasks` gives, after the steps before it in a pipeline."""
    while isinstance(estimator, Pipeline) or hasattr(estimator, "best_estimator_"):
        if isinstance(estimator, Pipeline):
            X = estimator[:-1].transform(X) if len(estimator) > 1 else X
        estimator = estimator[-1] if isinstance(estimator, Pipeline) else estimator.best_estimator_
    if not hasattr(estimator, "score_tasks"):
        raise TypeError(
            f"metric='default' asks for score_tasks, which {type(estimator).__name__} has not. Name a metric, such as "
            f"'r2' or 'accuracy'."
        )
    scores: dict[str, float] = estimator.score_tasks(X, y, sample_weight)
    return scores


def _outputs_of(estimator: Any, X: Any, metrics: list[TaskMetric], names: list[str]) -> list[np.ndarray]:
    """Return the output that each task's metric reads: class probabilities, or predicted labels or numbers.

    `predict` and `predict_proba` are called at most once each, and only if a metric reads their result.
    """
    reads_proba = [metric.reads == "probabilities" for metric in metrics]
    labels = [] if all(reads_proba) else _predict(estimator, X, names)
    proba = _predict_proba(estimator, X, names) if any(reads_proba) else []
    return [proba[t] if reads else labels[t] for t, reads in enumerate(reads_proba)]


def _predict(estimator: Any, X: Any, names: list[str]) -> list[np.ndarray]:
    """Return the labels or numbers that are predicted for each task."""
    what = f"the predictions of {type(estimator).__name__}"
    predicted = read_targets(estimator.predict(X), what)
    if predicted.ndim == 1:
        predicted = replace(predicted, names=None)  # a single Series may have any name
    return label_columns(predicted, names, what)


def _predict_proba(estimator: Any, X: Any, names: list[str]) -> list[np.ndarray]:
    """Return the class probabilities of each task."""
    if not hasattr(estimator, "predict_proba"):
        raise TypeError(
            f"The metric needs class probabilities, which {type(estimator).__name__} does not predict. Score a "
            f"classifier, or choose a metric of labels or numbers."
        )
    entries = per_task(estimator.predict_proba(X), len(names), "predict_proba")
    return [probabilities(entry, name) for entry, name in zip(entries, names, strict=True)]


def _fitted_task_names(estimator: Any, table: TargetTable) -> list[str]:
    """Return the names of the estimator's tasks; ValueError unless they are the columns of y, in the same order."""
    last = estimator
    while isinstance(last, Pipeline) or hasattr(last, "best_estimator_"):
        last = last[-1] if isinstance(last, Pipeline) else last.best_estimator_
    names = check_distinct(list(getattr(last, "task_names_", table.task_names())))
    check_columns(table.names, table.n_columns, names, "y")
    return names


def _fitted_classes(estimator: Any, n_tasks: int) -> list[Any]:
    """Return the classes of each task; None for all tasks if the estimator has no `classes_`, or not one list each."""
    classes: Any = getattr(estimator, "classes_", None)
    by_task = isinstance(classes, (list, tuple)) and all(map(is_class_list, classes))
    entries = list(classes) if by_task else [classes]
    return entries if len(entries) == n_tasks else [None] * n_tasks
