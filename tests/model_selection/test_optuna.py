"""Optuna's search with pruning trains our estimators epoch by epoch; what it cannot do is known."""

import numpy as np
import pytest
from sklearn.base import clone

from skmtl import MultiTaskRegressor
from skmtl.model_selection import MultiTaskKFold
from tests._cases import make_estimator, make_table

optuna = pytest.importorskip("optuna", reason="needs optuna: install skmtl[test]")
optuna_integration = pytest.importorskip("optuna_integration", reason="needs optuna-integration: install skmtl[test]")

pytestmark = [
    pytest.mark.filterwarnings("ignore:OptunaSearchCV is experimental"),
    pytest.mark.filterwarnings("ignore:`optuna.terminator` module has been deprecated:FutureWarning"),
]

FOLDS = MultiTaskKFold(3, random_state=0)
LR = {"lr": optuna.distributions.FloatDistribution(1e-4, 1e-1, log=True)}


@pytest.fixture(autouse=True)
def quiet():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def make_search(estimator, n_epochs, **options):
    """Return a search that prunes, and raises what goes wrong."""
    pruning = {"enable_pruning": True, "max_iter": n_epochs, "error_score": "raise"}
    return optuna_integration.OptunaSearchCV(estimator, LR, cv=FOLDS, **pruning, **options)


def test_each_step_is_one_more_epoch_in_every_fold():
    X, y = make_table("regression", n_samples=60)
    search = make_search(make_estimator(), 4, n_trials=2, random_state=0, refit=False).fit(X, y)
    model = clone(search.estimator).set_params(**search.trials_[0].params)
    folds = [(train, test, clone(model)) for train, test in FOLDS.split(X, y)]
    for step in range(4):
        scores = [m.partial_fit(X[train], y[train]).score(X[test], y[test]) for train, test, m in folds]
        assert search.trials_[0].intermediate_values[step] == pytest.approx(np.mean(scores), abs=1e-12)


def test_a_bad_candidate_is_dropped_and_the_best_is_refitted():
    X, y = make_table("regression", n_samples=90)
    study = optuna.create_study(direction="maximize", pruner=optuna.pruners.MedianPruner(2, n_warmup_steps=2))
    for lr in (1e-2, 2e-2, 1e-4):
        study.enqueue_trial({"lr": lr})
    search = make_search(make_estimator(max_epochs=10), 10, n_trials=3, study=study).fit(X, y)
    assert [trial.state.name for trial in search.trials_] == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert len(search.trials_[2].intermediate_values) < 10
    assert search.best_params_["lr"] in (1e-2, 2e-2)
    alone = make_estimator(max_epochs=10, **search.best_params_).fit(X, y)
    np.testing.assert_array_equal(search.predict(X), alone.predict(X))


def test_a_classifier_needs_its_classes_and_no_refit():
    X, y = make_table("multiclass", n_samples=90)
    classes = [np.unique(column[~np.isnan(column)]) for column in y.T]
    search = make_search(make_estimator("multiclass"), 3, n_trials=2, random_state=0, refit=False)
    search.fit(X, y, classes=classes)
    assert np.isfinite(search.best_score_)
    best = make_estimator("multiclass", **search.best_params_).fit(X, y)
    assert best.predict(X).shape == y.shape


@pytest.mark.parametrize("labels", [[0, 1], [0, 1, 2]])
def test_labels_of_all_tasks_in_one_list_are_no_classes(labels):
    """They are what the search gives by itself, whether or not there are as many labels as tasks."""
    X, y = make_table("multiclass", n_samples=60, missing=0.0, n_classes=(len(labels),) * 4)
    y = y[:, :2]
    with pytest.raises(ValueError, match=r"one list of labels for each of the 2 tasks.*Found one list for all"):
        make_estimator("multiclass").partial_fit(X, y, classes=np.array(labels))
    with pytest.raises(ValueError, match="one list of labels for each of the 2 tasks"):
        make_search(make_estimator("multiclass"), 2, n_trials=1).fit(X, y)


def test_a_single_target_with_missing_labels():
    X, y = make_table("regression", n_samples=60)
    search = make_search(MultiTaskRegressor(max_epochs=3, random_state=0), 3, n_trials=2, random_state=0)
    assert search.fit(X, y[:, 0]).predict(X).shape == (60,)
