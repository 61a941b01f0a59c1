"""Soft sharing of linear models against the exact solution of the stated objective."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.linear_model import Ridge

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.sharing import SoftSharing
from tests._cases import make_table

LINEAR = {
    "sharing": SoftSharing(tie_heads=True),
    "hidden_layer_sizes": (),
    "weight_decay": 0.0,
    "batch_size": 1000,
    "random_state": 0,
}


def standardised(y):
    return (y - np.nanmean(y, axis=0)) / np.nanstd(y, axis=0)


def solve_least_squares(X, y, strength, weight=None):
    """Return weights and intercepts (task, n_features + 1) that minimise the objective: one linear system."""
    weight = np.ones(y.shape) if weight is None else weight
    n_tasks, A = y.shape[1], np.column_stack([X, np.ones(len(X))])
    p = A.shape[1]
    system, right = np.zeros((n_tasks * p, n_tasks * p)), np.zeros(n_tasks * p)
    for t in range(n_tasks):
        seen, own = ~np.isnan(y[:, t]), slice(t * p, (t + 1) * p)
        share = weight[seen, t] / weight[seen, t].sum()
        system[own, own] = A[seen].T @ (A[seen] * share[:, None])
        right[own] = A[seen].T @ (share * y[seen, t])
    # The gradient of sum_ij |a_i - a_j|^2 by a_i is 4 (T a_i - sum_j a_j).
    laplacian = 4 * strength * (n_tasks * np.eye(n_tasks) - np.ones((n_tasks, n_tasks)))
    return np.linalg.solve(system + np.kron(laplacian, np.eye(p)), right).reshape(n_tasks, p)


@pytest.mark.parametrize("strength", [0.0, 0.003, 0.03, 1.0])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_linear_regression_reaches_the_exact_solution(strength, optimizer):
    X, y = make_table("regression", n_samples=60)
    y = standardised(y)
    model = MultiTaskRegressor(sharing_lambda=strength, optimizer=optimizer, lr=0.01, max_epochs=5000, **LINEAR)
    best = solve_least_squares(X, y, strength)
    np.testing.assert_allclose(model.fit(X, y).predict(X), X @ best[:, :-1].T + best[:, -1], atol=2e-3)


@pytest.mark.parametrize("batch_size", [16, 8])
@pytest.mark.parametrize("weighted", [False, True])
def test_lambda_acts_alike_whatever_the_batches_hold(batch_size, weighted):
    """Twelve tasks, one label a row: batches lack labels of most tasks, but every step has all of the penalty."""
    rng = np.random.default_rng(0)
    X, own = rng.normal(size=(480, 4)), rng.integers(0, 12, 480)
    truth = X @ (rng.normal(size=(4, 1)) + 0.7 * rng.normal(size=(4, 12))) + 0.3 * rng.normal(size=(480, 12))
    y = np.where(own[:, None] == np.arange(12), truth, np.nan)
    weight = rng.exponential(size=y.shape) if weighted else np.ones(y.shape)
    params = {**LINEAR, "sharing_lambda": 0.01, "lr": 0.01, "lr_schedule": "cosine", "max_epochs": 400}
    model = MultiTaskRegressor(**{**params, "batch_size": batch_size, "n_members": 1, "early_stopping": False})
    model.fit(X, y, sample_weight=weight)
    mean, scale = model._codec.mean, model._codec.scale
    found, z = (model.predict(X) - mean) / scale, (y - mean) / scale
    distance = {}
    for factor in (0.8, 1.0, 1.25):  # it acted as 1.55 and 2.3 times as strong when losses were means over batches
        best = solve_least_squares(X, z, factor * 0.01, weight)
        distance[factor] = np.abs(found - X @ best[:, :-1].T - best[:, -1]).max()
    assert distance[1.0] < 5e-3
    assert min(distance[0.8], distance[1.25]) > 4 * distance[1.0]


@pytest.mark.parametrize("batch_size", [8, 20])
def test_weight_decay_acts_alike_whatever_the_batches_hold(batch_size):
    """Linear heads with an L2 penalty are ridge regressions, each over its own rows."""
    rng = np.random.default_rng(0)
    X, truth = rng.normal(size=(240, 3)), rng.normal(size=(3, 4))
    y = X @ truth + 0.3 * rng.normal(size=(240, 4))
    y[rng.random(y.shape) > [0.9, 0.5, 0.2, 0.05]] = np.nan
    params = {"hidden_layer_sizes": (), "weight_decay": 0.3, "optimizer": "adam", "lr": 0.01, "lr_schedule": "cosine"}
    params |= {"batch_size": batch_size, "max_epochs": 300, "n_members": 1, "early_stopping": False}
    model = MultiTaskRegressor(random_state=0, **params).fit(X, y)
    mean, scale = model._codec.mean, model._codec.scale
    for t, seen in enumerate((~np.isnan(y)).T):  # the loss is half of the mean square
        ridge = Ridge(alpha=0.3 * seen.sum()).fit(X[seen], (y[seen, t] - mean[t]) / scale[t])
        np.testing.assert_allclose((model.predict(X)[:, t] - mean[t]) / scale[t], ridge.predict(X), atol=5e-3)


def test_torch_optimisers_take_the_penalty_as_a_gradient():
    X, y = make_table("regression", n_samples=60)
    y = standardised(y)
    model = MultiTaskRegressor(sharing_lambda=0.03, optimizer=torch.optim.SGD, lr=0.1, max_epochs=2000, **LINEAR)
    best = solve_least_squares(X, y, 0.03)
    np.testing.assert_allclose(model.fit(X, y).predict(X), X @ best[:, :-1].T + best[:, -1], atol=1e-4)


@pytest.mark.parametrize("strength", [0.003, 0.1])
def test_logistic_regression_reaches_the_exact_solution(strength):
    X, y = make_table("binary", n_samples=200)
    y = np.where(np.random.default_rng(1).random(y.shape) < 0.25, 1 - y, y)  # noise keeps the optimum finite
    A, n_tasks = np.column_stack([X, np.ones(len(X))]), y.shape[1]

    def objective(flat):
        theta = flat.reshape(n_tasks, -1)
        logit = A @ theta.T
        loss = np.nanmean(np.logaddexp(0, logit) - y * logit, axis=0).sum()
        residual = np.where(np.isnan(y), 0.0, 1 / (1 + np.exp(-logit)) - np.nan_to_num(y)) / (~np.isnan(y)).sum(0)
        pairs = theta[:, None] - theta[None, :]
        return loss + strength * (pairs**2).sum(), (residual.T @ A + 4 * strength * pairs.sum(1)).ravel()

    best = minimize(objective, np.zeros(n_tasks * A.shape[1]), jac=True, options={"gtol": 1e-10}).x
    params = {"optimizer": "sgd", "lr": 0.05, "max_epochs": 4000, "n_members": 1, "early_stopping": False, **LINEAR}
    model = MultiTaskClassifier(sharing_lambda=strength, **params).fit(X, y)
    expected = 1 / (1 + np.exp(-A @ best.reshape(n_tasks, -1).T))
    np.testing.assert_allclose(np.column_stack([p[:, 1] for p in model.predict_proba(X)]), expected, atol=1e-3)


def test_the_recorded_training_loss_is_the_objective():
    X, y = make_table("regression", n_samples=60)
    y = standardised(y)
    model = MultiTaskRegressor(sharing_lambda=0.1, lr=0.02, max_epochs=4000, **LINEAR).fit(X, y)
    best = solve_least_squares(X, y, 0.1)
    loss = 0.5 * np.nanmean((X @ best[:, :-1].T + best[:, -1] - y) ** 2, axis=0).sum()
    pairs = best[:, None] - best[None, :]
    assert model.history_[-1]["train_loss"] == pytest.approx(loss + 0.1 * (pairs**2).sum(), rel=1e-3)


def test_ragged_heads_cannot_be_tied():
    X, y = make_table("multiclass")
    with pytest.raises(ValueError, match="Heads can be tied only where all tasks have equally many outputs"):
        MultiTaskClassifier(SoftSharing(tie_heads=True)).fit(X, y)


def test_nothing_to_tie_raises():
    X, y = make_table("regression")
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=\(\) leaves no trunk.*tie_heads=True"):
        MultiTaskRegressor("soft", hidden_layer_sizes=()).fit(X, y)
