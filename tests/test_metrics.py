"""Scores per task: equal to scikit-learn's metrics on the observed rows, for every kind of label."""

import pickle
import warnings
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import torch
from sklearn import metrics as sk
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl.metrics import METRICS, UndefinedTaskWarning, make_task_scorer, task_scores

try:
    import pyarrow as pa
except ImportError:
    pa = None

FRAMES = [pd.DataFrame, pl.DataFrame, *([pa.table] if pa else [])]


class Fixed(ClassifierMixin, BaseEstimator):
    """An estimator whose answers are given: what a scorer makes of them can be checked by hand."""

    def __init__(self, labels=None, proba=None, classes_=None):
        self.labels, self.proba, self.classes_ = labels, proba, classes_

    def fit(self, X, y):
        return self

    def predict(self, X):
        return self.labels

    def predict_proba(self, X):
        return self.proba


@pytest.fixture
def rng():
    return np.random.default_rng(0)


LABEL_METRICS = {
    "accuracy": sk.accuracy_score,
    "f1_macro": lambda y, p, **kw: sk.f1_score(y, p, average="macro", **kw),
    "balanced_accuracy": sk.balanced_accuracy_score,
}
NUMBER_METRICS = {
    "r2": sk.r2_score,
    "explained_variance": sk.explained_variance_score,
    "mean_absolute_error": sk.mean_absolute_error,
    "mean_squared_error": sk.mean_squared_error,
    "root_mean_squared_error": sk.root_mean_squared_error,
    "neg_mean_absolute_error": lambda *a, **kw: -sk.mean_absolute_error(*a, **kw),
    "neg_mean_squared_error": lambda *a, **kw: -sk.mean_squared_error(*a, **kw),
    "neg_root_mean_squared_error": lambda *a, **kw: -sk.root_mean_squared_error(*a, **kw),
    "rrmse": lambda *a, **kw: np.sqrt(1 - sk.r2_score(*a, **kw)),
    "neg_rrmse": lambda *a, **kw: -np.sqrt(1 - sk.r2_score(*a, **kw)),
}


@pytest.mark.parametrize("weighted", ["unweighted", "rows", "rows and tasks"])
@pytest.mark.parametrize("name", NUMBER_METRICS)
def test_number_metrics_equal_sklearn_on_observed_rows(name, weighted, rng):
    y, predicted = rng.normal(size=(60, 3)), rng.normal(size=(60, 3))
    y[rng.random(y.shape) < 0.3] = np.nan
    shape = {"unweighted": None, "rows": (60,), "rows and tasks": (60, 3)}[weighted]
    weight = None if shape is None else rng.integers(0, 4, size=shape).astype(float)
    scores = task_scores(name, y, predicted, sample_weight=weight)
    assert list(scores) == ["0", "1", "2"]
    for t in range(3):
        seen = ~np.isnan(y[:, t])
        own = {} if weight is None else {"sample_weight": np.broadcast_to(weight.T, (3, 60))[t][seen]}
        assert scores[str(t)] == pytest.approx(NUMBER_METRICS[name](y[seen, t], predicted[seen, t], **own), rel=1e-9)


@pytest.mark.parametrize("labels", [["a", "b", "cc"], [0, 1, 2], [3.0, 4.0, 7.0], [True, False]], ids=str)
@pytest.mark.parametrize("name", LABEL_METRICS)
def test_label_metrics_equal_sklearn_on_observed_rows(name, labels, rng):
    y = rng.choice(np.array(labels, dtype=object), size=(80, 2))
    predicted = rng.choice(np.array(labels, dtype=object), size=(80, 2))
    weight = rng.random(80)
    seen = rng.random(y.shape) < 0.7
    y[~seen] = None
    scores = task_scores(name, y, predicted, sample_weight=weight)
    for t in range(2):
        s = seen[:, t]
        true, guess = np.array(y[s, t].tolist()), np.array(predicted[s, t].tolist())
        assert scores[str(t)] == pytest.approx(LABEL_METRICS[name](true, guess, sample_weight=weight[s]))


def test_f1_is_of_the_second_class(rng):
    y, predicted = rng.choice(["no", "yes"], size=(2, 50))
    expected = sk.f1_score(y, predicted, pos_label="yes")
    assert task_scores("f1", y, predicted) == {"0": pytest.approx(expected)}
    with pytest.raises(ValueError, match=r"Task '0': f1 needs two classes, found 3.*f1_macro"):
        task_scores("f1", ["a", "b", "c"], ["a", "b", "c"])


def test_f1_is_undefined_only_where_the_class_is_neither_observed_nor_predicted():
    classes = [np.array([0, 1])]
    assert np.isnan(task_scores("f1", [0, 0], [0, 0], classes=classes)["0"])
    assert task_scores("f1", [0, 0], [0, 1], classes=classes) == {"0": 0.0}


def test_mixed_labels_of_strings_and_numbers():
    y = pd.DataFrame({"a": ["x", 1, "x", 1, None]}, dtype=object)
    assert task_scores("accuracy", y, np.array([["x"], ["x"], ["x"], [1], [1]], dtype=object)) == {"a": 0.75}
    # class x: precision 2/3, recall 1 -> 0.8; class 1: precision 1, recall 1/2 -> 2/3
    scores = task_scores("f1_macro", y, np.array([["x"], ["x"], ["x"], [1], [1]], dtype=object))
    assert scores["a"] == pytest.approx((0.8 + 2 / 3) / 2)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames_give_the_names(frame):
    y = frame({"tox": ["a", None, "b"], "mass": ["u", "v", "v"]})
    assert task_scores("accuracy", y, frame({"tox": ["a", "a", "a"], "mass": ["u", "u", "u"]})) == {
        "tox": 0.5,
        "mass": pytest.approx(1 / 3),
    }


