"""What every kind of task must do, taken from the family's table."""

import json
import pickle

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from skmtl import MultiTaskEstimator
from skmtl.tasks import TASKS, Task
from tests import _asserts as laws
from tests import _task_cases as cases
from tests._cases import STRATEGIES

every_task = pytest.mark.parametrize("name", cases.OPTIONS)
every_strategy = pytest.mark.parametrize("sharing", STRATEGIES)


def test_every_member_of_the_family_has_an_example():
    of_rows = {name for name, task in TASKS.items() if task.site == "row"}
    assert set(cases.EXAMPLES) == of_rows, "Give an example in tests/_task_cases.py, of places in tests/test_sites.py."


@every_task
@every_strategy
def test_every_strategy_learns_and_predicts(name, sharing):
    X, y, _ = table = cases.make_table(name)
    model = cases.fit(name, sharing, table)
    task = model.tasks_["t"]
    predicted = model.predict_frame(X)
    assert list(predicted.columns) == [*task.output_names("t"), "other"]
    assert np.isfinite(model.score_tasks(X, y)["t"])
    assert all(np.isfinite(entry["train_loss"]) for entry in model.history_)
    again = pickle.loads(pickle.dumps(model))
    pd.testing.assert_frame_equal(again.predict_frame(X), predicted)
    assert again.score(X, y) == model.score(X, y)


@every_task
def test_equal_seeds_give_equal_bits(name):
    X, *_ = cases.make_table(name)
    np.testing.assert_array_equal(cases.raw(cases.fit(name), X), cases.raw(cases.fit(name), X))


@every_task
@every_strategy
def test_a_label_of_weight_zero_is_absent(name, sharing):
    X, y, tasks = cases.make_table(name)
    weight = np.ones(len(X))
    weight[-6:] = 0.0
    wild = y.copy()
    wild.iloc[-6:] = y.iloc[:6].to_numpy()
    kept, other = (cases.fit(name, sharing, (X, labels, tasks), weight) for labels in (y, wild))
    np.testing.assert_array_equal(cases.raw(kept, X), cases.raw(other, X))
    assert kept.score_tasks(X, y, weight) == other.score_tasks(X, wild, weight)
    absent = cases.fit(name, sharing, (X[:-6], y[:-6], tasks), weight[:-6])
    np.testing.assert_array_equal(cases.raw(kept, X), cases.raw(absent, X))


@every_task
def test_a_row_of_weight_two_is_the_row_twice(name):
    if name == "efron":
        pytest.skip("only Breslow's ties make a row of weight 2 the row twice")
    X, y, tasks = cases.make_table(name)
    weight = np.where(np.arange(len(X)) < 20, 2.0, 1.0)
    twice = np.repeat(np.arange(len(X)), weight.astype(int))
    options = {"batch_size": 200, "dtype": "float64"}
    weighted = cases.fit(name, table=(X, y, tasks), sample_weight=weight, **options)
    repeated = cases.fit(name, table=(X[twice], y.iloc[twice], tasks), **options)
    np.testing.assert_allclose(cases.raw(weighted, X), cases.raw(repeated, X), rtol=1e-7, atol=1e-9)
    one, two = weighted.score_tasks(X, y, weight)["t"], repeated.score_tasks(X[twice], y.iloc[twice])["t"]
    assert one == pytest.approx(two, abs=1e-6)


@every_task
def test_a_missing_label_may_be_anything(name):
    X, y, tasks = cases.make_table(name)
    seen = y.drop(columns="other").notna().all(axis=1)
    lacking = y.copy().astype(object)
    lacking.loc[~seen, y.columns.drop("other")] = None
    np.testing.assert_array_equal(
        cases.raw(cases.fit(name, table=(X, y, tasks)), X), cases.raw(cases.fit(name, table=(X, lacking, tasks)), X)
    )


@every_task
def test_members_predict_the_mean_of_their_distributions(name):
    X, *_ = table = cases.make_table(name)
    model = cases.fit(name, table=table, n_members=3)
    raw = model._raw_by_task(model._raw(X))["t"]
    members = [r.unflatten(0, (3, -1)) for r in model._raw_by_task(model._raw_members(X))["t"]]
    for loss, mean, each in zip(model._losses["t"], raw, members, strict=True):
        np.testing.assert_allclose(loss.distribution(mean), loss.distribution(each).mean(0), rtol=1e-5, atol=1e-6)
    assert len(model.predict_members(X)) == 3


@every_task
def test_a_validation_set_and_early_stopping(name):
    X, y, tasks = table = cases.make_table(name, n_samples=160)
    assert np.isfinite(cases.fit(name, table=table, early_stopping=True).history_[-1]["valid_loss"])
    model = MultiTaskEstimator(tasks, **{**cases.SMALL, "early_stopping": True})
    model.fit(X, y, X_val=X[:40], y_val=y[:40])
    assert np.isfinite(model.history_[-1]["valid_task_losses"]).all()


