"""Fits side by side: each member becomes what its own fit would make of it, to within rounding.

Widths are odd, for there some processors sum a stack in another order than one network. Recorded losses are summed in
another order where members have batches of their own.
"""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skmtl.model_selection import _stack
from skmtl.model_selection._stack import (
    Table,
    bytes_per_member,
    content_key,
    fit_stack,
    make_stacks,
    reading_key,
    stack_key,
    why_alone,
)
from skmtl.sharing import STRATEGIES
from skmtl.training import MultiTaskNet
from tests._asserts import PROMISE, assert_members_agree
from tests._cases import WIDTHS, make_table, steady_optimizer
from tests._cases import make_odd_estimator as make_estimator

pytestmark = pytest.mark.usefixtures("global_random_state_untouched")


@pytest.mark.parametrize("sharing", STRATEGIES)
@pytest.mark.parametrize("kind", ["regression", "multiclass"])
@pytest.mark.parametrize(
    ("dtype", "hidden"), [(np.float32, (7,)), (np.float32, (17, 5)), *((np.float64, hidden) for hidden in WIDTHS)]
)
def test_members_are_what_they_are_alone(kind, sharing, dtype, hidden):
    missing, other_seed = (0.0, 5) if len(hidden) == 2 else (0.25, 0)
    X, y = make_table(kind, dtype=dtype, missing=missing)
    shared = {"hidden_layer_sizes": hidden, "optimizer": steady_optimizer(sharing, dtype)}
    members = [
        make_estimator(kind, sharing, lr=lr, sharing_lambda=value, weight_decay=decay, random_state=seed, **shared)
        for lr, value, decay, seed in [(1e-3, 0.0, 0.0, 0), (1e-2, 0.1, 0.0, 0), (1e-2, 1.0, 0.1, other_seed)]
    ]
    assert fit_stack([Table(members, X, y)]) == [None, None, None]
    rounding = PROMISE[X.dtype.name]
    for member in members:
        alone = clone(member).fit(X, y)
        assert_members_agree(member, alone, X)
        assert member.n_iter_ == alone.n_iter_
        for ours, theirs in zip(member.history_, alone.history_, strict=True):
            np.testing.assert_allclose(ours["train_task_losses"], theirs["train_task_losses"], rtol=rounding)


@pytest.mark.parametrize("sharing", STRATEGIES)
@pytest.mark.parametrize("kind", ["regression", "binary", "multiclass"])
def test_rows_that_fill_no_vector(kind, sharing):
    """Rows of the last batch times a width that fill no 64 bytes: a network must not compute by where it lies."""
    X, y = make_table(kind, dtype=np.float32, missing=0.0)
    shape = {"hidden_layer_sizes": (52, 28), "batch_size": 13, "optimizer": steady_optimizer(sharing, X.dtype)}
    assert len(X) % 13 * 52 % 16
    members = [make_estimator(kind, sharing, lr=lr, **shape) for lr in (1e-3, 3e-3, 1e-2)]
    fit_stack([Table(members, X, y)])
    for member in members:
        assert_members_agree(member, clone(member).fit(X, y), X)


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_a_second_stack_needs_no_second_reading(chunk, monkeypatch):
    X, y = make_table("regression")
    members = [make_estimator(lr=lr) for lr in (1e-3, 1e-2, 3e-2)]
    trained, original = [], _stack.train

    def spy(run, *data):
        trained.append(len(run.members))
        return original(run, *data)

    monkeypatch.setattr(_stack, "train", spy)
    assert fit_stack([Table(members, X, y)], chunk=chunk) == [None, None, None]
    assert trained == {1: [1, 1, 1], 2: [1, 2], 3: [3]}[chunk]
    monkeypatch.undo()
    for member in members:
        assert_members_agree(member, clone(member).fit(X, y), X)


def test_early_stopping_is_each_members_own():
    X, y = make_table("regression", n_samples=80)
    members = [
        make_estimator(lr=lr, early_stopping=True, n_iter_no_change=2, max_epochs=30, tol=0.0)
        for lr in (1e-3, 0.1, 0.3)
    ]
    fit_stack([Table(members, X, y)])
    assert len({member.n_iter_ for member in members}) > 1
    for member in members:
        alone = clone(member).fit(X, y)
        assert member.n_iter_ == alone.n_iter_
        assert_members_agree(member, alone, X)


