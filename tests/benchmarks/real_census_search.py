"""Census income: one search over three strategies through a ColumnTransformer pipeline, ours and scikit-learn's.

Run: python tests/benchmarks/real_census_search.py [--full]
"""

from __future__ import annotations

import time
import warnings

import numpy as np
from _bench import ONE_NETWORK
from _data import begin, load, print_table
from real_census import prepare, to_float32
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import Pipeline

from skmtl import MultiTaskClassifier
from skmtl.metrics import make_task_scorer
from skmtl.model_selection import StackedGridSearchCV

LRS = np.logspace(-4, -2, 8).tolist()
LAMBDAS = np.logspace(-5, 1, 8).tolist()
GRID = [
    {"network__sharing": ["hard"], "network__lr": LRS},
    {"network__sharing": ["soft"], "network__sharing_lambda": LAMBDAS},
    {"network__sharing": ["attention"], "network__lr": LRS},
]
FOLDS = KFold(3, shuffle=True, random_state=0)
NETWORK = {"hidden_layer_sizes": (64,), "batch_size": 256, "random_state": 0, **ONE_NETWORK}
QUICK, FULL = {"rows": 2_000, "max_epochs": 3}, {"rows": 20_000, "max_epochs": 6}
PROTOCOL = """Protocol: {rows} of the training rows, {max_epochs} epochs, {folds} folds; 24 candidates: hard sharing and
attention with 8 learning rates each, soft sharing with 8 λ. Scored by the mean AUC of both tasks; no refit. One thread.
Features as in real_census.py. Network: {network}.
"""


def searches(meta, max_epochs):
    """Return both searches over the same pipeline."""
    network = MultiTaskClassifier(**NETWORK, max_epochs=max_epochs)
    model = Pipeline([("columns", prepare(meta)), ("float32", to_float32()), ("network", network)])
    options = {"scoring": make_task_scorer("roc_auc"), "cv": FOLDS, "refit": False}
    return {
        "StackedGridSearchCV": StackedGridSearchCV(model, GRID, **options),
        "StackedGridSearchCV, n_jobs=2": StackedGridSearchCV(model, GRID, n_jobs=2, **options),
        "GridSearchCV": GridSearchCV(model, GRID, **options),
    }


def winner(search):
    """Return the parameters of the best candidate, and its mean AUC."""
    auc = search.cv_results_["mean_test_average"]
    return {k.removeprefix("network__"): v for k, v in search.cv_results_["params"][auc.argmax()].items()}, auc.max()


def fold_scores(search):
    """Return the scores of every task, fold and candidate."""
    return np.array([v for k, v in search.cv_results_.items() if k.startswith("split")])


def main():
    """Measure and print."""
    size = FULL if begin("Census income: the same search, candidates side by side or one after the other") else QUICK
    print(PROTOCOL.format(**size, folds=FOLDS.n_splits, network=NETWORK))
    X, y, meta = load("census")
    rows = np.random.RandomState(0).permutation(np.flatnonzero(meta["split"] == 0))[: size["rows"]]
    X, y = X[rows], y[rows].astype(int)
    start = time.perf_counter()
    wide = clone(prepare(meta)).fit_transform(X[: 2 * len(X) // 3])
    print(f"Preprocessing of one fold: {time.perf_counter() - start:.2f} s, {wide.shape[1]} columns.\n")
    lines, done = [], {}
    for name, search in searches(meta, size["max_epochs"]).items():
        wall, cpu = time.perf_counter(), time.process_time()
        done[name] = search.fit(X, y)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        best, auc = winner(search)
        told = ", ".join(f"{k}={v:.2g}" if isinstance(v, float) else str(v) for k, v in best.items())
        lines.append([name, f"{wall:.1f}", f"{cpu:.1f}", f"{auc:.5f}", told])
    print_table(["search", "wall s", "CPU s", "AUC", "winner"], lines)
    apart = np.abs(fold_scores(done["StackedGridSearchCV"]) - fold_scores(done["GridSearchCV"])).max()
    print(f"Largest difference of a score of a task in a fold: {apart:.0e}")


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message="Bins whose width are too small")
    warnings.filterwarnings("ignore", message="Found unknown categories")
    main()
