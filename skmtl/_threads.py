"""How many torch threads a step of training or a chunk of predictions deserves, and how Python threads take turns."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

TURN = 1e-3  # seconds
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


@contextmanager
def short_turns(n_threads: int) -> Iterator[None]:
    """Run a block in which so many threads train with shorter turns of the interpreter, and restore them afterwards.

    While one thread scores, the other waits for the interpreter after each operation, by default for 5 ms: longer than
    a whole step takes. With `TURN` a search on two cores takes 5 to 8 % less.
    """
    before = sys.getswitchinterval()
    if n_threads == 1 or before <= TURN:
        yield
        return
    sys.setswitchinterval(TURN)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
