"""Temperatures, intervals and sets that hold what they promise."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import betabinom
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.metrics import log_loss

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor, table_pipeline
from skmtl.calibration import ConformalClassifier, ConformalRegressor, TemperatureScaling
from skmtl.tasks import Quantile

SMALL = {"hidden_layer_sizes": (8,), "max_epochs": 10, "n_members": 1, "early_stopping": False, "random_state": 0}
N_FIT, N_CAL, N_NEW = 100, 149, 2000


def table(kind, n, seed):
    """Return X and y of two tasks, a fifth of the labels missing, for they are drawn alike in all parts."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    y = X[:, :2] + rng.normal(size=(n, 2))
    if kind == "classes":
        y = np.digitize(y, [-0.7, 0.5]) * 1.0
    y[rng.random(y.shape) < 0.2] = np.nan
    return X, y


def fitted(kind, **params):
    estimator = MultiTaskRegressor if kind == "numbers" else MultiTaskClassifier
    return estimator(**{**SMALL, **params}).fit(*table(kind, N_FIT, 0))


# ---- temperature ----------------------------------------------------------------------------------------------------


def test_the_temperature_minimises_the_log_loss_of_each_task():
    model, (X, y) = fitted("classes", max_epochs=300, lr=0.05, weight_decay=0.0), table("classes", N_CAL, 1)
    scaled = TemperatureScaling(model).fit(X, y)
    for task, proba in enumerate(model.predict_proba(X)):
        seen = ~np.isnan(y[:, task])

        known, labels = proba[seen].astype(float), y[seen, task]

        def loss(temperature, known=known, labels=labels):
            q = known ** (1 / temperature)
            return log_loss(labels, q / q.sum(axis=1, keepdims=True), labels=[0, 1, 2])

        best = minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-8})
        assert scaled.temperatures_[str(task)] == pytest.approx(best.x, rel=1e-3)
        assert scaled.temperatures_[str(task)] > 1  # three hundred epochs are overconfident
        own = scaled.predict_proba(X)[task]
        np.testing.assert_allclose(own.sum(axis=1), 1.0)
        np.testing.assert_array_equal(own.argmax(axis=1), proba.argmax(axis=1))
    np.testing.assert_array_equal(scaled.predict(X), model.predict(X))


def test_temperatures_of_other_containers():
    X, y = table("classes", 60, 0)
    one = MultiTaskClassifier(**SMALL).fit(X, np.nan_to_num(y[:, 0]))
    assert TemperatureScaling(one).fit(X, np.nan_to_num(y[:, 0])).predict_proba(X).shape == (60, 3)
    forest = RandomForestClassifier(5, random_state=0).fit(X, np.nan_to_num(y))
    assert [p.shape for p in TemperatureScaling(forest).fit(X, y).predict_proba(X)] == [(60, 3), (60, 3)]
    frame = pd.DataFrame({"a": y[:, 0], "b": np.where(y[:, 1] > 0, "p", "q"), "c": X[:, 0]})
    mixed = MultiTaskEstimator({"a": "classification", "b": "ordinal", "c": "gaussian"}, **SMALL).fit(X, frame)
    scaled = TemperatureScaling(mixed).fit(X, frame)
    assert set(scaled.temperatures_) == set(scaled.predict_proba(X)) == {"a", "b"}
    frame["a"] = np.nan
    assert TemperatureScaling(mixed).fit(X, frame).temperatures_["a"] == 1.0
    pipe = table_pipeline(MultiTaskClassifier(**SMALL)).fit(X, y)
    again = pickle.loads(pickle.dumps(TemperatureScaling(pipe).fit(X, y)))
    assert len(again.predict_proba(X)) == 2


