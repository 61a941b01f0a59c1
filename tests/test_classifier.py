"""MultiTaskClassifier: real targets in, their own labels out."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.utils.class_weight import compute_class_weight

from skmtl import MultiTaskClassifier
from skmtl.sharing import STRATEGIES
from tests._asserts import assert_same_outputs
from tests._cases import make_estimator, make_table

every_strategy = pytest.mark.parametrize("sharing", STRATEGIES)
RNG = np.random.default_rng(0)
N = 60
X = RNG.normal(size=(N, 3))
SIGN, SIZE = (X[:, 0] > 0).astype(int), np.digitize(X[:, 1], [-0.5, 0.5])


def make(sharing="hard", **params):
    return make_estimator("binary", sharing, **{"max_epochs": 60, "lr": 0.03, "hidden_layer_sizes": (16,), **params})


def labels(*words):
    return np.array(words, dtype=object)


FORMS = {
    "strings": np.column_stack([labels("no", "yes")[SIGN], labels("low", "mid", "high")[SIZE]]).astype(str),
    "ints": np.column_stack([SIGN * 7 - 3, SIZE * 100]),
    "bools": np.column_stack([SIGN, SIZE > 0]).astype(bool),
    "floats": np.column_stack([SIGN, SIZE]).astype(float),
    "objects": np.column_stack([labels("no", "yes")[SIGN], labels(1, "one", True)[SIZE]]),
    "list": [[int(a), int(b)] for a, b in zip(SIGN, SIZE, strict=True)],
    "frame": pd.DataFrame({"sign": labels("no", "yes")[SIGN], "size": SIZE}),
    "categories": pd.DataFrame({"sign": pd.Categorical(labels("no", "yes")[SIGN]), "size": pd.Categorical(SIZE)}),
    "nullable": pd.DataFrame({"i": pd.array(SIZE, dtype="Int64"), "b": pd.array(SIGN == 1, dtype="boolean")}),
    "nullable words": pd.DataFrame({"s": pd.array(labels("no", "yes")[SIGN], dtype="string")}),
    "polars": pl.DataFrame({"sign": labels("no", "yes")[SIGN].tolist(), "size": SIZE}),
}


def as_rows(y):
    if isinstance(y, pl.DataFrame):
        return [list(row) for row in y.rows()]
    return y.to_numpy(dtype=object).tolist() if isinstance(y, pd.DataFrame) else np.asarray(y, dtype=object).tolist()


@pytest.mark.parametrize("form", [name for name in FORMS if name != "objects"])
@every_strategy
def test_every_form_of_labels_is_learned_and_comes_back(form, sharing):
    y = FORMS[form]
    model = make(sharing).fit(X, y)
    predicted = model.predict(X)
    assert predicted.shape == (N, len(as_rows(y)[0]))
    assert (
        np.mean([[a == b for a, b in zip(*rows, strict=True)] for rows in zip(predicted, as_rows(y), strict=True)])
        > 0.9
    )
    assert model.score(X, y) > 0.9
    for t, column in enumerate(zip(*as_rows(y), strict=True)):
        assert set(predicted[:, t].tolist()) <= set(column)
        assert model.classes_[t].tolist() == sorted(set(column))


@pytest.mark.parametrize("form", ["strings", "ints", "bools", "floats"])
def test_an_arrays_dtype_comes_back(form):
    y = FORMS[form]
    assert make(max_epochs=1).fit(X, y).predict(X).dtype == y.dtype


def test_mixed_labels_inside_one_column():
    y = np.column_stack([labels("no", "yes")[SIGN], labels(1, "one", 2)[SIZE]])
    model = make().fit(X, y)
    assert model.classes_[1].tolist() == [1, 2, "one"]
    assert np.mean(model.predict(X) == y) > 0.9
    assert {type(v) for v in model.predict(X)[:, 1]} == {int, str}


def hide(y, share=0.3, seed=1):
    """Return a frame with that share of labels missing, and where they are observed."""
    frame = y.copy() if isinstance(y, pd.DataFrame) else pd.DataFrame(y)
    hidden = np.random.default_rng(seed).random(frame.shape) < share
    return frame.mask(hidden), ~hidden


@pytest.mark.parametrize("form", ["strings", "ints", "floats", "frame", "categories", "nullable", "nullable words"])
@every_strategy
def test_missing_labels_in_every_form(form, sharing):
    y, seen = hide(FORMS[form])
    model = make(sharing, weight_decay=0.0).fit(X, y)
    truth = np.asarray(as_rows(FORMS[form]), dtype=object)
    predicted = model.predict(X)
    assert np.mean(predicted[seen] == truth[seen]) > 0.9
    assert [len(c) for c in model.classes_] == [len(set(column)) for column in truth.T]


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA])
def test_marks_of_missing_labels_are_alike(missing):
    y = FORMS["strings"].astype(object)
    y[::3, 0] = missing
    reference = FORMS["strings"].astype(object)
    reference[::3, 0] = None
    assert_same_outputs(make(max_epochs=3).fit(X, y), make(max_epochs=3).fit(X, reference), X)


def test_polars_in_polars_out():
    frame = pl.DataFrame({"f0": X[:, 0], "f1": X[:, 1], "f2": X[:, 2]})
    model = make().fit(frame, FORMS["polars"])
    assert model.feature_names_in_.tolist() == ["f0", "f1", "f2"]
    predicted = model.predict_frame(frame)
    assert isinstance(predicted, pl.DataFrame)
    assert predicted.columns == model.task_names_ == ["sign", "size"]
    assert predicted.schema["size"] == pl.Int64
    assert np.mean(predicted["sign"].to_numpy() == FORMS["polars"]["sign"].to_numpy()) > 0.9


def test_pandas_in_pandas_out_with_its_index():
    frame = pd.DataFrame(X, columns=["a", "b", "c"], index=[f"row{i}" for i in range(N)])
    model = make().fit(frame, FORMS["frame"])
    predicted = model.predict_frame(frame)
    assert list(predicted.columns) == model.task_names_ == ["sign", "size"]
    assert predicted.index.equals(frame.index)
    assert predicted["size"].dtype == "int64"
    assert (predicted.to_numpy() == model.predict(frame)).all()


def test_predict_frame_names_the_columns_of_arrays():
    assert list(make(max_epochs=1).fit(X, FORMS["ints"]).predict_frame(X).columns) == ["0", "1"]
    assert list(make(max_epochs=1).fit(X, pd.Series(SIGN, name="sign")).predict_frame(X).columns) == ["sign"]


@every_strategy
def test_ragged_class_counts(sharing):
    _, y = make_table("multiclass", n_samples=N)
    model = make(sharing, max_epochs=2).fit(X, y)
    proba = model.predict_proba(X)
    assert [p.shape for p in proba] == [(N, 3), (N, 2), (N, 5), (N, 4)]
    for p, classes, predicted in zip(proba, model.classes_, model.predict(X).T, strict=True):
        np.testing.assert_allclose(p.sum(axis=1), 1)
        np.testing.assert_array_equal(classes[p.argmax(axis=1)], predicted)


@every_strategy
def test_a_task_with_one_class(sharing):
    y = np.column_stack([SIGN, np.full(N, 5), SIZE])
    model = make(sharing).fit(X, y)
    assert (model.predict(X)[:, 1] == 5).all()
    assert model.predict_proba(X)[1].tolist() == [[1.0]] * N
    assert np.mean(model.predict(X) == y) > 0.9


def test_only_tasks_with_one_class():
    model = make(max_epochs=1).fit(X, np.full((N, 2), "x"))
    assert (model.predict(X) == "x").all()


@pytest.mark.parametrize("task", [SIGN, SIZE])
def test_one_dimension_in_one_dimension_out(task):
    model = make().fit(X, task)
    assert model.predict(X).shape == (N,)
    assert model.predict_proba(X).shape == (N, len(set(task)))
    assert model.classes_.tolist() == sorted(set(task))
    assert model.task_names_ == ["0"]


def test_one_column_stays_two_dimensional():
    model = make(max_epochs=1).fit(X, SIGN[:, None])
    assert model.predict(X).shape == (N, 1)
    assert [p.shape for p in model.predict_proba(X)] == [(N, 2)]
    assert [c.tolist() for c in model.classes_] == [[0, 1]]


def test_one_dimension_is_one_column():
    flat, column = make(max_epochs=3).fit(X, SIZE), make(max_epochs=3).fit(X, SIZE[:, None])
    np.testing.assert_array_equal(flat.predict(X), column.predict(X)[:, 0])


def test_one_dimension_with_missing_labels():
    y = labels("no", "yes")[SIGN].astype(object)
    y[::4] = None
    model = make().fit(X, y)
    assert model.predict(X).shape == (N,)
    assert np.mean(model.predict(X) == labels("no", "yes")[SIGN]) > 0.85
    assert 0 < model.score(X, y) <= 1


def test_score_is_the_mean_accuracy_over_observed_labels():
    y, seen = hide(FORMS["ints"])
    model = make(max_epochs=3).fit(X, y)
    hits = model.predict(X) == FORMS["ints"]
    expected = [hits[seen[:, t], t].mean() for t in range(2)]
    assert list(model.score_tasks(X, y).values()) == pytest.approx(expected)
    assert model.score(X, y) == pytest.approx(np.mean(expected))
    weight = np.arange(N, dtype=float)
    weighted = [np.average(hits[seen[:, t], t], weights=weight[seen[:, t]]) for t in range(2)]
    assert model.score(X, y, sample_weight=weight) == pytest.approx(np.mean(weighted))


def test_a_task_without_labels_is_left_out_of_the_score():
    model = make(max_epochs=3).fit(X, FORMS["ints"])
    y = FORMS["ints"].astype(float)
    y[:, 1] = np.nan
    scores = model.score_tasks(X, y)
    assert np.isnan(scores["1"])
    assert model.score(X, y) == scores["0"]


# ---- weights of classes, labels and tasks ---------------------------------------------------------------------------

UNEVEN = np.column_stack([np.arange(N) % 6 == 0, np.arange(N) % 4]).astype(float)


def balanced(column, given=None):
    """Return scikit-learn's balanced weight of every label; 0 where missing."""
    weight, seen = np.zeros(N), ~np.isnan(column)
    classes, given = np.unique(column[seen]), None if given is None else given[seen]
    per_class = compute_class_weight("balanced", classes=classes, y=column[seen], sample_weight=given)
    weight[seen] = per_class[np.searchsorted(classes, column[seen])]
    return weight


