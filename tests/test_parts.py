"""Tasks that own several parts: one tower, one loss, one weight each."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from skmtl._network import NetworkPlan
from skmtl._objective import Objective
from skmtl._rows import rows_of
from skmtl.losses import Logistic, Softmax, SquaredError
from skmtl.sharing import STRATEGIES
from skmtl.tasks import make_layout
from skmtl.training import Members, TrainingRun, make_tables, train
from skmtl.training._batches import Batches
from skmtl.weighting import EqualWeighting, Weighting, WeightingState
from tests import _asserts as laws

TASKS = {
    "mixed": [[SquaredError(1)], [SquaredError(1), Logistic(2)], [Softmax([3])], [Logistic(5)]],
    "one loss": [[Logistic(3)], [Logistic(3)]],
    "one task": [[Logistic(2), SquaredError(1)]],
    "ragged": [[Softmax([3]), Softmax([5])], [Logistic(1)], [Softmax([4]), SquaredError(1)], [Softmax([1])]],
}
every_table = pytest.mark.parametrize("tasks", TASKS.values(), ids=TASKS)
every_strategy = pytest.mark.parametrize("sharing", STRATEGIES)
N_ROWS, N_FEATURES = 24, 5


def single_parts(tasks):
    """Return (task, loss of one part) for each of the user's parts in turn."""
    parts = []
    for task, losses in enumerate(tasks):
        for loss in losses:
            counts = getattr(loss, "n_classes", None)
            ones = [type(loss)(1) for _ in range(loss.n_parts)] if counts is None else [Softmax([n]) for n in counts]
            parts += [(task, one) for one in ones]
    return parts


def draw_targets(tasks, n_rows=N_ROWS, seed=0):
    """Return targets (n, part) in the user's order, and weights with zeros for the missing ones."""
    rng = np.random.default_rng(seed)
    columns = [
        rng.normal(size=n_rows)
        if isinstance(loss, SquaredError)
        else rng.integers(0, getattr(loss, "n_classes", (2,))[0], n_rows)
        for _, loss in single_parts(tasks)
    ]
    observed = rng.random((n_rows, len(columns))) < 0.7
    observed[~observed.any(axis=1), 0] = True
    owner = [task for task, _ in single_parts(tasks)]
    weight = rng.uniform(0.5, 2.0, (n_rows, len(tasks)))[:, owner] * observed  # of a row in a task
    return np.stack(columns, axis=1).astype(float), weight


def columns_of(layout, part):
    """Return the raw columns of the user's part of that number."""
    place = int(np.flatnonzero(layout.part_order == part)[0])
    return np.flatnonzero(layout.column_parts == place)


def loss_by_hand(loss, raw, target):
    """Return the loss of each label of one part: (..., width), (...) -> (...)."""
    if isinstance(loss, SquaredError):
        return 0.5 * (raw[..., 0] - target) ** 2
    if isinstance(loss, Logistic):
        return F.binary_cross_entropy_with_logits(raw[..., 0], target, reduction="none")
    n = loss.n_classes[0]
    return -raw[..., :n].log_softmax(-1).gather(-1, target.long()[..., None])[..., 0]


def losses_by_hand(tasks, layout, raw, target, coefficient):
    """Return the task losses (member, task) in the network's order, part by part; target in the user's order."""
    losses = [raw.new_zeros(len(raw)) for _ in tasks]
    for part, (task, loss) in enumerate(single_parts(tasks)):
        own = raw[..., columns_of(layout, part)]
        values = loss_by_hand(loss, own, target[..., part].expand(own.shape[:-1]))
        losses[task] = losses[task] + (values * coefficient[..., part]).sum(-1)
    return torch.stack([losses[task] for task in layout.order], dim=-1)


