"""Items drawn as negatives inside a fit: which, for whom, and what they weigh."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, KFold

from skmtl import MultiTaskEstimator, records
from skmtl._negatives import draw_unseen
from skmtl.encoders import ConvEncoder, Embeddings
from skmtl.metrics import make_ranking_scorer
from skmtl.model_selection import StackedGridSearchCV
from skmtl.tasks import Chain, Classification
from tests._asserts import assert_same_weights

N_USERS, N_ITEMS = 12, 15
SMALL = {
    "hidden_layer_sizes": (4,), "n_members": 1, "early_stopping": False, "random_state": 0, "max_epochs": 3,
    "batch_size": 16, "dtype": "float64",
}  # fmt: skip


def clicks(n: int = 70, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return distinct pairs with what is known of users, items and neither, and labels: all clicked, some rated."""
    rng = np.random.default_rng(seed)
    user, item = np.divmod(rng.permutation(N_USERS * N_ITEMS)[:n], N_ITEMS)
    X = pd.DataFrame({"age": 20.0 + user, "user": user, "price": 100.0 + item, "item": item, "hour": rng.random(n)})
    stars = np.where(rng.random(n) < 0.5, rng.normal(size=n), np.nan)
    return X, pd.DataFrame({"click": np.ones(n), "stars": stars})


def model(negatives: int = 2, encoder=None, **params) -> MultiTaskEstimator:
    return MultiTaskEstimator(
        {"click": Classification(negatives=negatives), "stars": "regression"},
        encoder=encoder or Embeddings(["user", "item"], dim=3),
        **{**SMALL, **params},
    )


def tables(est: MultiTaskEstimator, X, y, **fit_params):
    """Return the rows that each member learns from, and those it validates on: codes, columns, labels and weights."""
    est = clone(est).set_params(batch_size=500)  # smaller batches draw rows with rare labels more than once
    est._check_parameters()
    data, valid = (reading := est._read(X, y, **fit_params)).divided(est._seeds)
    place = np.argsort(est._plan.layout.part_order)
    return reading, [None if table is None else _by_member(table, place, len(est._seeds)) for table in (data, valid)]


def _by_member(table, place, n_members: int) -> list[pd.DataFrame]:
    rows = np.arange(len(table.X)) if table.index is None else table.index.numpy()
    found = []
    for m in range(n_members):
        own = rows[m] if rows.ndim == 2 else rows
        first = 0 if table.start is None else int(table.start[m])
        x, labels = table.X.whole().numpy()[own], table.y.numpy()[own][:, place]
        weight = table.coefficient.numpy()[first : first + len(own)][:, place]
        frame = pd.DataFrame(x, columns=["user", "item", "age", "price", "hour"])
        found.append(frame.assign(click=labels[:, 0], w_click=weight[:, 0], w_stars=weight[:, 1]))
    return found


def pairs(frame: pd.DataFrame) -> set:
    return set(zip(frame["user"], frame["item"], strict=True))


# ---- the draw -------------------------------------------------------------------------------------------------------


def test_every_unseen_item_is_drawn_and_equally_often():
    seen = np.array([[1, 2], [1, 7], [1, 2], [1, 9], [2, 3], [2, 4], [3, 99]])
    items = np.array([2, 3, 4, 7, 8, 9])
    for user, unseen in ((1, [3, 4, 8]), (2, [2, 7, 8, 9]), (3, items.tolist()), (4, items.tolist())):
        drawn = draw_unseen(np.full(6000, user), seen, items, np.random.default_rng(0))
        found, counts = np.unique(drawn, return_counts=True)
        assert found.tolist() == unseen
        np.testing.assert_allclose(counts, 6000 / len(unseen), rtol=0.1)


def test_no_pair_that_was_seen_is_drawn():
    rng = np.random.default_rng(0)
    seen = np.stack([rng.integers(1, 40, 900), rng.integers(1, 30, 900)], axis=1)
    users = rng.integers(1, 45, 5000)
    drawn = draw_unseen(users, seen, np.arange(1, 30), rng)
    assert not set(zip(users.tolist(), drawn.tolist(), strict=True)) & set(map(tuple, seen.tolist()))


def test_a_user_that_has_seen_everything_gets_nothing():
    seen = np.array([[1, 1], [1, 2], [2, 1]])
    drawn = draw_unseen(np.array([1, 2, 2]), seen, np.array([1, 2]), np.random.default_rng(0))
    assert drawn.tolist() == [0, 2, 2]


# ---- in a fit -------------------------------------------------------------------------------------------------------