def _proba(rng, n, k):
    p = rng.random((n, k))
    return p / p.sum(axis=1, keepdims=True)


def test_probability_metrics_equal_sklearn(rng):
    y = np.stack([rng.integers(0, 2, 70), rng.integers(0, 4, 70)], axis=1).astype(float)
    y[rng.random(y.shape) < 0.2] = np.nan
    proba = [_proba(rng, 70, 2), _proba(rng, 70, 4)]
    weight = rng.random(70)
    seen = ~np.isnan(y)
    for w in (None, weight):
        own = [None if w is None else w[seen[:, t]] for t in range(2)]
        true, p = [y[seen[:, t], t] for t in range(2)], [proba[t][seen[:, t]] for t in range(2)]
        assert task_scores("roc_auc", y, proba, sample_weight=w) == {
            "0": pytest.approx(sk.roc_auc_score(true[0], p[0][:, 1], sample_weight=own[0])),
            "1": pytest.approx(
                np.mean([sk.roc_auc_score(true[1] == c, p[1][:, c], sample_weight=own[1]) for c in range(4)])
            ),
        }
        if w is None:
            ovr = sk.roc_auc_score(true[1], p[1], multi_class="ovr")
            assert task_scores("roc_auc", y, proba)["1"] == pytest.approx(ovr)
        assert task_scores("log_loss", y, proba, sample_weight=w) == {
            str(t): pytest.approx(sk.log_loss(true[t], p[t], sample_weight=own[t])) for t in range(2)
        }
        ap = task_scores("average_precision", y, proba, sample_weight=w)
        assert ap["0"] == pytest.approx(sk.average_precision_score(true[0], p[0][:, 1], sample_weight=own[0]))
        one_hot = np.eye(4)[true[1].astype(int)]
        assert ap["1"] == pytest.approx(sk.average_precision_score(one_hot, p[1], sample_weight=own[1]))


def test_log_loss_with_a_class_absent_from_the_rows_and_one_unknown_to_the_model():
    proba = np.array([[0.5, 0.25, 0.25], [0.125, 0.75, 0.125]])
    classes = [["a", "b", "c"]]
    # class c is not observed: -(ln 0.5 + ln 0.75) / 2
    assert task_scores("log_loss", ["a", "b"], proba, classes=classes)["0"] == pytest.approx(
        -(np.log(0.5) + np.log(0.75)) / 2
    )
    # class d has probability 0: clipped at the machine's epsilon, as scikit-learn does
    surprise = -np.log(np.finfo(np.float64).eps)
    assert task_scores("log_loss", ["a", "d"], proba, classes=classes)["0"] == pytest.approx((np.log(2) + surprise) / 2)
    # with the observed two of three classes, the mean over those two
    assert task_scores("roc_auc", ["a", "b"], proba, classes=classes) == {"0": 1.0}


def test_roc_auc_of_a_model_that_saw_one_class():
    assert task_scores("roc_auc", ["a", "b"], [np.ones((2, 1))], classes=[["a"]]) == {"0": 0.5}


def test_weight_zero_is_a_missing_label(rng):
    y, predicted = rng.normal(size=(10, 2)), rng.normal(size=(10, 2))
    weight = np.ones((10, 2))
    weight[:4, 0] = 0
    hidden = y.copy()
    hidden[:4, 0] = np.nan
    assert task_scores("r2", y, predicted, sample_weight=weight) == pytest.approx(task_scores("r2", hidden, predicted))
    only_one = np.array([1.0] + [0.0] * 9)
    assert np.isnan(list(task_scores("r2", y, predicted, sample_weight=only_one).values())).all()


@pytest.mark.parametrize("weight", [2.0, 3.0])
def test_weight_is_repetition(weight, rng):
    y, predicted = rng.normal(size=(9, 2)), rng.normal(size=(9, 2))
    rows = np.r_[np.arange(9), [4] * (int(weight) - 1)]
    w = np.ones(9)
    w[4] = weight
    for name in NUMBER_METRICS:
        assert task_scores(name, y, predicted, sample_weight=w) == pytest.approx(
            task_scores(name, y[rows], predicted[rows])
        )


def test_rrmse_by_hand():
    # mean 2; errors 1, 0, 1 -> MSE 2/3; around the mean 1, 0, 1 -> 2/3
    assert task_scores("rrmse", [1.0, 2.0, 3.0], [2.0, 2.0, 2.0]) == {"0": 1.0}
    assert task_scores("rrmse", [1.0, 2.0, 3.0], [1.0, 2.0, 2.0])["0"] == pytest.approx(np.sqrt(0.5))
    assert np.isnan(task_scores("rrmse", [2.0, 2.0], [1.0, 2.0])["0"])


@pytest.mark.parametrize("predicted", [[3.0, 3.0], [3.0, 4.0]])
@pytest.mark.parametrize("name", ["r2", "explained_variance"])
def test_explained_share_of_a_constant_is_sklearns(name, predicted):
    assert task_scores(name, [3.0, 3.0], predicted)["0"] == NUMBER_METRICS[name]([3.0, 3.0], predicted)


@pytest.mark.parametrize(
    ("name", "y"),
    [("accuracy", [np.nan] * 3), ("r2", [1.0, np.nan, np.nan]), ("explained_variance", [1.0, np.nan, np.nan])],
)
def test_undefined_is_nan(name, y):
    assert np.isnan(task_scores(name, y, [1.0, 1.0, 1.0])["0"])


