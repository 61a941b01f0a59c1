"""MultiTaskKFold is a splitter like scikit-learn's, for tables of targets with missing labels."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import config_context
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, cross_val_score, cross_validate

from skmtl.metrics import make_task_scorer
from skmtl.model_selection import MultiTaskKFold, StackedGridSearchCV, cross_val_predict, transfer_gain
from tests._cases import make_table
from tests.model_selection._stand_in import MeanSlopes, Trees


def _table(n=90, seed=0):
    rng = np.random.default_rng(seed)
    y = pd.DataFrame({"kind": rng.choice(["a", "b", "c"], n, p=[0.8, 0.1, 0.1]), "mass": rng.lognormal(size=n)})
    y.loc[rng.random(n) < 0.3, "mass"] = np.nan
    y.loc[rng.random(n) < 0.3, "kind"] = None
    return rng.normal(size=(n, 2)), y


CONTAINERS = {
    "pandas": lambda y: y,
    "polars": lambda y: pl.DataFrame({c: y[c].astype(object).where(y[c].notna(), None).tolist() for c in y}),
    "objects": lambda y: y.to_numpy(dtype=object),
    "list": lambda y: y.to_numpy(dtype=object).tolist(),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_folds_partition_the_rows_and_keep_classes_labels_and_quantiles(container):
    X, y = _table()
    folds = list(MultiTaskKFold(5, random_state=0).split(X, CONTAINERS[container](y)))
    np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in folds])), np.arange(90))
    low = y["mass"] <= y["mass"].quantile(0.4)
    for train, test in folds:
        np.testing.assert_array_equal(np.sort(np.r_[train, test]), np.arange(90))
        assert len(test) == 18
        for members in (*(y["kind"] == c for c in "abc"), y["kind"].notna(), y["mass"].notna(), low):
            assert abs(members.iloc[test].sum() - members.sum() / 5) < 2


@pytest.mark.parametrize(
    "y", [np.repeat([0, 1], [10, 40]), np.repeat(["no", "yes"], [10, 40]), [True] * 10 + [False] * 40]
)
def test_one_target(y):
    for _, test in MultiTaskKFold(5, random_state=1).split(np.zeros(50), y):
        assert sum(np.asarray(y)[test] == np.asarray(y)[0]) == 2


def test_a_continuous_target_is_divided_at_its_quantiles():
    y = np.random.default_rng(0).lognormal(size=100)
    rank = y.argsort().argsort()
    for _, test in MultiTaskKFold(5, random_state=0, n_bins=10).split(y, y):
        np.testing.assert_array_equal(np.bincount(rank[test] // 10), [2] * 10)


def test_seeds_and_order():
    X, y = _table()

    def folds(**kw):
        return np.concatenate([test for _, test in MultiTaskKFold(3, **kw).split(X, y)]).tolist()

    assert folds(random_state=0) == folds(random_state=0) != folds(random_state=1)
    assert folds(shuffle=False) == folds(shuffle=False)
    assert folds() != folds()


def test_it_is_a_scikit_learn_splitter():
    splitter = MultiTaskKFold(4, random_state=3)
    assert repr(splitter) == "MultiTaskKFold(n_bins=5, n_splits=4, random_state=3, shuffle=True)"
    assert splitter.get_n_splits() == splitter.get_n_splits(None, None, None) == 4
    assert repr(clone(splitter, safe=False)) == repr(splitter)


def test_grid_search_over_a_classifier_with_missing_labels():
    X, y = _table()
    y["mass"] = (y["mass"] > 1).astype(float).where(y["mass"].notna())
    search = GridSearchCV(
        Trees(),
        {"sharing": ["hard", "independent"]},
        cv=MultiTaskKFold(3, random_state=0),
        scoring=make_task_scorer("accuracy"),
        refit="average",
    ).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_kind"]).all()
    with pytest.raises((TypeError, ValueError), match=r"NaN|not supported"):  # what an integer cv does
        clone(search).set_params(cv=3).fit(X, y)


def test_cross_validate_a_regressor_with_missing_labels():
    X, y = _table()
    scores = cross_validate(MeanSlopes(), X, y[["mass"]], cv=MultiTaskKFold(4), scoring=make_task_scorer("rrmse"))
    assert np.isfinite(scores["test_mass"]).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MultiTaskKFold(1), "n_splits must be a whole number >= 2. Found 1"),
        (lambda: MultiTaskKFold(2.5), "n_splits must be a whole number >= 2. Found 2.5"),
        (lambda: MultiTaskKFold(n_bins=0), "n_bins must be a whole number >= 1. Found 0"),
        (lambda: MultiTaskKFold(shuffle=False, random_state=0), "random_state has no effect"),
        (lambda: list(MultiTaskKFold(3).split(np.zeros(9))), "y must be given"),
        (lambda: list(MultiTaskKFold(4).split(np.zeros(3), np.zeros(3))), "n_splits=4 greater than.*n_samples=3"),
        (lambda: list(MultiTaskKFold(2).split(np.zeros(3), np.zeros(4))), "inconsistent numbers of samples"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


# ---- groups ----------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 5), st.integers(5, 40), st.integers(0, 2**31 - 2), st.booleans())
def test_rows_of_a_group_are_in_one_fold(n_splits, n_groups, seed, shuffle):
    rng = np.random.default_rng(seed)
    groups = np.array([f"patient {k}" for k in range(n_groups)])[rng.integers(0, n_groups, 120) % n_groups]
    groups[:n_groups] = [f"patient {k}" for k in range(n_groups)]
    y = rng.integers(0, 3, (120, 3)).astype(float)
    y[rng.random(y.shape) < 0.3] = np.nan
    splitter = MultiTaskKFold(n_splits, shuffle=shuffle, random_state=seed if shuffle else None)
    folds = [test for _, test in splitter.split(np.zeros(120), y, groups)]
    assert sorted(np.concatenate(folds)) == list(range(120))
    assert all(len(fold) for fold in folds)
    owners = [set(groups[fold]) for fold in folds]
    assert sum(map(len, owners)) == len(set.union(*owners)) == n_groups


def test_folds_of_groups_are_as_even_as_scikit_learns():
    ours, theirs = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        groups, y = rng.integers(0, 60, 600) ** 2 // 40, (rng.random(600) < 0.2).astype(int)
        for splitter, found in [
            (MultiTaskKFold(5, random_state=seed), ours),
            (StratifiedGroupKFold(5, shuffle=True, random_state=seed), theirs),
        ]:
            counts = np.array([[len(test), y[test].sum()] for _, test in splitter.split(y, y, groups)])
            found.append((counts.std(axis=0) / counts.mean(axis=0)).max())  # rows, or rows of the rare class
    assert np.mean(ours) < np.mean(theirs)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([0, 1, 2], r"inconsistent numbers of samples: \[6, 6, 3\]"),
        (np.zeros((6, 1)), r"groups must have shape \(6,\), one group for each row. Found \(6, 1\)"),
        (["a", None, "b", "c", "d", "e"], "group of every row. Found 1 missing"),
        (np.ma.array([0, 1, 2, 3, 4, 5], mask=[0, 1, 0, 0, 0, 0]), "group of every row. Found 1 missing"),
        (pd.Series([0, 1, None, 3, 4, 5], dtype="Int64"), "group of every row. Found 1 missing"),
        ([1, 1, 1, 1, 1, 1], "groups must be at least two.*Found only"),
        ([1, 1, 1, 2, 2, 2], "n_splits=3 greater than the number of groups: 2"),
    ],
)
def test_bad_groups(groups, message):
    with pytest.raises(ValueError, match=message):
        list(MultiTaskKFold(3).split(np.zeros(6), np.arange(6), groups))


@pytest.mark.parametrize("container", [list, lambda g: np.array(g, dtype=object), pd.Series])
def test_names_of_groups_of_several_types_differ(container):
    groups = container([1, "1", 1, "1", "a", "a"])
    folds = [sorted(test) for _, test in MultiTaskKFold(3, random_state=0).split(np.zeros(6), np.zeros(6), groups)]
    assert sorted(folds) == [[0, 2], [1, 3], [4, 5]]


@pytest.mark.parametrize("container", [np.array, pd.Series, lambda g: pd.Series(g, dtype="category"), pl.Series])
def test_containers_of_groups(container):
    groups = ["b", "a", "b", "c", "a", "c"]
    folds = [sorted(t) for _, t in MultiTaskKFold(3, random_state=0).split(np.zeros(6), np.zeros(6), container(groups))]
    assert sorted(folds) == [[0, 2], [1, 4], [3, 5]]


def test_groups_reach_the_splitter_through_scikit_learns_tools():
    X, y = make_table("regression", n_samples=60, missing=0.0)
    groups, model, cv = np.arange(60) // 6, Ridge(), MultiTaskKFold(3, random_state=0)
    expected = [model.fit(X[train], y[train]).score(X[test], y[test]) for train, test in cv.split(X, y, groups)]
    search = GridSearchCV(model, {"alpha": [1.0]}, cv=cv).fit(X, y, groups=groups)
    stacked = StackedGridSearchCV(model, {"alpha": [1.0]}, cv=cv).fit(X, y, groups=groups)
    for found in (search, stacked):
        scores = [found.cv_results_[f"split{k}_test_score"][0] for k in range(3)]
        np.testing.assert_allclose(scores, expected)
    with config_context(enable_metadata_routing=True):
        np.testing.assert_allclose(cross_val_score(model, X, y, cv=cv, params={"groups": groups}), expected)


class _Spy(MeanSlopes):
    """Notes the groups of the rows of each fit."""

    seen = []

    def fit(self, X, y, groups=None):
        self.seen.append(groups)
        return super().fit(X, y)


@pytest.mark.parametrize("estimator", [MeanSlopes(), _Spy()])
def test_groups_are_kept_together_where_predictions_and_gains_are_cross_validated(estimator):
    """Each group has slopes of its own: rows of it that are learned would be seen in its predictions."""
    groups = np.repeat(["a", "b", "c"], 6)
    slope = np.repeat([1.0, 10.0, 100.0], 6)
    X = np.ones((18, 1))
    y = np.column_stack([slope, slope])
    _Spy.seen.clear()
    predicted = cross_val_predict(estimator, X, y, cv=3, params={"groups": groups})
    np.testing.assert_allclose(predicted[::6, 0], [55.0, 50.5, 5.5])  # the mean slope of the two other groups
    result = transfer_gain(
        estimator, X, y, cv=MultiTaskKFold(3), scoring="neg_mean_absolute_error", params={"groups": groups}
    )
    np.testing.assert_allclose(np.sort(result.shared[0]), [-94.5, -54.0, -40.5])
    assert all(len(set(seen)) == 2 for seen in _Spy.seen)
    assert len(_Spy.seen) == (9 if isinstance(estimator, _Spy) else 0)  # three for predictions, six for gains


def test_estimators_that_refuse_missing_labels_can_use_it_too():
    X, y = _table()
    y = y[["mass"]].fillna(0.0)
    ours = cross_validate(DummyRegressor(), X, y, cv=MultiTaskKFold(3, random_state=0))
    assert np.isfinite(ours["test_score"]).all()
