"""What a search begins with and ends with: the shipped space, the best mean rank, parameters of the last fit."""

from functools import partial

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, KFold, ParameterSampler, RandomizedSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from skmtl import MultiTaskClassifier, MultiTaskRegressor, table_pipeline
from skmtl.metrics import make_task_scorer
from skmtl.model_selection import (
    HalvingStackedSearchCV,
    StackedGridSearchCV,
    StackedRandomizedSearchCV,
    best_mean_rank,
    search_space,
)
from skmtl.model_selection._fit import last_step
from tests._cases import make_estimator, make_table, outputs

FOLDS = KFold(3, shuffle=True, random_state=0)
GRID = {"lr": [1e-4, 1e-3, 1e-2], "weight_decay": [0.0, 1.0]}
SEARCHES = {
    "grid": lambda model, **options: StackedGridSearchCV(model, GRID, cv=FOLDS, **options),
    "random": lambda model, **options: StackedRandomizedSearchCV(
        model, GRID, n_iter=4, cv=FOLDS, random_state=0, **options
    ),
    "halving": lambda model, **options: HalvingStackedSearchCV(model, GRID, cv=FOLDS, **options),
}
every_search = pytest.mark.parametrize("make_search", SEARCHES.values(), ids=SEARCHES)

# ---- the space -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrap", "prefix", "encoders"),
    [
        (lambda model: model, "", []),
        (lambda model: Pipeline([("scale", StandardScaler()), ("net", model)]), "net__", []),
        (table_pipeline, "model__", ["table__numeric"]),
        (lambda model: make_pipeline(table_pipeline(model)), "pipeline__model__", ["pipeline__table__numeric"]),
    ],
)
def test_the_space_names_parameters_that_the_estimator_has(wrap, prefix, encoders):
    model = wrap(MultiTaskRegressor())
    drawn = list(ParameterSampler(search_space(model), 60, random_state=0))
    for parameters in drawn:
        last_step(clone(model).set_params(**parameters))[1]._check_parameters()
    names = {name.removeprefix(prefix) for parameters in drawn for name in parameters}
    own = {"sharing", "sharing_lambda", "hidden_layer_sizes", "lr", "weight_decay", "dropout"}
    assert names == own | set(encoders)
    assert {str(parameters[f"{prefix}sharing"]) for parameters in drawn} > {"hard", "soft"}


@pytest.mark.parametrize("other", [Ridge(), make_pipeline(StandardScaler(), Ridge()), "hard"])
def test_the_space_is_of_our_estimators(other):
    with pytest.raises(TypeError, match="search_space needs an estimator of skmtl"):
        search_space(other)


@pytest.mark.parametrize("kind", ["regression", "multiclass"])
def test_the_space_is_searched_as_scikit_learn_would(kind):
    X, y = make_table(kind, missing=0.0)
    make = MultiTaskRegressor if kind == "regression" else MultiTaskClassifier
    model = table_pipeline(make(max_epochs=2, n_members=1, batch_size=16, random_state=0))
    options = {"n_iter": 6, "cv": FOLDS, "random_state": 2}
    ours = StackedRandomizedSearchCV(model, search_space(model), **options).fit(X, y)
    theirs = RandomizedSearchCV(model, search_space(model), **options).fit(X, y)
    np.testing.assert_allclose(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], atol=1e-4)


# ---- the best mean rank ----------------------------------------------------------------------------------------------


def test_the_best_mean_rank_by_hand():
    results = {
        "split0_test_score": [0.5, 0.6, 0.4, np.nan],
        "split1_test_score": [0.5, 0.4, 0.6, np.nan],
        "split2_test_score": [0.5, -9.0, 0.4, 1.0],  # ranks (2, 4, 3, 1); sums of ranks 6, 8, 7, 9
        "mean_test_score": [0.5, -2.7, 0.47, np.nan],
    }
    assert best_mean_rank(results) == 0
    assert best_mean_rank({**results, "iter": np.array([0, 0, 1, 1])}) == 2
    tied = {"split0_test_score": [1.0, 1.0], "mean_test_score": [1.0, 1.0]}
    assert best_mean_rank(tied) == 0


@every_search
def test_searches_take_it_as_refit(make_search):
    X, y = make_table("regression")
    search = make_search(make_estimator(), scoring=make_task_scorer("r2"), refit=best_mean_rank).fit(X, y)
    results = search.cv_results_
    assert search.best_index_ == best_mean_rank(results)
    assert search.best_params_ == results["params"][search.best_index_]
    assert not hasattr(search, "best_score_")
    alone = clone(make_estimator()).set_params(**search.best_params_).fit(X, y)
    np.testing.assert_allclose(search.predict(X), alone.predict(X))


def test_scikit_learns_search_takes_it_too():
    X, y = make_table("regression", missing=0.0)
    search = GridSearchCV(Ridge(), {"alpha": [0.1, 1.0, 1e4]}, cv=FOLDS, refit=best_mean_rank).fit(X, y)
    assert search.best_index_ in (0, 1)


def test_one_of_several_scores_must_be_named():
    X, y = make_table("regression", missing=0.0)
    scoring = {"one": "r2", "other": "neg_mean_absolute_error"}
    options = {"param_grid": GRID, "cv": FOLDS, "scoring": scoring}
    with pytest.raises(ValueError, match=r"metric=...\) with one of \['one', 'other'\]"):
        StackedGridSearchCV(make_estimator(), refit=best_mean_rank, **options).fit(X, y)
    search = StackedGridSearchCV(make_estimator(), refit=partial(best_mean_rank, metric="other"), **options).fit(X, y)
    assert search.best_index_ == best_mean_rank(search.cv_results_, "other")


def test_halving_refuses_a_candidate_that_did_not_survive():
    X, y = make_table("regression")
    search = HalvingStackedSearchCV(make_estimator(), GRID, cv=FOLDS, refit=lambda results: 0)
    with pytest.raises(ValueError, match="must return the index of a candidate of the last rung"):
        search.fit(X, y)


# ---- the last fit ----------------------------------------------------------------------------------------------------


@every_search
def test_the_last_fit_has_parameters_of_its_own(make_search):
    X, y = make_table("regression")
    search = make_search(make_estimator(), refit_params={"n_members": 3}).fit(X, y)
    plain = make_search(make_estimator()).fit(X, y)
    assert search.best_params_ == plain.best_params_
    assert search.best_estimator_.n_members_ == 3
    alone = clone(make_estimator()).set_params(**search.best_params_, n_members=3).fit(X, y)
    for ours, theirs in zip(outputs(search.best_estimator_, X), outputs(alone, X), strict=True):
        np.testing.assert_allclose(ours, theirs)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"])


@every_search
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"refit_params": {"no_such": 1}}, ValueError, "Invalid parameter 'no_such'"),
        ({"refit_params": [("n_members", 3)]}, ValueError, "'refit_params' parameter"),
        ({"refit_params": {"n_members": 3}, "refit": False}, ValueError, "of the last fit: set refit=True"),
    ],
)
def test_bad_parameters_of_the_last_fit_are_refused_before_training(make_search, options, error, message, monkeypatch):
    monkeypatch.setattr(MultiTaskRegressor, "_read", None)  # nothing may be read
    X, y = make_table("regression")
    with pytest.raises(error, match=message):
        make_search(make_estimator(), **options).fit(X, y)
