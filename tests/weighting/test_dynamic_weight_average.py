"""Dynamic weight average against values worked out by hand."""

import math

import numpy as np
import pytest
import torch
from sklearn.model_selection import KFold, cross_val_score

from skmtl.model_selection import HalvingStackedSearchCV
from skmtl.weighting import DynamicWeightAverage
from tests import _asserts as laws
from tests._cases import make_estimator, make_table


def by_hand(ratios, temperature):
    """Return n exp(r / T) / sum exp(r / T)."""
    each = [math.exp(ratio / temperature) for ratio in ratios]
    return [len(ratios) * e / sum(each) for e in each]


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_weights_by_hand(temperature):
    state = DynamicWeightAverage(temperature).start(1, 3)
    for losses, ratios in (
        ([4.0, 1.0, 2.0], None),
        ([2.0, 1.0, 1.0], (0.5, 1.0, 0.5)),
        ([0.5, 1.5, 1.0], (0.25, 1.5, 1.0)),
    ):
        state.end_epoch(torch.tensor([losses], dtype=torch.float64))
        weights = state.weights(torch.zeros(1, 3))
        assert (weights is None) == (ratios is None)
        if ratios is not None:
            assert weights[0].tolist() == pytest.approx(by_hand(ratios, temperature))
            assert float(weights.sum()) == pytest.approx(3.0)


def test_a_task_without_a_loss_has_the_ratio_one():
    state = DynamicWeightAverage(1.0).start(1, 3)
    state.end_epoch(torch.tensor([[0.0, 2.0, 0.0]]))
    state.end_epoch(torch.tensor([[0.0, 1.0, 3.0]]))
    assert state.weights(torch.zeros(1, 3))[0].tolist() == pytest.approx(by_hand((1.0, 0.5, 1.0), 1.0))


def test_a_loss_that_explodes_takes_all_weight_and_stays_finite():
    state = DynamicWeightAverage(1e-3).start(1, 2)
    state.end_epoch(torch.tensor([[1e-38, 1.0]]))
    state.end_epoch(torch.tensor([[1e38, 1.0]]))
    assert state.weights(torch.zeros(1, 2)).tolist() == [[2.0, 0.0]]


def test_members_learn_apart():
    stack, alone = DynamicWeightAverage().start(2, 2), DynamicWeightAverage().start(1, 2)
    for losses in torch.tensor([[[1.0, 2.0], [3.0, 1.0]], [[0.5, 1.9], [1.0, 0.9]]]):
        stack.end_epoch(losses)
        alone.end_epoch(losses[1:])
    assert torch.equal(stack.weights(losses)[1:], alone.weights(losses[1:]))


def test_a_fit_weighs_by_its_history():
    """What the state sees is what ``history_`` records."""
    X, y = make_table("regression")
    model = make_estimator(weighting=DynamicWeightAverage(0.7), max_epochs=5).fit(X, y)
    before, last = (row["train_task_losses"] for row in model.history_[-2:])
    order = model._plan.layout.order
    expected = by_hand((last / before)[order], 0.7)
    assert model.net_.weighting.weights(None)[0].tolist() == pytest.approx(expected, rel=1e-6)


def test_it_begins_in_the_third_epoch():
    X, y = make_table("regression")
    for epochs, are_equal in ((2, True), (3, False)):
        equal, dynamic = (make_estimator(weighting=w, max_epochs=epochs).fit(X, y) for w in ("equal", "dwa"))
        assert np.array_equal(equal.predict(X), dynamic.predict(X)) == are_equal


def test_single_epochs_of_partial_fit_weigh_all_tasks_alike():
    X, y = make_table("regression")
    equal, dynamic = make_estimator(weighting="equal"), make_estimator(weighting="dwa")
    for _ in range(4):
        equal.partial_fit(X, y)
        dynamic.partial_fit(X, y)
    np.testing.assert_array_equal(equal.predict(X), dynamic.predict(X))


def test_an_ensemble_whose_members_stop_early_is_its_members():
    X, y = make_table("regression")
    stops = {"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 1, "max_epochs": 25, "lr": 0.05}
    X_val, y_val = make_table("regression", seed=1)
    ensemble = make_estimator(weighting=DynamicWeightAverage(0.5), n_members=4, **stops)
    laws.assert_is_the_mean_of_its_members(ensemble, X, y, X_val=X_val, y_val=y_val)
    fitted = ensemble.fit(X, y, X_val=X_val, y_val=y_val)
    assert len(fitted.history_) > 3


def test_survivors_of_halving_continue_with_their_weights():
    """The last scores are those of plain fits of as many epochs."""
    X, y = make_table("regression", missing=0.0)
    model = make_estimator(weighting=DynamicWeightAverage(0.3), lr=0.02, max_epochs=9)
    grid = {"lr": [1e-4, 0.02, 0.03]}
    search = HalvingStackedSearchCV(
        model, grid, factor=3, min_resources=3, max_resources=9, cv=KFold(2), scoring="r2", random_state=0
    ).fit(X, y)
    plain = cross_val_score(model.set_params(lr=search.best_params_["lr"]), X, y, cv=KFold(2), scoring="r2")
    last = search.cv_results_["iter"].max()
    row = np.flatnonzero(search.cv_results_["iter"] == last)
    assert search.cv_results_["n_resources"][row].tolist() == [9]
    scores = [search.cv_results_[f"split{k}_test_score"][row[0]] for k in range(2)]
    np.testing.assert_allclose(scores, plain, rtol=1e-10)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), "hot", None])
def test_a_bad_temperature_raises(temperature):
    X, y = make_table("regression")
    with pytest.raises(ValueError, match=r"DynamicWeightAverage: temperature must be > 0. Found"):
        make_estimator(weighting=DynamicWeightAverage(temperature)).fit(X, y)
