"""MultiTaskRegressor: predictions in the units of y."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.metrics import r2_score

from skmtl import MultiTaskRegressor
from skmtl.sharing import STRATEGIES
from tests._asserts import assert_same_outputs
from tests._cases import make_estimator, make_table

every_strategy = pytest.mark.parametrize("sharing", STRATEGIES)
N = 60
X = np.random.default_rng(0).normal(size=(N, 3))
Y = np.column_stack([1e6 * X[:, 0] + 3e6, 1e-4 * (X[:, 1] - X[:, 0])])


def make(sharing="hard", **params):
    return make_estimator(
        "regression",
        sharing,
        **{"max_epochs": 80, "optimizer": "adam", "lr": 0.03, "hidden_layer_sizes": (16,), **params},
    )


@every_strategy
def test_predictions_come_in_the_units_of_y(sharing):
    model = make(sharing).fit(X, Y)
    for t in range(2):
        assert r2_score(Y[:, t], model.predict(X)[:, t]) > 0.95


@every_strategy
def test_other_units_give_the_same_predictions_in_them(sharing):
    plain = make(sharing, max_epochs=5).fit(X, Y).predict(X)
    other = make(sharing, max_epochs=5).fit(X, Y * [1e-6, 1e4] + [5, -7]).predict(X)
    np.testing.assert_allclose(other, plain * [1e-6, 1e4] + [5, -7], rtol=1e-7, atol=1e-7)


FORMS = {
    "array": (Y, np.float64, ["0", "1"]),
    "float32": (Y.astype("f4"), np.float32, ["0", "1"]),
    "ints": (np.round(Y).astype(int), np.float64, ["0", "1"]),
    "objects": (Y.astype(object), np.float64, ["0", "1"]),
    "list": (Y.tolist(), np.float64, ["0", "1"]),
    "frame": (pd.DataFrame(Y, columns=["a", "b"]), np.float64, ["a", "b"]),
    "nullable": (pd.DataFrame(Y, columns=["a", "b"], dtype="Float64"), np.float64, ["a", "b"]),
    "polars": (pl.DataFrame(Y, schema=["a", "b"]), np.float64, ["a", "b"]),
}


@pytest.mark.parametrize(("y", "dtype", "names"), FORMS.values(), ids=FORMS)
def test_every_form_of_targets(y, dtype, names):
    model = make().fit(X, y)
    predicted = model.predict(X)
    assert predicted.shape == (N, 2)
    assert predicted.dtype == dtype
    assert model.task_names_ == names
    assert r2_score(Y[:, 0], predicted[:, 0]) > 0.95


@pytest.mark.parametrize("form", ["objects", "list", "frame", "nullable", "polars"])
def test_missing_labels_in_every_form(form):
    hidden = np.random.default_rng(1).random(Y.shape) < 0.3
    y = pd.DataFrame(Y, columns=["a", "b"]).mask(hidden)
    forms = {
        "objects": y.astype(object).where(~hidden, None).to_numpy(),
        "list": y.astype(object).where(~hidden, None).to_numpy().tolist(),
        "frame": y,
        "nullable": y.astype("Float64"),
        "polars": pl.DataFrame({c: [None if np.isnan(v) else v for v in y[c]] for c in y}),
    }
    model, reference = make(max_epochs=3).fit(X, forms[form]), make(max_epochs=3).fit(X, y.to_numpy())
    np.testing.assert_array_equal(np.asarray(model.predict(X), dtype=float), reference.predict(X))


@pytest.mark.parametrize(("dtype", "expected"), [("float32", np.float32), ("float64", np.float64)])
def test_float32_in_float32_out(dtype, expected):
    model = make(max_epochs=2).fit(X.astype(dtype), Y.astype(dtype))
    assert model.predict(X.astype(dtype)).dtype == expected
    assert model.transform(X.astype(dtype)).dtype == expected


def test_frames_come_back_with_names_and_index():
    frame = pd.DataFrame(X, columns=["u", "v", "w"], index=np.arange(N)[::-1])
    model = make(max_epochs=3).fit(frame, pd.DataFrame(Y, columns=["a", "b"]))
    predicted = model.predict_frame(frame)
    assert list(predicted.columns) == ["a", "b"]
    assert predicted.index.equals(frame.index)
    np.testing.assert_array_equal(predicted.to_numpy(), model.predict(frame))


def test_polars_in_polars_out():
    frame = pl.DataFrame(X, schema=["u", "v", "w"])
    predicted = make(max_epochs=3).fit(frame, pl.DataFrame(Y, schema=["a", "b"])).predict_frame(frame)
    assert predicted.schema == {"a": pl.Float64, "b": pl.Float64}


def test_dimensions():
    assert make(max_epochs=1).fit(X, Y[:, 0]).predict(X).shape == (N,)
    assert make(max_epochs=1).fit(X, Y[:, :1]).predict(X).shape == (N, 1)
    flat, column = (make(max_epochs=3).fit(X, y).predict(X) for y in (Y[:, 0], Y[:, :1]))
    np.testing.assert_array_equal(flat, column[:, 0])


@every_strategy
@pytest.mark.parametrize("value", [0.0, 0.1, 1e9])
def test_a_constant_target_is_predicted(sharing, value):
    y = np.column_stack([Y[:, 0], np.full(N, value)])
    predicted = make(sharing, max_epochs=150, lr=0.01).fit(X, y).predict(X)
    np.testing.assert_allclose(predicted[:, 1], value, rtol=1e-9, atol=0.3)


def test_a_task_with_a_single_label():
    y = Y.copy()
    y[1:, 1] = np.nan
    assert np.isfinite(make(max_epochs=3).fit(X, y).predict(X)).all()


def test_score_is_the_mean_r2_over_observed_labels():
    y = Y.copy()
    y[np.random.default_rng(1).random(Y.shape) < 0.3] = np.nan
    model = make(max_epochs=3).fit(X, y)
    seen = ~np.isnan(y)
    expected = [r2_score(y[seen[:, t], t], model.predict(X)[seen[:, t], t]) for t in range(2)]
    assert list(model.score_tasks(X, y).values()) == pytest.approx(expected)
    assert model.score(X, y) == pytest.approx(np.mean(expected))


def test_the_target_scale_is_weighted():
    weight = np.random.default_rng(0).random((N, 2))
    model = make(max_epochs=1).fit(X, Y, sample_weight=weight)
    np.testing.assert_allclose(model._codec.mean, np.average(Y, axis=0, weights=weight))


def test_a_task_of_weight_zero_gives_the_trunk_no_gradient():
    shuffled = np.column_stack([Y[:, 0], Y[::-1, 1]])
    one, two = (make(max_epochs=3, task_weights=[1.0, 0.0]).fit(X, y) for y in (Y, shuffled))
    np.testing.assert_array_equal(one.transform(X), two.transform(X))


@every_strategy
def test_row_weights_are_label_weights_of_all_tasks(sharing):
    weight = np.random.default_rng(0).random(N)
    by_row = make(sharing, max_epochs=3).fit(X, Y, sample_weight=weight)
    by_label = make(sharing, max_epochs=3).fit(X, Y, sample_weight=np.column_stack([weight, weight]))
    assert_same_outputs(by_row, by_label, X)


def test_partial_fit_learns_the_scale_of_all_rows_so_far():
    model = make().partial_fit(X[:7], Y[:7])
    model.partial_fit(X[7:], Y[7:])
    np.testing.assert_allclose(model._codec.mean, Y.mean(axis=0))
    np.testing.assert_allclose(model._codec.scale, Y.std(axis=0))


@pytest.mark.parametrize("head_layer_sizes", [(), (5,)])
@every_strategy
def test_a_change_of_scale_leaves_predictions_as_they_are(sharing, head_layer_sizes):
    model = make(sharing, head_layer_sizes=head_layer_sizes, max_epochs=3).fit(X, Y)
    before = model.predict(X)
    model.set_params(lr=1e-12).partial_fit(X, 1e3 * Y - 1e5)
    assert not np.allclose(model._codec.scale, Y.std(axis=0), rtol=0.5)
    np.testing.assert_allclose(model.predict(X), before, atol=1e-3 * np.abs(before).max())


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity", "gelu", "silu"])
@every_strategy
def test_every_activation_learns(sharing, activation):
    model = make(sharing, activation=activation, head_layer_sizes=(6,)).fit(X, Y)
    assert model.history_[-1]["train_loss"] < 0.5 * model.history_[0]["train_loss"]


@every_strategy
def test_dropout_acts_in_training_only(sharing):
    model = make(sharing, dropout=0.5, max_epochs=3).fit(X, Y)
    np.testing.assert_array_equal(model.predict(X), model.predict(X))
    differs = not np.allclose(model.predict(X), make(sharing, max_epochs=3).fit(X, Y).predict(X))
    assert differs, "dropout=0.5 changed nothing: does `build` hand shape.dropout on to its layers?"


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_weight_decay_shrinks_the_weights(optimizer):
    plain, decayed = (make(optimizer=optimizer, weight_decay=d, lr=0.01).fit(X, Y) for d in (0.0, 1.0))
    norms = [sum(float(p.detach().square().sum()) for p in m.network_.parameters()) for m in (plain, decayed)]
    assert norms[1] < 0.9 * norms[0]


def test_defaults_learn():
    model = MultiTaskRegressor(random_state=0).fit(X, Y)
    assert model.score(X, Y) > 0.8


def test_wide_tables_of_tasks():
    X_wide, _ = make_table("regression", n_samples=30)
    y = X_wide @ np.random.default_rng(0).normal(size=(5, 300))
    model = make_estimator(max_epochs=2).fit(X_wide, y)
    assert model.predict(X_wide).shape == (30, 300)
    assert len(model.task_names_) == 300
