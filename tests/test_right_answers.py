"""Situations from public bug reports, and what trying to break the package found: the right answer of each.

Numbers: "fault n" are situations of other packages' users, "reliability n" findings of a hostile trial.
"""

from __future__ import annotations

import os
import threading
import warnings
from decimal import Decimal
from fractions import Fraction

import dask.array
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict
from sklearn.utils._param_validation import InvalidParameterError

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.metrics import make_task_scorer, task_scores
from skmtl.model_selection import StackedGridSearchCV, sharing_path, transfer_gain
from skmtl.sharing import STRATEGIES
from skmtl.training import DivergedError
from tests._asserts import assert_same_outputs
from tests._cases import make_estimator, make_table

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 4))
SIGN = X[:, 0] > 0
FRAME = pd.DataFrame({"a": X[:, 0], "b": X[:, 1]})
CLASSES = pd.DataFrame({"a": SIGN.astype(int), "b": (~SIGN).astype(int)})
every_strategy = pytest.mark.parametrize("sharing", STRATEGIES)


ONE = {"n_members": 1, "early_stopping": False}


def regressor(**params):
    return MultiTaskRegressor(**{"random_state": 0, **ONE, **params})


def classifier(**params):
    return MultiTaskClassifier(**{"random_state": 0, **ONE, **params})


# ---- names (faults 3, 4, 5; reliability 5) --------------------------------------------------------------------------

