"""Successive halving over epochs: each rung's scores are, to rounding, those of fits alone, and survivors go on."""

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import Ridge
from sklearn.model_selection import HalvingGridSearchCV, KFold, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from skmtl.metrics import make_task_scorer
from skmtl.model_selection import HalvingStackedSearchCV
from skmtl.sharing import STRATEGIES
from skmtl.training import MultiTaskNet
from tests._asserts import assert_same_scores, assert_within_promise
from tests._cases import make_odd_estimator as make_estimator
from tests._cases import make_table
from tests._side_by_side import bytes_of_member

FOLDS = KFold(3, shuffle=True, random_state=0)
GRID = {"lr": [1e-4, 1e-3, 1e-2], "weight_decay": [0.0, 0.1, 1.0]}

pytestmark = pytest.mark.usefixtures("global_random_state_untouched")


def assert_same_as_scikit_learns(estimator, grid, X, y, resource="max_epochs", **options):
    """The whole course is what scikit-learn's halving search gives, which fits every rung anew; scores to rounding."""
    options = {"cv": FOLDS, "return_train_score": False, **options}
    ours = HalvingStackedSearchCV(estimator, grid, **options).fit(X, y)
    theirs = HalvingGridSearchCV(
        estimator, grid, resource=resource, max_resources=ours.max_resources_, random_state=0, **options
    ).fit(X, y)
    for name in ("n_resources_", "n_candidates_", "n_iterations_", "n_remaining_candidates_", "min_resources_"):
        assert getattr(ours, name) == getattr(theirs, name)
    assert ours.cv_results_.keys() == theirs.cv_results_.keys()
    place = {repr(sorted(p.items(), key=str)): k for k, p in enumerate(theirs.cv_results_["params"])}
    order = [place[repr(sorted(p.items(), key=str))] for p in ours.cv_results_["params"]]
    expected = {key: np.asarray(values)[order] for key, values in theirs.cv_results_.items()}
    for key in ("iter", "n_resources"):
        np.testing.assert_array_equal(ours.cv_results_[key], expected[key])
    assert_same_scores(ours.cv_results_, {key: v for key, v in expected.items() if not key.startswith("rank")})
    assert ours.best_params_ == theirs.best_params_
    assert_within_promise(ours.best_score_, theirs.best_score_)
    np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))  # refitted alone, both of them
    return ours


@pytest.mark.parametrize("sharing", STRATEGIES)
@pytest.mark.parametrize(
    "params",
    [{"hidden_layer_sizes": (33,)}, {"dropout": 0.2}, {"n_members": 2, "hidden_layer_sizes": (17, 5)}],
    ids=["plain", "dropout", "ensemble"],
)
def test_rungs_are_scikit_learns(sharing, params):
    X, y = make_table("regression", n_samples=60)
    model = make_estimator(sharing=sharing, max_epochs=9, **params)
    search = assert_same_as_scikit_learns(model, GRID, X, y)
    assert (search.n_candidates_, search.n_resources_) == ([9, 3, 1], [1, 3, 9])


def test_architectures_seeds_pipelines_and_classes():
    X, y = make_table("multiclass", n_samples=90, missing=0.0)
    model = Pipeline([("scale", StandardScaler()), ("net", make_estimator("multiclass", max_epochs=8))])
    grid = [
        {"net__hidden_layer_sizes": [(8,), (4,)], "net__random_state": [0, 1], "scale__with_mean": [True, False]},
        {"net__class_weight": [None, "balanced"]},
    ]
    assert_same_as_scikit_learns(model, grid, X, y, resource="net__max_epochs", factor=2)


def test_survivors_go_on_and_losers_are_let_go(monkeypatch):
    X, y = make_table("regression", missing=0.0)
    trained, fit_loop = [], MultiTaskNet.fit_loop

    def count(net, data, y=None, epochs=None, **params):
        trained.append((len(net.active), epochs))
        return fit_loop(net, data, y, epochs=epochs, **params)

    monkeypatch.setattr(MultiTaskNet, "fit_loop", count)
    search = HalvingStackedSearchCV(make_estimator(max_epochs=9), GRID, cv=FOLDS, refit=False).fit(X, y)
    assert trained == [(27, 1), (9, 2), (3, 6)]
    assert search.n_stacks_ == 1


def test_stacks_without_survivors_are_let_go(capsys):
    X, y = make_table("regression", missing=0.0)
    model = make_estimator(max_epochs=9)
    max_bytes = 2 * bytes_of_member(model, X, y)  # two members a stack: some lose both
    search = HalvingStackedSearchCV(model, GRID, cv=FOLDS, max_bytes=max_bytes, verbose=1).fit(X, y)
    assert search.n_stacks_ == 14  # 27 fits
    told = capsys.readouterr().out
    assert "Rung 3 of 3" in told
    assert "one by one" not in told
    assert "Trained alone" not in told


