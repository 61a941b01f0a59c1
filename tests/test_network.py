"""Trunk and heads put together."""

import numpy as np
import pytest
import torch

from skmtl._network import ROWS_PER_CHUNK, NetworkPlan, in_chunks
from skmtl.losses import Logistic, Softmax, SquaredError
from skmtl.sharing import STRATEGIES, SoftSharing
from skmtl.tasks import classification_layout, make_layout, regression_layout
from tests._cases import make_estimator, make_table

PARTS = [[SquaredError(1)], [SquaredError(1), Logistic(2)], [Softmax([3])], [Softmax([3]), Softmax([4])]]
LAYOUTS = {
    "regression": regression_layout(4),
    "ragged": classification_layout((3, 2, 5, 4)),
    "parts": make_layout(PARTS),
}
every_strategy = pytest.mark.parametrize("sharing", STRATEGIES)
every_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
every_head = pytest.mark.parametrize("head", [(), (6,)], ids=["linear heads", "deep heads"])


def build(sharing, layout, head=(), hidden=(7, 8), n_members=2, dropout=0.0):
    strategy = STRATEGIES[sharing]() if isinstance(sharing, str) else sharing
    torch.manual_seed(0)
    return NetworkPlan(strategy, layout, 5, hidden, head, "tanh", dropout).build(n_members).double()


@every_strategy
@every_layout
@every_head
@pytest.mark.usefixtures("_restored_seed")
def test_backward_equals_autograd(sharing, layout, head):
    network = build(sharing, layout, head)
    x = torch.randn(6, 5, dtype=torch.float64)
    gradient = torch.randn(2, 6, layout.n_outputs, dtype=torch.float64)
    expected_raw = network(x)
    expected = torch.autograd.grad(expected_raw, list(network.parameters()), gradient, allow_unused=True)
    pass_ = network.bind(x, x.shape[-2])
    with torch.no_grad():
        for operation in pass_.forward:
            operation()
        raw = pass_.raw.clone()
        pass_.raw.copy_(gradient)
        for operation in pass_.backward:
            operation()
    torch.testing.assert_close(raw, expected_raw.detach())
    for (name, parameter), theirs in zip(network.named_parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, theirs, msg=lambda text, name=name: f"{name}: {text}")


@pytest.fixture
def _restored_seed():
    with torch.random.fork_rng(devices=[]):
        yield


@every_strategy
@every_layout
@every_head
@pytest.mark.usefixtures("_restored_seed")
def test_similarity_is_symmetric_with_ones_on_its_diagonal(sharing, layout, head):
    similarity = build(sharing, layout, head).task_similarity().detach()
    assert similarity.shape == (2, 4, 4)
    torch.testing.assert_close(similarity, similarity.transpose(1, 2))
    torch.testing.assert_close(similarity.diagonal(dim1=1, dim2=2), torch.ones(2, 4, dtype=torch.float64))
    assert float(similarity.abs().max()) <= 1 + 1e-9


@pytest.mark.usefixtures("_restored_seed")
def test_similarity_without_a_trunk_compares_the_heads():
    network = build(SoftSharing(tie_heads=True), regression_layout(4), hidden=(), n_members=1)
    heads = network.heads.stack.flat_parameters()[0]
    expected = torch.nn.functional.cosine_similarity(heads[:, None], heads[None], dim=-1)
    torch.testing.assert_close(network.task_similarity()[0], expected)


@pytest.mark.usefixtures("_restored_seed")
def test_similarity_of_shared_heads_by_hand():
    network = build("hard", LAYOUTS["ragged"], n_members=1)
    weight, groups = network.heads.stack.weight_0.detach()[0], LAYOUTS["ragged"].groups
    heads = [part for g in groups for part in g.view(weight).permute(2, 0, 1)]  # (features, width) of each place
    similarity = network.task_similarity()[0]
    norm = torch.linalg.matrix_norm
    for i, a in enumerate(heads):
        for j, b in enumerate(heads):
            expected = norm(a.T @ b) / (norm(a.T @ a) * norm(b.T @ b)).sqrt()
            if a.shape[1] == b.shape[1] == 1:
                expected = expected * (a.T @ b).sign().squeeze()
            assert float(similarity[i, j]) == pytest.approx(float(expected))


@pytest.mark.usefixtures("_restored_seed")
def test_similarity_of_regression_heads_is_their_cosine():
    network = build("hard", LAYOUTS["regression"], n_members=1)
    weight = network.heads.stack.weight_0.detach()[0]
    expected = torch.nn.functional.cosine_similarity(weight.T[:, None], weight.T[None], dim=-1)
    torch.testing.assert_close(network.task_similarity()[0], expected)


@every_strategy
@pytest.mark.parametrize("kind", ["regression", "multiclass"])
def test_similarity_stands_in_the_users_task_order(sharing, kind):
    X, y = make_table(kind)
    model = make_estimator(kind, sharing).fit(X, y)
    with torch.no_grad():
        inside = model.network_.task_similarity()[0].numpy()
    similarity, order = model.task_similarity(), model._plan.layout.order
    np.testing.assert_allclose(similarity[np.ix_(order, order)], inside)
    np.testing.assert_allclose(np.diag(similarity), 1.0)


@pytest.mark.parametrize("n_rows", [1, ROWS_PER_CHUNK - 1, ROWS_PER_CHUNK, ROWS_PER_CHUNK + 1, 2 * ROWS_PER_CHUNK + 5])
@pytest.mark.usefixtures("_restored_seed")
def test_rows_in_chunks_are_rows_at_once(n_rows):
    network = build("hard", LAYOUTS["ragged"], n_members=1)
    X = np.random.default_rng(0).normal(size=(n_rows, 5))
    with torch.no_grad():
        expected = network(torch.from_numpy(X))[0].numpy()
    np.testing.assert_allclose(in_chunks(network, X, network), expected, rtol=1e-12, atol=1e-14)
    X.flags.writeable = False
    np.testing.assert_allclose(in_chunks(network, X, network), expected, rtol=1e-12, atol=1e-14)


@every_strategy
@pytest.mark.usefixtures("_restored_seed")
def test_members_read_rows_of_their_own(sharing):
    network, x = build(sharing, LAYOUTS["regression"]), torch.randn(2, 6, 5, dtype=torch.float64)
    for k in range(2):
        torch.testing.assert_close(network(x)[k], network(x[k])[k])


@every_strategy
def test_transform_gives_the_shared_representation(sharing):
    X, y = make_table("regression")
    model = make_estimator(sharing=sharing).fit(X, y)
    with torch.no_grad():
        shared = model.network_.trunk.shared(torch.from_numpy(X))[0].numpy()  # ([task,] row, feature)
    expected = np.hstack(list(shared)) if shared.ndim == 3 else shared  # towers side by side
    np.testing.assert_allclose(model.transform(X), expected)
    assert len(model.get_feature_names_out()) == expected.shape[1]