def test_each_positive_row_gets_its_negatives():
    X, y = clicks()
    reading, ((found,), valid) = tables(model(3), X, y)
    assert valid is None
    given, drawn = found[: len(X)], found[len(X) :]
    assert len(drawn) == 3 * len(X)
    assert (given["click"] == 1).all()
    assert (drawn["click"] == 0).all()
    assert not pairs(given) & pairs(drawn)
    assert (drawn["w_stars"] == 0).all()
    np.testing.assert_array_equal(drawn["user"].to_numpy(), np.repeat(given["user"].to_numpy(), 3))
    np.testing.assert_allclose(found["w_click"], found["w_click"].iloc[0])
    assert len(reading.X) == len(X), "what the fit has read stays as it was"


def test_columns_of_the_item_come_with_it_and_others_stay():
    X, y = clicks()
    _, ((found,), _) = tables(model(2), X, y)
    ids, drawn = np.unique(X["item"]), found[len(X) :]
    np.testing.assert_array_equal(drawn["price"], 100 + ids[drawn["item"].astype(int) - 1])
    np.testing.assert_array_equal(drawn[["age", "hour"]], np.repeat(X[["age", "hour"]].to_numpy(), 2, axis=0))


def test_a_column_of_users_with_one_item_each_stays_with_them():
    X = pd.DataFrame({"user": [1, 1, 2, 2, 3, 3, 4], "item": list("abcdefg"), "age": [5.0, 5, 6, 6, 7, 7, 8]})
    est = MultiTaskEstimator({"click": Classification(negatives=1)}, encoder=Embeddings(["user", "item"]), **SMALL)
    catalogue = est.fit(X, pd.DataFrame({"click": [1] * 7}))._catalogue
    assert (catalogue.of_user.tolist(), catalogue.of_item.tolist()) == ([2], [])


def test_held_out_rows_get_negatives_that_are_in_neither_part():
    X, y = clicks(120)
    est = model(2, early_stopping=True, validation_fraction=0.3, n_members=3)
    _, (data, valid) = tables(est, X, y)
    assert len(data) == len(valid) == 3
    for learned, held in zip(data, valid, strict=True):
        known, kept = (pairs(part[(part["click"] == 1) & (part["w_click"] > 0)]) for part in (learned, held))
        drawn, own = (pairs(part[part["click"] == 0]) for part in (learned, held))
        assert drawn
        assert own
        assert not known & kept
        assert not drawn & known
        assert not own & (known | kept)
        assert {item for _, item in drawn | own} <= {item for _, item in known}
    assert len({frozenset(pairs(part)) for part in data}) == 3, "each member draws its own"


def test_a_validation_set_of_the_users_own_gets_negatives():
    X, y = clicks(120)
    cut = {"X_val": X[80:], "y_val": y[80:]}
    _, ((found,), (valid,)) = tables(model(2, early_stopping=True), X[:80], y[:80], **cut)
    assert len(valid) == 3 * 40
    assert not pairs(valid[40:]) & (pairs(valid[:40]) | pairs(found[:80]))
    assert model(2, early_stopping=True).fit(X[:80], y[:80], **cut).history_[-1]["valid_loss"] > 0


def test_negatives_weigh_what_their_positive_weighs():
    X, y = clicks()
    weight = np.random.default_rng(0).integers(1, 5, len(X)) * 1.0
    _, ((found,), _) = tables(model(2), X, y, sample_weight=weight)
    np.testing.assert_allclose(found["w_click"] / found["w_click"][0], np.r_[weight, np.repeat(weight, 2)] / weight[0])
    est = model(3).set_params(tasks__click__class_weight="balanced")
    _, ((found,), _) = tables(est, X, y)
    total = found.groupby("click")["w_click"].sum()
    assert total[0] == pytest.approx(total[1])
    _, ((found,), _) = tables(model(3).set_params(tasks__click__class_weight={0: 0, 1: 1}), X, y)
    assert (found["w_click"][len(X) :] == 0).all()


def test_a_label_of_weight_zero_has_no_negatives():
    X, y = clicks()
    out = np.arange(len(X)) % 5 == 0
    weight = np.ones((len(X), 2))
    weight[out, 0] = 0
    lacks = y.copy()
    lacks.loc[out, "click"] = np.nan
    assert_same_weights(model().fit(X, y, sample_weight=weight), model().fit(X, lacks))
    _, ((found,), _) = tables(model(), X, y, sample_weight=weight)
    assert (found["click"][found["w_click"] > 0] == 0).sum() == 2 * (~out).sum()


