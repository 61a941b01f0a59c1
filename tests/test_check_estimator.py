"""scikit-learn's own contract, with no expected failure."""

import pytest
from sklearn.utils.estimator_checks import check_estimator

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor
from tests._cases import STRATEGIES, WEIGHTINGS

# Skipped by scikit-learn without array-api-compat, and for estimators without decision_function.
MAY_SKIP = {"check_array_api_input", "check_classifiers_multilabel_output_format_decision_function"}

both_estimators = pytest.mark.parametrize("estimator", [MultiTaskClassifier, MultiTaskRegressor])


def _narrow(sharing):
    """Return options that keep the checks of attention, whose steps take longer, to a few seconds."""
    return {"hidden_layer_sizes": (16,)} if sharing == "attention" else {}


checked = pytest.mark.filterwarnings("ignore")  # the checks warn about data of their own


@both_estimators
@pytest.mark.parametrize("sharing", STRATEGIES)
@checked
def test_check_estimator(estimator, sharing):
    assert_passes_every_check(estimator(sharing, **_narrow(sharing)))


@both_estimators
@pytest.mark.parametrize("weighting", [name for name in WEIGHTINGS if name != "equal"])
@checked
def test_check_estimator_with_every_weighting(estimator, weighting):
    assert_passes_every_check(estimator(weighting=weighting, hidden_layer_sizes=(16,)))


@both_estimators
@checked
def test_check_estimator_with_an_ensemble(estimator):
    assert_passes_every_check(estimator(n_members=3, hidden_layer_sizes=(16,)))


@pytest.mark.parametrize("task", ["regression", "classification", "gaussian"])
@checked
def test_check_estimator_with_one_task(task):
    assert_passes_every_check(MultiTaskEstimator({"0": task}, hidden_layer_sizes=(16,), n_members=2, max_epochs=20))


@pytest.mark.parametrize("sharing", [name for name in STRATEGIES if name != "hard"])
@checked
def test_check_estimator_with_one_task_and_every_strategy(sharing):
    assert_passes_every_check(
        MultiTaskEstimator({"0": "classification"}, sharing, hidden_layer_sizes=(16,), max_epochs=5)
    )


@pytest.mark.slow
@both_estimators
@pytest.mark.parametrize("sharing", [name for name in STRATEGIES if _narrow(name)])
@checked
def test_check_estimator_with_default_widths(estimator, sharing):
    assert_passes_every_check(estimator(sharing))


@pytest.mark.slow
@both_estimators
@pytest.mark.parametrize("sharing", STRATEGIES)
@checked
def test_check_estimator_with_other_options(estimator, sharing):
    model = estimator(sharing, hidden_layer_sizes=16, head_layer_sizes=(8,), weighting="uncertainty", lr=0.01)
    assert_passes_every_check(model)


def assert_passes_every_check(estimator):
    results = check_estimator(estimator, on_skip=None)  # raises at the first failure
    assert {result["status"] for result in results} <= {"passed", "skipped"}
    assert {result["check_name"] for result in results if result["status"] == "skipped"} <= MAY_SKIP
    assert len(results) > 50
