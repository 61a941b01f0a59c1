"""Cross-stitch towers against an explicit loop over tasks and layers."""

import numpy as np
import pytest
import torch

from skmtl import MultiTaskRegressor
from skmtl.sharing import CrossStitch, TrunkShape
from tests._cases import make_estimator, make_table


@pytest.fixture(autouse=True)
def _restored_seed():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def build(self_weight=0.7, n_tasks=3, n_members=2, hidden=(6, 4), dropout=0.0):
    """Return a module in double precision whose stitches have moved from their start."""
    shape = TrunkShape(n_tasks, 5, hidden, "tanh", dropout, n_members)
    module = CrossStitch(self_weight).build(shape).double()
    with torch.no_grad():
        for stitch in module.stitches:
            stitch.copy_(0.1 * torch.randn(stitch.shape))
    return module


def by_loop(module, x, self_weight):
    """Return the features (member, task, batch, n), tower by tower."""
    members, tasks = module.stitches[0].shape[:2]
    everyone = []
    for m in range(members):
        towers = [x if x.ndim == 2 else x[m]] * tasks
        for layer, learned in zip(module.layers, module.stitches, strict=True):
            active = [
                torch.tanh(towers[t] @ layer.weight_0[m, t] + layer.bias_0[m, t]) for t in range(tasks)
            ]  # fmt: skip
            towers = []
            for s in range(tasks):
                start = [self_weight if t == s else (1 - self_weight) / (tasks - 1) for t in range(tasks)]
                towers.append(sum((start[t] + learned[m, s, t]) * active[t] for t in range(tasks)))
        everyone.append(torch.stack(towers))
    return torch.stack(everyone)


@pytest.mark.parametrize("rows", [(8, 5), (2, 8, 5)], ids=["rows of all", "rows of each member"])
def test_features_and_gradients_are_those_of_a_loop(rows):
    module, x = build(), torch.randn(rows, dtype=torch.float64)
    features, expected = module(x), by_loop(module, x, 0.7)
    torch.testing.assert_close(features, expected)
    gradient, parameters = torch.randn_like(features), list(module.parameters())
    ours = torch.autograd.grad(features, parameters, gradient)
    theirs = torch.autograd.grad(expected, parameters, gradient)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_all_of_the_weight_on_itself_starts_from_independent_towers():
    module = CrossStitch(1.0).build(TrunkShape(3, 5, (6,), "tanh")).double()
    x = torch.randn(8, 5, dtype=torch.float64)
    torch.testing.assert_close(module(x), module.layers[0](x))


def test_one_task_reads_itself_whole():
    module = CrossStitch(0.3).build(TrunkShape(1, 5, (6,), "tanh")).double()
    x = torch.randn(8, 5, dtype=torch.float64)
    torch.testing.assert_close(module(x), module.layers[0](x))


def test_similarity_is_the_cosine_of_what_tasks_read():
    X, y = make_table("regression")
    model = make_estimator(sharing="cross_stitch", hidden_layer_sizes=(6, 4)).fit(X, y)
    start = np.full((4, 4), 0.1 / 3)
    np.fill_diagonal(start, 0.9)
    stitches = [start + s.detach().numpy()[0] for s in model.network_.trunk.stitches]
    rows = np.hstack(stitches)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    np.testing.assert_allclose(model.task_similarity(), unit @ unit.T)


def test_towers_that_are_stitched_learn_to_read_each_other():
    X, y = make_table("regression")
    model = make_estimator(sharing=CrossStitch(1.0), max_epochs=20).fit(X, y)
    (stitch,) = model.network_.trunk.stitches
    assert (stitch.abs() > 1e-4).all()


def test_weight_decay_pulls_the_stitches_back_to_their_start():
    X, y = make_table("regression")
    free, held = (
        make_estimator(sharing="cross_stitch", weight_decay=decay, max_epochs=60).fit(X, y) for decay in (0.0, 50.0)
    )
    sizes = [float(model.network_.trunk.stitches[0].detach().abs().max()) for model in (free, held)]
    assert sizes[1] < 0.1 * sizes[0]


def test_dropout_is_honoured():
    X, y = make_table("regression")
    plain, dropped = (make_estimator(sharing="cross_stitch", dropout=share).fit(X, y) for share in (0.0, 0.5))
    assert not np.allclose(plain.predict(X), dropped.predict(X))


def test_transform_to_pandas():
    X, y = make_table("regression")
    model = make_estimator(sharing="cross_stitch").fit(X, y).set_output(transform="pandas")
    frame = model.transform(X)
    assert frame.shape == (len(X), 4 * 8)  # the towers side by side
    assert list(frame.columns) == list(model.get_feature_names_out())


def test_no_layer_to_stitch_is_refused():
    with pytest.raises(ValueError, match=r"hidden_layer_sizes=\(\) leaves none.*sharing='independent'"):
        MultiTaskRegressor("cross_stitch", hidden_layer_sizes=()).fit(*make_table("regression"))


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan"), "half", None])
def test_a_bad_self_weight_raises(weight):
    with pytest.raises(ValueError, match=r"CrossStitch: self_weight must be in \[0, 1\]. Found"):
        make_estimator(sharing=CrossStitch(weight)).fit(*make_table("regression"))
