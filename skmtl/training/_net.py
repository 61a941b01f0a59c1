"""The skorch net: skorch's callbacks and history around an engine whose steps know nothing of them.

skorch's hooks are called for those callbacks that define them. Losses stay tensors until the epoch ends.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from skorch import NeuralNet
from skorch.setter import optimizer_setter
from torch import Tensor

from skmtl._rows import rows_of
from skmtl._seeding import gradients_as_before
from skmtl.training._batches import Batch, Batches
from skmtl.training._callbacks import BestWeights, StopTraining, is_wish_to_stop, keeps_partial_fits
from skmtl.training._data import TensorData
from skmtl.training._divergence import (
    may_have_diverged,
    note_diverged_losses,
    note_diverged_outputs,
    note_undefined,
    refuse_if_all_diverged,
)
from skmtl.training._engine import Engine
from skmtl.training._hooks import Hooks, as_callbacks_see
from skmtl.training._optimizers import FlatOptimizer
from skmtl.training._record import Losses, Record
from skmtl.training._schedules import SCHEDULES

VALIDATION_ROWS = 4096


class MultiTaskNet(NeuralNet):
    """Train a `MultiTaskNetwork` of one or many members.

    Parameters
    ----------
    module, criterion : type
        `build_network` and `Objective`.
    members : Members
        What differs between the members.
    weighting : WeightingState
        How task losses become one update.
    task_names : list of str
        In the network's task order, for error messages.
    schedule : callable
        Returns the factor of the step sizes, given the share of the epochs that are over, in [0, 1).
    generators : sequence of torch.Generator
        One per distinct seed of the members; they shuffle the rows.
    largest : float
        Largest |output| that still decodes to a finite prediction.
    **kwargs
        As for `skorch.NeuralNet`.

    Attributes
    ----------
    engine_ : Engine
        Network, losses and optimiser.
    record_ : Record
        What happened to each member in each epoch.
    interrupted_ : bool
        Whether Ctrl-C ended training.
    """

    # What skorch would find out about a net by watching its attributes, which takes a tenth of a small fit.
    prefixes_ = [*NeuralNet.prefixes_, "module", "criterion", "optimizer"]
    cuda_dependent_attributes_ = ["engine_"]
    _modules, _criteria, _optimizers = ["module"], ["criterion"], ["optimizer"]
    _default_callbacks: list = []  # the net records losses and seconds of its epochs by itself
    __setattr__ = object.__setattr__

    def __init__(
        self,
        module,
        criterion,
        members,
        weighting,
        task_names=(),
        schedule=SCHEDULES["constant"],
        generators=(),
        largest=math.inf,
        **kwargs,
    ):
        super().__init__(module, criterion, **kwargs)
        self.members = members
        self.weighting = weighting
        self.task_names = task_names
        self.schedule = schedule
        self.generators = generators
        self.largest = largest

    # ---- set up -------------------------------------------------------------------------------------------------

    def initialize(self):
        """Set up callbacks, network, losses, optimiser and history."""
        self.callbacks_ = []
        if self.callbacks:
            self._initialize_callbacks()
        self.initialize_module()
        self.initialize_optimizer()
        self._initialize_virtual_params()
        setter = partial(optimizer_setter, optimizer_attr="optimizer_", optimizer_name="optimizer")
        self._register_virtual_param(["optimizer__param_groups__*__*", "optimizer__*", "lr"], setter)
        self.initialize_history()
        self.initialized_ = True
        return self

    def initialize_module(self):
        """Build network and losses on their device, and lay the parameters out flat."""
        options = {name: value for name, value in vars(self).items() if name.startswith("module__")}
        network = self.module(**{name.removeprefix("module__"): value for name, value in options.items()})
        objective = self.criterion(self.criterion__layout)
        self.engine_ = Engine(self.module__plan, network, objective, self.members, self.weighting)
        return self

    def initialize_optimizer(self, triggered_directly=None):
        """Create a flat optimiser, or a user's torch optimiser over the same parameters."""
        if isinstance(self.optimizer, type) and issubclass(self.optimizer, FlatOptimizer):
            self.engine_.optimize_with(self.optimizer, self.lr)
            return self
        self._pace = 1.0
        positional, named = self.get_params_for_optimizer("optimizer", self.get_all_learnable_params())
        self.engine_.optimizer = self.optimizer(*positional, **named)
        return self

    def initialize_history(self):
        """Begin an empty history."""
        self.record_ = Record()
        self._lowest: dict[str, float] = {}  # losses so far
        return super().initialize_history()

    @property
    def module_(self):
        """The network of the members that are being trained."""
        return self.engine_.network

    @property
    def criterion_(self):
        """The losses."""
        return self.engine_.objective

    @property
    def optimizer_(self):
        """The optimiser."""
        return self.engine_.optimizer

    @property
    def active(self) -> Tensor:
        """Numbers of the members that are being trained."""
        return self.engine_.roster.active

    def get_iterator(self, dataset, training=False):
        """Return the batches of an epoch; validation reads the rows in order."""
        at_once = VALIDATION_ROWS
        if dataset.by_member:
            dataset, at_once = dataset.of_members(self.active), max(1, at_once // len(self.active))
        if not training:
            at_once = min(at_once, self.module_.max_rows or at_once)
            return Batches(dataset, dataset.X.at_once(at_once))
        owners = self.members.seed_owners
        return Batches(dataset, self.batch_size, self.generators, None if owners is None else owners[self.active])

    def get_dataset(self, X, y=None):
        """Wrap bare features for prediction; training passes a `TensorData`."""
        if isinstance(X, TensorData):
            return X
        X = torch.as_tensor(X, dtype=self.engine_.buffer.data.dtype, device=self.device)
        return TensorData(rows_of(X), X.new_empty(len(X), 0), X.new_ones(()))

    def work_per_step(self, batch_size: int) -> float:
        """Return about how many multiplications and additions a step takes: forward and twice that for backward."""
        n, beside = self.engine_.buffer.data.numel(), self.engine_.network.trunk.n_operations
        return 6.0 * batch_size * (n + beside * len(self.engine_.members) if beside else n)

    # ---- members that leave -------------------------------------------------------------------------------------

    def select_members(self, index: Tensor) -> None:
        """Continue with the members at these places of the stack; the others wait until training ends."""
        for batches in self._iterators:
            batches.select(index)
        for _, callback in self.callbacks_:
            if isinstance(callback, BestWeights):
                callback.select(index)
        self.engine_.select(index)

    @property
    def is_done(self) -> bool:
        """Whether every member has stopped early."""
        return bool(self.record_.stopped) and not any(m not in self.record_.stopped for m in self.active.tolist())

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Run a block in which members leave: a fit that is interrupted in the middle of it is lost."""
        self._is_changing = True
        yield
        self._is_changing = False

    # ---- training -----------------------------------------------------------------------------------------------

    def fit(self, X, y=None, **fit_params):
        """Initialise and train."""
        return self.initialize().partial_fit(X, y, **fit_params)

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        """Train. Ctrl-C sets ``interrupted_``, or is raised where nothing can or shall be kept (`whole_fits_only`)."""
        if not self.initialized_:
            self.initialize()
        self.interrupted_ = self._is_changing = self._is_ending = False
        self._iterators: list[Batches] = []
        self.notify("on_train_begin", X=X, y=y)
        try:
            with gradients_as_before():
                self.fit_loop(X, y, **fit_params)
        except StopTraining:
            pass
        except KeyboardInterrupt as stop:
            self.interrupted_ = not (self._is_ending and is_wish_to_stop(stop, self.callbacks_))
            if self.interrupted_ and (self._is_changing or not self.record_.n_epochs or not keeps_partial_fits()):
                raise
        self.notify("on_train_end", X=X, y=y)
        self.engine_.reunite()
        refuse_if_all_diverged(self.engine_, self.record_)
        if may_have_diverged(self.engine_, self.record_, self.largest):
            note_diverged_outputs(self.get_iterator(X), self.engine_, self.record_, self.largest)
        self._iterators = []
        self.engine_.release()
        return self

    def fit_loop(self, X, y=None, epochs=None, **fit_params):
        """Train for some epochs; None for `max_epochs`."""
        train, valid = self.get_split_datasets(X, y) if self.train_split else (X, None)
        both = {"dataset_train": train, "dataset_valid": valid}
        train_batches = self.get_iterator(train, training=True)
        valid_batches = None if valid is None else self.get_iterator(valid)
        self._iterators = [batches for batches in (train_batches, valid_batches) if batches is not None]
        hooks = Hooks.of(self.callbacks_)  # once, and not in every epoch
        self._graded = bool(hooks) or self.engine_.needs_autograd
        for _ in range(self.max_epochs if epochs is None else epochs):
            self._begin_epoch(both)
            self._train_epoch(train_batches, hooks)
            if valid_batches is not None:
                self._valid_epoch(valid_batches, hooks)
            self._end_epoch(both)
        return self

    def notify(self, method_name, **cb_kwargs):
        """Call a hook of all callbacks."""
        for _, callback in self.callbacks_:
            getattr(callback, method_name)(self, **cb_kwargs)

    def _begin_epoch(self, both: dict) -> None:
        self._is_ending, self._start = False, time.perf_counter()
        if self.record_.n_epochs == 0:
            self.record_.first_row = len(self.history_)  # a callback may have loaded another run's
        self._row = {"batches": [], "epoch": len(self.history_) + 1}  # filled directly: skorch's methods search it
        self.history_.append(self._row)
        self._set_pace(self.record_.n_epochs % self.max_epochs / self.max_epochs)
        if self.callbacks_:
            self.notify("on_epoch_begin", **both)

    def _end_epoch(self, both: dict) -> None:
        self._row["dur"] = time.perf_counter() - self._start
        self.record_.n_epochs += 1
        if self.callbacks_:
            self._is_ending = True
            self.notify("on_epoch_end", **both)

    def _set_pace(self, progress: float) -> None:
        """Multiply the step sizes by the schedule; what a callback makes of them stays."""
        factor = self.schedule(progress)
        if self.engine_.is_flat:
            self.optimizer_.schedule = factor
            return
        for group in self.optimizer_.param_groups:  # relative, so that a scheduler's changes are kept
            group["lr"] *= factor / self._pace
        self._pace = factor

    def _train_epoch(self, batches: Batches, hooks: Hooks) -> None:
        engine = self.engine_
        engine.set_training(True)
        losses = engine.buffer.data.detach().new_empty(len(batches), len(engine.members), len(self.task_names))
        with torch.no_grad() if self._graded else torch.inference_mode():  # the latter is quicker, but bars autograd
            for batch, loss in zip(batches, losses.unbind(0), strict=True):
                if hooks:
                    self._heard_step(batch, loss, hooks)
                else:
                    engine.step(batch, loss)
        self._record_training(losses.cpu().numpy(), batches)
        engine.end_epoch(losses)

    def _heard_step(self, batch: Batch, losses: Tensor, hooks: Hooks) -> None:
        """Do `Engine.step` and call skorch's hooks around its parts.

        Where batches differ between members, callbacks see all of their rows as one batch.
        """
        engine, shown = self.engine_, as_callbacks_see(batch)
        self._row["batches"].append({"train_batch_size": len(batch)})
        hooks.begin(self, shown, training=True)
        raw = None

        def closure():
            nonlocal raw
            engine.buffer.attach_gradients()
            raw = engine.forward(batch).clone()
            engine.backward(batch, losses)
            for hook in hooks.grad_computed:
                hook(self, named_parameters=self.module_.named_parameters(), batch=shown, training=True)
            return engine.totals(losses).sum()

        self.optimizer_.step(closure)
        loss = self._mean(engine.totals(losses))
        self.history.record_batch("train_loss", loss.item())
        hooks.end(self, shown, training=True, loss=loss, y_pred=self._shown(raw, batch))

    @torch.inference_mode()
    def _valid_epoch(self, batches: Batches, hooks: Hooks) -> None:
        """Record the loss over all validation labels, as one mean and not a mean of batch means."""
        engine, losses = self.engine_, 0.0
        engine.set_training(False)
        for batch in batches:
            if hooks:
                shown = as_callbacks_see(batch)
                self._row["batches"].append({"valid_batch_size": len(batch)})
                hooks.begin(self, shown, training=False)
            raw = self.module_(batch.x)
            losses = losses + self.criterion_.weighted(raw, batch.y, batch.coefficient).sum(-2)
            if hooks:
                mean = self.criterion_.pointwise(raw, batch.y).mean()
                hooks.end(self, shown, training=False, loss=mean, y_pred=self._shown(raw, batch))
        losses = self.criterion_.by_task(losses)
        self.valid_loss_ = engine.totals(losses)
        self._record_validation(losses.cpu().numpy(), self.valid_loss_.cpu().numpy(), batches)

    # ---- losses -------------------------------------------------------------------------------------------------

    def _mean(self, totals):
        """Return the mean over the members that have neither stopped nor diverged: (..., member) -> (...)."""
        if totals.shape[-1] == 1:
            return totals[..., 0]
        return (totals[..., self.record_.running(self.active)] if self.record_.ended else totals).mean(-1)

    def _record_training(self, losses: np.ndarray, batches: Batches) -> None:
        """Record the losses (batches, member, task) of an epoch; refuse what is not finite.

        Their mean over the batches is the loss over all labels, see `skmtl._objective`. The loss of a batch is recorded
        as that of its rows, so that skorch's mean over rows is the same.
        """
        note_diverged_losses(losses, self.engine_, self.record_, self.task_names)
        engine, n, sizes = self.engine_, len(losses), np.array(batches.sizes)
        task_weights, penalty = engine.members.task_weights, engine.penalty()
        by_member = np.add.reduce(losses if task_weights is None else losses * task_weights.cpu().numpy(), -1)
        by_batch = self._mean(by_member) * (len(batches.data) / n) / sizes + float(self._mean(penalty))
        rows = self._row["batches"]
        rows.extend({"train_batch_size": size} for size in batches.sizes[len(rows) :])
        for row, loss in zip(rows, by_batch.tolist(), strict=True):
            row["train_loss"] = loss
        self._record("train", np.add.reduce(losses) / n, np.add.reduce(by_member) / n + penalty, batches.data)
        self._record_mean("train_loss", by_batch @ sizes / len(batches.data), n)

    def _record_validation(self, losses: np.ndarray, totals: np.ndarray, batches: Batches) -> None:
        """Record the validation losses (member, task) of an epoch and what members minimise (member,)."""
        self._record("valid", losses, totals, batches.data)
        note_undefined(totals, self.engine_, self.record_)
        mean = float(self._mean(self.valid_loss_))
        self._row["batches"].append({"valid_loss": mean, "valid_batch_size": len(batches.data)})
        self._record_mean("valid_loss", mean, len(batches))

    def _record(self, part: str, losses: np.ndarray, totals: np.ndarray, data: TensorData) -> None:
        if data.labelled is not None:
            losses = np.where(data.labelled.cpu().numpy(), losses, np.nan)
        roster = self.engine_.roster
        if not roster.is_whole:
            losses, totals = (roster.spread(torch.from_numpy(v), math.nan).numpy() for v in (losses, totals))
        getattr(self.record_, part).append(Losses(losses, totals))

    def _record_mean(self, name: str, loss: float, n_batches: int) -> None:
        """Write the mean over members to skorch's history."""
        lowest = self._lowest.get(name, math.inf)
        self._row |= {name: loss, f"{name}_best": bool(loss < lowest), f"{name[:5]}_batch_count": n_batches}
        self._lowest[name] = min(loss, lowest)

    # ---- prediction in encoded units, for scoring callbacks -----------------------------------------------------

    def evaluation_step(self, batch, training=False):
        """Return raw outputs (batch, n_outputs), the average over members."""
        self.engine_.set_training(training)
        with torch.set_grad_enabled(training):
            return self._shown(self.module_(batch.x), batch)

    def _shown(self, raw: Tensor, batch: Batch) -> Tensor:
        """Return raw outputs as callbacks see them: the average over members, or all of them on rows of their own."""
        return raw.flatten(0, 1) if batch.by_member else self._average(raw)

    def _average(self, raw: Tensor) -> Tensor:
        """Return the raw outputs for the average prediction of the members that have not diverged."""
        if self.record_.diverged:
            raw = raw[[k for k, m in enumerate(self.active.tolist()) if m not in self.record_.diverged]]
        return self.criterion_.average(raw)

    def predict(self, X):
        """Return encoded predictions (n_samples, task): class codes, or standardised values."""
        raw = torch.cat([torch.as_tensor(part) for part in self.forward_iter(X)]).unsqueeze(0)
        return self.criterion_.decode(raw)[0].cpu().numpy()

    def __getstate__(self):
        return {**super().__getstate__(), "_iterators": []}
