"""Out-of-fold predictions: missing labels stay missing, columns are the classes of the whole y."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, KFold
from sklearn.model_selection import cross_val_predict as sklearn_cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl.model_selection import cross_val_predict
from tests.model_selection._stand_in import MeanSlopes, Trees


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 3)), np.c_[rng.integers(0, 2, 60), rng.integers(0, 3, 60)]


@pytest.mark.parametrize("method", ["predict", "predict_proba"])
def test_equal_to_sklearn_where_no_label_is_missing(data, method):
    X, y = data
    forest, cv = RandomForestClassifier(5, random_state=0), KFold(4, shuffle=True, random_state=1)
    for target in (y, y[:, 1]):
        ours = cross_val_predict(forest, X, target, cv=cv, method=method)
        theirs = sklearn_cross_val_predict(forest, X, target, cv=cv, method=method)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_missing_label_is_never_a_class(data):
    X, y = data
    y = y.astype(float)
    y[::3, 0] = np.nan
    proba = cross_val_predict(Trees(), X, y, cv=KFold(3), method="predict_proba")
    assert [p.shape for p in proba] == [(60, 2), (60, 3)]
    theirs = sklearn_cross_val_predict(Trees(), X, y, cv=KFold(3), method="predict_proba")
    assert theirs[0].shape == (60, 3), "scikit-learn no longer makes a class of NaN: this function may go"
    labels = cross_val_predict(Trees(), X, y, cv=KFold(3))
    assert labels.shape == (60, 2)
    seen = ~np.isnan(y[:, 0])
    train = np.arange(20, 60)[seen[20:]]
    own = Trees().fit(X[train], y[train, 0])
    np.testing.assert_array_equal(labels[:20, 0], own.predict(X[:20]))


def test_a_class_unseen_in_a_fold_has_probability_zero():
    X = np.arange(6.0)[:, None]
    y = np.array([["a", "u"], ["a", "v"], ["b", "u"], ["b", "v"], ["c", "u"], ["c", None]], dtype=object)
    folds = [([0, 1, 2, 3], [4, 5]), ([2, 3, 4, 5], [0, 1]), ([0, 1, 4, 5], [2, 3])]
    first, second = cross_val_predict(Trees(), X, y, cv=folds, method="predict_proba")
    # rows 4 and 5 come from a tree that knows a and b, rows 0 and 1 from b and c, rows 2 and 3 from a and c
    assert first.tolist() == [[0, 1, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 0]]
    assert second.shape == (6, 2)
    np.testing.assert_array_equal(second.sum(axis=1), 1)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_frames_and_strings(data, frame):
    X, y = data
    words = np.array(["no", "maybe", "yes"])[y]
    columns = {"a": words[:, 0].tolist(), "b": words[:, 1].tolist()}
    columns["b"][7] = None
    ours = cross_val_predict(Trees(), X, frame(columns), cv=KFold(3))
    array = np.array([columns["a"], columns["b"]], dtype=object).T
    np.testing.assert_array_equal(ours, cross_val_predict(Trees(), X, array, cv=KFold(3)))
    assert set(ours[:, 1]) <= {"no", "maybe", "yes"}


def test_default_folds_are_five_stratified_and_repeat(data):
    X, y = data
    y[:5, 1] = 3  # five rows of a class: one in each fold
    proba = cross_val_predict(Trees(), X, y, method="predict_proba")
    np.testing.assert_array_equal(proba[1], cross_val_predict(Trees(), X, y, cv=5, method="predict_proba")[1])
    np.testing.assert_array_equal(proba[1], cross_val_predict(Trees(), X, y, method="predict_proba")[1])


def test_one_column_stays_two_dimensional(data):
    X, y = data
    assert cross_val_predict(Trees(), X, y[:, :1]).shape == (60, 1)
    (proba,) = cross_val_predict(Trees(), X, y[:, :1], method="predict_proba")
    assert proba.shape == (60, 2)
    assert cross_val_predict(Trees(), X, y[:, 0], method="predict_proba").shape == (60, 2)


def test_regression_pipeline_and_two_jobs(data):
    X = data[0]
    y = np.c_[2 * X[:, 0], -X[:, 0]]
    y[::4, 1] = np.nan
    pipeline = make_pipeline(StandardScaler(with_mean=False), MeanSlopes("independent"))
    predicted = cross_val_predict(pipeline, X, y, n_jobs=2)
    np.testing.assert_allclose(predicted, np.c_[2 * X[:, 0], -X[:, 0]])


def test_sample_weight_is_split_with_the_rows():
    X, y = np.ones((4, 1)), np.array([[1.0], [3.0], [5.0], [7.0]])
    folds = [([2, 3], [0, 1]), ([0, 1], [2, 3])]
    params = {"sample_weight": np.array([1.0, 3.0, 1.0, 0.0])}
    predicted = cross_val_predict(MeanSlopes(), X, y, cv=folds, params=params)
    np.testing.assert_allclose(predicted[:, 0], [5, 5, 2.5, 2.5])


def test_metadata_routing(data):
    X, y = data
    groups = np.arange(60) % 3
    with sklearn.config_context(enable_metadata_routing=True):
        model = LogisticRegression().set_fit_request(sample_weight=True)
        params = {"sample_weight": np.arange(60.0), "groups": groups}
        ours = cross_val_predict(model, X, y[:, 0], cv=GroupKFold(3), params=params)
        theirs = sklearn_cross_val_predict(model, X, y[:, 0], cv=GroupKFold(3), params=params)
        np.testing.assert_array_equal(ours, theirs)
        with pytest.raises(sklearn.exceptions.UnsetMetadataPassedError):
            cross_val_predict(LogisticRegression(), X, y[:, 0], params={"sample_weight": np.ones(60)})


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"method": "transform"},
            "method must be one of 'predict', 'predict_proba', 'predict_log_proba'. Found 'transform'",
        ),
        ({"cv": [([0, 1], [2, 3]), ([2, 3], [1, 0, 2])]}, "56 rows never tested and 1 tested more than once"),
        ({"y": np.zeros(3)}, "same number of rows. Found 60 and 3"),
        ({"y": None}, "Found 60 and None"),
        ({"cv": 1}, "n_splits must be"),
    ],
)
def test_bad_input(data, kwargs, message):
    X, y = data
    with pytest.raises(ValueError, match=message):
        cross_val_predict(Trees(), X, **({"y": y} | kwargs))
