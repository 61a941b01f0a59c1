"""One flat buffer for all parameters, and one for their gradients.

Parameters stay ordinary module parameters, but become views of one aligned storage, so that an optimiser's step, a
copy of the best weights or a gradient norm is one operation instead of one per parameter. Of each module with a stack
of networks every weight gets a region (*stack_shape, parameter), and all biases together get one. So the gradient of a
weight is contiguous, and one batched product can write it; torch computes one that is not network by network. Weights
lie before biases, so that one operation shrinks them all. Inside a region every parameter is padded to 64 bytes, so
that a network computes alike wherever it lies: a stack agrees with each of its networks alone to within rounding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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

    Attributes
    ----------
    data : nn.Parameter of shape (n,)
        Every parameter; its ``grad`` holds every gradient. Padding stays zero.
    weights : list of Region
        Where weight decay acts: everything but the biases.
    n_weights : int
        How far they reach: ``data[:n_weights]``.
    """

    def __init__(self, module: nn.Module) -> None:
        first = next(module.parameters())
        self._regions: dict[int, list[Region]] = {}
        self.weights: list[Region] = []
        biases = {id(p) for name, p in module.named_parameters() if _is_bias(name)}
        self.n_weights = size = 0
        places = []
        for owner, stack_shape, parameters in sorted(_blocks(module), key=lambda block: id(block[2][0]) in biases):
            region, offsets = self._place(size, stack_shape, parameters)
            self._regions.setdefault(id(owner), []).append(region)
            places.append((parameters, region, offsets))
            size += math.prod(region.shape)
            if id(parameters[0]) not in biases:
                self.weights.append(region)
                self.n_weights = size
        self.data = nn.Parameter(_aligned_zeros(size, first))
        self.data.grad = _aligned_zeros(size, first)
        for parameters, region, offsets in places:
            for parameter, offset in zip(parameters, offsets, strict=True):
                self._move_in(parameter, region, offset)

    def spread(self, values: Tensor) -> Tensor:
        """Return one value per member, (member,), laid out beside the parameters: (n,)."""
        flat = torch.zeros_like(self.data.detach())
        for region in self._all_regions():
            region.view(flat).copy_(values.view(-1, *[1] * (len(region.shape) - 1)))
        return flat

    def rows(self, flat: Tensor) -> Tensor:
        """Return what lies in a flat tensor by member: (n,) -> (member, parameter), a copy."""
        return torch.cat([region.view(flat).flatten(1) for region in self._all_regions()], dim=1)

    def fill(self, flat: Tensor, rows: Tensor) -> Tensor:
        """Lay rows out flat again: the inverse of `rows`."""
        sizes = [math.prod(region.shape[1:]) for region in self._all_regions()]
        for region, part in zip(self._all_regions(), rows.split(sizes, dim=1), strict=True):
            region.view(flat).copy_(part.view(region.shape))
        return flat

    def places(self, members: list[int]) -> list[slice]:
        """Return where the parameters of some members lie: slices of the flat buffer, as few as can be."""
        found: list[slice] = []
        for region in self._all_regions():
            width = math.prod(region.shape[1:])
            for start in (region.start + m * width for m in members):
                if found and found[-1].stop == start:
                    found[-1] = slice(found[-1].start, start + width)
                else:
                    found.append(slice(start, start + width))
        return found

    def regions(self, module: nn.Module) -> list[Region]:
        """Return where the parameters of a stacked module lie: each weight, and the biases."""
        return self._regions[id(module)]

    def _all_regions(self) -> list[Region]:
        """Return the regions in the order in which they lie."""
        return sorted((r for regions in self._regions.values() for r in regions), key=lambda region: region.start)

    def _place(
        self, start: int, stack_shape: tuple[int, ...], parameters: list[nn.Parameter]
    ) -> tuple[Region, list[int]]:
        """Return the region of a block and the offset of each parameter inside it."""
        offsets, end = [], 0
        for parameter in parameters:
            offsets.append(end)
            end += padded(math.prod(parameter.shape[len(stack_shape) :]), parameter.element_size())
        return Region(start, (*stack_shape, end)), offsets

    def _move_in(self, parameter: nn.Parameter, region: Region, offset: int) -> None:
        """Make a parameter and its gradient views of the buffer."""
        depth = len(region.shape) - 1
        size = math.prod(parameter.shape[depth:])

        def view(flat: Tensor) -> Tensor:
            block = region.view(flat)[..., offset : offset + size]
            return block.unflatten(-1, parameter.shape[depth:]) if parameter.ndim > depth else block.squeeze(-1)

        values = view(self.data.detach())
        values.copy_(parameter.detach())
        parameter.data = values
        parameter.grad = view(self.data.grad)


def _blocks(module: nn.Module):
    """Yield (owner, stack_shape, parameters) of what shall lie together."""
    for child in module.modules():
        own = {name: p for name, p in child.named_parameters(recurse=False) if p.requires_grad}
        if isinstance(child, StackedModule):
            yield from ((child, child.stack_shape, [p]) for name, p in own.items() if not _is_bias(name))
            biases = [p for name, p in own.items() if _is_bias(name)]
            yield from [(child, child.stack_shape, biases)] if biases else []
        else:
            yield from ((p, p.shape[:1], [p]) for p in own.values())


def _is_bias(name: str) -> bool:
    return "bias" in name.rpartition(".")[2]


def _aligned_zeros(size: int, like: Tensor) -> Tensor:
    """Return zeros whose first element stands on a 64-byte boundary."""
    step = ALIGNMENT // like.element_size()
    storage = torch.zeros(size + step, dtype=like.dtype, device=like.device)
    start = (-storage.data_ptr() // like.element_size()) % step
    return storage[start : start + size]
