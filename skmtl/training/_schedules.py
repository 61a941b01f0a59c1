"""Learning rate schedules: what multiplies every step size in an epoch of a fit."""

from __future__ import annotations

import math
from collections.abc import Callable


def constant(progress: float) -> float:
    """Return 1."""
    return 1.0


def linear(progress: float) -> float:
    """Return a factor that falls in a straight line from 1 towards 0."""
    return 1.0 - progress


def cosine(progress: float) -> float:
    """Return a factor that falls along half a cosine from 1 towards 0 (Loshchilov and Hutter, "SGDR", ICLR 2017)."""
    return 0.5 * (1.0 + math.cos(math.pi * progress))


SCHEDULES: dict[str, Callable[[float], float]] = {"constant": constant, "linear": linear, "cosine": cosine}
"""By name, the factor at a progress of 0 (first epoch) up to, but not, 1: it is never 0."""
