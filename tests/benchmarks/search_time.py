"""What a whole search costs: candidates side by side against scikit-learn's search, which fits one after the other.

Run: python tests/benchmarks/search_time.py
"""

from __future__ import annotations

import os
import statistics
import time
import warnings

import numpy as np
import torch
from _bench import ONE_NETWORK, medians, one_thread, table
from fit_time import HIDDEN, PlainNet, job
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.neural_network import MLPRegressor
from skorch import NeuralNetRegressor
from step_time import FEATURES, loop_of_towers
from threadpoolctl import threadpool_limits

from skmtl import MultiTaskRegressor
from skmtl.model_selection import StackedGridSearchCV

N, D, TASKS, BATCH, EPOCHS = 1_000, 20, 5, 64, 20
LRS, DECAYS = [3e-4, 1e-3, 3e-3, 1e-2, 3e-2], [0.0, 1e-4, 1e-3, 1e-2]
FOLDS = KFold(5, shuffle=True, random_state=0)
LAMBDAS = [0.0, *np.logspace(-5, 1, 19)]


def ours() -> MultiTaskRegressor:
    """Return our estimator as the others: with Adam, one network, no early stopping."""
    return MultiTaskRegressor(
        hidden_layer_sizes=HIDDEN, batch_size=BATCH, max_epochs=EPOCHS, optimizer="adam", random_state=0, **ONE_NETWORK
    )


def grid(lr: str, decay: str) -> dict:
    """Return 20 candidates."""
    return {lr: LRS, decay: DECAYS}


def theirs(batch_size: int = BATCH, epochs: int = EPOCHS) -> MLPRegressor:
    """Return scikit-learn's network for the same job."""
    return MLPRegressor(
        hidden_layer_sizes=HIDDEN,
        batch_size=batch_size,
        max_iter=epochs,
        tol=0,
        n_iter_no_change=10**9,
        random_state=0,
    )


def searches(X: np.ndarray, y: np.ndarray) -> dict:
    """Return functions that run each search once."""
    mlp = theirs()
    skorch_net = NeuralNetRegressor(
        PlainNet,
        module__d=D,
        module__n_tasks=TASKS,
        max_epochs=EPOCHS,
        batch_size=BATCH,
        optimizer=torch.optim.Adam,
        verbose=0,
    )
    two = {"lr": [1e-3, 1e-2]}  # of 20 candidates: its time is multiplied by ten
    options = {"cv": FOLDS, "refit": False}
    return {
        "stacked": lambda: StackedGridSearchCV(ours(), grid("lr", "weight_decay"), **options).fit(X, y),
        "ours": lambda: GridSearchCV(ours(), grid("lr", "weight_decay"), **options).fit(X, y),
        "mlp": lambda: GridSearchCV(mlp, grid("learning_rate_init", "alpha"), **options).fit(X, y),
        "skorch": lambda: GridSearchCV(skorch_net, two, **options).fit(X, y),
    }


def cpu_seconds(function, rounds: int) -> tuple[float, object]:
    """Return the median CPU seconds of a call, and its last result."""
    seconds = []
    for _ in range(rounds):
        start = time.process_time()
        result = function()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds), result


def wall_seconds(function) -> float:
    """Return the wall seconds of a call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def difference(one, other) -> float:
    """Return the largest difference of a candidate's score in a fold."""
    keys = [f"split{k}_test_score" for k in range(FOLDS.n_splits)]
    return max(float(np.abs(one.cv_results_[key] - other.cv_results_[key]).max()) for key in keys)


def search_rows(X: np.ndarray, y: np.ndarray) -> list[tuple]:
    """Return the rows of the search over step sizes and decays."""
    functions = searches(X, y)
    functions["skorch"]()  # its first import of an optimiser is not counted
    seconds, results = {}, {}
    for name, rounds in (("stacked", 3), ("ours", 1), ("mlp", 1), ("skorch", 1)):
        seconds[name], results[name] = cpu_seconds(functions[name], rounds)
    seconds["skorch"] *= 10
    rows = [
        (f"against {what}: times faster ({seconds[name]:.1f} s)", f"{seconds[name] / seconds['stacked']:.1f}", target)
        for what, name, target in (
            ("a default skorch net, 2 candidates measured and times ten", "skorch", ">= 24"),
            ("MLPRegressor", "mlp", ">= 7"),
            ("our own estimator", "ours", ">= 2.5"),
        )
    ]
    best = "yes" if results["stacked"].best_params_ == results["ours"].best_params_ else "no"
    return [
        ("stacked search, seconds", f"{seconds['stacked']:.2f}", "-"),
        *rows,
        ("largest difference of a fold score to our own estimator's", f"{difference(*_pair(results)):.0e}", "<= 1e-6"),
        ("the same winner", best, "yes"),
    ]