@every_task
def test_partial_fits_and_warm_starts_go_on(name):
    X, y, tasks = cases.make_table(name)
    model = MultiTaskEstimator(tasks, **cases.SMALL)
    first = model.partial_fit(X, y).history_[-1]["train_loss"]
    for _ in range(15):
        model.partial_fit(X, y)
    assert model.history_[-1]["train_loss"] < first
    warm = MultiTaskEstimator(tasks, warm_start=True, **cases.SMALL).fit(X, y)
    assert warm.fit(X, y).n_iter_ == 8


@every_task
def test_unnamed_columns_are_those_of_the_tasks_in_order(name):
    X, y, tasks = cases.make_table(name)
    model, other = cases.fit(name, table=(X, y, tasks)), MultiTaskEstimator(tasks, **cases.SMALL)
    claimed = [*other.tasks["t"].claims("t"), "other"]
    other.fit(X, y[claimed].to_numpy(dtype=object))
    assert other.output_names_ == model.output_names_
    named = cases.fit(name, table=(X, y[claimed], tasks))
    np.testing.assert_array_equal(cases.raw(other, X), cases.raw(named, X))


@every_task
def test_parameters_are_reached_cloned_and_plain(name):
    task = cases.make_task(name)
    model = MultiTaskEstimator({"t": task})
    for key, value in task.get_params().items():
        assert model.get_params()[f"tasks__t__{key}"] is value
        json.dumps(value)
        assert clone(model).get_params()[f"tasks__t__{key}"] == value
    assert clone(model) is not model
    assert repr(task) == repr(clone(task))
    assert eval(repr(task), {type(task).__name__: type(task)}).get_params() == task.get_params()
    changed = clone(model).set_params(tasks__t="regression")
    assert changed.tasks == {"t": "regression"}
    assert model.tasks["t"] is task


@every_task
@every_strategy
def test_permuting_tasks_of_several_kinds_permutes_outputs(name, sharing):
    X, y, tasks = cases.make_table(name)
    y["sign"] = np.where(X[:, 2] > 0, "+", "-")
    estimator = MultiTaskEstimator({**tasks, "sign": "classification"}, sharing, dtype="float64", **cases.SMALL)
    laws.assert_permuting_kinds_permutes_outputs(estimator, X, y, order=[1, 2, 0])


@every_task
def test_perfect_predictions_have_skill_one_and_constant_ones_none(name):
    """Long training on labels that X determines gives a skill above one half; on shuffled labels none on other rows."""
    X, y, tasks = cases.make_table(name, n_samples=300, missing=0.0)
    options = {"max_epochs": 150, "lr": 0.01, "batch_size": 100, "hidden_layer_sizes": (16,)}
    learned = cases.fit(name, table=(X, y, tasks), **options)
    assert learned.score_tasks(X, y)["t"] > 0.2
    shuffled = y.iloc[np.random.default_rng(1).permutation(len(y))].reset_index(drop=True)
    guessing = cases.fit(name, table=(X[:150], shuffled[:150], tasks), max_epochs=2, lr=1e-6)
    assert guessing.score_tasks(X[150:], shuffled[150:])["t"] < 0.15


def test_a_task_of_the_users_own():
    class Logarithm(Task):
        """A positive number, by the logarithm."""

        def __init__(self, *, columns=None):
            self.columns = columns

        def parts(self, y):
            from skmtl.losses import SquaredError
            from skmtl.tasks import Part

            return [Part(SquaredError(1), np.where(y.observed, np.log(np.where(y.observed, y.numbers, 1.0)), np.nan))]

        def decode(self, raw):
            return np.exp(raw[0][:, 0, 0].double().numpy())

        def skill(self, y, raw, weight):
            from sklearn.metrics import r2_score

            return r2_score(y.numbers[:, 0], self.decode(raw), sample_weight=weight)

    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    y = pd.DataFrame({"a": np.exp(X[:, 0]), "b": X[:, 1]})
    y.loc[:20, "a"] = np.nan
    model = MultiTaskEstimator({"a": Logarithm(), "b": "regression"}, random_state=0, n_members=2).fit(X, y)
    assert model.score_tasks(X, y)["a"] > 0.8


@pytest.mark.parametrize("name", ["regression", "huber", "absolute", "one quantile", "quantile", "gaussian", "count"])
def test_a_constant_label_has_skill_one_or_none(name):
    X = np.random.default_rng(0).normal(size=(40, 3))
    y = pd.DataFrame({"t": np.full(40, 3.0), "other": X[:, 0]})
    if name == "count":
        y["years"] = 1.0
    model = cases.fit(name, table=(X, y, {"t": cases.make_task(name), "other": "regression"}), max_epochs=1)
    assert model.score_tasks(X, y)["t"] in (0.0, 1.0)
    if name != "count":
        np.testing.assert_allclose(model.predict_frame(X)["t"], 3.0)
