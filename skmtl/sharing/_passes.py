"""A training step's way through a module and back: operations that are bound once to the buffers they work on.

What a step does to a small network takes less time than looking up what to do. So whoever trains binds each module to
the buffer in which its batches will lie, and from then on runs through two lists of operations.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

Operation = Callable[[], object]

ALIGNMENT = 64
"""Bytes: what begins on such a boundary is computed with as it would be alone, wherever in a stack it lies."""


class Pass(ABC):
    """The way through a module.

    Attributes
    ----------
    forward : list of callable
        Compute `out` from the batch, in this order.
    out : Tensor
        Where the output will lie.
    backward : list of callable
        Set the gradient of each parameter from that of the output, in this order; none before `receive`.
    """

    out: Tensor

    def __init__(self) -> None:
        self.forward: list[Operation] = []
        self.backward: list[Operation] = []

    @abstractmethod
    def receive(self, gradient: Tensor) -> object:
        """Take where the gradient of the output will lie, which `backward` may overwrite."""


class AutogradPass(Pass):
    """The way through a module that defines `forward` only.

    Parameters
    ----------
    module : nn.Module
        Gives features from a batch.
    x : Tensor
        Where batches will lie.
    shape : sequence of int
        What the features must have.
    """

    def __init__(self, module: nn.Module, x: Tensor, shape: Sequence[int]) -> None:
        super().__init__()
        self._module, self._x = module, x
        self._parameters = [p for p in module.parameters() if p.requires_grad]
        self.out = x.new_empty(shape)
        self.forward = [self._compute]

    def receive(self, gradient: Tensor) -> None:
        self.backward = [partial(self._differentiate, gradient)]

    def _compute(self) -> None:
        with torch.enable_grad():
            self._features = self._module(self._x)
        if self._features.shape != self.out.shape:
            raise ValueError(
                f"{type(self._module).__name__} must return features of shape {tuple(self.out.shape)} for a batch of "
                f"shape {tuple(self._x.shape)}. Found {tuple(self._features.shape)}."
            )
        self.out.copy_(self._features.detach())

    def _differentiate(self, gradient: Tensor) -> None:
        found = torch.autograd.grad(
            self._features, self._parameters, gradient, allow_unused=True, materialize_grads=True
        )
        del self._features
        torch._foreach_copy_([gradient_of(p) for p in self._parameters], list(found))


def gradient_of(parameter: nn.Parameter) -> Tensor:
    """Return where a parameter's gradient is kept."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def padded(n: int, element_size: int) -> int:
    """Return the smallest number of elements, at least n, that end on a boundary."""
    step = ALIGNMENT // element_size
    return -(-n // step) * step


def aligned(shape: Sequence[int], like: Tensor, memory: Tensor | None = None) -> Tensor:
    """Return room of shape (stack, height, width) in which each network's part begins on a boundary.

    It lies in the memory of another such room, if one is given; else it is new.
    """
    n, height, width = shape
    step = padded(height * width, like.element_size())
    memory = like.new_empty(n * step) if memory is None else memory
    return memory.as_strided((n, height, width), (step, width, 1), memory.storage_offset())


def is_view(one: Tensor, other: Tensor) -> bool:
    """Say whether two tensors lie in the same memory."""
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
