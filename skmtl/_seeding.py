"""torch's global generator: one thread at a time seeds it and draws from it, and leaves it as it was."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_locks = [threading.RLock()]  # the one in use: a callback may fit another estimator while it is held


def _renew() -> None:
    """In a process that was forked from another, the thread that may have held the lock does not exist."""
    _locks[0] = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)


# fmt: off
@contextmanager
def _locked() -> Iterator[None]:
    with _locks[0]: yield  # noqa: E701  on one line: neither signal nor trace function comes between body and release
# fmt: on


@contextmanager
def gradients_as_before() -> Iterator[None]:
    """Run a block that leaves torch's recording of gradients as it was, also where Ctrl-C comes as a `with` ends."""
    before = torch.is_grad_enabled()
    try:
        yield
    finally:
        torch.set_grad_enabled(before)


@contextmanager
def own_generator(device: torch.device | None = None) -> Iterator[None]:
    """Run a block that may seed and draw from the global generators of the CPU and of this device."""
    with _locked(), gradients_as_before():
        if device is not None and device.type == "cuda":
            with torch.random.fork_rng(devices=[device]):
                yield
            return
        before = torch.default_generator.get_state()  # `fork_rng` takes fifty calls for that
        try:
            yield
        finally:
            torch.default_generator.set_state(before)
