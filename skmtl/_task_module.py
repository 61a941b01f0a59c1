"""What one task of a trained estimator predicts, as a torch module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from skmtl._network import MultiTaskNetwork, NetworkPlan, members_of
from skmtl.losses import Logistic, Loss, Softmax
from skmtl.sharing import DenseTrunk
from skmtl.tasks import TaskLayout

ACTIVATION_MODULES = {
    "relu": nn.ReLU, "tanh": nn.Tanh, "logistic": nn.Sigmoid, "identity": nn.Identity, "gelu": nn.GELU, "silu": nn.SiLU,
}  # fmt: skip


class TaskModule(nn.Module):
    """Return the predictions of one task, of an ensemble those of the mean distribution of its members.

    Dense networks become linear layers and activations, each a module, so that tools that hook these see them; of
    other strategies the whole network is one module.

    Parameters
    ----------
    network : MultiTaskNetwork
        The network that holds the task.
    plan : NetworkPlan
        What it was built from.
    place : int
        The task's place in it.
    losses : sequence of Loss
        Of the task's parts.
    parts : sequence of int
        The places of these parts, one loss after the other.
    decode : callable
        Makes predictions of raw outputs, a list of tensors (batch, width, n_parts) for each loss.
    """

    def __init__(
        self,
        network: MultiTaskNetwork,
        plan: NetworkPlan,
        place: int,
        losses: Sequence[Loss],
        parts: Sequence[int],
        decode: Callable[[list[Tensor]], Tensor],
    ) -> None:
        super().__init__()
        self._losses, self._decode, self._link = losses, decode, _link(losses)
        columns = torch.as_tensor(_columns(plan.layout, losses, parts))
        members = [_member(network, plan, m, place, columns) for m in range(network.n_members)]
        if self._link is not None:  # a module for each: tools hook them, and count on the rows being the first axis
            members = [nn.Sequential(*member, self._link()) for member in members]
        self.members = nn.ModuleList(members)
        self.requires_grad_(False)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        raw = torch.stack([member(x) for member in self.members])  # (member, batch, column)
        if self._link is not None:
            mean = raw.mean(0)
            return mean if mean.shape[1] > 1 else torch.cat([1 - mean, mean], dim=1)
        found, start = [], 0
        for loss in self._losses:
            stop = start + loss.width * loss.n_parts
            own = raw[..., start:stop].unflatten(-1, (loss.width, loss.n_parts))
            found.append(own[0] if len(own) == 1 else loss.average(own))
            start = stop
        return self._decode(found)


def _columns(layout: TaskLayout, losses: Sequence[Loss], parts: Sequence[int]) -> np.ndarray:
    """Return the raw columns of a task, loss by loss, class before part."""
    found, first = [], 0
    for loss in losses:
        own = np.asarray(parts[first : first + loss.n_parts])
        first += loss.n_parts
        group = next(g for g in layout.groups if g.parts.start <= own[0] < g.parts.stop)
        classes = np.arange(loss.width)[:, None] * group.loss.n_parts
        found.append((group.columns.start + classes + own - group.parts.start).ravel())
    return np.concatenate(found)


def _link(losses: Sequence[Loss]) -> Callable[[], nn.Module] | None:
    """Return what makes the module that turns raw outputs into probabilities, of a task of classes."""
    if len(losses) == 1 and losses[0].n_parts == 1:
        if type(losses[0]) is Logistic:
            return nn.Sigmoid
        if type(losses[0]) is Softmax:
            return partial(nn.Softmax, dim=1)
    return None


def _member(network: MultiTaskNetwork, plan: NetworkPlan, m: int, place: int, columns: Tensor) -> nn.Sequential:
    """Return a module from X to these raw columns of one member."""
    if not isinstance(network.trunk, DenseTrunk):
        return nn.Sequential(_Columns(members_of(network, [m], plan).eval(), columns))
    layers = []
    for stack, at in ((network.trunk.stack, network.trunk.per_task), (network.heads.stack, True)):
        own = (m, place) if at and len(stack.stack_shape) == 2 else (m,)
        for k in range(stack.n_layers):
            weight, bias = (p.detach()[own] for p in stack._pair(k))
            if stack.linear_output and k == stack.n_layers - 1:
                chosen = columns
                if len(stack.stack_shape) == 2:
                    chosen = torch.as_tensor(plan.layout.column_slots)[columns]
                layers.append(_linear(weight[:, chosen], bias[:, chosen]))
            else:
                layers += [_linear(weight, bias), ACTIVATION_MODULES[plan.activation]()]
    return nn.Sequential(*layers)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    """Return a linear layer with weights (n_in, n_out) and biases (1, n_out)."""
    layer = nn.Linear(*weight.shape, device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight.T)
        layer.bias.copy_(bias[0])
    return layer


class _Columns(nn.Module):
    """Some raw outputs of a network of one member."""

    def __init__(self, network: MultiTaskNetwork, columns: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("columns", columns)

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x.flatten(1))[0][..., self.columns]