def uneven(missing):
    y = UNEVEN.copy()
    if missing:
        y[np.random.default_rng(3).random(y.shape) < 0.3] = np.nan
    return y


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("given", [None, np.linspace(0.5, 2, N)])
def test_balanced_counts_observed_labels(missing, given):
    y = uneven(missing)
    weight = np.column_stack([balanced(column, given) for column in y.T])
    weight = weight if given is None else weight * given[:, None]
    balanced_fit = make(max_epochs=3, class_weight="balanced").fit(X, y, sample_weight=given)
    assert_same_outputs(balanced_fit, make(max_epochs=3).fit(X, y, sample_weight=weight), X, rtol=1e-9)


@pytest.mark.parametrize(
    "class_weight", [{"rare": "balanced"}, ["balanced", None], ("balanced", None), {"rare": {0: 0.6, 1: 3.0}}]
)
def test_class_weight_by_task(class_weight):
    frame = pd.DataFrame(UNEVEN.astype(int), columns=["rare", "other"])
    weight = np.column_stack([balanced(UNEVEN[:, 0]), np.ones(N)])
    given = make(max_epochs=3, class_weight=class_weight).fit(X, frame)
    assert_same_outputs(given, make(max_epochs=3).fit(X, frame, sample_weight=weight), X, rtol=1e-9)