OTHERS = {
    "permuted": FRAME[["b", "a"]],
    "another name": FRAME.rename(columns={"b": "c"}),
    "polars": pl.DataFrame({"b": X[:, 1], "a": X[:, 0]}),
}
WAYS = {
    "y_val": lambda y: regressor(max_epochs=1).fit(X, FRAME, X_val=X, y_val=y),
    "partial_fit": lambda y: regressor().partial_fit(X, FRAME).partial_fit(X, y),
    "warm start": lambda y: regressor(max_epochs=1, warm_start=True).fit(X, FRAME).fit(X, y),
    "sample_weight": lambda y: regressor(max_epochs=1).fit(
        X, FRAME, sample_weight=abs(pd.DataFrame(y.to_dict(as_series=False)) if isinstance(y, pl.DataFrame) else y)
    ),
    "score": lambda y: regressor(max_epochs=1).fit(X, FRAME).score(X, y),
    "score_tasks": lambda y: regressor(max_epochs=1).fit(X, FRAME).score_tasks(X, y),
    "weight of a score": lambda y: (
        regressor(max_epochs=1)
        .fit(X, FRAME)
        .score(
            X, FRAME, sample_weight=abs(pd.DataFrame(y.to_dict(as_series=False)) if isinstance(y, pl.DataFrame) else y)
        )
    ),
    "task_scores": lambda y: task_scores("r2", FRAME, y),
    "task_scores, y_true": lambda y: task_scores("r2", y, FRAME),
    "scorer": lambda y: make_task_scorer("r2")(regressor(max_epochs=1).fit(X, FRAME), X, y),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("given", OTHERS)
def test_columns_of_another_order_or_name_are_refused_everywhere(way, given):
    names = list(OTHERS[given].columns)
    message = r"must be in the order of the tasks, and named as they are: \['\w', '\w'\]. Found \['\w', '\w'\]"
    with pytest.raises(ValueError, match=message) as error:
        WAYS[way](OTHERS[given])
    assert repr(names) in str(error.value)
    assert "['a', 'b']" in str(error.value)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("given", [FRAME, pd.DataFrame(FRAME.to_numpy())], ids=["equal", "without names"])
def test_equal_names_and_none_are_taken(way, given):
    WAYS[way](given)


def test_a_fit_without_names_takes_any():
    model = regressor(max_epochs=1).fit(X, FRAME.to_numpy())
    assert model.score(X, FRAME) == model.score(X, FRAME[["a", "b"]].to_numpy())
    with pytest.raises(ValueError, match=r"\['0', '1'\]. Found \['1', '0'\]"):
        model.score(X, pd.DataFrame(FRAME.to_numpy(), columns=[1, 0]))


def test_a_series_of_another_name_is_refused():
    model = regressor(max_epochs=1).fit(X, FRAME["a"])
    assert model.task_names_ == ["a"]
    assert model.score(X, FRAME["a"]) == model.score(X, FRAME["a"].to_numpy())
    with pytest.raises(ValueError, match=r"\['a'\]. Found \['b'\]"):
        model.score(X, FRAME["b"])


def test_fault_5_weights_go_to_their_own_task():
    y = FRAME.copy()
    y.loc[50:, "b"] = 1e3
    weight = pd.DataFrame({"a": 1.0, "b": np.where(np.arange(200) < 50, 1.0, 0.0)})
    assert regressor().fit(X, y, sample_weight=weight).score_tasks(X[:50], y[:50])["b"] > 0.9


def test_named_weights_of_tasks_are_never_read_by_position():
    """A sibling of fault 5: a Series is an array too."""
    by_name = pd.Series({"b": 0.0, "a": 1.0})
    one = regressor(max_epochs=3, task_weights=by_name).fit(X, FRAME)
    other = regressor(max_epochs=3, task_weights={"b": 0.0, "a": 1.0}).fit(X, FRAME)
    assert_same_outputs(one, other, X)
    with pytest.raises(ValueError, match=r"task_weights names unknown tasks \['c'\]"):
        regressor(task_weights=pd.Series({"c": 1.0, "a": 1.0})).fit(X, FRAME)


def test_searches_and_comparisons_keep_names():
    model = regressor(max_epochs=2, sharing="soft")
    weight = pd.DataFrame({"b": np.ones(200), "a": np.ones(200)})
    with pytest.raises(ValueError, match="columns of sample_weight must be in the order"):
        transfer_gain(model, X, FRAME, cv=2, n_repeats=1, params={"sample_weight": weight})
    assert sharing_path(model, X, FRAME, sharing_lambdas=[0.1], cv=2).task_names == ["a", "b"]
    search = StackedGridSearchCV(model, {"lr": [1e-3]}, cv=2, error_score="raise")
    with pytest.raises(ValueError, match="columns of sample_weight must be in the order"):
        search.fit(X, FRAME, sample_weight=weight)
    with pytest.raises(ValueError, match=r"\['a', 'b'\]. Found \['b', 'a'\]"):
        search.fit(X, FRAME).score(X, FRAME[["b", "a"]])


def test_names_are_taken_from_the_first_table_that_has_some():
    model = classifier().partial_fit(X, CLASSES.to_numpy()).partial_fit(X, CLASSES)
    assert model.task_names_ == ["a", "b"]
    with pytest.raises(ValueError, match=r"\['a', 'b'\]. Found \['b', 'a'\]"):
        model.partial_fit(X, CLASSES[["b", "a"]])
    assert model.partial_fit(X, pd.DataFrame(CLASSES.to_numpy())).task_names_ == ["a", "b"]


def test_a_single_column_of_weights_or_predictions_may_be_called_as_it_likes():
    weight = pd.DataFrame({"w": np.ones(200)})
    assert regressor(max_epochs=1).fit(X, FRAME["a"], sample_weight=weight).task_names_ == ["a"]
    assert task_scores("r2", FRAME["a"], pd.DataFrame({"prediction": FRAME["a"]})) == {"a": 1.0}


# ---- order (fault 7) ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_members", [1, 2])
@pytest.mark.parametrize("sharing", ["independent", "soft"])
def test_fault_7_towers_are_transformed_in_the_order_of_the_tasks(sharing, n_members):
    """With all weight on one task the other tower stays as it was drawn: it is the second block that then moves not."""
    y = np.column_stack([RNG.integers(0, 3, 200), RNG.integers(0, 2, 200)])  # the layout puts two classes first
    params = {"sharing": sharing, "sharing_lambda": 0.0, "hidden_layer_sizes": (7,), "n_members": n_members}
    start = classifier(max_epochs=1, lr=1e-30, **params).fit(X, y).transform(X)
    for task in (0, 1):
        weights = {str(task): 1.0, str(1 - task): 0.0}
        moved = classifier(max_epochs=3, task_weights=weights, weight_decay=0.0, **params).fit(X, y).transform(X)
        blocks = np.abs(moved - start).max(axis=0).reshape(n_members, 2, 7).max(axis=(0, 2))
        assert blocks[task] > 1e-3 > 1e-12 > blocks[1 - task]


@every_strategy
def test_the_width_of_transform_is_what_names_say(sharing):
    y = np.column_stack([RNG.integers(0, 3, 200), SIGN])
    model = classifier(sharing=sharing, max_epochs=1, n_members=2, hidden_layer_sizes=(8,)).fit(X, y)
    assert len(model.get_feature_names_out()) == model.transform(X).shape[1]


# ---- labels come back as they went in (faults 6, 25; reliability 32) ------------------------------------------------


def test_fault_6_ids_beyond_floats_come_back():
    ids = np.where(SIGN, 2**53 + 1, 2**53)
    y = pd.DataFrame({"id": ids, "flag": SIGN.astype(float)})
    y.loc[0, "flag"] = np.nan
    model = classifier().fit(X, y)
    frame = model.predict_frame(X)
    assert frame["id"].dtype == np.int64
    assert set(frame["id"]) == {2**53, 2**53 + 1}
    assert np.mean(frame["id"] == ids) > 0.9
    assert np.mean(model.predict(X)[:, 0].tolist() == ids) > 0.9
    assert task_scores("accuracy", ids, np.full(200, float(2**53)))["0"] == np.mean(ids == 2**53)
    out_of_fold = cross_val_predict(classifier(max_epochs=2), X, y, cv=KFold(2))
    assert {*out_of_fold[:, 0].tolist()} <= {2**53, 2**53 + 1}


WIDE = {
    "int64 and uint64": (np.array([-1, -2]), np.array([2**64 - 1, 2**63], dtype=np.uint64)),
    "int64 and float": (np.array([2**60 + 1, 2**60]), np.array([0.0, 1.0])),
    "bool and int": (np.array([True, False]), np.array([3, 4])),
    "beyond 64 bits": (np.fromiter([2**70, 2**70 + 1], dtype=object), np.array([0, 1])),
    "text of two lengths": (np.array(["a", "b"]), np.array(["long", "longer"])),
}


@pytest.mark.parametrize("case", WIDE)
def test_labels_are_members_of_their_classes(case):
    columns = [labels[SIGN.astype(int)] for labels in WIDE[case]]
    model = classifier(max_epochs=2).fit(X, pd.DataFrame(dict(zip("ab", columns, strict=True))))
    for t, (predicted, labels) in enumerate(zip(model.predict(X).T, WIDE[case], strict=True)):
        assert set(predicted.tolist()) <= set(labels.tolist())
        assert set(model.classes_[t].tolist()) == set(labels.tolist())


@pytest.mark.parametrize("y", [[2**63 + 1, 5], [[2**53 + 1, 0.5], [2**53, 1.5]], ["a\0", "a"]], ids=str)
def test_lists_keep_what_numpy_would_round(y):
    model = classifier(max_epochs=1).fit([[0.0], [1.0]], [[v] if not isinstance(v, list) else [v[0]] for v in y])
    assert set(model.classes_[0].tolist()) == {v[0] if isinstance(v, list) else v for v in y}


@pytest.mark.parametrize("container", [list, tuple, lambda y: np.fromiter(y, dtype=object)])
def test_bytes_beside_text_stay_bytes(container):
    labels = ["a", b"a", b"\xff"]
    model = classifier(max_epochs=1).fit(X[:6], container(labels * 2))
    assert set(model.classes_.tolist()) == set(labels)


@pytest.mark.parametrize("chunk", [np.array(["x", "yy"]), np.array([0, 1], dtype=np.int8), np.array([False, True])])
def test_all_classes_fit_into_the_dtype_of_the_first_chunk(chunk):
    classes = {"U": ["x", "yy", "a long one"], "i": [0, 1, 1000], "b": [0, 1, 2]}[chunk.dtype.kind]
    y = np.column_stack([chunk, chunk])
    model = classifier(lr=0.5).partial_fit(X[:2], y, classes=[classes, classes])
    for _ in range(30):
        model.partial_fit(X[:2], np.array([[classes[2]] * 2] * 2))
    assert model.predict(X[:2]).tolist() == [[classes[2]] * 2] * 2


def test_fault_25_float16_targets_do_not_overflow():
    y = (60000 * np.tanh(X[:, 0])).astype(np.float16)
    model = regressor().fit(X, y)
    assert model.predict(X).dtype == np.float32
    assert np.isfinite(model.predict(10 * X)).all()
    assert model.score(X, y) > 0.9


@pytest.mark.parametrize("size", [3e38, 1e-30])
def test_float32_targets_near_the_ends_of_their_range(size):
    y = (size * np.tanh(X[:, :2])).astype(np.float32)
    model = regressor().fit(X, y)
    assert np.isfinite(model.predict(10 * X)).all()
    assert model.score(X, y.astype(float)) > 0.9


def test_dates_are_one_label_whatever_holds_them():
    nanoseconds = np.array([1577836800000000001, 1577836800000000002]).astype("M8[ns]")[SIGN.astype(int)]
    for metric in ("accuracy", "balanced_accuracy", "f1_macro"):
        assert task_scores(metric, nanoseconds, pd.Series(nanoseconds))["0"] == 1.0
    model = classifier(max_epochs=30).fit(X, nanoseconds)
    assert make_task_scorer("f1_macro")(model, X, pd.Series(nanoseconds))["0"] > 0.9
    model.partial_fit(X, pd.Series(nanoseconds))
    for odd in (nanoseconds.astype(np.int64), nanoseconds.astype("m8[ns]")):
        with pytest.raises(ValueError, match="unknown labels"):
            model.partial_fit(X, odd)
    weighted = classifier(max_epochs=1, class_weight={nanoseconds[0]: 1.0, nanoseconds[1]: 2.0})
    assert len(weighted.fit(X, pd.Series(nanoseconds)).classes_) == 2


@pytest.mark.parametrize("dtype", [pl.Date, pl.Datetime("us", "Europe/Berlin"), pl.Datetime("ns"), pl.Duration("ns")])
def test_polars_times_are_read_alike_with_and_without_a_gap(dtype):
    whole = pl.DataFrame({"a": pl.Series(np.where(SIGN, 20000, 20001)).cast(dtype)})
    model = classifier(max_epochs=30).fit(X, whole)
    assert len(model.classes_[0]) == 2
    nulls = whole.with_columns(pl.when(pl.int_range(pl.len()) > 0).then(pl.col("a")).alias("a"))
    assert classifier(max_epochs=1).fit(X, nulls).classes_[0].tolist() == model.classes_[0].tolist()
    assert model.score(X, nulls) > 0.9


def test_out_of_fold_labels_of_several_types_come_back():
    from skmtl.model_selection import cross_val_predict as predict_all

    halves = [(np.arange(100), np.arange(100, 200)), (np.arange(100, 200), np.arange(100))]
    for one, other in (([2**63, 2**63 + 1], [-1, -2]), (["u", "v"], [0, 1]), (["u", "v"], [b"u", b"v"])):
        y = np.fromiter([(one if k < 100 else other)[int(s)] for k, s in enumerate(SIGN)], dtype=object)
        found = predict_all(classifier(max_epochs=5), X, y, cv=halves)
        assert set(found.tolist()) <= {*one, *other}
        assert set(map(type, found.tolist())) == {type(one[0]), type(other[0])}
    log_proba = predict_all(classifier(max_epochs=1), X, SIGN, cv=halves, method="predict_log_proba")
    np.testing.assert_allclose(np.exp(log_proba).sum(axis=1), 1.0)


# ---- scale of regression targets (faults 12, 26, 31; reliability 9) -------------------------------------------------


@pytest.mark.parametrize("unit", [1e-300, 1e-6, 1.0, 1e9, 1e300])
@pytest.mark.parametrize("n_labels", [1, 2])
def test_fault_12_a_task_of_equal_labels_predicts_them_in_any_unit(unit, n_labels):
    y = np.column_stack([X[:, 0], np.full(200, np.nan)])
    y[:n_labels, 1] = 5e-7
    predicted = regressor(max_epochs=3).fit(X, y * unit).predict(X)[:, 1]
    np.testing.assert_allclose(predicted, 5e-7 * unit, rtol=1e-12)


@pytest.mark.parametrize(
    ("a", "b"), [(1e300, 0.0), (1e-300, 0.0), (1e160, 0.0), (1e-170, 0.0), (3.0, 1e6), (1e-3, 7.0)]
)
@every_strategy
def test_predictions_follow_the_units_of_y(sharing, a, b):
    """Reliability 9: y -> a y + b is followed by predictions, at every size."""
    X_, y = make_table("regression", n_samples=100)
    model = make_estimator(sharing=sharing).fit(X_, y)
    other = make_estimator(sharing=sharing).fit(X_, a * y + b)
    rtol = 1e-6 if b else 1e-9
    size = np.abs(a * np.nanstd(y, axis=0))
    np.testing.assert_allclose((other.predict(X_) - b) / size, a * model.predict(X_) / size, rtol=rtol, atol=rtol)


@pytest.mark.parametrize(("label", "weight"), [(1e16, 1e-32), (1e20, 1e-40), (1e300, 1e-300)])
def test_extreme_labels_of_tiny_weight(label, weight):
    """Mean and deviation by exact fractions."""
    y, w = X[:, :1].copy(), np.ones((200, 1))
    y[0], w[0] = label, weight
    model = regressor(max_epochs=1).fit(X, y, sample_weight=w)
    fy, fw = [Fraction(v) for v in y[:, 0]], [Fraction(v) for v in w[:, 0]]
    mean = sum(a * b for a, b in zip(fw, fy, strict=True)) / sum(fw)
    variance = sum(a * (b - mean) ** 2 for a, b in zip(fw, fy, strict=True)) / sum(fw)
    size = float(Decimal(variance.numerator) ** Decimal("0.5") / Decimal(variance.denominator) ** Decimal("0.5"))
    assert model._codec.mean[0] == pytest.approx(float(mean), abs=1e-12 * size)
    assert model._codec.deviation[0] == pytest.approx(size, rel=1e-9)


def test_large_offsets_cost_nothing():
    y = 1e12 + np.column_stack([X[:, 0], X[:, 1]])
    assert regressor().fit(X, y).score(X, y) > 0.99


@pytest.mark.parametrize("first", [1, 2, 50])
def test_fault_26_a_first_chunk_that_says_little_does_no_harm(first):
    y = 1e6 + 1e5 * X[:, 0]
    model = regressor().partial_fit(X[:first], y[:first])
    for _ in range(300):
        model.partial_fit(X, y)
    assert model.score(X, y) > 0.95


def test_fault_31_a_stream_whose_level_moves_is_learned():
    order = np.argsort(X[:, 0])
    y = 1e4 * np.exp(X[:, 0])  # its level grows over the chunks
    model = regressor()
    for _ in range(60):
        for chunk in np.array_split(order, 10):
            model.partial_fit(X[chunk], y[chunk])
    assert model.score(X, y) > 0.9


def test_a_warm_start_takes_the_scale_of_its_rows():
    model = regressor(warm_start=True).fit(X, FRAME).fit(X, 1e6 + 1e3 * FRAME)
    assert model.score(X, 1e6 + 1e3 * FRAME) > 0.99


# ---- metrics (faults 9, 10) -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["roc_auc", "average_precision", "log_loss", "accuracy", "f1", "balanced_accuracy"])
def test_fault_9_labels_of_another_type_are_refused_by_every_metric(metric):
    model = classifier(max_epochs=3).fit(X, np.where(SIGN, "1", "0")[:, None])
    with pytest.raises(ValueError, match="Task '0'.*numbers"):
        make_task_scorer(metric)(model, X, SIGN.astype(int)[:, None])


@pytest.mark.parametrize("n", [7, 8])
def test_fault_10_constant_targets_have_one_score(n):
    y, predicted = np.full(n, 0.1), np.full(n, 0.2)
    assert task_scores("r2", y, predicted)["0"] == 0.0
    assert task_scores("explained_variance", y, y)["0"] == 1.0
    assert np.isnan(task_scores("rrmse", y, predicted)["0"])


def test_fault_10_a_constant_task_does_not_decide_a_search():
    y = np.column_stack([X[:, 0], np.full(200, 0.1)])
    assert regressor(max_epochs=30).fit(X, y).score(X[:199], y[:199]) > 0.9
    search = GridSearchCV(regressor(max_epochs=30), {"lr": [1e-5, 1e-2]}, cv=3).fit(X, y)
    assert search.best_params_ == {"lr": 1e-2}
    assert search.best_score_ > 0.9


# ---- class weights (fault 14; reliability 20) -----------------------------------------------------------------------


@pytest.mark.parametrize("search", [GridSearchCV, StackedGridSearchCV])
def test_fault_14_a_weighted_class_may_be_absent_from_a_fold(search):
    y = np.where(X[:, 0] > 0, "a", "b").astype(object)
    y[199] = "rare"
    weights = {"a": 1, "b": 1, "rare": 10}
    scores = [
        GridSearchCV(model, grid, cv=KFold(3)).fit(X, y).cv_results_["mean_test_score"][0]
        for model, grid in (
            (classifier(max_epochs=20, class_weight=weights), {"lr": [0.01]}),
            (LogisticRegression(class_weight=weights), {"C": [1.0]}),
        )
    ]
    assert scores[0] == pytest.approx(scores[1], abs=0.05)


@pytest.mark.parametrize("odd", [np.array([1.0, 2.0]), pd.Series([1.0, 2.0]), 3, "unbalanced"])
def test_reliability_20_class_weights_of_another_type_are_named(odd):
    with pytest.raises(ValueError, match="Task 'a': class_weight must be 'balanced', a dict or None"):
        classifier(class_weight=[odd, None]).fit(X, CLASSES)


def test_names_of_class_weights_hold_for_chunks_without_names():
    by_name, by_place = ({"b": {0: 1.0, 1: 5.0}}, [None, {0: 1.0, 1: 5.0}])
    models = [classifier(class_weight=weights).partial_fit(X, CLASSES) for weights in (by_name, by_place)]
    one, other = (model.partial_fit(X, CLASSES.to_numpy()) for model in models)
    assert_same_outputs(one, other, X)


# ---- missing is missing in every container (faults 16, 21, 22, 23, 24, 29; reliability 10, 11) ----------------------


def test_fault_16_what_is_masked_is_missing():
    y = np.ma.array(X[:, :2].copy(), mask=np.zeros((200, 2), bool))
    y.data[:50, 1] = -9999.0
    y.mask[:50, 1] = True
    plain = np.where(y.mask, np.nan, y.data)
    assert_same_outputs(regressor(max_epochs=3).fit(X, y), regressor(max_epochs=3).fit(X, plain), X)
    codes = np.ma.masked_equal(np.where(X[:, :2] > 1, -1, (X[:, :2] > 0).astype(int)), -1)
    model = classifier(max_epochs=3).fit(X, codes)
    assert [c.tolist() for c in model.classes_] == [[0, 1], [0, 1]]
    rows = [np.ma.array(row.data, mask=row.mask) for row in codes]
    assert_same_outputs(model, classifier(max_epochs=3).fit(X, rows), X)
    assert_same_outputs(model, classifier(max_epochs=3).fit(X, codes.tolist()), X)  # with None


@pytest.mark.parametrize("masked", [["a", np.ma.masked, "b"], [1, np.ma.masked, 2], [1.5, np.ma.masked, 2.5]])
def test_masked_cells_of_lists(masked):
    estimator = regressor if masked[0] == 1.5 else classifier
    model = estimator(max_epochs=1).fit(X[:3], masked)
    assert estimator is regressor or len(model.classes_) == 2


def test_masked_features_are_refused():
    with pytest.raises(ValueError, match="X must hold finite numbers. Found masked entries"):
        regressor().fit(np.ma.masked_greater(X, 1.0), FRAME)


@pytest.mark.parametrize("marker", [np.nan, None, "missing", pd.NA], ids=str)
def test_strings_of_variable_width(marker):
    y = np.array(["yes" if s else "no" for s in SIGN], dtype=np.dtypes.StringDType(na_object=marker))
    y[:20] = marker
    model = classifier(max_epochs=2).fit(X, y)
    assert model.classes_.tolist() == ["no", "yes"]
    assert set(model.predict(X)) <= {"no", "yes"}


@pytest.mark.parametrize("unit", ["D", "s", "ns"])
def test_reliability_11_no_time_is_a_missing_label(unit):
    days = np.where(SIGN, "2020-01-01", "2021-01-01").astype(f"M8[{unit}]")
    days[:20] = "NaT"
    model = classifier(max_epochs=2).fit(X, np.column_stack([days, days]))
    assert len(model.classes_[0]) == 2
    assert set(np.unique(model.predict(X))) <= set(np.unique(days[20:]))
    frame = pd.DataFrame({"day": days, "sign": SIGN})
    assert not pd.isna(classifier(max_epochs=2).fit(X, frame).predict_frame(X)["day"]).any()


@pytest.mark.parametrize("kind", ["M8[ns]", "m8[s]", "U3"])
def test_reliability_10_what_is_no_number_is_no_regression_target(kind):
    with pytest.raises(ValueError, match="Task '0': a regression target must hold numbers. Found"):
        regressor().fit(X, np.ones((200, 2), dtype="i8").astype(kind))


NUMBERS = {
    "integers beyond 64 bits": [int(10**20 * (2 + v)) for v in X[:, 0]],
    "fractions": [Fraction(v) for v in X[:, 0]],
    "decimals": [Decimal(str(v)) for v in X[:, 0]],
    "mixed": [Decimal(str(v)) if k % 2 else v for k, v in enumerate(X[:, 0])],
    "polars decimals": pl.Series([Decimal(f"{v:.6f}") for v in X[:, 0]]),
    "bools": SIGN,
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_faults_21_and_22_every_number_is_a_number(kind):
    y = NUMBERS[kind]
    model = regressor(max_epochs=30).fit(X, y)
    floats = np.array([float(v) for v in y])
    np.testing.assert_array_equal(model.predict(X), regressor(max_epochs=30).fit(X, floats).predict(X))
    assert model.score(X, y) == pytest.approx(model.score(X, floats))


def test_a_decimal_that_is_none_is_missing():
    """Reliability 32."""
    y = np.array([Decimal("NaN"), Decimal("sNaN"), *[Decimal(int(s)) for s in SIGN[2:]]], dtype=object)
    assert len(classifier(max_epochs=1).fit(X, y).classes_) == 2
    plain = np.array([np.nan, np.nan, *SIGN[2:]], dtype=float)
    assert_same_outputs(regressor(max_epochs=1).fit(X, y), regressor(max_epochs=1).fit(X, plain), X)


@pytest.mark.parametrize("infinite", [Decimal("Infinity"), -np.inf, 10**400, np.longdouble("1e400")], ids=str)
def test_infinite_targets_are_refused_in_every_container(infinite):
    with pytest.raises(ValueError, match="Task '0'|task '0'"):
        regressor().fit(X, np.array([infinite, *X[1:, 0]], dtype=object))


REFUSED = {
    "sparse": (sp.csr_matrix(CLASSES), TypeError, r"Sparse data was passed for y.*toarray\(\)"),
    "dict": ({"a": X[:, 0], "b": X[:, 1]}, TypeError, "y must be an array, a list or a frame. Found dict"),
    "set": (set(range(200)), TypeError, "Found set"),
    "text": ("labels", TypeError, "Found str"),
    "generator": ((v for v in range(200)), TypeError, "Found generator"),
    "list of dicts": ([{"a": 1, "b": 2}] * 200, TypeError, "Found a list of dicts"),
    "structured": (np.zeros(200, dtype=[("a", float), ("b", int)]), ValueError, r"structured array .* \['a', 'b'\]"),
    "record": (np.zeros(200, dtype=[("a", float)]).view(np.recarray), ValueError, "structured array"),
    "3-D": (np.zeros((200, 2, 2)), ValueError, r"y must be 1-D or 2-D. Found an array of shape \(200, 2, 2\)"),
}


@pytest.mark.parametrize("container", REFUSED)
@pytest.mark.parametrize("estimator", [regressor, classifier])
def test_fault_23_what_is_no_table_is_refused_by_name(container, estimator):
    y, kind, message = REFUSED[container]
    with pytest.raises(kind, match=message):
        estimator().fit(X, y)


@pytest.mark.parametrize("label", [{"a": 1}, [1, 2], np.array([1, 2]), {1}], ids=str)
def test_what_can_be_no_label_is_refused(label):
    """Reliability 28."""
    y = pd.DataFrame({"odd": [label] * 200, "even": 0})
    for estimator in (classifier, regressor):
        with pytest.raises(ValueError, match="Task 'odd'"):
            estimator().fit(X, y)


def test_fault_24_arrow_tables_and_columns():
    y = pa.table({"a": [None, *SIGN[1:].tolist()], "b": ["x" if s else None for s in SIGN]})
    model = classifier(max_epochs=2).fit(X, y)
    assert model.task_names_ == ["a", "b"]
    assert [c.tolist() for c in model.classes_] == [[False, True], ["x"]]
    assert_same_outputs(model, classifier(max_epochs=2).fit(X, y.to_pandas()), X)
    for column in (pa.array(X[:, 0]), pa.chunked_array([X[:100, 0], X[100:, 0]])):
        assert_same_outputs(regressor(max_epochs=2).fit(X, column), regressor(max_epochs=2).fit(X, X[:, 0]), X)
    ids = pd.DataFrame({"id": pd.array([None, *(2**53 + SIGN[1:])], dtype=pd.ArrowDtype(pa.int64()))})
    assert classifier(max_epochs=1).fit(X, ids).classes_[0].tolist() == [2**53, 2**53 + 1]


class OnDisk:
    """An array in a file, as h5py and zarr give it: it has a name that is no column's."""

    def __init__(self, array):
        self._array, self.name, self.shape, self.dtype, self.ndim = (
            array,
            "/group/y",
            array.shape,
            array.dtype,
            array.ndim,
        )

    def __array__(self, dtype=None, copy=None):
        return np.array(self._array, dtype=dtype)

    def __len__(self):
        return len(self._array)


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("form", [OnDisk, dask.array.from_array, torch.as_tensor])
def test_fault_29_arrays_of_other_libraries(form, ndim):
    y = X[:, 0] if ndim == 1 else X[:, :2]
    model = regressor(max_epochs=2).fit(form(X), form(y))
    assert model.task_names_ == ["0", "1"][:ndim]
    assert_same_outputs(model, regressor(max_epochs=2).fit(X, y), X)


def test_tensors_that_ask_for_gradients():
    """Reliability 27."""
    tensor = torch.tensor(X, requires_grad=True)
    assert_same_outputs(regressor(max_epochs=1).fit(tensor, tensor[:, :2]), regressor(max_epochs=1).fit(X, X[:, :2]), X)


# ---- parameters and features of other types (faults 19, 20; reliability 15, 19) -------------------------------------


@pytest.mark.parametrize("whole", [np.int64, np.int32, np.uint8])
def test_fault_19_every_whole_number_may_be_numpys(whole):
    params = {"batch_size": 16, "max_epochs": 2, "n_members": 2, "n_iter_no_change": 2, "random_state": 3}
    params |= {"hidden_layer_sizes": (8,), "head_layer_sizes": (3,), "verbose": 0}
    as_numpy = {k: tuple(map(whole, v)) if isinstance(v, tuple) else whole(v) for k, v in params.items()}
    plain, numpys = (MultiTaskRegressor(early_stopping=True, **p).fit(X, FRAME) for p in (params, as_numpy))
    assert_same_outputs(plain, numpys, X)
    single = MultiTaskRegressor(hidden_layer_sizes=whole(8), max_epochs=whole(1)).partial_fit(X, FRAME)
    assert single.predict(X).shape == (200, 2)


@pytest.mark.parametrize("search", [GridSearchCV, StackedGridSearchCV])
def test_fault_19_grids_of_numpys_numbers(search):
    grid = {"batch_size": np.array([16, 32]), "lr": np.array([1e-3, 1e-2], dtype=np.float32)}
    scores = search(regressor(max_epochs=2), grid, cv=2).fit(X, FRAME).cv_results_["mean_test_score"]
    assert np.isfinite(scores).all()


STRIDES = {
    "rows from the end": lambda Z: Z[::-1],
    "columns from the end": lambda Z: Z[:, ::-1],
    "flipped": np.flip,
    "fields of records": lambda Z: np.rec.fromarrays([np.zeros(len(Z), "i1"), *Z.T]).view("i1, 4f8")["f1"],
    "every other row": lambda Z: np.repeat(Z, 2, axis=0)[::2],
    "columns first": np.asfortranarray,
    "one row for all": lambda Z: np.broadcast_to(Z[:1], Z.shape),
    "read-only": lambda Z: np.frombuffer(Z.tobytes()).reshape(Z.shape),
    "other byte order": lambda Z: Z.astype(">f8"),
}


@pytest.mark.parametrize("rows", ["torch", "series", "matrix"])
def test_rows_and_tables_of_other_types(rows):
    y = 1e17 * FRAME
    if rows == "matrix":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PendingDeprecationWarning)
            given = np.asmatrix(y.to_numpy())
    else:
        given = [torch.tensor(row) if rows == "torch" else pd.Series(row) for row in y.to_numpy()]
    assert_same_outputs(regressor(max_epochs=1).fit(X, given), regressor(max_epochs=1).fit(X, y), X)


@pytest.mark.parametrize("way", STRIDES)
def test_fault_20_features_may_lie_in_memory_as_they_like(way):
    Z = STRIDES[way](X)
    plain = np.ascontiguousarray(Z, dtype=float)
    model, other = (regressor(max_epochs=2).fit(values, FRAME) for values in (Z, plain))
    assert_same_outputs(model, other, plain)
    np.testing.assert_array_equal(model.predict(Z), model.predict(plain))
    np.testing.assert_array_equal(model.transform(Z), model.transform(plain))
    for search in (GridSearchCV, StackedGridSearchCV):
        assert search(regressor(max_epochs=1), {"lr": [0.01]}, cv=2).fit(Z, FRAME).best_score_ == pytest.approx(
            search(regressor(max_epochs=1), {"lr": [0.01]}, cv=2).fit(plain, FRAME).best_score_
        )


def test_fault_30_a_file_is_read_in_place(tmp_path):
    from skmtl._memory import tensor_over

    np.save(tmp_path / "X.npy", X)
    file = np.load(tmp_path / "X.npy", mmap_mode="r")
    assert tensor_over(file).data_ptr() == file.ctypes.data
    assert_same_outputs(regressor(max_epochs=2).fit(file, FRAME), regressor(max_epochs=2).fit(X, FRAME), X)


def test_reliability_15_any_patience():
    model = regressor(early_stopping=True, n_iter_no_change=2**70, max_epochs=3).fit(X, FRAME)
    assert model.n_iter_ == 3


ODD = {
    "warm_start": [pd.NA, np.array([True, False])],
    "early_stopping": [pd.NA, np.array([True, False]), "yes"],
    "lr": [Fraction(1, 2), 10**400, "fast"],
    "sharing_lambda": [-1, "strong"],
    "weight_decay": [10**400],
    "dropout": [Fraction(1, 2)],
    "hidden_layer_sizes": [(10**12,), (2**64,), [[1], [1, 2]]],
    "batch_size": [2.5, 0],
}


def test_invalid_parameters_keep_scikit_learns_message():
    with pytest.raises(InvalidParameterError, match="The 'lr' parameter of MultiTaskRegressor must be a float"):
        regressor(lr=-1).fit(X, FRAME)


@pytest.mark.parametrize(
    ("name", "value"),
    [pytest.param(name, value, id=f"{name} {k}") for name, values in ODD.items() for k, value in enumerate(values)],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_reliability_19_parameters_are_checked_before_they_are_used(name, value, method):
    with pytest.raises(ValueError, match=name):
        getattr(regressor(**{name: value}), method)(X, FRAME)


# ---- weights (reliability 14, 18) -----------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-300, 1e-50, 1e38, 1e307])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["regression", "multiclass"])
def test_reliability_14_only_ratios_of_weights_matter(scale, dtype, kind):
    X_, y = make_table(kind, dtype=dtype)
    weight = np.random.default_rng(0).uniform(0.5, 1.0, size=y.shape)
    model = make_estimator(kind).fit(X_, y, sample_weight=weight)
    other = make_estimator(kind).fit(X_, y, sample_weight=weight * scale)
    tolerance = 1e-4 if dtype == np.float32 else 1e-9
    assert_same_outputs(model, other, X_, rtol=tolerance, atol=tolerance)
    assert model.score(X_, y, sample_weight=weight) == pytest.approx(model.score(X_, y, sample_weight=weight * scale))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"lr": 1e-50}, "lr=1e-50 is 0 in float32, in which the network computes"),
        ({"dropout": 1 - 1e-9}, "dropout=0.999999999 is 1 in float32"),
        ({"task_weights": [1e39, 1.0]}, "task_weights=1e.39 is inf in float32"),
        ({"weight_decay": 1e39}, "weight_decay=1e.39 is inf in float32"),
    ],
)
def test_reliability_14_what_leaves_the_precision_is_named(params, message):
    with pytest.raises(ValueError, match=message):
        regressor(**params).fit(X.astype(np.float32), FRAME)
    if "dropout" not in params:
        regressor(max_epochs=1, **params).partial_fit(X[:5], FRAME[:5])  # in float64


