"""What a step costs where tasks are of several kinds, against as many regressions; and many tasks against one.

Minimum over interleaved rounds of processor seconds, one thread. Run: python tests/benchmarks/kinds_time.py
"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
from _bench import ONE_NETWORK, one_thread

from skmtl import MultiTaskClassifier, MultiTaskEstimator
from skmtl.tasks import Censored, Survival

N_ROWS, N_FEATURES, BATCH, EPOCHS, ROUNDS = 1280, 20, 128, 30, 5
MIXES = {
    "8 regressions": ("regression",),
    "number, 2 classes, 3 classes, count": ("regression", "two", "three", "count"),
    "number, 2 classes, count, survival": ("regression", "two", "count", "survival"),
    "number, 2 classes, 3 grades, count": ("regression", "two", "ordinal", "count"),
    "number, quantiles, mean and variance, 2 classes": ("regression", "quantile", "gaussian", "two"),
    "number, 2 classes, bounds, count": ("regression", "two", "bounds", "count"),
}


def table(kinds: tuple[str, ...]):
    """Return X, y and tasks: eight tasks, of these kinds in turn."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_ROWS, N_FEATURES)).astype(np.float32)
    y, tasks = {}, {}
    for k, value in enumerate((X @ rng.normal(size=(N_FEATURES, 8)) / 4).T):
        kind, name = kinds[k % len(kinds)], f"t{k}"
        tasks[name] = {"two": "classification", "three": "classification"}.get(kind, kind)
        y[name] = value.astype(float)
        if kind in ("three", "ordinal"):
            y[name] = np.digitize(value, [-0.5, 0.5]).astype(str)
        elif kind == "two":
            y[name] = np.where(value > 0, "a", "b")
        elif kind == "count":
            y[name] = rng.poisson(np.exp(value))
        elif kind == "survival":
            y[name], y[f"{name} seen"] = rng.exponential(np.exp(value)), rng.random(N_ROWS) < 0.7
            tasks[name] = Survival(name, f"{name} seen")
        elif kind == "bounds":
            y[name], y[f"{name} is"] = np.minimum(y[name], 0.3), np.where(value > 0.3, ">", "=")
            tasks[name] = Censored(f"{name} is")
    return X, pd.DataFrame(y), tasks


def seconds_per_epoch(estimator, X, y, epochs: int = EPOCHS) -> float:
    """Return processor seconds of an epoch: the difference of two fits."""
    found = []
    for n in (1, 1 + epochs):
        estimator.set_params(max_epochs=n, **ONE_NETWORK, random_state=0)
        start = time.process_time()
        estimator.fit(X, y)
        found.append(time.process_time() - start)
    return (found[1] - found[0]) / epochs


def main() -> None:
    one_thread()
    cases = {name: table(kinds) for name, kinds in MIXES.items()}
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, (X, y, tasks) in cases.items():
            found[name].append(seconds_per_epoch(MultiTaskEstimator(tasks, batch_size=BATCH), X, y))
    base = min(found["8 regressions"])
    print(f"A step of {BATCH} rows, 8 tasks, 64-64, in units of 8 regressions ({base / 10 * 1e6:.0f} µs)")
    for name, values in found.items():
        print(f"  {name:<50} {min(values) / base:5.2f}")

    rng = np.random.default_rng(0)
    X = (rng.random((8600, 1024)) < 0.05).astype(np.float32)
    y = (rng.random((8600, 617)) < 0.1) * 1.0
    one = y[:, 0].copy()
    y[rng.random(y.shape) < 0.71] = np.nan
    sides = {"617 tasks": (MultiTaskClassifier(), y), "one": (MultiTaskClassifier(), one)}
    sides["617 of MultiTaskEstimator"] = (MultiTaskEstimator({f"{k}": "classification" for k in range(617)}), y)
    found = {name: [] for name in sides}
    for _ in range(2):
        for name, (estimator, labels) in sides.items():
            found[name].append(seconds_per_epoch(estimator, X, labels, epochs=10))
    print("An epoch of 8,600 rows, 1,024 bits, 71 % of the labels missing, hard sharing, in units of one task")
    for name, values in found.items():
        print(f"  {name:<50} {min(values) / min(found['one']):5.2f}")


if __name__ == "__main__":
    main()
