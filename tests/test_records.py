"""Structured y: one field for each column, wherever a table goes."""

import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict, cross_val_score, train_test_split

import skmtl
from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor, records
from skmtl.metrics import make_task_scorer
from skmtl.model_selection import StackedGridSearchCV, transfer_gain
from skmtl.tasks import Survival

OPTIONS = {"hidden_layer_sizes": (8,), "max_epochs": 5, "early_stopping": False, "n_members": 1, "random_state": 0}
TASKS = {"kind": "classification", "size": "regression"}


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    kind = np.where(X[:, 0] > 0, "up", "down").astype(object)
    kind[:5] = None
    size = X[:, 1] + 0.1
    size[5:9] = np.nan
    return X, {"kind": kind, "size": size}


@pytest.fixture
def model():
    return MultiTaskEstimator(TASKS, **OPTIONS)


def test_a_structured_y_is_learned_as_a_frame_is(data, model):
    X, columns = data
    y, frame = records(columns), pd.DataFrame(columns)
    one, other = clone(model).fit(X, y), clone(model).fit(X, frame)
    predicted, table = one.predict(X), other.predict(X)
    assert predicted.dtype.names == ("kind", "size")
    assert predicted["size"].dtype.kind == "f"
    np.testing.assert_array_equal(predicted["kind"], table[:, 0])
    np.testing.assert_array_equal(predicted["size"], table[:, 1].astype(float))
    assert one.score_tasks(X, y) == other.score_tasks(X, frame) == one.score_tasks(X, frame)
    assert list(one.predict_frame(X).columns) == ["kind", "size"]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(one)).predict(X), predicted)


def test_tasks_of_several_columns_read_their_fields(data):
    X, columns = data
    rng = np.random.default_rng(1)
    y = records(days=rng.exponential(size=60) + 0.1, died=rng.random(60) < 0.5, size=columns["size"])
    model = MultiTaskEstimator({"death": Survival("days", "died"), "size": "regression"}, **OPTIONS).fit(X, y)
    assert model.predict(X).dtype.names == ("death", "size")


def test_tools_index_it(data, model):
    X, columns = data
    y = records(columns)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    assert np.isfinite(clone(model).fit(X_train, y_train).score(X_test, y_test))
    expected = cross_val_score(model, X, pd.DataFrame(columns), cv=KFold(3))
    np.testing.assert_array_equal(cross_val_score(model, X, y, cv=KFold(3)), expected)
    grid = {"lr": [0.001, 0.01]}
    found = GridSearchCV(model, grid, cv=KFold(3)).fit(X, y).cv_results_["mean_test_score"]
    stacked = StackedGridSearchCV(model, grid, cv=KFold(3)).fit(X, y).cv_results_["mean_test_score"]
    np.testing.assert_allclose(found, stacked, atol=1e-6)
    by_task = make_task_scorer("default")(clone(model).fit(X, y), X, y)
    assert set(by_task) == {"kind", "size", "average"}


@pytest.mark.parametrize("predict", [cross_val_predict, skmtl.model_selection.cross_val_predict])
def test_out_of_fold_predictions_are_structured(data, model, predict):
    X, columns = data
    found = predict(model, X, records(columns), cv=KFold(3))
    table = predict(model, X, pd.DataFrame(columns), cv=KFold(3))
    assert found.dtype.names == ("kind", "size")
    np.testing.assert_array_equal(found["kind"], table[:, 0])


def test_transfer_gain_reads_it(data, model):
    X, columns = data
    gain = transfer_gain(model, X, records(columns), cv=KFold(2))
    assert set(gain.task_names) == {"kind", "size"}


def test_a_task_view_predicts_its_field(data, model):
    X, columns = data
    fitted = clone(model).fit(X, records(columns))
    view = fitted.task("size")
    np.testing.assert_array_equal(view.predict(X), fitted.predict(X)["size"])
    assert np.isfinite(view.score(X[10:], records({name: values[10:] for name, values in columns.items()})))


@pytest.mark.parametrize("estimator", [MultiTaskClassifier(), MultiTaskRegressor()])
def test_classifier_and_regressor_name_the_estimator_that_reads_it(data, estimator):
    X, columns = data
    with pytest.raises(ValueError, match="MultiTaskEstimator reads it"):
        estimator.fit(X, records(columns))


def test_a_dict_names_records(data, model):
    X, columns = data
    with pytest.raises(TypeError, match=r"skmtl\.records\(y\)"):
        model.fit(X, columns)


def test_fields_of_several_labels_are_refused_by_name(data, model):
    X, columns = data
    with pytest.raises(ValueError, match="Task 'size' reads one label in each row"):
        model.fit(X, records(kind=columns["kind"], size=np.zeros((60, 4))))
    with pytest.raises(ValueError, match="Task 'kind' reads one label in each row"):
        model.fit(X, records(kind=np.zeros((60, 4), dtype=int), size=columns["size"]))
