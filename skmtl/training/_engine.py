"""The engine: a stack of networks with its parameters in one buffer, and the step that trains them.

One step is forward, losses and their gradient, backward and update, each over all members and tasks at once. What a
step does is bound once to the buffers that hold its batches, see `skmtl.sharing.Pass`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from skmtl._network import MultiTaskNetwork, NetworkPass, NetworkPlan
from skmtl._objective import LossPass, Objective
from skmtl.sharing import DenseStack, centred_penalty, penalty_gradient
from skmtl.training._batches import Batch
from skmtl.training._buffer import FlatBuffer
from skmtl.training._members import Members
from skmtl.training._optimizers import FlatOptimizer
from skmtl.training._roster import Roster
from skmtl.weighting import WeightingState


class Passes(NamedTuple):
    """A step's passes through network and losses, for batches that lie in one buffer."""

    network: NetworkPass
    losses: LossPass


class Engine:
    """A stack of networks and what trains it.

    Parameters
    ----------
    plan : NetworkPlan
        Builds the network anew when members leave.
    network : MultiTaskNetwork
        A network of all members; it moves to where they are, in their precision.
    objective : Objective
        Losses of the tasks.
    members : Members
        What differs between the members.
    weighting : WeightingState
        How task losses become one update.

    Attributes
    ----------
    roster : Roster
        Which members are still being trained.
    network, members : MultiTaskNetwork, Members
        Of those members.
    buffer : FlatBuffer
        The network's parameters.
    optimizer : torch.optim.Optimizer
        A `FlatOptimizer` over the buffer, which `optimize_with` creates, or a user's over the same parameters.
    """

    optimizer: torch.optim.Optimizer

    def __init__(
        self,
        plan: NetworkPlan,
        network: MultiTaskNetwork,
        objective: Objective,
        members: Members,
        weighting: WeightingState,
    ) -> None:
        self.plan, self.objective, self.weighting = plan, objective, weighting
        self.roster = Roster(members)
        self._place = {"dtype": members.lr.dtype, "device": members.lr.device}
        self._dropout_generators = {
            seed: torch.Generator(members.lr.device).manual_seed(seed) for seed in members.distinct_seeds
        }
        self._lay_out(network, members)

    def _lay_out(self, network: MultiTaskNetwork, members: Members) -> None:
        """Put the parameters of these members into one buffer."""
        self.network, self.members = network, members
        self._modules = list(network.modules())
        self._untrained = [place for module in self._modules for place in _untrained(module)]
        if self._untrained or any(module._buffers for module in self._modules):
            network.to(**self._place)  # which looks at everything
        self.buffer = FlatBuffer(network, **self._place, n_members=len(members))
        self._tied = [region for module in network.tied() for region in self.buffer.regions(module)]
        generators = [self._dropout_generators[seed] for seed in members.seeds]
        for module in self._modules:
            if isinstance(module, DenseStack) and module.keep_prob is not None:
                module.set_dropout(members.dropout, generators)

    def optimize_with(self, optimizer: type[FlatOptimizer], lr: float) -> None:
        """Create an optimiser with this step size; each member uses its own multiple of it."""
        self.optimizer = optimizer(self.buffer, lr, self.members.weight_decay)
        self.optimizer.vary(self.members.lr / lr)
        self.optimizer.tie(self._tied, self.members.sharing_lambda)

    @property
    def is_flat(self) -> bool:
        """Whether the optimiser is one of ours."""
        return isinstance(self.optimizer, FlatOptimizer)

    @property
    def needs_autograd(self) -> bool:
        """Whether autograd takes part in a step: a user's module, loss, weighting or optimiser may want it."""
        losses = [group.loss for group in self.objective.groups]
        return not self.is_flat or any(part.needs_autograd for part in (self.network.trunk, self.weighting, *losses))

    def set_training(self, mode: bool) -> None:
        """Set the mode of the network, where any of its modules may depend on it."""
        if self.network.training is not mode and (self.plan.dropout or self.network.trunk.needs_autograd):
            self.network.train(mode)

    # ---- one step -----------------------------------------------------------------------------------------------

    def step(self, batch: Batch, losses: Tensor) -> None:
        """Update all parameters; write the task losses of the batch to `losses`, (member, task)."""
        if self.is_flat:
            self.forward(batch)
            self.backward(batch, losses)
            self.optimizer.step()
            return

        def closure() -> Tensor:
            self.buffer.attach_gradients()
            self.forward(batch)
            self.backward(batch, losses)
            return self.totals(losses).sum()

        self.optimizer.step(closure)

    def forward(self, batch: Batch) -> Tensor:
        """Return the raw outputs, (member, batch, n_outputs), which `backward` overwrites."""
        passes = batch.passes or self._bind(batch)
        for operation in passes.network.forward:
            operation()
        return passes.network.raw

    def backward(self, batch: Batch, losses: Tensor) -> None:
        """Write the task losses and set the gradient of every parameter."""
        passes = batch.passes
        passes.losses(batch.y, batch.coefficient, losses, self.task_weights)
        for operation in passes.network.backward:
            operation()
        if not self.is_flat:  # ours apply the penalty after the step, in closed form
            self._add_penalty_gradient()

    def _bind(self, batch: Batch) -> Passes:
        self.buffer.attach_gradients()  # to which the passes are bound
        with torch.inference_mode(False):  # its buffers outlive the step that needs them first
            network = self.network.bind(batch.x, len(batch))
            batch.passes = Passes(network, self.objective.bind(network.raw))
        return batch.passes

    def task_weights(self, losses: Tensor) -> Tensor | None:
        """Return the weight of each task in this step, fixed times adaptive: (member, task); None for 1."""
        fixed = self.members.task_weights
        everyone = self.roster.spread(losses, 0.0)  # the state of a weighting has a row for every member
        adaptive = self.weighting.weights(everyone)
        if adaptive is None:
            return fixed
        if getattr(adaptive, "shape", None) != everyone.shape:
            raise ValueError(
                f"{type(self.weighting).__name__}.weights must return a tensor of shape {tuple(everyone.shape)}, "
                f"(member, task), or None. Found {adaptive!r}."
            )
        if not self.roster.is_whole:
            adaptive = adaptive[self.roster.active]
        return adaptive if fixed is None else adaptive * fixed

    def end_epoch(self, losses: Tensor) -> None:
        """Show the weighting the mean losses of an epoch: losses (batches, member, task)."""
        if type(self.weighting).end_epoch is not WeightingState.end_epoch:  # most do not look
            self.weighting.end_epoch(self.roster.spread(losses.mean(0), 0.0).nan_to_num(0.0, 0.0, 0.0))

    def totals(self, losses: Tensor) -> Tensor:
        """Return the sum of task losses with their fixed weights: (..., member, task) -> (..., member)."""
        fixed = self.members.task_weights
        return (losses if fixed is None else losses * fixed).sum(-1)

    def penalty(self) -> np.ndarray:
        """Return λ times the penalty of each member: (member,)."""
        strength = self.members.sharing_lambda
        if not self._tied or not bool((strength > 0).any()):
            return np.zeros(len(self.members))
        data = self.buffer.data.detach()
        return sum(centred_penalty(region.view(data)) * strength for region in self._tied).cpu().numpy()

    def _add_penalty_gradient(self) -> None:
        for region in self._tied:
            theta, gradient = (region.view(flat) for flat in (self.buffer.data.detach(), self.buffer.data.grad))
            gradient += penalty_gradient(theta, self.members.sharing_lambda)

    # ---- weights ------------------------------------------------------------------------------------------------

    def network_state(self) -> dict[str, Tensor]:
        """Return a copy of what a pickle would hold of each network: (member, k) each."""
        state = {"weights": self.buffer.rows(self.buffer.data.detach())}
        for k, (store, name) in enumerate(self._untrained):
            state[f"{k}"] = store[name].detach().clone().reshape(len(self.members), -1)
        return state

    def set_network_state(self, state: Mapping[str, Tensor]) -> None:
        """Set the networks to what `network_state` gave."""
        self.buffer.fill(self.buffer.data.detach(), state["weights"])
        for k, (store, name) in enumerate(self._untrained):
            own = store[name].detach()
            own.copy_(state[f"{k}"].view(own.shape))

    def largest_weight(self) -> float:
        """Return the size of the largest parameter; NaN if one is."""
        return float(torch.linalg.vector_norm(self.buffer.data.detach(), math.inf))

    # ---- members that leave -------------------------------------------------------------------------------------

    def select(self, index: Tensor) -> None:
        """Continue with the members at these places of the stack; the others wait, as they are now, for `reunite`."""
        states = self._states()
        self.roster.select(index, states)
        self._rebuild(self.members.take(index), {name: rows[index] for name, rows in states.items()})

    def reunite(self) -> None:
        """Make the network one of all members again."""
        if self.roster.has_waiting:
            states = self.roster.reunite(self._states())
            self._rebuild(self.roster.everyone, states)

    def _states(self) -> dict[str, Tensor]:
        """Return what makes up each network and the optimiser's states by member: (member, k) each."""
        return {**self.network_state(), **self.optimizer.state_by_member()}

    def _rebuild(self, members: Members, states: dict[str, Tensor]) -> None:
        """Build network, buffer and optimiser for other members, with these states."""
        # A new network rather than a smaller view of this one: passes are bound to buffers of its shapes.
        was_training, earlier = self.network.training, self.optimizer
        self._lay_out(self.plan.build_blank(len(members)).train(was_training), members)
        self.set_network_state(states)
        self.optimize_with(type(earlier), earlier.defaults["lr"])
        self.optimizer.take_over(earlier, states)

    # ---- afterwards ---------------------------------------------------------------------------------------------

    def release(self) -> None:
        """Let go of what only training needs."""
        for module in self._modules:
            if hasattr(module, "release"):
                module.release()

    def forget_optimizer(self) -> None:
        """Let go of gradients and the optimiser's states: nothing will be trained any further."""
        self.optimizer = self.buffer.data.grad = None
        for parameter in self.network.parameters():
            parameter.grad = None


def _untrained(module: nn.Module) -> Iterator[tuple[dict[str, Tensor], str]]:
    """Yield where a module keeps what its state holds beside the trained parameters, by name: users may reassign it."""
    for name, buffer in module._buffers.items():
        if buffer is not None and name not in module._non_persistent_buffers_set:
            yield module._buffers, name
    for name, parameter in module._parameters.items():
        if parameter is not None and not parameter.requires_grad:
            yield module._parameters, name
