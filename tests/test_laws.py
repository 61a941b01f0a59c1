"""The laws, over every strategy, kind of table and weighting."""

import numpy as np
import pandas as pd
import pytest
import torch

from skmtl._network import NetworkPlan
from skmtl._rows import rows_of
from skmtl._table import read_targets
from skmtl._weights import label_shares
from skmtl.sharing import ACTIVATIONS, SoftSharing
from skmtl.sharing import STRATEGIES as STRATEGY_CLASSES
from skmtl.tasks import classification_layout, make_layout, regression_layout
from skmtl.training import TensorData, make_tables
from skmtl.training._data import visits
from skmtl.weighting import WEIGHTINGS as WEIGHTING_CLASSES
from tests import _asserts as laws
from tests._cases import (
    KINDS,
    LOSSES,
    N_CLASSES,
    N_FEATURES,
    N_TASKS,
    STRATEGIES,
    WEIGHTINGS,
    WIDTHS,
    fit_heads,
    make_estimator,
    make_table,
    steady_optimizer,
)

every_strategy = pytest.mark.parametrize("sharing", STRATEGIES)
every_kind = pytest.mark.parametrize("kind", KINDS)
every_weighting = pytest.mark.parametrize("weighting", WEIGHTINGS)
every_weighting_that_treats_tasks_apart = pytest.mark.parametrize(
    "weighting", [name for name, cls in WEIGHTING_CLASSES.items() if not cls.couples_tasks]
)


@every_strategy
@every_kind
@every_weighting
def test_permuting_tasks_permutes_outputs(sharing, kind, weighting):
    X, y = make_table(kind)
    estimator = make_estimator(kind, sharing, weighting=weighting, sharing_lambda=0.1)
    laws.assert_permuting_tasks_permutes_outputs(estimator, X, y, order=[2, 0, 3, 1])


@every_strategy
@every_kind
@every_weighting
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_masked_label_changes_nothing(sharing, kind, weighting, dtype):
    X, y = make_table(kind, dtype=dtype)
    values = [1e6, -1e200] if kind == "regression" else [0.0, 1.0]
    laws.assert_masked_label_changes_nothing(make_estimator(kind, sharing, weighting=weighting), X, y, values)


@every_strategy
@every_kind
@pytest.mark.parametrize("batch_size", [16, 500])
def test_rows_without_labels_change_nothing(sharing, kind, batch_size):
    X, y = make_table(kind)
    y[np.isnan(y).all(axis=1), 0] = 0.0
    laws.assert_rows_without_labels_change_nothing(make_estimator(kind, sharing, batch_size=batch_size), X, y)


