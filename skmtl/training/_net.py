"""The skorch net: skorch's frame, callbacks and history around a training step without its overhead.

One step is forward, loss and its gradient, backward and update, each over all members and tasks at once. skorch's
hooks are called for those callbacks that listen to them. Losses stay tensors until the epoch ends.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EpochTimer, LRScheduler
from torch import Tensor

from skmtl._network import NetworkPass
from skmtl._objective import LossPass
from skmtl.sharing import DenseStack, centred_penalty, penalty_gradient
from skmtl.training._buffer import FlatBuffer
from skmtl.training._callbacks import BestWeights, EpochLoss, EpochProgress, StopTraining
from skmtl.training._data import Batch, Batches, TensorData, mark_missing
from skmtl.training._members import Members
from skmtl.training._optimizers import FlatOptimizer
from skmtl.training._schedules import SCHEDULES

PREDICTION_ROWS = 4096
LARGE_WEIGHT, LARGE_LOSS = 1e3, 1e6  # predicting the mean costs a half: what goes beyond them may be about to diverge
LARGE_OUTPUT = 1e30  # of standardised targets: beyond what networks within those bounds say


class DivergedError(ValueError):
    """The loss of every member is no longer finite; `reasons` says what happened to each."""

    def __init__(self, reasons: dict[int, str]) -> None:
        super().__init__(next(iter(reasons.values())))
        self.reasons = reasons

    def __reduce__(self):
        return DivergedError, (self.reasons,)  # an error that cannot be read back lets other processes wait for ever


class MultiTaskNet(NeuralNet):
    """Train a `MultiTaskNetwork` of one or many members.

    Parameters
    ----------
    module, criterion : type
        `build_network` and `Objective`.
    members : Members
        What each member has for itself.
    weighting : WeightingState
        How task losses become one update.
    task_names : list of str
        In the network's task order, for error messages.
    schedule : callable
        From the share of the epochs that are over, in [0, 1), to what multiplies the step sizes.
    largest : float
        Size up to which outputs are of use.
    **kwargs
        As for `skorch.NeuralNet`.
    """

    def __init__(
        self,
        module,
        criterion,
        members,
        weighting,
        task_names=(),
        schedule=SCHEDULES["constant"],
        largest=math.inf,
        **kwargs,
    ):
        super().__init__(module, criterion, **kwargs)
        self.largest = largest
        self.members = members
        self.weighting = weighting
        self.schedule = schedule
        self.task_names = task_names

    # ---- set up -------------------------------------------------------------------------------------------------

    @property
    def _default_callbacks(self):
        return [
            ("epoch_timer", EpochTimer()),
            ("train_loss", EpochLoss(name="train_loss", on_train=True)),
            ("valid_loss", EpochLoss(name="valid_loss")),
        ]

    def initialize_module(self):
        """Build the network, move it to its device and lay its parameters out flat."""
        super().initialize_module()
        self._all = self.members
        self.active = torch.arange(len(self.members))
        self._some_left = False
        self._left: dict[int, dict[str, Tensor]] = {}
        self._masks = {s: torch.Generator(self.device).manual_seed(s) for s in self.members.distinct_seeds}
        self._lay_out()
        return self

    def _lay_out(self) -> None:
        """Put the network on its device, and its parameters into one buffer."""
        if self.module_.device != torch.device(self.device):  # for `to` looks at everything
            self.module_.to(self.device)
        self._ways: dict[int, tuple[NetworkPass, LossPass]] = {}  # by where the batch lies
        self._buffer = FlatBuffer(self.module_)
        self._tied = [region for module in self.module_.tied() for region in self._buffer.regions(module)]
        for module in self.module_.modules():
            if isinstance(module, DenseStack) and module.keep is not None:
                module.set_dropout(self.members.dropout, [self._masks[seed] for seed in self.members.seeds])

    def initialize_optimizer(self, triggered_directly=None):
        """Create a flat optimiser, or a user's torch optimiser over the same parameters."""
        if isinstance(self.optimizer, type) and issubclass(self.optimizer, FlatOptimizer):
            self.optimizer_ = self.optimizer(self._buffer, self.lr, self.members.weight_decay)
            self.optimizer_.vary(self.members.lr / self.lr)
            self.optimizer_.tie(self._tied, self.members.sharing_lambda)
            return self
        self._pace = 1.0
        return super().initialize_optimizer(triggered_directly)

    def initialize_history(self):
        """Begin an empty history."""
        self.train_losses_, self.valid_losses_ = [], []  # per epoch: (member, task)
        self.train_totals_, self.valid_totals_ = [], []  # per epoch: (member,), what "train_loss" is of one member
        self.diverged_: dict[int, str] = {}  # member -> what happened
        self.undefined_: dict[int, int] = {}  # member -> when its validation loss was first not finite
        self.last_epochs_: dict[int, int] = {}  # member -> when it stopped early
        return super().initialize_history()

    def get_iterator(self, dataset, training=False):
        """Return the batches of an epoch; validation reads the rows in order."""
        if dataset.rows is not None and dataset.rows.ndim == 2:
            dataset = dataset.of_members(self.active)
        if not training:
            batches = Batches(dataset, PREDICTION_ROWS)
        else:
            owners = self._all.seed_owners
            owners = None if owners is None else owners[self.active]
            batches = Batches(dataset, self.batch_size, owners=owners, **self.get_params_for("iterator_train"))
        self._iterators.append(batches)
        return batches

    def get_dataset(self, X, y=None):
        """Wrap bare features for prediction; training passes a `TensorData`."""
        if isinstance(X, TensorData):
            return X
        X = torch.as_tensor(X, dtype=self._buffer.data.dtype, device=self.device)
        return TensorData(X, X.new_empty(len(X), 0), X.new_ones(()))

    def work_per_step(self, batch_size: int) -> float:
        """Return about how many multiplications and additions a step takes: forward and twice that for backward."""
        return 6.0 * batch_size * self._buffer.data.numel()

    def spread(self, values: Tensor) -> Tensor:
        """Return one value per member, laid out beside the parameters."""
        return self._buffer.spread(values)

    def weights(self) -> Tensor:
        """Return a copy of all parameters."""
        return self._buffer.data.detach().clone()

    def weights_by_member(self, weights: Tensor | None = None) -> Tensor:
        """Return the parameters, or a copy that `weights` gave, as (member, parameter)."""
        return self._buffer.rows(self._buffer.data.detach() if weights is None else weights)

    def weights_from(self, rows: Tensor) -> Tensor:
        """Return what `weights` would, from (member, parameter)."""
        return self._buffer.fill(self.weights(), rows)

    def restore(self, weights: Tensor) -> None:
        """Set all parameters to a copy that `weights` gave."""
        self._buffer.data.detach().copy_(weights)

    # ---- members that leave -------------------------------------------------------------------------------------

    def keep_members(self, index: Tensor) -> None:
        """Go on with some of the members at work; the others wait, as they are now, for `reunite`."""
        states = self._member_states()
        for k in sorted(set(range(len(self.members))) - set(index.tolist())):
            self._left[int(self.active[k])] = {name: rows[k : k + 1] for name, rows in states.items()}
        self.active, self._some_left = self.active[index], True
        for batches in self._iterators:
            batches.keep(index)
        self._make_stack(self.members.take(index), {name: rows[index] for name, rows in states.items()})

    def forget_left(self) -> None:
        """Let those who left go for good."""
        self._left = {}

    def reunite(self) -> None:
        """Make the network one of all members again."""
        if not self._left:
            return
        states = self._member_states()
        present = {int(m): {name: rows[k : k + 1] for name, rows in states.items()} for k, m in enumerate(self.active)}
        everyone = [{**self._left, **present}[m] for m in range(len(self._all))]
        self._make_stack(self._all, {name: torch.cat([state[name] for state in everyone]) for name in states})
        self._left, self.active, self._some_left = {}, torch.arange(len(self._all)), False

    def _member_states(self) -> dict[str, Tensor]:
        """Return the weights and the optimiser's states by member: (member, k) each."""
        return {"weights": self._buffer.rows(self._buffer.data.detach()), **self.optimizer_.state_by_member()}

    def _make_stack(self, members: Members, states: dict[str, Tensor]) -> None:
        """Build network, buffer and optimiser for other members, with these states."""
        was_training, optimizer = self.module_.training, self.optimizer_
        self.members = members
        self.module_ = self.module__plan.build_blank(len(members)).to(self._buffer.data.dtype)
        self._lay_out()
        self._set_training(was_training)
        self._buffer.fill(self._buffer.data.detach(), states["weights"])
        self.initialize_optimizer()
        self.optimizer_.take_over(optimizer, states)

    # ---- one epoch ----------------------------------------------------------------------------------------------

    def partial_fit(self, X, y=None, classes=None, **fit_params):
        """Train; see `skorch.NeuralNet.partial_fit`. Ctrl-C sets ``interrupted_``, a callback's stop does not."""
        if not self.initialized_:
            self.initialize()
        self.interrupted_ = self._epoch_ending = self._is_changing = False
        self._iterators: list[Batches] = []
        self.notify("on_train_begin", X=X, y=y)
        try:
            self.fit_loop(X, y, **fit_params)
        except StopTraining:
            pass
        except KeyboardInterrupt:
            if self._is_changing:
                raise
            self.interrupted_ = not (self._epoch_ending and self._has_callbacks_of_the_user())
        self.notify("on_train_end", X=X, y=y)
        self.reunite()
        self._check_outcome(X)
        self._release()
        return self

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Run a block in which members leave: Ctrl-C amidst it leaves nothing that could be kept."""
        self._is_changing = True
        yield
        self._is_changing = False

    def _has_callbacks_of_the_user(self) -> bool:
        """Return whether a KeyboardInterrupt at the end of an epoch may be a callback's way to stop."""
        ours = (EpochTimer, EpochLoss, BestWeights, EpochProgress)
        return any(not isinstance(callback, ours) for _, callback in self.callbacks_)

    def forget_optimiser(self) -> None:
        """Let go of gradients and the optimiser's states: nothing will be trained on."""
        self.optimizer_ = self._buffer.data.grad = None
        for parameter in self.module_.parameters():
            parameter.grad = None

    def _release(self) -> None:
        """Let go of what only training needs."""
        self._iterators, self._ways = [], {}
        for module in self.module_.modules():
            if hasattr(module, "release"):
                module.release()

    def __getstate__(self):
        return {**super().__getstate__(), "_ways": {}, "_iterators": []}

    def fit(self, X, y=None, **fit_params):
        """Initialise and train."""
        return self.initialize().partial_fit(X, y, **fit_params)

    def notify(self, method_name, **cb_kwargs):
        """Call the callbacks' hooks, noting when a stop can only come from one of them."""
        self._epoch_ending = method_name == "on_epoch_end"
        super().notify(method_name, **cb_kwargs)

    def _set_training(self, training=True):
        """Set the mode of module and criterion if it is another one, which takes ten times as long to set as to see."""
        if self.module_.training is not training or self.criterion_.training is not training:
            super()._set_training(training)

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Run one epoch and record its losses; see `skorch.NeuralNet.run_single_epoch`."""
        self._epoch_ending = False
        if iterator is None:
            return
        self._set_training(training)
        if training:
            self._set_pace(len(self.train_losses_) % self.max_epochs / self.max_epochs)
        (self._train_epoch if training else self._valid_epoch)(iterator)
        self.history.record(f"{prefix}_batch_count", len(iterator))

    def _set_pace(self, progress: float) -> None:
        """Multiply the step sizes by what the schedule says; what a callback makes of them stays theirs."""
        factor = self.schedule(progress)
        if isinstance(self.optimizer_, FlatOptimizer):
            self.optimizer_.schedule = factor
            return
        for group in self.optimizer_.param_groups:
            group["lr"] *= factor / self._pace
        self._pace = factor

    def _train_epoch(self, batches: Batches) -> None:
        hooks = _Hooks.of(self)
        losses = self._buffer.data.detach().new_empty(len(batches), *self._loss_shape())
        rows = self.history[-1]["batches"]
        with torch.no_grad() if hooks or self._needs_autograd() else torch.inference_mode():
            for batch, loss in zip(batches, losses.unbind(0), strict=True):
                rows.append({"train_batch_size": batch[0].shape[-2]})
                if hooks:
                    self._heard_step(batch, loss, hooks)
                else:
                    self._step(batch, loss)
        self._record_train_losses(losses.cpu().numpy(), batches.dataset)

    def _needs_autograd(self) -> bool:
        """Say whether a step must let autograd take part: a user's module, loss, weighting or optimiser may want it."""
        losses = [group.loss for group in self.criterion_.groups]
        parts = [self.module_.trunk, self.weighting, *losses]
        return any(part.needs_autograd for part in parts) or not isinstance(self.optimizer_, FlatOptimizer)

    def _step(self, batch: Batch, losses: Tensor) -> None:
        """Forward, loss, backward, update."""
        if isinstance(self.optimizer_, FlatOptimizer):
            self._gradient(batch, losses)
            self.optimizer_.step()
        else:
            self.optimizer_.step(lambda: self._gradient(batch, losses) and self._totals(losses).sum())

    def _gradient(self, batch: Batch, losses: Tensor, keep_raw: bool = False) -> Tensor | bool:
        """Set the gradient of every parameter and write the task losses (member, task); return a copy of the raw."""
        x, y, coefficient = batch
        way, loss_and_gradient = self._ways.get(id(x)) or self._bind(x)
        for operation in way.forward:
            operation()
        kept = way.raw.clone() if keep_raw else True
        loss_and_gradient(y, coefficient, losses, self._weigh)
        for operation in way.backward:
            operation()
        if not isinstance(self.optimizer_, FlatOptimizer):
            self._add_penalty_gradient()
        return kept

    def _bind(self, x: Tensor) -> tuple[NetworkPass, LossPass]:
        """Return the way through network and loss for batches that lie in x, from now on known by it."""
        with torch.inference_mode(False):  # its buffers outlive the step that needs them first
            way = self.module_.bind(x)
            self._ways[id(x)] = way, self.criterion_.bind(way.raw)
        return self._ways[id(x)]

    def _heard_step(self, batch: Batch, losses: Tensor, hooks: _Hooks) -> None:
        """Do `_step` and call skorch's hooks around its parts.

        Where members have batches of their own, callbacks see all of their rows as one batch.
        """
        x, y, coefficient = batch
        shown = (x, mark_missing(y, coefficient))
        if x.ndim == 3:
            shown = tuple(part.flatten(0, 1) for part in shown)
        for hook in hooks.batch_begin:
            hook(self, batch=shown, training=True)
        raw = None

        def closure():
            nonlocal raw
            raw = self._gradient(batch, losses, keep_raw=True)
            for hook in hooks.grad_computed:
                hook(self, named_parameters=self.module_.named_parameters(), batch=shown, training=True)
            return self._totals(losses).sum()

        self.optimizer_.step(closure)
        loss = self._mean(self._totals(losses))
        self.history.record_batch("train_loss", loss.item())
        for hook in hooks.batch_end:
            hook(
                self,
                batch=shown,
                training=True,
                loss=loss,
                y_pred=raw.flatten(0, 1) if x.ndim == 3 else self._average(raw),
            )

    @torch.inference_mode()
    def _valid_epoch(self, batches: Batches) -> None:
        """Record the loss over all validation labels, as one mean and not a mean of batch means."""
        hooks = _Hooks.of(self)
        losses = 0.0
        for x, y, coefficient in batches:
            shown = (x, mark_missing(y, coefficient))
            for hook in hooks.batch_begin:
                hook(self, batch=shown, training=False)
            raw = self.module_(x)
            pointwise = self.criterion_.pointwise(raw, y)
            losses = losses + (pointwise * coefficient).sum(-2)
            for hook in hooks.batch_end:
                hook(self, batch=shown, training=False, loss=pointwise.mean(), y_pred=self._average(raw))
        self.valid_loss_ = self._totals(losses)
        self.valid_losses_.append(self._of_all(_of_labelled(losses.cpu().numpy(), batches.dataset)))
        totals = self.valid_loss_.cpu().numpy()
        self._note_undefined(totals)
        self.valid_totals_.append(self._of_all(totals))
        row = {"valid_loss": float(self._mean(self.valid_loss_)), "valid_batch_size": len(batches.dataset)}
        self.history[-1]["batches"].append(row)

    # ---- losses -------------------------------------------------------------------------------------------------

    def _loss_shape(self) -> tuple[int, int]:
        return len(self.members), len(self.task_names)

    def _weigh(self, losses: Tensor) -> Tensor | None:
        """Return the weight of each task in this step: fixed times adaptive."""
        adaptive = self.weighting.weights(self._of_all(losses, 0.0))
        if adaptive is not None and self._some_left:
            adaptive = adaptive[self.active]
        if adaptive is None or self.members.task_weights is None:
            return self.members.task_weights if adaptive is None else adaptive
        return adaptive * self.members.task_weights

    def _totals(self, losses: Tensor) -> Tensor:
        """Return the fixed-weight sum of each member's task losses: (..., member, task) -> (..., member)."""
        return (losses if self.members.task_weights is None else losses * self.members.task_weights).sum(-1)

    def _mean(self, totals):
        """Return the mean over the members that have neither stopped nor diverged: (..., member) -> (...)."""
        running = self._running()
        return (totals if len(running) == len(self.members) else totals[..., running]).mean(-1)

    def _running(self) -> list[int]:
        """Return the members that have neither stopped nor diverged; all of them once there is none left."""
        ended = self.diverged_.keys() | self.last_epochs_.keys()
        return [k for k, m in enumerate(self.active.tolist()) if m not in ended] or list(range(len(self.members)))

    def _of_all(self, losses, fill: float = float("nan")):
        """Return losses (member, ...), array or tensor, with a row for each member, also for those who have left."""
        if not self._some_left:
            return losses
        shape, index = (len(self._all), *losses.shape[1:]), self.active
        if isinstance(losses, Tensor):
            everyone = losses.new_full(shape, fill)
        else:
            everyone, index = np.full(shape, fill, dtype=losses.dtype), index.numpy()
        everyone[index] = losses
        return everyone

    def _penalty(self) -> np.ndarray:
        """Return lambda times the penalty of each member: (member,)."""
        data, strength = self._buffer.data.detach(), self.members.sharing_lambda
        if not self._tied or not bool((strength > 0).any()):
            return np.zeros(len(self.members))
        return sum(centred_penalty(region.view(data)) * strength for region in self._tied).cpu().numpy()

    def _add_penalty_gradient(self) -> None:
        for region in self._tied:
            theta, gradient = (region.view(flat) for flat in (self._buffer.data.detach(), self._buffer.data.grad))
            gradient += penalty_gradient(theta, self.members.sharing_lambda)

    def _record_train_losses(self, losses: np.ndarray, data: TensorData) -> None:
        """Write the losses (batches, member, task) to the history; refuse what is not finite.

        Their mean over the batches is the loss over all labels, see `skmtl._objective`. The loss of a batch is written
        as that of its rows, so that skorch's mean over rows is the same.
        """
        self._check_finite(losses)
        task_weights, penalty = self.members.task_weights, self._penalty()
        by_member = (losses if task_weights is None else losses * task_weights.cpu().numpy()).sum(-1)
        rows, mean_penalty = self.history[-1]["batches"], float(self._mean(penalty))
        n = len(rows)
        mean_size = len(data) / n
        for row, loss in zip(rows, self._mean(by_member).tolist(), strict=True):
            row["train_loss"] = loss * mean_size / row["train_batch_size"] + mean_penalty
        self.train_totals_.append(self._of_all(by_member.sum(0) / n + penalty))
        by_task = losses.sum(0) / n
        self.train_losses_.append(self._of_all(by_task if data.labelled is None else _of_labelled(by_task, data)))

    def _check_finite(self, losses: np.ndarray) -> None:
        """Raise once no member is left whose losses (batches, member, task) are finite; remember who fell out."""
        finite = np.isfinite(losses)
        if finite.all():
            return
        fallen = np.flatnonzero(~finite.all((0, 2))).tolist()
        for k in fallen:
            m = int(self.active[k])
            if m in self.diverged_ or m in self.last_epochs_:
                continue
            step, task = np.argwhere(~finite[:, k])[0].tolist()
            self.diverged_[m] = (
                f"Task {self.task_names[task]!r}: the training loss is no longer finite in epoch "
                f"{self.history[-1]['epoch']} (step {step + 1}). {self._remedy(k)}"
            )
        self._refuse_if_all_diverged()

    def _check_outcome(self, data: TensorData) -> None:
        """Remember, too, who fell out in the last update, whose losses nobody has seen: most are far from that."""
        with torch.inference_mode():
            weight = float(torch.linalg.vector_norm(self._buffer.data.detach(), math.inf))
            is_tame = weight <= LARGE_WEIGHT and not (
                self.train_losses_ and (self.train_losses_[-1] > LARGE_LOSS).any()
            )
            if is_tame and self.largest > LARGE_OUTPUT:
                return
            largest = min(self.largest, torch.finfo(self._buffer.data.dtype).max)
            finite = self.weights_by_member().isfinite().all(1)
            for x, _, _ in self.get_iterator(data, training=False):
                finite &= (self.module_(x).abs() <= largest).all(-1).all(-1)  # False for NaN
        for k in (~finite).nonzero().flatten().tolist():
            what = f"Predictions are no longer finite after the last update. {self._remedy(k)}"
            self.diverged_.setdefault(int(self.active[k]), what)
        self._refuse_if_all_diverged()

    def _refuse_if_all_diverged(self) -> None:
        if not self._left and all(m in self.diverged_ for m in self.active.tolist()):
            raise DivergedError(self.diverged_)

    def _remedy(self, k: int) -> str:
        """Return what may help the member at place k of the stack."""
        return (
            f"Try a smaller lr (now {float(self.members.lr[k]):g}), standardised features, or gradient clipping with "
            f"callbacks=[skorch.callbacks.GradientNormClipping(1.0)]."
        )

    def _note_undefined(self, totals: np.ndarray) -> None:
        """Remember when the validation loss (member,) of a member at work was first not finite."""
        if np.isfinite(totals).all():
            return
        for k in self._running():
            if not np.isfinite(totals[k]):
                self.undefined_.setdefault(int(self.active[k]), self.history[-1]["epoch"])

    # ---- prediction in encoded units, for scoring callbacks -----------------------------------------------------

    def evaluation_step(self, batch, training=False):
        """Return raw outputs (batch, n_outputs), the average over members."""
        self._set_training(training)
        with torch.set_grad_enabled(training):
            return self._average(self.module_(batch[0]))

    def _average(self, raw: Tensor) -> Tensor:
        """Return what the members at work that have not diverged say on average: (batch, n_outputs)."""
        if self.diverged_:
            raw = raw[[k for k, m in enumerate(self.active.tolist()) if m not in self.diverged_]]
        return self.criterion_.average(raw)

    def predict(self, X):
        """Return encoded predictions (n_samples, task): class codes, or standardised values."""
        raw = torch.cat([torch.as_tensor(part) for part in self.forward_iter(X)]).unsqueeze(0)
        return self.criterion_.decode(raw)[0].cpu().numpy()


class _Hooks:
    """The batch hooks of those callbacks that define them."""

    def __init__(self, batch_begin: list, grad_computed: list, batch_end: list) -> None:
        self.batch_begin, self.grad_computed, self.batch_end = batch_begin, grad_computed, batch_end

    @classmethod
    def of(cls, net: MultiTaskNet) -> _Hooks:
        callbacks = [callback for _, callback in net.callbacks_]

        def listening(name: str) -> list:
            default = getattr(Callback, name)
            return [getattr(c, name) for c in callbacks if getattr(type(c), name) is not default and not _idle(c, name)]

        return cls(listening("on_batch_begin"), listening("on_grad_computed"), listening("on_batch_end"))

    def __bool__(self) -> bool:
        return bool(self.batch_begin or self.grad_computed or self.batch_end)


def _idle(callback: Callback, hook: str) -> bool:
    return isinstance(callback, LRScheduler) and hook == "on_batch_end" and callback.step_every == "epoch"


def _of_labelled(losses: np.ndarray, data: TensorData) -> np.ndarray:
    """Return losses (member, task) with NaN for the tasks that have no label in the table."""
    return losses if data.labelled is None else np.where(data.labelled.cpu().numpy(), losses, np.nan)
