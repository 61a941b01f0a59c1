"""The network: a trunk that says how tasks share, and the heads of all tasks as one linear map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from skmtl._rows import rows_of
from skmtl._seeding import own_generator
from skmtl._threads import threads_for
from skmtl.sharing import DensePass, DenseStack, Pass, Sharing, SharingModule, TrunkShape, is_view, submodule
from skmtl.tasks import LossGroup, TaskLayout

CHUNK = 4096  # rows times members of one forward pass in prediction: many enough to amortise, few enough for the cache


@dataclass(frozen=True)
class NetworkPlan:
    """Everything that a network of one architecture is built from; the rest is weights.

    Attributes
    ----------
    sharing : Sharing
        The strategy.
    layout : TaskLayout
        Places of tasks and raw columns.
    n_features : int
        Columns of X.
    hidden_layer_sizes, head_layer_sizes : tuple of int
        Widths of the trunk's layers and of the hidden layers that each head has for itself.
    activation : str
        Name of the activation function.
    dropout : float
        In [0, 1).
    n_members : int
        Networks of an ensemble.
    """

    sharing: Sharing
    layout: TaskLayout
    n_features: int
    hidden_layer_sizes: tuple[int, ...]
    head_layer_sizes: tuple[int, ...]
    activation: str
    dropout: float
    n_members: int = 1

    def architecture(self) -> dict[str, object]:
        """Return what two networks must have in common for one to take the weights of the other."""
        return {
            "sharing": repr(self.sharing),
            "n_features": self.n_features,
            "hidden_layer_sizes": self.hidden_layer_sizes,
            "head_layer_sizes": self.head_layer_sizes,
            "activation": self.activation,
            "n_members": self.n_members,
        }

    def build(self, n_members: int = 1) -> MultiTaskNetwork:
        """Return a network with weights drawn from torch's global generator."""
        shape = TrunkShape(
            self.layout.n_tasks, self.n_features, self.hidden_layer_sizes, self.activation, self.dropout, n_members
        )
        trunk = self.sharing.build(shape)
        return MultiTaskNetwork(trunk, build_heads(trunk, self, n_members))

    def build_blank(self, n_members: int = 1) -> MultiTaskNetwork:
        """Return a network whose weights are to be overwritten; torch's global generator stays as it was."""
        with own_generator():
            return self.build(n_members)


class MultiTaskNetwork(nn.Module):
    """Trunk and heads.

    Parameters
    ----------
    trunk : SharingModule
        Computes features.
    heads : SharedHeads or TaskHeads
        Compute the raw outputs from them.
    """

    trunk, heads = submodule("trunk"), submodule("heads")

    def __init__(self, trunk: SharingModule, heads: SharedHeads | TaskHeads) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = heads

    @cached_property
    def n_parameters(self) -> int:
        """Number of weights of all members."""
        return sum(p.numel() for p in self.parameters())

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.heads.stack.bias_0.device

    @property
    def n_members(self) -> int:
        """How many networks are trained side by side."""
        return len(self.heads.stack.bias_0)

    def forward(self, x: Tensor) -> Tensor:
        """Return raw outputs (member, batch, n_outputs) for x (batch, n_features) or (member, batch, n_features)."""
        raw: Tensor = self.heads(self.trunk(x))
        return raw

    def bind(self, x: Tensor, batch_size: int) -> NetworkPass:
        """Return a training step's pass through the network, for batches that will lie in x, as `forward` takes it."""
        return NetworkPass(self, x, batch_size)

    def tied(self) -> list[nn.Module]:
        """Return the modules that the sharing penalty pulls together."""
        return [*self.trunk.tied(), *([self.heads.stack] if self.trunk.ties_heads else [])]

    def task_similarity(self) -> Tensor:
        """Return (member, task, task) similarities in the network's task order."""
        vectors = self.trunk.task_vectors()
        if vectors is None:
            return self.heads.similarity()
        unit = nn.functional.normalize(vectors.detach(), dim=-1)
        return unit @ unit.transpose(-1, -2)


class NetworkPass:
    """The pass through trunk and heads.

    Attributes
    ----------
    forward, backward : list of callable
        Compute `raw` from `x`; set the gradient of every parameter from what then lies in `raw`.
    raw : Tensor of shape (member, batch, n_outputs)
        The raw outputs, and after them their gradient.
    """

    def __init__(self, network: MultiTaskNetwork, x: Tensor, batch_size: int) -> None:
        trunk, heads = network.trunk, network.heads
        tasks = (heads.n_tasks,) if trunk.per_task else ()
        bottom = trunk.bind(x, (network.n_members, *tasks, batch_size, trunk.n_features_out))
        top = heads.bind(bottom.out)
        self.raw = top.out
        bottom.receive(top.receive(self.raw, input_gradient=True))
        self.forward, self.backward = [*bottom.forward, *top.forward], [*top.backward, *bottom.backward]