def test_none_are_drawn_by_default():
    X, y = clicks()
    y["click"] = (np.arange(len(X)) % 2) * 1.0
    plain = model().set_params(tasks__click="classification").fit(X, y)
    assert_same_weights(model(0).fit(X, y), plain)
    assert not plain._draws_negatives


@pytest.mark.parametrize("stops", [False, True])
def test_equal_seeds_give_equal_bits_and_others_do_not(stops):
    X, y = clicks()
    est = model(early_stopping=stops)
    one = clone(est).fit(X, y)
    assert_same_weights(one, clone(est).fit(X, y))
    with pytest.raises(AssertionError):
        assert_same_weights(one, clone(est).set_params(random_state=1).fit(X, y))


@pytest.mark.parametrize("stops", [False, True])
def test_members_are_the_networks_of_their_seeds(stops):
    X, y = clicks(120)
    est = model(early_stopping=stops, batch_size=500)  # so that all members draw each row once
    members = clone(est).set_params(n_members=3).fit(X, y).task("stars").predict_members(X)
    state = np.random.RandomState(0)
    for own in members:
        alone = clone(est).set_params(random_state=state).fit(X, y).task("stars").predict(X)
        np.testing.assert_allclose(own, alone, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("stops", [False, True])
def test_searches_agree(stops):
    X, y = clicks(120)
    y["click"] = (np.random.default_rng(0).random(120) < 0.7) * 1.0
    grid = {"tasks__click__negatives": [0, 1, 3], "lr": [1e-3, 1e-2], "random_state": [0, 1]}
    known = {"cv": KFold(2), "scoring": make_ranking_scorer("click", user="user", k=3), "error_score": "raise"}
    est = model(early_stopping=stops)
    one, other = (search(est, grid, **known).fit(X, y) for search in (GridSearchCV, StackedGridSearchCV))
    np.testing.assert_allclose(one.cv_results_["mean_test_score"], other.cv_results_["mean_test_score"], rtol=1e-9)
    assert len(set(one.cv_results_["mean_test_score"].round(6))) > 3


def test_permuting_tasks_permutes_outputs():
    X, y = clicks()
    est = model(sharing="independent")
    one = clone(est).fit(X, y)
    turned = clone(est).set_params(tasks=dict(reversed(est.tasks.items()))).fit(X, y)
    np.testing.assert_allclose(turned.predict_proba(X)["click"], one.predict_proba(X)["click"], rtol=1e-9)


@pytest.mark.parametrize("label", [1, 1.0, True, 2])
def test_the_negative_class_of_a_number_is_zero(label):
    X, _ = clicks()
    est = MultiTaskEstimator({"click": Classification(negatives=1)}, encoder=Embeddings(["user", "item"]), **SMALL)
    est.fit(X, pd.DataFrame({"click": [label] * len(X)}))
    classes = est.classes_["click"]
    assert classes.tolist() == [0, label]
    assert classes.dtype == np.array([label]).dtype
    assert set(est.predict(X).ravel().tolist()) <= {0, label}


def test_clicks_alone_tell_more_than_popularity():
    rng = np.random.default_rng(0)
    users, items = rng.normal(size=(150, 2)), rng.normal(size=(60, 2))
    taste = 2.5 * users @ items.T + 0.3 * rng.normal(size=60)
    clicked = rng.random(taste.shape) < 1 / (1 + np.exp(2 - taste))
    user, item = np.nonzero(clicked)
    X, kept = pd.DataFrame({"user": user, "item": item}), rng.random(len(user)) < 0.7
    est = MultiTaskEstimator(
        {"click": Classification(negatives=3)},
        encoder=Embeddings(dim=4),
        hidden_layer_sizes=(),
        lr=0.02,
        weight_decay=0.3,
        max_epochs=40,
        early_stopping=False,
        n_members=1,
        random_state=0,
    ).fit(X[kept], pd.DataFrame({"click": np.ones(kept.sum())}))
    unseen = np.ones(taste.shape, dtype=bool)
    unseen[user[kept], item[kept]] = False
    every = pd.DataFrame({"user": np.nonzero(unseen)[0], "item": np.nonzero(unseen)[1]})
    popular = np.bincount(item[kept], minlength=60)[every["item"]]
    auc = roc_auc_score(clicked[unseen], est.predict_proba(every)["click"][:, 1])
    assert auc > roc_auc_score(clicked[unseen], popular) + 0.1


def test_a_chain_draws_negatives_of_its_first_event():
    X, _ = clicks()
    buy = (np.arange(len(X)) % 3 == 0) * 1.0
    y = pd.DataFrame({"click": 1.0, "buy": np.where(np.arange(len(X)) % 7 == 0, np.nan, buy)})
    chain = Chain("click", "buy", negatives=2)
    est = MultiTaskEstimator({"funnel": chain}, encoder=Embeddings(["user", "item"], dim=3), **SMALL)
    _, ((found,), _) = tables(est, X, y)
    drawn = found[len(X) :]
    assert len(drawn) == 2 * len(X)
    assert (drawn["click"] == 0).all()
    assert (drawn[["w_click", "w_stars"]] > 0).all(axis=None)
    proba = est.fit(X, y).predict_proba(X)["funnel"]
    assert (proba[:, 1] <= proba[:, 0]).all()
    assert repr(chain) == "Chain('click', 'buy', negatives=2)"
    assert repr(clone(chain)) == repr(chain)


def test_a_field_of_ids_beside_images_of_items():
    X, y = clicks()
    images = np.random.default_rng(0).normal(size=(N_ITEMS, 5, 5))
    rows = records(ids=X[["user", "item"]].to_numpy(), image=images[X["item"]])
    est = model(2, encoder={"ids": Embeddings(dim=3), "image": ConvEncoder((2,))}, dtype="auto").fit(rows, y)
    catalogue = est._catalogue
    assert catalogue.of_item.tolist() == list(range(2, 27))
    codes = np.searchsorted(np.unique(X["item"]), np.arange(N_ITEMS)) + 1
    np.testing.assert_allclose(catalogue.item_values[codes], images.reshape(N_ITEMS, -1), rtol=1e-6)


def test_the_first_two_columns_that_are_named_are_user_and_item():
    X, y = clicks()
    swapped = model(2, encoder=Embeddings(["item", "user"], dim=3))
    _, ((found,), _) = tables(swapped, X, y)
    np.testing.assert_array_equal(found["item"][len(X) :], np.repeat(found["item"][: len(X)], 2))


def test_partial_fits_draw_what_no_earlier_row_has_shown():
    X, y = clicks(150)
    est = model(2)
    for rows in (slice(0, 75), slice(75, 150)):
        est.partial_fit(X[rows], y[rows])
    assert len(est._catalogue.seen) == 150
    assert_same_weights(est, model(2).partial_fit(X[:75], y[:75]).partial_fit(X[75:], y[75:]))


@pytest.mark.parametrize(
    ("negatives", "encoder", "labels", "message"),
    [
        (1, "passthrough", [1.0] * 6, "Task 'click': negatives are drawn among items"),
        (1, Embeddings(["user"]), [1.0] * 6, "Task 'click': negatives are drawn among items"),
        (1, None, ["yes"] * 6, "Task 'click': negatives get the negative class, which is not known: all labels are"),
        (1, None, [0, 1, 2, 0, 1, 2], "Task 'click': negatives are drawn for a task of two classes. Found 3"),
        (1, None, [0] * 6, "Task 'click': negatives are drawn for positive labels"),
        (-1, None, [1] * 6, "Task 'click': negatives must be a whole number >= 0. Found -1"),
        (1.5, None, [1] * 6, "Task 'click': negatives must be a whole number >= 0. Found 1.5"),
        (True, None, [1] * 6, "Task 'click': negatives must be a whole number >= 0. Found True"),
        (1, None, [1] * 6, "Task 'click': negatives=1 draws items that a user has not been seen with. Every user"),
    ],
)
def test_what_cannot_be_drawn_is_refused(negatives, encoder, labels, message):
    X = pd.DataFrame({"user": [1, 1, 1, 2, 2, 2], "item": [1, 2, 3, 1, 2, 3]})
    encoder = Embeddings(["user", "item"]) if encoder is None else encoder
    est = MultiTaskEstimator({"click": Classification(negatives=negatives)}, encoder=encoder, **SMALL)
    with pytest.raises(ValueError, match=message):
        est.fit(X, pd.DataFrame({"click": labels}))


def test_text_with_both_labels_has_a_negative_class():
    X, y = clicks()
    y["click"] = np.where(np.arange(len(X)) % 4 == 0, "no", "yes")
    _, ((found,), _) = tables(model(2), X, y)
    assert len(found) - len(X) == 2 * (y["click"] == "yes").sum()


def test_users_that_are_held_out_whole_get_negatives_too():
    X, y = clicks(120)
    est = model(2, early_stopping=True, validation_fraction=0.3)
    _, ((learned,), (held,)) = tables(est, X, y, groups=X["user"])
    assert not set(learned["user"]) & set(held["user"])
    positive = held["click"] == 1
    assert (~positive).sum() == 2 * positive.sum()
    assert not pairs(held[positive]) & pairs(held[~positive])
