"""What successive halving saves over training every candidate to the end, and what it misses.

Run: python tests/benchmarks/search_halving.py
"""

from __future__ import annotations

import warnings

import numpy as np
from _bench import ONE_NETWORK, one_thread, table
from search_time import cpu_seconds
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskRegressor
from skmtl.datasets import load_energy, make_related_regression
from skmtl.model_selection import HalvingStackedSearchCV, StackedGridSearchCV

GRID = {"lr": [3e-4, 3e-3, 3e-2], "weight_decay": [0.0, 0.01, 0.1], "sharing_lambda": [0.0, 1e-3, 1e-1]}
OPTIONS = {"cv": KFold(5, shuffle=True, random_state=0), "refit": False}
EPOCHS = 54


def compare(name: str, X: np.ndarray, y: np.ndarray) -> list[tuple]:
    """Return the rows of one data set."""
    params = {"hidden_layer_sizes": (32, 32), "batch_size": 64, "max_epochs": EPOCHS, "random_state": 0}
    model = MultiTaskRegressor("soft", **params, **ONE_NETWORK)
    full_seconds, full = cpu_seconds(lambda: StackedGridSearchCV(model, GRID, **OPTIONS).fit(X, y), 1)
    score, ranks = (full.cv_results_[key] for key in ("mean_test_score", "rank_test_score"))
    rows = [(f"{name}: every candidate to the end, seconds (best score {score.max():.4f})", f"{full_seconds:.2f}", "-")]
    for first in ("exhaust", 6):
        search = HalvingStackedSearchCV(model, GRID, min_resources=first, **OPTIONS)
        seconds, halving = cpu_seconds(lambda search=search: search.fit(X, y), 1)
        params = {k: v for k, v in halving.best_params_.items() if k != "max_epochs"}
        place = full.cv_results_["params"].index(params)
        what = f"{name}: {', '.join(map(str, halving.n_resources_))} epochs"
        rows += [
            (f"{what}: times faster ({seconds:.1f} s)", f"{full_seconds / seconds:.1f}", "-"),
            (f"{what}: rank of its winner among {len(score)} (score {score[place]:.4f})", f"{ranks[place]}", "1"),
        ]
        if halving.n_resources_[-1] == EPOCHS:
            off = abs(halving.best_score_ - score[place])
            rows.append((f"{what}: difference of its score to the full search's", f"{off:.0e}", "0"))
    return rows


def main() -> None:
    warnings.simplefilter("ignore")
    one_thread()
    X, y = load_energy(return_X_y=True)
    related = make_related_regression(n_samples=600, n_tasks=5, noise=0.3, random_state=0)
    rows = compare("energy", StandardScaler().fit_transform(X).astype(np.float32), y)
    rows += compare("related tasks", *related)
    table(f"27 candidates x 5 folds: soft sharing, hidden 32-32, batch 64, up to {EPOCHS} epochs, one thread", rows)


if __name__ == "__main__":
    main()
