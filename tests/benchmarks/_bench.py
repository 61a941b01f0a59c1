"""Side by side timing: medians of interleaved rounds in one process, on one thread; and what equal work means."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import threadpoolctl
import torch

ONE_NETWORK = {"n_members": 1, "early_stopping": False}  # the work of a peer: one network, all epochs, all rows


def one_thread() -> None:
    """Hold torch and BLAS to one thread for the rest of the process."""
    torch.set_num_threads(1)
    threadpoolctl.threadpool_limits(1)


def medians(functions: dict[str, Callable], rounds: int = 5, min_seconds: float = 0.0) -> dict[str, float]:
    """Return the median CPU seconds of one call of each function.

    Parameters
    ----------
    functions : dict of callables
        Called in turn, in every round in the reverse order of the last.
    rounds : int
        How often each is measured, after one call to warm up.
    min_seconds : float
        Repeat a short function within a round until this much time has passed.
    """
    repeats = {}
    for name, function in functions.items():
        function()
        start = time.process_time()
        function()
        repeats[name] = max(1, int(min_seconds / max(time.process_time() - start, 1e-6)))
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for k in range(rounds):
        for name in list(functions)[:: 1 if k % 2 == 0 else -1]:
            start = time.process_time()
            for _ in range(repeats[name]):
                functions[name]()
            seconds[name].append((time.process_time() - start) / repeats[name])
    return {name: statistics.median(values) for name, values in seconds.items()}


def table(title: str, rows: list[tuple]) -> None:
    """Print rows of (what, value, target)."""
    print(title)
    for what, value, target in rows:
        print(f"  {what:<78} {value:>12}   target {target}")
