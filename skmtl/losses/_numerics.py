"""Functions of exponentials that keep their digits, and constants in the precision of what they meet."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

softplus: Callable[..., Tensor] = F.softplus
"""log(1 + exp(x)), with ``out=``, of which torch's types know nothing."""


def inverse_softplus(values: Tensor) -> Tensor:
    """Return what softplus makes these positive values of."""
    values = values.clamp_min(torch.finfo(values.dtype).tiny)
    return values + torch.log(-torch.expm1(-values))


def log_complement(log_p: Tensor) -> Tensor:
    """Return log(1 - p) of log p <= 0, where p is at most the largest number below 1."""
    return torch.log(-torch.expm1(log_p.clamp_max(-torch.finfo(log_p.dtype).eps)))


@cache
def number(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return a number as a tensor: to make one of a Python number at every use takes longer than to use it."""
    with torch.inference_mode(False):
        return torch.tensor(value, dtype=dtype, device=device)


class Constant:
    """A constant, kept in the precision and on the device that it was last asked for.

    Parameters
    ----------
    values : Tensor
        In float64.
    """

    def __init__(self, values: Tensor) -> None:
        self.values = self._last = values

    def like(self, other: Tensor) -> Tensor:
        """Return the constant in the precision and on the device of a tensor."""
        if self._last.dtype is not other.dtype or self._last.device != other.device:
            self._last = self.values.to(other)
        return self._last