@every_table
def test_every_raw_column_is_one_slot_of_one_task(tasks):
    layout = make_layout(tasks)
    slots = list(zip(layout.column_owners.tolist(), layout.column_slots.tolist(), strict=True))
    expected = [(task, slot) for task, width in enumerate(layout.task_widths) for slot in range(width)]
    assert sorted(slots) == expected
    np.testing.assert_array_equal(layout.task_widths, np.bincount(layout.column_owners))
    owner_of_part = [task for task, _ in single_parts(tasks)]
    assert layout.order[layout.owners].tolist() == [owner_of_part[part] for part in layout.part_order]
    assert sorted(layout.part_order.tolist()) == list(range(len(owner_of_part)))


def test_one_part_each_leaves_parts_and_tasks_the_same():
    layout = make_layout([[Softmax([3])], [Logistic(1)], [SquaredError(1)], [Logistic(1)]])
    assert layout.has_one_part_each
    assert layout.part_order.tolist() == layout.order.tolist() == [1, 3, 0, 2]
    assert layout.owners.tolist() == [0, 1, 2, 3]


@every_table
@pytest.mark.parametrize("with_task_weights", [True, False])
def test_a_tasks_loss_is_the_sum_of_its_parts(tasks, with_task_weights):
    layout = make_layout(tasks)
    target, weight = (torch.from_numpy(values) for values in draw_targets(tasks))
    raw = torch.randn(2, N_ROWS, layout.n_outputs, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    leaf = raw.clone().requires_grad_()
    expected = losses_by_hand(tasks, layout, leaf, target, weight)
    task_weights = torch.tensor([[1.0, 0.5, 2.0, 3.0], [0.1, 4.0, 1.0, 0.0]], dtype=torch.float64)[:, : len(tasks)]
    total = (expected * (task_weights if with_task_weights else 1.0)).sum()
    (expected_gradient,) = torch.autograd.grad(total, leaf)

    objective, order = Objective(layout), layout.part_order
    seen, losses, gradient = [], raw.new_empty(2, len(tasks)), raw.clone()

    def weigh(values):
        seen.append(values.clone())
        return task_weights if with_task_weights else None

    objective.bind(gradient)(target[:, order], weight[:, order], losses, weigh)
    torch.testing.assert_close(losses, expected.detach())
    torch.testing.assert_close(gradient, expected_gradient)
    torch.testing.assert_close(seen[0], expected.detach())  # a weighting sees one loss per task
    torch.testing.assert_close(objective(raw, target[:, order], weight[:, order]), expected.detach())


def test_a_two_part_task_by_hand():
    """Half a squared error of 2, weight 1/4, and a logit of 0, weight 1/2: 0.5 + log(2) / 2."""
    layout = make_layout([[SquaredError(1), Logistic(1)]])
    raw = torch.tensor([[[0.0, 3.0]]])  # Logistic comes first
    losses = Objective(layout)(raw, torch.tensor([[1.0, 1.0]]), torch.tensor([[0.5, 0.25]]))
    assert losses.tolist() == [[pytest.approx(0.5 * math.log(2) + 0.25 * 2.0)]]


def test_a_task_that_diverges_leaves_the_losses_of_others():
    layout = make_layout(TASKS["mixed"])
    raw, target = torch.zeros(1, 3, layout.n_outputs), torch.zeros(3, layout.n_parts)
    raw[..., layout.column_owners == 1] = float("inf")
    losses = Objective(layout)(raw, target, torch.tensor(1.0))
    assert (~losses.isfinite()).tolist() == [[False, True, False, False]]


@pytest.mark.parametrize("hidden", [(), (3,)], ids=["linear heads", "deep heads"])
def test_all_columns_of_a_task_come_from_its_own_tower(hidden):
    layout = make_layout(TASKS["mixed"])
    network = NetworkPlan(STRATEGIES["independent"](), layout, N_FEATURES, (6,), hidden, "tanh", 0.0).build_blank(2)
    x = torch.randn(4, N_FEATURES, generator=torch.Generator().manual_seed(0))
    before = network(x)
    with torch.no_grad():
        for parameter in [*network.trunk.parameters(), *network.heads.parameters()]:
            parameter[:, 2] += 0.1
    changed = (network(x) != before).any(0).any(0).numpy()
    np.testing.assert_array_equal(changed, layout.column_owners == 2)


@every_strategy
@every_table
def test_units_change_part_by_part(sharing, tasks):
    layout = make_layout(tasks)
    network = NetworkPlan(STRATEGIES[sharing](), layout, N_FEATURES, (8,), (), "tanh", 0.0).build_blank()
    x, places = torch.randn(4, N_FEATURES, generator=torch.Generator().manual_seed(0)), torch.arange(layout.n_parts)
    before = network(x).detach()
    network.heads.change_units(2.0 + places, 0.5 * places)
    part = torch.from_numpy(layout.column_parts)
    torch.testing.assert_close(network(x).detach(), (2.0 + part) * before + 0.5 * part)


def test_a_label_counts_for_the_share_of_its_row_in_its_task():
    """Task 0 owns two parts: three of four rows have a label of it, whichever it is."""
    weight = np.array([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 2.0, 1.0], [0.0, 0.0, 2.0]])
    X, y = torch.zeros(4, 2, dtype=torch.float64), torch.zeros(4, 3, dtype=torch.float64)
    (table,) = make_tables(rows_of(X), y, weight, [[None]], 4, owners=np.array([0, 0, 1]))
    expected = [[1 / 4, 1 / 4, 1 / 4], [1 / 4, 0, 0], [0, 2 / 4, 1 / 4], [0, 0, 2 / 4]]
    np.testing.assert_allclose(table.coefficient.numpy(), expected)
    (some,) = make_tables(rows_of(X), y, weight, [[np.array([1, 2])]], 1, owners=np.array([0, 0, 1]))
    assert some.index.tolist() == [1, 2, 2]  # three steps; the heavier row is drawn twice, for half its share each time
    np.testing.assert_allclose(some.coefficient.numpy(), [[3 / 3, 0, 0], *[[0, 3 * 2 / 3 / 2, 3 / 2]] * 2])


