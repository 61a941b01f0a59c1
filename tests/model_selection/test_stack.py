"""Fits side by side: each member becomes what its own fit would make of it, to within rounding.

Widths are odd, for there some processors sum a stack in another order than one network. Recorded losses are summed in
another order where members have batches of their own.
"""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import FitFailedWarning
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skmtl.model_selection import StackedGridSearchCV
from skmtl.sharing import STRATEGIES
from skmtl.training import MultiTaskNet
from tests._asserts import PROMISE, assert_members_agree
from tests._cases import WIDTHS, make_table, steady_optimizer
from tests._cases import make_odd_estimator as make_estimator
from tests._side_by_side import bytes_of_member, fit_side_by_side

pytestmark = pytest.mark.usefixtures("global_random_state_untouched")
some_scores_are_nan = pytest.mark.filterwarnings("ignore:One or more of the:UserWarning")


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
    fitted, search = fit_side_by_side(members, X, y)
    assert search.n_stacks_ == 1
    rounding = PROMISE[X.dtype.name]
    for model, (member,) in zip(members, fitted, strict=True):
        alone = clone(model).fit(X, y)
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
    assert len(X) % 13 * 52 % 16  # numbers of 4 bytes each
    members = [make_estimator(kind, sharing, lr=lr, **shape) for lr in (1e-3, 3e-3, 1e-2)]
    fitted, search = fit_side_by_side(members, X, y)
    assert search.n_stacks_ == 1
    for model, (member,) in zip(members, fitted, strict=True):
        assert_members_agree(member, clone(model).fit(X, y), X)


class CountedRows:
    """Rows that count how often some of them are taken."""

    taken = 0

    def __init__(self, values):
        self.values, self.shape, self.dtype = values, values.shape, values.dtype

    def __len__(self):
        return len(self.values)

    def __getitem__(self, rows):
        CountedRows.taken += 1
        return self.values[rows]


@pytest.mark.parametrize(("most", "n_stacks"), [(1, 3), (2, 2), (3, 1)])
def test_a_second_stack_needs_no_second_reading(most, n_stacks):
    X, y = make_table("regression")
    members = [make_estimator(lr=lr) for lr in (1e-3, 1e-2, 3e-2)]
    max_bytes = most * bytes_of_member(members[0], X, y)
    CountedRows.taken = 0
    fitted, search = fit_side_by_side(members, CountedRows(X), y, max_bytes=max_bytes)
    assert search.n_stacks_ == n_stacks
    assert CountedRows.taken == 1 + 3  # to learn from, and to score each with a scorer of its own
    for model, (member,) in zip(members, fitted, strict=True):
        assert_members_agree(member, clone(model).fit(X, y), X)


def test_early_stopping_is_each_members_own():
    X, y = make_table("regression", n_samples=80)
    members = [
        make_estimator(lr=lr, early_stopping=True, n_iter_no_change=2, max_epochs=30, tol=0.0)
        for lr in (1e-3, 0.1, 0.3)
    ]
    fitted, search = fit_side_by_side(members, X, y)
    assert search.n_stacks_ == 1
    assert len({member.n_iter_ for (member,) in fitted}) > 1
    for model, (member,) in zip(members, fitted, strict=True):
        alone = clone(model).fit(X, y)
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
    X, y = make_table("regression", n_samples=80)
    gentle = "optimizer" in params or sharing == "attention"  # whose rounding Adam magnifies with the step
    lrs = (1e-3, 0.02, 0.05) if gentle else (1e-3, 0.1, 0.3)
    own = [{"lr": lr, "sharing_lambda": value} for lr in lrs for value in (0.0, 0.1)]
    own += [{"random_state": seed} for seed in (1, 2)]
    shared = {"sharing": sharing, "early_stopping": True, "n_iter_no_change": 2, "max_epochs": 80, "tol": 0.0, **params}
    members = [make_estimator(**{**shared, **one}) for one in own]
    fitted, search = fit_side_by_side(members, X, y)
    assert search.n_stacks_ == 1
    assert len(sizes) > 1
    assert sizes == sorted(sizes, reverse=True)
    for model, (member,) in zip(members, fitted, strict=True):
        alone = clone(model).fit(X, y)
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
    members = [make_estimator(kind, sharing, lr=lr, **params) for lr in (1e-3, 1e-2)]
    X_all, y_all = np.vstack([X, 2 * X, 3 * X]), np.vstack([y, y, y])
    trains = [own + 90 * k for k, own in enumerate(rows)]
    fitted, search = fit_side_by_side(members, X_all, y_all, trains)
    assert search.n_stacks_ == 1
    for model, own in zip(members, fitted, strict=True):
        for member, train in zip(own, trains, strict=True):
            assert_members_agree(member, clone(model).fit(X_all[train], y_all[train]), X)


