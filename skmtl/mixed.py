"""Predict targets of several kinds with one network."""

from __future__ import annotations

from copy import copy
from itertools import islice

import numpy as np
import torch
from scipy.sparse import issparse
from sklearn.base import BaseEstimator
from sklearn.utils import ClassifierTags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skmtl._base import BaseMultiTask
from skmtl._label_codes import is_continuous
from skmtl._labels import common_dtype
from skmtl._negatives import check_ids
from skmtl._objects_by_name import ObjectsByName
from skmtl._reading import Reading, Start
from skmtl._table import TargetTable, check_columns, read_targets
from skmtl._task_columns import (
    assign_columns,
    check_inputs,
    check_labels,
    check_tasks,
    columns_of_x,
    find_places,
    make_task,
    naming,
    part_weights,
    tasks_of,
)
from skmtl._weights import read_weights
from skmtl.preprocessing import records
from skmtl.tasks import ROW, TASKS, Part, TaskLayout, decoded, make_layout, make_site_layout, refuse_unknown_inputs


def _has_probabilities(estimator) -> bool:
    """Return whether a fitted task has probabilities."""
    check_is_fitted(estimator)
    if not any(hasattr(task, "probabilities") for task in estimator.tasks_.values()):
        raise AttributeError(f"None of the tasks {list(estimator.tasks_)} has probabilities.")
    return True