@pytest.mark.parametrize("name", sorted(METRICS))
def test_no_metric_warns_on_one_class_or_no_label(name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for y in ([0.0, 0.0], [np.nan, np.nan]):
            if METRICS[name].reads == "probabilities":
                task_scores(name, y, [np.full((2, 2), 0.5)], classes=[[0, 1]])
            else:
                task_scores(name, y, [0.0, 1.0])


def test_own_function():
    def share_of_longer(y, predicted, sample_weight=None):
        return float(np.average([len(p) > len(a) for a, p in zip(y, predicted, strict=True)], weights=sample_weight))

    y = [["a", "bb"], [None, "b"], ["aa", "b"]]
    guess = [["aa", "b"], ["aaa", "bb"], ["a", "bb"]]
    assert task_scores(share_of_longer, y, guess) == {"0": 0.5, "1": pytest.approx(2 / 3)}
    assert task_scores(share_of_longer, y, guess, sample_weight=[3, 1, 1]) == {"0": 0.75, "1": pytest.approx(0.4)}
    with pytest.raises(ValueError, match="metric 'bare' takes none"):
        task_scores(bare, [1.0, 2.0], [1.0, 2.0], sample_weight=[1, 2])


def bare(y, predicted):
    return float(np.max(np.abs(y - predicted)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: task_scores("acc", [1], [1]), r"Unknown metric 'acc'. Known metrics: accuracy, .*roc_auc"),
        (
            lambda: task_scores("r2", [[1.0, 2.0]], [1.0]),
            r"y_pred must have one column for each of the 2 tasks \['0', '1'\]. Found 1",
        ),
        (lambda: task_scores("r2", [1.0, 2.0], [1.0]), "y has 2 rows, but task '0' has 1 predictions"),
        (lambda: task_scores("r2", [1.0, 2.0], [1.0, np.nan]), "Task '0'.*Found 1 missing predictions among 2"),
        (
            lambda: task_scores("r2", [1.0, 2.0], [1.0, np.inf]),
            "Task '0': predictions for r2 must hold finite numbers. Found infinity",
        ),
        (lambda: task_scores("r2", ["a", "b"], ["a", "b"]), "Task '0': y for r2 must hold numbers. Found .*'a'"),
        (lambda: task_scores("accuracy", ["1", "2"], [1, 2]), "labels are strings, predictions are numbers"),
        (lambda: task_scores("roc_auc", [0, 1], [0.2, 0.9]), "needs one entry|one entry per task"),
        (lambda: task_scores("roc_auc", [0, 1], [np.array([0.2, 0.9])]), r"of shape \(n_samples, 2\)"),
        (lambda: task_scores("roc_auc", [0, 1], [np.full((2, 2), np.nan)]), "finite probabilities"),
        (lambda: task_scores("r2", [1.0, 2.0], [1, 2], sample_weight=[1.0]), r"sample_weight must have shape \(2,\)"),
        (lambda: task_scores("r2", [1.0, 2.0], [1, 2], sample_weight=[1.0, -1]), "finite and >= 0"),
        (
            lambda: task_scores("r2", [1.0, 2.0], [1, 2], task_names=["a", "b"]),
            r"y_true must have one column for each of the 2 tasks \['a', 'b'\]. Found 1",
        ),
        (lambda: task_scores("r2", [[1, 2]], [[1, 2]], task_names=["a", "a"]), "more than once: 'a'"),
        (
            lambda: task_scores("r2", pd.DataFrame({"b": [1], "a": [2]}), [[1, 2]], task_names=["a", "b"]),
            "in the order of the tasks",
        ),
        (
            lambda: task_scores({"a": "r2", "c": "r2"}, [[1, 2]], [[1, 2]], task_names=["a", "b"]),
            r"Unknown: \['c'\]. Missing: \['b'\]",
        ),
        (lambda: make_task_scorer("nope"), "Unknown metric 'nope'"),
        (lambda: make_task_scorer("r2", average="middle"), "Unknown average 'middle'.*mean, median, worst"),
        (lambda: make_task_scorer("r2", undefined="ignore"), "'skip' or 'raise'"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_metric_of_another_type():
    with pytest.raises(TypeError, match="name or a function"):
        make_task_scorer(3)


# --- names -------------------------------------------------------------------------------------------------------


def _frame(values, names, frame=pd.DataFrame):
    return frame(dict(zip(names, np.asarray(values).T, strict=True)))


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("names", [["b", "a"], ["a", "c"], ["0", "1"], ["1", "0"]], ids=str)
def test_columns_of_predictions_are_the_tasks_or_refused(names, frame, rng):  # fault 4
    y, predicted = rng.normal(size=(2, 9, 2))
    named, other = _frame(y, ["a", "b"], frame), _frame(predicted, names, frame)
    if names == ["0", "1"]:  # positions, as of an array
        assert task_scores("r2", named, other) == task_scores("r2", named, predicted)
        return
    with pytest.raises(ValueError, match=rf"The columns of y_pred.*\['a', 'b'\]. Found \['{names[0]}', '{names[1]}'\]"):
        task_scores("r2", named, other)
    with pytest.raises(ValueError, match=r"The columns of y_true must be in the order of the tasks"):
        task_scores("r2", other, named, task_names=["a", "b"])
    with pytest.raises(ValueError, match=r"The columns of sample_weight must be in the order of the tasks"):
        task_scores("r2", named, predicted, sample_weight=_frame(np.ones((9, 2)), names, frame))
    if names != ["1", "0"]:  # names of predictions alone are no names of tasks
        assert list(task_scores("r2", y, other)) == ["0", "1"]


def test_a_scorer_refuses_other_names_than_the_tasks(rng):  # fault 4
    y, predicted = rng.normal(size=(2, 9, 2))
    fixed = Fixed(_frame(predicted, ["a", "b"]))
    fixed.task_names_ = ["a", "b"]
    scorer = make_task_scorer("r2")
    assert list(scorer(fixed, None, _frame(y, ["a", "b"]))) == ["a", "b", "average"]
    for names in (["b", "a"], ["a", "c"]):
        with pytest.raises(ValueError, match="The columns of y must be in the order of the tasks"):
            scorer(fixed, None, _frame(y, names))
    fixed.labels = _frame(predicted, ["b", "a"])
    with pytest.raises(ValueError, match="The columns of the predictions of Fixed must be in the order"):
        scorer(fixed, None, y)


def test_weights_of_rows_and_columns_need_no_names(rng):
    y, predicted, weight = rng.normal(size=(9, 2)), rng.normal(size=(9, 2)), rng.random(9)
    named = _frame(y, ["a", "b"])
    expected = task_scores("r2", named, predicted, sample_weight=weight)
    assert task_scores("r2", named, predicted, sample_weight=pd.Series(weight, name="w")) == expected
    assert task_scores("r2", named, predicted, sample_weight=np.stack([weight, weight], axis=1)) == expected
    assert task_scores("r2", named, predicted, sample_weight=_frame([[w, w] for w in weight], ["a", "b"])) == expected


# --- types of labels ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*sorted(METRICS), bare])
@pytest.mark.parametrize(
    ("y", "learned", "message"),
    [
        ([0, 1, 1], ["0", "1"], "labels are numbers, .* are strings"),
        ([0.0, None, 1.0], ["0", "1"], "labels are numbers, .* are strings"),
        (["0", "1", "1"], [0, 1], "labels are strings, .* are numbers"),
        ([True, False, True], [b"0", b"1"], "labels are numbers, .* are bytes"),
        ([Decimal(0), Decimal(1), Decimal(1)], ["0", "1"], "labels are numbers, .* are strings"),
        ([("a",), ("b",), ("b",)], ["a", "b"], "labels are tuple, .* are strings"),
    ],
    ids=str,
)
def test_labels_of_another_type_are_refused_by_all_metrics_alike(name, y, learned, message):  # fault 9
    column = np.empty((3, 1), dtype=object)
    column[:, 0] = y
    proba = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    fixed = Fixed(np.array(learned)[[0, 1, 1]], [proba], [np.array(learned)])
    with pytest.raises(ValueError, match=f"Task '0': {message}"):
        make_task_scorer(name)(fixed, None, column)


def test_labels_of_one_type_in_another_form():
    for y in ([0.0, 1.0], [False, True], [Decimal(0), Fraction(1)], np.array([0, 1], dtype=np.uint8)):
        assert task_scores("accuracy", y, [0, 1], classes=[[0, 1]]) == {"0": 1.0}
        assert task_scores("roc_auc", y, [np.array([[0.9, 0.1], [0.1, 0.9]])], classes=[[0, 1]]) == {"0": 1.0}
    mixed = ["a", 1, "b"]  # rows may show one type of several
    assert task_scores("accuracy", ["a", "b"], [1, 1], classes=[mixed]) == {"0": 0.0}


@pytest.mark.parametrize("unit", ["D", "s", "us", "ns"])
def test_dates(unit):
    days = np.array(["2020-01-01", "2020-01-02", "2020-01-02"], dtype=f"M8[{unit}]")
    stamps = pd.Series([pd.Timestamp(2020, 1, 1), datetime(2020, 1, 2), pd.Timestamp(2020, 1, 1)], dtype=object)
    for name in ("accuracy", "balanced_accuracy"):
        assert task_scores(name, days, days) == {"0": 1.0}
        assert task_scores(name, days, stamps)["0"] == task_scores(name, [1, 2, 2], [1, 2, 1])["0"]
        with pytest.raises(ValueError, match="labels are dates, predictions are durations"):
            task_scores(name, days, days - days[0])


@pytest.mark.parametrize("classes", [[0, 1], ["ab", "cd"], [[0, 1], 5]], ids=str)
def test_classes_of_one_task_for_two(classes):
    with pytest.raises(ValueError, match="classes must hold one array per task, or None"):
        task_scores("accuracy", [[0, 1]], [[0, 1]], classes=classes)


def test_classes_that_are_there_twice():
    with pytest.raises(ValueError, match="Task '0': classes must differ"):
        task_scores("roc_auc", [0, 1], [np.full((2, 3), 1 / 3)], classes=[[0, 1, 1.0]])


def test_strings_that_look_like_numbers_are_none():
    for name in NUMBER_METRICS:
        with pytest.raises(ValueError, match=f"Task '0': y for {name} must hold numbers. Found .*'1.5'"):
            task_scores(name, ["1.5", "2.5"], ["1.5", "2.5"])


# --- equality ----------------------------------------------------------------------------------------------------

BIG = 2**53


@pytest.mark.parametrize(
    ("y", "predicted"),
    [
        (np.array([BIG, BIG + 1]), np.array([BIG, BIG], dtype=float)),
        (np.array([BIG, BIG + 1], dtype=np.uint64), np.array([BIG, BIG])),
        (np.array([BIG, BIG + 1], dtype=object), np.array([BIG, BIG], dtype=float)),
        (np.array([2**24, 2**24 + 1], dtype=np.int32), np.array([2**24, 2**24], dtype=np.float32)),
        ([BIG, BIG + 1], [np.float64(BIG), np.int64(BIG)]),
        ([[BIG, 0.5], [BIG + 1, None]], np.array([[BIG, 0.5], [BIG, 0.5]])),
        (np.array([0.1, 2**63], dtype=object), [Decimal("0.1"), 2.0**63]),
        (["a", "a\0"], ["a", "a"]),
    ],
    ids=repr,
)
def test_equality_is_exact(y, predicted):  # fault 6
    for name in ("accuracy", "balanced_accuracy"):
        assert task_scores(name, y, predicted)["0"] == 0.5
        assert task_scores(name, predicted, predicted)["0"] == 1.0


def test_numbers_of_other_dtypes_are_equal():
    kinds = [bool, np.int8, np.int64, np.uint64, np.float16, np.float32, np.float64, object]
    for one in kinds:
        for other in kinds:
            y, predicted = np.array([0, 1, 1]).astype(one), np.array([0, 1, 0]).astype(other)
            assert task_scores("accuracy", y, predicted) == {"0": pytest.approx(2 / 3)}


# --- constant targets, small and large ones ----------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("value", [0.1, 1 / 3, -7.3e17, 1e300 / 3, 1e-300 / 3])
@pytest.mark.parametrize("n", [2, 3, 6, 7, 8, 99, 1000])
def test_a_target_that_is_constant_up_to_rounding(n, value, weighted, rng):  # fault 10
    weight = rng.random(n) + 0.1 if weighted else None
    y = np.full(n, value)
    zigzag = y + abs(value) * np.resize([1, -1], n)
    for predicted, r2, share in ((y, 1.0, 1.0), (2 * y, 0.0, 1.0), (zigzag, 0.0, 0.0)):
        assert task_scores("r2", y, predicted, sample_weight=weight) == {"0": r2}
        assert task_scores("explained_variance", y, predicted, sample_weight=weight) == {"0": share}
        assert np.isnan(task_scores("rrmse", y, predicted, sample_weight=weight)["0"])


def test_a_target_that_varies_little_is_not_constant(rng):
    y = 1e6 + 1e-3 * rng.normal(size=50)
    predicted = y + 1e-4 * rng.normal(size=50)
    assert task_scores("r2", y, predicted)["0"] == pytest.approx(sk.r2_score(y, predicted), rel=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("exponent", [-1000, -600, -510, 510, 600, 1000, 1020])
def test_numbers_of_any_size(exponent, weighted, rng):
    y, predicted, weight = rng.uniform(-1, 1, 9), rng.uniform(-1, 1, 9), rng.random(9) if weighted else None
    sizes = {"mean_absolute_error": 1, "root_mean_squared_error": 1, "mean_squared_error": 2}
    for name in ("r2", "explained_variance", "rrmse", *sizes):
        score = task_scores(name, np.ldexp(y, exponent), np.ldexp(predicted, exponent), sample_weight=weight)["0"]
        plain = task_scores(name, y, predicted, sample_weight=weight)["0"]
        with np.errstate(over="ignore", under="ignore"):
            expected = np.ldexp(plain, sizes.get(name, 0) * exponent)
        assert score == pytest.approx(expected, rel=1e-12, abs=0)


def test_numbers_at_the_end_of_floats():
    top = np.finfo(float).max
    assert task_scores("mean_absolute_error", [top, -top], [0.0, 0.0]) == {"0": top}
    assert task_scores("mean_absolute_error", [top, -top], [-top, top]) == {"0": np.inf}
    assert task_scores("root_mean_squared_error", [top, top], [0.0, 0.0])["0"] == pytest.approx(top)
    assert task_scores("r2", [top, -top], [-top, top]) == {"0": pytest.approx(-3.0)}
    assert make_task_scorer("mean_absolute_error")(Fixed(np.zeros((2, 2))), None, [[top, top]] * 2)["average"] == -top


# --- which class is positive -------------------------------------------------------------------------------------


@pytest.mark.parametrize("labels", [["no", "yes"], [0, 1], [-1, 1], [3, 7], [False, True], [2, "b"]], ids=str)
@pytest.mark.parametrize("known", [[0], [1], [0, 1], [1, 0]], ids=str)
def test_the_greater_class_is_positive_whatever_the_model_saw(known, labels):
    y = np.array([labels[k] for k in (0, 0, 1, 1)], dtype=object)
    confidence = np.array([0.1, 0.6, 0.4, 0.9])  # in the greater class
    both = np.stack([1 - confidence, confidence], axis=1)
    proba = both[:, known] if len(known) == 2 else np.ones((4, 1))
    classes = [[labels[k] for k in known]]
    seen = [confidence > 0.5, confidence > 0.5] if len(known) == 2 else [np.full(4, known[0] == 1)] * 2
    column = confidence if len(known) == 2 else np.full(4, float(known[0] == 1))
    true = np.array([0, 0, 1, 1])
    assert task_scores("roc_auc", y, [proba], classes=classes) == {"0": sk.roc_auc_score(true, column)}
    assert task_scores("average_precision", y, [proba], classes=classes) == {
        "0": pytest.approx(sk.average_precision_score(true, column))
    }
    wide = both if len(known) == 2 else np.eye(2)[[known[0]] * 4]
    assert task_scores("log_loss", y, [proba], classes=classes) == {"0": pytest.approx(sk.log_loss(true, wide))}
    guess = np.array([labels[int(s)] for s in seen[0]], dtype=object)
    assert task_scores("f1", y, guess, classes=classes) == {"0": pytest.approx(sk.f1_score(true, seen[0].astype(int)))}


@pytest.mark.parametrize(
    ("label", "share"),
    [(1, 1.0), (True, 1.0), (1.0, 1.0), (0, np.nan), (-1, np.nan), (False, np.nan), (2, np.nan), ("yes", np.nan)],
)
def test_of_one_class_one_and_true_are_positive(label, share):
    y = [label, label]
    assert task_scores("f1", y, y) == pytest.approx({"0": share}, nan_ok=True)
    for proba in (np.full((2, 2), 0.5), np.ones((2, 1))):
        assert task_scores("average_precision", y, [proba]) == pytest.approx({"0": share}, nan_ok=True)
        assert np.isnan(task_scores("roc_auc", y, [proba])["0"])
    known = task_scores("log_loss", y, [np.array([[0.25, 0.75]] * 2)])["0"]
    expected = -np.log(0.75 if share == 1 else 0.25 if label in (0, -1) else np.nan)
    assert known == pytest.approx(expected, nan_ok=True)


def test_columns_of_unseen_classes_are_put_in_their_place():
    y = ["a", "b", "c", "d"]
    proba = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.5, 0.5]])
    full = np.zeros((4, 4))
    full[:, [1, 3]] = proba
    for name in ("roc_auc", "average_precision", "log_loss"):
        expected = task_scores(name, y, [full], classes=[["a", "b", "c", "d"]])
        assert task_scores(name, y, [proba], classes=[["b", "d"]]) == expected
        assert task_scores(name, y, [proba[:, ::-1]], classes=[["d", "b"]]) == expected


# --- weights -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-300, 1e-50, 1e38, 1e307])
@pytest.mark.parametrize("name", sorted(METRICS))
def test_only_ratios_of_weights_matter(name, scale, rng):
    y, predicted, weight = rng.integers(0, 2, 30), rng.integers(0, 2, 30), rng.random(30)
    proba = [_proba(rng, 30, 2)] if METRICS[name].reads == "probabilities" else predicted
    for w in (weight, np.ones(30)):
        expected = task_scores(name, y, proba, sample_weight=w, classes=[[0, 1]])
        assert task_scores(name, y, proba, sample_weight=w * scale, classes=[[0, 1]]) == pytest.approx(expected)
    assert expected == task_scores(name, y, proba, classes=[[0, 1]])  # equal weights are none, bit for bit


def test_own_function_receives_weights_as_given():
    seen = []

    def first(y, predicted, sample_weight=None):
        seen.append(sample_weight.tolist())
        y += 1  # of a copy
        return 0.0

    y = np.array([1.0, 2.0, 3.0])
    task_scores(first, y, y, sample_weight=[1e307, 0, 3])
    task_scores(first, y, y, sample_weight=[1e307, 2, 3])
    assert seen == [[1e307, 3.0], [1e307, 2.0, 3.0]]
    assert y.tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (["1", "2"], "sample_weight must hold numbers. Found .*'1'"),
        ({"a": 1, "b": 2}, "sample_weight must be an array, a list or a frame. Found dict"),
        (np.array(["2020-01-01", "2020-01-02"], dtype="M8[D]"), "sample_weight must hold numbers. Found .*datetime64"),
        ("balanced", "sample_weight must be an array, a list or a frame. Found str"),
        ([1.0, None], "weights must be finite and >= 0. Found 1 missing"),
        ([1.0, np.inf], "sample_weight must hold finite numbers. Found infinity"),
        ([1.0, -2.0], "weights must be finite and >= 0. Found -2.0"),
        (np.ma.array([1.0, 2.0], mask=[False, True]), "weights must be finite and >= 0. Found 1 missing"),
    ],
    ids=str,
)
def test_bad_weights(weight, message):
    with pytest.raises((ValueError, TypeError), match=message):
        task_scores("r2", [1.0, 2.0], [1.0, 2.0], sample_weight=weight)