def build_heads(trunk: SharingModule, plan: NetworkPlan, n_members: int) -> SharedHeads | TaskHeads:
    """Return the heads for the features of a trunk."""
    groups = plan.layout.groups
    if not trunk.per_task and not plan.head_layer_sizes:
        return SharedHeads(n_members, trunk.n_features_out, groups)
    if trunk.ties_heads and len({group.loss.width for group in groups}) > 1:
        widths = [group.loss.width for group in groups]
        raise ValueError(f"Heads can be tied only where all tasks have equally many outputs. Found {widths}.")
    sizes = (trunk.n_features_out, *plan.head_layer_sizes)
    return TaskHeads(n_members, sizes, groups, plan.activation, plan.dropout)


def stack_networks(networks: Sequence[MultiTaskNetwork], plan: NetworkPlan) -> MultiTaskNetwork:
    """Return one network whose members are these networks of one architecture."""
    first = networks[0].heads.stack.bias_0
    stack = plan.build_blank(sum(network.n_members for network in networks)).to(first)
    states = [network.state_dict() for network in networks]
    try:
        stack.load_state_dict({name: torch.cat([state[name] for state in states]) for name in states[0]})
    except RuntimeError as error:
        raise ValueError(
            f"sharing={plan.sharing!r} cannot train several members side by side: its parameters and buffers must "
            f"begin with the member axis, shape.n_members. Found: {str(error).splitlines()[-1].strip(' 	.')}. Mend "
            f"its module, or set n_members=1."
        ) from error
    return stack


def members_of(network: MultiTaskNetwork, members: Sequence[int], plan: NetworkPlan) -> MultiTaskNetwork:
    """Return a copy of some members of a stack, as a network of their own."""
    part, like = plan.build_blank(len(members)), network.heads.stack.bias_0
    if part.device != like.device or part.heads.stack.bias_0.dtype != like.dtype:
        part.to(like)
    state = network.state_dict()
    if len(members) < network.n_members:
        together = len(members) == members[-1] - members[0] + 1
        index = slice(members[0], members[-1] + 1) if together else list(members)  # a slice is a view
        state = {name: values[index] for name, values in state.items()}
    for mine, theirs in zip(part.state_dict().values(), state.values(), strict=True):
        mine.copy_(theirs)  # `load_state_dict` takes three times as long
    return part