def test_a_task_without_a_label_in_the_table_is_named_once():
    weight = np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    X, y = torch.zeros(2, 2), torch.zeros(2, 4)
    (table,) = make_tables(rows_of(X), y, weight, [[None]], 2, owners=np.array([0, 0, 1, 1]))
    assert table.labelled.tolist() == [True, False]


def test_labels_of_interleaved_owners_count_as_those_in_order():
    rng = np.random.default_rng(0)
    weight, owners = rng.random((6, 4)) * (rng.random((6, 4)) > 0.3), np.array([1, 0, 1, 0])
    X, y, by_task = torch.zeros(6, 2), torch.zeros(6, 4), np.argsort(owners, kind="stable")
    (mixed,) = make_tables(rows_of(X), y, weight, [[None]], 6, owners=owners)
    (sorted_,) = make_tables(rows_of(X), y, weight[:, by_task], [[None]], 6, owners=owners[by_task])
    assert torch.equal(mixed.coefficient[:, by_task], sorted_.coefficient)


# ---- through the training engine ------------------------------------------------------------------------------------


def fit(sharing, tasks, target, weight, earlier=None, weighting=None, **params):
    """Train a network of these tasks; targets and weights in the user's order of parts."""
    layout = make_layout(tasks)
    plan = NetworkPlan(STRATEGIES[sharing](), layout, N_FEATURES, (8,), params.pop("head", ()), "relu", 0.0)
    own = torch.zeros(1, dtype=torch.float64)
    lr = params.pop("lr", 0.01)
    members = Members((0,), own + 0.1, own + lr, own, own, params.pop("task_weights", None))
    run = TrainingRun(
        plan=plan, device=torch.device("cpu"), members=members,
        task_names=[str(t) for t in layout.order], weighting=weighting or EqualWeighting(), optimizer="adam",
        batch_size=params.pop("batch_size", 8), max_epochs=params.pop("max_epochs", 3), lr_schedule="constant",
        patience=None, tol=0.0, earlier=earlier,
    )  # fmt: skip
    X = rows(len(target))
    y = torch.from_numpy(np.where(weight > 0, target, 0.0)[:, layout.part_order])
    parts = [None, np.arange(0, len(X), 3)]
    data, valid = make_tables(
        rows_of(X), y, weight[:, layout.part_order], [parts], run.batch_size, owners=layout.owners
    )
    return train(run, data, valid), data


