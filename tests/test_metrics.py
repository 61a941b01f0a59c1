"""Scores per task: equal to scikit-learn's metrics on the observed rows, for every kind of label."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from sklearn import metrics as sk
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl.metrics import METRICS, UndefinedTaskWarning, make_task_scorer, task_scores


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
        (lambda: task_scores("r2", [[1.0, 2.0]], [1.0]), "y has 2 columns, but the predictions have 1"),
        (lambda: task_scores("r2", [1.0, 2.0], [1.0]), "y has 2 rows, but task '0' has 1 predictions"),
        (lambda: task_scores("r2", [1.0, 2.0], [1.0, np.nan]), "Task '0'.*Found 1 missing predictions among 2"),
        (lambda: task_scores("r2", [1.0, 2.0], [1.0, np.inf]), "Task '0': r2 needs finite numbers"),
        (lambda: task_scores("r2", ["a", "b"], ["a", "b"]), "Task '0': r2 needs numbers"),
        (lambda: task_scores("accuracy", ["1", "2"], [1, 2]), "labels are strings, predictions are numbers"),
        (lambda: task_scores("roc_auc", [0, 1], [0.2, 0.9]), "needs one entry|one entry per task"),
        (lambda: task_scores("roc_auc", [0, 1], [np.array([0.2, 0.9])]), r"of shape \(n_samples, 2\)"),
        (lambda: task_scores("roc_auc", [0, 1], [np.full((2, 2), np.nan)]), "finite probabilities"),
        (lambda: task_scores("r2", [1.0, 2.0], [1, 2], sample_weight=[1.0]), r"sample_weight must have shape \(2,\)"),
        (lambda: task_scores("r2", [1.0, 2.0], [1, 2], sample_weight=[1.0, -1]), "finite and >= 0"),
        (lambda: task_scores("r2", [1.0, 2.0], [1, 2], task_names=["a", "b"]), "one column per task: 2. Found 1"),
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
    [([1, 2], "3 weights"), ([1, -1, 1], "3 weights"), ({"a": 1, "d": 2}, r"Unknown: \['d'\]. Missing: \['b', 'c'\]")],
)
def test_bad_average_weights(average, message):
    y = pd.DataFrame({"a": [0, 1], "b": [0, 0], "c": [0, 1]})
    with pytest.raises(ValueError, match=message):
        make_task_scorer("accuracy", average=average)(Fixed(np.zeros((2, 3))), None, y)


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


def test_probabilities_that_an_estimator_does_not_predict():
    model = DummyRegressor().fit(np.zeros((4, 1)), [0.0, 1.0, 0.0, 1.0])
    with pytest.raises(TypeError, match="needs class probabilities, which DummyRegressor does not predict"):
        make_task_scorer("roc_auc")(model, np.zeros((4, 1)), [0.0, 1.0, 0.0, 1.0])