@pytest.mark.parametrize("strength", [1e30, 1e38, 1e39, 1e300])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_strength_of_sharing_is_stable(strength, dtype):
    X_, y = make_table("regression", dtype=dtype)
    model = make_estimator(sharing="soft", sharing_lambda=strength, max_epochs=10).fit(X_, y)
    towers = model.network_.trunk.stack.flat_parameters()[0]
    assert float((towers - towers.mean(0)).abs().max()) <= 1e-6
    assert np.isfinite(model.predict(X_)).all()


def test_weights_of_tasks_may_be_far_apart():
    weight = np.column_stack([np.full(200, 1e200), np.full(200, 1e-200)])
    for class_weight in ("balanced", [None, None], {"a": {0: Decimal(1), 1: 2}}):
        model = classifier(class_weight=class_weight, max_epochs=2).fit(X, CLASSES, sample_weight=weight)
        plain = classifier(class_weight=class_weight, max_epochs=2).fit(X, CLASSES)
        assert_same_outputs(model, plain, X, rtol=1e-9)


def test_in_a_stream_weight_zero_is_a_missing_label_too():
    weight = np.column_stack([np.ones(200), np.zeros(200)])
    absent = FRAME.copy()
    absent["b"] = np.nan
    one = regressor().partial_fit(X, FRAME).partial_fit(X, FRAME, weight)
    assert_same_outputs(one, regressor().partial_fit(X, FRAME).partial_fit(X, absent), X)
    classes = [[0, 1], [0, 1]]
    classifier().partial_fit(X, CLASSES, classes, sample_weight=weight)
    only_one = CLASSES[CLASSES["b"] == 1]
    classifier(class_weight=[None, {0: 1, 1: 0}]).partial_fit(X[only_one.index], only_one, classes)
    with pytest.raises(ValueError, match="Task 'b': every observed label has weight zero"):
        regressor().fit(X, FRAME, sample_weight=weight)


