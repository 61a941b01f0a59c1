"""Where a survival task begins: at the hazards of all rows together."""

import numpy as np
import pytest
import torch

from skmtl._table import read_targets
from skmtl.tasks import Survival


def learned(y, weight=None, **options):
    """Return a task that has learned a table of times and events, and its raw outputs of 0 for one row."""
    task, table = Survival("time", "event", **options), read_targets(np.asarray(y, dtype=float))
    task.learn(table, weight)
    loss = task.parts(table)[0].loss
    return task, [torch.zeros(1, loss.width, loss.n_parts, dtype=torch.float64)]


def test_the_first_curve_is_the_life_table_by_hand():
    y = [[1, 1], [1, 0], [2, 1], [3, 1], [4, 0], [4, 1]]
    task, raw = learned(y, n_intervals=4)
    assert task.cuts_.tolist() == [1.0, 2.0, 3.0]
    # at risk and known: 5 (one is censored in the first interval), 4, 3; one event in each
    survival = task.predicted_survival(raw, [1.0, 2.0, 3.0])[0]
    np.testing.assert_allclose(survival, [4 / 5, 4 / 5 * 3 / 4, 4 / 5 * 3 / 4 * 2 / 3])


def test_competing_risks_begin_at_the_rate_of_each():
    task, raw = learned([[1, 1], [1, 2], [1, 1], [2, 0], [2, 1], [2, 0]], n_intervals=2)
    assert task.cuts_.tolist() == [1.0]
    np.testing.assert_allclose(task.predicted_incidence(raw, [1.0])[0, :, 0], [2 / 6, 1 / 6])


def test_an_interval_in_which_all_or_none_have_an_event_is_finite():
    task, raw = learned([[1, 1], [1, 1], [1, 2], [2, 2]], n_intervals=3)
    assert np.isfinite(task.predicted_survival(raw, [0.5, 1.0, 2.0])).all()


@pytest.mark.parametrize("row", [[2.5, 1], [2.5, 0]])
def test_a_row_of_weight_zero_is_absent(row):
    y = [[1, 1], [2, 1], [3, 1], [4, 0]]
    without, _ = learned(y)
    beside, _ = learned([*y, row], np.array([1.0, 1.0, 1.0, 1.0, 0.0]))
    table = read_targets(np.asarray(y, dtype=float))
    assert repr(beside.parts(table)) == repr(without.parts(table))
