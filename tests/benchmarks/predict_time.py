"""What predict costs for one row and for a million, against scikit-learn's MLP of the same shape.

Run: python tests/benchmarks/predict_time.py
"""

from __future__ import annotations

import warnings

import numpy as np
from _bench import ONE_NETWORK, medians, one_thread, table
from sklearn.neural_network import MLPRegressor

from skmtl import MultiTaskRegressor


def main() -> None:
    warnings.simplefilter("ignore")
    one_thread()
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1_000_000, 20)).astype(np.float32)
    y = rng.normal(size=(1_000, 5)).astype(np.float32)
    ours = MultiTaskRegressor(hidden_layer_sizes=(64, 64), max_epochs=1, **ONE_NETWORK).fit(X[:1000], y)
    mlp = MLPRegressor(hidden_layer_sizes=(64, 64), max_iter=1).fit(X[:1000], y)
    one = X[:1]
    row = medians({"ours": lambda: ours.predict(one), "mlp": lambda: mlp.predict(one)}, rounds=9, min_seconds=0.1)
    many = medians({"ours": lambda: ours.predict(X), "mlp": lambda: mlp.predict(X)}, rounds=5)
    table(
        "predict: 20 features, hidden 64-64, 5 tasks, float32, one thread",
        [
            (f"one row ({1e6 * row['ours']:.0f} µs), over MLPRegressor", f"{row['ours'] / row['mlp']:.2f}", "<= 1.2"),
            (
                f"a million rows ({many['ours']:.2f} s), over MLPRegressor",
                f"{many['ours'] / many['mlp']:.2f}",
                "<= 0.6",
            ),
        ],
    )


if __name__ == "__main__":
    main()
