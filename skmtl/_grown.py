"""A trained network with a task more: what it was stays as it is, bit for bit.

The network of the new task is that of one task whose shared part is frozen. A strategy decides what is shared: hard
sharing leaves a new head to be learned, attention a query and a head, towers a tower and a head, which begin as the
mean of the others'.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from skmtl._heads import SharedHeads
from skmtl._memory import moved
from skmtl._network import MultiTaskNetwork, NetworkPlan
from skmtl._seeding import own_generator
from skmtl.sharing import Pass, Sharing, SharingModule, TrunkShape, submodule
from skmtl.tasks import TaskLayout
from skmtl.training import build_network


class FrozenTrunk(SharingModule):
    """A trunk of which most parameters are not trained.

    Parameters
    ----------
    trunk : SharingModule
        The trunk of one task.
    trained : collection of str
        Names of the parameters that are.
    """

    uses_global_generator = False

    def __init__(self, trunk: SharingModule, trained: Collection[str]) -> None:
        super().__init__()
        self._structure = (trunk.eval(),)  # whose own parameters are never read; a tuple hides it from torch
        self.per_task, self.n_features_out, self.n_buffered = trunk.per_task, trunk.n_features_out, trunk.n_buffered
        self.needs_autograd = bool(trained)
        self._names: dict[str, str] = {}
        for name, parameter in trunk.named_parameters():
            self._names[name] = own = name.replace(".", "_")
            if name in trained:
                self.register_parameter(own, nn.Parameter(parameter.detach().clone()))
            else:
                self.register_buffer(own, parameter.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        state = {name: getattr(self, own) for name, own in self._names.items()}
        features: Tensor = functional_call(self._structure[0], state, (x,))
        return features

    def bind(self, x: Tensor, shape: tuple[int, ...]) -> Pass:
        return super().bind(x, shape) if self.needs_autograd else _FrozenPass(self, x, shape)

    def attention_weights(self, x: Tensor) -> Tensor:
        """Return (member, batch, task, token) where the strategy has attention."""
        weights: Tensor = self._filled().attention_weights(x)
        return weights

    def shared(self, x: Tensor) -> Tensor:
        return self._filled().shared(x)

    def task_vectors(self) -> Tensor | None:
        return self._filled().task_vectors()

    def _filled(self) -> SharingModule:
        """Return the trunk with these parameters."""
        trunk = self._structure[0]
        for name, parameter in trunk.named_parameters():
            parameter.data = getattr(self, self._names[name]).detach()
        return trunk


class _FrozenPass(Pass):
    """A training step that computes features and learns nothing."""

    def __init__(self, trunk: FrozenTrunk, x: Tensor, shape: tuple[int, ...]) -> None:
        super().__init__()
        self._trunk, self._x, self.out = trunk, x, x.new_empty(shape)
        self.forward = [self._compute]

    def _compute(self) -> None:
        with torch.no_grad():
            self.out.copy_(self._trunk(self._x))

    def receive(self, gradient: Tensor, input_gradient: bool = False) -> None:
        """Do nothing."""


@dataclass
class Frozen(Sharing):
    """Let a strategy of one task train its own parameters alone."""

    sharing: Sharing
    trained: tuple[str, ...]

    def build(self, shape: TrunkShape) -> SharingModule:
        return FrozenTrunk(self.sharing.build(shape), self.trained)


@dataclass(frozen=True)
class GrownPlan:
    """What a network with a task more is built from.

    Attributes
    ----------
    base : NetworkPlan or GrownPlan
        Of the network before.
    added : NetworkPlan
        Of the network of the new task.
    layout : TaskLayout
        Of all tasks; the new one is the user's last.
    """

    base: NetworkPlan | GrownPlan
    added: NetworkPlan
    layout: TaskLayout

    @property
    def plans(self) -> list[NetworkPlan]:
        """The plan of each of `GrownNetwork.networks`: tasks in the order in which they came."""
        return [*self.base.plans, *self.added.plans]

    def build_blank(self, n_members: int = 1) -> GrownNetwork:
        """Return a network whose weights are to be overwritten."""
        return GrownNetwork(self.base.build_blank(n_members), self.added.build_blank(n_members), self)


class GrownNetwork(nn.Module):
    """A network, and beside it that of a task that was added later.

    Parameters
    ----------
    base, added : MultiTaskNetwork or GrownNetwork
        The network before, and that of the new task.
    plan : GrownPlan
        What they were built from.
    """

    base, added = submodule("base"), submodule("added")

    def __init__(self, base: MultiTaskNetwork | GrownNetwork, added: MultiTaskNetwork, plan: GrownPlan) -> None:
        super().__init__()
        self.base, self.added = base, added
        self._layout, self._columns = plan.layout, torch.as_tensor(_columns(plan))
        before = plan.base.layout
        at = np.append(before.places, before.n_tasks)  # of each of the user's tasks, the new one last
        self._tasks = torch.as_tensor(at[plan.layout.order])

    @property
    def n_parameters(self) -> int:
        """Number of weights of all members."""
        return self.base.n_parameters + self.added.n_parameters

    @property
    def n_operations(self) -> int:
        """About how many multiplications all members need for a row."""
        return self.base.n_operations + self.added.n_operations

    @property
    def max_rows(self) -> int | None:
        """Rows of one forward pass at most; None for no bound: tasks are added to networks of tables alone."""
        return None

    @property
    def networks(self) -> list[MultiTaskNetwork]:
        """Those that predict one after the other, each as it would alone."""
        return [*self.base.networks, self.added]

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.base.device

    @property
    def n_members(self) -> int:
        """How many networks there are side by side."""
        return self.base.n_members

    @property
    def trunk(self) -> GrownNetwork:
        """The network itself: it answers for both trunks."""
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Return raw outputs (member, batch, n_outputs) for x (batch, n_features)."""
        return self.by_column(self.base(x), self.added(x))

    def by_column(self, before: Tensor, added: Tensor) -> Tensor:
        """Return what both networks have for their raw columns, (..., n_outputs), in the order of all columns."""
        self._columns = moved(self._columns, before.device)
        both = torch.cat([before, added], dim=-1)
        return nn.functional.pad(both, (0, 1))[..., self._columns]  # a column of zeros for classes that no task has

    def task_similarity(self) -> Tensor:
        """Return (member, task, task) similarities in the network's task order."""
        vectors = self.task_vectors()
        if vectors is not None:
            unit = nn.functional.normalize(vectors.detach(), dim=-1)
            return unit @ unit.transpose(-1, -2)
        weight = _head_weight(self)
        joint = SharedHeads(self.n_members, weight.shape[1], self._layout)
        joint.stack.weight_0.data = weight
        return joint.similarity()

    def task_vectors(self) -> Tensor | None:
        """Return what describes each task, (member, task, k), or None where only the heads differ by task."""
        vectors = [self.base.trunk.task_vectors(), self.added.trunk.task_vectors()]
        if vectors[0] is None:
            return None
        if vectors[0].shape[2:] != vectors[1].shape[2:]:  # stitches with the other tasks
            raise ValueError("What relates the tasks to each other knows nothing of a task that was added later.")
        return self._by_task(*vectors, 1)

    def shared(self, x: Tensor) -> Tensor:
        """Return the shared representation: with towers that of the new task, too."""
        before = self.base.trunk.shared(x)
        return before if before.ndim == 3 else self._by_task(before, self.added.trunk.shared(x), 1)

    def __getattr__(self, name: str):
        if name == "attention_weights" and hasattr(self._modules["base"].trunk, name):
            return self._attention_weights
        return super().__getattr__(name)

    def _attention_weights(self, x: Tensor) -> Tensor:
        """Return (member, batch, task, token)."""
        return self._by_task(self.base.trunk.attention_weights(x), self.added.trunk.attention_weights(x), 2)

    def _by_task(self, before: Tensor, added: Tensor, axis: int) -> Tensor:
        """Return values of all tasks in the network's order."""
        return torch.cat([before, added], dim=axis).index_select(axis, moved(self._tasks, before.device))


