"""What a whole fit costs against skorch and scikit-learn's MLP on the same job.

Run: python tests/benchmarks/fit_time.py
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from _bench import medians, one_thread, table
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neural_network import MLPRegressor
from skorch import NeuralNetRegressor
from torch import nn

from skmtl import MultiTaskRegressor

HIDDEN = (64, 64)


def job(n: int, d: int, n_tasks: int) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 features and noisy nonlinear targets."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, d)).astype(np.float32)
    y = np.tanh(X @ rng.normal(size=(d, n_tasks)) / d**0.5) + 0.1 * rng.normal(size=(n, n_tasks))
    return X, y.astype(np.float32)


class PlainNet(nn.Module):
    """The network as a user of skorch writes it."""

    def __init__(self, d: int, n_tasks: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(d, HIDDEN[0]), nn.ReLU(), nn.Linear(*HIDDEN), nn.ReLU(), nn.Linear(HIDDEN[1], n_tasks)
        )

    def forward(self, x):
        return self.layers(x)


def fits(n: int, d: int, n_tasks: int, batch_size: int, epochs: int) -> dict:
    """Return functions that fit each model once."""
    X, y = job(n, d, n_tasks)
    mlp = MLPRegressor(
        hidden_layer_sizes=HIDDEN, batch_size=batch_size, max_iter=epochs, tol=0, n_iter_no_change=10**9, alpha=0.0
    )
    default_skorch = NeuralNetRegressor(
        PlainNet,
        module__d=d,
        module__n_tasks=n_tasks,
        max_epochs=epochs,
        batch_size=batch_size,
        optimizer=torch.optim.Adam,
        verbose=0,
    )
    ours = MultiTaskRegressor(hidden_layer_sizes=HIDDEN, batch_size=batch_size, max_epochs=epochs)
    return {
        "ours": lambda: ours.fit(X, y),
        "mlp": lambda: mlp.fit(X, y),
        "skorch": lambda: default_skorch.fit(X, y),
        "separate": lambda: MultiOutputRegressor(mlp).fit(X, y),
    }


def main() -> None:
    warnings.simplefilter("ignore")
    one_thread()
    rows = []
    for shape, epochs in (((10_000, 20, 20, 200), 5), ((1_000, 20, 3, 32), 20)):
        functions = fits(*shape, epochs)
        separate = functions.pop("separate")
        seconds = medians(functions, rounds=7)
        name = "n = {}, d = {}, T = {}, batch {}".format(*shape)
        rows.append((f"{name}: ours over MLPRegressor", f"{seconds['ours'] / seconds['mlp']:.2f}", "<= 1.0"))
        rows.append(
            (
                f"{name}: times faster than skorch",
                f"{seconds['skorch'] / seconds['ours']:.1f}",
                ">= 5" if shape[2] == 20 else "-",
            )
        )
        if shape[2] == 20:
            apart = medians({"separate": separate}, rounds=1)["separate"]
            rows.append((f"{name}: times faster than 20 MLPRegressors", f"{apart / seconds['ours']:.0f}", ">= 20"))
    table("One fit: hidden 64-64, float32, one thread", rows)


if __name__ == "__main__":
    main()
