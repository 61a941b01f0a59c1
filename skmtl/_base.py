"""Fit and predict, told once from top to bottom; the public estimators say only what their targets are."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, InvalidParameterError, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from skmtl._memory import tensor_over
from skmtl._network import MultiTaskNetwork, NetworkPlan, in_chunks, members_of
from skmtl._stratify import assign_parts, label_codes
from skmtl._table import TargetTable, check_distinct, name_tasks
from skmtl._validation import check_features, check_label_weights, check_layer_sizes, check_targets, check_task_weights
from skmtl.metrics import task_scores
from skmtl.sharing import ACTIVATIONS, STRATEGIES, Sharing
from skmtl.tasks import TaskLayout, average_members
from skmtl.training import OPTIMIZERS, SCHEDULES, Members, TensorData, TrainingRun, make_tables, train
from skmtl.weighting import WEIGHTINGS, Weighting


def _attends(estimator) -> bool:
    """Say whether the fitted strategy has attention weights."""
    check_is_fitted(estimator)
    if not hasattr(estimator.network_.trunk, "attention_weights"):
        raise AttributeError(f"sharing={estimator.sharing!r} has no attention weights; sharing='attention' has.")
    return True


class BaseMultiTask(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ABC):
    """Everything that the estimators share: the way from X and y to a trained network, and from it to predictions.

    A subclass says how targets become numbers and come back: `_learn_targets`, `_encode`, `_decode`.
    """

    _metric: str  # what `score` averages over tasks
    _is_continuous: bool  # whether targets are numbers to be binned where rows are stratified

    _parameter_constraints = {
        "sharing": [StrOptions(set(STRATEGIES)), Sharing],
        "sharing_lambda": [Interval(Real, 0, None, closed="left")],
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "head_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(ACTIVATIONS))],
        "dropout": [Interval(Real, 0, 1, closed="left")],
        "n_members": [Interval(Integral, 1, None, closed="left")],
        "weighting": [StrOptions(set(WEIGHTINGS)), Weighting],
        "task_weights": ["array-like", dict, None],
        "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
        "lr": [Interval(Real, 0, None, closed="neither")],
        "lr_schedule": [StrOptions(set(SCHEDULES))],
        "weight_decay": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "callbacks": [list, tuple, None],
        "device": [str, torch.device],
        "dtype": [StrOptions({"auto", "float32", "float64"})],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    @classmethod
    @cache
    def _get_param_names(cls):
        """Return the names of the parameters; scikit-learn reads the signature each time, a tenth of a small search."""
        return super()._get_param_names()

    # ---- fit ----------------------------------------------------------------------------------------------------

    def fit(self, X, y, sample_weight=None, X_val=None, y_val=None):
        """Fit the network.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features, finite. Networks learn best from standardised ones.
        y : array-like, DataFrame or Series of shape (n_samples,) or (n_samples, n_tasks)
            Targets. NaN, None and NA are missing.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), default=None
            Weight of each row, or of each label; >= 0.
        X_val, y_val : array-like, default=None
            A validation set of your own, for `early_stopping` and for the validation loss in ``history_``.

        Returns
        -------
        self : object
            The fitted estimator. A fit that fails leaves an earlier fit as it was.

        Raises
        ------
        ValueError
            If a parameter, X, y or a weight is not what it must be; the message names the task or the parameter.
        TypeError
            If X, y or weights come in what is no table, such as a sparse matrix or a dict.
        """
        with _all_or_nothing(self):
            self._check_parameters()
            earlier = self._earlier() if self.warm_start else None
            return self._fit(X, y, sample_weight, X_val, y_val, earlier, int(self.max_epochs))

    def _fit(self, X, y, sample_weight, X_val, y_val, earlier, max_epochs, adds_rows=False):
        units = self._units() if adds_rows and earlier is not None else None
        data, valid = self._read(X, y, sample_weight, X_val, y_val, earlier, adds_rows)
        change = None if units is None else self._change_of(units)
        net = train(self._training_run([self], earlier, max_epochs, change), data, valid)
        self._keep(net, earlier)
        return self

    def _read(self, X, y, sample_weight, X_val=None, y_val=None, earlier=None, adds_rows=False):
        """Check all data the user gave, learn names, targets and architecture; return training and held-out rows."""
        if y is None:
            validate_data(self, X, y)  # raises scikit-learn's own message
        goes_on = earlier is not None
        X = check_features(self, X, self._numpy_dtype if goes_on else self._input_dtypes(), not goes_on)
        may_lack = goes_on or self._knows_targets()
        table = check_targets(y, X, "y", self.task_names_ if goes_on else None, may_lack)
        names = check_distinct(name_tasks(table, self.task_names_ if goes_on else None))
        weight = self._weigh_labels(table, names, check_label_weights(sample_weight, table, names, may_lack), goes_on)
        if goes_on:
            self.task_names_ = names  # an earlier table may have had none
            self._check_same_architecture()
            self._follow_targets(table, weight, adds_rows)
        else:
            self._numpy_dtype = X.dtype
            self._learn_names(names, table)
            self._plan = self._make_plan(self._learn_targets(table, weight))
        return self._divide(X, table, weight, X_val, y_val)

    def _check_parameters(self) -> None:
        """Refuse parameters that are not what they must be; nothing may use one before."""
        try:
            self._validate_params()
        except InvalidParameterError:  # which is a TypeError, too
            raise
        except (TypeError, OverflowError) as error:  # numbers that scikit-learn's checks cannot compare
            numbers = {name: v for name, v in self.get_params(deep=False).items() if isinstance(v, Real)}
            odd = {name: v for name, v in numbers.items() if not _is_plain_number(v)}
            raise ValueError(f"Parameters must be numbers that a float can hold. Found {odd}: {error}.") from error
        try:
            torch.empty(0, device=self._torch_device())
        except (RuntimeError, AssertionError) as error:
            raise ValueError(
                f"device must be 'auto' or a device that torch can use here. Found {self.device!r}: {error}"
            ) from error

    def _make_plan(self, layout: TaskLayout) -> NetworkPlan:
        sharing = STRATEGIES[self.sharing]() if isinstance(self.sharing, str) else clone(self.sharing)
        return NetworkPlan(
            sharing=sharing,
            layout=layout,
            n_features=self.n_features_in_,
            hidden_layer_sizes=check_layer_sizes(self.hidden_layer_sizes, "hidden_layer_sizes"),
            head_layer_sizes=check_layer_sizes(self.head_layer_sizes, "head_layer_sizes"),
            activation=self.activation,
            dropout=float(self.dropout),
            n_members=int(self.n_members),
        )

    def _training_run(self, estimators, earlier, max_epochs: int, change=None) -> TrainingRun:
        """Return the run of estimators that are fitted side by side; this one has read the data for all of them."""
        return TrainingRun(
            plan=self._plan,
            dtype=self._torch_dtype,
            device=self._torch_device(),
            members=_members(self, estimators, earlier),
            task_names=[self.task_names_[t] for t in self._plan.layout.order],
            weighting=WEIGHTINGS[self.weighting]() if isinstance(self.weighting, str) else self.weighting,
            optimizer=self.optimizer,
            batch_size=int(self.batch_size),
            max_epochs=max_epochs,
            lr_schedule=self.lr_schedule,
            patience=min(int(self.n_iter_no_change), max_epochs) if self.early_stopping else None,
            tol=float(self.tol),
            callbacks=self.callbacks or (),
            verbose=self.verbose,
            earlier=earlier,
            largest=self._largest_output(),
            change_of_units=change,
        )

    def _keep(self, net, earlier) -> None:
        """Take the trained net and its history."""
        before, ids = ([], range(int(self.n_members))) if earlier is None else (self.history_, self._kept)
        self.net_ = net
        finite = self._keep_finite(net, range(len(ids)), ids, before)
        self.network_ = (net.module_ if len(finite) == len(ids) else _copy_of(net, finite, self._plan)).eval()
        if net.interrupted_:
            warnings.warn(
                f"Training was interrupted after {self.n_iter_} full epochs of {net.max_epochs}. "
                f"The estimator keeps what it has learned so far.",
                stacklevel=4,
            )

    def _keep_members(self, net, members: range, first) -> None:
        """Take its members of a stack that was trained on what another estimator read."""
        parameters = self.get_params(deep=False)
        vars(self).update({k: v for k, v in vars(first).items() if k not in parameters})
        self._plan = replace(first._plan, dropout=float(self.dropout))
        finite = self._keep_finite(net, members, range(len(members)), [])
        self.network_ = _copy_of(net, finite, self._plan).eval()

    def _keep_finite(self, net, members: range, ids: Sequence[int], before: list[dict]) -> list[int]:
        """Take the history of those of these members that have not diverged, `ids` in the ensemble; return them."""
        finite = [m for m in members if m not in net.diverged_]
        self._kept = tuple(ids[m - members.start] for m in finite)
        self.history_ = before + _history(net, self._plan.layout.places, len(before), finite)
        self.n_iter_ = len(self.history_)
        if len(finite) < len(members):
            told = next(net.diverged_[m] for m in members if m in net.diverged_)
            warnings.warn(
                f"{len(members) - len(finite)} of {len(members)} members of the ensemble diverged and are left out; "
                f"predictions average the other {len(finite)}. The first of them: {told}",
                ConvergenceWarning,
                stacklevel=5,
            )
        undefined = {m: net.undefined_[m] for m in finite if m in net.undefined_}
        if undefined:
            warnings.warn(
                f"The validation loss is not finite from epoch {min(undefined.values())} on"
                f"{'' if len(finite) == 1 else f', of {len(undefined)} of {len(finite)} members'}: look for extreme "
                f"values in the validation rows, or try a smaller lr. Such epochs count as the worst.",
                ConvergenceWarning,
                stacklevel=5,
            )
        return finite

    # ---- going on from an earlier fit ---------------------------------------------------------------------------

    def _earlier(self):
        """Return the net, or where that is gone or holds diverged members the network, of an earlier fit, if any."""
        net, network = self.__dict__.get("net_"), self.__dict__.get("network_")
        return net if net is not None and net.module_ is network else network

    def _partial_fit(self, X, y, sample_weight):
        with _all_or_nothing(self):
            self._check_parameters()
            if self.early_stopping:
                raise ValueError("partial_fit makes one pass over the rows it is given: set early_stopping=False.")
            return self._fit(X, y, sample_weight, None, None, self._earlier(), 1, adds_rows=True)

    def _check_same_architecture(self) -> None:
        plan = self._make_plan(self._plan.layout)
        if plan.architecture() != self._plan.architecture():
            raise ValueError(
                f"Going on from an earlier fit needs the same architecture. It was {self._plan.architecture()}, "
                f"now it is {plan.architecture()}. Fit anew with warm_start=False."
            )

    # ---- data ---------------------------------------------------------------------------------------------------

    def _learn_names(self, names: list[str], table: TargetTable) -> None:
        self.task_names_ = names
        self.n_tasks_ = table.n_columns
        self._target_ndim, self._target_dtype = table.ndim, table.dtype

    def _weigh_labels(
        self, table: TargetTable, names: list[str], weight: np.ndarray | None, goes_on: bool
    ) -> np.ndarray | None:
        """Return the label weights; a classifier multiplies them by its class weights."""
        return weight

    def _divide(self, X, table: TargetTable, weight, X_val, y_val) -> tuple[TensorData, TensorData | None]:
        """Return the rows to learn from and those to validate on, if any."""
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val must be given together. Found only one of them.")
        used = None if weight is None else (weight > 0).any(axis=1)
        rows = None if used is None or used.all() else np.flatnonzero(used)
        hold_out = self.early_stopping and X_val is None
        parts = self._hold_out(table, weight, rows) if hold_out else [rows]
        data, *held_out = self._tables(X, table, weight, parts, int(self.batch_size))
        if X_val is None:
            return data, held_out[0] if hold_out else None
        return data, self._validation_table(X_val, y_val)

    def _hold_out(self, table: TargetTable, weight, rows: np.ndarray | None) -> list[np.ndarray]:
        """Return the rows to learn from and those held out; a label of weight 0 has no say in it."""
        observed = table.observed if weight is None else weight > 0
        if rows is None:
            rows, columns = np.arange(len(table)), table.columns
        else:
            columns, observed = table.take(rows).columns, observed[rows]
        codes = label_codes(columns, observed, continuous=[self._is_continuous] * self.n_tasks_)
        shares = (1.0 - self.validation_fraction, self.validation_fraction)
        part = assign_parts(codes, shares, check_random_state(self.random_state))
        if not (part == 1).any() or not (part == 0).any():
            raise ValueError(
                f"validation_fraction={self.validation_fraction} of {len(rows)} rows leaves an empty training or "
                f"validation set. Give more rows or another fraction."
            )
        return [rows[part == k] for k in (0, 1)]

    def _validation_table(self, X_val, y_val) -> TensorData:
        """Return a validation set of the user's own; tasks without a label in it have no say."""
        X_val = check_features(self, X_val, self._input_dtypes(), reset=False)
        table = check_targets(y_val, X_val, "y_val", self.task_names_, may_lack_tasks=True)
        absent = [name for name, seen in zip(self.task_names_, table.observed.T, strict=True) if not seen.any()]
        if absent:
            warnings.warn(
                f"y_val has no label of {len(absent)} of {self.n_tasks_} tasks, which the validation loss leaves out: "
                f"{', '.join(map(repr, absent[:10]))}{', ...' if len(absent) > 10 else ''}.",
                stacklevel=6,
            )
        weight = check_label_weights(None, table, self.task_names_)
        return self._tables(X_val, table, weight, [None], len(X_val))[0]

    def _tables(self, X, table: TargetTable, weight, parts, batch_size: int) -> list[TensorData]:
        """Return rows with encoded targets, in the network's task order and precision: one table for each part."""
        order, place = self._plan.layout.order, {"dtype": self._torch_dtype, "device": self._torch_device()}
        y = self._encode(table)
        if weight is not None:
            y = np.where(weight > 0, y, 0.0)  # 0 times a wild value would not be 0
        if not (order == np.arange(len(order))).all():
            y, weight = y[:, order], None if weight is None else weight[:, order]
        return make_tables(tensor_over(X).to(**place), torch.as_tensor(y, **place), weight, parts, batch_size)

    def _torch_device(self) -> torch.device:
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)

    def _input_dtypes(self):
        """Return the numpy types that X may have: what is not among them becomes the first."""
        if self.dtype != "auto":
            return np.dtype(self.dtype)
        return np.float32 if self._torch_device().type != "cpu" else (np.float64, np.float32)

    # ---- predict ------------------------------------------------------------------------------------------------

    def _raw(self, X) -> np.ndarray:
        """Return raw outputs (n_samples, n_outputs)."""
        X = self._check_X(X)
        return in_chunks(self.network_ if len(self._kept) == 1 else self._ensemble, X, self.network_)

    def _ensemble(self, x: torch.Tensor) -> torch.Tensor:
        """Return raw outputs that say what the members say on average: (1, batch, n_outputs)."""
        return average_members(self._plan.layout.groups, self.network_(x)).unsqueeze(0)

    def _raw_members(self, X) -> np.ndarray:
        """Return the raw outputs of each member: (n_members * n_samples, n_outputs), member after member."""
        X = self._check_X(X)
        raw = in_chunks(lambda x: self.network_(x).transpose(0, 1).unsqueeze(0), X, self.network_)
        return raw.swapaxes(0, 1).reshape(-1, raw.shape[-1])

    def _check_X(self, X) -> np.ndarray:
        check_is_fitted(self, "network_")
        return check_features(self, X, self._numpy_dtype, reset=False)

    def predict(self, X):
        """Predict every task.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        array of shape (n_samples, n_tasks), or (n_samples,) if y was 1-D
            Predictions in the labels or units of y.
        """
        return self._decode(self._raw(X))

    def predict_members(self, X):
        """Predict every task by each member of the ensemble.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        array of shape (n_members, n_samples, n_tasks), or (n_members, n_samples) if y was 1-D
            What `predict` would say of each member alone. Members that diverged in `fit` are not among them.
        """
        values = self._decode(self._raw_members(X))
        return values.reshape(len(self._kept), -1, *values.shape[1:])

    def predict_frame(self, X):
        """Predict every task, with named columns.

        Parameters
        ----------
        X : array-like or DataFrame of shape (n_samples, n_features)
            Features.

        Returns
        -------
        DataFrame of shape (n_samples, n_tasks)
            A polars one if `X` is one, else a pandas one with the index of `X` where it has one.
        """
        values = self.predict(X)
        columns = dict(zip(self.task_names_, values.reshape(len(values), -1).T, strict=True))
        if type(X).__module__.partition(".")[0] == "polars":
            import polars

            return polars.DataFrame({name: column.tolist() for name, column in columns.items()})
        import pandas

        return pandas.DataFrame(columns, index=X.index if hasattr(X, "iloc") else None).infer_objects()

    def transform(self, X):
        """Return the shared representation.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        array of shape (n_samples, n_shared)
            What the trunk computes, before the heads. Strategies with a tower per task give all towers side by side,
            in the order of ``task_names_``; an ensemble gives its members' representations side by side.
        """
        X = self._check_X(X)
        return in_chunks(self._shared, X, self.network_)

    def _shared(self, x: torch.Tensor) -> torch.Tensor:
        """Return the shared representation, tasks in the user's order and members side by side: (1, batch, n)."""
        features = self.network_.trunk.shared(x)
        if features.ndim == 4:
            features = features[:, self._plan.layout.places].transpose(1, 2).flatten(2)
        return features if len(features) == 1 else features.transpose(0, 1).flatten(1).unsqueeze(0)

    @property
    def _n_features_out(self):
        one_row = np.zeros((1, self.n_features_in_), dtype=self._numpy_dtype)
        return in_chunks(self._shared, one_row, self.network_).shape[1]

    @available_if(_attends)
    def attention_weights(self, X):
        """Return where each task looks (attention sharing only).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        array of shape (n_samples, n_tasks, n_tokens)
            Mean over attention heads of the weight that a task gives to each token of a row; sums to one over tokens.
            An ensemble gives the mean over its members, whose tokens are learned apart and have only their number
            in common.
        """
        X = self._check_X(X)
        attend = self.network_.trunk.attention_weights
        weights = in_chunks(lambda x: attend(x).mean(0, keepdim=True), X, self.network_)
        return weights[:, self._plan.layout.places]

    def task_similarity(self):
        """Return how alike the tasks are, as the fitted network sees them.

        Returns
        -------
        array of shape (n_tasks, n_tasks)
            Symmetric, 1 on the diagonal. For attention the cosine of the tasks' projected queries; for towers
            (independent, soft) the cosine of their trunks' parameters; for hard sharing how alike two heads
            :math:`W_i, W_j` read the shared features, :math:`\\|W_i^\\top W_j\\| / \\sqrt{\\|W_i^\\top W_i\\|
            \\|W_j^\\top W_j\\|}`, which for heads of one output is their cosine. An ensemble gives the mean over
            its members.
        """
        check_is_fitted(self, "network_")
        with torch.no_grad():
            similarity = self.network_.task_similarity().mean(0).cpu().numpy()
        places = self._plan.layout.places
        return similarity[np.ix_(places, places)]

    # ---- score --------------------------------------------------------------------------------------------------

    def score_tasks(self, X, y, sample_weight=None):
        """Score each task on its observed labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like or DataFrame of shape (n_samples,) or (n_samples, n_tasks)
            True targets; missing ones are skipped.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), default=None
            Weights.

        Returns
        -------
        dict
            Accuracy (classifier) or R² (regressor) by task name; NaN for a task without a label.
        """
        predicted = self.predict(X)
        known = {"task_names": self.task_names_, "classes": self._classes_of_each()}
        return task_scores(self._metric, y, predicted, sample_weight=sample_weight, **known)

    def score(self, X, y, sample_weight=None):
        """Return the mean over tasks of `score_tasks`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like or DataFrame of shape (n_samples,) or (n_samples, n_tasks)
            True targets; missing ones are skipped, and so is a task without a label.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), default=None
            Weights.

        Returns
        -------
        float
            Mean accuracy (classifier) or R² (regressor); NaN if no task has a label.
        """
        scores = np.array(list(self.score_tasks(X, y, sample_weight).values()))
        return float(scores[~np.isnan(scores)].mean()) if not np.isnan(scores).all() else float("nan")

    # ---- files and tags -----------------------------------------------------------------------------------------

    def __getstate__(self):
        """Return parameters and arrays only: the network becomes its weights, the net with its buffers stays behind."""
        state = super().__getstate__().copy()
        state.pop("net_", None)
        network = state.pop("network_", None)
        if network is not None:
            state["_weights"] = {name: w.detach().cpu().numpy() for name, w in network.state_dict().items()}
        return state

    def __setstate__(self, state):
        """Rebuild the network, on the CPU."""
        state = dict(state)
        weights = state.pop("_weights", None)
        super().__setstate__(state)
        if weights is not None:
            network = self._plan.build_blank(len(self._kept)).to(self._torch_dtype)
            network.load_state_dict({name: torch.from_numpy(np.array(w)) for name, w in weights.items()})
            self.network_ = network.eval()

    @property
    def _torch_dtype(self) -> torch.dtype:
        return torch.float32 if self._numpy_dtype == np.float32 else torch.float64

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.input_tags.sparse = False
        return tags

    # ---- what a subclass says -----------------------------------------------------------------------------------

    @abstractmethod
    def _learn_targets(self, table: TargetTable, weight: np.ndarray | None) -> TaskLayout:
        """Learn classes or scales from observed labels; return the places of the tasks."""

    def _largest_output(self) -> float:
        """Return the size up to which the network's outputs become finite predictions."""
        return np.inf

    def _classes_of_each(self) -> list[np.ndarray] | None:
        """Return the classes of each task, if they have classes."""
        return None

    def _knows_targets(self) -> bool:
        """Return whether all that is to be learned of the targets was given beside them."""
        return False

    def _follow_targets(self, table: TargetTable, weight: np.ndarray | None, adds_rows: bool) -> None:
        """Take account of targets that come after those of an earlier fit: in addition to them, or instead."""

    def _units(self) -> object:
        """Return in what units the network says what it says, or None where that never changes."""
        return None

    def _change_of(self, units) -> tuple[np.ndarray, np.ndarray] | None:
        """Return factor and shift of each task, (n_tasks,), from earlier units to those of today; None for none."""
        return None

    @abstractmethod
    def _encode(self, table: TargetTable) -> np.ndarray:
        """Return targets as floats (n_samples, n_tasks), 0 where missing."""

    @abstractmethod
    def _decode(self, raw: np.ndarray) -> np.ndarray:
        """Return predictions in y's own labels from raw outputs (n_samples, n_outputs)."""