@pytest.mark.parametrize(("classes", "message"), [([], "classes must hold"), ([[0, 1], []], "at least one label")])
def test_classes_without_labels_are_refused(classes, message):
    with pytest.raises(ValueError, match=message):
        classifier().partial_fit(X, CLASSES, classes=classes)


@pytest.mark.parametrize(
    "weight", [["a"] * 200, {"a": 1.0}, np.ones(200, dtype="M8[s]"), sp.csr_matrix(np.ones((200, 1))), [None] * 200]
)
def test_reliability_18_weights_that_are_no_numbers(weight):
    with pytest.raises((ValueError, TypeError), match="sample_weight"):
        regressor().fit(X, FRAME, sample_weight=weight)
    with pytest.raises((ValueError, TypeError), match="sample_weight"):
        task_scores("r2", FRAME, FRAME, sample_weight=weight)


# ---- what is learned is finite (reliability 2, 8, 12) ---------------------------------------------------------------


def test_reliability_12_the_last_update_is_looked_at():
    with pytest.raises(DivergedError, match="no longer finite"):
        classifier(lr=1e30).partial_fit(X.astype(np.float32), CLASSES)
    for epochs in range(1, 6):
        model = regressor(optimizer="sgd", lr=1.0, max_epochs=epochs)
        try:
            with np.errstate(all="ignore"):
                predicted = model.fit((10 * X).astype(np.float32), FRAME).predict((10 * X).astype(np.float32))
        except DivergedError:
            continue
        assert np.isfinite(predicted).all()