def rows(n):
    return torch.from_numpy(np.random.default_rng(7).normal(size=(n, N_FEATURES)))


@every_strategy
@every_table
@pytest.mark.parametrize("head", [(), (4,)], ids=["linear heads", "deep heads"])
def test_the_history_has_one_column_per_task(sharing, tasks, head):
    target, weight = draw_targets(tasks)
    net, data = fit(sharing, tasks, target, weight, head=head, lr=1e-300, batch_size=N_ROWS)
    layout = make_layout(tasks)
    coefficient = torch.empty_like(data.coefficient)
    coefficient[:, layout.part_order] = data.coefficient  # in the user's order
    raw = net.module_(data.X.whole())
    expected = losses_by_hand(tasks, layout, raw, torch.from_numpy(target), coefficient)
    np.testing.assert_allclose(net.record_.train[0].by_task, expected.detach().numpy(), rtol=1e-10)
    assert net.record_.valid[0].by_task.shape == (1, len(tasks))
    assert np.isfinite(net.record_.valid[-1].by_task).all()


@every_strategy
@every_table
def test_training_lowers_every_loss(sharing, tasks):
    target, weight = draw_targets(tasks)
    net, _ = fit(sharing, tasks, target, weight, max_epochs=60)
    first, last = net.record_.train[0].by_task[0], net.record_.train[-1].by_task[0]
    assert (last < first)[first > 0].all()


@every_strategy
def test_a_gradient_of_mixed_parts_is_that_of_finite_differences(sharing):
    tasks = TASKS["mixed"]
    target, weight = draw_targets(tasks)
    net, data = fit(sharing, tasks, target, weight, max_epochs=1)
    objective, network = Objective(make_layout(tasks)), net.module_.eval()
    (batch,) = Batches(data, len(data))

    def total():
        return float(objective(network(batch.x), batch.y, batch.coefficient).sum())

    pass_ = network.bind(batch.x, len(batch))
    with torch.no_grad():
        for operation in pass_.forward:
            operation()
        objective.bind(pass_.raw)(batch.y, batch.coefficient, pass_.raw.new_empty(1, len(tasks)), lambda _: None)
        for operation in pass_.backward:
            operation()
        for parameter in network.parameters():
            values, gradient = parameter.flatten(), parameter.grad.flatten()
            place = int(gradient.abs().argmax())
            index = np.unravel_index(place, parameter.shape)
            before, step = float(values[place]), 1e-6
            parameter[index] = before + step
            above = total()
            parameter[index] = before - step
            below = total()
            parameter[index] = before
            assert float(gradient[place]) == pytest.approx((above - below) / (2 * step), rel=1e-5, abs=1e-8)