def _pair(results: dict) -> tuple:
    return results["stacked"], results["ours"]


def core_rows(X: np.ndarray, y: np.ndarray, rounds: int = 3) -> list[tuple]:
    """Return the rows of two cores, in wall time: the best of interleaved rounds; worker processes are warm."""
    options, ours_grid = {"cv": FOLDS, "refit": False}, grid("lr", "weight_decay")
    found = {
        "one": StackedGridSearchCV(ours(), ours_grid, **options),
        "two": StackedGridSearchCV(ours(), ours_grid, n_jobs=2, **options),
        "mlp": GridSearchCV(theirs(), grid("learning_rate_init", "alpha"), n_jobs=2, **options),
    }
    GridSearchCV(theirs(), {"alpha": [0.0]}, n_jobs=2, **options).fit(X, y)  # processes start, and import
    seconds: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, search in found.items():
            seconds[name].append(wall_seconds(lambda search=search: search.fit(X, y)))
    one, two, mlp = (min(seconds[name]) for name in found)
    return [
        (f"two cores: times faster than one ({two:.2f} s wall, best of {rounds})", f"{one / two:.2f}", "-"),
        (f"two cores: times faster than MLPRegressor on two ({mlp:.1f} s wall)", f"{mlp / two:.1f}", ">= 7"),
    ]


def large_rows() -> list[tuple]:
    """Return the row of a search on many rows, where arithmetic outweighs overhead."""
    X, y = job(10 * N, D, TASKS)
    options, epochs = {"cv": FOLDS, "refit": False}, 5
    model = ours().set_params(batch_size=256, max_epochs=epochs)
    stacked = StackedGridSearchCV(model, grid("lr", "weight_decay"), **options)
    alone = GridSearchCV(theirs(256, epochs), grid("learning_rate_init", "alpha"), **options)
    seconds = {name: cpu_seconds(lambda s=s: s.fit(X, y), 1)[0] for name, s in (("ours", stacked), ("mlp", alone))}
    what = f"n = {10 * N}, batch 256, 100 members ({seconds['ours']:.1f} s): times faster than MLPRegressor"
    return [(what, f"{seconds['mlp'] / seconds['ours']:.1f}", ">= 4")]


def lambda_rows() -> list[tuple]:
    """Return the row of the soft sharing search over λ, per candidate and step."""
    X, y = job(N, FEATURES, 20)
    model = ours().set_params(sharing="soft", batch_size=32, max_epochs=4)
    search = StackedGridSearchCV(model, {"sharing_lambda": LAMBDAS}, cv=FOLDS, refit=False)
    seconds, _ = cpu_seconds(lambda: search.fit(X, y), 1)
    step = seconds / (len(LAMBDAS) * FOLDS.n_splits * 4 * -(-N * 4 // 5 // 32))
    loop = medians({"loop": loop_of_towers(20)}, rounds=3, min_seconds=0.1)["loop"]
    what = f"soft sharing, T = 20, 20 λ: µs a step of a candidate (a loop over towers: {1e6 * loop:.0f})"
    return [
        (what, f"{1e6 * step:.0f}", "-"),
        ("soft sharing, T = 20, batch 32, 20 λ: times faster than the loop", f"{loop / step:.0f}", ">= 50"),
    ]


def main() -> None:
    warnings.simplefilter("ignore")
    os.environ["PYTHONWARNINGS"] = "ignore"  # in worker processes
    one_thread()
    X, y = job(N, D, TASKS)
    with threadpool_limits(1):
        rows = [*search_rows(X, y), *lambda_rows(), *large_rows(), *core_rows(X, y)]
    shape = f"n = {N}, d = {D}, T = {TASKS}, hidden 64-64, batch {BATCH}, {EPOCHS} epochs, float32, one thread"
    table(f"A search of 20 candidates x 5 folds: {shape}", rows)


if __name__ == "__main__":
    main()
