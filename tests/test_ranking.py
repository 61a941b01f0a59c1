"""Recall and NDCG of the first k rows of each user, and their scorer."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import ndcg_score
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline

from skmtl import MultiTaskClassifier, MultiTaskEstimator, TaskView
from skmtl.encoders import Embeddings
from skmtl.metrics import make_ranking_scorer, ndcg_at_k, recall_at_k
from skmtl.model_selection import StackedGridSearchCV
from skmtl.tasks import Chain, Classification
from tests.test_negatives import SMALL, clicks


def draws(seed: int, values, n: int = 300):
    rng = np.random.default_rng(seed)
    y, score = rng.choice(values, n), rng.integers(0, 8, n) / 8
    return y * 1.0, score, rng.integers(0, 25, n)


def test_a_case_by_hand():
    #        user a: order 2, 0, 1, 3        user b: order 4, 5       user c: nothing positive
    y = [1, 0, 0, 1, 1, 0, 0, 0]
    score = [0.6, 0.5, 0.9, 0.1, 0.8, 0.2, 0.3, 0.4]
    users = ["a", "a", "a", "a", "b", "b", "c", "c"]
    assert recall_at_k(y, score, users, k=2) == pytest.approx((1 / 2 + 1) / 2)
    assert recall_at_k(y, score, users, k=4) == 1.0
    ideal = 1 + 1 / np.log2(3)
    assert ndcg_at_k(y, score, users, k=2) == pytest.approx((1 / np.log2(3) / ideal + 1) / 2)
    assert ndcg_at_k(y, score, users, k=4) == pytest.approx(((1 / np.log2(3) + 1 / np.log2(5)) / ideal + 1) / 2)


def test_equal_scores_share_their_ranks():
    assert recall_at_k([1, 0, 0, 0], [5, 5, 5, 5], [1, 1, 1, 1], k=1) == 0.25
    assert ndcg_at_k([0, 1], [2, 2], [1, 1], k=2) == pytest.approx((1 + 1 / np.log2(3)) / 2)


@pytest.mark.parametrize("k", [1, 3, 10, 100])
@pytest.mark.parametrize("values", [[0, 1], [0, 1, 2, 5]])
def test_ndcg_is_that_of_sklearn_for_each_user(k, values):
    y, score, users = draws(k, values)
    each = [
        ndcg_score([y[users == u]], [score[users == u]], k=k)
        for u in np.unique(users)
        if y[users == u].any() and (users == u).sum() > 1
    ]
    alone = [u for u in np.unique(users) if (users == u).sum() == 1]
    keep = ~np.isin(users, alone)
    assert ndcg_at_k(y[keep], score[keep], users[keep], k=k) == pytest.approx(np.mean(each))


@pytest.mark.parametrize("k", [1, 4])
def test_recall_is_the_mean_over_orders_of_equal_scores(k):
    y, score, users = draws(k, [0, 1])
    rng, found = np.random.default_rng(0), []
    for _ in range(400):
        order = np.lexsort((rng.random(len(y)), -score))
        hits = [
            y[order][users[order] == u][:k].sum() / y[users == u].sum() for u in np.unique(users) if y[users == u].any()
        ]
        found.append(np.mean(hits))
    assert recall_at_k(y, score, users, k=k) == pytest.approx(np.mean(found), abs=0.01)


def test_rows_without_a_label_and_users_without_a_positive_one_are_left_out():
    assert recall_at_k([1, np.nan, 0, 0], [1, 2, 3, 4], [1, 1, 2, 2], k=1) == 1.0
    assert np.isnan(recall_at_k([0, 0], [1, 2], [1, 1]))
    assert np.isnan(ndcg_at_k([0, np.nan], [1, 2], [1, 1]))
    assert np.isnan(ndcg_at_k([], [], []))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1], [1], [1], 0), "k must be a whole number >= 1"),
        (([[1]], [1], [1], 1), "y_true must have shape"),
        (([1], [np.nan], [1], 1), "y_score must hold a number"),
        (([-1.0], [1], [1], 1), "NDCG needs gains >= 0. Found -1"),
        (([1, 0], [1], [1], 1), "inconsistent numbers of samples"),
    ],
)
def test_what_cannot_be_ranked_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ndcg_at_k(*arguments)


# ---- the scorer -----------------------------------------------------------------------------------------------------


def model(**params) -> MultiTaskEstimator:
    tasks = {"click": Classification(negatives=1), "stars": "regression"}
    return MultiTaskEstimator(tasks, encoder=Embeddings(["user", "item"], dim=3), **{**SMALL, **params})


def shop():
    X, y = clicks(150)
    y["click"] = (np.random.default_rng(1).random(150) < 0.6) * 1.0
    return X, y


@pytest.mark.parametrize(("metric", "function"), [("ndcg", ndcg_at_k), ("recall", recall_at_k)])
def test_it_scores_rows_by_user(metric, function):
    X, y = shop()
    y.loc[::7, "click"] = np.nan
    est = model().fit(X, y)
    expected = function(y["click"], est.predict_proba(X)["click"][:, 1], X["user"], k=3)
    scorer = make_ranking_scorer("click", user="user", k=3, metric=metric)
    for one in (scorer, pickle.loads(pickle.dumps(scorer)), make_ranking_scorer(0, user=1, k=3, metric=metric)):
        assert one(est, X, y) == pytest.approx(expected)
    assert scorer(make_pipeline("passthrough", est), X, y) == pytest.approx(expected)
    stars = make_ranking_scorer("stars", user="user", k=3, metric="recall")
    positive = np.where(y["stars"].isna(), np.nan, y["stars"] > 0)
    assert stars(est, X, y) == pytest.approx(recall_at_k(positive, est.task("stars").predict(X), X["user"], k=3))


def test_it_scores_classes_of_other_estimators_and_chains():
    X, y = shop()
    label = np.where(y["click"] == 1, "yes", "no")
    table = X[["user", "item"]].to_numpy()
    est = MultiTaskClassifier(encoder=Embeddings(dim=3), **SMALL).fit(table, np.stack([label, label], axis=1))
    expected = ndcg_at_k(y["click"], est.predict_proba(table)[1][:, 1], X["user"], k=4)
    assert make_ranking_scorer(1, user=0, k=4)(est, table, np.stack([label, label], axis=1)) == pytest.approx(expected)
    y = pd.DataFrame({"click": y["click"], "buy": y["click"] * (np.arange(150) % 2)})
    est = MultiTaskEstimator({"funnel": Chain("click", "buy")}, encoder=Embeddings(dim=3), **SMALL).fit(table, y)
    expected = ndcg_at_k(y["buy"], est.predict_proba(table)["funnel"][:, 1], X["user"], k=4)
    assert make_ranking_scorer("funnel", user=0, k=4)(est, table, y) == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["ndcg", "recall"])
def test_it_ranks_all_items_where_y_holds_positive_labels_alone(metric):
    X, y = clicks(150)
    cut = 110
    est = model(max_epochs=20).fit(X[:cut], y[:cut])
    view, k, found = TaskView(est, "click"), 3, []
    for user in X["user"][cut:].unique():
        wanted = set(X["item"][cut:][X["user"][cut:] == user])
        listed = view.recommend(user, k)["item"].tolist()
        hit = np.array([item in wanted for item in listed])
        discount = 1 / np.log2(np.arange(k) + 2)
        best = discount[: len(wanted)].sum()
        found.append(hit.sum() / len(wanted) if metric == "recall" else (hit * discount[: len(hit)]).sum() / best)
    scorer = make_ranking_scorer("click", user="user", k=k, metric=metric, candidates="items")
    assert scorer(est, X[cut:], y[cut:]) == pytest.approx(np.mean(found))
    assert 0 < np.mean(found) < 1


def test_searches_and_cross_validation_take_it():
    X, y = shop()
    cv = KFold(3, shuffle=True, random_state=0)
    scoring = {"rows": make_ranking_scorer("click", user="user", k=2),
               "items": make_ranking_scorer("click", user="user", k=2, candidates="items")}  # fmt: skip
    found = cross_validate(model(), X, y, cv=cv, scoring=scoring, error_score="raise")
    assert np.isfinite([*found["test_rows"], *found["test_items"]]).all()
    grid = {"tasks__click__negatives": [1, 2], "lr": [0.003, 0.03]}
    for scorer in scoring.values():
        known = {"cv": cv, "scoring": scorer, "error_score": "raise"}
        one, other = (search(model(), grid, **known).fit(X, y) for search in (GridSearchCV, StackedGridSearchCV))
        np.testing.assert_allclose(one.cv_results_["mean_test_score"], other.cv_results_["mean_test_score"], rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "map"}, "Unknown metric 'map'. Known: 'ndcg', 'recall'"),
        ({"candidates": "all"}, "candidates must be 'rows' or 'items'"),
        ({"k": 0}, "k must be a whole number"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(ValueError, match=message):
        make_ranking_scorer("click", user="user", **options)


def test_what_cannot_be_scored_is_refused():
    X, y = shop()
    est = model().fit(X, y)
    with pytest.raises(ValueError, match="X has no column 'who'"):
        make_ranking_scorer("click", user="who")(est, X, y)
    with pytest.raises(ValueError, match="no task 'clack'"):
        make_ranking_scorer("clack", user="user")(est, X, y)
    with pytest.raises(ValueError, match="X has no names of columns"):
        make_ranking_scorer("click", user="user")(est, X.to_numpy(), y)
    y["click"] = np.arange(len(X)) % 3
    with pytest.raises(ValueError, match="Task 'click': a ranking needs two classes, or numbers. Found 3 classes"):
        make_ranking_scorer("click", user="user")(model().set_params(tasks__click="classification").fit(X, y), X, y)
    forest = RandomForestClassifier(2).fit(X, y["click"])
    with pytest.raises(TypeError, match="scores estimators of this package. Found RandomForestClassifier"):
        make_ranking_scorer(0, user="user")(forest, X, y["click"])
