"""Tasks that read their own columns of X, and tables stacked from several data sets."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.model_selection import GridSearchCV

from skmtl import MultiTaskEstimator, stack_tasks
from skmtl._inputs import InputTrunk
from skmtl.model_selection import MultiTaskKFold, StackedGridSearchCV
from skmtl.sharing import STRATEGIES, TrunkShape
from skmtl.tasks import Classification, Regression
from tests._cases import STRATEGIES as NAMES

SMALL = {
    "hidden_layer_sizes": (8,), "max_epochs": 4, "batch_size": 32, "n_members": 1, "early_stopping": False,
    "random_state": 0,
}  # fmt: skip
every_strategy = pytest.mark.parametrize("sharing", NAMES)


def two_data_sets(seed=0):
    rng = np.random.default_rng(seed)
    X_a, X_b = rng.normal(size=(60, 3)), rng.normal(size=(50, 4))
    return {"a": (X_a, X_a[:, 0] * 3 + 10), "b": (X_b, np.where(X_b[:, 1] > 0, "yes", "no"))}


def stacked(seed=0):
    X, y, features, _ = stack_tasks(two_data_sets(seed))
    return X, y, {"a": Regression(features=features["a"]), "b": Classification(features=features["b"])}


# ---- stack_tasks ----------------------------------------------------------------------------------------------------


def test_stacked_tables_hold_each_data_set_and_nothing_else():
    data = two_data_sets()
    X, y, features, targets = stack_tasks(data)
    assert X.shape == (110, 7)
    assert features == {"a": ["a.x0", "a.x1", "a.x2"], "b": ["b.x0", "b.x1", "b.x2", "b.x3"]}
    assert targets == {"a": ["a"], "b": ["b"]}
    np.testing.assert_array_equal(X[features["a"]][:60], data["a"][0])
    np.testing.assert_array_equal(X[features["b"]][60:], data["b"][0])
    assert X[features["a"]][60:].isna().all(axis=None)
    assert X[features["b"]][:60].isna().all(axis=None)
    assert y["a"].tolist()[:60] == data["a"][1].tolist()
    assert y["b"].tolist()[60:] == data["b"][1].tolist()
    assert y["a"][60:].isna().all()
    assert y["b"][:60].isna().all()


def test_columns_of_frames_with_equal_names_are_one():
    one = pd.DataFrame({"age": [1.0, 2.0], "mass": [3.0, 4.0]})
    other = pd.DataFrame({"age": [5.0], "size": [6.0]})
    y = pd.DataFrame({"x": [1, 0], "z": [0.5, None]})
    X, targets, features, _ = stack_tasks({"one": (one, y), "other": (other, [7])})
    assert list(X.columns) == ["age", "mass", "size"]
    assert X["age"].tolist() == [1.0, 2.0, 5.0]
    assert features == {"one": ["age", "mass"], "other": ["age", "size"]}
    assert list(targets.columns) == ["x", "z", "other"]
    assert targets["x"].tolist()[:2] == [1, 0]
    assert targets["other"].tolist()[2] == 7


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        ({"a": (np.zeros((3, 2)), [1, 2])}, ValueError, "Data set 'a': X and y must have the same number of rows"),
        ({"a": np.zeros((3, 2))}, TypeError, r"Data set 'a' must be a tuple \(X, y\)"),
        ([], TypeError, "data must be a dict"),
        (
            {k: (np.zeros((1, 1)), pd.DataFrame({"t": [1.0]})) for k in "ab"},
            ValueError,
            r"must not have targets of the same name. Found \['t'\]",
        ),
    ],
)
def test_what_cannot_be_stacked(data, error, message):
    with pytest.raises(error, match=message):
        stack_tasks(data)


# ---- the trunk ------------------------------------------------------------------------------------------------------


@every_strategy
@pytest.mark.parametrize("members", [1, 2])
def test_a_task_depends_on_its_own_columns_alone(sharing, members):
    torch.manual_seed(0)
    shape = TrunkShape(3, 6, (8,), "tanh", 0.0, members)
    trunk = InputTrunk(STRATEGIES[sharing](), shape, [(0, 1), (2, 3, 4), (0, 1)])
    x = torch.randn(5, 6)
    before = trunk(x)
    assert before.shape == (members, 3, 5, trunk.n_features_out)
    for column, changed in ((0, [0, 2]), (3, [1]), (5, [])):
        other = x.clone()
        other[:, column] += 1.0
        differs = (trunk(other) != before).flatten(2).any(-1).any(0)
        assert differs.tolist() == [task in changed for task in range(3)]


def test_rows_pass_once_for_each_distinct_input():
    shape = TrunkShape(4, 6, (8,))
    trunk = InputTrunk(STRATEGIES["hard"](), shape, [(0, 1), (2, 3), (0, 1), (2, 3)])
    seen = []
    trunk.trunk.register_forward_hook(lambda module, args, out: seen.append(args[0].shape))
    trunk(torch.randn(5, 6))
    assert seen == [(1, 2 * 5, 8)]


# ---- the estimator --------------------------------------------------------------------------------------------------


@every_strategy
def test_rows_predict_the_tasks_whose_columns_they_have(sharing):
    X, y, tasks = stacked()
    model = MultiTaskEstimator(tasks, sharing, **SMALL).fit(X, y)
    predicted = model.predict_frame(X)
    assert predicted["a"].notna().tolist() == [True] * 60 + [False] * 50
    assert predicted["b"].notna().tolist() == [False] * 60 + [True] * 50
    assert np.isnan(model.predict_proba(X)["b"][:60]).all()
    np.testing.assert_allclose(model.predict_proba(X)["b"][60:].sum(axis=1), 1.0, rtol=1e-6)
    assert all(np.isfinite(score) for score in model.score_tasks(X, y).values())
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X)["b"], model.predict_proba(X)["b"])


@every_strategy
def test_what_a_task_does_not_read_changes_nothing(sharing):
    X, y, tasks = stacked()
    other = X.copy()
    other.loc[:59, [c for c in X if c.startswith("b")]] = 1e3  # where NaN was
    one, two = (MultiTaskEstimator(tasks, sharing, **SMALL).fit(table, y) for table in (X, other))
    np.testing.assert_array_equal(one.predict_frame(X[:60])["a"], two.predict_frame(X[:60])["a"])


@pytest.mark.parametrize(
    "features", [["a.x0", "a.x1", "a.x2"], slice(0, 3), [0, 1, 2], np.arange(7) < 3, lambda X: X.columns[:3]]
)
def test_columns_are_named_as_in_a_column_transformer(features):
    X, y, tasks = stacked()
    expected = MultiTaskEstimator(tasks, **SMALL).fit(X, y)
    model = MultiTaskEstimator({**tasks, "a": Regression(features=features)}, **SMALL).fit(X, y)
    np.testing.assert_array_equal(model.predict_frame(X)["a"], expected.predict_frame(X)["a"])


def test_early_stopping_members_and_a_validation_set():
    X, y, tasks = stacked()
    X_val, y_val, _ = stacked(1)
    model = MultiTaskEstimator(tasks, random_state=0, max_epochs=3, n_members=2, hidden_layer_sizes=(8,))
    assert model.fit(X, y).early_stopping_
    assert np.isfinite(model.fit(X, y, X_val=X_val, y_val=y_val).history_[-1]["valid_loss"])


def test_a_stacked_search_equals_scikit_learns():
    X, y, tasks = stacked()
    grid = {"lr": [0.001, 0.01], "tasks__a__loss": ["squared_error", "huber"]}
    folds = MultiTaskKFold(2, random_state=0)
    mine = StackedGridSearchCV(MultiTaskEstimator(tasks, **SMALL), grid, cv=folds).fit(X, y)
    theirs = GridSearchCV(MultiTaskEstimator(tasks, **SMALL), grid, cv=folds).fit(X, y)
    np.testing.assert_allclose(
        mine.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], rtol=1e-4, atol=1e-5
    )
    assert mine.n_stacks_ < 8


def test_a_missing_value_that_a_task_reads_is_refused_by_name():
    X, y, tasks = stacked()
    gap = X.copy()
    gap.loc[3, "a.x1"] = np.nan
    with pytest.raises(ValueError, match=r"Task 'a' reads column 'a.x1' of X.* Found NaN in 1 rows.* row 3"):
        MultiTaskEstimator(tasks, **SMALL).fit(gap, y)
    model = MultiTaskEstimator(tasks, **SMALL).fit(X, y)
    with pytest.raises(ValueError, match="Task 'a': 1 rows with a label lack a column of X that it reads"):
        model.score(gap, y)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (["a.x9"], "Task 'a': features=.* must name columns of X"),
        ([], "Task 'a': features=.* must name at least one column of X"),
    ],
)
def test_columns_that_x_lacks(features, message):
    X, y, tasks = stacked()
    with pytest.raises(ValueError, match=message):
        MultiTaskEstimator({**tasks, "a": Regression(features=features)}, **SMALL).fit(X, y)


def test_a_trunk_is_needed():
    X, y, tasks = stacked()
    with pytest.raises(ValueError, match="features= needs a trunk"):
        MultiTaskEstimator(tasks, **{**SMALL, "hidden_layer_sizes": ()}).fit(X, y)


def test_missing_values_are_allowed_only_with_features():
    X, y, tasks = stacked()
    with pytest.raises(ValueError, match="must hold finite numbers"):
        MultiTaskEstimator({"a": "regression", "b": "classification"}, **SMALL).fit(X, y)
    assert MultiTaskEstimator(tasks).__sklearn_tags__().input_tags.allow_nan
    assert not MultiTaskEstimator().__sklearn_tags__().input_tags.allow_nan