def test_what_looks_back_is_trained_anew():
    X, y = make_table("regression", n_samples=90)
    model = make_estimator(max_epochs=9, early_stopping=True, n_iter_no_change=2)
    assert_same_as_scikit_learns(model, {"lr": [1e-4, 1e-3, 1e-2]}, X, y)
    assert_same_as_scikit_learns(make_estimator(max_epochs=9, callbacks=[Callback()]), {"lr": [1e-4, 1e-2, 0.1]}, X, y)


def test_a_pipeline_in_a_pipeline():
    X, y = make_table("regression", missing=0.0)
    model = Pipeline([("all", Pipeline([("scale", StandardScaler()), ("net", make_estimator(max_epochs=9))]))])
    search = assert_same_as_scikit_learns(model, {"all__net__lr": [1e-4, 1e-3, 1e-2]}, X, y, "all__net__max_epochs")
    assert search.n_resources_ == [3, 9]


@pytest.mark.parametrize("first", ["exhaust", 2])
def test_a_schedule_ends_with_the_last_rung(first):
    X, y = make_table("regression")
    model = make_estimator(max_epochs=9, lr_schedule="cosine")
    search = HalvingStackedSearchCV(model, {"lr": [1e-4, 1e-3, 1e-2]}, cv=FOLDS, min_resources=first).fit(X, y)
    assert search.n_resources_ == [3, 9] if first == "exhaust" else [2, 6]
    last = search.cv_results_["mean_test_score"][search.best_index_]
    assert_within_promise(last, cross_val_score(clone(search.best_estimator_), X, y, cv=FOLDS).mean())


def test_candidates_at_random_scores_by_task_and_threads():
    X, y = make_table("regression")
    space = {"lr": loguniform(1e-4, 1e-1), "sharing": ["hard", "soft"]}
    options = {"n_candidates": 6, "random_state": 3, "scoring": make_task_scorer("r2"), "refit": "average", "cv": FOLDS}
    one, two = (
        HalvingStackedSearchCV(make_estimator(max_epochs=6), space, factor=2, n_jobs=n, **options).fit(X, y)
        for n in (1, 2)
    )
    assert one.n_candidates_ == [6, 3, 2]
    assert one.best_params_ == two.best_params_
    for name in ("average", "0", "3"):
        assert_within_promise(two.cv_results_[f"mean_test_{name}"], one.cv_results_[f"mean_test_{name}"])
    assert one.best_score_ == one.cv_results_["mean_test_average"][-2:].max()


def test_bounds_on_the_epochs():
    X, y = make_table("regression")
    search = HalvingStackedSearchCV(make_estimator(), GRID, cv=FOLDS, min_resources=2, max_resources=7).fit(X, y)
    assert (search.n_candidates_, search.n_resources_, search.n_iterations_) == ([9, 3], [2, 6], 2)
    assert search.n_remaining_candidates_ == 1
    assert search.best_params_["max_epochs"] == 6
    assert search.best_estimator_.n_iter_ == 6


def test_a_candidate_that_diverges_falls_out():
    X, y = make_table("regression", dtype=np.float32)
    grid = {"lr": [1e-3, 1e30, 1e-2]}
    with pytest.warns(FitFailedWarning, match="3 fits failed"), pytest.warns(UserWarning, match="non-finite"):
        search = HalvingStackedSearchCV(make_estimator(max_epochs=6), grid, cv=FOLDS).fit(X, y)
    assert search.best_params_["lr"] != 1e30
    assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True, False, False]


@pytest.mark.filterwarnings("ignore:One or more of the:UserWarning")
def test_an_interrupted_rung_is_told(monkeypatch):
    X, y = make_table("regression", missing=0.0)
    fit_loop, calls = MultiTaskNet.fit_loop, []

    def interrupted(net, *args, **params):
        calls.append(net)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return fit_loop(net, *args, **params)

    monkeypatch.setattr(MultiTaskNet, "fit_loop", interrupted)
    grid = {"hidden_layer_sizes": [(8,), (6,)], "lr": [1e-3, 1e-2]}
    with pytest.warns(UserWarning, match="interrupted after 6 of 12 fits"):
        search = HalvingStackedSearchCV(make_estimator(max_epochs=6), grid, cv=FOLDS, factor=2).fit(X, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).tolist() == [True, True, False, False]
    assert not hasattr(search, "best_estimator_")