# ---- conformal ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coverage", [0.5, 0.9])
@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_coverage_is_what_was_promised(kind, coverage):
    """Of m new labels, given n for calibration, a beta-binomial number is covered; pooled over tasks and seeds."""
    model = fitted(kind)
    covered, low, high = 0, 0, 0
    for seed in range(1, 9):
        (X, y), (X_new, y_new) = table(kind, N_CAL, seed), table(kind, N_NEW, 100 + seed)
        if kind == "numbers":
            ends = ConformalRegressor(model, coverage).fit(X, y).predict_interval(X_new)
            inside = (ends[..., 0] <= y_new) & (y_new <= ends[..., 1])
        else:
            sets = ConformalClassifier(model, coverage).fit(X, y).predict_set(X_new)
            codes = np.nan_to_num(y_new).astype(int)
            inside = np.stack([own[np.arange(N_NEW), c] for own, c in zip(sets, codes.T, strict=True)], axis=1)
        for task in range(2):
            n, new = (int((~np.isnan(labels[:, task])).sum()) for labels in (y, y_new))
            place = int(np.ceil((n + 1) * coverage - 1e-12))
            covered += inside[~np.isnan(y_new[:, task]), task].sum()
            mean, variance = betabinom.stats(new, place, n + 1 - place)
            low, high = low + mean, high + variance
    assert abs(covered - low) < 2.58 * np.sqrt(high)  # a sum of sixteen, near a normal variable


def test_the_margin_by_hand():
    model = fitted("numbers")
    X, y = table("numbers", 19, 1)
    y = np.nan_to_num(y)
    margins = ConformalRegressor(model, coverage=0.9).fit(X, y).margins_
    for task, errors in enumerate(np.sort(np.abs(y - model.predict(X)), axis=0).T):
        assert margins[str(task)] == pytest.approx(errors[17])  # the 18th of 19: ceil(20 * 0.9)
    few = ConformalRegressor(model, coverage=0.9).fit(X[:8], y[:8])
    assert set(few.margins_.values()) == {np.inf}
    assert np.isinf(few.predict_interval(X)).all()
    classes = ConformalClassifier(fitted("classes"), coverage=0.9).fit(X[:8], np.zeros((8, 2)))
    assert all(own.all() for own in classes.predict_set(X))


def test_quantile_tasks_are_moved_by_one_amount():
    X, y = table("numbers", 300, 0)
    frame = pd.DataFrame({"a": y[:, 0], "b": y[:, 1]})
    tasks = {"a": Quantile([0.1, 0.5, 0.9]), "b": "regression"}
    model = MultiTaskEstimator(tasks, **SMALL).fit(X[:150], frame[:150])
    conformal = ConformalRegressor(model).fit(X[150:], frame[150:])
    ends = conformal.predict_interval(X)
    moved = ends["a"] - model.task("a").predict_quantiles(X)[:, [0, 2]]
    np.testing.assert_allclose(moved, np.tile(conformal.margins_["a"] * np.array([-1, 1]), (300, 1)))
    np.testing.assert_allclose(ends["b"].mean(axis=1), model.task("b").predict(X), rtol=1e-6)


def test_other_estimators():
    X, y = table("numbers", 60, 0)
    forest = RandomForestRegressor(5, random_state=0).fit(X, np.nan_to_num(y))
    assert ConformalRegressor(forest).fit(X, y).predict_interval(X).shape == (60, 2, 2)
    one = MultiTaskRegressor(**SMALL).fit(X, np.nan_to_num(y[:, 0]))
    assert ConformalRegressor(one).fit(X, np.nan_to_num(y[:, 0])).predict_interval(X).shape == (60, 2)


def test_what_cannot_be_calibrated():
    X, y = table("numbers", 60, 0)
    with pytest.raises(NotFittedError):
        ConformalRegressor(MultiTaskRegressor()).fit(X, y)
    with pytest.raises(ValueError, match="The estimator has no task that is a classifier"):
        ConformalClassifier(fitted("numbers")).fit(X, y)
    with pytest.raises(ValueError, match="coverage"):
        ConformalRegressor(fitted("numbers"), coverage=1.0).fit(X, y)
    with pytest.raises(ValueError, match="y must have one column for each of the 2 tasks"):
        ConformalRegressor(fitted("numbers")).fit(X, y[:, 0])