def in_chunks(
    function: Callable[[Tensor], Tensor], X: np.ndarray | sparse.sparray, network: MultiTaskNetwork
) -> np.ndarray:
    """Apply a function of the network to rows, a few thousand at a time.

    Parameters
    ----------
    function : callable
        (batch, n_features) -> (1, batch, ...).
    X : array or sparse matrix of shape (n_samples, n_features)
        Rows, in the network's precision.
    network : MultiTaskNetwork
        Says on which device to compute.

    Returns
    -------
    array of shape (n_samples, ...)
    """
    device, rows = network.device, rows_of(X)
    n, chunk = len(rows), rows.at_once(max(CHUNK // network.n_members, 256))
    work = 2.0 * min(n, chunk) * network.n_parameters
    with threads_for(work), torch.inference_mode():
        first = function(rows.between(0, chunk).to(device))[0].cpu()
        if n <= chunk:
            return first.numpy()
        out = first.new_empty(n, *first.shape[1:])
        out[:chunk] = first
        for start in range(chunk, n, chunk):
            out[start : start + chunk] = function(rows.between(start, start + chunk).to(device))[0]
        return out.numpy()


class SharedHeads(nn.Module):
    """All heads as one linear map from shared features to the raw columns."""

    stack = submodule("stack")

    def __init__(self, n_members: int, n_features: int, groups: tuple[LossGroup, ...]) -> None:
        super().__init__()
        self.groups, self.n_tasks = groups, groups[-1].tasks.stop
        self.stack = DenseStack((n_members,), (n_features, groups[-1].columns.stop), "identity", linear_output=True)

    def forward(self, features: Tensor) -> Tensor:
        raw: Tensor = self.stack(features)
        return raw

    def bind(self, features: Tensor) -> DensePass:
        return self.stack.bind(features)

    def change_units(self, factor: Tensor, shift: Tensor) -> None:
        """Let every output f of task t become ``factor[t] * f + shift[t]``."""
        owner = _column_owners(self.groups).to(factor.device)
        with torch.no_grad():
            self.stack.weight_0.mul_(factor[owner])
            self.stack.bias_0.mul_(factor[owner]).add_(shift[owner])

    def similarity(self) -> Tensor:
        """Return how alike two heads read the features: (member, task, task).

        For heads W_i and W_j of shape (features, width) it is ||W_i' W_j|| / sqrt(||W_i' W_i|| ||W_j' W_j||) in the
        Frobenius norm; for one output column each, the cosine of the two columns with its sign.
        """
        weight = self.stack.weight_0.detach()  # (member, features, columns)
        gram = weight.transpose(1, 2) @ weight
        owner = _column_owners(self.groups).to(weight.device)
        n_tasks = int(owner.max()) + 1
        pick = nn.functional.one_hot(owner, n_tasks).to(weight.dtype)  # (columns, task)
        norm = (pick.T @ gram.square() @ pick).sqrt()
        single = pick.sum(0) == 1
        signed = torch.where(single[:, None] & single[None, :], (pick.T @ gram @ pick).sign(), 1.0)
        own = norm.diagonal(dim1=1, dim2=2).clamp_min(torch.finfo(weight.dtype).tiny).sqrt()
        return signed * norm / (own[:, :, None] * own[:, None, :])


class TaskHeads(nn.Module):
    """A head per task on features of its own, or with hidden layers of its own: stacked over (member, task)."""

    stack = submodule("stack")

    def __init__(
        self, n_members: int, sizes: tuple[int, ...], groups: tuple[LossGroup, ...], activation: str, dropout: float
    ) -> None:
        super().__init__()
        self.groups, self.n_tasks = groups, groups[-1].tasks.stop
        widest = max(group.loss.width for group in groups)
        shape = (n_members, self.n_tasks)
        self.stack = DenseStack(shape, (*sizes, widest), activation, dropout, linear_output=True, alike=True)

    def forward(self, features: Tensor) -> Tensor:
        return self._to_columns(self.stack(features))

    def bind(self, features: Tensor) -> TaskHeadsPass:
        return TaskHeadsPass(self, features)

    def change_units(self, factor: Tensor, shift: Tensor) -> None:
        """Let every output f of task t become ``factor[t] * f + shift[t]``."""
        weight, bias = self.stack._pair(self.stack.n_layers - 1)
        with torch.no_grad():
            weight.mul_(factor[:, None, None])
            bias.mul_(factor[:, None, None]).add_(shift[:, None, None])

    def similarity(self) -> Tensor:
        """Return the cosine of the heads' parameters: (member, task, task)."""
        unit = nn.functional.normalize(self.stack.flat_parameters(), dim=-1)
        return unit @ unit.transpose(-1, -2)

    def _to_columns(self, outputs: Tensor) -> Tensor:
        """Return (member, task, batch, width) as raw columns (member, batch, n_outputs), class before task."""
        parts = [_outputs_of(group, outputs).flatten(-2) for group in self.groups]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


class TaskHeadsPass(Pass):
    """The way through a head per task: between its outputs and the raw columns each loss's part is copied.

    Heads of one output each need no copy: their raw columns are another view of the same memory.
    """

    def __init__(self, heads: TaskHeads, features: Tensor) -> None:
        super().__init__()
        self._heads, self._dense = heads, heads.stack.bind(features)
        self.out = heads._to_columns(self._dense.out)
        self.forward = [*self._dense.forward]
        if not is_view(self.out, self._dense.out):
            self.forward += [partial(c.copy_, o) for c, o in self._pairs(self.out, self._dense.out)]

    def receive(self, gradient: Tensor, input_gradient: bool = False) -> Tensor | None:
        outputs, copies = self._dense.out, []
        if not is_view(gradient, outputs):
            outputs = outputs.clone().zero_()  # and zero it stays where a task has fewer outputs than the widest
            copies = [partial(o.copy_, c) for c, o in self._pairs(gradient, outputs)]
        of_features = self._dense.receive(outputs, input_gradient)
        self.backward = [*copies, *self._dense.backward]
        return of_features

    def _pairs(self, columns: Tensor, outputs: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each loss's part of the raw columns and of the outputs: (member, batch, width, task) both."""
        for group in self._heads.groups:
            yield group.view(columns), _outputs_of(group, outputs)


def _outputs_of(group: LossGroup, outputs: Tensor) -> Tensor:
    """Return what a group's tasks put out, of (member, task, batch, width): (member, batch, width, task)."""
    return outputs[:, group.tasks, :, : group.loss.width].permute(0, 2, 3, 1)


def _column_owners(groups: tuple[LossGroup, ...]) -> Tensor:
    """Return the task that owns each raw column."""
    return torch.cat([torch.arange(g.tasks.start, g.tasks.stop).repeat(g.loss.width) for g in groups])
