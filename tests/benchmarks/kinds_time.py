"""What a step costs where tasks are of several kinds, against as many regressions; and many tasks against one.

Least of interleaved rounds of processor seconds, one thread. Run: python tests/benchmarks/kinds_time.py
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


def seconds_per_epoch(sides: dict[str, tuple], rounds: int = ROUNDS, epochs: int = EPOCHS) -> dict[str, float]:
    """Return processor seconds of an epoch of each (estimator, X, y): the difference of two fits, each at its least."""
    least = {(name, n): np.inf for name in sides for n in (1, 1 + epochs)}
    for _ in range(rounds):
        for name, n in least:
            estimator, X, y = sides[name]
            estimator.set_params(max_epochs=n, **ONE_NETWORK, random_state=0)
            start = time.process_time()
            estimator.fit(X, y)
            least[name, n] = min(least[name, n], time.process_time() - start)
    return {name: (least[name, 1 + epochs] - least[name, 1]) / epochs for name in sides}


def main() -> None:
    one_thread()
    cases = {name: table(kinds) for name, kinds in MIXES.items()}
    found = seconds_per_epoch({k: (MultiTaskEstimator(t, batch_size=BATCH), X, y) for k, (X, y, t) in cases.items()})
    base = found["8 regressions"]
    print(f"A step of {BATCH} rows, 8 tasks, 64-64, in units of 8 regressions ({base / 10 * 1e6:.0f} µs)")
    for name, value in found.items():
        print(f"  {name:<50} {value / base:5.2f}")

    rng = np.random.default_rng(0)
    X = (rng.random((8600, 1024)) < 0.05).astype(np.float32)
    y = (rng.random((8600, 617)) < 0.1) * 1.0
    one = y[:, 0].copy()
    y[rng.random(y.shape) < 0.71] = np.nan
    sides = {"617 tasks": (MultiTaskClassifier(), X, y), "one": (MultiTaskClassifier(), X, one)}
    sides["617 of MultiTaskEstimator"] = (MultiTaskEstimator({f"{k}": "classification" for k in range(617)}), X, y)
    found = seconds_per_epoch(sides, rounds=3, epochs=10)
    print("An epoch of 8,600 rows, 1,024 bits, 71 % of the labels missing, hard sharing, in units of one task")
    for name, value in found.items():
        print(f"  {name:<50} {value / found['one']:5.2f}")


if __name__ == "__main__":
    main()
