"""Transformed targets: of the regressor, and of regression tasks."""

import pickle

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.preprocessing import FunctionTransformer, PowerTransformer, StandardScaler

from skmtl import MultiTaskEstimator, MultiTaskRegressor
from skmtl.tasks import Regression
from tests._cases import make_estimator

LOG = FunctionTransformer(np.log, np.exp)


def table(seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(60, 4))
    y = np.exp(X[:, :2] + 0.1 * rng.normal(size=(60, 2)))
    y[rng.random(y.shape) < 0.2] = np.nan
    return X, y


def test_predictions_are_those_of_transformed_labels_transformed_back():
    X, y = table()
    plain = make_estimator().fit(X, np.log(y))
    model = make_estimator(target_transform=LOG).fit(X, y)
    np.testing.assert_allclose(model.predict(X), np.exp(plain.predict(X)), rtol=1e-6)


def test_each_task_is_transformed_by_its_own_labels():
    X, y = table()
    model = make_estimator(target_transform=PowerTransformer()).fit(X, y)
    for task in range(2):
        seen = ~np.isnan(y[:, task])
        own = PowerTransformer().fit(y[seen, task, None])
        np.testing.assert_allclose(model._transforms[task].fitted.lambdas_, own.lambdas_)


def test_a_dict_transforms_the_tasks_that_it_names():
    X, y = table()
    model = make_estimator(target_transform={"1": LOG}).fit(X, y)
    target = np.column_stack([y[:, 0], np.log(y[:, 1])])
    expected = make_estimator().fit(X, target).predict(X)
    np.testing.assert_allclose(model.predict(X)[:, 0], expected[:, 0], rtol=1e-6)
    np.testing.assert_allclose(model.predict(X)[:, 1], np.exp(expected[:, 1]), rtol=1e-6)


def test_a_linear_transform_changes_nothing():
    X, y = table()
    expected = make_estimator().fit(X, y).predict(X)
    model = make_estimator(target_transform=StandardScaler()).fit(X, y)
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-5, atol=1e-8)


def test_members_and_their_spread_are_in_the_units_of_y():
    X, y = table()
    model = make_estimator(target_transform=LOG, n_members=3).fit(X, y)
    members = model.predict_members(X)
    np.testing.assert_allclose(model.predict(X), np.exp(np.log(members).mean(axis=0)), rtol=1e-6)
    np.testing.assert_allclose(model.predict_std(X), members.std(axis=0, ddof=1), rtol=1e-6)


def test_a_label_of_weight_zero_does_not_fit_the_transform():
    X, y = table()
    weight = np.ones(len(X))
    weight[:5] = 0.0
    wild = y.copy()
    wild[:5] *= 1e3
    for sample, w in ((wild, weight), (y, weight)):
        models = make_estimator(target_transform=PowerTransformer()).fit(X, sample, w)
        task = MultiTaskEstimator({"0": Regression(transform=PowerTransformer()), "1": "regression"}, max_epochs=1)
        task.fit(X, sample, w)
        if sample is wild:
            expected = models._transforms[0].fitted.lambdas_, task.tasks_["0"].transform_.fitted.lambdas_
    np.testing.assert_array_equal(models._transforms[0].fitted.lambdas_, expected[0])
    np.testing.assert_array_equal(task.tasks_["0"].transform_.fitted.lambdas_, expected[1])


def test_a_task_of_the_estimator_is_transformed_alike():
    X, y = table()
    small = {"hidden_layer_sizes": (8,), "lr": 0.01, "batch_size": 16, "max_epochs": 4, "random_state": 0}
    small |= {"n_members": 1, "early_stopping": False}
    tasks = {"0": Regression(transform=LOG), "1": Regression(transform=LOG)}
    expected = make_estimator(target_transform=LOG).fit(X, y).predict(X)
    np.testing.assert_allclose(MultiTaskEstimator(tasks, **small).fit(X, y).predict(X), expected, rtol=1e-6)


def test_searches_reach_into_the_transformer():
    X, y = table()
    grid = {"target_transform__standardize": [True, False]}
    search = GridSearchCV(make_estimator(target_transform=PowerTransformer()), grid, cv=2).fit(X[:, :], y)
    assert search.best_params_["target_transform__standardize"] in (True, False)
    model = MultiTaskRegressor(target_transform={"a": PowerTransformer()})
    assert model.set_params(target_transform__a__standardize=False).target_transform["a"].standardize is False


def test_predictions_without_an_inverse_are_those_of_the_nearest_label():
    X, y = table()
    model = make_estimator(target_transform=PowerTransformer(), max_epochs=40, lr=0.05).fit(X, y**6)
    assert np.isfinite(model.predict(100 * X)).all()


def test_pickles():
    X, y = table()
    model = make_estimator(target_transform=PowerTransformer()).fit(X, y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))


def test_labels_that_a_transformer_does_not_take_are_refused_by_name():
    X, y = table()
    y[3, 1] = -1.0
    with pytest.raises(
        ValueError, match=r"(?s)Task '1': FunctionTransformer.* must make a finite number .* Found nan of -1"
    ):
        make_estimator(target_transform=FunctionTransformer(np.log, np.exp, check_inverse=False)).fit(X, y)
    with pytest.raises(ValueError, match="target_transform names unknown tasks"):
        make_estimator(target_transform={"x": LOG}).fit(X, y)
    with pytest.raises(ValueError, match="target_transform"):
        make_estimator(target_transform="log").fit(X, y)
