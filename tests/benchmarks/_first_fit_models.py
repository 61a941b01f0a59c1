"""The models of `first_fit.py`: ours and its peers, each a function of tables that returns predictions.

Predictions are (rows, tasks) numbers, or a list of (rows, classes) probabilities with the classes of each task.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, RidgeCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import OrdinalEncoder

from skmtl import MultiTaskClassifier, MultiTaskRegressor, table_pipeline
from skmtl.metrics import make_task_scorer
from skmtl.model_selection import (
    MultiTaskKFold,
    StackedRandomizedSearchCV,
    best_mean_rank,
    search_space,
)
from skmtl.preprocessing import TableEncoder

MAX_FITS = {"catboost": 20, "realmlp": 8}  # of one fold; sets that need more are left out of a model's row
MAX_ROWS = {"realmlp": 1_500}
BUDGETS = """skmtl     MultiTaskRegressor() or MultiTaskClassifier() as they are, behind table_pipeline.
search    StackedRandomizedSearchCV over search_space, 20 candidates of one network by 3 folds, refit=best_mean_rank,
          refit_params n_members=10; behind table_pipeline.
linear    per task RidgeCV over 13 penalties, or LogisticRegressionCV over 4 by 3 folds; the encoded table.
forest    200 trees, for all tasks together where labels are complete, else per task; the plain table, medians, codes.
lightgbm  defaults, one thread, per task; the plain table with missing values and codes.
catboost  defaults, but 300 iterations and one thread; MultiRMSE, MultiLogloss or MultiClass where it has them, else per
          task; sets that would take more than 20 fits in a fold are left out.