@pytest.mark.parametrize("sharing", STRATEGIES)
@pytest.mark.parametrize(
    "params",
    [{}, {"dropout": 0.3}, {"weighting": "uncertainty"}, {"optimizer": "sgd"}, {"batch_size": 500}],
    ids=["plain", "dropout", "uncertainty", "sgd", "whole"],
)
def test_members_that_have_stopped_leave_and_nothing_changes(sharing, params, monkeypatch):
    sizes, keep = [], MultiTaskNet.select_members
    monkeypatch.setattr(MultiTaskNet, "select_members", lambda net, index: (sizes.append(len(index)), keep(net, index)))
    monkeypatch.setattr(_stack, "CACHE", 2**30)  # one stack, whatever the width
    X, y = make_table("regression", n_samples=80)
    gentle = "optimizer" in params or sharing == "attention"  # whose rounding Adam magnifies with the step
    lrs = (1e-3, 0.02, 0.05) if gentle else (1e-3, 0.1, 0.3)
    own = [{"lr": lr, "sharing_lambda": value} for lr in lrs for value in (0.0, 0.1)]
    own += [{"random_state": seed} for seed in (1, 2)]
    shared = {"sharing": sharing, "early_stopping": True, "n_iter_no_change": 2, "max_epochs": 60, "tol": 0.0, **params}
    members = [make_estimator(**{**shared, **one}) for one in own]
    assert not any(fit_stack([Table([m], X, y) for m in members]))
    assert len(sizes) > 1
    assert sizes == sorted(sizes, reverse=True)
    for member in members:
        alone = clone(member).fit(X, y)
        assert member.n_iter_ == alone.n_iter_
        assert_members_agree(member, alone, X)
        for ours, theirs in zip(member.history_, alone.history_, strict=True):
            np.testing.assert_allclose(ours["valid_task_losses"], theirs["valid_task_losses"], rtol=1e-12)


@pytest.mark.parametrize("sharing", STRATEGIES)
@pytest.mark.parametrize("kind", ["regression", "multiclass"])
@pytest.mark.parametrize("params", [{}, {"early_stopping": True, "n_iter_no_change": 1}, {"batch_size": 500}])
def test_members_that_learn_from_other_rows(kind, sharing, params):
    X, y = make_table(kind, n_samples=90)
    rows = [np.delete(np.arange(90), np.s_[k::3]) for k in range(3)]
    members = [[make_estimator(kind, sharing, lr=lr, **params) for lr in (1e-3, 1e-2)] for _ in rows]
    learned = [(X[r] * (k + 1), y[r]) for k, r in enumerate(rows)]
    assert len(make_stacks([Table([clone(e) for e in m], *own) for m, own in zip(members, learned, strict=True)])) == 1
    assert not any(fit_stack([Table(m, *own) for m, own in zip(members, learned, strict=True)]))
    for own, table in zip(members, learned, strict=True):
        for member in own:
            alone = clone(member).fit(*table)
            assert_members_agree(member, alone, X)


def test_members_with_class_weights_of_their_own():
    X, y = make_table("multiclass", n_samples=90)
    weights = [None, "balanced", [None, "balanced", None, {0: 2.0}]]
    members = [make_estimator("multiclass", class_weight=w) for w in weights]
    assert len({stack_key(member) for member in members}) == 1
    fit_stack([Table([member], X, y) for member in members])
    for member in members:
        assert_members_agree(member, clone(member).fit(X, y), X)


def test_tables_of_other_shapes_are_other_stacks():
    X, y = make_table("multiclass", n_samples=60)
    X_more, y_more = np.vstack([X, X]), np.vstack([y, y])
    y_all = np.where(np.isnan(y), 0.0, y)
    y_fewer = np.where(y == 4, 3.0, y)  # a class less
    tables = [(X, y), (X + 1.0, y[::-1]), (X_more, y_more), (X, y_all), (X, y_fewer), (X[:, :4], y)]
    stacks = make_stacks([Table([make_estimator("multiclass")], *table) for table in tables])
    assert [len(stack.estimators) for stack in stacks] == [2, 1, 1, 1, 1]


def test_a_member_that_diverges_is_told_and_the_others_go_on():
    X, y = make_table("regression", dtype=np.float32)
    members = [make_estimator(lr=lr) for lr in (1e-3, 1e30, 1e-2)]
    failures = fit_stack([Table(members, X, y)])
    assert [failure is None for failure in failures] == [True, False, True]
    assert "no longer finite" in failures[1]
    assert not hasattr(members[1], "network_")
    assert_members_agree(members[2], clone(members[2]).fit(X, y), X)