def test_class_weight_by_label_of_one_task():
    words = labels("no", "yes")[SIGN]
    given = make(max_epochs=3, class_weight={"yes": 3.0}).fit(X, words)
    weighted = make(max_epochs=3).fit(X, words, sample_weight=np.where(words == "yes", 3.0, 1.0))
    assert_same_outputs(given, weighted, X, rtol=1e-9)
    assert given.predict_proba(X)[:, 1].mean() > make(max_epochs=3).fit(X, words).predict_proba(X)[:, 1].mean()


@every_strategy
def test_label_weights_of_one_column_are_row_weights(sharing):
    weight = np.random.default_rng(0).random(N)
    by_row = make(sharing, max_epochs=3).fit(X, SIGN, sample_weight=weight)
    by_label = make(sharing, max_epochs=3).fit(X, SIGN, sample_weight=weight[:, None])
    assert_same_outputs(by_row, by_label, X)


@every_strategy
def test_row_weights_are_label_weights_of_all_tasks(sharing):
    weight = np.random.default_rng(0).random(N)
    by_row = make(sharing, max_epochs=3).fit(X, UNEVEN, sample_weight=weight)
    by_label = make(sharing, max_epochs=3).fit(X, UNEVEN, sample_weight=np.column_stack([weight, weight]))
    assert_same_outputs(by_row, by_label, X)


@pytest.mark.parametrize("task_weights", [[1.0, 0.0], {"other": 0.0}, np.array([1, 0])])
def test_a_task_of_weight_zero_gives_the_trunk_no_gradient(task_weights):
    frame = pd.DataFrame(UNEVEN, columns=["rare", "other"])
    shuffled = frame.assign(other=frame["other"].to_numpy()[::-1])
    one, two = (make(max_epochs=3, task_weights=task_weights).fit(X, y) for y in (frame, shuffled))
    np.testing.assert_array_equal(one.transform(X), two.transform(X))
    np.testing.assert_array_equal(one.predict_proba(X)[0], two.predict_proba(X)[0])


def test_task_weights_by_name_are_task_weights_by_order():
    frame = pd.DataFrame(UNEVEN, columns=["rare", "other"])
    by_order = make(max_epochs=3, task_weights=[1.0, 0.2]).fit(X, frame)
    by_name = make(max_epochs=3, task_weights={"other": 0.2}).fit(X, frame)
    assert_same_outputs(by_order, by_name, X)


def test_task_weights_follow_the_users_order_inside_the_network():
    """Two-class tasks stand first inside: weight zero must still hit the task it names."""
    y = np.column_stack([SIZE, SIGN])
    model = make(max_epochs=40, task_weights=[0.0, 1.0]).fit(X, y)
    scores = model.score_tasks(X, y)
    assert scores["1"] > 0.9 > scores["0"]


def test_defaults_learn():
    model = MultiTaskClassifier(random_state=0).fit(X, FORMS["ints"])
    assert model.score(X, FORMS["ints"]) > 0.9
