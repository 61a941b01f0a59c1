"""One flat buffer for all parameters, and one for their gradients.

Parameters stay ordinary module parameters, but become views of one aligned storage, so that an optimiser's step, a
copy of the best weights or a gradient norm is one operation instead of one per parameter. Each weight of a stacked
module gets a region (*stack_shape, parameter); all biases of the module together get one. So the gradient of a weight
is contiguous, and one batched product can write it; into memory that is not contiguous torch would compute it network
by network. Weights come before biases, so that one operation shrinks them all. Inside a region every parameter is
padded to 64 bytes, so that a network's results do not depend on its place in the stack: a stack agrees with each of
its networks alone to within rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from skmtl.sharing import ALIGNMENT, StackedModule, padded


@dataclass(frozen=True)
class Region:
    """A slice of the flat buffer: a weight, or the biases, of one stacked module; or one other parameter."""

    start: int
    shape: tuple[int, ...]  # (*stack_shape, parameter)

    def view(self, flat: Tensor) -> Tensor:
        """Return this region of a flat tensor."""
        return flat[self.start : self.start + math.prod(self.shape)].view(self.shape)


class FlatBuffer:
    """Lay out the parameters of a module in one storage.

    Parameters
    ----------
    module : nn.Module
        Whose parameters become views of the buffer.
    dtype, device : torch.dtype, torch.device or None
        Of the buffer; None takes those of the parameters.
    n_members : int or None
        Networks side by side. Parameters of plain modules then begin with the member axis, unless there is only one.

    Attributes
    ----------
    data : nn.Parameter of shape (n,)
        Every parameter; its ``grad`` holds every gradient. Padding stays zero.
    weights : list of Region
        Where weight decay acts: everything but the biases.
    n_weights : int
        How far they reach: ``data[:n_weights]``.
    own_steps : set of float
        Step sizes that modules have of their own.
    """

    def __init__(
        self,
        module: nn.Module,
        dtype: torch.dtype | None = None,
        device: torch.device | None = None,
        n_members: int | None = None,
    ) -> None:
        blocks = sorted(_blocks(module, n_members), key=lambda block: block.is_bias)
        first = blocks[0].parameters[0]
        dtype, device = dtype or first.dtype, device or first.device
        self._regions: list[tuple[object, Region]] = []  # with the module, or the parameter, that each belongs to
        self.weights: list[Region] = []
        self.n_weights = size = 0
        places = []
        for block in blocks:
            region, offsets = _place(size, block.stack_shape, block.parameters, dtype.itemsize)
            self._regions.append((block.owner, region))
            places.append((block.parameters, region, offsets))
            size += math.prod(region.shape)
            if not block.is_bias:
                self.weights.append(region)
                self.n_weights = size
        self.data = nn.Parameter(_aligned_zeros(size, dtype, device))
        self.data.grad = _aligned_zeros(size, dtype, device)
        self._flat = self.data.detach()
        self._is_single = all(region.shape[0] == 1 for _, region in self._regions)  # its row is the buffer as it is
        self.own_steps = {block.lr for block in blocks} - {None}
        self._gradients: list[tuple[nn.Parameter, Tensor]] = []
        for parameters, region, offsets in places:
            for parameter, offset in zip(parameters, offsets, strict=True):
                self._move_in(parameter, region, offset)

    def attach_gradients(self) -> None:
        """Make every parameter's gradient a view of the buffer again, where `zero_grad` has let go of it."""
        for parameter, gradient in self._gradients:
            if parameter.grad is not gradient:
                parameter.grad = gradient

    def rows(self, flat: Tensor) -> Tensor:
        """Return a flat tensor by member, copied: (n,) -> (member, parameter)."""
        if self._is_single:
            return flat.clone().unsqueeze(0)
        return torch.cat([region.view(flat).flatten(1) for _, region in self._regions], dim=1)

    def fill(self, flat: Tensor, rows: Tensor) -> Tensor:
        """Lay rows out flat again: the inverse of `rows`."""
        if self._is_single:
            return flat.copy_(rows[0])
        sizes = [math.prod(region.shape[1:]) for _, region in self._regions]
        for (_, region), part in zip(self._regions, rows.split(sizes, dim=1), strict=True):
            region.view(flat).copy_(part.view(region.shape))
        return flat

    def places(self, members: list[int], lr: float | None = None) -> list[slice]:
        """Return where the parameters of some members lie: slices of the flat buffer, as few as can be.

        Only those of modules with this step size of their own, `lr`, or of those that have none.
        """
        found: list[slice] = []
        for owner, region in self._regions:
            if self.own_steps and self.own_step(owner) != lr:
                continue
            width = math.prod(region.shape[1:])
            for start in (region.start + m * width for m in members):
                if found and found[-1].stop == start:
                    found[-1] = slice(found[-1].start, start + width)
                else:
                    found.append(slice(start, start + width))
        return found

    def own_step(self, owner: object) -> float | None:
        """Return the step size that a module, or the one that holds a region, has of its own."""
        if isinstance(owner, Region):
            owner = next(module for module, region in self._regions if region == owner)
        return owner.lr if isinstance(owner, StackedModule) else None

    def regions(self, module: nn.Module) -> list[Region]:
        """Return where the parameters of a stacked module lie: each weight, and the biases."""
        return [region for owner, region in self._regions if owner is module]

    def _move_in(self, parameter: nn.Parameter, region: Region, offset: int) -> None:
        """Make a parameter and its gradient views of the buffer."""
        shape = parameter.shape
        end = offset + parameter.numel() // math.prod(region.shape[:-1])
        values, gradient = (region.view(flat)[..., offset:end].view(shape) for flat in (self._flat, self.data.grad))
        parameter.data = values.copy_(parameter.detach())
        parameter.grad = gradient
        self._gradients.append((parameter, gradient))


def _place(
    start: int, stack_shape: tuple[int, ...], parameters: list[nn.Parameter], itemsize: int
) -> tuple[Region, list[int]]:
    """Return the region of a block and the offset of each parameter inside it."""
    offsets, end = [], 0
    for parameter in parameters:
        offsets.append(end)
        end += padded(parameter.numel() // math.prod(stack_shape), itemsize)
    return Region(start, (*stack_shape, end)), offsets


class _Block(NamedTuple):
    """Parameters that are laid out together."""

    owner: object
    stack_shape: tuple[int, ...]
    parameters: list[nn.Parameter]
    is_bias: bool
    lr: float | None = None


def _blocks(module: nn.Module, n_members: int | None) -> Iterator[_Block]:
    """Yield what is laid out together: of a stacked module each weight, and all biases; else each parameter."""
    for child in module.modules():
        own = [(name, p) for name, p in child._parameters.items() if p is not None and p.requires_grad]
        if not isinstance(child, StackedModule):
            for name, p in own:  # a single network's parameters need not begin with the member axis
                stack_shape = (1,) if n_members == 1 else tuple(p.shape[:1])
                yield _Block(p, stack_shape, [p], _is_bias(name))
            continue
        yield from (_Block(child, child.stack_shape, [p], False, child.lr) for name, p in own if not _is_bias(name))
        biases = [p for name, p in own if _is_bias(name)]
        if biases:
            yield _Block(child, child.stack_shape, biases, True, child.lr)


def _is_bias(name: str) -> bool:
    return "bias" in name


def _aligned_zeros(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return zeros whose first element is at a 64-byte boundary."""
    step = ALIGNMENT // dtype.itemsize
    storage = torch.zeros(size + step, dtype=dtype, device=device)
    start = (-storage.data_ptr() // dtype.itemsize) % step
    return storage[start : start + size]
