"""How many torch threads a step deserves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

STEP_WORTH_TWO_THREADS = 5e7  # multiplications and additions, about half a millisecond on one thread


@contextmanager
def threads_for(work: float) -> Iterator[None]:
    """Run a block with one torch thread if a step is small, and restore the number afterwards.

    Parameters
    ----------
    work : float
        Multiplications and additions of one training step. Below `STEP_WORTH_TWO_THREADS` a second thread costs more
        than it brings, and many times more when other processes compete for the cores.
    """
    before = torch.get_num_threads()
    if work >= STEP_WORTH_TWO_THREADS or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