def test_all_members_of_one_stack_diverge_and_the_next_stack_does_not():
    X, y = make_table("regression", dtype=np.float32)
    members = [make_estimator(lr=lr) for lr in (1e29, 1e30, 1e-2)]
    assert [failure is None for failure in fit_stack([Table(members, X, y)], chunk=2)] == [False, False, True]


# ---- who may be together --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "together"),
    [
        (
            {"lr": 0.5, "sharing_lambda": 0.5, "weight_decay": 0.5, "task_weights": [1, 2, 3, 4], "random_state": 1},
            True,
        ),
        ({"dropout": 0.5}, False),
        ({"batch_size": 8}, False),
        ({"sharing": "soft"}, False),
        ({"hidden_layer_sizes": (9,)}, False),
        ({"optimizer": "sgd"}, False),
        ({"dtype": "float32"}, False),
    ],
)
def test_what_members_may_differ_in(params, together):
    assert (stack_key(make_estimator()) == stack_key(make_estimator(**params))) == together


def test_who_reads_the_same_rows():
    one = make_estimator("multiclass", early_stopping=True)
    assert reading_key(one) == reading_key(clone(one).set_params(lr=0.5))
    assert reading_key(one) != reading_key(clone(one).set_params(random_state=1))
    assert reading_key(one) != reading_key(clone(one).set_params(class_weight="balanced"))
    plain = make_estimator()
    assert reading_key(plain) == reading_key(clone(plain).set_params(random_state=1))


def test_both_with_dropout_may_be_together():
    one, two = make_estimator(dropout=0.1), make_estimator(dropout=0.5, random_state=1)
    assert stack_key(one) == stack_key(two)


def test_contents_are_compared_and_not_how_they_print():
    long, other = np.zeros(5000), np.zeros(5000)
    assert content_key(long) == content_key(other)
    other[2500] = 1.0
    assert repr(long) == repr(other)
    assert content_key(long) != content_key(other)
    assert content_key(lambda: 0) != content_key(lambda: 0)
    assert len({content_key(v) for v in (1, 1.0, True, "1", None)}) == 5


@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({}, None),
        ({"callbacks": []}, None),
        ({"callbacks": ["x"]}, "callbacks"),
        ({"optimizer": torch.optim.Adam}, "optimizer"),
        ({"optimizer": "adamx"}, "parameter"),
        ({"warm_start": True}, "warm_start"),
        ({"lr": -1}, "parameter"),
    ],
)
def test_why_alone(params, reason):
    found = why_alone(make_estimator(**params))
    assert found is None if reason is None else reason in found


# ---- memory ---------------------------------------------------------------------------------------------------------


def test_bytes_grow_with_parameters_batch_and_precision():
    X, y = make_table("regression")
    base = {"hidden_layer_sizes": (64,), "max_epochs": 1}
    small, deep, large_batch, single = (
        bytes_per_member(make_estimator(**{**base, **more}).fit(X, y))
        for more in ({}, {"hidden_layer_sizes": (64, 64)}, {"batch_size": 64}, {"dtype": "float32"})
    )
    assert small > 8 * (5 * 64 + 64 + 64 * 4 + 4)  # more than the parameters alone, in float64
    assert deep > small
    assert large_batch > small
    assert single == small / 2


def test_a_batch_is_no_larger_than_the_rows():
    X, y = make_table("regression")
    tables = [Table([make_estimator(batch_size=size) for _ in range(2)], X, y) for size in (len(X), 10**6)]
    most = 2 * bytes_per_member(make_estimator(batch_size=len(X)).fit(X, y))
    for table in tables:
        assert [len(stack.estimators) for stack in make_stacks([table], max_bytes=most)] == [2]


def test_large_members_are_together_only_as_far_as_the_cache_reaches(monkeypatch):
    X, y = make_table("regression")
    models = [make_estimator(lr=1e-3 * (k + 1), max_epochs=1) for k in range(20)]
    need = bytes_per_member(clone(models[0]).fit(X, y))
    sizes = {}
    for cache in (2**25, 12 * need, need):
        monkeypatch.setattr(_stack, "CACHE", cache)
        sizes[cache] = [len(stack.estimators) for stack in make_stacks([Table(models, X, y)])]
    assert list(sizes.values()) == [[20], [10, 10], [4, 4, 4, 4, 4]]


def test_a_bound_below_one_member_is_refused():
    X, y = make_table("regression")
    with pytest.raises(ValueError, match="A stack of one member takes about.*Give more bytes or a smaller network"):
        fit_stack([Table([make_estimator()], X, y)], max_bytes=10)