@every_strategy
@every_table
def test_a_label_of_weight_zero_is_absent(sharing, tasks):
    target, weight = draw_targets(tasks)
    net, _ = fit(sharing, tasks, target, weight)
    other, _ = fit(sharing, tasks, np.where(weight > 0, target, 0.0), weight)
    for ours, theirs in zip(net.module_.parameters(), other.module_.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@every_strategy
def test_permuting_tasks_of_several_parts_permutes_what_is_learned(sharing):
    tasks, order = TASKS["mixed"], [2, 3, 1, 0]
    permuted = [tasks[task] for task in order]
    parts = [task for task, _ in single_parts(tasks)]
    columns = [part for task in order for part in np.flatnonzero(np.array(parts) == task)]
    target, weight = draw_targets(tasks)
    start, _ = fit(sharing, tasks, target, weight, max_epochs=1)
    other, _ = fit(sharing, permuted, target[:, columns], weight[:, columns], max_epochs=1)
    here, there = make_layout(tasks), make_layout(permuted)
    load_permuted(other.module_, start.module_, other.get_params()["module__plan"], here, there, order)
    one, _ = fit(sharing, tasks, target, weight, earlier=start.module_)
    two, _ = fit(sharing, permuted, target[:, columns], weight[:, columns], earlier=other.module_)
    X = rows(N_ROWS)
    before, after = one.module_(X)[0].detach(), two.module_(X)[0].detach()
    for part, old in enumerate(columns):
        expected = before[:, columns_of(here, old)]
        torch.testing.assert_close(after[:, columns_of(there, part)], expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(
        two.record_.train[-1].by_task[0][there.places], one.record_.train[-1].by_task[0][here.places][order], rtol=1e-9
    )


def load_permuted(target, source, plan, here, there, order):
    """Give `target`, whose task p is the source's task order[p], the weights of `source`."""
    origin = here.places[np.asarray(order)[there.order]]
    slot_of = {pair: k for k, pair in enumerate(zip(here.column_owners, here.column_slots, strict=True))}
    slots = zip(origin[there.column_owners], there.column_slots, strict=True)
    columns = [slot_of[pair] for pair in slots]
    axes = laws.task_axes(target, plan)
    with torch.no_grad():
        for own, ours, theirs in zip(axes, target.trunk.parameters(), source.trunk.parameters(), strict=True):
            ours.copy_(laws.taken(theirs, origin, own))
        for ours, theirs in zip(target.heads.parameters(), source.heads.parameters(), strict=True):
            ours.copy_(laws.taken(theirs, origin, [1]) if target.trunk.per_task else theirs[..., columns])


@every_strategy
def test_a_stack_of_tasks_of_several_parts_is_its_members(sharing):
    tasks = TASKS["mixed"]
    target, weight = draw_targets(tasks)
    _, data = fit(sharing, tasks, target, weight, max_epochs=1)
    plan = NetworkPlan(STRATEGIES[sharing](), make_layout(tasks), N_FEATURES, (8,), (), "relu", 0.0)
    laws.assert_stack_is_its_members(plan, data, [0.0, 0.1, 1.0], EqualWeighting())


class _Recorder(Weighting):
    """Note the losses that a weighting sees, and switch the second task off."""

    def start(self, n_members, n_tasks):
        self.state_ = _RecorderState()
        return self.state_


class _RecorderState(WeightingState):
    def weights(self, losses):
        self.shape = tuple(losses.shape)
        return losses.new_ones(losses.shape).index_fill(1, torch.tensor([1]), 0.0)


def test_a_weight_acts_on_all_columns_of_its_task():
    tasks, weighting = TASKS["mixed"], _Recorder()
    target, weight = draw_targets(tasks)
    layout = make_layout(tasks)
    net, _ = fit("hard", tasks, target, weight, weighting=weighting)
    assert weighting.state_.shape == (1, 4)
    moved = net.module_.heads.stack.bias_0[0, 0] != 0.0
    assert moved.tolist() == (layout.column_owners != 1).tolist()


@pytest.mark.gpu
@every_strategy
@every_table
def test_on_a_gpu_predictions_and_then_gradients(sharing, tasks):
    """Indices that prediction moved are of use in training."""
    layout = make_layout(tasks)
    plan = NetworkPlan(STRATEGIES[sharing](), layout, N_FEATURES, (8,), (4,), "tanh", 0.0)
    network, x = plan.build_blank().double(), torch.randn(6, N_FEATURES, dtype=torch.float64)
    objective, target = Objective(layout), torch.zeros(6, layout.n_parts, dtype=torch.float64)
    expected = objective(network(x), target, target + 1).detach()
    network.cuda()
    with torch.inference_mode():
        objective(network(x.cuda()), target.cuda(), target.cuda() + 1)
    losses = objective(network(x.cuda()), target.cuda(), target.cuda() + 1)
    losses.sum().backward()
    torch.testing.assert_close(losses.detach().cpu(), expected)
