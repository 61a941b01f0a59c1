"""Ctrl-C at a chosen line: which lines of the package a call runs, and a KeyboardInterrupt before one of them.

Both go through `sys.settrace`. A trace function that raises is taken away by Python, so a call is interrupted once and
its clean-up runs as it would after a real signal.
"""

from __future__ import annotations

import random
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import skmtl

PACKAGE = Path(skmtl.__file__).parent
Line = tuple[str, int]
"""File, relative to the package, and line number."""


def executed_lines(call: Callable[[], object], workers: bool = False) -> list[tuple[str, int, int]]:
    """Return which lines of the package a call runs, and how often, in the order of their first run.

    Parameters
    ----------
    call : callable
        It is called twice: the first time fills caches, which a later call will find filled.
    workers : bool
        Whether to see threads that the call starts, too, and not only this one.

    Returns
    -------
    list of (file, line, hits)
        Files are relative to the package.
    """
    hits: Counter[Line] = Counter()

    def count(line: Line) -> None:
        hits[line] += 1

    call()
    with _listening(count, workers):
        call()
    return [(*line, n) for line, n in hits.items()]


def interrupted_at(call: Callable[[], object], file: str, line: int, hit: int = 1, workers: bool = False):
    """Run a call and raise KeyboardInterrupt before a line of the package is run for the `hit`-th time.

    Parameters
    ----------
    call : callable
        What to interrupt.
    file, line : str, int
        As `executed_lines` gives them.
    hit : int
        1 for the first time.
    workers : bool
        Whether threads that the call starts may be interrupted. A real Ctrl-C reaches the main thread only.

    Returns
    -------
    object
        What the call returns; whatever it raises is not caught.

    Raises
    ------
    AssertionError
        If the call ends without having run the line so often.
    """
    n, reached = 0, False
    lock = threading.Lock()

    def interrupt(place: Line) -> None:
        nonlocal n, reached
        if place != (file, line):
            return
        with lock:
            n += 1
            if reached or n < hit:
                return
            reached = True
        raise KeyboardInterrupt

    with _listening(interrupt, workers):
        value = call()
    assert reached, f"{file}:{line} was run {n} times, not {hit}"
    return value


def first_and_last_hits(lines: Iterable[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Return the first and the last hit of each line, as arguments of `interrupted_at`."""
    return [(file, line, hit) for file, line, hits in lines for hit in sorted({1, hits})]


def sample(places: list[tuple[str, int, int]], n: int, seed: int = 0) -> list[tuple[str, int, int]]:
    """Return n of the places, in their order, the same for each seed."""
    chosen = random.Random(seed).sample(range(len(places)), min(n, len(places)))
    return [places[k] for k in sorted(chosen)]


@contextmanager
def _listening(hear: Callable[[Line], None], workers: bool) -> Iterator[None]:
    """Call a function before each line of the package that the block runs."""
    names: dict[str, str | None] = {}

    def name_of(filename: str) -> str | None:
        path = Path(filename)
        return path.relative_to(PACKAGE).as_posix() if path.is_relative_to(PACKAGE) else None

    def trace(frame, event, arg):
        filename = frame.f_code.co_filename
        if filename not in names:
            names[filename] = name_of(filename)
        name = names[filename]
        if name is None:
            return None

        def trace_lines(frame, event, arg):
            if event == "line":
                hear((name, frame.f_lineno))
            return trace_lines

        return trace_lines

    before, before_workers = sys.gettrace(), threading.gettrace()
    if workers:
        threading.settrace(trace)
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
        threading.settrace(before_workers)
