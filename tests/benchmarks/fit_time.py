"""What a whole fit costs against skorch and scikit-learn's MLP on the same job.

Run: python tests/benchmarks/fit_time.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import warnings

import numpy as np
import torch
from _bench import ONE_NETWORK, medians, one_thread, table
from sklearn.base import clone
from sklearn.multioutput import MultiOutputRegressor
from sklearn.neural_network import MLPRegressor
from skorch import NeuralNetRegressor
from torch import nn

from skmtl import MultiTaskRegressor

HIDDEN = (64, 64)
EPOCHS = 20
FIRST_FIT = """
import time
import numpy as np
from skmtl import MultiTaskRegressor

rng = np.random.default_rng(0)
X, y = rng.normal(size=(1000, 20)).astype(np.float32), rng.normal(size=(1000, 3)).astype(np.float32)
start = time.perf_counter()
MultiTaskRegressor(batch_size=32, max_epochs=5, n_members=1, early_stopping=False).fit(X, y)
print(time.perf_counter() - start)
"""


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
    same_rows = clone(default_skorch).set_params(train_split=None)  # by default it learns from four fifths of them
    ours = MultiTaskRegressor(hidden_layer_sizes=HIDDEN, batch_size=batch_size, max_epochs=epochs, **ONE_NETWORK)
    return {
        "ours": lambda: ours.fit(X, y),
        "mlp": lambda: mlp.fit(X, y),
        "skorch": lambda: default_skorch.fit(X, y),
        "same rows": lambda: same_rows.fit(X, y),
        "separate": lambda: MultiOutputRegressor(mlp).fit(X, y),
    }


def first_fit() -> float:
    """Return the wall seconds of the first fit of a fresh process, after the imports: the median of five."""
    command = [sys.executable, "-c", FIRST_FIT]
    return statistics.median(float(subprocess.check_output(command, text=True)) for _ in range(5))


def main() -> None:
    warnings.simplefilter("ignore")
    one_thread()
    rows = []
    for shape, most in (((10_000, 20, 20, 200), "<= 0.4"), ((1_000, 20, 3, 32), "<= 0.45")):
        functions = fits(*shape, EPOCHS)
        separate = functions.pop("separate")
        seconds = medians(functions, rounds=3)
        name = "n = {}, d = {}, T = {}, batch {}".format(*shape)
        rows.append((f"{name}: ours over MLPRegressor", f"{seconds['ours'] / seconds['mlp']:.2f}", most))
        for kind, what in (
            ("skorch", "a default skorch net (80 % of rows)"),
            ("same rows", "skorch on all rows"),
        ):
            rows.append((f"{name}: times faster than {what}", f"{seconds[kind] / seconds['ours']:.1f}", ">= 8"))
        if shape[2] == 20:
            apart = medians({"separate": separate}, rounds=1)["separate"]
            rows.append((f"{name}: times faster than 20 MLPRegressors", f"{apart / seconds['ours']:.0f}", ">= 20"))
    rows.append(("n = 1000, 5 epochs: first fit of a fresh process, seconds", f"{first_fit():.3f}", "<= 0.15"))
    table(f"One fit: hidden 64-64, {EPOCHS} epochs, float32, one thread", rows)


if __name__ == "__main__":
    main()