@contextmanager
def _all_or_nothing(estimator):
    """Put every attribute back if the block fails."""
    before = estimator.__dict__.copy()
    try:
        yield
    except BaseException:
        estimator.__dict__.clear()
        estimator.__dict__.update(before)
        raise


def _members(first: BaseMultiTask, estimators: Sequence[BaseMultiTask], earlier=None) -> Members:
    """Return what each of these estimators, fitted side by side, has for itself; `first` has read the targets."""
    place = {"dtype": first._torch_dtype, "device": first._torch_device()}
    ids = range(int(first.n_members)) if earlier is None else first._kept
    seeds = [seed for e in estimators for seed in _seeds(e, ids)]
    estimators = [e for e in estimators for _ in ids]
    weights = [check_task_weights(e.task_weights, first.task_names_) for e in estimators]
    task_weights = None
    if any(w is not None for w in weights):
        rows = [np.ones(first.n_tasks_) if w is None else w for w in weights]
        rows = np.stack(rows)[:, first._plan.layout.order]
        task_weights = _in_precision("task_weights", rows.ravel().tolist(), place).view(rows.shape)

    def each(name: str, values: Sequence[float]) -> torch.Tensor:
        return _in_precision(name, values, place)

    return Members(
        seeds=tuple(seed if earlier is None else seed + first.n_iter_ for seed in seeds),
        task_weights=task_weights,
        sharing_lambda=each("sharing_lambda", [min(e.sharing_lambda, _most(first)) for e in estimators]),
        lr=each("lr", [e.lr for e in estimators]),
        weight_decay=each("weight_decay", [_weight_decay(e) for e in estimators]),
        dropout=each("dropout", [e.dropout for e in estimators]),
    )


