"""Losses and tasks against calculations by hand, scipy, torch and scikit-learn."""

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import norm
from sklearn.linear_model import PoissonRegressor
from torch import nn

from skmtl import MultiTaskEstimator
from skmtl.losses import (
    ChainedLogistic,
    Cox,
    CumulativeLogit,
    Normal,
    Pinball,
    Quantiles,
    Softmax,
    Tobit,
    TreeSoftmax,
)
from skmtl.tasks import Chain, Count, Hierarchy, Ordinal, Quantile, Survival
from tests._cases import STRATEGIES

LINEAR = {
    "hidden_layer_sizes": (), "weight_decay": 0.0, "n_members": 1, "early_stopping": False, "random_state": 0,
    "dtype": "float64", "batch_size": 10_000,
}  # fmt: skip


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def sigmoid(z):
    return 1 / (1 + np.exp(-np.asarray(z)))


# ---- ordered classes ------------------------------------------------------------------------------------------------


def test_cumulative_logit_by_hand():
    """Three classes: thresholds log(1/2) and, a softplus of the second output further, log 2 where that is 0."""
    loss = CumulativeLogit([3])
    raw = tensor([[[0.7], [0.4]]])
    start = math.log(math.expm1(2 * math.log(2)))  # softplus of it is the distance from log(1/2) to log 2
    first = math.log(0.5)
    second = first + math.log1p(math.exp(start + 0.4))
    above = sigmoid(0.7 - np.array([first, second]))
    expected = [1 - above[0], above[0] - above[1], above[1]]
    np.testing.assert_allclose(loss.probabilities(raw)[0, :, 0], expected)
    for label in range(3):
        assert loss.loss(raw, tensor([[float(label)]])).item() == pytest.approx(-math.log(expected[label]))
    np.testing.assert_allclose(loss.probabilities(tensor([[[0.0], [0.0]]]))[0, :, 0], 1 / 3)


@pytest.mark.parametrize("sharing", STRATEGIES)
@pytest.mark.parametrize("heads", [(), (6,)], ids=["linear heads", "deep heads"])
def test_thresholds_do_not_depend_on_x_and_never_cross(sharing, heads):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(120, 4))
    y = pd.DataFrame({"grade": np.digitize(X[:, 0] + 0.5 * rng.normal(size=120), [-1, 0, 1]), "size": X[:, 1]})
    options = {"max_epochs": 30, "lr": 0.02, "n_members": 2, "random_state": 0, "early_stopping": False}
    model = MultiTaskEstimator(
        {"grade": Ordinal(), "size": "regression"}, sharing, hidden_layer_sizes=(8,), head_layer_sizes=heads, **options
    ).fit(X, y)
    raw = model._raw_by_task(model._raw_members(X))["grade"][0].unflatten(0, (2, -1))  # (member, row, width, 1)
    assert (raw[:, :, 1:] == raw[:, :1, 1:]).all()
    assert (raw[:, :, 0] != raw[:, :1, 0]).any()
    above = 1 - model.predict_proba(X)["grade"].cumsum(axis=1)[:, :-1]
    assert (np.diff(above, axis=1) < 0).all()


# ---- numbers --------------------------------------------------------------------------------------------------------


def test_quantiles_by_hand():
    loss, raw = Quantiles([0.25, 0.5, 0.75]), tensor([[[0.3], [0.1], [-0.2]]])
    gap = norm.ppf(0.75)
    inverse = math.log(math.expm1(gap))
    low = 0.3 - math.log1p(math.exp(inverse + 0.1))
    high = 0.3 + math.log1p(math.exp(inverse - 0.2))
    np.testing.assert_allclose(loss.quantiles(raw)[0, :, 0], [low, 0.3, high])
    errors = 1.0 - np.array([low, 0.3, high])
    assert loss.loss(raw, tensor([[1.0]])).item() == pytest.approx(np.mean([0.25, 0.5, 0.75] * errors))
    np.testing.assert_allclose(loss.quantiles(0 * raw)[0, :, 0], [-gap, 0, gap], atol=1e-12)
    assert Pinball([0.8]).loss(tensor([[[0.0]]]), tensor([[-2.0]])).item() == pytest.approx(0.4)


