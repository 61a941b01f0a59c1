"""The network: a trunk, which defines how tasks share, and the heads of all tasks as one linear map."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from skmtl._encoded import EncodedTrunk
from skmtl._heads import SharedHeads, TaskHeads
from skmtl._inputs import InputTrunk
from skmtl._memory import tensor_over
from skmtl._rows import Rows, rows_of
from skmtl._seeding import own_generator
from skmtl._sites import SiteHeads, SiteTrunk
from skmtl._threads import threads_for
from skmtl.encoders import EncodedInput
from skmtl.sharing import Sharing, SharingModule, TrunkShape, submodule
from skmtl.tasks import TaskLayout

ALWAYS_ONE_CHUNK = 256  # rows of one forward pass in prediction, whatever they take
ROWS_PER_CHUNK = 4096  # times members, of one forward pass in prediction: amortised overhead, yet within the cache


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
        Columns of X; with an encoder, numbers of a flat row.
    hidden_layer_sizes, head_layer_sizes : tuple of int
        Widths of the trunk's layers and of the hidden layers of each head.
    activation : str
        Name of the activation function.
    dropout : float
        In [0, 1).
    n_members : int
        Networks of an ensemble.
    inputs : tuple of tuples of int or None
        The columns of X that each of the user's tasks reads; None where all read all.
    entry : EncodedInput or None
        The fields of X, which encoders read; None for a table.
    """

    sharing: Sharing
    layout: TaskLayout
    n_features: int
    hidden_layer_sizes: tuple[int, ...]
    head_layer_sizes: tuple[int, ...]
    activation: str
    dropout: float
    n_members: int = 1
    inputs: tuple[tuple[int, ...], ...] | None = None
    entry: EncodedInput | None = None

    @property
    def plans(self) -> list[NetworkPlan]:
        """The plan of each of `MultiTaskNetwork.networks`."""
        return [self]

    def architecture(self) -> dict[str, object]:
        """Return what two networks must have in common for one to take the weights of the other."""
        return {
            "sharing": repr(self.sharing),
            "n_features": self.n_features,
            "hidden_layer_sizes": self.hidden_layer_sizes,
            "head_layer_sizes": self.head_layer_sizes,
            "activation": self.activation,
            "n_members": self.n_members,
            "inputs": self.inputs,
            "encoder": None if self.entry is None else self.entry.key,
        }

    def build(self, n_members: int = 1) -> MultiTaskNetwork:
        """Return a network with weights drawn from torch's global generator."""
        shape = TrunkShape(
            self.layout.n_tasks, self.n_features, self.hidden_layer_sizes, self.activation, self.dropout, n_members
        )
        if self.inputs is not None:
            own = [self.inputs[task] for task in self.layout.order]
            trunk: SharingModule = InputTrunk(self.sharing, shape, own)
        elif self.entry is not None and self.layout.sites:
            trunk = SiteTrunk(self.sharing, shape, self.entry, self.layout)
            return MultiTaskNetwork(trunk, build_site_heads(trunk, self, n_members))
        elif self.entry is not None:
            trunk = EncodedTrunk(self.sharing, shape, self.entry)
        else:
            trunk = self.sharing.build(shape)
        missing = [name for name in ("per_task", "n_features_out") if not hasattr(trunk, name)]
        if missing:
            raise TypeError(
                f"{type(self.sharing).__name__}.build must return a SharingModule with per_task and n_features_out. "
                f"Found {type(trunk).__name__} without {' and '.join(missing)}."
            )
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
    heads : SharedHeads, TaskHeads or SiteHeads
        Compute the raw outputs from them.
    """

    trunk, heads = submodule("trunk"), submodule("heads")

    def __init__(self, trunk: SharingModule, heads: SharedHeads | TaskHeads | SiteHeads) -> None:
        super().__init__()
        self.trunk = trunk
        self.heads = heads

    @property
    def max_rows(self) -> int | None:
        """Rows of one forward pass at most; None for no bound."""
        return self.trunk.max_rows

    @cached_property
    def n_parameters(self) -> int:
        """Number of weights of all members."""
        return sum(p.numel() for p in self.parameters())

    @cached_property
    def n_operations(self) -> int:
        """About how many multiplications all members need for a row."""
        return self.n_parameters + self.trunk.n_operations * self.n_members

    @property
    def networks(self) -> list[MultiTaskNetwork]:
        """Those that predict one after the other: this one."""
        return [self]

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
        found = unit @ unit.transpose(-1, -2)
        return self.heads.with_rows(found) if isinstance(self.heads, SiteHeads) else found


class NetworkPass:
    """The pass through trunk and heads.

    Attributes
    ----------
    forward, backward : list of callable
        Compute `raw` from `x`; set the gradient of every parameter from the gradient in `raw`.
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
    if not trunk.per_task and not plan.head_layer_sizes:
        return SharedHeads(n_members, trunk.n_features_out, plan.layout)
    widths = list(dict.fromkeys(plan.layout.task_widths.tolist()))
    if trunk.ties_heads and len(widths) > 1:
        raise ValueError(f"Heads can be tied only where all tasks have equally many outputs. Found {widths}.")
    sizes = (trunk.n_features_out, *plan.head_layer_sizes)
    return TaskHeads(n_members, sizes, plan.layout, plan.activation, plan.dropout)


def build_site_heads(trunk: SiteTrunk, plan: NetworkPlan, n_members: int) -> SiteHeads:
    """Return the heads of all sites."""
    heads: dict[str, nn.Module] = {}
    for own in plan.layout.sites:
        sizes, layout = (trunk.widths[own.site], *plan.head_layer_sizes), own.at_place
        if len(sizes) == 1 and not trunk.has_task_axis(own.site):
            heads[own.site] = SharedHeads(n_members, sizes[0], layout)
        else:
            heads[own.site] = TaskHeads(n_members, sizes, layout, plan.activation, plan.dropout)
    return SiteHeads(plan.layout, heads)


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
    """Return a network of copies of some members of a stack."""
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
    function: Callable[[Tensor], Tensor], X: np.ndarray | sparse.sparray | Rows, network: MultiTaskNetwork
) -> np.ndarray:
    """Apply a function of the network to rows, a few thousand at a time.

    Parameters
    ----------
    function : callable
        (batch, n_features) -> (1, batch, ...).
    X : array, sparse matrix or Rows of shape (n_samples, n_features)
        Rows, in the network's precision.
    network : MultiTaskNetwork
        Computes on its device.

    Returns
    -------
    array of shape (n_samples, ...)
    """
    device, n, limit = network.device, X.shape[0], network.max_rows
    small = ALWAYS_ONE_CHUNK if limit is None else min(limit, ALWAYS_ONE_CHUNK)
    if n <= small and isinstance(X, np.ndarray):  # what follows takes a quarter of the time of one row
        with threads_for(2.0 * n * network.n_operations), torch.inference_mode():
            return function(tensor_over(X).to(device))[0].cpu().numpy()
    rows = X if isinstance(X, Rows) else rows_of(X)
    chunk = rows.at_once(max(ROWS_PER_CHUNK // network.n_members, ALWAYS_ONE_CHUNK))
    chunk = chunk if limit is None else min(chunk, limit)
    with threads_for(2.0 * min(n, chunk) * network.n_operations), torch.inference_mode():
        first = function(rows.between(0, chunk).to(device))[0].cpu()
        if n <= chunk:
            return first.numpy()
        out = first.new_empty(n, *first.shape[1:])
        out[:chunk] = first
        for start in range(chunk, n, chunk):
            out[start : start + chunk] = function(rows.between(start, start + chunk).to(device))[0]
        return out.numpy()
