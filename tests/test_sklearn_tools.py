"""scikit-learn's tools, one small use of each."""

import numpy as np
import pandas as pd
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.inspection import permutation_importance
from sklearn.linear_model import Ridge
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.sharing import STRATEGIES, AttentionSharing, HardSharing, SoftSharing
from skmtl.weighting import UncertaintyWeighting
from tests._asserts import assert_same_outputs
from tests._cases import make_estimator, make_table

every_strategy = pytest.mark.parametrize("sharing", STRATEGIES)
both_kinds = pytest.mark.parametrize("kind", ["regression", "multiclass"])


def make(kind="regression", sharing="hard", **params):
    return make_estimator(kind, sharing, **{"max_epochs": 2, **params})


# ---- clone and parameters -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", [MultiTaskClassifier, MultiTaskRegressor])
def test_clone_keeps_every_parameter(estimator):
    model = estimator(
        SoftSharing(tie_heads=True), sharing_lambda=0.5, weighting=UncertaintyWeighting(lr=0.3), task_weights=[1, 2]
    )
    copy = clone(model)
    assert copy.sharing is not model.sharing
    assert str(copy.get_params()) == str(model.get_params())
    assert copy.get_params()["sharing__tie_heads"] is True
    assert copy.get_params()["weighting__lr"] == 0.3


def test_fit_does_not_touch_parameters():
    X, y = make_table("regression")
    model = make(sharing=AttentionSharing(n_heads=2), weighting=UncertaintyWeighting(), callbacks=[])
    before = {name: (value, repr(value)) for name, value in model.get_params().items()}
    model.fit(X, y)
    for name, value in model.get_params().items():
        assert value is before[name][0]
        assert repr(value) == before[name][1]


def test_a_clone_is_unfitted_and_fits_to_the_same():
    X, y = make_table("regression")
    model = make().fit(X, y)
    copy = clone(model)
    assert not hasattr(copy, "network_")
    assert_same_outputs(model, copy.fit(X, y), X)


def test_a_sharing_object_may_serve_several_estimators():
    X, y = make_table("regression")
    strategy = HardSharing()
    one, two = make(sharing=strategy).fit(X, y), make(sharing=strategy, random_state=1).fit(X, y)
    assert not np.array_equal(one.predict(X), two.predict(X))
    assert_same_outputs(one, make().fit(X, y), X)


def test_repr_shows_what_differs_and_html_draws():
    model = MultiTaskRegressor(sharing=AttentionSharing(n_heads=2), lr=0.1)
    assert repr(model) == "MultiTaskRegressor(lr=0.1, sharing=AttentionSharing(n_heads=2))"
    html = make_pipeline(StandardScaler(), model)._repr_html_()
    assert "MultiTaskRegressor" in html
    assert "n_heads" in html


# ---- pipelines ------------------------------------------------------------------------------------------------------


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"age": rng.normal(50, 9, 60), "job": rng.choice(["a", "b", "c"], 60), "pay": rng.normal(size=60)})
    y = pd.DataFrame({"old": np.where(X["age"] > 50, "yes", "no"), "grade": np.digitize(X["pay"], [-1, 0, 1])})
    return X, y.mask(rng.random(y.shape) < 0.2)


def preprocess():
    return ColumnTransformer([("numbers", StandardScaler(), ["age", "pay"]), ("words", OneHotEncoder(), ["job"])])


@every_strategy
def test_pipeline_with_a_column_transformer_and_missing_labels(table, sharing):
    X, y = table
    pipeline = make_pipeline(preprocess(), make("multiclass", sharing, max_epochs=60, lr=0.03)).fit(X, y)
    assert pipeline.score(X, y) > 0.85
    assert pipeline.predict(X).shape == (60, 2)
    assert [p.shape for p in pipeline.predict_proba(X)] == [(60, 2), (60, 4)]


@every_strategy
def test_transform_is_a_step_of_a_pipeline(sharing):
    X, y = make_table("regression", missing=0.0)
    pipeline = make_pipeline(StandardScaler(), make(sharing=sharing, max_epochs=60), Ridge()).fit(X, y)
    assert pipeline.score(X, y) > 0.8
    names = pipeline[:-1].get_feature_names_out()
    assert len(names) == pipeline[:-1].transform(X).shape[1]
    assert names[0] == "multitaskregressor0"


@both_kinds
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_set_output(kind, library):
    X, y = make_table(kind)
    model = make(kind).set_output(transform=library).fit(X, y)
    out = model.transform(X)
    assert type(out).__module__.startswith(library)
    assert list(out.columns) == list(model.get_feature_names_out())
    np.testing.assert_array_equal(out.to_numpy(), clone(model).fit(X, y).set_output(transform="default").transform(X))


@both_kinds
def test_fit_transform_is_fit_and_transform(kind):
    X, y = make_table(kind)
    np.testing.assert_array_equal(make(kind).fit_transform(X, y), make(kind).fit(X, y).transform(X))


def test_feature_names_are_checked():
    X, y = make_table("regression")
    frame = pd.DataFrame(X, columns=list("abcde"))
    model = make().fit(frame, y)
    assert model.feature_names_in_.tolist() == list("abcde")
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[list("edcba")])
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X)