@pytest.mark.parametrize(("size", "dtype", "lr"), [(1e300, np.float64, 1e3), (1e30, np.float32, 1e8)])
def test_a_fit_whose_predictions_leave_the_units_of_y_raises(size, dtype, lr):
    y = (FRAME * size).astype(dtype)
    with pytest.raises(DivergedError, match="Predictions are no longer finite after the last update"):
        regressor(lr=lr, max_epochs=1, batch_size=1000, weight_decay=0.0).fit(X, y)


def test_a_task_of_one_class_does_no_harm_to_learned_weights():
    y = np.column_stack([SIGN, np.zeros(200)])
    model = classifier(weighting="uncertainty", batch_size=2, max_epochs=190, hidden_layer_sizes=(4,))
    assert model.fit(X.astype(np.float32), y).score(X.astype(np.float32), y) > 0.9


def test_a_validation_loss_that_is_not_finite_is_told():
    X_val = X.astype(np.float32).copy()
    X_val[0] = 1e30
    model = regressor(early_stopping=True, max_epochs=3)
    with pytest.warns(ConvergenceWarning, match="validation loss is not finite from epoch 1"):
        model.fit(X.astype(np.float32), FRAME, X_val=X_val, y_val=FRAME)


def test_fault_27_a_first_chunk_may_lack_a_task_whose_classes_are_given():
    y = np.column_stack([X[:, 0] > 0, X[:, 1] > 0]).astype(float)
    first = y[:20].copy()
    first[:, 1] = np.nan
    model = classifier().partial_fit(X[:20], first, classes=[[0, 1], [0, 1]])
    assert np.isnan(model.history_[-1]["train_task_losses"][1])
    for _ in range(100):
        model.partial_fit(X[20:], y[20:])
    assert model.score(X, y) > 0.9
    with pytest.raises(ValueError, match="Task '1': every label is missing"):
        classifier().partial_fit(X[:20], first)


