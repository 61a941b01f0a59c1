"""`TaskView.recommend`: the items that `predict` puts first, without those that were seen."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor, TaskView, _recommend, records
from skmtl._factors import Factors
from skmtl.encoders import ConvEncoder, Embeddings
from skmtl.tasks import Chain, Classification, Regression
from tests.test_negatives import N_ITEMS, SMALL, clicks

TASKS = {"click": Classification(negatives=2), "stars": "regression"}
LINEAR = {**SMALL, "hidden_layer_sizes": ()}


def fitted(tasks=None, encoder=None, X=None, y=None, **params) -> MultiTaskEstimator:
    rows, labels = clicks()
    X, y = rows if X is None else X, labels if y is None else y
    encoder = encoder or Embeddings(["user", "item"], dim=3)
    return MultiTaskEstimator(tasks or TASKS, encoder=encoder, **{**SMALL, **params}).fit(X, y)


def every_row(users) -> pd.DataFrame:
    """Return a row of X for each user and item of `clicks`, at the mean hour."""
    X = clicks()[0]
    user, item = np.repeat(users, N_ITEMS), np.tile(np.arange(N_ITEMS), len(users))
    table = {"age": 20.0 + user, "user": user, "price": 100.0 + item, "item": item, "hour": X["hour"].mean()}
    return pd.DataFrame(table)


def best(rows: pd.DataFrame, score: np.ndarray, k: int, exclude_seen: bool) -> pd.DataFrame:
    """Return the best rows of each user by a plain loop."""
    seen = set(map(tuple, clicks()[0][["user", "item"]].to_numpy().tolist())) if exclude_seen else set()
    found = []
    for user in dict.fromkeys(rows["user"]):
        own = [(-s, i) for u, i, s in zip(rows["user"], rows["item"], score, strict=True) if u == user]
        own = [(user, i, -s) for s, i in sorted(own) if (user, i) not in seen][:k]
        found += own
    return pd.DataFrame(found, columns=["user", "item", "score"])


@pytest.mark.parametrize("exclude_seen", [True, False])
@pytest.mark.parametrize("n_members", [1, 3])
@pytest.mark.parametrize(
    "params",
    [
        {"hidden_layer_sizes": ()},
        {"hidden_layer_sizes": (4,)},
        {"hidden_layer_sizes": (), "head_layer_sizes": (4,)},
        {"hidden_layer_sizes": (), "sharing": "independent"},
        {"sharing": "attention"},
        {"hidden_layer_sizes": (), "dtype": "float32"},
    ],
    ids=str,
)
def test_the_best_items_are_those_of_predict(params, n_members, exclude_seen):
    model = fitted(n_members=n_members, **params)
    users = [7, 2, 9]
    rows = every_row(users)
    scores = {"click": model.predict_proba(rows)["click"][:, 1], "stars": model.task("stars").predict(rows)}
    for task, score in scores.items():
        found = model.task(task).recommend(users, 4, exclude_seen)
        expected = best(rows, score, 4, exclude_seen)
        np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-5, atol=1e-6)
        pd.testing.assert_frame_equal(found[["user", "item"]], expected[["user", "item"]])


@pytest.mark.parametrize(
    ("encoder", "ids"),
    [
        (Embeddings(["user", "item"], dim=3), []),
        (Embeddings(["user", "item"], dim=3, product=False), []),
        (Embeddings(["item", "kind", "user", "town", "day"], dim=2), ["kind", "town", "day"]),
        (Embeddings(["user", "item", "town", "kind"], dim=2), ["kind", "town"]),
    ],
)
def test_the_matrix_product_gives_what_the_network_gives(encoder, ids, monkeypatch):
    X, y = clicks(90)
    others = pd.DataFrame({"kind": X["item"] % 4, "town": X["user"] % 3, "day": np.arange(90) % 5}, index=X.index)
    X = X.join(others[ids])
    model = fitted(encoder=encoder, X=X, y=y, n_members=2, max_epochs=20, hidden_layer_sizes=())
    if encoder.columns[0] == "item":
        model = fitted(encoder=encoder.set_params(columns=["user", *encoder.columns[1:2], "item", "town", "day"]),
                       X=X, y=y, n_members=2, max_epochs=20, hidden_layer_sizes=())  # fmt: skip
    monkeypatch.setattr(_recommend, "is_linear", lambda network: True)
    one = [model.task(name).recommend(range(12), N_ITEMS, False) for name in TASKS]
    monkeypatch.setattr(_recommend, "is_linear", lambda network: False)
    other = [model.task(name).recommend(range(12), N_ITEMS, False) for name in TASKS]
    for a, b in zip(one, other, strict=True):
        pd.testing.assert_frame_equal(a, b, rtol=1e-9)


def test_a_linear_network_takes_one_matrix_product_for_all_items(monkeypatch):
    calls = []
    raw = Factors.raw
    monkeypatch.setattr(Factors, "raw", lambda self, users: calls.append(len(users)) or raw(self, users))
    model = fitted(**LINEAR)
    monkeypatch.setattr(model.network_, "forward", None)
    model.task("click").recommend(range(12))
    assert calls == [12]
    monkeypatch.setattr(_recommend, "SCORES", 5 * len(model._catalogue.items))
    model.task("click").recommend(range(12))
    assert calls[1:] == [5, 5, 2]


@pytest.mark.parametrize("rows", [1, 40, 10**6])
def test_batches_do_not_matter(rows, monkeypatch):
    model = fitted()
    whole = model.task("click").recommend(range(12))
    monkeypatch.setattr(_recommend, "ROWS", rows)
    pd.testing.assert_frame_equal(model.task("click").recommend(range(12)), whole, rtol=1e-12)


def test_other_estimators_recommend_too():
    X, y = clicks()
    rows = every_row([3])
    encoder = Embeddings(["user", "item"], dim=3)
    label = np.where(np.arange(len(X)) % 3 == 0, "no", "yes")
    classifier = MultiTaskClassifier(encoder=encoder, **SMALL).fit(X, np.stack([label, label], 1))
    score = classifier.predict_proba(rows)[1][:, 1]
    found = TaskView(classifier, 1).recommend(3, 5)
    pd.testing.assert_frame_equal(found, best(rows, score, 5, True), rtol=1e-5)
    regressor = MultiTaskRegressor(encoder=encoder, **LINEAR, target_transform=None).fit(X, y["stars"].fillna(0.0))
    found = TaskView(regressor, 0).recommend(3, 5)
    pd.testing.assert_frame_equal(found, best(rows, regressor.predict(rows), 5, True), rtol=1e-5)


def test_a_chain_ranks_by_its_last_event():
    X, _ = clicks()
    y = pd.DataFrame({"click": 1.0, "buy": (np.arange(len(X)) % 3 == 0) * 1.0})
    for sizes in ((), (4,)):
        model = fitted({"funnel": Chain("click", "buy", negatives=1)}, X=X, y=y, hidden_layer_sizes=sizes)
        rows = every_row([3])
        score = model.predict_proba(rows)["funnel"][:, 1]
        pd.testing.assert_frame_equal(model.task(0).recommend(3, 5), best(rows, score, 5, True), rtol=1e-5)


def test_somebody_new_gets_what_anybody_likes_or_what_other_columns_say():
    X, _ = clicks()
    model = fitted()
    anybody = model.task("click").recommend("nobody", 3)
    assert anybody["user"].tolist() == ["nobody"] * 3
    rows = every_row([99]).assign(age=X["age"].mean())
    pd.testing.assert_frame_equal(
        model.task("click").recommend(99, 3), best(rows, model.predict_proba(rows)["click"][:, 1], 3, True), rtol=1e-5
    )
    both = model.task("click").recommend([3, "nobody"], 3)
    pd.testing.assert_frame_equal(both[:3], model.task("click").recommend(3, 3), check_dtype=False)
    young = pd.DataFrame({"user": [99], "age": [21.0], "hour": [0.5]})
    rows = every_row([99]).assign(age=21.0, hour=0.5)
    pd.testing.assert_frame_equal(
        model.task("click").recommend(young, 3),
        best(rows, model.predict_proba(rows)["click"][:, 1], 3, True),
        rtol=1e-5,
    )


def test_there_are_fewer_where_a_user_has_seen_the_rest():
    X = pd.DataFrame({"user": [1, 1, 1, 2], "item": ["a", "b", "c", "a"]})
    y = pd.DataFrame({"stars": [1.0, 2.0, 3.0, 1.0]})
    model = fitted({"stars": "regression"}, X=X, y=y)
    assert model.task(0).recommend([1, 2])["user"].tolist() == [2, 2]
    assert len(model.task(0).recommend([1, 2], exclude_seen=False)) == 6
    assert len(model.task(0).recommend([])) == 0
    assert model.task(0).recommend(1).columns.tolist() == ["user", "item", "score"]


def test_rows_of_weight_zero_were_not_seen():
    X, y = clicks()
    weight = np.ones(len(X))
    weight[:10] = 0
    model = MultiTaskEstimator(TASKS, encoder=Embeddings(["user", "item"], dim=3), **SMALL)
    model.fit(X, y, sample_weight=weight)
    known = set(map(tuple, model.task(0).recommend(range(12), N_ITEMS)[["user", "item"]].to_numpy().tolist()))
    assert set(map(tuple, X[["user", "item"]][:10].to_numpy().tolist())) & known
    assert not set(map(tuple, X[["user", "item"]][10:].to_numpy().tolist())) & known


def test_columns_without_names_and_fields_of_records():
    X, y = clicks()
    pairs = X[["user", "item"]].to_numpy()
    model = fitted(encoder=Embeddings(dim=3), X=pairs, y=y)
    assert model.task("click").recommend(3, 2).columns.tolist() == [0, 1, "score"]
    images = np.random.default_rng(0).normal(size=(N_ITEMS, 5, 5))
    rows = records(ids=pairs, image=images[X["item"]])
    encoder = {"ids": Embeddings(dim=3), "image": ConvEncoder((2,))}
    items = np.arange(N_ITEMS)
    new = records(ids=np.stack([np.full(N_ITEMS, 3), items], 1), image=images)
    for sizes in ((), (4,)):
        model = fitted(encoder=encoder, X=rows, y=y, hidden_layer_sizes=sizes, dtype="auto")
        found = model.task("click").recommend(3, N_ITEMS, exclude_seen=False).sort_values(1)
        np.testing.assert_allclose(found["score"], model.predict_proba(new)["click"][:, 1], rtol=1e-5)


def test_pickles_searches_and_pipelines_recommend_the_same():
    X, y = clicks()
    model = fitted()
    whole = model.task("click").recommend(range(12))
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(model)).task("click").recommend(range(12)), whole)
    search = GridSearchCV(MultiTaskEstimator(TASKS, encoder=Embeddings(["user", "item"], dim=3), **SMALL),
                          {"lr": [0.003]}, cv=2).fit(X, y)  # fmt: skip
    pd.testing.assert_frame_equal(TaskView(search, "click").recommend(range(12)), whole)
    pipe = make_pipeline("passthrough", model)
    pd.testing.assert_frame_equal(TaskView(pipe, "click").recommend(range(12)), whole)


def test_pairs_take_four_bytes_each():
    rng = np.random.default_rng(0)
    X = np.stack([rng.integers(200, size=20000), rng.integers(300, size=20000)], axis=1)
    model = fitted({"stars": "regression"}, Embeddings(dim=2), X, rng.normal(size=(20000, 1)), max_epochs=1)
    n_pairs = len(np.unique(X, axis=0))
    with_pairs = len(pickle.dumps(model))
    model._catalogue = None
    assert with_pairs - len(pickle.dumps(model)) < 4 * n_pairs + 20 * 500 + 5000


def test_a_later_fit_without_ids_forgets_them():
    X, y = clicks()
    model = fitted()
    model.set_params(encoder="passthrough", tasks={"stars": "regression"}).fit(X, y[["stars"]])
    assert not hasattr(model.task("stars"), "recommend")


@pytest.mark.parametrize(
    ("tasks", "labels", "encoder", "message"),
    [
        ({"t": Regression()}, "stars", "passthrough", "X must have ids of users and of items that an encoder reads"),
        ({"t": Regression()}, "stars", Embeddings(["user"]), "X must have ids of users and of items"),
        ({"t": Classification()}, "three", Embeddings(["user", "item"]), "items are ranked by a number"),
    ],
)
def test_tasks_that_cannot_recommend_say_why(tasks, labels, encoder, message):
    X, y = clicks()
    y["three"] = np.arange(len(X)) % 3
    model = MultiTaskEstimator(tasks, encoder=encoder, **SMALL).fit(X, y[[labels]].rename(columns={labels: "t"}))
    assert not hasattr(model.task("t"), "recommend")
    with pytest.raises(AttributeError, match=message):
        model.task("t").recommend(3)


@pytest.mark.parametrize(
    ("users", "k", "message"),
    [
        (3, 0, "k must be a whole number >= 1. Found 0"),
        (3, 2.5, "k must be a whole number >= 1. Found 2.5"),
        (np.zeros((2, 2)), 1, "users must be one id, an array of ids, or a frame. Found shape (2, 2)"),
        (pd.DataFrame({"age": [3.0]}), 1, "users must be ids, or a frame with the column 'user'. Found ['age']"),
        (pd.DataFrame({"user": [3], "price": [3.0]}), 1, "not of the item. Found 'price'"),
        (pd.DataFrame({"user": [3], "size": [3.0]}), 1, "Column 'size' was not in X"),
        (
            pd.DataFrame({"user": [3], "age": [np.nan]}),
            1,
            "users must hold finite numbers. Found NaN or infinity in column 'age'",
        ),
    ],
)
def test_what_is_no_user_is_refused(users, k, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        fitted().task("click").recommend(users, k)