class MultiTaskEstimator(ObjectsByName, BaseMultiTask, BaseEstimator):
    """Predict targets of several kinds at once, such as classes, numbers, counts and survival times.

    A task reads one or several columns of y and may lack labels anywhere. To scikit-learn this is neither a classifier
    nor a regressor; `TaskView` makes one of a single task.

    Parameters
    ----------
    tasks : dict, default=None
        What each task is, by name: an object of `skmtl.tasks`, such as ``Survival("days", "died")``, or a name in
        `skmtl.tasks.TASKS`, such as ``"classification"``, which stands for it with its defaults. A task reads the
        column of y with its name unless it names others, and every column must be read by one task. Columns of an array
        are those that the tasks name, in this order. None: by the type of each column, ``"regression"`` for floats and
        ``"classification"`` for bools, text and categories; integers may be either and must be named.
    sharing : str or Sharing, default="hard"
        How the tasks share parameters: a name in `skmtl.sharing.STRATEGIES`, which stands for the strategy with its
        defaults, or a strategy with options of your choice, such as ``AttentionSharing(n_heads=2)``.
    sharing_lambda : float, default=0.1
        λ >= 0, the weight of the strategy's penalty: the distance between the tasks' towers (soft) or queries
        (attention). With 0 soft sharing equals ``"independent"``; with large values its towers become one. Strategies
        without a penalty, such as hard sharing, ignore it.
    hidden_layer_sizes : tuple of int, default=(64, 64)
        Widths of the trunk's layers; ``()`` for none.
    head_layer_sizes : tuple of int, default=()
        Widths of the hidden layers inside each task's head; ``()`` makes every head one linear map.
    activation : {"relu", "tanh", "logistic", "identity", "gelu", "silu"}, default="relu"
        Activation function of all hidden layers.
    dropout : float, default=0.0
        Share of hidden units dropped in training, in [0, 1).
    n_members : int or "auto", default="auto"
        Number of networks in an ensemble, trained side by side from different seeds; the estimator predicts the mean of
        their distributions. ``"auto"`` is 10, which takes three to seven times as long as one;
        it is 1 with a strategy of your own, with `warm_start` and in a first `partial_fit`.
    weighting : str or Weighting, default="equal"
        How task losses become one update: a name in `skmtl.weighting.WEIGHTINGS`, or a weighting with options.
    task_weights : array-like of shape (n_tasks,) or dict, default=None
        Fixed weight of each task's loss, in the order of the tasks or by name; a task that the dict leaves out
        weighs 1. None: all weigh 1.
    encoder : Encoder or dict or "passthrough", default="passthrough"
        What turns rows into features: ``"passthrough"`` for a table, whose columns are features; an object of
        `skmtl.encoders` for images, texts, ids and rows of any other shape, such as ``ConvEncoder()``; or a dict of
        these, or ``"passthrough"``, by the field of a structured X (`skmtl.records`).
    optimizer : {"adamw", "adam", "sgd"} or callable, default="adamw"
        ``"adamw"``: Adam with decoupled weight decay; ``"adam"``: Adam with an L2 penalty; ``"sgd"``: gradient descent
        with Nesterov momentum 0.9. Or a `torch.optim.Optimizer` class, called as ``optimizer(params, lr=...)``, and
        with ``weight_decay=...`` where that is not 0.
    lr : float, default=0.003
        Step size, > 0.
    lr_schedule : {"constant", "linear", "cosine"}, default="constant"
        How the step size changes over the `max_epochs` of a fit: not at all, or from `lr` in the first epoch to almost
        0 in the last one, in a straight line or along half a cosine. Each `fit` starts again at `lr`; `partial_fit`,
        which is one epoch, uses `lr`.
    weight_decay : float or "auto", default="auto"
        ``"adamw"``: a step shrinks weights by the factor 1 - lr * weight_decay. Else an L2 penalty of the weights, for
        which useful values are far smaller (0.01). Biases are left alone. ``"auto"`` is 0.5 for ``"adamw"``, 5 where
        ``early_stopping="auto"`` finds too few rows to hold any out, and 0 for other optimisers.
    batch_size : int, default=128
        Rows of a batch. With no more rows than this, every step uses all rows, unshuffled.
    max_epochs : int or "auto", default="auto"
        Passes over the rows, at most. ``"auto"`` is 400 with `early_stopping`, which seldom leaves so many, else 100.
    early_stopping : bool or "auto", default="auto"
        Hold out `validation_fraction` of the rows (or use `X_val`, `y_val`), stop when their loss has not improved
        for `n_iter_no_change` epochs, and go back to the best weights. Each network of an ensemble holds out rows that
        it draws for itself, so together they learn from all. ``"auto"``: with at least 100 labelled rows or with
        `X_val`; not with `warm_start`, in `partial_fit` or in a `HalvingStackedSearchCV`.
    validation_fraction : float, default=0.1
        Share of the rows held out by `early_stopping`, stratified over all tasks. The only label of a class or a task
        stays in training, and so do rows of its group.
    n_iter_no_change : int, default=20
        Epochs without improvement after which `early_stopping` stops.
    tol : float, default=0.0001
        By how much the validation loss must fall to count as improvement.
    callbacks : list, default=None
        skorch callbacks. They see what the network sees: X as a tensor, y as columns that the network learns, NaN where
        missing.
    device : str or torch.device, default="auto"
        Where to train; ``"auto"`` takes a CUDA device if there is one.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision. ``"auto"`` keeps that of X on a CPU and takes float32 on a GPU.
    warm_start : bool, default=False
        Let `fit` continue from the earlier fit, for `max_epochs` more epochs; classes and scales are those of the
        first.
    random_state : int, RandomState or None, default=None
        Draws initial weights, batches, dropout and the validation split. Equal seeds give equal bits on the same
        machine and thread count.
    verbose : int, default=0
        1 shows a progress bar over epochs.

    Attributes
    ----------
    tasks_ : dict
        The fitted tasks by name, with what they have learned, such as classes.
    classes_ : dict
        Sorted labels of each task that has classes, by name; one array if y was 1-D.
    output_names_ : list of str
        Names of the columns that `predict` returns.
    task_names_ : list of str
        Names of the tasks.
    n_tasks_ : int
        Number of tasks.
    early_stopping_ : bool
        Whether `early_stopping` was on.
    max_epochs_ : int
        What `max_epochs` was.
    n_members_ : int
        Number of networks that were trained; those that diverged are left out of predictions.
    n_iter_ : int
        Epochs trained; in an ensemble, by the member that trained longest.
    history_ : list of dict
        One per epoch: ``"train_loss"``, ``"valid_loss"`` where there is a validation set, ``"train_task_losses"`` and
        ``"valid_task_losses"``, arrays of shape (n_tasks,), and what callbacks recorded. Losses of an ensemble are the
        mean over the members that were still training in that epoch.
    network_ : torch.nn.Module
        The trained network; parameters begin with the axis of an ensemble's members.
    net_ : skorch.NeuralNet
        The skorch net around it. Pickles leave it out.
    n_features_in_ : int
        Columns of X.
    feature_names_in_ : array of shape (`n_features_in_`,)
        Names of the columns of X where it had names.

    See Also
    --------
    MultiTaskClassifier, MultiTaskRegressor : For tasks that are all classes, or all numbers.
    skmtl.TaskView : One task of a fitted estimator as a classifier or a regressor.

    Notes
    -----
    All tasks are learned in the same steps, and every task is one tower or query, one loss and one weight, however many
    columns it reads. Ensembles, early stopping and searches work as for `MultiTaskRegressor`.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skmtl import MultiTaskEstimator
    >>> from skmtl.tasks import Survival
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(80, 3))
    >>> y = pd.DataFrame({"dose": X[:, 1], "died": True})
    >>> y["days"] = rng.exponential(np.exp(X[:, 2]))
    >>> y["toxic"] = np.where(X[:, 0] > 0, "yes", "no")
    >>> y.loc[:20, "toxic"] = None
    >>> tasks = {
    ...     "toxic": "classification",
    ...     "dose": "regression",
    ...     "death": Survival("days", "died"),
    ... }
    >>> model = MultiTaskEstimator(tasks, max_epochs=20, random_state=0).fit(X, y)
    >>> model.predict(X).shape
    (80, 3)
    >>> model.predict_proba(X)["toxic"].shape
    (80, 2)
    >>> list(model.score_tasks(X, y))
    ['toxic', 'dose', 'death']
    """

    _objects = {**BaseMultiTask._objects, "tasks": TASKS}
    _needs_labels_in_every_column = False
    _reads_records = True
    _parameter_constraints = {**BaseMultiTask._parameter_constraints, "tasks": [dict, None]}

    def __init__(
        self,
        tasks=None,
        sharing="hard",
        *,
        sharing_lambda=0.1,
        hidden_layer_sizes=(64, 64),
        head_layer_sizes=(),
        activation="relu",
        dropout=0.0,
        n_members="auto",
        weighting="equal",
        task_weights=None,
        encoder="passthrough",
        optimizer="adamw",
        lr=0.003,
        lr_schedule="constant",
        weight_decay="auto",
        batch_size=128,
        max_epochs="auto",
        early_stopping="auto",
        validation_fraction=0.1,
        n_iter_no_change=20,
        tol=0.0001,
        callbacks=None,
        device="auto",
        dtype="auto",
        warm_start=False,
        random_state=None,
        verbose=0,
    ):
        self.tasks = tasks
        self.sharing = sharing
        self.sharing_lambda = sharing_lambda
        self.hidden_layer_sizes = hidden_layer_sizes
        self.head_layer_sizes = head_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.n_members = n_members
        self.weighting = weighting
        self.task_weights = task_weights
        self.encoder = encoder
        self.optimizer = optimizer
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.max_epochs = max_epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.callbacks = callbacks
        self.device = device
        self.dtype = dtype
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def partial_fit(self, X, y, sample_weight=None):
        """Make one pass over some rows; classes and scales are those of the first call.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like or DataFrame of shape (n_samples, n_columns)
            Targets; missing ones are skipped.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), default=None
            Weights.

        Returns
        -------
        self : object
            The estimator.
        """
        return self._partial_fit(X, y, sample_weight)

    def add_task(self, X, y, name, task=None, sample_weight=None, groups=None, freeze=True):
        """Return a new estimator with one task more; predictions of the others stay as they are, bit for bit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,) or (n_samples, n_columns)
            Targets of the new task.
        name : str
            Its name.
        task : Task or str, default=None
            What it is, as in `tasks`; None to go by the type of y.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights.
        groups : array-like of shape (n_samples,), default=None
            Group of each row, as in `fit`.
        freeze : bool, default=True
            Whether what the tasks share stays as it is also for the new one, which then learns a head alone, a query
            and a head (attention), or a tower and a head that begin as the mean of the others'. False: it learns in a
            copy of what they share.

        Returns
        -------
        object
            A fitted estimator of the same class; this one stays as it is. It predicts and can be pickled, but neither
            `partial_fit` nor `warm_start` goes on from it.
        """
        own = self._for_one_task(tasks=None if task is None else {name: task})
        y = y if hasattr(y, "columns") else _named(y, name)
        return self._add_task(own, X, y, name, sample_weight, groups, freeze)

    def _take_task(self, own, name: str) -> None:
        first = len(self._y_names)
        self.tasks = {**(self.tasks or self.tasks_), name: own.tasks_[name]}
        self.tasks_, self._losses = {**self.tasks_, **own.tasks_}, {**self._losses, **own._losses}
        self._columns = {**self._columns, name: [first + column for column in own._columns[name]]}
        self._y_names = [*self._y_names, *own._y_names]
        self.output_names_ = [*self.output_names_, *own.output_names_]
        self.classes_ = {key: task.classes_ for key, task in self.tasks_.items() if hasattr(task, "classes_")}

    @available_if(_has_probabilities)
    def predict_proba(self, X):
        """Predict the probabilities of all tasks that have some.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        dict
            By task: (n_samples, n_classes), of `Multilabel` and `Chain` (n_samples, n_columns), of `Hierarchy` a list
            with one such array for each level. One array if y was 1-D.
        """
        raw = self._raw_by_task(self._raw(X))
        tasks = {name: task for name, task in self.tasks_.items() if hasattr(task, "probabilities")}
        proba = {name: task.probabilities(raw[name]) for name, task in tasks.items()}
        return proba[self.task_names_[0]] if self._target_ndim == 1 else proba

    def score_tasks(self, X, y, sample_weight=None):
        """Score each task by its skill on observed labels: 1 is perfect, 0 as good as the best constant.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like or DataFrame of shape (n_samples, n_columns)
            True targets; missing ones are skipped.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), default=None
            Weights.

        Returns
        -------
        dict
            Skill by task name, as each task's class defines it; NaN for a task without a label.
        """
        raw, table = self._raw_by_task(self._raw(X)), read_targets(y)
        check_columns(table.names, table.n_columns, self._y_names, "y")
        weights = self._row_weights(table, sample_weight)
        scores = {}
        for name, task in self.tasks_.items():
            own, weight = table.select(self._columns[name]), weights[name]
            rows = task.observed_rows(own) if weight is None else task.observed_rows(own) & (weight > 0)
            chosen = torch.from_numpy(np.flatnonzero(rows))
            scores[name] = float("nan")
            if rows.any():
                refuse_unknown_inputs(name, raw[name], rows)
                weight = None if weight is None else weight[rows]
                scores[name] = task.skill(own.take(rows), [part[chosen] for part in raw[name]], weight)
        return scores

    def score(self, X, y, sample_weight=None):
        """Return the mean over tasks of `score_tasks`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like or DataFrame of shape (n_samples, n_columns)
            True targets; missing ones are skipped, and so is a task without a label.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), default=None
            Weights.

        Returns
        -------
        float
            Mean skill: 1 is perfect, 0 as good as the best constants; NaN if no task has a label.
        """
        return super().score(X, y, sample_weight)

    # ---- inputs -------------------------------------------------------------------------------------------------

    def _sites(self) -> tuple[str, ...]:
        sites = [make_task(name, task).site for name, task in (self.tasks or {}).items()]
        return tuple(dict.fromkeys(sites)) or super()._sites()

    def _may_lack_values(self) -> bool:
        tasks = self.tasks.values() if self.tasks else ()
        return any(getattr(task, "features", None) is not None for task in tasks)

    def _find_inputs(self, X) -> None:
        """Learn which columns of X each task reads."""
        self._inputs = tuple(columns_of_x(name, task, X) for name, task in self.tasks_.items())

    def _fill_inputs(self, X, weight: np.ndarray | None):
        """Return X without missing values; refuse a label whose task lacks a value that it reads."""
        weights = [None] * self.n_tasks_ if weight is None else self._by_task(weight)
        names = getattr(self, "feature_names_in_", None)
        for name, columns, own in zip(self.tasks_, self._inputs, weights, strict=True):
            check_inputs(name, X, columns, names, None if own is None else (own > 0).any(axis=1))
        return X if issparse(X) else np.nan_to_num(X, nan=0.0)

    # ---- targets ------------------------------------------------------------------------------------------------

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_tasks(self.tasks)
        if self._may_lack_values() and self.encoder != "passthrough":
            raise ValueError("features= of a task chooses columns of a table. Found it beside encoder=.")

    def _name_tasks(self, table: TargetTable, names: list[str], start: Start) -> None:
        if start.is_anew:
            if self.tasks is None:
                self.tasks_ = tasks_of(table, names)
            else:
                self.tasks_ = {name: make_task(name, task) for name, task in self.tasks.items()}
            self._y_names, self._columns = assign_columns(self.tasks_, table, names)
            self.task_names_, self._inputs = list(self.tasks_), None
            self.output_names_ = [output for key, task in self.tasks_.items() for output in task.output_names(key)]

    def _output_names(self) -> list[str]:
        return self.output_names_

    def _learn_targets(self, table: TargetTable, sample_weight, start: Start) -> tuple[np.ndarray, np.ndarray | None]:
        weights, self._draws_negatives = self._row_weights(table, sample_weight), False
        for name, task in self.tasks_.items():
            own, weight = table.select(self._columns[name]), weights[name]
            with naming(name):
                check_labels(task.observed_rows(own), weight, may_lack=not start.is_anew)
                if start.is_anew:
                    if task.site != ROW:
                        find_places(name, task, self._entry)
                    task.learn(own, weight)
                if task.negatives:
                    check_ids(self._entry)
                    self._draws_negatives = True
        parts = self._parts(table)
        if start.is_anew:
            self._losses = {name: [part.loss for part in own] for name, own in parts.items()}
            self._at_place = {name: [part.at_place or part.loss for part in own] for name, own in parts.items()}
            classes = {name: task.classes_ for name, task in self.tasks_.items() if hasattr(task, "classes_")}
            self.classes_ = next(iter(classes.values()), {}) if self._target_ndim == 1 else classes
        return _targets(parts), part_weights(parts, weights)

    def _row_weights(self, table: TargetTable, sample_weight) -> dict[str, np.ndarray | None]:
        """Return the weights of rows for each task, (n_samples,); None for all 1."""
        if sample_weight is None:
            return dict.fromkeys(self.tasks_)
        weight = read_weights(sample_weight, len(table), self.task_names_)
        return dict(zip(self.tasks_, np.broadcast_to(weight, (len(table), self.n_tasks_)).T, strict=True))

    def _parts(self, table: TargetTable) -> dict[str, list[Part]]:
        """Return the parts of each task."""
        found = {}
        for name, task in self.tasks_.items():
            with naming(name):
                found[name] = task.parts(table.select(self._columns[name]))
        return found

    def _losses_of(self, task: int):
        name = self.task_names_[task]
        return self._losses[name], self.tasks_[name].predicted_tensor

    def _layout(self) -> TaskLayout:
        losses, writing = list(self._losses.values()), self._writing()
        sites = [writing.get(name, task.site) for name, task in self.tasks_.items()]
        if all(site == ROW for site in sites):
            return make_layout(losses)
        decodings = {site: self.tasks_[name].decoding() for name, site in writing.items()}
        return make_site_layout(losses, list(self._at_place.values()), sites, decodings)

    def _writing(self) -> dict[str, str]:
        """Return the tasks that write sequences, and the site of each."""
        return {name: f"written_{k}" for k, (name, task) in enumerate(self.tasks_.items()) if task.decoding()}

    def _with_written(self, X, table: TargetTable):
        own = [self.tasks_[name].written(table.select(self._columns[name])) for name in self._writing()]
        return np.concatenate([X, *own], axis=1, dtype=X.dtype) if own else X

    def _encode(self, table: TargetTable) -> tuple[np.ndarray, np.ndarray | None]:
        parts = self._parts(table)
        return _targets(parts), part_weights(parts, dict.fromkeys(self.tasks_))

    def _counted(self, table: TargetTable, weight: np.ndarray | None) -> np.ndarray:
        if weight is None:
            return table.observed
        counted, of_task = table.observed.copy(), dict(zip(self.tasks_, self._by_task(weight > 0), strict=True))
        for name, columns in self._columns.items():
            counted[:, columns] &= of_task[name].any(axis=1)[:, None]
        return counted

    def _by_task(self, values: np.ndarray) -> list[np.ndarray]:
        """Divide a table with a column per part: list of (n_samples, n_parts of the task)."""
        n_parts = [sum(loss.n_parts for loss in losses) for losses in self._losses.values()]
        return np.split(values, np.cumsum(n_parts)[:-1], axis=1)

    def _are_continuous(self, table: TargetTable) -> list[bool]:
        found = [False] * table.n_columns
        for name, task in self.tasks_.items():
            known = task.is_continuous() or [None] * len(self._columns[name])
            for column, answer in zip(self._columns[name], known, strict=True):
                labels = table.columns[column][table.observed[:, column]]
                found[column] = (is_continuous(labels) if answer is None else answer) and labels.dtype.kind in "biuf"
        return found

    def _without_label(self, weight: np.ndarray) -> list[str]:
        return [name for name, own in zip(self.tasks_, self._by_task(weight), strict=True) if not own.any()]

    def _finish(self, reading: Reading) -> None:
        waiting = {name: task for name, task in self.tasks_.items() if task.needs_finish}
        if not waiting:
            return
        raw = self._raw_by_task(self._raw_of_rows(reading.X))
        own = {name: copy(task) for name, task in waiting.items()}  # a stack has them in common
        self.tasks_ = {**self.tasks_, **own}
        for name in own:
            weight = None if reading.weight is None else reading.weight[:, self._parts_of(name)].max(axis=1)
            with naming(name):
                self.tasks_[name].finish(reading.table.select(self._columns[name]), raw[name], weight)

    # ---- predictions --------------------------------------------------------------------------------------------

    def _parts_of(self, name: str) -> np.ndarray:
        """Return the places of a task's parts in the network."""
        layout, task = self._plan.layout, self.task_names_.index(name)
        return np.flatnonzero(layout.order[layout.owners] == task)

    def _raw_by_task(self, raws: list[np.ndarray]) -> dict[str, list[torch.Tensor]]:
        """Return the raw outputs for each loss of each task: (n_samples, width, n_parts)."""
        losses, found = iter(self._losses.items()), {}
        for plan, raw in zip(self._plan.plans, raws, strict=True):
            layout = plan.layout
            views = [(group, group.view(torch.from_numpy(raw))) for group in layout.groups]
            places = iter(np.argsort(layout.part_order).tolist())
            for name, own in islice(losses, layout.n_tasks):
                found[name] = [_view_of(loss, [next(places) for _ in range(loss.n_parts)], views) for loss in own]
            start = layout.n_outputs
            for own in layout.writing:
                stop = start + own.decoding.length
                found[list(self.tasks_)[layout.order[own.tasks[0]]]].append(torch.from_numpy(raw[:, None, start:stop]))
                start = stop
        return found

    def _decode(self, raws: list[np.ndarray]) -> np.ndarray:
        by_task = self._raw_by_task(raws)
        outputs = [decoded(self.tasks_[name], own) for name, own in by_task.items()]
        if len(outputs) == 1 and not self._predicts_records and (self._target_ndim == 1 or outputs[0].ndim == 2):
            return outputs[0]
        if self._predicts_records:
            return records(self._by_output(dict(zip(by_task, outputs, strict=True))))
        columns = [column for output in outputs for column in output.reshape(len(raws[0]), -1).T]
        table = np.empty((len(raws[0]), len(columns)), dtype=common_dtype(columns))
        for k, column in enumerate(columns):
            table[:, k] = column
        return table

    def _by_output(self, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return predictions of tasks by the names of their outputs."""
        found = {}
        for name, values in outputs.items():
            names = self.tasks_[name].output_names(name)
            found.update({names[0]: values} if len(names) == 1 else dict(zip(names, values.T, strict=True)))
        return found

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self._may_lack_values()
        tags.classifier_tags = ClassifierTags()  # which scikit-learn asks of all that have predict_proba
        return tags


def _targets(parts: dict[str, list[Part]]) -> np.ndarray:
    """Return the targets of all parts side by side, 0 where missing: (n_samples, part)."""
    targets = np.concatenate([part.targets for own in parts.values() for part in own], axis=1)
    return np.nan_to_num(targets, copy=False, nan=0.0)


def _named(y, name: str):
    """Return the labels of one column as a frame with the task's name."""
    table = read_targets(y)
    if table.n_columns > 1:
        return y
    import pandas

    labels = table.columns[0].astype(object) if not table.observed.all() else table.columns[0]
    return pandas.DataFrame({name: pandas.Series(labels).where(table.observed[:, 0])})


def _view_of(loss, places: list[int], views) -> torch.Tensor:
    """Return the raw outputs of a loss whose parts have these places: (n_samples, width, n_parts)."""
    group, view = next(pair for pair in views if pair[0].parts.start <= places[0] < pair[0].parts.stop)
    start = places[0] - group.parts.start
    return view[:, : loss.width, start : start + loss.n_parts]
