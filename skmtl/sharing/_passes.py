"""A training step through a module and back: operations that are bound once to the buffers they work on.

For small networks Python's overhead exceeds the arithmetic. So each module is bound once to the buffer that will hold
its batches, and a step only runs two lists of operations, forward and backward.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

Operation = Callable[[], object]

ALIGNMENT = 64
"""Alignment in bytes. A matrix aligned to it gives bit-identical results wherever it is in a stack."""


class Pass(ABC):
    """A training step through a module.

    Attributes
    ----------
    forward : list of callable
        Compute `out` from the batch, in this order.
    out : Tensor
        The buffer that will hold the output.
    backward : list of callable
        Set the gradient of each parameter from that of the output, in this order; empty before `receive`.
    """

    out: Tensor

    def __init__(self) -> None:
        self.forward: list[Operation] = []
        self.backward: list[Operation] = []

    @abstractmethod
    def receive(self, gradient: Tensor) -> object:
        """Set the buffer that will hold the output's gradient (`backward` may overwrite it)."""


class AutogradPass(Pass):
    """A training step through a module that defines `forward` only: by autograd.

    Parameters
    ----------
    module : nn.Module
        Computes features from a batch.
    x : Tensor
        The buffer that will hold the batches.
    shape : sequence of int
        Required shape of the features.
    parameters : sequence of Parameter, default=None
        What the features are differentiated by; None for the parameters of the module.
    """

    def __init__(
        self, module: nn.Module, x: Tensor, shape: Sequence[int], parameters: Sequence[nn.Parameter] | None = None
    ) -> None:
        super().__init__()
        self._module, self._x = module, x
        given = module.parameters() if parameters is None else parameters
        self._parameters = [p for p in given if p.requires_grad]
        self.out = (self._parameters[0] if self._parameters else x).new_empty(shape)
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
    """Return the tensor that holds a parameter's gradient."""
    if parameter.grad is None:
        parameter.grad = torch.zeros_like(parameter)
    return parameter.grad


def padded(n: int, element_size: int) -> int:
    """Return the smallest number of elements, at least n, that fills whole boundaries."""
    step = ALIGNMENT // element_size
    return -(-n // step) * step


def aligned(shape: Sequence[int], like: Tensor, memory: Tensor | None = None) -> Tensor:
    """Return a buffer of shape (stack, height, width) in which each network's part begins on a boundary.

    It uses the memory of another such buffer, if one is given; otherwise it is new.
    """
    n, height, width = shape
    step = padded(height * width, like.element_size())
    memory = like.new_empty(n * step) if memory is None else memory
    return memory.as_strided((n, height, width), (step, width, 1), memory.storage_offset())


def is_view(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors share their memory."""
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
