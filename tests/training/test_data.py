"""Batches of a training table."""

import pytest
import torch

from skmtl.training import TensorData
from skmtl.training._data import Batches


def make_data(n=10, weight=True, rows=None):
    X = torch.arange(n, dtype=torch.float32)[:, None].repeat(1, 3)
    return TensorData(X, X[:, :2] * 10, X[:, :2] * 100 if weight else None, rows)


def drawn(batches):
    return [int(v) for x, _, _ in batches for v in x[:, 0]]


@pytest.mark.parametrize("weight", [True, False])
@pytest.mark.parametrize("rows", [None, [7, 1, 4, 2, 9]])
def test_an_epoch_draws_every_row_once_with_its_targets(weight, rows):
    data = make_data(weight=weight, rows=None if rows is None else torch.tensor(rows))
    batches = Batches(data, 2, [torch.Generator().manual_seed(0)])
    seen = []
    for x, y, w in batches:
        torch.testing.assert_close(y, x[:, :2] * 10)
        assert (w is None) == (not weight)
        if weight:
            torch.testing.assert_close(w, x[:, :2] * 100)
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
    assert [len(x) for x, _, _ in batches] == [4, 4, 2]
    assert len(batches) == 3


@pytest.mark.parametrize("batch_size", [10, 11, 1000])
def test_a_table_that_fits_is_used_whole_and_in_order(batch_size):
    data = make_data()
    ((x, y, _),) = list(Batches(data, batch_size, [torch.Generator().manual_seed(0)]))
    assert x is data.X
    assert y is data.y


def test_without_a_generator_rows_keep_their_order():
    assert drawn(Batches(make_data(rows=torch.tensor([3, 1, 2])), 2)) == [3, 1, 2]


def test_one_row_shows_missing_labels_as_nan():
    x, y = make_data()[0]  # its weights are zero
    assert x.tolist() == [0, 0, 0]
    assert torch.isnan(y).all()
    assert make_data()[3][1].tolist() == [30, 30]
