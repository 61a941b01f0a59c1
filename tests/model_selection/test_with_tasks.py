"""Model selection over tasks of several kinds."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.model_selection import cross_val_predict as their_cross_val_predict

from skmtl import MultiTaskEstimator, table_pipeline
from skmtl.metrics import make_task_scorer
from skmtl.model_selection import (
    HalvingStackedSearchCV,
    MultiTaskKFold,
    StackedGridSearchCV,
    cross_val_predict,
    search_space,
    sharing_path,
    transfer_gain,
)
from skmtl.tasks import Hierarchy, Multilabel, Survival

N = 120


def table():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(rng.normal(size=(N, 4)), columns=list("abcd"))
    f = X["a"].to_numpy()
    y = pd.DataFrame({"size": f + 0.1 * rng.normal(size=N), "kind": np.where(f > 0, "big", "small")})
    y["days"], y["died"] = rng.exponential(np.exp(-f)), rng.random(N) < 0.7
    y["l1"], y["l2"] = rng.random((2, N)) < 0.5
    y["top"] = np.where(X["b"] > 0, "x", "y")
    y["sub"] = y["top"] + np.where(X["c"] > 0, "1", "2")
    y.loc[:30, "size"], y.loc[20:40, "kind"], y.loc[50:60, "sub"] = np.nan, None, None
    tasks = {
        "size": "regression", "kind": "classification", "death": Survival("days", "died", n_intervals=5),
        "labels": Multilabel(["l1", "l2"]), "topic": Hierarchy("top", "sub"),
    }  # fmt: skip
    small = {"hidden_layer_sizes": (8,), "max_epochs": 4, "n_members": 1, "early_stopping": False, "random_state": 0}
    return X, y, MultiTaskEstimator(tasks, **small)


def test_folds_of_scikit_learn_take_missing_labels():
    X, y, model = table()
    assert np.isfinite(cross_val_score(model, X, y, cv=3, error_score="raise")).all()


def test_the_default_scorer_gives_the_estimators_own_scores():
    X, y, model = table()
    model.fit(X, y)
    own = model.score_tasks(X, y)
    scores = make_task_scorer("default")(model, X, y)
    assert scores == {**own, "average": pytest.approx(model.score(X, y))}
    pipe = table_pipeline(clone(model)).fit(X, y)
    expected = pipe[-1].score_tasks(pipe[:-1].transform(X), y)
    assert make_task_scorer("default").score_tasks(pipe, X, y) == expected
    weight = np.linspace(0.1, 1, N)
    assert make_task_scorer("default").score_tasks(model, X, y, weight) == model.score_tasks(X, y, weight)
    with pytest.raises(TypeError, match="metric='default' asks for score_tasks, which KFold has not"):
        make_task_scorer("default")(KFold(), X, y)


def test_out_of_fold_probabilities_by_task():
    X, y, model = table()
    folds = list(MultiTaskKFold(3, random_state=0).split(X, y))
    proba = cross_val_predict(model, X, y, cv=folds, method="predict_proba")
    for train, test in folds:
        expected = model.fit(X.iloc[train], y.iloc[train]).predict_proba(X.iloc[test])
        for name in ("kind", "labels"):
            np.testing.assert_allclose(proba[name][test], expected[name])
        for mine, theirs in zip(proba["topic"], expected["topic"], strict=True):
            np.testing.assert_allclose(mine[test], theirs)
    mine = cross_val_predict(model, X, y, cv=folds)
    theirs = their_cross_val_predict(model, X, y, cv=folds)
    for own, their in zip(mine.T, theirs.T, strict=True):
        if isinstance(their[0], float):  # of two fits, whose sums are equal up to their order
            np.testing.assert_allclose(own.astype(float), their.astype(float))
        else:
            np.testing.assert_array_equal(own, their)


@pytest.mark.parametrize(
    "grid", [{"lr": [0.001, 0.01]}, {"tasks__death__n_intervals": [3, 5]}, {"tasks__size": ["regression", "gaussian"]}]
)
def test_a_stacked_search_equals_scikit_learns(grid):
    X, y, model = table()
    folds, scorer = MultiTaskKFold(2, random_state=0), make_task_scorer("default")
    mine, theirs = (
        search(model, grid, cv=folds, scoring=scorer, refit="average").fit(X, y).cv_results_
        for search in (StackedGridSearchCV, GridSearchCV)
    )
    for name in ("size", "kind", "death", "labels", "topic", "average"):
        np.testing.assert_allclose(mine[f"mean_test_{name}"], theirs[f"mean_test_{name}"], rtol=1e-4, atol=1e-5)


def test_stacks_of_coxs_model_know_their_baseline():
    X, y, model = table()
    model.set_params(tasks__death__model="cox")
    grid, folds = {"lr": [0.001, 0.01]}, MultiTaskKFold(2, random_state=0)
    mine, theirs = (
        search(model, grid, cv=folds).fit(X, y).cv_results_ for search in (StackedGridSearchCV, GridSearchCV)
    )
    np.testing.assert_allclose(mine["mean_test_score"], theirs["mean_test_score"], rtol=1e-4, atol=1e-5)


def test_halving_space_path_and_gain():
    X, y, model = table()
    search = HalvingStackedSearchCV(model, {"lr": [0.001, 0.01, 0.03]}, cv=2).fit(X, y)
    assert search.best_params_["lr"] in (0.001, 0.01, 0.03)
    assert {name for space in search_space(model) for name in space} <= set(model.get_params())
    gain = transfer_gain(model, X, y, cv=2, n_repeats=1)
    assert gain.task_names == list(model.tasks)
    path = sharing_path(model.set_params(sharing="soft"), X, y, sharing_lambdas=[0.0, 1.0], cv=2)
    assert path.task_names == list(model.tasks)
