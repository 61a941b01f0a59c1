"""What successive halving saves over training every candidate to the end, and what it misses.

Run: python tests/benchmarks/search_halving.py
"""

from __future__ import annotations

import warnings

import numpy as np
from _bench import medians, one_thread, table
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
    model = MultiTaskRegressor("soft", hidden_layer_sizes=(32, 32), batch_size=64, max_epochs=EPOCHS, random_state=0)
    full = StackedGridSearchCV(model, GRID, **OPTIONS)
    halving = HalvingStackedSearchCV(model, GRID, **OPTIONS)
    seconds = medians({"full": lambda: full.fit(X, y), "halving": lambda: halving.fit(X, y)}, rounds=1)
    params = {k: v for k, v in halving.best_params_.items() if k != "max_epochs"}
    results = full.cv_results_
    place = results["params"].index(params)
    score, rank = results["mean_test_score"], results["rank_test_score"][place]
    epochs = ", ".join(map(str, halving.n_resources_))
    return [
        (f"{name}: every candidate to the end, seconds", f"{seconds['full']:.2f}", "-"),
        (f"{name}: halving ({epochs} epochs), times faster", f"{seconds['full'] / seconds['halving']:.1f}", "-"),
        (f"{name}: rank of its winner among {len(score)}", f"{rank}", "1"),
        (f"{name}: score of the best, of its winner", f"{score.max():.4f} {score[place]:.4f}", "-"),
        (
            f"{name}: its winner's score less the same candidate's in the full search",
            f"{halving.best_score_ - score[place]:.0e}",
            "0",
        ),
    ]


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
