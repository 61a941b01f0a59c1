"""Functions of exponentials that keep their digits."""

from __future__ import annotations

import torch
from torch import Tensor


def inverse_softplus(values: Tensor) -> Tensor:
    """Return what softplus makes these positive values of."""
    values = values.clamp_min(torch.finfo(values.dtype).tiny)
    return values + torch.log(-torch.expm1(-values))


def log_complement(log_p: Tensor) -> Tensor:
    """Return log(1 - p) of log p <= 0, where p is at most the largest number below 1."""
    return torch.log(-torch.expm1(log_p.clamp_max(-torch.finfo(log_p.dtype).eps)))
