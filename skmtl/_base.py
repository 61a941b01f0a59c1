"""Fit and predict, from top to bottom; the public estimators add what their targets are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial

import numpy as np
import torch
from scipy import sparse
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from skmtl._catalogue import Catalogue
from skmtl._decoder import written
from skmtl._grown import GrownNetwork, GrownPlan, begin_task, plan_of, plan_state, root_of
from skmtl._network import in_chunks
from skmtl._outcome import adopt
from skmtl._parameters import CONSTRAINTS, check_parameters, training_run
from skmtl._reading import ANEW, Reading, Start, read
from skmtl._table import TargetTable
from skmtl._task_module import TaskModule
from skmtl._validation import check_features
from skmtl.encoders import EncodedInput
from skmtl.metrics import task_scores
from skmtl.task_view import TaskView
from skmtl.tasks import ROW, TaskLayout, average_members
from skmtl.training import train


def _attends(estimator) -> bool:
    """Return whether the fitted strategy has attention weights."""
    check_is_fitted(estimator)
    if not hasattr(estimator.network_.trunk, "attention_weights"):
        raise AttributeError(f"sharing={estimator.sharing!r} has no attention weights; sharing='attention' has.")
    return True


def _average(network, layout: TaskLayout, x: torch.Tensor) -> torch.Tensor:
    """Return the raw outputs for the mean prediction of the members, and what decoders write: (1, batch, column)."""
    if not layout.writing:
        return average_members(layout.groups, network(x)).unsqueeze(0)
    x, ids = written(network, x, averages=True)
    raw = average_members(layout.groups, network(x)).unsqueeze(0)
    return torch.cat([raw, ids.to(raw.dtype)], -1)


def _rows_first(network, layout: TaskLayout, x: torch.Tensor) -> torch.Tensor:
    """Return the same of each member, rows first: (1, batch, member, column)."""
    if not layout.writing:
        return network(x).transpose(0, 1).unsqueeze(0)
    x, ids = written(network, x, averages=False)
    raw = network(x)
    return torch.cat([raw, ids.to(raw.dtype)], -1).transpose(0, 1).unsqueeze(0)


class BaseMultiTask(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ABC):
    """Everything that the estimators share: the way from X and y to a trained network, and from it to predictions.

    A subclass defines how targets become numbers and come back: `_learn_targets`, `_layout`, `_encode`, `_decode`. Its
    parts are columns of targets that the network learns; in the classifier and the regressor each task is one.
    """

    _metric: str  # what `score` averages over tasks
    _is_continuous: bool  # whether targets are numbers to be binned where rows are stratified
    _needs_labels_in_every_column = True
    _reads_records = False  # whether y may be a structured array
    _predicts_records = False  # whether it was one
    _inputs: tuple[tuple[int, ...], ...] | None = None  # columns of X that each task reads, where these differ
    _entry: EncodedInput | None = None  # the fields of X, where encoders read them
    _catalogue: Catalogue | None = None  # users and items of the fit, where encoders read their ids
    _draws_negatives = False
    _objects: Mapping[str, Mapping[str, type]] = {"encoder": {}}

    _parameter_constraints = CONSTRAINTS

    @classmethod
    @cache
    def _get_param_names(cls):
        """Return the names of the parameters; scikit-learn reads the signature each time, a tenth of a small search."""
        return super()._get_param_names()

    # ---- fit ----------------------------------------------------------------------------------------------------

    def fit(self, X, y, sample_weight=None, X_val=None, y_val=None, groups=None):
        """Fit the network.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
            Features, finite. Networks learn best from standardised ones.
        y : array-like, DataFrame or Series of shape (n_samples,) or (n_samples, n_tasks)
            Targets. NaN, None and NA are missing.
        sample_weight : array-like of shape (n_samples,) or (n_samples, n_tasks), default=None
            Weight of each row, or of each label; >= 0.
        X_val, y_val : array-like, default=None
            A validation set of your own, for `early_stopping` and for the validation loss in ``history_``.
        groups : array-like of shape (n_samples,), default=None
            Group of each row, such as a patient or a user: `early_stopping` holds out whole groups.

        Returns
        -------
        self : object
            The fitted estimator. A fit that fails leaves an earlier fit as it was.

        Raises
        ------
        ValueError
            If a parameter, X, y or a weight is not what it must be; the message names the task or the parameter.
        TypeError
            If X, y or weights are not tables, such as a dict, or y is a sparse matrix.
        """
        fitted, before = self._aside(), dict(vars(self))
        fitted._check_parameters()
        start = Start(fitted._earlier() if fitted.warm_start else None)
        fitted._fit(X, y, sample_weight, X_val, y_val, groups, start)
        return self._commit(fitted, before)

    def _partial_fit(self, X, y, sample_weight, classes=None):
        fitted, before = self._aside(), dict(vars(self))
        fitted._check_parameters()
        if fitted.early_stopping not in (False, "auto"):
            raise ValueError("partial_fit makes one pass over the rows it is given: set early_stopping=False.")
        start = Start(fitted._earlier(), adds_rows=True, classes=classes)
        fitted._fit(X, y, sample_weight, None, None, None, start, 1)
        return self._commit(fitted, before)

    def add_task(self, X, y, name, sample_weight=None, groups=None, freeze=True):
        """Return a new estimator with one task more; predictions of the others stay as they are, bit for bit.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.
        y : array-like of shape (n_samples,)
            Targets of the new task.
        name : str
            Its name.
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
        own = self._for_one_task(**self._options_of_one_task())
        return self._add_task(own, X, y, name, sample_weight, groups, freeze)

    def _add_task(self, own, X, y, name: str, sample_weight, groups, freeze: bool):
        """Return an estimator with one task more, which `own`, an estimator of that task alone, learns."""
        self._check_X(X)
        if name in self.task_names_ or not isinstance(name, str) or "__" in name or not name:
            raise ValueError(f"name must be a new one, without '__'. Found {name!r}; the tasks are {self.task_names_}.")
        if self._inputs is not None:
            raise ValueError("Tasks cannot be added where tasks read their own columns of X. Fit anew with all tasks.")
        if self._entry is not None:
            raise ValueError("Tasks cannot be added behind an encoder. Fit anew with all tasks.")
        network, plan = root_of(self.network_, self._plan)
        own._check_parameters()
        reading = own._read(X, y, sample_weight, groups=groups)
        if own.n_tasks_ > 1:
            raise ValueError(f"y must hold the labels of one task. Found {own.n_tasks_} columns.")
        added = replace(plan, layout=own._plan.layout, n_members=own.n_members_)
        own._plan, start = begin_task(network, added, tuple(own._seeds), freeze)
        data, valid = reading.divided(own._seeds)
        own.n_iter_ = 0
        adopt(own, train(training_run(own, [own], start, own.max_epochs_), data, valid), anew=True)
        own._finish(reading)
        if len(own._member_ids) < len(self._member_ids):
            raise ValueError(f"Task {name!r}: members of the ensemble diverged. Try a smaller lr.")
        grown = self._aside()
        grown._take_task(own, name)
        grown.task_names_, grown.n_tasks_ = [*self.task_names_, name], self.n_tasks_ + 1
        grown._target_ndim = 2
        grown._plan = GrownPlan(self._plan, own._plan, grown._layout())
        grown.network_ = GrownNetwork(self.network_, own.network_, grown._plan).eval()
        vars(grown).pop("net_", None)
        return grown

    def _for_one_task(self, **params):
        """Return an unfitted estimator of one task, with as many members as this one predicts by."""
        check_is_fitted(self, "network_")
        known = {"task_weights": None, "warm_start": False, "n_members": len(self._member_ids)}
        return clone(self).set_params(**known, dtype=str(self._numpy_dtype), **params)

    def _aside(self):
        """Return an estimator with the same attributes, in which a fit may fail or be interrupted."""
        aside = object.__new__(type(self))
        vars(aside).update(vars(self))
        return aside

    def _commit(self, fitted, before: dict):
        """Take over the attributes of `fitted`, and what callbacks changed of those of `before`; return self.

        One call exchanges all of them, and no line follows, where Ctrl-C would raise although the fit is there.
        """
        meanwhile = {name: value for name, value in vars(self).items() if before.get(name, before) is not value}
        return object.__setattr__(self, "__dict__", {**vars(fitted), **meanwhile}) or self

    def _fit(self, X, y, sample_weight, X_val, y_val, groups, start: Start, max_epochs: int | None = None) -> None:
        units = None if start.is_anew else self._units()
        reading = self._read(X, y, sample_weight, X_val, y_val, groups, start)
        data, valid = reading.divided(self._seeds)
        change = self._change_of(units) if start.adds_rows and units is not None else None
        net = train(training_run(self, [self], start.earlier, max_epochs or self.max_epochs_, change), data, valid)
        adopt(self, net, anew=start.is_anew)
        self._finish(reading)

    def _check_parameters(self) -> None:
        check_parameters(self)

    def _read(self, X, y, sample_weight=None, X_val=None, y_val=None, groups=None, start: Start = ANEW) -> Reading:
        """Check all data the user gave, learn names, targets and architecture."""
        if y is None:
            validate_data(self, X, y)  # raises scikit-learn's own message
        return read(self, X, y, sample_weight, X_val, y_val, groups, start)

    def _earlier(self):
        """Return the net, or where that is gone or holds diverged members the network, of an earlier fit, if any."""
        net, network = self.__dict__.get("net_"), self.__dict__.get("network_")
        if isinstance(network, GrownNetwork):
            raise ValueError("A network with a task added later cannot be trained on. Fit anew with all tasks.")
        return net if net is not None and net.module_ is network else network

    # ---- predict ------------------------------------------------------------------------------------------------

    def _raw(self, X) -> list[np.ndarray]:
        """Return the raw outputs of each network, (n_samples, n_outputs): one, unless tasks were added later."""
        return self._raw_of_rows(self._check_X(X))

    def _raw_of_rows(self, X) -> list[np.ndarray]:
        """Return raw outputs for the mean prediction of the members."""
        found = []
        for network, plan in zip(self.network_.networks, self._plan.plans, strict=True):
            is_raw = len(self._member_ids) == 1 and not plan.layout.writing
            found.append(in_chunks(network if is_raw else partial(_average, network, plan.layout), X, network))
        return found

    def _raw_members(self, X) -> list[np.ndarray]:
        """Return the raw outputs of each member: (n_members * n_samples, n_outputs), member after member."""
        X, found = self._check_X(X), []
        for network, plan in zip(self.network_.networks, self._plan.plans, strict=True):
            raw = in_chunks(partial(_rows_first, network, plan.layout), X, network)
            found.append(raw.swapaxes(0, 1).reshape(-1, raw.shape[-1]))
        return found

    def _check_X(self, X) -> np.ndarray | sparse.sparray:
        check_is_fitted(self, "network_")
        return check_features(self, X, self._numpy_dtype, reset=False, may_lack_values=self._may_lack_values())

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
            Predictions of each member. Members that diverged in `fit` are left out.
        """
        values = self._decode(self._raw_members(X))
        return values.reshape(len(self._member_ids), -1, *values.shape[1:])

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
        if values.dtype.names:
            columns = {name: values[name] for name in values.dtype.names}
        else:
            columns = dict(zip(self._output_names(), values.reshape(len(values), -1).T, strict=True))
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
        one_row = np.zeros((1, self._plan.plans[0].n_features), dtype=self._numpy_dtype)
        return in_chunks(self._shared, one_row, self.network_).shape[1]

    @available_if(_attends)
    def attention_weights(self, X):
        """Return how much each task attends to each token, or place of a text or image (attention sharing only).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Features.

        Returns
        -------
        array of shape (n_samples, n_tasks, n_tokens)
            Mean over attention heads of the weight that a task gives to each token of a row; sums to one over tokens.
            An ensemble gives the mean over its members, whose tokens are learned apart and have only their number
            in common. Behind an encoder of texts (n_samples, n_tasks, length), with 0 for padding; of images
            (n_samples, n_tasks, height, width) of pixels where tasks read these, else of the encoder's last layer; NaN
            for tasks over places, which have gates instead.
        """
        X = self._check_X(X)
        attend = self.network_.trunk.attention_weights
        weights = in_chunks(lambda x: attend(x).mean(0, keepdim=True), X, self.network_)
        weights = weights[:, self._plan.layout.places]
        if self._entry is None or self._entry.attended is None:
            return weights
        return weights.reshape(*weights.shape[:2], *self._entry.places[self._entry.attended].grid)

    def task_similarity(self):
        """Return how similar the tasks are in the fitted network.

        Returns
        -------
        array of shape (n_tasks, n_tasks)
            Symmetric, 1 on the diagonal. For attention the cosine of the tasks' projected queries; for towers
            (independent, soft) the cosine of their parameters; for cross-stitch the cosine of the stitches with which
            the tasks read the towers, over all layers; for hard sharing how similarly two heads
            :math:`W_i, W_j` read the shared features, :math:`\\|W_i^\\top W_j\\| / \\sqrt{\\|W_i^\\top W_i\\|
            \\|W_j^\\top W_j\\|}`, which for heads of one output is their cosine. An ensemble gives the mean over
            its members.
        """
        check_is_fitted(self, "network_")
        with torch.no_grad():
            similarity = self.network_.task_similarity().mean(0).cpu().numpy()
        places = self._plan.layout.places
        return similarity[np.ix_(places, places)]

    def task(self, name):
        """Return one task as a classifier or a regressor of scikit-learn, see `skmtl.TaskView`.

        Parameters
        ----------
        name : str or int
            Name of the task, or its position.

        Returns
        -------
        TaskView
            What predicts this task alone.
        """
        return TaskView(self, name).fit(None, None)

    def _module_of(self, task: int) -> TaskModule:
        """Return what a task predicts as a module; `task` is its position."""
        ends = np.cumsum([plan.layout.n_tasks for plan in self._plan.plans])
        number = int(np.searchsorted(ends, task, side="right"))
        network, plan = self.network_.networks[number], self._plan.plans[number]
        layout = plan.layout
        place = int(layout.places[task - ends[number] + layout.n_tasks])
        losses, decode = self._losses_of(task)
        parts = np.flatnonzero(layout.owners == place)
        return TaskModule(network, plan, place, losses, parts[np.argsort(layout.part_order[parts])], decode)

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
        """Return parameters and arrays only: the network as its weights, and without the net and its buffers."""
        state = super().__getstate__().copy()
        state.pop("net_", None)
        network = state.pop("network_", None)
        if network is not None:
            state["_weights"] = {name: w.detach().cpu().numpy() for name, w in network.state_dict().items()}
        if "_plan" in state:
            state["_plan"] = plan_state(state["_plan"])
        return state

    def __setstate__(self, state):
        """Rebuild the network, on the CPU."""
        state = dict(state)
        weights = state.pop("_weights", None)
        if "_plan" in state:
            state["_plan"] = plan_of(state["_plan"])
        super().__setstate__(state)
        if weights is not None:
            network = self._plan.build_blank(len(self._member_ids)).to(self._torch_dtype)
            network.load_state_dict({name: torch.from_numpy(np.array(w)) for name, w in weights.items()})
            self.network_ = network.eval()

    @property
    def _torch_dtype(self) -> torch.dtype:
        return torch.float32 if self._numpy_dtype == np.float32 else torch.float64

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.target_tags.multi_output = True
        tags.input_tags.sparse = True
        return tags

    # ---- what a subclass adds -----------------------------------------------------------------------------------

    @abstractmethod
    def _learn_targets(self, table: TargetTable, sample_weight, start: Start) -> tuple[np.ndarray, np.ndarray | None]:
        """Learn classes or scales from observed labels; return what `_encode` does, with the weights of labels.

        A fit that continues from an earlier one follows the new labels as far as
        that may be, or refuses them.
        """

    @abstractmethod
    def _layout(self) -> TaskLayout:
        """Return where the tasks that were learned are in the network."""

    @abstractmethod
    def _encode(self, table: TargetTable) -> tuple[np.ndarray, np.ndarray | None]:
        """Return targets as floats and what each weighs, (n_samples, part) both, in the order of the user's tasks.

        Targets and weights are 0 where missing; weights are None for all 1.
        """

    @abstractmethod
    def _decode(self, raws: list[np.ndarray]) -> np.ndarray:
        """Return predictions in y's own labels from the raw outputs of each network, (n_samples, n_outputs)."""

    def _options_of_one_task(self) -> dict:
        """Return the parameters of an estimator of one new task that are not those of this one."""
        return {}

    def _name_tasks(self, table: TargetTable, names: list[str], start: Start) -> None:
        """Learn the names of y's columns, and with them the tasks."""
        self._y_names = self.task_names_ = names

    def _output_names(self) -> list[str]:
        """Return the names of the columns that `predict` returns."""
        return self.task_names_

    def _sites(self) -> tuple[str, ...]:
        """Return what tasks read of a row: itself, or its places."""
        return (ROW,)

    def _with_written(self, X, table: TargetTable):
        """Return rows of a fit, and after each what decoders read of its targets."""
        return X

    def _may_lack_values(self) -> bool:
        """Return whether X may have missing values, where no task reads them."""
        return False

    def _counted(self, table: TargetTable, weight: np.ndarray | None) -> np.ndarray:
        """Return which labels of y have a say in what is held out, (n_samples, n_columns); `weight` is of parts."""
        return table.observed if weight is None else weight > 0

    def _are_continuous(self, table: TargetTable) -> list[bool]:
        """Return which columns of y hold numbers, to be binned where rows are stratified."""
        return [self._is_continuous] * self.n_tasks_

    def _without_label(self, weight: np.ndarray) -> list[str]:
        """Return the tasks without a label, given what each part weighs."""
        return [name for name, own in zip(self.task_names_, weight.T, strict=True) if not own.any()]

    @abstractmethod
    def _losses_of(self, task: int):
        """Return the losses of a task's parts, and what makes differentiable predictions of raw outputs for them."""

    def _finish(self, reading) -> None:
        """Learn what needs the trained network and the rows it was trained on."""

    def _largest_output(self) -> float:
        """Return the size up to which the network's outputs become finite predictions."""
        return np.inf

    def _classes_of_each(self) -> list[np.ndarray] | None:
        """Return the classes of each task, if they have classes."""
        return None

    def _units(self) -> object:
        """Return the units of the network's outputs, or None where these never change."""
        return None

    def _change_of(self, units) -> tuple[np.ndarray, np.ndarray] | None:
        """Return factor and shift of each task, (n_tasks,), from earlier units to those of today; None for none."""
        return None
