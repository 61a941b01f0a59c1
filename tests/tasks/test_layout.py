"""Where tasks and raw columns stand."""

import numpy as np
import pytest
import torch

from skmtl.losses import Logistic, Softmax, SquaredError
from skmtl.tasks import classification_layout, make_layout, regression_layout


@pytest.mark.parametrize("counts", [(2,), (3, 2, 5, 4), (1, 2, 1), (2, 2, 2), (7, 100, 3, 2, 9, 1)])
def test_every_task_has_one_place_and_room_for_its_classes(counts):
    layout = classification_layout(counts)
    assert sorted(layout.order) == list(range(len(counts)))
    np.testing.assert_array_equal(layout.order[layout.places], np.arange(len(counts)))
    column = 0
    for group in layout.groups:
        assert group.columns.start == column
        column = group.columns.stop
        assert column - group.columns.start == group.loss.width * group.loss.n_parts
        for place in range(group.parts.start, group.parts.stop):
            count = counts[layout.order[place]]
            assert isinstance(group.loss, Logistic) == (count == 2)
            assert count <= group.loss.width < 2 * count or count == 2
    assert layout.n_outputs == column


def test_each_kind_knows_the_counts_of_its_tasks():
    layout = classification_layout((3, 2, 5, 4, 2))
    found = {}
    for group in layout.groups:
        counts = group.loss.n_classes if isinstance(group.loss, Softmax) else [2] * group.loss.n_parts
        found.update(zip(layout.order[group.parts].tolist(), counts, strict=True))
    assert found == {0: 3, 1: 2, 2: 5, 3: 4, 4: 2}


def test_groups_grow_with_the_logarithm_of_the_largest_count():
    assert len(classification_layout(range(1, 1001)).groups) <= 11


def test_a_view_puts_the_class_before_the_task():
    (group,) = classification_layout((3, 4, 3)).groups
    raw = torch.arange(24.0).reshape(2, 12)
    assert group.view(raw)[1, 2].tolist() == raw[1, 6:9].tolist()


def test_regression_has_one_column_per_task():
    layout = regression_layout(3)
    assert (layout.n_outputs, layout.n_tasks, layout.order.tolist()) == (3, 3, [0, 1, 2])


@pytest.mark.parametrize("n_tasks", [1, 4])
def test_a_layout_of_regressions_is_that_of_its_losses(n_tasks):
    ours, joined = regression_layout(n_tasks), make_layout([[SquaredError(1)]] * n_tasks)
    assert repr(ours) == repr(joined)
    np.testing.assert_array_equal(ours.task_widths, np.ones(n_tasks))