@pytest.mark.parametrize(
    ("estimator", "params", "error", "message"),
    [
        (make_estimator(), {"param_grid": {"max_epochs": [1]}}, ValueError, "'max_epochs' cannot be searched"),
        (Ridge(), {"param_grid": {"alpha": [1.0]}}, TypeError, "needs an estimator of skmtl.*Ridge"),
        (make_estimator(), {"min_resources": 50}, ValueError, "min_resources=50 epochs must be no more than.*4"),
        (make_estimator(), {"factor": 1}, ValueError, "factor"),
        (make_estimator(), {"scoring": ["r2"], "refit": False}, ValueError, "refit must name the score"),
        (make_estimator(), {"param_grid": {"lr": []}}, ValueError, "empty"),
        (make_estimator(), {"param_grid": {"rate": [1]}}, ValueError, "Invalid parameter 'rate'"),
    ],
)
def test_what_cannot_be_searched(estimator, params, error, message):
    X, y = make_table("regression", missing=0.0)
    with pytest.raises(error, match=message):
        HalvingStackedSearchCV(estimator, **{"param_grid": GRID, "cv": FOLDS, **params}).fit(X, y)


def test_verbose_tells_the_rungs(capsys):
    X, y = make_table("regression")
    HalvingStackedSearchCV(make_estimator(max_epochs=9), GRID, cv=FOLDS, verbose=1).fit(X, y)
    said = capsys.readouterr().out
    assert "Rung 1 of 3: 9 candidates, 1 epochs" in said
    assert "Rung 3 of 3: 1 candidates, 9 epochs" in said


# ---- early stopping --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", ["hard", "soft", "attention"])
@pytest.mark.parametrize("params", [{}, {"n_members": 3}, {"dropout": 0.3}, {"batch_size": 500}], ids=str)
def test_candidates_that_stop_early_are_what_they_are_alone_in_every_rung(sharing, params):
    """Those that stopped stay as they were, the others continue from their last weights, and all show their best."""
    X, y = make_table("regression", n_samples=80)
    stops = {"early_stopping": True, "n_iter_no_change": 2, "tol": 0.0, "validation_fraction": 0.2}
    model = make_estimator(sharing=sharing, max_epochs=24, **stops, **params)
    grid = {"lr": [1e-3, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2], "random_state": [0, 3]}
    folds = KFold(2, shuffle=True, random_state=0)
    search = HalvingStackedSearchCV(model, grid, cv=folds, factor=2, min_resources=6).fit(X, y)
    assert search.n_resources_ == [6, 12, 24]
    assert search.n_stacks_ <= 2  # nothing is trained alone
    results, epochs = search.cv_results_, set()
    for row, parameters in enumerate(results["params"]):
        for split, (train, test) in enumerate(folds.split(X)):
            alone = clone(model).set_params(**parameters).fit(X[train], y[train])
            epochs.add((results["n_resources"][row], alone.n_iter_))
            assert results[f"split{split}_test_score"][row] == pytest.approx(alone.score(X[test], y[test]), abs=1e-8)
    assert len({n_iter for most, n_iter in epochs if n_iter < most}) > 1  # some stopped, in different epochs
    assert any(n_iter > 6 for _, n_iter in epochs)
    alone = clone(model).set_params(**search.best_params_).fit(X, y)
    assert search.best_estimator_.n_iter_ == alone.n_iter_


def test_a_search_all_of_whose_candidates_have_stopped():
    X, y = make_table("regression", n_samples=80)
    model = make_estimator(early_stopping=True, n_iter_no_change=1, tol=1e9, max_epochs=27)
    search = HalvingStackedSearchCV(model, {"lr": [0.01, 0.02, 0.03, 0.05]}, cv=2, factor=2, min_resources=3).fit(X, y)
    scores = {}
    for parameters, score in zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True):
        scores.setdefault(parameters["lr"], set()).add(score)
    assert all(len(own) == 1 for own in scores.values())
    assert search.best_estimator_.n_iter_ == 2


def test_rungs_do_not_stop_early_unless_asked_to():
    X, y = make_table("regression", n_samples=240)
    model = make_estimator(early_stopping="auto", max_epochs=4)
    search = HalvingStackedSearchCV(model, {"lr": [0.01, 0.02, 0.03, 0.04]}, cv=2, factor=2).fit(X, y)
    assert search.best_params_["early_stopping"] is False
    assert not search.best_estimator_.early_stopping_
    asked = HalvingStackedSearchCV(model, {"early_stopping": [True, "auto"]}, cv=2, factor=2).fit(X, y)
    assert {parameters["early_stopping"] for parameters in asked.cv_results_["params"]} == {True, False}