@pytest.mark.parametrize("levels", [[0.5], [0.2, 0.9], [0.1, 0.2, 0.3, 0.4, 0.99]])
def test_quantiles_never_cross(levels):
    raw = 20 * torch.randn(200, len(levels), 1, generator=torch.Generator().manual_seed(0))
    assert (Quantiles(levels).quantiles(raw).diff(dim=1) >= 0).all()


def test_normal_is_torchs():
    raw, y = torch.randn(20, 2, 1).double(), torch.randn(20, 1).double()
    expected = nn.GaussianNLLLoss(reduction="none", eps=1e-300)(raw[:, 0], y, raw[:, 1].exp())
    torch.testing.assert_close(Normal(1).loss(raw, y), expected)


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        (0.5, 0.5, lambda m, s: -norm.logpdf(0.5, m, s) - 0.5 * math.log(2 * math.pi)),
        (0.5, 1e10, lambda m, s: -norm.logsf(0.5, m, s)),
        (-1e10, 0.5, lambda m, s: -norm.logcdf(0.5, m, s)),
        (-0.3, 0.5, lambda m, s: -np.log(norm.cdf(0.5, m, s) - norm.cdf(-0.3, m, s))),
        (3.0, 4.0, lambda m, s: -np.log(norm.sf(3.0, m, s) - norm.sf(4.0, m, s))),
    ],
)
def test_tobit_by_scipy(lower, upper, expected):
    for mean, log_sigma in ((0.2, -0.3), (-1.0, 0.4)):
        loss = Tobit(2).loss(tensor([[[mean, log_sigma]]]), tensor([[lower, upper]]))
        assert loss.tolist()[0] == [pytest.approx(expected(mean, math.exp(log_sigma))), 0.0]


@pytest.mark.parametrize("end", [1e3, 1e6])
def test_tobits_gradient_is_finite_far_away(end):
    targets = torch.tensor([[end, 1e10], [-1e10, -end], [end, end + 1], [end, end]])
    raw = torch.zeros(4, 1, 2, requires_grad=True)
    loss = Tobit(2).loss(raw, targets)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert raw.grad.isfinite().all()
    assert (raw.grad[[0, 2, 3], 0, 0] < 0).all()  # towards the bound


@pytest.mark.parametrize("exposure", [False, True])
def test_counts_on_a_linear_network_are_scikit_learns(exposure):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 3))
    years = rng.uniform(0.5, 3, 300) if exposure else np.ones(300)
    y = rng.poisson(years * np.exp(X @ [0.5, -0.3, 0.1] + 0.4))
    table = pd.DataFrame({"n": y, **({"years": years} if exposure else {})})
    model = MultiTaskEstimator(
        {"n": Count(exposure="years" if exposure else None)}, lr=0.05, lr_schedule="cosine", max_epochs=1500, **LINEAR
    ).fit(X, table)
    peer = PoissonRegressor(alpha=0, tol=1e-10, max_iter=1000).fit(X, y / years, sample_weight=years)
    np.testing.assert_allclose(model.predict(X).ravel(), peer.predict(X), rtol=1e-3)
    assert model.score_tasks(X, table)["n"] == pytest.approx(peer.score(X, y / years, years), abs=1e-5)


# ---- classes --------------------------------------------------------------------------------------------------------


def test_label_smoothing_is_torchs():
    raw, y = torch.randn(30, 4, 1).double(), torch.randint(4, (30,))
    expected = nn.CrossEntropyLoss(label_smoothing=0.2, reduction="none")(raw[..., 0], y)
    torch.testing.assert_close(Softmax([4], 0.2).loss(raw, y[:, None].double())[:, 0], expected)


def test_focal_loss_by_hand():
    raw = tensor([[[0.3], [-0.4], [1.1]]])
    p = torch.softmax(raw[0, :, 0], 0)
    loss = Softmax([3], focal_gamma=2.0).loss(raw, tensor([[2.0]]))
    assert loss.item() == pytest.approx(float(-((1 - p[2]) ** 2) * p[2].log()))


