"""Defaults: how much each hyper-parameter matters over several real sets, one changed at a time from a base."""

from __future__ import annotations

import dataclasses
import time
import warnings

import numpy as np
from _bench import ONE_NETWORK
from _data import begin, load, print_table
from scipy.stats import rankdata
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.metrics import make_task_scorer
from skmtl.sharing import ACTIVATIONS

REGRESSION, CLASSIFICATION = ["enb", "jura", "wq", "oes97"], ["emotions", "yeast"]
MORE_REGRESSION, MORE_CLASSIFICATION = ["rf1", "sarcos"], ["sider", "census"]
BASE = {
    "sharing": "hard",
    "hidden_layer_sizes": (64, 64),
    "optimizer": "adam",
    "lr": 1e-3,
    "weight_decay": 0.0,
    "batch_size": 128,
    "max_epochs": 100,
    **ONE_NETWORK,
    "gain": 2.0,  # of relu's initial weights: variance gain / mean(fan_in, fan_out); 2 is He's, 1 is Glorot's
}
CANDIDATES = {
    "base": {},
    "gain 1": {"gain": 1.0},
    "gain 0.5": {"gain": 0.5},
    "hidden (32,)": {"hidden_layer_sizes": (32,)},
    "hidden (100,)": {"hidden_layer_sizes": (100,)},
    "hidden (256,)": {"hidden_layer_sizes": (256,)},
    "hidden (128, 128)": {"hidden_layer_sizes": (128, 128)},
    "lr 3e-3": {"lr": 3e-3},
    "lr 1e-2": {"lr": 1e-2},
    "epochs 50": {"max_epochs": 50},
    "epochs 200": {"max_epochs": 200},
    "batch 32": {"batch_size": 32},
    "batch 64": {"batch_size": 64},
    "decay 1e-4": {"weight_decay": 1e-4},
    "decay 1e-3": {"weight_decay": 1e-3},
    "decay 1e-2": {"weight_decay": 1e-2},
    "dropout 0.2": {"dropout": 0.2},
    "early stopping": {"early_stopping": True},
    "lr 3e-3, decay 3e-2": {"lr": 3e-3, "weight_decay": 3e-2},
    "lr 3e-3, adamw decay 0.5": {"lr": 3e-3, "optimizer": "adamw", "weight_decay": 0.5},  # chosen
    "lr 3e-3, adamw decay 1": {"lr": 3e-3, "optimizer": "adamw", "weight_decay": 1.0},
    "lr 3e-3, adamw decay 0.5, cosine": {
        "lr": 3e-3,
        "optimizer": "adamw",
        "weight_decay": 0.5,
        "lr_schedule": "cosine",
    },
    "lr 1e-2, adamw decay 1, cosine": {
        "lr": 1e-2,
        "optimizer": "adamw",
        "weight_decay": 1.0,
        "lr_schedule": "cosine",
    },
    "gain 1, decay 1e-2": {"gain": 1.0, "weight_decay": 1e-2},
    "gain 1, decay 3e-2": {"gain": 1.0, "weight_decay": 3e-2},
    "gain 1, lr 2e-3, decay 1e-2": {"gain": 1.0, "lr": 2e-3, "weight_decay": 1e-2},
    "gain 1, lr 3e-3, decay 3e-2": {"gain": 1.0, "lr": 3e-3, "weight_decay": 3e-2},
    "gain 1, lr 3e-3, adamw decay 1": {"gain": 1.0, "lr": 3e-3, "optimizer": "adamw", "weight_decay": 1.0},
    "gain 1, (100,), decay 1e-2": {"gain": 1.0, "hidden_layer_sizes": (100,), "weight_decay": 1e-2},
    "gain 1, (256,), decay 1e-2": {"gain": 1.0, "hidden_layer_sizes": (256,), "weight_decay": 1e-2},
    "gain 1, (128, 128), decay 1e-2": {"gain": 1.0, "hidden_layer_sizes": (128, 128), "weight_decay": 1e-2},
} | {
    f"{name}, gain 1, decay 1e-2": {"gain": 1.0, "weight_decay": 1e-2, "sharing": name.split()[0]} | more
    for name, more in {
        "independent": {},
        "attention": {},
        **{f"soft λ {lam:g}": {"sharing_lambda": lam} for lam in (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)},
    }.items()
}
PROTOCOL = """Protocol: {folds} shuffled folds, at most {rows} rows of a set; features standardised on training rows.
Score: mean over tasks of 1 - relative RMSE (regression) or ROC-AUC (classification); greater is better.
Rank: among the candidates, 1 is best, mean over sets. Gain: score minus that of the base, mean over sets.
Base: {base}; each candidate changes what its name says.
"""


def read(name, n_rows):
    """Return at most n_rows shuffled rows."""
    X, y, _ = load(name)
    rows = np.random.RandomState(0).permutation(len(X))[:n_rows]
    return X[rows].astype(np.float32), y[rows]


def score(name, candidate, table, n_folds):
    """Return the mean score over folds."""
    regression = name in REGRESSION + MORE_REGRESSION
    make, metric = (MultiTaskRegressor, "rrmse") if regression else (MultiTaskClassifier, "roc_auc")
    X, y = table
    parameters = BASE | CANDIDATES[candidate]
    ACTIVATIONS["relu"] = dataclasses.replace(ACTIVATIONS["relu"], gain=parameters.pop("gain"))
    scores = []
    for train, test in KFold(n_folds, shuffle=True, random_state=0).split(X):
        network = make(**parameters, random_state=0)
        model = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), network).fit(X[train], y[train])
        scores.append(make_task_scorer(metric)(model, X[test], y[test])["average"] + regression)
    return float(np.mean(scores))


def report(scores, names, seconds):
    """Print the table: candidates by rows, sets by columns, best mean rank first."""
    scores = np.array(scores).T  # (candidate, set)
    rank = np.mean([rankdata(-column) for column in scores.T], 0)
    gain = (scores - scores[0]).mean(1)
    rows = [
        [candidate, f"{rank[k]:.1f}", f"{gain[k]:+.4f}", f"{seconds[candidate]:.1f}", *(f"{s:.4f}" for s in scores[k])]
        for k, candidate in enumerate(CANDIDATES)
    ]
    print_table(["candidate", "rank", "gain", "seconds", *names], sorted(rows, key=lambda row: float(row[1])))


def main():
    """Measure and print."""
    full = begin("Defaults over several real sets")
    n_folds, n_rows = (5, 4000) if full else (3, 1000)
    print(PROTOCOL.format(folds=n_folds, rows=n_rows, base=BASE))
    names = REGRESSION + CLASSIFICATION + (MORE_REGRESSION + MORE_CLASSIFICATION if full else [])
    scores, seconds = [], dict.fromkeys(CANDIDATES, 0.0)
    for name in names:
        table = read(name, n_rows)
        scores.append([])
        for candidate in CANDIDATES:
            start = time.perf_counter()
            scores[-1].append(score(name, candidate, table, n_folds))
            seconds[candidate] += time.perf_counter() - start
        print(f"{name}: {table[0].shape[0]} rows, {table[0].shape[1]} features, {table[1].shape[1]} tasks", flush=True)
    print()
    report(scores, names, seconds)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