@pytest.mark.parametrize("other", [[[0, 1], [0, 1, 2]], [[0, 1], ["0", "1"]]])
def test_other_classes_than_before_are_refused(other):
    y = CLASSES.to_numpy()
    model = classifier().partial_fit(X, y, classes=[[0, 1], [1, 0]])
    model.partial_fit(X, y, classes=[[1, 0], [0, 1]]).partial_fit(X, y)
    with pytest.raises(ValueError, match="is not the same as on last call to partial_fit"):
        model.partial_fit(X, y, classes=other)


def test_fault_32_a_validation_set_may_lack_a_task():
    y_val = FRAME.copy()
    y_val["b"] = np.nan
    model = regressor(early_stopping=True, max_epochs=5)
    with pytest.warns(UserWarning, match="y_val has no label of 1 of 2 tasks.*'b'"):
        model.fit(X, FRAME, X_val=X, y_val=y_val)
    losses = model.history_[-1]["valid_task_losses"]
    assert np.isnan(losses[1])
    assert model.history_[-1]["valid_loss"] == pytest.approx(losses[0])
    y_val["a"] = np.nan
    with pytest.raises(ValueError, match="every label is missing in y_val"):
        model.fit(X, FRAME, X_val=X, y_val=y_val)


def test_reliability_2_ctrl_c_while_members_leave_is_ctrl_c(monkeypatch):
    from skmtl.training import Engine

    params = {"early_stopping": True, "n_iter_no_change": 1, "max_epochs": 40, "n_members": 4, "lr": 0.3, "tol": 0.0}
    model = regressor(hidden_layer_sizes=(5,), **params).fit(X, FRAME)
    before = model.predict(X)

    monkeypatch.setattr(Engine, "_lay_out", interrupted_later(Engine, 2))
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, FRAME)
    np.testing.assert_array_equal(model.predict(X), before)