def test_validation_data_goes_through_the_pipelines_own_steps():
    X, y = make_table("regression")
    with config_context(enable_metadata_routing=True):
        model = make().set_fit_request(X_val=True, y_val=True)
        pipeline = make_pipeline(StandardScaler(), model, transform_input=["X_val"])
        pipeline.fit(X[:40], y[:40], X_val=X[40:], y_val=y[40:])
    scaled = StandardScaler().fit(X[:40])
    direct = make().fit(scaled.transform(X[:40]), y[:40], X_val=scaled.transform(X[40:]), y_val=y[40:])
    assert pipeline[-1].history_[-1]["valid_loss"] == pytest.approx(direct.history_[-1]["valid_loss"])


# ---- metadata routing -----------------------------------------------------------------------------------------------


@both_kinds
def test_sample_weight_is_routed_through_pipeline_and_search(kind):
    X, y = make_table(kind)
    weight = np.random.default_rng(0).random(len(X))
    with config_context(enable_metadata_routing=True):
        model = make(kind).set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        search = GridSearchCV(
            make_pipeline(scaler, model), {f"{type(model).__name__.lower()}__lr": [0.01]}, cv=KFold(2)
        )
        search.fit(X, y, sample_weight=weight)
    direct = make(kind).fit(StandardScaler().fit_transform(X), y, sample_weight=weight)
    assert_same_outputs(search.best_estimator_[-1], direct, StandardScaler().fit_transform(X))


def test_sample_weight_reaches_a_pipelines_last_step():
    X, y = make_table("regression")
    weight = np.random.default_rng(0).random(y.shape)
    pipeline = make_pipeline(StandardScaler(), make())
    pipeline.fit(X, y, multitaskregressor__sample_weight=weight)
    direct = make().fit(StandardScaler().fit_transform(X), y, sample_weight=weight)
    np.testing.assert_array_equal(pipeline.predict(X), direct.predict(StandardScaler().fit_transform(X)))


# ---- searches -------------------------------------------------------------------------------------------------------


def test_grid_search_over_sharing_and_lambda():
    X, y = make_table("regression", missing=0.2)
    grid = [
        {"sharing": ["hard", "independent", AttentionSharing()], "lr": [0.01]},
        {"sharing": ["soft"], "sharing_lambda": [0.0, 0.01, 10.0]},
        {"sharing": [AttentionSharing()], "sharing__n_heads": [1, 2], "sharing__n_tokens": [3]},
    ]
    search = GridSearchCV(make(), grid, cv=KFold(2)).fit(X, y)
    assert len(search.cv_results_["params"]) == 8
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert search.best_score_ == search.cv_results_["mean_test_score"].max()
    assert search.predict(X).shape == y.shape


def test_lambda_of_zero_scores_as_independent_in_a_grid():
    X, y = make_table("regression")
    grid = [{"sharing": ["independent"]}, {"sharing": ["soft"], "sharing_lambda": [0.0]}]
    scores = GridSearchCV(make(), grid, cv=KFold(2)).fit(X, y).cv_results_["mean_test_score"]
    assert scores[0] == scores[1]


def test_randomized_search():
    X, y = make_table("regression")
    search = RandomizedSearchCV(
        make(), {"sharing": list(STRATEGIES), "hidden_layer_sizes": [(4,), (8, 8), 12]}, n_iter=3, cv=2, random_state=0
    ).fit(X, y)
    assert search.best_estimator_.n_tasks_ == 4


@both_kinds
def test_halving_search_over_epochs(kind):
    X, y = make_table(kind, missing=0.0)
    search = HalvingGridSearchCV(
        make(kind), {"lr": [0.001, 0.01, 0.03]}, resource="max_epochs", min_resources=2, max_resources=18, cv=KFold(2)
    ).fit(X, y)
    assert search.best_estimator_.n_iter_ == search.n_resources_[-1] == 6


@both_kinds
def test_cross_validation(kind):
    X, y = make_table(kind)
    scores = cross_val_score(make(kind), X, y, cv=KFold(3))
    assert scores.shape == (3,)
    assert np.isfinite(scores).all()
    assert cross_validate(make(kind), X, y, cv=KFold(2), return_estimator=True)["estimator"][0].n_tasks_ == 4


def test_cross_validated_predictions_of_complete_labels():
    X, y = make_table("regression", missing=0.0)
    assert cross_val_predict(make(), X, y, cv=2).shape == y.shape


def test_learning_curve():
    X, y = make_table("regression")
    sizes, train, _ = learning_curve(make(), X, y, train_sizes=[0.5, 1.0], cv=2)
    assert sizes.tolist() == [12, 24]
    assert np.isfinite(train).all()


def test_permutation_importance_finds_the_feature_that_matters():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 3))
    model = make(max_epochs=60).fit(X, np.column_stack([X[:, 1], -X[:, 1]]))
    result = permutation_importance(model, X, np.column_stack([X[:, 1], -X[:, 1]]), n_repeats=3, random_state=0)
    assert result.importances_mean.argmax() == 1
    assert result.importances_mean[1] > 0.5


def test_workers_give_what_one_process_gives():
    X, y = make_table("regression")
    grid = {"sharing": ["hard", "soft"]}
    alone, workers = (GridSearchCV(make(), grid, cv=2, n_jobs=n).fit(X, y) for n in (1, 2))
    np.testing.assert_allclose(alone.cv_results_["mean_test_score"], workers.cv_results_["mean_test_score"], rtol=1e-9)