def test_members_with_class_weights_of_their_own():
    X, y = make_table("multiclass", n_samples=90)
    weights = [None, "balanced", [None, "balanced", None, {0: 2.0}]]
    members = [make_estimator("multiclass", class_weight=w) for w in weights]
    fitted, search = fit_side_by_side(members, X, y)
    assert search.n_stacks_ == 1
    for model, (member,) in zip(members, fitted, strict=True):
        assert_members_agree(member, clone(model).fit(X, y), X)


def test_tables_of_other_shapes_are_other_stacks():
    X, y = make_table("multiclass", n_samples=60)
    y_all = np.where(np.isnan(y), 0.0, y)
    y_fewer = np.where(y == 4, 3.0, y)  # a class less
    X_parts, y_parts = [X, X + 1.0, X, X, X], [y, y[::-1], y, y_all, y_fewer]
    trains = [np.arange(60) + 60 * k for k in range(5)]
    trains[2] = np.r_[trains[2], trains[2]]  # more rows
    fitted, search = fit_side_by_side([make_estimator("multiclass")], np.vstack(X_parts), np.vstack(y_parts), trains)
    assert search.n_stacks_ == 4  # the first two are one
    assert all(member is not None for member in fitted[0])


def _columns(X, n):
    return X[:, :n]


def test_tables_of_other_widths_are_other_stacks():
    X, y = make_table("regression", n_samples=60)
    model = Pipeline([("some", FunctionTransformer(_columns)), ("net", make_estimator())])
    grid = {"some__kw_args": [{"n": 5}, {"n": 4}], "net__lr": [1e-3, 1e-2]}
    assert StackedGridSearchCV(model, grid, cv=KFold(3), refit=False).fit(X, y).n_stacks_ == 2


@some_scores_are_nan
def test_a_member_that_diverges_is_reported_and_the_others_continue():
    X, y = make_table("regression", dtype=np.float32)
    members = [make_estimator(lr=lr) for lr in (1e-3, 1e30, 1e-2)]
    with pytest.warns(FitFailedWarning, match=r"(?s)1 fits failed out of a total of 3.*no longer finite.*'lr': 1e\+30"):
        fitted, search = fit_side_by_side(members, X, y)
    assert search.n_stacks_ == 1
    assert [member is None for (member,) in fitted] == [False, True, False]
    for k in (0, 2):
        assert_members_agree(fitted[k][0], clone(members[k]).fit(X, y), X)


@some_scores_are_nan
def test_all_members_of_one_stack_diverge_and_the_next_stack_does_not():
    X, y = make_table("regression", dtype=np.float32)
    members = [make_estimator(lr=lr) for lr in (1e29, 1e30, 1e-2)]
    max_bytes = 2 * bytes_of_member(members[0], X, y)
    with pytest.warns(FitFailedWarning, match="2 fits failed out of a total of 3"):
        fitted, search = fit_side_by_side(members, X, y, max_bytes=max_bytes)
    assert search.n_stacks_ == 2
    assert_members_agree(fitted[2][0], clone(members[2]).fit(X, y), X)


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
        ({"n_members": 2}, False),
    ],
)
def test_what_members_may_differ_in(params, together):
    X, y = make_table("regression")
    members = [make_estimator(max_epochs=1), make_estimator(max_epochs=1, **params)]
    assert fit_side_by_side(members, X, y)[1].n_stacks_ == (1 if together else 2)


def test_both_with_dropout_may_be_together():
    X, y = make_table("regression")
    members = [make_estimator(dropout=0.1), make_estimator(dropout=0.5, random_state=1)]
    assert fit_side_by_side(members, X, y)[1].n_stacks_ == 1


@pytest.mark.parametrize(
    ("shared", "other", "n_tables"),
    [
        ({"early_stopping": True}, {"lr": 0.5}, 1),
        ({"early_stopping": True}, {"random_state": 1}, 1),
        ({}, {"class_weight": "balanced"}, 2),
        ({}, {"random_state": 1}, 1),
    ],
)
def test_who_reads_the_same_rows(shared, other, n_tables):
    X, y = make_table("multiclass", n_samples=90)
    shared = {"max_epochs": 1, **shared}
    members = [make_estimator("multiclass", **shared), make_estimator("multiclass", **{**shared, **other})]
    CountedRows.taken = 0
    fit_side_by_side(members, CountedRows(X), y)
    assert CountedRows.taken == n_tables + 2


