"""The number of torch threads is chosen by the work of a step and restored."""

import sys

import numpy as np
import pytest
import torch

from skmtl import MultiTaskRegressor
from skmtl._network import ROWS_PER_CHUNK, in_chunks
from skmtl._threads import TURN, WORTH_TWO_THREADS, short_turns, threads_for
from tests._cases import make_estimator, make_table


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("work", "threads"), [(1.0, 1), (WORTH_TWO_THREADS, 2)])
def test_small_steps_get_one_thread(work, threads):
    with threads_for(work):
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == 2


def test_threads_that_train_side_by_side_take_short_turns():
    before = sys.getswitchinterval()
    with short_turns(1):
        assert sys.getswitchinterval() == before
    with short_turns(2):
        with short_turns(2):
            assert sys.getswitchinterval() == pytest.approx(TURN)
        assert sys.getswitchinterval() == pytest.approx(TURN)
    assert sys.getswitchinterval() == before
    with pytest.raises(ZeroDivisionError), short_turns(2):
        1 / 0  # noqa: B018
    assert sys.getswitchinterval() == before


@pytest.mark.usefixtures("two_threads")
def test_fit_restores_the_threads_also_when_it_fails():
    X, y = make_table("regression")
    make_estimator().fit(X, y)
    assert torch.get_num_threads() == 2
    with pytest.raises(ValueError, match="no longer finite"):
        make_estimator(lr=1e30, dtype="float32").fit(X, y)
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(
    ("hidden", "n_rows", "threads"), [(8, 1, 1), (8, ROWS_PER_CHUNK, 1), (256, 64, 1), (256, 2 * ROWS_PER_CHUNK, 2)]
)
def test_small_chunks_of_predictions_get_one_thread(hidden, n_rows, threads):
    X, y = make_table("regression")
    model = MultiTaskRegressor(hidden_layer_sizes=(hidden, hidden), n_members=1, max_epochs=1).fit(X, y)
    seen = []

    def spy(rows):
        seen.append(torch.get_num_threads())
        return model.network_(rows)

    in_chunks(spy, np.zeros((n_rows, X.shape[1])), model.network_)
    assert set(seen) == {threads}
    assert torch.get_num_threads() == 2