mlp       MLPRegressor or MLPClassifier with defaults, all tasks together where it can; the encoded table.
realmlp   RealMLP-TD per task, one thread; sets of at most 8 tasks and 1,500 training rows; the encoded table.
"""


@dataclass
class Tables:
    """Training rows, labels (rows, tasks) with NaN, test rows, the seed."""

    X: pd.DataFrame
    y: np.ndarray
    X_test: pd.DataFrame
    is_regression: bool
    seed: int

    def encoded(self) -> tuple[np.ndarray, np.ndarray]:
        """Return both parts as `table_pipeline` encodes them."""
        encoder = TableEncoder().fit(self.X)
        return encoder.transform(self.X), encoder.transform(self.X_test)

    def plain(self, fill: bool) -> tuple[np.ndarray, np.ndarray]:
        """Return both parts with codes for categories, and medians where that is asked for."""
        text = [name for name, dtype in self.X.dtypes.items() if dtype.kind not in "fiub"]
        parts = [self.X.copy(), self.X_test.copy()]
        if text:
            codes = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1).fit(self.X[text])
            for part in parts:
                part[text] = codes.transform(part[text])
        median = parts[0].astype(float).median()
        return tuple((part.fillna(median) if fill else part).to_numpy(np.float32) for part in parts)


def fit_skmtl(tables: Tables, **params):
    """Return predictions of our estimator."""
    make = MultiTaskRegressor if tables.is_regression else MultiTaskClassifier
    return _said(table_pipeline(make(random_state=tables.seed, **params)).fit(tables.X, tables.y), tables)


def fit_search(tables: Tables):
    """Return predictions of what the shipped search finds."""
    make = MultiTaskRegressor if tables.is_regression else MultiTaskClassifier
    model = table_pipeline(make(n_members=1, random_state=tables.seed))
    search = StackedRandomizedSearchCV(
        model,
        search_space(model),
        n_iter=20,
        scoring=make_task_scorer("r2" if tables.is_regression else "roc_auc"),
        cv=MultiTaskKFold(3, random_state=tables.seed),
        refit=best_mean_rank,
        refit_params={"model__n_members": 10},
        random_state=tables.seed,
    )
    return _said(search.fit(tables.X, tables.y).best_estimator_, tables)


def _said(model, tables: Tables):
    if tables.is_regression:
        return model.predict(tables.X_test).reshape(len(tables.X_test), -1)
    return list(zip(model.predict_proba(tables.X_test), model.classes_, strict=True))


def _per_task(make: Callable, X, y: np.ndarray, X_test, is_regression: bool):
    """Return predictions of a model for each task, fitted on its labelled rows."""
    said = []
    for labels in y.T:
        seen = ~np.isnan(labels)
        model = make(labels[seen]).fit(X[seen], labels[seen])
        said.append(np.ravel(model.predict(X_test)) if is_regression else (model.predict_proba(X_test), model.classes_))
    return np.column_stack(said) if is_regression else said


def _together(model, X, y: np.ndarray, X_test, is_regression: bool):
    """Return predictions of a model that learns all tasks at once from complete labels."""
    model.fit(X, y[:, 0] if y.shape[1] == 1 else y)
    if is_regression:
        return model.predict(X_test).reshape(len(X_test), -1)
    proba, classes = model.predict_proba(X_test), model.classes_
    return [(proba, classes)] if y.shape[1] == 1 else list(zip(proba, classes, strict=True))


def fit_linear(tables: Tables):
    """Return predictions of tuned linear models."""
    X, X_test = tables.encoded()
    make = (lambda _: RidgeCV(np.logspace(-2, 4, 13))) if tables.is_regression else _logistic
    return _per_task(make, X.astype(float), tables.y, X_test.astype(float), tables.is_regression)


def _logistic(labels: np.ndarray):
    rarest, n_classes = int(np.unique(labels, return_counts=True)[1].min()), len(np.unique(labels))
    solver = {"solver": "liblinear"} if n_classes == 2 else {"solver": "lbfgs", "max_iter": 300}
    if rarest < 2:
        return LogisticRegression(C=0.1, **solver)
    scoring = "roc_auc" if n_classes == 2 else "roc_auc_ovr"
    return LogisticRegressionCV(Cs=[1e-2, 1e-1, 1.0, 10.0], cv=min(3, rarest), scoring=scoring, **solver)


def fit_forest(tables: Tables):
    """Return predictions of random forests."""
    X, X_test = tables.plain(fill=True)
    make = RandomForestRegressor if tables.is_regression else RandomForestClassifier
    own = {"n_estimators": 200, "n_jobs": 1, "random_state": tables.seed}
    if np.isnan(tables.y).any():
        return _per_task(lambda _: make(**own), X, tables.y, X_test, tables.is_regression)
    return _together(make(**own), X, tables.y, X_test, tables.is_regression)


def fit_lightgbm(tables: Tables):
    """Return predictions of LightGBM."""
    from lightgbm import LGBMClassifier, LGBMRegressor

    X, X_test = tables.plain(fill=False)
    make = LGBMRegressor if tables.is_regression else LGBMClassifier
    own = {"n_jobs": 1, "verbose": -1, "random_state": tables.seed}
    return _per_task(lambda _: make(**own), X, tables.y, X_test, tables.is_regression)


def fit_catboost(tables: Tables):
    """Return predictions of CatBoost."""
    from catboost import CatBoostClassifier, CatBoostRegressor

    X, X_test = tables.plain(fill=False)
    own = {"iterations": 300, "thread_count": 1, "random_seed": tables.seed, "verbose": False}
    own["allow_writing_files"] = False
    is_complete, several = not np.isnan(tables.y).any(), tables.y.shape[1] > 1
    if tables.is_regression and is_complete and several:
        return CatBoostRegressor(loss_function="MultiRMSE", **own).fit(X, tables.y).predict(X_test)
    if is_complete and several and np.isin(tables.y, (0, 1)).all():
        model = CatBoostClassifier(loss_function="MultiLogloss", **own).fit(X, tables.y.astype(int))
        return [(np.column_stack([1 - p, p]), np.array([0.0, 1.0])) for p in model.predict_proba(X_test).T]
    make = CatBoostRegressor if tables.is_regression else CatBoostClassifier
    return _per_task(lambda _: make(**own), X, tables.y, X_test, tables.is_regression)


def fit_mlp(tables: Tables):
    """Return predictions of scikit-learn's networks."""
    X, X_test = tables.encoded()
    make = MLPRegressor if tables.is_regression else MLPClassifier
    own = {"random_state": tables.seed}
    is_complete, several = not np.isnan(tables.y).any(), tables.y.shape[1] > 1
    if tables.is_regression and is_complete:
        mean, scale = tables.y.mean(axis=0), tables.y.std(axis=0)
        said = make(**own).fit(X, np.squeeze((tables.y - mean) / scale, axis=() if several else 1)).predict(X_test)
        return said.reshape(len(X_test), -1) * scale + mean
    if is_complete and several and np.isin(tables.y, (0, 1)).all():
        proba = make(**own).fit(X, tables.y.astype(int)).predict_proba(X_test)
        return [(np.column_stack([1 - p, p]), np.array([0.0, 1.0])) for p in proba.T]
    return _per_task(lambda _: make(**own), X, tables.y, X_test, tables.is_regression)


def fit_realmlp(tables: Tables):
    """Return predictions of RealMLP-TD."""
    from pytabkit import RealMLP_TD_Classifier, RealMLP_TD_Regressor

    X, X_test = tables.encoded()
    make = RealMLP_TD_Regressor if tables.is_regression else RealMLP_TD_Classifier
    own = {"device": "cpu", "n_threads": 1, "random_state": tables.seed}
    return _per_task(lambda _: make(**own), X, tables.y, X_test, tables.is_regression)


MODELS = {
    "skmtl": fit_skmtl,
    "search": fit_search,
    "linear": fit_linear,
    "forest": fit_forest,
    "lightgbm": fit_lightgbm,
    "catboost": fit_catboost,
    "mlp": fit_mlp,
    "realmlp": fit_realmlp,
}
NEEDS = {"lightgbm": "lightgbm", "catboost": "catboost", "realmlp": "pytabkit"}


def is_installed(model: str) -> bool:
    """Return whether a model can be fitted here."""
    return model not in NEEDS or importlib.util.find_spec(NEEDS[model]) is not None


def is_within_budget(model: str, tables: Tables) -> bool:
    """Return whether a model is fitted on tables of this size."""
    fits, y = tables.y.shape[1], tables.y
    if model == "catboost" and not np.isnan(y).any() and (tables.is_regression or np.isin(y, (0, 1)).all()):
        fits = 1
    return fits <= MAX_FITS.get(model, fits) and len(y) <= MAX_ROWS.get(model, len(y))
