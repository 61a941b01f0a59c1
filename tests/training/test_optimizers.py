"""The flat optimisers against torch's own, with the fused kernel and with public operations."""

import pytest
import torch
from torch import nn

from skmtl.sharing import DenseStack
from skmtl.training import OPTIMIZERS, FlatBuffer, FlatOptimizer, _optimizers

TORCHS_OWN = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": lambda groups, lr: torch.optim.SGD(groups, lr=lr, momentum=0.9, nesterov=True),
}
ZERO = torch.zeros(1, dtype=torch.float64)


def make_stack():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return DenseStack((1,), (4, 5, 3), "tanh", linear_output=True).double()


def gradients(step):
    """Return the gradients of a step, the same for both optimisers."""
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(p.shape, dtype=torch.float64, generator=generator) for p in make_stack().parameters()]


def take_steps(optimizer, module, n_steps=6, schedule=None):
    for step in range(n_steps):
        for parameter, gradient in zip(module.parameters(), gradients(step), strict=True):
            parameter.grad = gradient.clone() if parameter.grad is None else parameter.grad.copy_(gradient)
        if schedule is not None:
            optimizer.param_groups[0]["lr"] = schedule[step]
        optimizer.step()


def torchs_steps(name, weight_decay, lr=0.05):
    """Return a module after the steps of torch's optimiser, weight decay on weights but not on biases."""
    module = make_stack()
    weights = [p for name, p in module.named_parameters() if "bias" not in name]
    biases = [p for name, p in module.named_parameters() if "bias" in name]
    groups = [{"params": weights, "weight_decay": weight_decay}, {"params": biases, "weight_decay": 0.0}]
    take_steps(TORCHS_OWN[name](groups, lr=lr), module)
    return module


@pytest.fixture(params=["fused kernel", "public operations"])
def _kernel(request, monkeypatch):
    if request.param == "public operations":
        monkeypatch.setattr(_optimizers, "_FUSED", None)
    elif _optimizers._FUSED is None:
        pytest.skip("this torch has no fused Adam")


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("weight_decay", [0.0, 0.3])
@pytest.mark.usefixtures("_kernel")
def test_steps_equal_torchs(name, weight_decay):
    module = make_stack()
    optimizer = OPTIMIZERS[name](FlatBuffer(module), lr=0.05, weight_decay=weight_decay)
    optimizer.tie([], ZERO)
    take_steps(optimizer, module)
    for ours, theirs in zip(module.parameters(), torchs_steps(name, weight_decay).parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.usefixtures("_kernel")
def test_a_changed_learning_rate_is_taken_up(name):
    still, moved = make_stack(), make_stack()
    for module, schedule in ((still, [0.1, 0.0, 0.0]), (moved, [0.1])):
        optimizer = OPTIMIZERS[name](FlatBuffer(module), lr=1.0, weight_decay=0.0)
        optimizer.tie([], ZERO)
        take_steps(optimizer, module, len(schedule), schedule)
    for a, b in zip(still.parameters(), moved.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.usefixtures("_kernel")
def test_state_dict_lets_training_go_on(name):
    whole, halves = make_stack(), make_stack()
    one = OPTIMIZERS[name](FlatBuffer(whole), lr=0.05, weight_decay=0.1)
    first = OPTIMIZERS[name](FlatBuffer(halves), lr=0.05, weight_decay=0.1)
    for optimizer in (one, first):
        optimizer.tie([], ZERO)
    take_steps(one, whole, 3)
    take_steps(first, halves, 3)
    buffer = FlatBuffer(halves)
    second = OPTIMIZERS[name](buffer, lr=0.05, weight_decay=0.1)
    second.tie([], ZERO)
    second.load_state_dict(first.state_dict())
    take_steps(one, whole, 3)
    take_steps(second, halves, 3)
    for a, b in zip(whole.parameters(), halves.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)


def test_they_are_torch_optimisers_that_schedulers_accept():
    for name in OPTIMIZERS:
        module = make_stack()
        optimizer = OPTIMIZERS[name](FlatBuffer(module), lr=0.5, weight_decay=0.0)
        optimizer.tie([], ZERO)
        assert isinstance(optimizer, FlatOptimizer | torch.optim.Optimizer)
        scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.1)
        take_steps(optimizer, module, 1)
        scheduler.step()
        assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


def test_the_penalty_of_zero_is_never_applied():
    module = nn.Sequential(DenseStack((1, 3), (4, 2), "tanh"))
    buffer = FlatBuffer(module)
    optimizer = OPTIMIZERS["adam"](buffer, lr=0.1, weight_decay=0.0)
    optimizer.tie(buffer.regions(module[0]), torch.zeros(1))
    assert optimizer.tied == []