def _head_weight(network: MultiTaskNetwork | GrownNetwork) -> Tensor:
    """Return the weights of linear heads: (member, feature, n_outputs)."""
    if isinstance(network, GrownNetwork):
        return network.by_column(_head_weight(network.base), _head_weight(network.added))
    if network.heads.stack.n_layers > 1:
        raise ValueError("task_similarity compares linear heads. Found head_layer_sizes, after a task was added.")
    return network.heads.stack.weight_0.detach()


def _columns(plan: GrownPlan) -> np.ndarray:
    """Return where each raw column is among those of both networks, the number of these for a column of zeros."""
    old, new = plan.base.layout, plan.added.layout
    place = {}
    for layout, first_part, first in ((old, 0, 0), (new, old.n_parts, old.n_outputs)):
        for column, key in enumerate(_keys(layout)):
            place[key[0] + first_part, key[1]] = first + column
    return np.array([place.get(key, old.n_outputs + new.n_outputs) for key in _keys(plan.layout)])


def _keys(layout: TaskLayout) -> list[tuple[int, int]]:
    """Return of each raw column the user's number of its part, and which of that part's outputs it is."""
    seen: dict[int, int] = {}
    keys = []
    for part in layout.column_parts.tolist():
        seen[part] = seen.get(part, -1) + 1
        keys.append((int(layout.part_order[part]), seen[part]))
    return keys


