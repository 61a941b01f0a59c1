"""Batches of a training table."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from skmtl._rows import rows_of
from skmtl.training import TensorData, join_tables, make_tables
from skmtl.training._batches import Batches


def make_data(n=10, weight=True, rows=None):
    X = torch.arange(n, dtype=torch.float32)[:, None].repeat(1, 3)
    places = torch.arange(n) if rows is None else rows.flatten()
    start = None if rows is None or rows.ndim == 1 else torch.arange(0, rows.numel(), rows.shape[1])[:, None]
    coefficient = X[places, :2] * 100 if weight else torch.tensor(0.5)
    return TensorData(rows_of(X), X[:, :2] * 10, coefficient, rows, start)


def drawn(batches):
    return [int(v) for batch in batches for v in batch.x[:, 0]]


@pytest.mark.parametrize("weight", [True, False])
@pytest.mark.parametrize("rows", [None, [7, 1, 4, 2, 9]])
def test_an_epoch_draws_every_row_once_with_its_targets(weight, rows):
    data = make_data(weight=weight, rows=None if rows is None else torch.tensor(rows))
    batches = Batches(data, 2, [torch.Generator().manual_seed(0)])
    seen = []
    for batch in batches:
        x = batch.x
        torch.testing.assert_close(batch.y, x[:, :2] * 10)
        torch.testing.assert_close(batch.coefficient, x[:, :2] * 100 if weight else torch.tensor(0.5))
        seen += x[:, 0].tolist()
    assert sorted(seen) == sorted(rows or range(10))
    assert seen != (rows or list(range(10)))
    assert len(batches) == -(-len(seen) // 2)


def test_epochs_differ_and_a_seed_repeats_them():
    first, again = (Batches(make_data(), 3, [torch.Generator().manual_seed(1)]) for _ in range(2))
    epochs = [drawn(first) for _ in range(3)]
    assert epochs == [drawn(again) for _ in range(3)]
    assert epochs[0] != epochs[1]


def test_the_last_batch_holds_the_rest():
    batches = Batches(make_data(10), 4, [torch.Generator().manual_seed(0)])
    assert [len(batch) for batch in batches] == batches.sizes == [4, 4, 2]
    assert len(batches) == 3


@pytest.mark.parametrize("batch_size", [10, 11, 1000])
def test_a_table_that_fits_is_used_whole_and_in_order(batch_size):
    data = make_data()
    (batch,) = Batches(data, batch_size, [torch.Generator().manual_seed(0)])
    assert batch.x is data.X.whole()
    assert batch.y is data.y


@pytest.mark.parametrize("batch_size", [4, 100])
def test_members_with_rows_of_their_own(batch_size):
    data = make_data(rows=torch.tensor([[0, 2, 4, 6, 8, 9], [1, 3, 5, 7, 9, 0]]))
    batches = Batches(data, batch_size, [torch.Generator().manual_seed(k) for k in range(2)], torch.tensor([1, 0]))
    for _ in range(2):
        x = torch.cat([batch.x.clone() for batch in batches], dim=1)
        assert x.shape == (2, 6, 3)
        assert x[:, :, 0].sort().values.tolist() == data.index.sort().values.tolist()
    batches.select(torch.tensor([1]))
    for batch in batches:
        x, y, weight = batch.x, batch.y, batch.coefficient
        assert batch.by_member
        assert set(x.flatten().tolist()) <= {0, 1, 3, 5, 7, 9}
        torch.testing.assert_close(y, x[..., :2] * 10)
        torch.testing.assert_close(weight, x[..., :2] * 100)
        assert all(t[0].data_ptr() % 64 == 0 for t in (x, y, weight))


def test_a_stack_shuffles_as_each_member_would():
    generators = [torch.Generator().manual_seed(k) for k in range(2)]
    together = Batches(make_data(20), 5, generators, torch.tensor([1, 0, 1]))
    alone = [Batches(make_data(20), 5, [torch.Generator().manual_seed(k)]) for k in (1, 0, 1)]
    for own in zip(together, *alone, strict=True):
        x, *theirs = (batch.x for batch in own)
        torch.testing.assert_close(x, torch.stack(theirs))


@pytest.mark.parametrize("weight", [True, False])
def test_tables_are_joined_for_members_that_read_different_ones(weight):
    one, other = make_data(4, weight), make_data(6, weight, rows=torch.tensor([5, 3, 1, 0]))
    joined = join_tables([other, one, other], 1)
    (batch,) = Batches(joined, 10)
    x, y = batch.x, batch.y
    assert x[:, :, 0].tolist() == [[5, 3, 1, 0], [0, 1, 2, 3], [5, 3, 1, 0]]
    assert y[:, :, 0].tolist() == [[50, 30, 10, 0], [0, 10, 20, 30], [50, 30, 10, 0]]
    torch.testing.assert_close(batch.coefficient, x[..., :2] * 100 if weight else torch.tensor(0.5))
    assert join_tables([one, one], 1) is one


@pytest.mark.parametrize("weight", [True, False])
def test_what_tables_have_in_common_is_not_copied(weight):
    first = make_data(6, weight, rows=torch.tensor([[5, 3], [0, 1]]))
    other = make_data(6, weight, rows=torch.tensor([[2, 4], [4, 5]]))
    other = replace(other, X=first.X, y=first.y)
    joined = join_tables([first, other, first], 2)
    assert joined.X is first.X
    assert joined.y is first.y
    assert joined.index.tolist() == [[5, 3], [0, 1], [2, 4], [4, 5], [5, 3], [0, 1]]
    (batch,) = Batches(joined, 10)
    torch.testing.assert_close(batch.coefficient, batch.x[..., :2] * 100 if weight else torch.tensor(0.5))


def test_epochs_of_unequal_length_are_filled_up_with_rows_that_count_for_nothing():
    X, y = torch.arange(5.0)[:, None], torch.zeros(5, 1)
    divisions = [[np.array([0, 1, 2]), np.array([3, 4])], [np.array([0, 2, 3, 4]), np.array([1])]]
    data, valid = make_tables(rows_of(X), y, None, divisions, 2)
    assert data.index.tolist() == [[0, 1, 2, 0], [0, 2, 3, 4]]
    third, half = 2 / 3, 2 / 4  # a mean over three rows or four, times two steps
    torch.testing.assert_close(data.coefficient.view(2, 4), torch.tensor([[third] * 3 + [0.0], [half] * 4]))
    torch.testing.assert_close(valid.coefficient.view(2, 2), torch.tensor([[0.5, 0.5], [1.0, 0.0]]))


def test_without_a_generator_rows_keep_their_order():
    assert drawn(Batches(make_data(rows=torch.tensor([3, 1, 2])), 2)) == [3, 1, 2]


def test_one_row_shows_missing_labels_as_nan():
    x, y = make_data()[0]  # its weights are zero
    assert x.tolist() == [0, 0, 0]
    assert torch.isnan(y).all()
    assert make_data()[3][1].tolist() == [30, 30]
