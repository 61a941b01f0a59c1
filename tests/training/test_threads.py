"""The number of torch threads is chosen by the work of a step and restored."""

import pytest
import torch

from skmtl.training import threads_for
from skmtl.training._threads import STEP_WORTH_TWO_THREADS
from tests._cases import make_estimator, make_table


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("work", "threads"), [(1.0, 1), (STEP_WORTH_TWO_THREADS, 2)])
def test_small_steps_get_one_thread(work, threads):
    with threads_for(work):
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_fit_restores_the_threads_also_when_it_fails():
    X, y = make_table("regression")
    make_estimator().fit(X, y)
    assert torch.get_num_threads() == 2
    with pytest.raises(ValueError, match="no longer finite"):
        make_estimator(lr=1e30, dtype="float32").fit(X, y)
    assert torch.get_num_threads() == 2
