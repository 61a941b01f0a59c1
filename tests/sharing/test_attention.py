"""Attention sharing against torch.nn.MultiheadAttention given the same weights."""

import numpy as np
import pytest
import torch
from torch import nn

from skmtl import MultiTaskRegressor
from skmtl.sharing import STRATEGIES, AttentionSharing, TrunkShape
from tests._cases import make_estimator, make_table

N_TASKS, N_FEATURES, WIDTH, N_HEADS, N_TOKENS = 5, 3, 12, 4, 6


@pytest.fixture
def module():
    """Return the sharing module for two members in double precision, its biases not zero."""
    torch.manual_seed(0)
    shape = TrunkShape(N_TASKS, N_FEATURES, (8, WIDTH), "tanh", 0.0, n_members=2)
    module = AttentionSharing(N_HEADS, N_TOKENS).build(shape).double()
    for parameter in module.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    return module


def torchs_own(module, member):
    """Return a MultiheadAttention with the weights of one member; torch's act from the left."""
    attention = nn.MultiheadAttention(WIDTH, N_HEADS, batch_first=True, dtype=torch.float64)
    query, value, out = module.project_query, module.project_value, module.project_out
    weights = [query.weight_0[member].T, module.key_weight[member].T, value.weight_0[member].T]
    # A bias of the keys shifts all scores of a query alike: any value must do.
    biases = [query.bias_0[member, 0], torch.full((WIDTH,), 0.7, dtype=torch.float64), value.bias_0[member, 0]]
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.cat(weights))
        attention.in_proj_bias.copy_(torch.cat(biases))
        attention.out_proj.weight.copy_(out.weight_0[member].T)
        attention.out_proj.bias.copy_(out.bias_0[member, 0])
    return attention


def tokens_of(module, x, member):
    """Return the tokens (batch, token, width) of one member, with plain matrix products."""
    h = x
    for k in range(2):
        h = torch.tanh(h @ getattr(module.trunk, f"weight_{k}")[member] + getattr(module.trunk, f"bias_{k}")[member])
    h = torch.tanh(h @ module.tokens.weight_0[member] + module.tokens.bias_0[member])
    return h.unflatten(-1, (N_TOKENS, WIDTH))


def bound(module, x):
    """Return the module's way in training, for the sum of the features."""
    way = module.bind(x, (2, N_TASKS, len(x), WIDTH))
    way.receive(torch.ones_like(way.out))
    return way


def train(way):
    with torch.no_grad():
        for operation in [*way.forward, *way.backward]:
            operation()


@pytest.mark.parametrize("member", [0, 1])
def test_equals_multihead_attention(module, member):
    x = torch.randn(7, N_FEATURES, dtype=torch.float64)
    tokens = tokens_of(module, x, member)
    query = module.queries.weight[member].expand(7, -1, -1)
    features, weights = torchs_own(module, member)(query, tokens, tokens)
    torch.testing.assert_close(module(x)[member], features.transpose(0, 1), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(module.attention_weights(x)[member], weights, rtol=1e-10, atol=1e-12)


def test_gradients_equal_those_of_multihead_attention(module):
    x = torch.randn(7, N_FEATURES, dtype=torch.float64)
    train(bound(module, x))
    tokens = tokens_of(module, x, 0)
    query = module.queries.weight[0].detach().clone().requires_grad_()
    out, _ = torchs_own(module, 0)(query.expand(7, -1, -1), tokens, tokens)
    (expected,) = torch.autograd.grad(out.sum(), query)
    torch.testing.assert_close(module.queries.weight.grad[0], expected, rtol=1e-9, atol=1e-10)


def test_backward_forgets_the_gradient_of_the_step_before(module):
    x = torch.randn(7, N_FEATURES, dtype=torch.float64)
    seen, way = [], bound(module, x)
    for _ in range(2):
        train(way)
        seen.append([p.grad.clone() for p in module.parameters()])
    torch.testing.assert_close(seen[0], seen[1])


def test_weights_sum_to_one_and_depend_on_task_and_row():
    X, y = make_table("regression")
    model = make_estimator(sharing=AttentionSharing(2, 5), max_epochs=20).fit(X, y)
    weights = model.attention_weights(X)
    assert weights.shape == (len(X), 4, 5)
    assert (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(axis=2), 1.0, rtol=1e-12)
    assert weights.std(axis=1).max() > 1e-3
    assert weights.std(axis=0).max() > 1e-3


def test_attention_weights_stand_in_the_users_task_order():
    """Ragged classes are regrouped inside the network; a task's weights follow from its own query."""
    X, y = make_table("multiclass")
    model = make_estimator("multiclass", "attention").fit(X, y)
    network, places = model.network_, model._plan.layout.places
    assert places.tolist() != [0, 1, 2, 3]
    with torch.no_grad():
        inside = network.trunk.attention_weights(torch.from_numpy(X))[0].numpy()
    for task, place in enumerate(places):
        np.testing.assert_array_equal(model.attention_weights(X)[:, task], inside[:, place])


@pytest.mark.parametrize("sharing", [name for name in STRATEGIES if name != "attention"])
def test_other_strategies_have_no_attention_weights(sharing):
    X, y = make_table("regression")
    model = make_estimator(sharing=sharing, max_epochs=1).fit(X, y)
    assert not hasattr(model, "attention_weights")
    with pytest.raises(AttributeError):
        model.attention_weights(X)


def test_a_large_lambda_makes_the_queries_one():
    X, y = make_table("regression")
    model = make_estimator(sharing="attention", sharing_lambda=1e9, max_epochs=3).fit(X, y)
    weights = model.attention_weights(X)
    np.testing.assert_allclose(weights, weights[:, :1].repeat(4, axis=1), atol=1e-6)


@pytest.mark.parametrize(
    ("sharing", "hidden", "message"),
    [
        (AttentionSharing(n_heads=3), (8,), "multiple of n_heads. Found width 8 and n_heads=3"),
        (AttentionSharing(n_heads=0), (8,), "n_heads must be at least 1. Found 0"),
        (AttentionSharing(n_tokens=0), (8,), "n_tokens must be at least 1. Found 0"),
        (AttentionSharing(n_heads=-1), (8,), "n_heads must be at least 1. Found -1"),
        (AttentionSharing(n_tokens=2.5), (8,), "n_tokens must be"),
        (AttentionSharing(n_heads="4"), (8,), "n_heads must be"),
        (AttentionSharing(n_heads=4), (), "multiple of n_heads. Found width 5"),
    ],
)
def test_bad_options_raise(sharing, hidden, message):
    X, y = make_table("regression")
    with pytest.raises((ValueError, TypeError), match=message):
        MultiTaskRegressor(sharing, hidden_layer_sizes=hidden).fit(X, y)
