"""What an ensemble of ten costs against one network and one default skorch net, and what it brings.

All are trained for all epochs, without early stopping.

Run: python tests/benchmarks/ensemble_time.py
"""

from __future__ import annotations

import warnings

import numpy as np
from _bench import medians, one_thread, table
from fit_time import HIDDEN, fits, job
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskRegressor
from skmtl.datasets import load_energy, make_related_regression

SHAPE, EPOCHS, MEMBERS = (1_000, 20, 5, 64), 20, 10


def times() -> list[tuple]:
    """Return rows of time ratios."""
    n, d, n_tasks, batch_size = SHAPE
    X, y = job(n, d, n_tasks)
    params = {"hidden_layer_sizes": HIDDEN, "batch_size": batch_size, "max_epochs": EPOCHS, "early_stopping": False}
    one, many = (MultiTaskRegressor(**params, n_members=k) for k in (1, MEMBERS))
    one_dropping, many_dropping = (MultiTaskRegressor(**params, n_members=k, dropout=0.1) for k in (1, MEMBERS))
    fit = medians(
        {
            "one": lambda: one.fit(X, y),
            "many": lambda: many.fit(X, y),
            "one dropping": lambda: one_dropping.fit(X, y),
            "many dropping": lambda: many_dropping.fit(X, y),
            "skorch": fits(*SHAPE, EPOCHS)["skorch"],
        },
        rounds=7,
    )
    predict = medians({"one": lambda: one.predict(X), "many": lambda: many.predict(X)}, min_seconds=0.2)
    return [
        ("times one fit", f"{fit['many'] / fit['one']:.2f}", "<= 6"),
        ("times one fit, both with dropout", f"{fit['many dropping'] / fit['one dropping']:.2f}", "<= 6"),
        ("times one default skorch fit", f"{fit['many'] / fit['skorch']:.2f}", "<= 1"),
        (f"times one predict of {n} rows", f"{predict['many'] / predict['one']:.1f}", "-"),
    ]


def gains() -> list[tuple]:
    """Return rows of mean R² on held-out rows, over five splits."""
    energy, related = load_energy(return_X_y=True), make_related_regression(n_samples=600, noise=0.3, random_state=0)
    rows = []
    for name, (X, y), share in (("energy", energy, 0.75), ("energy", energy, 0.1), ("related tasks", related, 0.75)):
        scores = np.mean([_scores(X, y, share, seed) for seed in range(5)], axis=0)
        what = f"{name}, {share:.0%} of the rows for training: R² of one network, of {MEMBERS}"
        rows.append((what, "{:.3f}  {:.3f}".format(*scores), "-"))
    return rows


def _scores(X, y, share: float, seed: int) -> list[float]:
    X_train, X_test, y_train, y_test = train_test_split(X, y, train_size=share, random_state=seed)
    scores = []
    for k in (1, MEMBERS):
        network = MultiTaskRegressor(n_members=k, early_stopping=False, random_state=seed)
        scores.append(make_pipeline(StandardScaler(), network).fit(X_train, y_train).score(X_test, y_test))
    return scores


def main() -> None:
    warnings.simplefilter("ignore")
    one_thread()
    shape = "n = {}, d = {}, T = {}, batch {}".format(*SHAPE)
    table(f"An ensemble of {MEMBERS}: {shape}, hidden 64-64, float32, one thread", times())
    table("What it brings", gains())


if __name__ == "__main__":
    main()