def root_of(network: MultiTaskNetwork | GrownNetwork, plan: NetworkPlan | GrownPlan) -> tuple:
    """Return the network, and its plan, that was there before any task was added."""
    while isinstance(plan, GrownPlan):
        network, plan = network.base, plan.base
    return network, plan


def begin_task(network: MultiTaskNetwork, plan: NetworkPlan, seeds: tuple[int, ...], freeze: bool) -> tuple:
    """Return the plan by which the network of a new task is trained, and the network to begin with.

    Parameters
    ----------
    network : MultiTaskNetwork
        The trained one, before any task was added.
    plan : NetworkPlan
        Of a network of the new task alone.
    seeds : tuple of int
        Of the members' new weights.
    freeze : bool
        Whether the new task learns its own parameters alone.
    """
    own = dict(network.trunk.named_parameters())
    with own_generator():
        alone = dict(plan.sharing.build(TrunkShape(1, plan.n_features, plan.hidden_layer_sizes)).named_parameters())
        trained = tuple(name for name in alone if not freeze or _is_by_task(own[name], alone[name], network))
        plan = replace(plan, sharing=Frozen(plan.sharing, trained))
        start = build_network(plan, seeds).to(next(network.parameters()))
    with torch.no_grad():
        for name, source in own.items():
            target = getattr(start.trunk, name.replace(".", "_"))
            if source.shape != target.shape:
                source = source.mean(1, keepdim=True)
            if source.shape == target.shape:  # else it relates tasks to each other
                target.copy_(source)
    return plan, start


def _is_by_task(parameter: Tensor, alone: Tensor, network: MultiTaskNetwork) -> bool:
    """Return whether a parameter has an axis of tasks, given that of a network of one task."""
    towers = network.trunk.per_task and network.heads.n_tasks == 1
    return towers or parameter.shape[1:] != alone.shape[1:]


def plan_state(plan: NetworkPlan | GrownPlan) -> dict:
    """Return a plan as fields, for files that do not depend on where its class is."""
    if isinstance(plan, GrownPlan):
        return {"base": plan_state(plan.base), "added": plan_state(plan.added), "layout": plan.layout}
    state = dict(vars(plan))
    if isinstance(plan.sharing, Frozen):
        state |= {"sharing": plan.sharing.sharing, "trained": plan.sharing.trained}
    return state


def plan_of(state: dict) -> NetworkPlan | GrownPlan:
    """Return a plan from its fields."""
    if "base" in state:
        return GrownPlan(plan_of(state["base"]), plan_of(state["added"]), state["layout"])
    state = dict(state)
    if "trained" in state:
        state["sharing"] = Frozen(state["sharing"], state.pop("trained"))
    return NetworkPlan(**state)