@pytest.mark.parametrize("container", [list, pd.Series, pl.Series, np.ma.array, *([pa.array] if pa else [])], ids=repr)
def test_containers_of_weights(container, rng):
    y, predicted, weight = rng.normal(size=9), rng.normal(size=9), rng.integers(0, 3, 9)
    expected = task_scores("r2", y, predicted, sample_weight=weight)
    assert task_scores("r2", y, predicted, sample_weight=container(weight.tolist())) == expected


# --- containers --------------------------------------------------------------------------------------------------


def _masked(columns):
    table = np.array([[0 if v is None else v for v in row] for row in zip(*columns.values(), strict=True)])
    return np.ma.array(table, mask=[[v is None for v in row] for row in zip(*columns.values(), strict=True)])


CONTAINERS = {
    "list": lambda columns: [list(row) for row in zip(*columns.values(), strict=True)],
    "masked": _masked,
    "pandas": pd.DataFrame,
    "nullable": lambda columns: pd.DataFrame(columns).convert_dtypes(),
    "polars": pl.DataFrame,
    **({"arrow": pa.table} if pa else {}),
}


@pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)
def test_containers_of_labels(container):
    y = {"a": [0, 1, None, 1], "b": [2, None, 0, 1]}
    predicted = {"a": [0, 0, 1, 1], "b": [2, 2, 0, 0]}
    expected = {"accuracy": [2 / 3, 2 / 3], "mean_absolute_error": [1 / 3, 1 / 3]}
    for name, scores in expected.items():
        table, guess = container(y), container(predicted)
        assert list(task_scores(name, table, guess).values()) == pytest.approx(scores)
        scorer = make_task_scorer(name)
        sign = -1 if METRICS[name].is_loss else 1
        assert list(scorer(Fixed(guess), None, table).values())[:2] == pytest.approx([sign * s for s in scores])


