"""Temperatures, intervals and sets that hold what they promise."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import betabinom
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import FixedThresholdClassifier

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor, table_pipeline
from skmtl.calibration import ConformalClassifier, ConformalRegressor, TemperatureScaling
from skmtl.tasks import Censored, Classification, Count, Quantile, Regression

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


def test_intervals_of_rates_and_of_bounds():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 2))
    exposure = rng.uniform(1, 10, 120)
    y = pd.DataFrame({"n": rng.poisson(exposure * np.exp(X[:, 0])), "years": exposure})
    y["dose"] = X[:, 1] + rng.normal(size=120)
    y["relation"] = np.where(np.arange(120) % 20 == 0, ">", "=")
    y.loc[::7, "dose"] = np.nan
    tasks = {"n": Count(exposure="years"), "dose": Censored("relation")}
    model = MultiTaskEstimator(tasks, **SMALL).fit(X, y)
    conformal = ConformalRegressor(model, coverage=0.8).fit(X, y)
    errors = np.sort(np.abs(y["n"] / exposure - model.predict(X)[:, 0]))
    assert conformal.margins_["n"] == pytest.approx(errors[96])  # the 97th of 120: ceil(121 * 0.8)
    seen, exact = y["dose"].notna(), y["relation"] == "="
    errors = np.abs(y["dose"] - model.predict(X)[:, 1])[seen & exact]
    errors = np.sort([*errors, *[np.inf] * (seen & ~exact).sum()])
    assert conformal.margins_["dose"] == pytest.approx(errors[int(np.ceil((len(errors) + 1) * 0.8)) - 1])
    y["relation"] = ">"
    assert ConformalRegressor(model).fit(X, y).margins_["dose"] == np.inf


def test_views_are_calibrated_alone():
    X, y = table("numbers", 300, 0)
    frame = pd.DataFrame({"a": y[:, 0], "b": np.where(y[:, 1] > 0, "p", "q")})
    model = MultiTaskEstimator({"a": Quantile(), "b": "classification"}, **SMALL).fit(X[:150], frame[:150])
    rest, labels = X[150:], frame[150:]
    together, alone = ConformalRegressor(model).fit(rest, labels), ConformalRegressor(model.task("a"))
    np.testing.assert_array_equal(alone.fit(rest, labels["a"]).predict_interval(X), together.predict_interval(X)["a"])
    sets = ConformalClassifier(model.task("b")).fit(rest, labels["b"])
    np.testing.assert_array_equal(sets.predict_set(X), ConformalClassifier(model).fit(rest, labels).predict_set(X)["b"])
    scaled = TemperatureScaling(model.task("b")).fit(rest, labels["b"])
    np.testing.assert_array_equal(
        scaled.predict_proba(X), TemperatureScaling(model).fit(rest, labels).predict_proba(X)["b"]
    )
    tuned = FixedThresholdClassifier(FrozenEstimator(scaled), threshold=0.3, pos_label="q").fit(X, frame["b"])
    np.testing.assert_array_equal(tuned.predict(X) == "q", scaled.predict_proba(X)[:, 1] >= 0.3)


def test_rows_without_the_features_of_a_task():
    X, y = table("numbers", 200, 0)
    X[:60, 1] = np.nan
    frame = pd.DataFrame({"a": X[:, 0], "b": np.where(np.nan_to_num(y[:, 1]) > 0, "p", "q"), "c": y[:, 1]})
    features = {"a": [0], "b": [1], "c": [1, 2]}
    tasks = {
        "a": Regression(features=features["a"]),
        "b": Classification(features=features["b"]),
        "c": Regression(features=features["c"]),
    }
    learned = frame.copy()
    learned.loc[:59, ["b", "c"]] = None
    model = MultiTaskEstimator(tasks, **SMALL).fit(X, learned)
    for calibrated in (TemperatureScaling, ConformalClassifier, ConformalRegressor):
        one, other = calibrated(model).fit(X, frame), calibrated(model).fit(X, learned)
        for name in ("temperatures_", "thresholds_", "margins_"):
            assert getattr(one, name, None) == getattr(other, name, None)
    sets = ConformalClassifier(model).fit(X, frame).predict_set(X)["b"]
    assert sets[:60].all()
    assert not sets[60:].all()


def test_regressors_of_scikit_learn():
    X, y = table("numbers", 60, 0)
    line = LinearRegression().fit(X, np.nan_to_num(y))
    conformal = ConformalRegressor(line, coverage=0.5).fit(X, y)
    assert conformal.predict_interval(X).shape == (60, 2, 2)
    errors = np.sort(np.abs(y - line.predict(X))[~np.isnan(y[:, 1]), 1])
    assert conformal.margins_["1"] == errors[int(np.ceil((len(errors) + 1) / 2)) - 1]


@pytest.mark.parametrize("cls", [TemperatureScaling, ConformalClassifier, ConformalRegressor])
def test_a_frozen_estimator_survives_clone(cls):
    kind = "numbers" if cls is ConformalRegressor else "classes"
    X, y = table(kind, N_CAL, 1)
    model = fitted(kind)
    again = clone(cls(FrozenEstimator(model))).fit(X, y)
    assert again.estimator.estimator is model
    one = cls(model).fit(X, y)
    for name in ("temperatures_", "thresholds_", "margins_"):
        assert getattr(one, name, None) == getattr(again, name, None)
