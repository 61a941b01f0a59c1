"""What "auto" is: early stopping, members, epochs and decay, by the rows of a fit and by whether training goes on."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.model_selection import StackedGridSearchCV
from skmtl.sharing import HardSharing
from tests._asserts import assert_same_weights
from tests._cases import make_table, outputs

SMALL = {"hidden_layer_sizes": (4,), "batch_size": 64, "random_state": 0}


def fitted(n_rows, **params):
    X, y = make_table("regression", n_samples=n_rows, missing=0.0)
    return MultiTaskRegressor(**{**SMALL, "max_epochs": 1, **params}).fit(X, y)


class Own(HardSharing):
    """A strategy of the user's."""

    name = "own"


# ---- what it is ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_rows", "stops"), [(99, False), (100, True), (300, True)])
def test_early_stopping_begins_at_a_hundred_rows(n_rows, stops):
    model = fitted(n_rows)
    assert model.early_stopping_ is stops
    assert ("valid_loss" in model.history_[0]) is stops
    assert model.n_members_ == 10
    assert fitted(n_rows, max_epochs="auto", n_iter_no_change=1, tol=1e9).max_epochs_ == (400 if stops else 100)


def test_rows_without_a_label_or_of_weight_zero_do_not_count():
    X, y = make_table("regression", n_samples=110, missing=0.0)
    model = MultiTaskRegressor(max_epochs=2, **SMALL)
    weight = np.ones(110)
    weight[:11] = 0.0
    without = np.where(np.arange(110)[:, None] < 11, np.nan, y)
    fits = [model.fit(X[11:], y[11:]), clone(model).fit(X, y, sample_weight=weight), clone(model).fit(X, without)]
    assert not any(fit.early_stopping_ for fit in fits)
    for other in fits[1:]:
        assert_same_weights(fits[0], other)


def test_a_validation_set_is_used_whatever_the_rows():
    X, y = make_table("regression", n_samples=40)
    model = MultiTaskRegressor(max_epochs=1, **SMALL).fit(X[:30], y[:30], X_val=X[30:], y_val=y[30:])
    assert model.early_stopping_
    plain = MultiTaskRegressor(max_epochs=1, early_stopping=False, **SMALL)
    assert not plain.fit(X[:30], y[:30], X_val=X[30:], y_val=y[30:]).early_stopping_


def test_where_training_goes_on_there_is_one_network_that_does_not_stop():
    X, y = make_table("regression", n_samples=120)
    warm = MultiTaskRegressor(max_epochs=1, warm_start=True, **SMALL).fit(X, y)
    streamed = MultiTaskRegressor(**SMALL).partial_fit(X, y)
    for model in (warm, streamed, warm.fit(X, y), streamed.partial_fit(X, y)):
        assert (model.early_stopping_, model.n_members_) == (False, 1)
        assert len(model.predict_members(X)) == 1
    assert warm.n_iter_ == streamed.n_iter_ == 2
    ensemble = MultiTaskRegressor(max_epochs=1, **SMALL).fit(X, y).partial_fit(X, y)
    assert ensemble.n_members_ == 10  # it continues with those that there are


def test_a_strategy_of_the_users_is_one_network():
    assert fitted(100, sharing=Own()).n_members_ == 1
    assert fitted(100, sharing=HardSharing()).n_members_ == 10
    assert fitted(100, sharing=Own(), n_members=2).n_members_ == 2


def test_the_decay_of_few_rows():
    same = {"n_members": 1, "max_epochs": 3}
    for n_rows, decay in ((99, 5.0), (100, 0.5)):
        assert_same_weights(fitted(n_rows, **same), fitted(n_rows, weight_decay=decay, **same))
    for params in ({"early_stopping": False}, {"warm_start": True}):
        assert_same_weights(fitted(99, **params, **same), fitted(99, weight_decay=0.5, **params, **same))
    assert_same_weights(fitted(99, optimizer="adam", **same), fitted(99, optimizer="adam", weight_decay=0.0, **same))


def test_rows_none_of_which_can_be_spared():
    """Each row holds the only label of a task."""
    X, y = np.random.default_rng(0).normal(size=(120, 3)), np.full((120, 120), np.nan)
    np.fill_diagonal(y, np.arange(120.0))
    model = MultiTaskRegressor(n_members=1, n_iter_no_change=1, **SMALL)
    clone(model).set_params(max_epochs=1).fit(X, y)
    found = model.set_params(max_epochs=2).fit(X, y)
    assert not found.early_stopping_
    with pytest.raises(ValueError, match="empty training or validation set. Give more rows or another fraction"):
        model.set_params(early_stopping=True).fit(X, y)


@pytest.mark.parametrize("name", ["n_members", "early_stopping", "max_epochs"])
@pytest.mark.parametrize("value", ["Auto", None, 0, -1, 1.5])
def test_other_values_are_refused(name, value):
    with pytest.raises(ValueError, match=f"The '{name}' parameter"):
        fitted(20, **{name: value})


# ---- searches --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [MultiTaskRegressor, MultiTaskClassifier])
@pytest.mark.parametrize("random_state", [0, "instance"])
def test_each_fit_of_a_search_decides_by_its_own_rows(make, random_state):
    """Folds of 99 and 100 training rows: those of one candidate stop early, the others do not."""
    X, y = make_table("regression" if make is MultiTaskRegressor else "multiclass", n_samples=149, missing=0.1)
    seed = np.random.RandomState(3) if random_state == "instance" else random_state
    model = make(**{**SMALL, "max_epochs": 4, "n_members": 3, "n_iter_no_change": 1, "random_state": seed})
    folds = list(KFold(3).split(X))
    assert {len(train) for train, _ in folds} == {99, 100}
    grid = {"lr": [1e-3, 1e-2], "early_stopping": ["auto", True]}
    ours = StackedGridSearchCV(model, grid, cv=folds, refit=False).fit(X, y)
    theirs = GridSearchCV(model, grid, cv=folds, refit=False).fit(X, y)
    for split in range(3):
        key = f"split{split}_test_score"
        np.testing.assert_allclose(ours.cv_results_[key], theirs.cv_results_[key], atol=1e-6)


def test_a_search_over_the_defaults_trains_what_fits_alone_train():
    X, y = make_table("regression", n_samples=150)
    search = StackedGridSearchCV(MultiTaskRegressor(max_epochs=3, **SMALL), {"lr": [1e-3, 1e-2]}, cv=KFold(2)).fit(X, y)
    alone = clone(search.estimator).set_params(**search.best_params_).fit(X, y)
    for one, other in zip(outputs(search.best_estimator_, X), outputs(alone, X), strict=True):
        np.testing.assert_array_equal(one, other)
    assert search.best_estimator_.n_members_ == 10
