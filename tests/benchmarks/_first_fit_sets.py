"""The tables of `first_fit.py`: which sets, of what kind, with which training and test rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from _data import load
from sklearn import datasets

CHOICE = [
    *("breast_cancer", "census", "diabetes", "emotions", "flchain", "hillstrom", "jura", "medical", "news20"),
    *("office_caltech", "sarcos", "sider", "tox21", "ud_ewt", "wq"),
]
REPORT = [
    *("cal500", "computer_survey", "digits", "enb", "heart_sites", "iris", "linnerud", "multimnist", "oes97", "rf1"),
    *("school", "snips", "toxcast", "wine", "yeast"),
]
SHIPPED = {"breast_cancer", "diabetes", "digits", "iris", "linnerud", "wine"}  # with scikit-learn
MAX_TRAIN, MAX_TEST, N_FOLDS = 2_500, 5_000, 3
NOTES = """Sets with tasks of several kinds: the columns of the commonest kind. computer_survey, heart_sites,
office_caltech, school: the domain is one more category. toxcast: the 100 tasks of most labels. snips: bags of the 1,000
commonest words. ud_ewt: tokens as rows, its columns as categories. multimnist: pixels as numbers."""


@dataclass
class Table:
    """X as a frame whose categories are strings, y (rows, tasks), whether tasks are numbers, and the file's split."""

    X: pd.DataFrame
    y: np.ndarray
    is_regression: bool
    split: np.ndarray | None


def read(name: str) -> Table:
    """Return a set as one table."""
    if name in SHIPPED:
        bunch = getattr(datasets, f"load_{name}")()
        y = bunch.target.reshape(len(bunch.data), -1).astype(float)
        return Table(pd.DataFrame(bunch.data).rename(columns=str), y, name in ("diabetes", "linnerud"), None)
    X, y, meta = load(name)
    are_numbers = np.array([kind == "regression" for kind in meta["task_types"]])
    is_regression = bool(are_numbers.mean() > 0.5)
    y = y[:, are_numbers == is_regression]
    if name == "toxcast":
        y = y[:, np.sort(np.argsort(-(~np.isnan(y)).sum(axis=0), kind="stable")[:100])]
    return Table(_features(name, X, meta), y, is_regression, meta.get("split"))


def _features(name: str, X: np.ndarray, meta: dict) -> pd.DataFrame:
    if name == "snips":
        words = pd.Series(X.ravel()).value_counts().drop([0, 1], errors="ignore").index[:1000]  # without padding
        X = np.column_stack([(word == X).sum(axis=1) for word in words])
        return pd.DataFrame(X.astype(np.float32)).rename(columns=str)
    frame = pd.DataFrame(X.astype(np.float32)).rename(columns=str)
    names = [str(column) for column in meta.get("feature_names", [])]
    nominal = meta.get("nominal_features", [])
    nominal = range(X.shape[1]) if name == "ud_ewt" else [names.index(c) if isinstance(c, str) else c for c in nominal]
    for column in nominal:
        frame[str(column)] = frame[str(column)].astype(str)
    if name in ("computer_survey", "heart_sites", "office_caltech", "school"):
        frame["domain"] = np.char.add("domain ", meta["domain"].astype(str))
    return frame


def folds(table: Table, seed: int, n_folds: int):
    """Yield training and test rows: the split of the file where it has one, else shuffled folds."""
    rng = np.random.RandomState(seed)
    if table.split is not None:
        parts = [(np.flatnonzero(table.split < 2), np.flatnonzero(table.split == 2))]
    else:
        places = rng.permutation(len(table.y))
        parts = [(np.delete(places, slice(k, None, N_FOLDS)), places[k::N_FOLDS]) for k in range(n_folds)]
    for train, test in parts:
        train = train[~np.isnan(table.y[train]).all(axis=1)]
        yield rng.permutation(train)[:MAX_TRAIN], rng.permutation(test)[:MAX_TEST]


def judged(table: Table, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return the tasks that can be scored: two values at least in both parts, and no class that training lacks."""
    keep = []
    for labels, labels_test in zip(table.y[train].T, table.y[test].T, strict=True):
        seen, seen_test = (set(values[~np.isnan(values)]) for values in (labels, labels_test))
        keep.append(min(len(seen), len(seen_test)) > 1 and (table.is_regression or seen_test <= seen))
    return np.flatnonzero(keep)
