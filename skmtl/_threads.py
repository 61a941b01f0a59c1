"""How many torch threads a step of training or a chunk of predictions deserves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

WORTH_TWO_THREADS = 5e7  # multiplications and additions, about half a millisecond on one thread


@contextmanager
def threads_for(work: float) -> Iterator[None]:
    """Run a block with one torch thread if its steps are small, and restore the number afterwards.

    Parameters
    ----------
    work : float
        Multiplications and additions of one training step, or of one chunk of predictions. Below `WORTH_TWO_THREADS`
        a second thread costs more than it brings, and many times more when other processes compete for the cores.
    """
    before = torch.get_num_threads()
    if work >= WORTH_TWO_THREADS or before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
