"""All parameters in one aligned storage."""

import pytest
import torch
from torch import nn

from skmtl._network import NetworkPlan
from skmtl.sharing import STRATEGIES
from skmtl.tasks import regression_layout
from skmtl.training import FlatBuffer


@pytest.fixture(params=STRATEGIES)
def network(request):
    plan = NetworkPlan(STRATEGIES[request.param](), regression_layout(3), 5, (7, 8), (), "relu", 0.0)
    with torch.random.fork_rng(devices=[]):
        return plan.build(2)


def test_parameters_keep_their_values_and_become_views(network):
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    buffer = FlatBuffer(network)
    for name, parameter in network.named_parameters():
        assert torch.equal(parameter, before[name])
    buffer.data.detach().fill_(3.0)
    buffer.data.grad.fill_(4.0)
    for parameter in network.parameters():
        assert (parameter == 3.0).all()
        assert (parameter.grad == 4.0).all()


def test_blocks_start_on_64_bytes_and_do_not_overlap(network):
    buffer = FlatBuffer(network)
    assert buffer.data.data_ptr() % 64 == 0
    assert buffer.data.grad.data_ptr() % 64 == 0
    for parameter in network.parameters():
        assert all(parameter[k].data_ptr() % 64 == 0 for k in range(2))
    buffer.data.detach().zero_()
    for parameter in network.parameters():
        parameter.data.add_(1.0)
    assert buffer.data.max() == 1.0
    assert int(buffer.data.sum()) == sum(p.numel() for p in network.parameters())


def test_weights_decay_and_biases_do_not(network):
    buffer = FlatBuffer(network)
    expected = sum(p.numel() for name, p in network.named_parameters() if "bias" not in name)
    flat = torch.zeros_like(buffer.data.detach())
    for region in buffer.weights:
        region.view(flat).fill_(1.0)
    buffer.data.detach().copy_(flat)
    assert not flat[buffer.n_weights :].any()
    assert sum(int(p.sum()) for p in network.parameters()) == expected
    assert all(bool(p.all()) != ("bias" in name) for name, p in network.named_parameters())


def test_regions_are_a_modules_parameters_network_by_network(network):
    buffer = FlatBuffer(network)
    for module in network.tied():
        views = [region.view(buffer.data.detach()) for region in buffer.regions(module)]
        assert all(view.shape[:2] == module.stack_shape for view in views)
        held = torch.cat([view[1, 2] for view in views])
        own = torch.cat([p.detach()[1, 2].flatten() for p in module.parameters()])
        assert sorted(held[held != 0].tolist()) == sorted(own[own != 0].tolist())


def test_gradients_of_weights_of_usual_widths_are_contiguous():
    with torch.random.fork_rng(devices=[]):
        network = NetworkPlan(STRATEGIES["soft"](), regression_layout(3), 5, (16, 64), (), "relu", 0.0).build(2)
    FlatBuffer(network)
    for name, parameter in network.named_parameters():
        assert parameter.grad.is_contiguous() or "bias" in name


@pytest.mark.parametrize("members", [[0], [1], [0, 1]])
def test_places_hold_the_parameters_of_those_members_alone(network, members):
    buffer = FlatBuffer(network)
    for parameter in network.parameters():
        parameter.data.fill_(1.0)
    flat = buffer.data.detach()
    for place in buffer.places(members):
        flat[place] += 1.0
    for parameter in network.parameters():
        for m in range(2):
            assert (parameter[m] == (2.0 if m in members else 1.0)).all()
    assert len(buffer.places([0, 1])) == 1


def test_frozen_parameters_stay_out():
    module = nn.Linear(3, 2)
    module.bias.requires_grad_(False)
    assert FlatBuffer(module).data.numel() == 32  # two members of three weights, each padded to 64 bytes
    assert module.bias.grad is None