@pytest.mark.parametrize("container", [pd.DataFrame, np.ma.array, np.ndarray.tolist, torch.tensor], ids=repr)
def test_containers_of_probabilities(container, rng):
    proba, y = _proba(rng, 9, 3), rng.integers(0, 3, 9)
    for name in ("roc_auc", "log_loss"):
        expected = task_scores(name, y, [proba], classes=[[0, 1, 2]])
        assert task_scores(name, y, [container(proba)], classes=[[0, 1, 2]]) == expected


def test_masked_probabilities_are_missing(rng):
    proba = np.ma.array(_proba(rng, 4, 2), mask=np.eye(4, 2))
    with pytest.raises(ValueError, match="Task '0': log_loss needs finite probabilities"):
        task_scores("log_loss", [0, 1, 0, 1], [proba])


def test_variable_width_strings():
    y = np.array([["a"], ["bb"], ["?"]], dtype=np.dtypes.StringDType(na_object="?"))
    assert task_scores("accuracy", y, np.array([["a"], ["a"], ["a"]], dtype=np.dtypes.StringDType())) == {"0": 0.5}


def test_entries_of_labels_beside_probabilities():
    y = pd.DataFrame({"a": [0, 1, 1], "b": ["u", 1, "v"]})
    entries = [np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]), ["u", 1, "u"]]
    assert task_scores({"a": "roc_auc", "b": "accuracy"}, y, entries) == {"a": 1.0, "b": pytest.approx(2 / 3)}


