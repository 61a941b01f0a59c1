"""Activation functions: in place forward, and the derivative that the dense stack's backward pass needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

_aten = torch.ops.aten
_threshold_backward = _aten.threshold_backward.grad_input
SMALL_TENSOR = 2**13
"""Up to so many numbers two plain calls take less time than one operator that torch looks up by its schema."""


@dataclass(frozen=True)
class Activation:
    """One activation function.

    Attributes
    ----------
    function : callable
        Differentiable; may overwrite its argument.
    forward_ : callable
        In place.
    backward_ : callable
        ``backward_(grad, saved)`` overwrites `grad` by its product with the derivative, and may overwrite `saved`.
    saves_input : bool
        Whether `saved` is the input of the function; otherwise it is the output.
    gain : float
        Variance of the initial weights is gain / mean(fan_in, fan_out).
    """

    function: Callable[[Tensor], Tensor]
    forward_: Callable[[Tensor], Tensor]
    backward_: Callable[[Tensor, Tensor], Tensor]
    saves_input: bool = False
    gain: float = 2.0


def _same(z: Tensor) -> Tensor:
    return z


def _same_backward_(grad: Tensor, out: Tensor) -> Tensor:
    return grad


def _relu_backward_(grad: Tensor, out: Tensor) -> Tensor:
    if grad.numel() > SMALL_TENSOR:
        return cast(Tensor, _threshold_backward(grad, out, 0, grad_input=grad))
    return grad.mul_(out.sign_())


def _tanh_backward_(grad: Tensor, out: Tensor) -> Tensor:
    return grad.addcmul_(grad, out.square_(), value=-1.0)


def _logistic_backward_(grad: Tensor, out: Tensor) -> Tensor:
    return grad.mul_(out.addcmul_(out, out, value=-1.0))


def _gelu_(z: Tensor) -> Tensor:
    return z.copy_(F.gelu(z))


def _gelu_backward_(grad: Tensor, x: Tensor) -> Tensor:
    return grad.copy_(_aten.gelu_backward(grad, x))


def _silu_(z: Tensor) -> Tensor:
    return F.silu(z, inplace=True)


def _silu_backward_(grad: Tensor, x: Tensor) -> Tensor:
    return grad.copy_(_aten.silu_backward(grad, x))


ACTIVATIONS = {
    "identity": Activation(_same, _same, _same_backward_, gain=1.0),
    "relu": Activation(torch.relu_, torch.relu_, _relu_backward_),
    "tanh": Activation(torch.tanh_, torch.tanh_, _tanh_backward_, gain=1.0),
    "logistic": Activation(torch.sigmoid_, torch.sigmoid_, _logistic_backward_, gain=1.0),
    "gelu": Activation(F.gelu, _gelu_, _gelu_backward_, saves_input=True),
    "silu": Activation(F.silu, _silu_, _silu_backward_, saves_input=True),
}