def interrupted_later(engine, at):
    """Return a function that lays out a network and is interrupted at the second time, when members have left."""
    calls, lay_out = [], engine._lay_out

    def once(self, *args):
        calls.append(self)
        if len(calls) == at:
            raise KeyboardInterrupt
        return lay_out(self, *args)

    return once


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_reliability_8_a_fork_while_another_thread_fits_can_fit():
    """The child has no thread that would ever let go of the lock around torch's generator."""
    from skmtl._seeding import own_generator

    held, done = threading.Event(), threading.Event()

    def hold():
        with own_generator():
            held.set()
            done.wait(60)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forks beside threads
        child = os.fork()
    if child == 0:
        regressor(max_epochs=1).fit(X[:20], FRAME[:20])
        os._exit(0)
    try:
        assert _exit_status(child, seconds=60) == 0
    finally:
        done.set()
        thread.join()


def _exit_status(child, seconds):
    """Return the status of a process, None and its end if it does not come to one in time."""
    import signal
    import time

    for _ in range(20 * seconds):
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


# ---- small manners --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [False, True])
def test_log_probabilities(missing):
    y = np.column_stack([SIGN, np.digitize(X[:, 1], [-0.5, 0.5])]).astype(float)
    y[::3, 1] = np.nan if missing else y[::3, 1]
    for members in (1, 3):
        model = classifier(max_epochs=3, n_members=members).fit(X, y)
        for log_proba, proba in zip(model.predict_log_proba(X), model.predict_proba(X), strict=True):
            np.testing.assert_allclose(log_proba, np.log(proba), rtol=1e-9, atol=1e-12)
    assert np.isfinite(model.predict_log_proba(1e4 * X)[0]).all()
    single = classifier(max_epochs=3).fit(X, SIGN)
    np.testing.assert_allclose(single.predict_log_proba(X), np.log(single.predict_proba(X)))
    assert cross_val_predict(single, X, SIGN, cv=2, method="predict_log_proba").shape == (200, 2)


@pytest.mark.parametrize("rows", [X[:3].tolist(), tuple(map(tuple, X[:3])), X[:3]], ids=["list", "tuple", "array"])
def test_frames_of_predictions_for_lists(rows):
    frame = regressor(max_epochs=1).fit(X, FRAME).predict_frame(rows)
    assert frame.index.tolist() == [0, 1, 2]
    assert frame.columns.tolist() == ["a", "b"]


@pytest.mark.parametrize("value", [pd.NA, None, "high"], ids=str)
def test_what_is_no_feature_is_named(value):
    """Reliability 26."""
    frame = pd.DataFrame(X, columns=list("wxyz")).astype(object)
    frame.loc[3, "y"] = value
    with pytest.raises((ValueError, TypeError), match="Column 'y' of X must hold finite numbers"):
        regressor().fit(frame, FRAME)
    with pytest.raises(TypeError, match="X must be a 2-D array.*dict"):
        regressor().fit({"a": X[:, 0]}, FRAME)