# --- scorers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["log_loss", "neg_log_loss"])
def test_a_scorer_negates_losses_once(loss):
    y = np.array([0, 1])
    fixed = Fixed(proba=np.array([[0.5, 0.5], [0.75, 0.25]]), classes_=np.array([0, 1]))
    scores = make_task_scorer(loss)(fixed, None, y)
    assert scores == {"0": pytest.approx((np.log(0.5) + np.log(0.25)) / 2), "average": scores["0"]}


def test_mixed_metrics_by_task_name(rng):
    X, y = rng.normal(size=(90, 3)), pd.DataFrame({"a": rng.integers(0, 2, 90), "b": rng.integers(0, 3, 90)})
    forest = RandomForestClassifier(5, random_state=0).fit(X[:60], y[:60])
    held = y[60:].astype(float)
    held.iloc[:9, 0] = np.nan
    scores = make_task_scorer({"b": "accuracy", "a": "roc_auc"})(forest, X[60:], held)
    assert scores["a"] == sk.roc_auc_score(held["a"][9:], forest.predict_proba(X[60:])[0][9:, 1])
    assert scores["b"] == sk.accuracy_score(held["b"], forest.predict(X[60:])[:, 1])
    assert scores["average"] == pytest.approx((scores["a"] + scores["b"]) / 2)


