"""Classify several targets with one network."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils._param_validation import StrOptions

from skmtl._base import BaseMultiTask
from skmtl._class_weight import weigh_classes
from skmtl._labels import common_dtype, survives
from skmtl._objects_by_name import ObjectsByName
from skmtl._reading import Start
from skmtl._table import TargetTable, read_targets
from skmtl._validation import check_label_weights, check_some_weight
from skmtl._weights import in_units_of_the_largest
from skmtl.losses import Logistic, Softmax
from skmtl.tasks import ClassCodec, TaskLayout, classification_layout


class MultiTaskClassifier(ObjectsByName, BaseMultiTask, ClassifierMixin, BaseEstimator):
    """Classify several targets at once with a network whose tasks share parameters.

    Each column of y is a task, with its own labels, its own number of classes and its own missing entries.

    Parameters
    ----------
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
        their probabilities. ``"auto"`` is 10, which takes three to seven times as long as one; it is 1 with a strategy
        of your own, with `warm_start` and in a first `partial_fit`.
    weighting : str or Weighting, default="equal"
        How task losses become one update: a name in `skmtl.weighting.WEIGHTINGS`, or a weighting with options.
    task_weights : array-like of shape (n_tasks,) or dict, default=None
        Fixed weight of each task's loss, in the order of the tasks or by name; a task that the dict leaves out
        weighs 1. None: all weigh 1.
    class_weight : "balanced", dict or list, default=None
        Weights of the classes, in addition to `sample_weight`. ``"balanced"`` weighs each class inversely to its
        number of observed labels, in every task. For 2-D y a dict by task name, or a list in task order, of
        ``"balanced"``, ``{label: weight}`` or None; for 1-D y ``{label: weight}``.
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
        skorch callbacks. They see what the network sees: X as a tensor, y encoded (class codes or standardised values,
        NaN where missing).
    device : str or torch.device, default="auto"
        Where to train; ``"auto"`` takes a CUDA device if there is one.
    dtype : {"auto", "float32", "float64"}, default="auto"
        Precision. ``"auto"`` keeps that of X on a CPU and takes float32 on a GPU.
    warm_start : bool, default=False
        Let `fit` continue from the earlier fit, for `max_epochs` more epochs.
    random_state : int, RandomState or None, default=None
        Draws initial weights, batches, dropout and the validation split. Equal seeds give equal bits on the same
        machine and thread count.
    verbose : int, default=0
        1 shows a progress bar over epochs.

    Attributes
    ----------
    classes_ : list of arrays
        Sorted labels of each task; one array if y was 1-D.
    task_names_ : list of str
        Names of the columns of y, or "0", "1", ...
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
    MultiTaskRegressor : The same for numeric targets.
    skmtl.model_selection.transfer_gain : Test which tasks gained from sharing.

    Notes
    -----
    Member k of an ensemble is the network that you would get from the k-th of `n_members` consecutive fits with
    ``n_members=1`` that share one RandomState; the first is that of a single fit. With `early_stopping` each
    holds out rows that it draws for itself, stops by itself and returns to its best weights, so that together they
    learn from every row; where groups or rare labels make their epochs differ in length, the shorter ones are filled up
    with rows that count for nothing, which moves the cuts between batches. Members whose loss diverges
    are left out with a warning, as long as others remain. Callbacks see all members as one net: gradient clipping, for
    example, clips the norm of all their gradients together.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import MultiTaskClassifier
    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]] * 10)
    >>> y = [["no", "a"], ["no", "b"], ["yes", None], ["yes", "c"]] * 10
    >>> model = MultiTaskClassifier(lr=0.01, random_state=0).fit(X, y)
    >>> model.predict([[0.0, 1.0], [1.0, 1.0]])
    array([['no', 'b'],
           ['yes', 'c']], dtype=object)
    >>> [p.shape for p in model.predict_proba(X)]
    [(40, 2), (40, 3)]
    """

    _metric = "accuracy"
    _is_continuous = False
    _parameter_constraints = {
        **BaseMultiTask._parameter_constraints,
        "class_weight": [StrOptions({"balanced"}), dict, list, tuple, None],
    }

    def __init__(
        self,
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
        class_weight=None,
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
        self.sharing = sharing
        self.sharing_lambda = sharing_lambda
        self.hidden_layer_sizes = hidden_layer_sizes
        self.head_layer_sizes = head_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.n_members = n_members
        self.weighting = weighting
        self.task_weights = task_weights
        self.class_weight = class_weight
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

    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Make one pass over some rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like or DataFrame of shape (n_samples,) or (n_samples, n_tasks)
            Targets; missing ones are skipped.
        classes : array-like, or list of n_tasks array-likes, default=None
            All classes of each task, needed in the first call if its labels lack a class; None: the classes in this
            call's labels.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), default=None
            Weights.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ValueError
            If a label is none of the classes of the first call, or `classes` are given again and are others.
        """
        return self._partial_fit(X, y, sample_weight, classes)

    def _options_of_one_task(self) -> dict:
        return {"class_weight": self.class_weight if isinstance(self.class_weight, str) else None}

    def _take_task(self, own, name: str) -> None:
        self._codecs = [*self._codecs, *own._codecs]
        self.classes_ = self._classes_of_each()
        self._target_dtype = common_dtype(self.classes_)
        self._y_names = [*self.task_names_, name]

    def predict_proba(self, X):
        """Predict class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        list of n_tasks arrays of shape (n_samples, n_classes_t)
            In the order of ``classes_``; one array if y was 1-D.
        """
        proba = self._probabilities(self._raw(X))
        return proba[0] if self._target_ndim == 1 else proba

    def predict_log_proba(self, X):
        """Predict the logarithms of class probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        list of n_tasks arrays of shape (n_samples, n_classes_t)
            In the order of ``classes_``, in nats; one array if y was 1-D.
        """
        log_proba = self._probabilities(self._raw(X), logarithms=True)
        return log_proba[0] if self._target_ndim == 1 else log_proba

    def predict_proba_members(self, X):
        """Predict class probabilities by each member of the ensemble.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        list of n_tasks arrays of shape (n_members, n_samples, n_classes_t)
            Class probabilities of each member; `predict_proba` returns their mean over members. One array if y was
            1-D. Members that diverged in `fit` are left out.
        """
        proba = self._probabilities(self._raw_members(X))
        proba = [p.reshape(len(self._member_ids), -1, p.shape[-1]) for p in proba]
        return proba[0] if self._target_ndim == 1 else proba

    def _probabilities(self, raws: list[np.ndarray], logarithms: bool = False) -> list[np.ndarray]:
        """Return the probabilities of each task from the raw outputs of each network, (n_samples, n_outputs)."""
        name = "log_probabilities" if logarithms else "probabilities"
        proba: list = [None] * self.n_tasks_
        for task, columns in self._by_task(raws, lambda loss, raw: getattr(loss, name)(raw)):
            proba[task] = columns[:, : len(self._codecs[task].classes)]
        return proba

    def _by_task(self, raws: list[np.ndarray], function):
        """Yield each task's number and its part of ``function(loss, raw)``."""
        first = 0
        for plan, raw in zip(self._plan.plans, raws, strict=True):
            layout = plan.layout
            for group in layout.groups:
                values = function(group.loss, group.view(torch.from_numpy(raw))).numpy()  # (n_samples, [class,] task)
                yield from zip(first + layout.order[group.parts], np.moveaxis(values, -1, 0), strict=True)
            first += layout.n_tasks

    def _learn_targets(self, table: TargetTable, sample_weight, start: Start) -> tuple[np.ndarray, np.ndarray | None]:
        may_lack = not start.is_anew or start.classes is not None
        weight = check_label_weights(sample_weight, table, self.task_names_, may_lack)
        if start.is_anew:
            self._learn_classes(table, start.classes)
        elif start.classes is not None:
            self._check_same_classes(table, start.classes)
        codes = self._codes(table)
        if self.class_weight is None:
            return codes, weight
        weight = table.observed.astype(np.float64) if weight is None else in_units_of_the_largest(weight)
        weigh_classes(self.class_weight, table, self._codecs, self.task_names_, weight)
        check_some_weight(weight, table, self.task_names_, may_lack)
        return codes, weight

    def _learn_classes(self, table: TargetTable, given) -> None:
        """Learn each task's classes, as given to `partial_fit` or as observed."""
        if given is not None:
            self._codecs = _given_codecs(given, table)
        else:
            columns = zip(self.task_names_, table.columns, table.observed.T, strict=True)
            self._codecs = [ClassCodec.fit(labels[seen], name) for name, labels, seen in columns]
        classes = self._classes_of_each()
        self.classes_ = classes[0] if table.ndim == 1 else classes
        holds_all = all(survives(c, table.dtype) for c in classes)
        self._target_dtype = table.dtype if holds_all else common_dtype(classes)

    def _check_same_classes(self, table: TargetTable, given) -> None:
        pairs = zip(_given_codecs(given, table), self._codecs, strict=True)
        if any(new.classes.tolist() != old.classes.tolist() for new, old in pairs):
            raise ValueError(
                f"`classes={given!r}` is not the same as on last call to partial_fit, was: {self.classes_!r}."
            )

    def _losses_of(self, task: int):
        n_classes = len(self._codecs[task].classes)
        loss = Logistic(1) if n_classes == 2 else Softmax([n_classes])
        return [loss], lambda raw: loss.probabilities(raw[0])[..., 0]

    def _layout(self) -> TaskLayout:
        return classification_layout([len(codec.classes) for codec in self._codecs])

    def _classes_of_each(self) -> list[np.ndarray]:
        return [codec.classes for codec in self._codecs]

    def _encode(self, table: TargetTable) -> tuple[np.ndarray, np.ndarray | None]:
        return self._codes(table), check_label_weights(None, table, self.task_names_)

    def _codes(self, table: TargetTable) -> np.ndarray:
        y = np.zeros(table.observed.shape)
        for t, (codec, labels, seen) in enumerate(zip(self._codecs, table.columns, table.observed.T, strict=True)):
            y[seen, t] = codec.encode(labels[seen], self.task_names_[t])
        return y

    def _decode(self, raws: list[np.ndarray]) -> np.ndarray:
        if self._target_ndim == 1:
            ((_, codes),) = self._by_task(raws, lambda loss, raw: loss.decode(raw))
            return self._codecs[0].decode(codes)
        y = np.empty((len(raws[0]), self.n_tasks_), dtype=self._target_dtype)
        for task, codes in self._by_task(raws, lambda loss, raw: loss.decode(raw)):
            y[:, task] = self._codecs[task].decode(codes)
        return y

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _given_codecs(classes, table: TargetTable) -> list[ClassCodec]:
    """Return the classes of each task, as given to `partial_fit`."""
    per_task = [classes] if table.ndim == 1 else list(classes)
    if any(np.ndim(c) == 0 for c in per_task) or not per_task:
        raise ValueError(
            f"classes must hold one list of labels for each of the {table.n_columns} tasks, in their order. "
            f"Found one list for all: {classes!r}."
        )
    if len(per_task) != table.n_columns:
        raise ValueError(f"classes must hold one array for each of the {table.n_columns} tasks. Found {len(per_task)}.")
    given = [read_targets(labels, "classes") for labels in per_task]
    if not all(labels.observed.any() for labels in given):
        raise ValueError(f"classes must hold at least one label for each task. Found {classes!r}.")
    return [
        ClassCodec.fit(labels.columns[0][labels.observed[:, 0]], name)
        for labels, name in zip(given, table.task_names(), strict=True)
    ]
