"""Images and texts: an encoder against a dense network and against bags of words; sharing against not, at equal steps.

multimnist: two overlaid digits, which is on the left and which on the right; 1,500 training rows, 1,000 test rows. The
dense network has the layers 256-64; the encoder's options were chosen on 300 of the training rows. snips: the intent of
a sentence, 600 training rows drawn from the seed, 700 test rows, against logistic regression on word counts; the spread
of initial vectors was chosen on the validation rows. No early stopping; all networks of a data set take equally many
epochs over the same rows. Accuracy on the test rows, mean over seeds. Run: python tests/benchmarks/real_encoders.py
"""

from __future__ import annotations

import time

import numpy as np
from _data import begin, load, mean_std, print_table
from sklearn.linear_model import LogisticRegression

from skmtl import MultiTaskClassifier
from skmtl.encoders import ConvEncoder, TokenEncoder

COMMON = {"n_members": 1, "early_stopping": False, "batch_size": 64, "lr": 1e-3}


def scores(estimator, X, y, train, test, seed):
    """Return the accuracy of each task on test rows, and processor seconds of the fit."""
    start = time.process_time()
    estimator.set_params(random_state=seed).fit(X[train], y[train])
    seconds = time.process_time() - start
    return [*estimator.score_tasks(X[test], y[test]).values(), seconds]


def digits(seeds) -> list[list]:
    """Return a row for each network on multimnist."""
    X, y, meta = load("multimnist")
    images, y = (X / 255).astype(np.float32).reshape(-1, 28, 28), y.astype(int)
    train, test = (np.flatnonzero(meta["split"] == part) for part in (0, 2))
    train = np.sort(np.random.default_rng(0).permutation(train)[:1500])
    common = {**COMMON, "max_epochs": 20}
    encoder = {**common, "encoder": ConvEncoder((16, 32), 5), "hidden_layer_sizes": (128,), "dropout": 0.3}
    rows = []
    for name, X, options in (
        ("dense 256-64, hard", images.reshape(len(images), -1), {**common, "hidden_layer_sizes": (256, 64)}),
        ("convolutions, hard", images, encoder),
        ("convolutions, attention", images, {**encoder, "sharing": "attention"}),
        ("convolutions, independent", images, {**encoder, "sharing": "independent"}),
    ):
        found = np.array([scores(MultiTaskClassifier(**options), X, y, train, test, seed) for seed in seeds])
        rows.append([name, *(mean_std(column, 3) for column in found.T[:2]), f"{found[:, 2].mean():.0f}"])
    return rows


def intents(seeds) -> list[list]:
    """Return a row for each reader of snips."""
    X, y, meta = load("snips")
    X, y = X.astype(np.int64), y[:, 0].astype(int)
    known, test = (np.flatnonzero(meta["split"] == part) for part in (0, 2))
    draws = {seed: np.random.default_rng(seed).permutation(known)[:600] for seed in seeds}
    counts = np.stack([np.bincount(row[row > 0], minlength=X.max() + 1) for row in X])
    baseline = [
        LogisticRegression(max_iter=300).fit(counts[t], y[t]).score(counts[test], y[test]) for t in draws.values()
    ]
    rows = [["logistic regression on counts", mean_std(baseline, 3), ""]]
    for kind in ("conv", "gru", "attention"):
        options = {**COMMON, "encoder": TokenEncoder(64, kind), "max_epochs": 25, "batch_size": 32, "lr": 3e-3}
        found = [scores(MultiTaskClassifier(**options), X, y, t, test, seed) for seed, t in draws.items()]
        rows.append([kind, mean_std([f[0] for f in found], 3), f"{np.mean([f[1] for f in found]):.0f}"])
    return rows


if __name__ == "__main__":
    seeds = range(3 if begin("Encoders on images and texts: accuracy") else 2)
    print_table(["multimnist", "left", "right", "seconds"], digits(seeds))
    print()
    print_table(["snips, intent", "accuracy", "seconds"], intents(seeds))