def test_a_tree_by_hand():
    """Leaves 0 and 1 are below node 3; a label of node 3 pulls its leaves up in proportion to their shares."""
    loss = TreeSoftmax([[[0], [1], [2], [0, 1]]])
    raw = tensor([[[0.3], [-0.4], [1.1]]]).requires_grad_()
    p = torch.softmax(raw[0, :, 0].detach(), 0)
    value = loss.loss(raw, tensor([[3.0]]))
    assert value.item() == pytest.approx(float(-(p[0] + p[1]).log()))
    value.sum().backward()
    expected = p.clone()
    expected[:2] -= p[:2] / p[:2].sum()
    torch.testing.assert_close(raw.grad[0, :, 0], expected)
    assert loss.loss(raw.detach(), tensor([[1.0]])).item() == pytest.approx(float(-p[1].log()))


def test_coarse_probabilities_are_sums_of_fine_ones_and_never_contradict():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4))
    fine = rng.integers(0, 7, 300)
    y = pd.DataFrame({"top": fine // 4, "mid": fine // 2, "leaf": fine}).astype(object)
    y.loc[:150, "leaf"] = None
    y.loc[:60, "mid"] = None
    model = MultiTaskEstimator({"t": Hierarchy("top", "mid", "leaf")}, max_epochs=3, n_members=2, random_state=0)
    predicted = model.fit(X, y).predict(X)
    assert (predicted[:, 0] == predicted[:, 2] // 4).all()
    assert (predicted[:, 1] == predicted[:, 2] // 2).all()
    top, mid, leaf = model.predict_proba(X)["t"]
    np.testing.assert_allclose(top[:, 0], leaf[:, :4].sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(mid[:, 1], leaf[:, 2:4].sum(axis=1), rtol=1e-6)
    assert (predicted[:, 0] == top.argmax(axis=1)).all()


def test_a_chain_by_hand():
    loss, raw = ChainedLogistic([2]), tensor([[[0.3, -0.8]]])
    click, buy = sigmoid(0.3), sigmoid(0.3) * sigmoid(-0.8)
    np.testing.assert_allclose(loss.decode(raw)[0], [click, buy])
    np.testing.assert_allclose(loss.loss(raw, tensor([[1.0, 0.0]]))[0], [-math.log(click), -math.log(1 - buy)])


def test_a_chain_never_predicts_the_later_event_alone():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3))
    click = X[:, 0] > 0
    y = pd.DataFrame({"click": click, "buy": click & (X[:, 1] > 0)})
    model = MultiTaskEstimator({"t": Chain("click", "buy")}, n_members=2, random_state=0).fit(X, y)
    proba = model.predict_proba(X)["t"]
    assert (proba[:, 1] <= proba[:, 0]).all()
    assert (model.predict(X)[:, 1] <= model.predict(X)[:, 0]).all()
    assert model.score(X, y) > 0.5


# ---- survival -------------------------------------------------------------------------------------------------------


def partial_likelihood(score, time, event, ties):
    """Return the negative log partial likelihood of each event, row by row."""
    losses = np.zeros(len(score))
    for row in np.flatnonzero(event):
        tied = np.flatnonzero(event & (time == time[row]))
        at_risk = np.exp(score[time >= time[row]]).sum()
        share = list(tied).index(row) / len(tied) if ties == "efron" else 0.0
        losses[row] = np.log(at_risk - share * np.exp(score[tied]).sum()) - score[row]
    return losses


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_coxs_likelihood_by_hand(ties):
    rng = np.random.default_rng(0)
    score, time, event = rng.normal(size=30), rng.integers(1, 8, 30), rng.random(30) < 0.6
    loss = Cox(1, ties).loss(tensor(score)[:, None, None], tensor(np.where(event, time, -time) * 1.0)[:, None])
    np.testing.assert_allclose(loss[:, 0], partial_likelihood(score, time, event, ties), rtol=1e-6)


def survivors(n=200, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3))
    time, ends = rng.exponential(np.exp(-X @ [0.8, -0.5, 0.0])), rng.exponential(2.0, n)
    time = np.ceil(10 * np.minimum(time, ends)) / 10  # with ties
    return X, pd.DataFrame({"time": time, "event": (rng.random(n) < 0.7).astype(int)})


def test_hazards_without_features_are_events_over_those_at_risk():
    _, y = survivors()
    X = np.zeros((len(y), 1))
    model = MultiTaskEstimator(
        {"t": Survival("time", "event", n_intervals=6)}, lr=0.1, lr_schedule="cosine", max_epochs=800, **LINEAR
    ).fit(X, y)
    task = model.tasks_["t"]
    edges, expected = np.concatenate([[0], task.cuts_]), []
    for low, high in pairwise(edges):
        happens = (y["time"] > low) & (y["time"] <= high) & (y["event"] == 1)
        leaves = (y["time"] > low) & (y["time"] <= high) & (y["event"] == 0)
        at_risk = (y["time"] > low) & ~leaves
        expected.append(happens.sum() / at_risk.sum())
    survival = model.task("t").predict_survival_function(X[:1], task.cuts_)[0]
    np.testing.assert_allclose(survival, np.cumprod(1 - np.array(expected)), rtol=2e-3)


def test_competing_risks_and_survival_sum_to_one():
    X, y = survivors()
    y["event"] *= np.random.default_rng(1).integers(1, 4, len(y))
    model = MultiTaskEstimator({"t": Survival("time", "event", n_intervals=6)}, max_epochs=20, random_state=0).fit(X, y)
    view, cuts = model.task("t"), model.tasks_["t"].cuts_
    total = view.predict_cumulative_incidence(X, cuts).sum(axis=1) + view.predict_survival_function(X, cuts)
    np.testing.assert_allclose(total, 1.0, rtol=1e-6)
    assert model.tasks_["t"].causes_.tolist() == [1, 2, 3]


@pytest.mark.parametrize("ties", ["breslow", "efron"])
def test_cox_on_a_linear_network_is_scikit_survivals(ties):
    linear_model = pytest.importorskip("sksurv.linear_model")
    X, y = survivors()
    model = MultiTaskEstimator(
        {"t": Survival("time", "event", model="cox", ties=ties)},
        lr=0.05,
        lr_schedule="cosine",
        max_epochs=800,
        **LINEAR,
    ).fit(X, y)
    known = np.array(list(zip(y["event"] == 1, y["time"], strict=True)), dtype=[("e", bool), ("t", float)])
    peer = linear_model.CoxPHSurvivalAnalysis(ties=ties, tol=1e-12).fit(X, known)
    mine, theirs = model.predict(X).ravel(), peer.predict(X)
    np.testing.assert_allclose(mine - mine.mean(), theirs - theirs.mean(), atol=1e-3)
    if ties == "breslow":
        times = np.array([0.2, 0.5, 1.0])
        expected = np.stack([curve(times) for curve in peer.predict_survival_function(X)])
        np.testing.assert_allclose(model.task("t").predict_survival_function(X, times), expected, atol=1e-3)


def test_scores_are_scikit_survivals():
    metrics = pytest.importorskip("sksurv.metrics")
    from skmtl.metrics import concordance_index, integrated_brier_score

    rng = np.random.default_rng(0)
    time, event, risk = rng.exponential(size=80), rng.random(80) < 0.6, rng.normal(size=80)
    known = np.array(list(zip(event, time, strict=True)), dtype=[("e", bool), ("t", float)])
    times = np.linspace(*np.quantile(time, [0.1, 0.8]), 12)
    survival = np.exp(-times[None] * np.exp(risk)[:, None])
    assert concordance_index(time, event, risk) == pytest.approx(
        metrics.concordance_index_censored(event, time, risk)[0]
    )
    tied = np.ceil(3 * time)
    assert concordance_index(tied, event, risk.round()) == pytest.approx(
        metrics.concordance_index_censored(event, tied, risk.round())[0]
    )
    assert integrated_brier_score(time, event, survival, times) == pytest.approx(
        metrics.integrated_brier_score(known, known, survival, times)
    )


def test_quantile_task_is_calibrated_on_noise():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 2))
    y = X[:, 0] + rng.normal(size=2000)
    model = MultiTaskEstimator({"t": Quantile([0.1, 0.9])}, random_state=0, n_members=3).fit(X[:1000], y[:1000])
    low, high = model.task("t").predict_quantiles(X[1000:]).T
    assert 0.74 < np.mean((low < y[1000:]) & (y[1000:] < high)) < 0.86
