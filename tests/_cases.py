"""Small tables and estimators over every strategy, kind and weighting."""

from __future__ import annotations

import numpy as np

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.losses import LOSSES as LOSS_CLASSES
from skmtl.sharing import STRATEGIES as STRATEGY_CLASSES
from skmtl.sharing import AttentionSharing
from skmtl.weighting import WEIGHTINGS as WEIGHTING_CLASSES

STRATEGIES = tuple(STRATEGY_CLASSES)
WEIGHTINGS = tuple(WEIGHTING_CLASSES)
LOSSES = {f"{name} {k}": loss for name, cls in LOSS_CLASSES.items() for k, loss in enumerate(cls.examples())}
"""Every loss of the family, as its class's examples; their targets may be 0 and 1."""

KINDS = ("regression", "binary", "multiclass")
"""Tables of y; the estimators choose the losses."""

N_CLASSES = {"binary": (2, 2, 2, 2), "multiclass": (3, 2, 5, 4)}
N_TASKS, N_FEATURES = 4, 5

WIDTHS = ((7,), (33,), (17, 5), (8,))
"""Hidden layers of stacks. Where a width fills no vector, some processors sum a stack otherwise than its members."""


def make_table(kind, n_samples=48, missing=0.25, dtype=np.float64, seed=0, n_classes=None):
    """Return X (n_samples, 5) and y (n_samples, 4): numbers on four scales or codes of ragged classes, some NaN."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_samples, N_FEATURES)).astype(dtype)
    score = X @ rng.normal(size=(N_FEATURES, N_TASKS)) + 0.3 * rng.normal(size=(n_samples, N_TASKS))
    if kind == "regression":
        y = score * [1.0, 10.0, 0.1, 5.0] + [0.0, 100.0, -3.0, 1.0]
    else:
        rank = score.argsort(axis=0).argsort(axis=0)
        y = np.floor(rank * np.asarray(n_classes or N_CLASSES[kind]) / n_samples)
    y[rng.random(y.shape) < missing] = np.nan
    return X, y


def make_estimator(kind="regression", sharing="hard", **params):
    """Return a small estimator of one network that trains for a few mini-batch epochs."""
    small = {"hidden_layer_sizes": (8,), "lr": 0.01, "batch_size": 16, "max_epochs": 4, "random_state": 0}
    small |= {"n_members": 1, "early_stopping": False}
    estimator = MultiTaskRegressor if kind == "regression" else MultiTaskClassifier
    return estimator(sharing, **{**small, **params})


def make_odd_estimator(kind="regression", sharing="hard", hidden_layer_sizes=WIDTHS[0], **params):
    """Return a small estimator of odd width, for tests of stacks."""
    sharing = fit_heads(sharing, hidden_layer_sizes)
    return make_estimator(kind, sharing, hidden_layer_sizes=hidden_layer_sizes, **params)


def fit_heads(sharing, hidden_layer_sizes):
    """Return the strategy, attention with one head where the width is no multiple of its four."""
    return AttentionSharing(n_heads=1) if sharing == "attention" and hidden_layer_sizes[-1] % 4 else sharing


def steady_optimizer(sharing, dtype):
    """Return the name of an optimiser under which float32 keeps its digits.

    Adam divides by gradients near zero and so magnifies the rounding of attention's products, in one epoch to 1e-4 of
    the largest weight in float32.
    """
    return "sgd" if sharing == "attention" and np.dtype(dtype) == np.float32 else "adamw"


def outputs(model, X):
    """Return everything that the model says of X as one list of float arrays, one per task."""
    if isinstance(model, MultiTaskRegressor):
        return list(model.predict(X).reshape(len(X), -1).T)
    proba = model.predict_proba(X)
    return proba if isinstance(proba, list) else [proba]