class CountedShift(StandardScaler):
    """Count the fits of all copies; `by` may be anything."""

    fits = 0

    def __init__(self, by=None):
        super().__init__()
        self.by = by

    def fit(self, X, y=None, sample_weight=None):
        CountedShift.fits += 1
        return super().fit(X, y, sample_weight)


LONG, OTHER = np.zeros(5000), np.zeros(5000)
OTHER[2500] = 1.0


@pytest.mark.parametrize(
    ("values", "n_fits"),
    [
        ([LONG, LONG.copy()], 1),
        ([LONG, OTHER], 2),
        ([lambda: 0, lambda: 0], 2),
        ([1, 1.0, True, "1", None], 5),
    ],
    ids=["equal", "print alike", "functions", "kinds"],
)
def test_contents_are_compared_and_not_how_they_print(values, n_fits):
    assert repr(LONG) == repr(OTHER)
    X, y = make_table("regression")
    model = Pipeline([("shift", CountedShift()), ("net", make_estimator(max_epochs=1))])
    CountedShift.fits = 0
    splits = [(np.arange(len(X)), [0])]
    grid = [{"shift__by": [value], "net__lr": [1e-3 * (k + 1)]} for k, value in enumerate(values)]
    StackedGridSearchCV(model, grid, cv=splits, refit=False, scoring=_one).fit(X, y)
    assert CountedShift.fits == n_fits


def _one(estimator, X, y):
    return 1.0


@some_scores_are_nan
@pytest.mark.parametrize(
    ("params", "reason"),
    [
        ({}, None),
        ({"callbacks": []}, None),
        ({"callbacks": ["x"]}, "callbacks act on a whole net"),
        ({"optimizer": torch.optim.Adam}, "an optimizer class has one learning rate for all"),
        ({"optimizer": "adamx"}, "a parameter is not what it must be"),
        ({"warm_start": True}, "warm_start continues an earlier fit"),
        ({"lr": -1}, "a parameter is not what it must be"),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.FitFailedWarning")
def test_why_alone(params, reason, capsys):
    X, y = make_table("regression")
    members = [make_estimator(lr=2e-3), make_estimator(**params)]
    _, search = fit_side_by_side(members, X, y, verbose=1)
    printed = capsys.readouterr().out
    if reason is None:
        assert "Trained alone" not in printed
    else:
        assert f"candidates 1 ({reason})" in printed
        assert search.n_stacks_ == 1


# ---- memory ---------------------------------------------------------------------------------------------------------


def test_bytes_grow_with_parameters_batch_and_precision():
    X, y = make_table("regression")
    base = {"hidden_layer_sizes": (64,), "max_epochs": 1}
    small, deep, large_batch, single = (
        bytes_of_member(make_estimator(**{**base, **more}), X, y)
        for more in ({}, {"hidden_layer_sizes": (64, 64)}, {"batch_size": 40}, {"dtype": "float32"})
    )
    assert small > 8 * (5 * 64 + 64 + 64 * 4 + 4)  # more than the parameters alone, in float64
    assert deep > small
    assert large_batch > small
    assert single == small / 2


def test_a_batch_is_no_larger_than_the_rows():
    X, y = make_table("regression")
    need = bytes_of_member(make_estimator(batch_size=len(X)), X, y)
    for size in (len(X), 10**6):
        members = [make_estimator(batch_size=size, lr=lr) for lr in (1e-3, 1e-2)]
        assert fit_side_by_side(members, X, y, max_bytes=2 * need)[1].n_stacks_ == 1
        assert fit_side_by_side(members, X, y, max_bytes=2 * need - 1)[1].n_stacks_ == 2


CACHE = 16 * 2**20
"""What the documentation of `max_bytes` says."""


@pytest.mark.parametrize(("hidden", "few"), [((8,), False), ((140, 140), False), ((280, 280), True)])
def test_large_members_are_together_only_as_far_as_the_cache_reaches(hidden, few):
    X, y = make_table("regression")
    members = [make_estimator(lr=1e-3 * (k + 1), max_epochs=1, hidden_layer_sizes=hidden) for k in range(20)]
    need = bytes_of_member(members[0], X, y)
    assert (CACHE // need < 4) == few
    size = max(4, CACHE // need)
    assert fit_side_by_side(members, X, y)[1].n_stacks_ == -(-20 // size)


def test_a_bound_below_one_member_is_refused():
    X, y = make_table("regression")
    with pytest.raises(ValueError, match="A stack of one member takes about.*Give more bytes or a smaller network"):
        fit_side_by_side([make_estimator()], X, y, max_bytes=10)
