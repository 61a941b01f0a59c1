"""An example of every kind of task, with labels that it may have."""

from __future__ import annotations

import numpy as np
import pandas as pd

from skmtl import MultiTaskEstimator
from skmtl.tasks import TASKS, Hierarchy, Survival

N_FEATURES = 5
SMALL = {
    "hidden_layer_sizes": (8,), "lr": 0.01, "batch_size": 16, "max_epochs": 4, "random_state": 0, "n_members": 1,
    "early_stopping": False,
}  # fmt: skip


def _score(rng, X):
    return X @ rng.normal(size=X.shape[1]) + 0.3 * rng.normal(size=len(X))


def _classes(rng, X):
    return {"t": np.array(["low", "mid", "top"])[np.digitize(_score(rng, X), [-0.5, 0.8])]}


def _survival(rng, X):
    time, ends = rng.exponential(np.exp(_score(rng, X))), rng.exponential(2.0, len(X))
    return {"days": np.minimum(time, ends) + 0.01, "died": time < ends}


def _levels(rng, X):
    top = np.where(_score(rng, X) > 0, "x", "y")
    return {"top": top, "sub": np.char.add(top, np.where(_score(rng, X) > 0, "1", "2"))}


def _chain(rng, X):
    click = _score(rng, X) > 0
    return {"click": click * 1.0, "buy": (click & (_score(rng, X) > 0)) * 1.0}


def _censored(rng, X):
    score = _score(rng, X)
    return {"t": np.clip(score, -1, 1), "rel": np.select([score > 1, score < -1], [">", "<"], "=")}


EXAMPLES = {
    "regression": ({}, lambda rng, X: {"t": 10 * _score(rng, X) + 3}),
    "classification": ({}, _classes),
    "count": ({"exposure": "years"}, lambda rng, X: {
        "t": rng.poisson(np.exp(0.8 * _score(rng, X))) * 1.0, "years": rng.uniform(0.5, 2, len(X)),
    }),
    "ordinal": ({"categories": ["low", "mid", "top"]}, _classes),
    "quantile": ({}, lambda rng, X: {"t": 10 * _score(rng, X) + 3}),
    "gaussian": ({}, lambda rng, X: {"t": 10 * _score(rng, X) + 3}),
    "multilabel": ({"columns": ["a", "b"]}, lambda rng, X: {k: (_score(rng, X) > 0) * 1.0 for k in "ab"}),
    "censored": ({"bound": "rel"}, _censored),
    "survival": ({"time": "days", "event": "died", "n_intervals": 5}, _survival),
    "hierarchy": ({"levels": ("top", "sub")}, _levels),
    "chain": ({"levels": ("click", "buy")}, _chain),
}  # fmt: skip
"""For each name in `skmtl.tasks.TASKS`: options, and what draws its columns of y, calling the task "t"."""

OPTIONS = {
    **{name: (TASKS[name], options) for name, (options, _) in EXAMPLES.items()},
    "huber": (TASKS["regression"], {"loss": "huber"}),
    "absolute": (TASKS["regression"], {"loss": "absolute_error"}),
    "one quantile": (TASKS["regression"], {"loss": "quantile", "quantile": 0.8}),
    "smooth": (TASKS["classification"], {"label_smoothing": 0.1, "class_weight": "balanced"}),
    "focal": (TASKS["classification"], {"focal_gamma": 2.0}),
    "cox": (Survival, {"time": "days", "event": "died", "model": "cox"}),
    "efron": (Survival, {"time": "days", "event": "died", "model": "cox", "ties": "efron"}),
    "tree": (Hierarchy, {"levels": ("top", "sub"), "tree": {f"{a}{b}": a for a in "xy" for b in "12"}}),
}
"""The same, and other options."""


def make_task(name: str):
    """Return an unfitted task."""
    cls, options = OPTIONS[name]
    options = dict(options)
    return cls(*options.pop("levels", ()), **options)


def draw_labels(name: str, X: np.ndarray, seed: int = 0, missing: float = 0.2) -> pd.DataFrame:
    """Return columns of y for a task called "t", some rows without labels."""
    draw = next(draw for key, (_, draw) in EXAMPLES.items() if TASKS[key] is OPTIONS[name][0])
    rng = np.random.default_rng(seed)
    labels = pd.DataFrame(draw(rng, X))
    lacks = rng.random(len(X)) < missing
    labels = labels.astype({c: object for c in labels if labels[c].dtype.kind not in "f"})
    labels.loc[lacks] = None
    return labels


def make_table(name: str, n_samples: int = 64, seed: int = 0, missing: float = 0.2):
    """Return X, y with the columns of the task "t" and a number "other", and the tasks."""
    X = np.random.default_rng(seed).normal(size=(n_samples, N_FEATURES))
    y = draw_labels(name, X, seed, missing)
    y["other"] = X[:, 0] - X[:, 1]
    return X, y, {"t": make_task(name), "other": "regression"}


def fit(name: str, sharing: str = "hard", table=None, sample_weight=None, **params):
    """Return a small fitted estimator of the task "t" and another."""
    X, y, tasks = table or make_table(name)
    return MultiTaskEstimator(tasks, sharing, **{**SMALL, **params}).fit(X, y, sample_weight)


def raw(model, X) -> np.ndarray:
    """Return what the network puts out for the task "t": (n_samples, n)."""
    return np.concatenate([part.flatten(1).numpy() for part in model._raw_by_task(model._raw(X))["t"]], axis=1)