def _most(estimator: BaseMultiTask) -> float:
    """Return the largest λ to compute with: towers are one long before, and beyond it products overflow."""
    return 1e30 if estimator._torch_dtype == torch.float32 else 1e250


def _is_plain_number(value) -> bool:
    return isinstance(value, (int, float, np.number)) and abs(value) <= np.finfo(np.float64).max


def _in_precision(name: str, values: Sequence[float], place: dict) -> torch.Tensor:
    """Return a parameter of each member in the network's precision, if there it still is what it must be."""
    dtype = np.float32 if place["dtype"] == torch.float32 else np.float64
    try:
        exact = np.array(values, dtype=np.float64)
    except OverflowError:
        raise ValueError(f"{name} must be a number that a float can hold. Found {values!r}.") from None
    with np.errstate(all="ignore"):
        rounded = exact.astype(dtype)
    lost = ~np.isfinite(rounded)
    if name in ("lr", "task_weights"):
        lost |= (rounded == 0) & (exact > 0)
    elif name == "dropout":
        lost |= rounded >= 1
    if lost.any():
        raise ValueError(
            f"{name}={float(exact[lost][0])!r} is {rounded[lost][0]:g} in {np.dtype(dtype)}, in which the network "
            f"computes. Choose another value, or dtype='float64'."
        )
    return torch.from_numpy(rounded).to(place["device"])


