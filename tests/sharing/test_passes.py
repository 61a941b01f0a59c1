"""What a module that defines `forward` only becomes in training."""

import pytest
import torch

from skmtl.sharing import Sharing, SharingModule, aligned
from tests._cases import make_estimator, make_table


class Scaled(Sharing):
    """One factor for each feature; `extra` columns are said to be there and are not."""

    def __init__(self, extra=0):
        self.extra = extra

    def build(self, shape):
        return ScaledModule(shape, self.extra)


class ScaledModule(SharingModule):
    per_task = False

    def __init__(self, shape, extra):
        super().__init__()
        self.n_features_out = shape.n_features + extra
        self.scale = torch.nn.Parameter(torch.ones(shape.n_members, 1, shape.n_features))

    def forward(self, x):
        return x * self.scale


def test_features_of_another_shape_than_said_are_refused():
    X, y = make_table("regression")
    with pytest.raises(
        ValueError, match=r"ScaledModule must return features of shape \(1, \d+, 7\) .*Found \(1, \d+, 5\)"
    ):
        make_estimator(sharing=Scaled(extra=2)).fit(X, y)


def test_gradients_by_hand():
    module = Scaled().build(type("Shape", (), {"n_features": 2, "n_members": 1}))
    way = module.bind(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), (1, 2, 2))
    way.receive(torch.tensor([[[1.0, 0.0], [10.0, 1.0]]]))
    for operation in [*way.forward, *way.backward]:
        operation()
    torch.testing.assert_close(way.out, torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]))
    torch.testing.assert_close(module.scale.grad, torch.tensor([[[1.0 + 30.0, 4.0]]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_each_network_begins_on_a_boundary(dtype):
    room = aligned((3, 5, 7), torch.empty(0, dtype=dtype))
    assert room.shape == (3, 5, 7)
    assert [room[k].data_ptr() % 64 for k in range(3)] == [room.data_ptr() % 64] * 3
    assert room[0].is_contiguous()
    within = aligned((3, 2, 7), room, room)
    assert within.data_ptr() == room.data_ptr()
