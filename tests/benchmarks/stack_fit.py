"""Stacks of small networks as whole fits, and the scores of stacks against those of fits alone.

Run: python tests/benchmarks/stack_fit.py
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from _bench import ONE_NETWORK, medians, one_thread, table
from fit_time import job
from sklearn.model_selection import GridSearchCV, KFold
from torch import nn

from skmtl import MultiTaskRegressor
from skmtl.model_selection import StackedGridSearchCV

FOLDS = KFold(5, shuffle=True, random_state=0)
STRATEGIES = ("hard", "soft", "attention", "independent")


def plain_fit(X: torch.Tensor, y: torch.Tensor, width: int, batch_size: int, epochs: int) -> None:
    """Train one network as it is written in plain torch."""
    net = nn.Sequential(
        nn.Linear(X.shape[1], width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, y.shape[1])
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(X)).split(batch_size):
            optimizer.zero_grad()
            nn.functional.mse_loss(net(X[rows]), y[rows]).backward()
            optimizer.step()


def no_score(estimator, X: np.ndarray, y: np.ndarray) -> float:
    """Return the same for all: scores are not what is measured."""
    return 0.0


def stack_fit(X: np.ndarray, y: np.ndarray, width: int, batch_size: int, epochs: int) -> None:
    """Train 32 networks as a stack: 16 step sizes on the rows of each of two folds."""
    params = {"hidden_layer_sizes": (width, width), "batch_size": batch_size, "max_epochs": epochs, "random_state": 0}
    model = MultiTaskRegressor(**params, **ONE_NETWORK, optimizer="adam")
    X, y = (np.concatenate([a, a]) for a in (X, y))
    options = {"cv": KFold(2), "scoring": no_score, "refit": False}
    search = StackedGridSearchCV(model, {"lr": np.logspace(-4, -2, 16)}, **options).fit(X, y)
    assert search.n_stacks_ == 1


def small_rows(width: int = 32, batch_size: int = 32, epochs: int = 10) -> list[tuple]:
    """Return the rows of small networks: whole fits, per candidate and step."""
    n, d, n_tasks = 1_000, 20, 5
    X, y = job(n, d, n_tasks)
    own, tensors = (width, batch_size, epochs), [torch.from_numpy(a) for a in (X, y)]
    seconds = medians({"stack": lambda: stack_fit(X, y, *own), "plain": lambda: plain_fit(*tensors, *own)})
    steps = epochs * -(-n // batch_size)
    ours, theirs = 1e6 * seconds["stack"] / (32 * steps), 1e6 * seconds["plain"] / steps
    name = f"hidden {width}-{width}, T = {n_tasks}, batch {batch_size}, stack of 32"
    return [
        (f"{name}: µs a step of a candidate (plain torch: {theirs:.0f})", f"{ours:.1f}", "-"),
        (f"{name}: times faster than plain torch", f"{theirs / ours:.1f}", ">= 25"),
    ]


def difference(sharing: str, n_tasks: int) -> float:
    """Return the largest difference of a fold score in a stack to the one that a fit alone gets."""
    X, y = job(403, 13, n_tasks)
    params = {"hidden_layer_sizes": (50, 28), "batch_size": 32, "max_epochs": 5, "weight_decay": 0.0, "random_state": 0}
    model = MultiTaskRegressor(sharing, **params, **ONE_NETWORK)
    grid = {"lr": [3e-4, 1e-3, 1e-2], "sharing_lambda": [0.0, 1e-3]}
    searches = [search(model, grid, cv=FOLDS, refit=False).fit(X, y) for search in (StackedGridSearchCV, GridSearchCV)]
    scores = [[s.cv_results_[f"split{k}_test_score"] for k in range(FOLDS.n_splits)] for s in searches]
    return float(np.abs(np.subtract(*scores)).max())


def score_rows() -> list[tuple]:
    """Return rows of differences to fits alone."""
    return [
        (
            f"{sharing}, T = {n_tasks}: largest difference of a fold score to a fit alone",
            f"{difference(sharing, n_tasks):.0e}",
            "<= 1e-6",
        )
        for sharing in STRATEGIES
        for n_tasks in (1, 2, 5)
    ]


def main() -> None:
    warnings.simplefilter("ignore")
    one_thread()
    table("A stack of small networks: whole fits of n = 1000, d = 20, float32, one thread", small_rows())
    table("Scores: n = 403, d = 13, hidden 50-28, batch 32, 5 epochs, float32", score_rows())


if __name__ == "__main__":
    main()
