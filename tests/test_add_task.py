"""A task that is added to a fitted estimator."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from skmtl.tasks import Classification, Multilabel, Ordinal
from tests._cases import STRATEGIES, make_estimator, make_table, outputs

every_strategy = pytest.mark.parametrize("sharing", STRATEGIES)
KINDS = ("regression", "binary", "multiclass")


def new_task(kind, X, seed=1):
    """Return labels of another task, more classes than any before."""
    score = X @ np.random.default_rng(seed).normal(size=X.shape[1])
    return score * 7 + 3 if kind == "regression" else np.digitize(score, [-2, -1, -0.5, 0, 0.5, 1]) * 1.0


@every_strategy
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("heads", [(), (6,)], ids=["linear heads", "deep heads"])
def test_old_predictions_stay_bit_for_bit(kind, sharing, members, heads):
    X, y = make_table(kind)
    model = make_estimator(kind, sharing, n_members=members, head_layer_sizes=heads, dropout=0.1).fit(X, y)
    before = [out.copy() for out in outputs(model, X)]
    grown = model.add_task(X, new_task(kind, X), "new")
    for mine, old in zip(outputs(grown, X)[:-1], before, strict=True):
        np.testing.assert_array_equal(mine, old)
    for mine, old in zip(outputs(model, X), before, strict=True):
        np.testing.assert_array_equal(mine, old)
    assert model.n_tasks_ == 4
    assert grown.task_names_ == [*model.task_names_, "new"]
    assert grown.predict(X).shape == (len(X), 5)
    again = pickle.loads(pickle.dumps(grown))
    np.testing.assert_array_equal(again.predict(X), grown.predict(X))
    assert grown.predict_frame(X).columns[-1] == "new"
    assert grown.transform(X[:3]).shape[1] == grown._n_features_out


@pytest.mark.parametrize("freeze", [True, False])
@every_strategy
def test_the_new_task_is_learned(sharing, freeze):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 5))
    y = np.column_stack([X[:, 0], X[:, 1], X[:, 0] + X[:, 1]])
    model = MultiTaskRegressor(sharing, random_state=0, n_members=2).fit(X[:300], y[:300])
    grown = model.add_task(X[:300], 10 * (X[:300, 0] - X[:300, 1]), "difference", freeze=freeze)
    scores = grown.score_tasks(X[300:], np.column_stack([y, 10 * (X[:, 0] - X[:, 1])])[300:])
    assert scores["difference"] > 0.9


def test_frozen_sharing_leaves_the_trunk_and_a_copy_learns():
    X, y = make_table("regression")
    model = make_estimator().fit(X, y)
    trunk = {name: value.clone() for name, value in model.network_.trunk.state_dict().items()}
    for freeze in (True, False):
        added = model.add_task(X, new_task("regression", X), "new", freeze=freeze).network_.added
        same = [bool((value == getattr(added.trunk, name.replace(".", "_"))).all()) for name, value in trunk.items()]
        assert all(same) == freeze


def test_one_task_after_the_other():
    X, y = make_table("regression")
    model = make_estimator().fit(X, y)
    once = model.add_task(X, new_task("regression", X), "one")
    twice = once.add_task(X, new_task("regression", X, 2), "two")
    np.testing.assert_array_equal(twice.predict(X)[:, :5], once.predict(X))
    assert twice.task_names_[-2:] == ["one", "two"]
    again = pickle.loads(pickle.dumps(twice))
    np.testing.assert_array_equal(again.predict(X), twice.predict(X))


@every_strategy
def test_similarity_and_attention_have_the_new_task_last(sharing):
    X, y = make_table("multiclass")
    model = make_estimator("multiclass", sharing).fit(X, y)
    grown = model.add_task(X, new_task("multiclass", X), "new")
    if sharing == "cross_stitch":
        with pytest.raises(ValueError, match="knows nothing of a task that was added later"):
            grown.task_similarity()
        return
    similarity = grown.task_similarity()
    assert similarity.shape == (5, 5)
    np.testing.assert_allclose(similarity[:4, :4], model.task_similarity(), atol=1e-6)
    if sharing == "attention":
        weights = grown.attention_weights(X)
        np.testing.assert_allclose(weights[:, :4], model.attention_weights(X), atol=1e-7)
        np.testing.assert_allclose(weights.sum(-1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("sharing", [name for name in STRATEGIES if name != "cross_stitch"])
def test_similarity_after_several_tasks(sharing):
    X, y = make_table("regression")
    once = make_estimator("regression", sharing).fit(X, y).add_task(X, new_task("regression", X), "one")
    twice = once.add_task(X, new_task("regression", X, 2), "two")
    similarity = twice.task_similarity()
    assert similarity.shape == (6, 6)
    np.testing.assert_allclose(similarity[:5, :5], once.task_similarity(), atol=1e-6)


@every_strategy
def test_kinds_of_tasks_are_mixed(sharing):
    X, y = make_table("regression")
    table = pd.DataFrame({"number": y[:, 0], "grade": np.where(y[:, 1] > 100, "high", "low")})
    small = {"max_epochs": 3, "hidden_layer_sizes": (8,), "random_state": 0, "n_members": 2}
    model = MultiTaskEstimator({"number": "regression", "grade": "classification"}, sharing, **small).fit(X, table)
    stage = np.digitize(X[:, 0], [-1, 0, 1])
    grown = model.add_task(X, stage, "stage", Ordinal())
    labels = pd.DataFrame({"a": X[:, 1] > 0, "b": X[:, 2] > 0})
    grown = grown.add_task(X, labels, "labels", Multilabel(["a", "b"]))
    grown = grown.add_task(X, np.where(X[:, 0] > 0, "p", None), "half", Classification())
    assert grown.output_names_ == ["number", "grade", "stage", "a", "b", "half"]
    np.testing.assert_array_equal(grown.predict_frame(X)["number"], model.predict_frame(X)["number"])
    np.testing.assert_array_equal(grown.predict_proba(X)["grade"], model.predict_proba(X)["grade"])
    y_all = pd.concat([table.assign(stage=stage), labels], axis=1).assign(half="p")
    assert list(grown.score_tasks(X, y_all)) == ["number", "grade", "stage", "labels", "half"]
    assert list(clone(grown).tasks) == grown.task_names_


def test_what_cannot_be_added():
    X, y = make_table("regression")
    model = make_estimator().fit(X, pd.DataFrame(y, columns=list("abcd")))
    with pytest.raises(ValueError, match=r"name must be a new one, without '__'. Found 'a'"):
        model.add_task(X, y[:, 0], "a")
    with pytest.raises(ValueError, match="y must hold the labels of one task. Found 2 columns"):
        model.add_task(X, y[:, :2], "new")
    with pytest.raises(ValueError, match="features"):
        model.add_task(X[:, :2], y[:, 0], "new")
    grown = model.add_task(X, y[:, 0], "new")
    with pytest.raises(ValueError, match="task added later cannot be trained on"):
        grown.partial_fit(X, np.column_stack([y, y[:, 0]]))
    with pytest.raises(ValueError, match="Task 'new'|every label is missing"):
        model.add_task(X, np.full(len(X), np.nan), "new")
    classifier = MultiTaskClassifier(max_epochs=1).fit(X, X[:, 0] > 0)
    assert classifier.add_task(X, X[:, 1] > 0, "new").predict(X).shape == (len(X), 2)