def test_one_target(rng):
    X, y = rng.normal(size=(60, 3)), rng.choice(["no", "yes"], 60)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    expected = sk.roc_auc_score(y, model.predict_proba(X)[:, 1])
    assert make_task_scorer("roc_auc")(model, X, y) == {
        "0": pytest.approx(expected),
        "average": pytest.approx(expected),
    }


AVERAGE_CASES = [
    ("mean", 0.5),
    ("median", 0.5),
    ("worst", 0.25),
    ([1, 3, 0], (0.25 + 3 * 0.75) / 4),
    ({"a": 0, "b": 1, "c": 5}, 3.25 / 6),
]


@pytest.mark.parametrize(("average", "expected"), AVERAGE_CASES, ids=str)
def test_averages_by_hand(average, expected):
    y = pd.DataFrame({"a": [0, 1, 1, 1], "b": [0, 0, 0, 1], "c": [0, 1, 1, 0]})
    scorer = make_task_scorer("accuracy", average=average)
    assert scorer(Fixed(np.zeros((4, 3), dtype=int)), None, y) == {
        "a": 0.25,
        "b": 0.75,
        "c": 0.5,
        "average": pytest.approx(expected),
    }


@pytest.mark.parametrize(
    ("average", "message"),
    [
        ([1, 2], "3 weights"),
        ([1, -1, 1], "3 weights"),
        (["1", "2", "3"], "average must hold numbers"),
        ({"a": 1, "d": 2}, r"Unknown: \['d'\]. Missing: \['b', 'c'\]"),
    ],
)
def test_bad_average_weights(average, message):
    y = pd.DataFrame({"a": [0, 1], "b": [0, 0], "c": [0, 1]})
    with pytest.raises(ValueError, match=message):
        make_task_scorer("accuracy", average=average)(Fixed(np.zeros((2, 3))), None, y)


def test_a_series_with_names_is_a_dict():
    y = pd.DataFrame({"a": [0, 1, 1, 1], "b": [0, 0, 0, 1], "c": [0, 1, 1, 0]})
    fixed = Fixed(np.zeros((4, 3), dtype=int))

    def average(weights, table=y):
        return make_task_scorer("accuracy", average=weights)(fixed, None, table)["average"]

    named = pd.Series({"c": 5.0, "b": 1.0, "a": 0.0})
    assert average(named) == average({"a": 0, "b": 1, "c": 5}) == pytest.approx(3.25 / 6)
    assert average(pd.Series([0, 1, 5])) == average(pl.Series([0, 1, 5])) == average(named)
    assert average(pd.Series([5, 1, 0], index=[2, 1, 0]), y.to_numpy()) == average(named)
    for index in (["a", "b", "d"], [1, 2, 3], [2, 1, 0]):
        with pytest.raises(ValueError, match="average as a dict must name every task once"):
            average(pd.Series([0, 1, 5], index=index))
    with pytest.raises(ValueError, match="more than once: 'a'"):
        average(pd.Series([0, 1, 5], index=["a", "a", "b"]))


def test_ratios_of_the_weights_of_an_average():
    y = pd.DataFrame({"a": [0, 1, 1, 1], "b": [0, 0, 0, 1]})
    fixed = Fixed(np.zeros((4, 2), dtype=int))
    for weights in ([1, 3], [1e-300, 3e-300], [0.5e308, 1.5e308]):
        assert make_task_scorer("accuracy", weights)(fixed, None, y)["average"] == pytest.approx((0.25 + 3 * 0.75) / 4)


def test_undefined_tasks_are_counted_in_one_warning_and_left_out():
    y = np.array([[0, 1, np.nan], [0, 0, np.nan], [0, 1, np.nan]])
    proba = [np.array([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6]])] * 3
    fixed = Fixed(proba=proba, classes_=[np.array([0, 1])] * 3)
    with pytest.warns(UndefinedTaskWarning) as caught:
        scores = make_task_scorer("roc_auc")(fixed, None, y)
    assert [str(w.message) for w in caught] == [
        "2 of 3 tasks are undefined in the scored rows: '0', '2'. They lack observed labels or classes there, and are "
        "left out of the average."
    ]
    assert issubclass(UndefinedTaskWarning, UndefinedMetricWarning)
    assert scores == pytest.approx({"0": np.nan, "1": 1.0, "2": np.nan, "average": 1.0}, nan_ok=True)
    with pytest.raises(ValueError, match="2 of 3 tasks are undefined in the scored rows: '0', '2'"):
        make_task_scorer("roc_auc", undefined="raise")(fixed, None, y)


