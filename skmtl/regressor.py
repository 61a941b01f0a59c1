"""Predict several numeric targets with one network."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils._param_validation import HasMethods

from skmtl._base import BaseMultiTask
from skmtl._network import in_chunks
from skmtl._objects_by_name import ObjectsByName
from skmtl._reading import Start
from skmtl._table import TargetTable
from skmtl._validation import check_label_weights, check_task_names
from skmtl.losses import SquaredError
from skmtl.tasks import LabelTransform, ScaleCodec, TaskLayout, regression_layout


class MultiTaskRegressor(ObjectsByName, BaseMultiTask, RegressorMixin, BaseEstimator):
    """Predict several numeric targets at once with a network whose tasks share parameters.

    Each column of y is a task with its own missing entries. Targets are standardised inside `fit`, by the weighted
    mean and standard deviation of their observed labels, and predictions come back in the units of y.

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
        Number of networks in an ensemble, trained side by side from different seeds; the estimator predicts their mean,
        and `predict_std` gives how far they differ. ``"auto"`` is 10, which takes three to seven times as long as one;
        it is 1 with a strategy of your own, with `warm_start` and in a first `partial_fit`.
    weighting : str or Weighting, default="equal"
        How task losses become one update: a name in `skmtl.weighting.WEIGHTINGS`, or a weighting with options.
    task_weights : array-like of shape (n_tasks,) or dict, default=None
        Fixed weight of each task's loss, in the order of the tasks or by name; a task that the dict leaves out
        weighs 1. None: all weigh 1.
    target_transform : transformer or dict, default=None
        A scikit-learn transformer of labels, fitted for each task on those that are observed and inverted in
        predictions, such as ``PowerTransformer()`` or ``FunctionTransformer(np.log1p, np.expm1)``; or a dict of them by
        task. What comes back is no mean but, where transformed labels are symmetric, a median.
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
        Let `fit` continue from the earlier fit, for `max_epochs` more epochs; targets are standardised anew.
    random_state : int, RandomState or None, default=None
        Draws initial weights, batches, dropout and the validation split. Equal seeds give equal bits on the same
        machine and thread count.
    verbose : int, default=0
        1 shows a progress bar over epochs.

    Attributes
    ----------
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
    MultiTaskClassifier : The same for classes.
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
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.datasets import load_energy
    >>> X, y = load_energy(return_X_y=True)
    >>> X = (X - X.mean(0)) / X.std(0)
    >>> model = MultiTaskRegressor(max_epochs=5, random_state=0).fit(X, y)
    >>> model.predict(X[:3]).shape
    (3, 2)
    """

    _metric = "r2"
    _is_continuous = True
    _objects = {**BaseMultiTask._objects, "target_transform": {}}
    _parameter_constraints = {
        **BaseMultiTask._parameter_constraints,
        "target_transform": [HasMethods(["fit", "transform", "inverse_transform"]), dict, None],
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
        target_transform=None,
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
        self.target_transform = target_transform
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
        """Make one pass over some rows; mean and scale of the targets are those of all rows so far.

        When they change, the last layers of the heads are adjusted so that predictions do not.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like or DataFrame of shape (n_samples,) or (n_samples, n_tasks)
            Targets; missing ones are skipped.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), default=None
            Weights.

        Returns
        -------
        self : object
            The estimator.
        """
        return self._partial_fit(X, y, sample_weight)

    def _options_of_one_task(self) -> dict:
        return {"target_transform": None if isinstance(self.target_transform, dict) else self.target_transform}

    def _take_task(self, own, name: str) -> None:
        self._codec = self._codec.beside(own._codec)
        self._transforms = {**self._transforms, **{self.n_tasks_ + task: t for task, t in own._transforms.items()}}
        self._target_dtype = np.result_type(self._target_dtype, own._target_dtype)
        self._y_names = [*self.task_names_, name]

    def predict_std(self, X):
        """Return the standard deviation over the members' predictions.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        array of shape (n_samples, n_tasks), or (n_samples,) if y was 1-D
            In the units of y, with divisor ``n_members - 1``. It shows only the uncertainty due to the seed; the noise
            of y is not in it.

        Raises
        ------
        ValueError
            If there is only one member.
        """
        X = self._check_X(X)
        if len(self._member_ids) == 1:
            raise ValueError(
                f"predict_std needs an ensemble of at least 2 members. Found one, with n_members={self.n_members!r}. "
                f"Fit with n_members=5, say{'' if self.n_members_ == 1 else ', or a smaller lr: the others diverged'}."
            )
        if self._transforms:
            return self.predict_members(X).std(axis=0, ddof=1)
        stds = [in_chunks(partial(_spread, network), X, network) for network in self.network_.networks]
        std = stds[0] if len(stds) == 1 else np.concatenate(stds, axis=1)
        std = (std * self._codec.scale).astype(self._target_dtype, copy=False)
        return std[:, 0] if self._target_ndim == 1 else std

    def _learn_targets(self, table: TargetTable, sample_weight, start: Start) -> tuple[np.ndarray, np.ndarray | None]:
        weight = check_label_weights(sample_weight, table, self.task_names_, not start.is_anew)
        if start.is_anew:
            self._transforms = self._fit_transforms(table, weight)
        numbers = self._numbers(table)
        new = ScaleCodec.fit(numbers, weight)
        if start.is_anew:
            self._take_units(new, table.dtype)
        else:
            codec = self._codec.merge(new) if start.adds_rows else self._codec.replaced_by(new)
            self._take_units(codec, self._target_dtype)
        return self._in_units(numbers, table), weight

    def _fit_transforms(self, table: TargetTable, weight: np.ndarray | None) -> dict[int, LabelTransform]:
        """Return the fitted transformer of each task that has one."""
        given = self.target_transform
        if given is None:
            return {}
        if not isinstance(given, dict):
            given = dict.fromkeys(self.task_names_, given)
        check_task_names(given, self.task_names_, "target_transform")
        counts = table.observed if weight is None else table.observed & (weight > 0)
        of_task = {task: given[name] for task, name in enumerate(self.task_names_) if given.get(name) is not None}
        return {task: LabelTransform.fit(t, table.numbers[counts[:, task], task]) for task, t in of_task.items()}

    def _numbers(self, table: TargetTable) -> np.ndarray:
        """Return labels as they are standardised: (n_samples, n_tasks)."""
        if not self._transforms:
            return table.numbers
        numbers = table.numbers.copy()
        for task, transform in self._transforms.items():
            numbers[:, task] = transform.forward(numbers[:, task], table.observed[:, task], self.task_names_[task])
        return numbers

    def _losses_of(self, task: int):
        if task in self._transforms:
            raise ValueError(f"target_transform of task {self.task_names_[task]!r} has no torch module.")
        mean, scale = float(self._codec.mean[task]), float(self._codec.scale[task])
        return [SquaredError(1)], lambda raw: raw[0][:, 0, 0] * scale + mean

    def _layout(self) -> TaskLayout:
        return regression_layout(self.n_tasks_)

    def _take_units(self, codec: ScaleCodec, dtype: np.dtype) -> None:
        """Adopt these units, and predict in y's type of floats if that can hold what may be predicted."""
        self._codec = codec
        dtype = np.result_type(dtype, np.float32) if dtype.kind == "f" else np.dtype(np.float64)
        largest = (np.abs(codec.mean) + 1e3 * codec.scale).max()
        self._target_dtype = dtype if largest < np.finfo(dtype).max else np.dtype(np.float64)

    def _largest_output(self) -> float:
        scale, most = self._codec.scale, float(np.finfo(self._target_dtype).max)
        with np.errstate(over="ignore"):
            return float(((most - np.abs(self._codec.mean)) / np.where(scale > 0, scale, 1e-300)).min())

    def _units(self) -> ScaleCodec:
        return self._codec

    def _change_of(self, units: ScaleCodec) -> tuple[np.ndarray, np.ndarray] | None:
        factor, shift = units.change(self._codec)
        return None if (factor == 1).all() and (shift == 0).all() else (factor, shift)

    def _encode(self, table: TargetTable) -> tuple[np.ndarray, np.ndarray | None]:
        return self._in_units(self._numbers(table), table), check_label_weights(None, table, self.task_names_)

    def _in_units(self, numbers: np.ndarray, table: TargetTable) -> np.ndarray:
        y = self._codec.encode(numbers)
        return y if table.observed.all() else np.where(table.observed, y, 0.0)

    def _decode(self, raws: list[np.ndarray]) -> np.ndarray:
        y = self._codec.decode(raws[0] if len(raws) == 1 else np.concatenate(raws, axis=1))
        for task, transform in self._transforms.items():
            y[:, task] = transform.backward(y[:, task])
        y = y.astype(self._target_dtype, copy=False)
        return y[:, 0] if self._target_ndim == 1 else y


def _spread(network, x: torch.Tensor) -> torch.Tensor:
    """Return the standard deviation over members of raw outputs: (1, batch, n_outputs)."""
    return network(x).std(0).unsqueeze(0)
