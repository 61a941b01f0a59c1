"""What a step and a fit cost in torch operations and Python calls: figures that do not shake with the machine.

Run: python tests/benchmarks/call_counts.py; with PYTHONPATH=<another checkout> it counts that one's.
"""

from __future__ import annotations

import gc
import sys
import warnings
from collections.abc import Callable

import numpy as np
import torch
from _bench import ONE_NETWORK
from torch.profiler import ProfilerActivity, profile

import skmtl
from skmtl import MultiTaskClassifier, MultiTaskRegressor

EPOCHS = 4
warnings.simplefilter("ignore")


def table(kind: str, missing: bool, n_rows: int = 512):
    """Return X and y of three tasks, a fifth of the labels missing or none."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n_rows, 10)).astype(np.float32)
    y = X[:, :3] + rng.normal(size=(n_rows, 3))
    y = y if kind == "regression" else np.floor(2 + y.clip(-1.9, 1.9) * (0.5 if kind == "binary" else 1.0))
    y = (y > 1).astype(float) if kind == "binary" else y
    if missing:
        y[rng.random(y.shape) < 0.2] = np.nan
    return X, y


def fit(kind: str, missing: bool, epochs: int, **params) -> Callable[[], object]:
    """Return a function that fits for some epochs of eight batches."""
    X, y = table(kind, missing)
    estimator = MultiTaskRegressor if kind == "regression" else MultiTaskClassifier
    model = estimator(batch_size=64, max_epochs=epochs, random_state=0, **ONE_NETWORK | params)
    return lambda: model.fit(X, y)


def operations(function: Callable) -> int:
    """Return how many operations torch ran."""
    function()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        function()
    return sum(event.count for event in found.key_averages() if event.key.startswith("aten::"))


def calls(function: Callable) -> int:
    """Return how many Python and built-in functions were called."""
    function()
    n = 0

    def count(frame, event, arg):
        nonlocal n
        n += event in ("call", "c_call")

    gc.collect()
    gc.disable()
    sys.setprofile(count)
    try:
        function()
    finally:
        sys.setprofile(None)
        gc.enable()
    return n


def main() -> None:
    torch.set_num_threads(1)
    print(f"skmtl of {skmtl.__path__[0]}: operations and calls of a step, and of what a fit needs beside its steps")
    print(f"{'':42} {'step':>12}  {'epoch':>12}  {'fit':>12}")
    for kind in ("regression", "binary", "multiclass"):
        for missing in (False, True):
            for params in ({}, {"sharing": "soft"}, {"sharing": "attention"}, {"early_stopping": True}):
                counts = []
                for measure in (operations, calls):
                    one, more = (measure(fit(kind, missing, k, **params)) for k in (EPOCHS, 2 * EPOCHS))
                    counts.append(((more - one) / EPOCHS / 8, (more - one) / EPOCHS, 2 * one - more))
                name = f"{kind}{', missing' * missing} {' '.join(map(str, params.values()))}"
                cells = [f"{a:.1f} {b:.1f}" for a, b in zip(*counts, strict=True)]
                print(f"{name:42} {cells[0]:>12}  {cells[1]:>12}  {cells[2]:>12}")


if __name__ == "__main__":
    main()