def test_when_nothing_is_defined_the_average_is_nan():
    with pytest.warns(UndefinedTaskWarning, match="1 of 1"):
        scores = make_task_scorer("accuracy", average=[1.0])(Fixed(np.zeros(2)), None, [np.nan, np.nan])
    assert np.isnan(scores["average"])


def test_a_task_called_average():
    with pytest.raises(ValueError, match="Rename the column"):
        make_task_scorer("accuracy")(Fixed(np.zeros((2, 1))), None, pd.DataFrame({"average": [0, 1]}))


def test_fitted_task_names_win_and_are_found_in_a_pipeline():
    fixed = Fixed(np.zeros((2, 2)))
    fixed.task_names_ = ["u", "v"]
    pipeline = make_pipeline("passthrough", make_pipeline(fixed))
    for estimator in (fixed, pipeline):
        assert list(make_task_scorer("accuracy")(estimator, np.zeros((2, 1)), np.zeros((2, 2)))) == [
            "u",
            "v",
            "average",
        ]


def test_grid_search_has_a_column_per_task(rng):
    X = rng.normal(size=(60, 3))
    y = pd.DataFrame({"a": X[:, 0] > 0, "b": rng.integers(0, 3, 60)}).astype(int)
    search = GridSearchCV(
        RandomForestClassifier(5, random_state=0),
        {"max_depth": [1, 3]},
        scoring=make_task_scorer("accuracy"),
        refit="average",
        cv=KFold(3),
    ).fit(X, y)
    results = search.cv_results_
    assert results["mean_test_average"] == pytest.approx((results["mean_test_a"] + results["mean_test_b"]) / 2)
    assert search.best_index_ == results["mean_test_average"].argmax()
    assert list(search.scorer_(search, X, y)) == ["a", "b", "average"]


def test_permutation_importance_and_cross_validate(rng):
    X = rng.normal(size=(50, 2))
    y = np.c_[X[:, 0], X[:, 1]]
    forest = RandomForestRegressor(5, random_state=0)
    scorer = make_task_scorer("r2")
    importances = permutation_importance(forest.fit(X, y), X, y, scoring=scorer, n_repeats=2, random_state=0)
    assert importances["0"].importances_mean.argmax() == 0
    assert importances["1"].importances_mean.argmax() == 1
    assert set(cross_validate(forest, X, y, scoring=scorer, cv=2)) >= {"test_0", "test_1", "test_average"}


def test_scorer_survives_pickle_and_clone_and_says_what_it_is():
    scorer = make_task_scorer({"a": "roc_auc"}, average="worst", undefined="raise")
    assert repr(scorer) == "make_task_scorer({'a': 'roc_auc'}, average='worst', undefined='raise')"
    assert repr(make_task_scorer(bare)) == "make_task_scorer(bare, average='mean', undefined='skip')"
    for copy in (pickle.loads(pickle.dumps(scorer)), clone(scorer, safe=False)):
        assert repr(copy) == repr(scorer)


@pytest.mark.parametrize("shape", [(40,), (40, 2)])
def test_metadata_routing_of_sample_weight(shape, rng):
    X, y, weight = rng.normal(size=(40, 2)), rng.normal(size=(40, 2)), rng.integers(1, 5, size=shape).astype(float)
    plain = make_task_scorer("mean_absolute_error")
    with sklearn.config_context(enable_metadata_routing=True):
        model = DummyRegressor().set_fit_request(sample_weight=False)
        scorer = clone(plain, safe=False).set_score_request(sample_weight=True)
        results = cross_validate(model, X, y, scoring=scorer, cv=KFold(2), params={"sample_weight": weight})
    expected = plain(DummyRegressor().fit(X[20:], y[20:]), X[:20], y[:20], sample_weight=weight[:20])
    assert {k: results[f"test_{k}"][0] for k in expected} == pytest.approx(expected)
    assert expected != pytest.approx(plain(DummyRegressor().fit(X[20:], y[20:]), X[:20], y[:20]))


def test_unrequested_sample_weight_is_an_error_under_routing(rng):
    X, y = rng.normal(size=(20, 2)), rng.normal(size=(20, 2))
    with sklearn.config_context(enable_metadata_routing=True):
        model = DummyRegressor().set_fit_request(sample_weight=False)
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError, match="sample_weight"):
            cross_validate(model, X, y, scoring=make_task_scorer("r2"), params={"sample_weight": np.ones(20)})
    with pytest.raises(RuntimeError, match="enable_metadata_routing"):
        make_task_scorer("r2").set_score_request(sample_weight=True)


def test_unknown_class_in_the_scored_rows():
    model = DummyClassifier(strategy="prior").fit(np.zeros((4, 1)), ["a", "a", "b", "b"])
    scores = make_task_scorer("accuracy")(model, np.zeros((2, 1)), ["a", "new"])
    assert scores["0"] == 0.5


def test_classes_that_belong_to_no_task(rng):
    X, y = rng.normal(size=(40, 3)), rng.integers(0, 2, (40, 3))
    model = OneVsRestClassifier(LogisticRegression()).fit(X, y)
    assert model.classes_.tolist() == [0, 1, 2]  # positions of the labels
    assert make_task_scorer("accuracy")(model, X, y)["1"] == sk.accuracy_score(y[:, 1], model.predict(X)[:, 1])


def test_probabilities_that_an_estimator_does_not_predict():
    model = DummyRegressor().fit(np.zeros((4, 1)), [0.0, 1.0, 0.0, 1.0])
    with pytest.raises(TypeError, match="needs class probabilities, which DummyRegressor does not predict"):
        make_task_scorer("roc_auc")(model, np.zeros((4, 1)), [0.0, 1.0, 0.0, 1.0])
