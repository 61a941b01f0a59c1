"""What every test runs under: one torch thread, no display, Keras on torch."""

import os

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ["KERAS_BACKEND"] = "torch"

import numpy as np
import pytest
import torch

torch.set_num_threads(1)

collect_ignore = ["benchmarks"]  # scripts with tables of ratios, run by hand


@pytest.fixture
def global_random_state_untouched():
    """Fail the test if it drew from numpy's or torch's global generator."""
    kind, keys, position, *_ = np.random.get_state()  # noqa: NPY002
    torch_state = torch.get_rng_state()
    yield
    after_kind, after_keys, after_position, *_ = np.random.get_state()  # noqa: NPY002
    assert (kind, position) == (after_kind, after_position)
    np.testing.assert_array_equal(keys, after_keys)
    assert torch.equal(torch_state, torch.get_rng_state())