def _seeds(estimator: BaseMultiTask, ids: Sequence[int]) -> list[int]:
    """Return the seeds of these members: the first is that of a single network, the others are drawn after it."""
    random_state = check_random_state(estimator.random_state)
    seeds = [int(random_state.randint(2**31 - 1)) for _ in range(int(estimator.n_members))]
    return [seeds[k] for k in ids]


def _weight_decay(estimator) -> float:
    """Return the weight decay; "auto" was chosen with the default step size, see tests/benchmarks/defaults.py."""
    if estimator.weight_decay == "auto":
        return 0.5 if estimator.optimizer == "adamw" else 0.0
    return estimator.weight_decay


def _copy_of(net, members: Sequence[int], plan: NetworkPlan) -> MultiTaskNetwork:
    """Return a network of these members of a stack, of which some may have left."""
    place = {m: k for k, m in enumerate(net.active.tolist())}
    return members_of(net.module_, [place[m] for m in members], plan)


def _history(net, places: np.ndarray, offset: int, members: Sequence[int]) -> list[dict]:
    """Return one dict per finished epoch: what skorch recorded and each task's loss in the user's task order.

    Losses are the mean over those of these members that were still training in the epoch.
    """
    rows: list[dict] = []
    best = {"train_loss": np.inf, "valid_loss": np.inf}
    last = {m: net.last_epochs_.get(m, len(net.train_losses_)) for m in members}
    for k, recorded in zip(range(max(last.values())), net.history, strict=False):
        if "train_loss" not in recorded:  # interrupted
            break
        row = {key: value for key, value in recorded.items() if key != "batches"}
        row["epoch"] += offset
        running = [m for m in members if k < last[m]]
        row["train_task_losses"] = _mean_of(running, net.train_losses_[k])[places]
        if k < len(net.valid_losses_):
            row["valid_task_losses"] = _mean_of(running, net.valid_losses_[k])[places]
        if len(net.train_totals_[k]) > 1:  # what skorch recorded is the mean over other members, too
            for name, totals in (("train_loss", net.train_totals_), ("valid_loss", net.valid_totals_)):
                if k < len(totals):
                    row[name] = float(_mean_of(running, totals[k]))
                    row[f"{name}_best"] = row[name] < best[name]
                    best[name] = min(best[name], row[name])
        rows.append(row)
    return rows


def _mean_of(members: Sequence[int], losses: np.ndarray) -> np.ndarray:
    """Return the mean over some members of (member, ...)."""
    return losses[members[0]] if len(members) == 1 else losses[list(members)].mean(0)
