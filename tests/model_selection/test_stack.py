"""Fits side by side: each member becomes what its own fit would make of it.

For numeric targets to the last bit, on one torch thread of a CPU and with two or more tasks; for classes to rounding.
Recorded losses are summed in another order where members have batches of their own.
"""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skmtl.model_selection import _stack
from skmtl.model_selection._stack import bytes_per_member, content_key, fit_stack, stack_key, why_alone
from skmtl.sharing import STRATEGIES
from tests._asserts import assert_same_outputs, assert_same_weights
from tests._cases import make_estimator, make_table

pytestmark = pytest.mark.usefixtures("global_random_state_untouched")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sharing", STRATEGIES)
@pytest.mark.parametrize("kind", ["regression", "multiclass"])
@pytest.mark.parametrize(("missing", "other_seed"), [(0.25, 0), (0.0, 5)])
def test_members_are_what_they_are_alone(kind, sharing, dtype, missing, other_seed):
    X, y = make_table(kind, dtype=dtype, missing=missing)
    members = [
        make_estimator(kind, sharing, lr=lr, sharing_lambda=value, weight_decay=decay, random_state=seed)
        for lr, value, decay, seed in [(1e-3, 0.0, 0.0, 0), (1e-2, 0.1, 0.0, 0), (1e-2, 1.0, 0.1, other_seed)]
    ]
    assert fit_stack(members, X, y) == [None, None, None]
    rounding = 5e-6 if dtype is np.float32 else 1e-12
    for member in members:
        alone = clone(member).fit(X, y)
        if kind == "regression":
            assert_same_weights(member, alone)
        assert_same_outputs(member, alone, X, atol=0.0 if kind == "regression" else rounding)
        assert member.n_iter_ == alone.n_iter_
        for ours, theirs in zip(member.history_, alone.history_, strict=True):
            np.testing.assert_allclose(ours["train_task_losses"], theirs["train_task_losses"], rtol=rounding)


@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_a_second_stack_needs_no_second_reading(chunk, monkeypatch):
    X, y = make_table("regression")
    members = [make_estimator(lr=lr) for lr in (1e-3, 1e-2, 3e-2)]
    trained, original = [], _stack.train

    def spy(run, *data):
        trained.append(len(run.members))
        return original(run, *data)

    monkeypatch.setattr(_stack, "train", spy)
    assert fit_stack(members, X, y, chunk=chunk) == [None, None, None]
    assert trained == {1: [1, 1, 1], 2: [2, 1], 3: [3]}[chunk]
    monkeypatch.undo()
    for member in members:
        assert_same_weights(member, clone(member).fit(X, y))


def test_early_stopping_is_each_members_own():
    X, y = make_table("regression", n_samples=80)
    members = [
        make_estimator(lr=lr, early_stopping=True, n_iter_no_change=2, max_epochs=30, tol=0.0)
        for lr in (1e-3, 0.1, 0.3)
    ]
    fit_stack(members, X, y)
    assert len({member.n_iter_ for member in members}) > 1
    for member in members:
        alone = clone(member).fit(X, y)
        assert member.n_iter_ == alone.n_iter_
        assert_same_weights(member, alone)


def test_a_member_that_diverges_is_told_and_the_others_go_on():
    X, y = make_table("regression", dtype=np.float32)
    members = [make_estimator(lr=lr) for lr in (1e-3, 1e30, 1e-2)]
    failures = fit_stack(members, X, y)
    assert [failure is None for failure in failures] == [True, False, True]
    assert "no longer finite" in failures[1]
    assert not hasattr(members[1], "network_")
    assert_same_weights(members[2], clone(members[2]).fit(X, y))


def test_all_members_of_one_stack_diverge_and_the_next_stack_does_not():
    X, y = make_table("regression", dtype=np.float32)
    members = [make_estimator(lr=lr) for lr in (1e29, 1e30, 1e-2)]
    assert [failure is None for failure in fit_stack(members, X, y, chunk=2)] == [False, False, True]


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


@pytest.mark.parametrize("params", [{"dropout": 0.1}, {"early_stopping": True}])
def test_seeds_that_draw_more_than_weights_and_batches_must_agree(params):
    one, two = make_estimator(**params), make_estimator(**{**params, "random_state": 1})
    assert stack_key(one) == stack_key(clone(one)) != stack_key(two)


def test_both_with_dropout_may_be_together():
    assert stack_key(make_estimator(dropout=0.1)) == stack_key(make_estimator(dropout=0.5))


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


def test_a_bound_below_one_member_is_refused():
    X, y = make_table("regression")
    with pytest.raises(ValueError, match="A stack of one member takes about.*Give more bytes or a smaller network"):
        fit_stack([make_estimator()], X, y, max_bytes=10)