OPTIONS = {
    "defaults": {},
    **{f"weighting {name}": {"weighting": name} for name in WEIGHTINGS if name != "equal"},
    "balanced": {"class_weight": "balanced"},
    "early stopping": {"early_stopping": True, "validation_fraction": 0.3},
    "ensemble": {"n_members": 2, "dropout": 0.1},
    "stopped ensemble": {"n_members": 2, "early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 1},
    "own heads": {"head_layer_sizes": (3,), "hidden_layer_sizes": (12, 4)},
    "one batch": {"batch_size": 500},
}
every_option = pytest.mark.parametrize("option", OPTIONS)


def with_option(kind, sharing, option, **params):
    """Return an estimator with an option; None where it has no such option."""
    if kind == "regression" and "class_weight" in OPTIONS[option]:
        return None
    return make_estimator(kind, sharing, **{**OPTIONS[option], **params})


@every_strategy
@every_kind
@every_option
@pytest.mark.parametrize("n_tasks", [1, 4])
def test_weight_zero_is_absent(sharing, kind, option, n_tasks):
    estimator = with_option(kind, sharing, option)
    if estimator is not None:
        X, y = make_table(kind, n_samples=80)
        values = [1e6, -1e200] if kind == "regression" else [0.0, 1.0]
        laws.assert_weight_zero_is_absent(estimator, X, y[:, :n_tasks], values)


@every_strategy
@every_kind
@pytest.mark.parametrize("option", [name for name in OPTIONS if "stop" not in name])
def test_weight_two_is_the_row_twice(sharing, kind, option):
    estimator = with_option(kind, sharing, option, dropout=0.0)
    if estimator is not None:
        laws.assert_weight_two_is_the_row_twice(estimator, *make_table(kind))


@every_strategy
@every_kind
def test_weight_two_is_the_row_twice_in_drawn_batches_on_average(sharing, kind):
    """Where rows are drawn, what all batches of an epoch ask for together is the same."""
    X, y = make_table(kind)
    twice, weight = np.arange(0, len(X), 2), np.where(np.arange(len(X)) % 2, 1.0, 2.0)
    estimator = make_estimator(kind, sharing, batch_size=16)
    weighted = laws.gradients(estimator, X, y, weight).mean(0)
    repeated = laws.gradients(estimator, np.vstack([X, X[twice]]), np.vstack([y, y[twice]])).mean(0)
    torch.testing.assert_close(weighted, repeated, rtol=1e-9, atol=1e-12 * float(weighted.abs().max()))


@every_strategy
@every_kind
@pytest.mark.parametrize("batch_size", [1, 7, 16])
@pytest.mark.parametrize("weighted", [False, True])
def test_batches_minimise_the_objective(sharing, kind, batch_size, weighted):
    X, y = make_table(kind, missing=0.4)
    y[5:, 1] = np.nan  # few labels
    y[:2, 1] = [0.0, 1.0]
    y[2:, 3] = np.where(np.arange(2, 48) % 2, y[2:, 3], np.nan)
    weight = np.random.default_rng(1).exponential(size=y.shape) ** 3 if weighted else None
    laws.assert_batches_minimise_the_objective(make_estimator(kind, sharing, batch_size=batch_size), X, y, weight)


@pytest.mark.parametrize(("batch_size", "rows"), [(8, 1), (50, 6.25), (200, 25)])
def test_no_drawn_row_holds_a_large_part_of_the_objective(batch_size, rows):
    """Three labels among 1,000 rows: drawn often, so that no batch holds most of their task's loss."""
    shares = label_shares(np.column_stack([np.ones(1000), np.arange(1000) < 3, np.arange(1000) % 2]).astype(float))
    times = visits(shares, batch_size)
    of_draw = shares.sum(axis=1) / times
    assert rows / 2 < of_draw.max() / (shares.sum() / 1000) <= rows
    assert times[3:].tolist() == [1] * 997
    assert times.sum() <= 1000 * (1 + 1 / rows)
    assert visits(shares, batch_size=1000) is None  # one batch holds them all
    for n in (997, 1000):
        assert visits(label_shares(np.ones((n, 2))), batch_size=4) is None
        assert visits(label_shares(np.eye(3)[np.arange(3 * n) % 3]), batch_size=4) is None


@every_strategy
@every_kind
@every_weighting
@pytest.mark.usefixtures("global_random_state_untouched")
def test_equal_seed_equal_bits(sharing, kind, weighting):
    X, y = make_table(kind)
    laws.assert_equal_seed_equal_bits(make_estimator(kind, sharing, weighting=weighting, dropout=0.2), X, y)


@every_strategy
@pytest.mark.usefixtures("global_random_state_untouched")
def test_equal_seed_equal_bits_with_early_stopping(sharing):
    X, y = make_table("regression", dtype=np.float32)
    laws.assert_equal_seed_equal_bits(make_estimator(sharing=sharing, early_stopping=True, n_iter_no_change=2), X, y)


@every_strategy
@every_kind
@every_weighting
@pytest.mark.usefixtures("global_random_state_untouched")
def test_pickle_keeps_predictions(sharing, kind, weighting):
    X, y = make_table(kind, dtype=np.float32)
    laws.assert_pickle_keeps_predictions(make_estimator(kind, sharing, weighting=weighting).fit(X, y), X)


TABLES = {
    "regression": make_table("regression")[1],
    "binary": make_table("binary")[1],
    "multiclass": make_table("multiclass")[1],
    "words": np.array([["no", "a"], ["yes", "c"], ["no", "b"], ["yes", None]], dtype=object),
    "bools": np.array([[True, False], [False, False], [True, True]]),
    "ints": np.array([[3, -5], [7, 0], [3, 12]]),
    "mixed columns": pd.DataFrame({"n": [1, 2, 1], "s": ["x", "z", "y"], "b": [True, False, True]}),
    "mixed labels": np.array([1, "one", 2, None, "one"], dtype=object),
}


@pytest.mark.parametrize("name", TABLES)
def test_decode_inverts_encode(name):
    table = read_targets(TABLES[name])
    model = make_estimator("regression" if name == "regression" else "multiclass", max_epochs=1)
    model.fit(np.zeros((len(table), 2)), TABLES[name])
    laws.assert_decode_inverts_encode(model, table)


@every_strategy
@every_kind
@every_weighting
@pytest.mark.parametrize(("dtype", "hidden"), [(np.float32, (33,)), (np.float64, (17, 5))])
def test_a_stack_is_its_members(sharing, kind, weighting, dtype, hidden):
    plan, data = _plan(kind, sharing, hidden), _data(kind, dtype)
    optimizer = steady_optimizer(sharing, dtype)
    laws.assert_stack_is_its_members(plan, data, [0.0, 0.01, 1.0, 0.1], WEIGHTING_CLASSES[weighting](), optimizer)


@every_strategy
@pytest.mark.parametrize("hidden", [*WIDTHS, (64, 64)])
@pytest.mark.parametrize(("dtype", "optimizer"), [(np.float64, "adam"), (np.float64, "adamw"), (np.float32, "sgd")])
def test_a_stack_is_its_members_with_other_widths_and_optimisers(sharing, hidden, dtype, optimizer):
    plan, data = _plan("regression", sharing, hidden), _data("regression", dtype)
    laws.assert_stack_is_its_members(plan, data, [0.0, 0.01, 1.0], WEIGHTING_CLASSES["equal"](), optimizer)


@every_strategy
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_stack_is_its_members_with_every_activation(sharing, activation):
    plan, data = _plan("regression", sharing, activation=activation), _data("regression", np.float64)
    laws.assert_stack_is_its_members(plan, data, [0.0, 0.01, 1.0], WEIGHTING_CLASSES["equal"]())


@every_strategy
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_a_stack_is_its_members_with_every_loss(sharing, loss):
    """Two tasks of three parts each."""
    layout, rng = make_layout([[loss], [loss]]), np.random.default_rng(0)
    plan = NetworkPlan(STRATEGY_CLASSES[sharing](), layout, N_FEATURES, (8,), (), "relu", 0.0)
    X, y = rng.normal(size=(48, N_FEATURES)), rng.integers(0, 2, (48, layout.n_parts)).astype(float)
    weight = (rng.random(y.shape) < 0.7) * 1.0
    (data,) = make_tables(rows_of(X), torch.from_numpy(y), weight, [[None]], 16, layout.owners)
    laws.assert_stack_is_its_members(plan, data, [0.0, 0.01, 1.0], WEIGHTING_CLASSES["equal"]())


def _plan(kind, sharing, hidden=WIDTHS[0], activation="relu"):
    layout = regression_layout(N_TASKS) if kind == "regression" else classification_layout(N_CLASSES[kind])
    strategy = fit_heads(sharing, hidden)
    strategy = STRATEGY_CLASSES[strategy]() if isinstance(strategy, str) else strategy
    return NetworkPlan(strategy, layout, N_FEATURES, hidden, (), activation, 0.0)


def _data(kind, dtype=np.float32):
    X, y = make_table(kind, dtype=np.float32)
    weight = label_shares(~np.isnan(y)) * 3  # steps of an epoch
    scaled = (y - np.nanmean(y, axis=0)) / np.nanstd(y, axis=0) if kind == "regression" else y
    order = _plan(kind, "hard").layout.order
    table, y, weight = (
        torch.from_numpy(a.astype(dtype)) for a in (X, np.nan_to_num(scaled)[:, order], weight[:, order])
    )
    return TensorData(rows_of(table), y, weight)


@every_kind
@every_weighting
@pytest.mark.parametrize("head_layer_sizes", [(), (6,)])
def test_lambda_zero_is_independent(kind, weighting, head_layer_sizes):
    X, y = make_table(kind, dtype=np.float32)
    estimator = make_estimator(kind, "soft", weighting=weighting, head_layer_sizes=head_layer_sizes)
    laws.assert_lambda_zero_is_independent(estimator, X, y)


def test_lambda_zero_is_independent_with_tied_heads():
    X, y = make_table("regression")
    laws.assert_lambda_zero_is_independent(make_estimator(sharing=SoftSharing(tie_heads=True)), X, y)


@every_kind
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_large_lambda_ties_the_towers(kind, optimizer):
    X, y = make_table(kind)
    free, tied = (
        make_estimator(kind, "soft", sharing_lambda=strength, optimizer=optimizer, max_epochs=10).fit(X, y)
        for strength in (0.0, 1e9)
    )
    assert laws.tower_spread(tied) < 1e-6
    assert laws.tower_spread(free) > 1e-3


@every_kind
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_tied_tower_learns_what_a_shared_trunk_learns(kind, optimizer):
    X, y = make_table(kind, n_samples=96)
    # Heads with a hidden layer start from the same weights under both strategies, and so do tower and trunk.
    params = {"optimizer": optimizer, "sharing_lambda": 1e9, "head_layer_sizes": (8,), "max_epochs": 60}
    hard, soft = (
        [row["train_task_losses"] for row in make_estimator(kind, sharing, **params).fit(X, y).history_]
        for sharing in ("hard", "soft")
    )
    np.testing.assert_allclose(np.sum(soft, axis=1), np.sum(hard, axis=1), rtol=1e-4)
    assert np.sum(soft[-1]) < 0.7 * np.sum(soft[0])


@every_kind
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_large_lambda_on_towers_that_went_apart_does_no_harm(kind, optimizer):
    X, y = make_table(kind)
    model = make_estimator(kind, "soft", sharing_lambda=0.0, optimizer=optimizer, max_epochs=30, warm_start=True)
    apart = sum(model.fit(X, y).history_[-1]["train_task_losses"])
    untrained = sum(model.history_[0]["train_task_losses"])
    model.set_params(sharing_lambda=100.0).fit(X, y)
    tied = [sum(row["train_task_losses"]) for row in model.history_[30:]]
    assert apart < max(tied) < 10.0 * untrained  # the mean of towers that went apart is a poor tower, but no worse
    assert tied[-1] < 0.7 * max(tied)


@every_strategy
@every_kind
@every_weighting
def test_a_task_nobody_labelled_raises_by_name(sharing, kind, weighting):
    X, y = make_table(kind)
    frame = pd.DataFrame(y, columns=["height", "weight", "shoe", "hat"])
    frame["shoe"] = np.nan
    laws.assert_task_without_labels_raises(make_estimator(kind, sharing, weighting=weighting), X, frame, "shoe")


@every_kind
@every_weighting_that_treats_tasks_apart
def test_independent_is_single_tasks(kind, weighting):
    X, y = make_table(kind, missing=0.0)  # in mini-batches a task alone would draw only the rows that have its label
    laws.assert_independent_is_single_tasks(make_estimator(kind, "independent", weighting=weighting), X, y, rtol=1e-8)


@every_kind
@every_weighting_that_treats_tasks_apart
def test_independent_is_single_tasks_with_missing_labels_in_one_batch(kind, weighting):
    X, y = make_table(kind)
    estimator = make_estimator(kind, "independent", weighting=weighting, batch_size=500)
    laws.assert_independent_is_single_tasks(estimator, X, y, rtol=1e-8)
