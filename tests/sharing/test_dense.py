"""The dense stack's hand-written backward pass against autograd."""

import pickle

import pytest
import torch

from skmtl.sharing import ACTIVATIONS, DenseStack
from skmtl.sharing._activations import SMALL_TENSOR

STACKS = {"members": (2,), "towers": (2, 3)}


def make_stack(stack_shape, sizes=(4, 5, 3), activation="tanh", dropout=0.0, linear_output=False, seed=0):
    """Return a double precision stack whose biases are not zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stack = DenseStack(stack_shape, sizes, activation, dropout, linear_output).double()
        for parameter in stack.parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    return stack


def draw(*shape, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def by_hand(stack, x, gradient):
    """Return output, parameter gradients and input gradient of the hand-written pass."""
    gradient = gradient.clone()
    way = stack.bind(x)
    grad_x = way.receive(gradient, input_gradient=x.ndim > 2)
    run(way.forward)
    out = way.out.clone()
    run(way.backward)
    return out, [p.grad.clone() for p in stack.parameters()], grad_x


def run(operations):
    with torch.no_grad():
        for operation in operations:
            operation()


def by_autograd(stack, x, gradient):
    x = x.clone().requires_grad_()
    out = stack(x)
    grads = torch.autograd.grad(out, [*stack.parameters(), x], gradient)
    return out, grads[:-1], grads[-1]


@pytest.mark.parametrize("stack_shape", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("linear_output", [False, True])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("sizes", [(4, 5, 3), (4, 1), (3, 20, 17)])
def test_backward_equals_autograd(activation, linear_output, stack_shape, sizes):
    stack = make_stack(stack_shape, sizes, activation, linear_output=linear_output)
    x, gradient = draw(2, 6, sizes[0]), draw(*stack_shape, 6, sizes[-1], seed=2)
    out, grads, grad_x = by_hand(stack, x, gradient)
    expected, expected_grads, expected_x = by_autograd(stack, x, gradient)
    torch.testing.assert_close(out, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grad_x, expected_x, rtol=1e-10, atol=1e-12)
    for ours, theirs in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("n", [SMALL_TENSOR - 1, SMALL_TENSOR, SMALL_TENSOR + 1])
def test_derivative_of_relu_in_small_and_large(n):
    z, gradient = draw(n), draw(n, seed=2)
    z[0] = 0.0
    expected = torch.where(z > 0, gradient, 0.0)
    assert torch.equal(ACTIVATIONS["relu"].backward_(gradient, z.relu_()), expected)


@pytest.mark.parametrize("activation", sorted(set(ACTIVATIONS) - {"relu"}))
def test_forward_passes_gradcheck(activation):
    stack = make_stack((2,), activation=activation)
    x = draw(2, 3, 4).requires_grad_()
    names = [name for name, _ in stack.named_parameters()]

    def function(x, *weights):
        return torch.func.functional_call(stack, dict(zip(names, weights, strict=True)), (x,))

    weights = [p.detach().clone().requires_grad_() for p in stack.parameters()]
    assert torch.autograd.gradcheck(function, (x, *weights))


@pytest.mark.parametrize("stack_shape", STACKS.values(), ids=STACKS)
def test_rows_that_every_network_reads(stack_shape):
    stack, x, gradient = make_stack(stack_shape), draw(6, 4), draw(*stack_shape, 6, 3, seed=2)
    out, grads, _ = by_hand(stack, x, gradient)
    expected, expected_grads, _ = by_autograd(stack, x, gradient)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(grads, list(expected_grads))


def test_features_of_each_towers_own():
    stack, x, gradient = make_stack((2, 3)), draw(2, 3, 6, 4), draw(2, 3, 6, 3, seed=2)
    _, grads, grad_x = by_hand(stack, x, gradient)
    _, expected_grads, expected_x = by_autograd(stack, x, gradient)
    torch.testing.assert_close(grad_x, expected_x)
    for ours, theirs in zip(grads, expected_grads, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("stack_shape", STACKS.values(), ids=STACKS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_dropout_with_the_same_mask(stack_shape, activation):
    stack = make_stack(stack_shape, activation=activation, dropout=0.5).train()
    x, gradient = draw(2, 8, 4), draw(*stack_shape, 8, 3, seed=2)
    torch.manual_seed(5)
    out, grads, grad_x = by_hand(stack, x, gradient)
    masks = [layer.mask for layer in stack._host.layers]
    h = leaf = x.clone().requires_grad_()
    h = h.unsqueeze(1) if len(stack_shape) == 2 else h
    for k, mask in enumerate(masks):
        weight, bias = getattr(stack, f"weight_{k}"), getattr(stack, f"bias_{k}")
        h = ACTIVATIONS[activation].function(h @ weight + bias) * mask.view(*stack_shape, 8, -1)
    torch.testing.assert_close(out, h.detach())
    expected = torch.autograd.grad(h, [*stack.parameters(), leaf], gradient)
    for ours, theirs in zip([*grads, grad_x], expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_dropout_keeps_its_share_and_the_mean():
    stack = make_stack((1,), (3, 4000), "logistic", dropout=0.25).train()
    with torch.no_grad():
        torch.manual_seed(0)
        way = stack.bind(draw(1, 5, 3))
        run(way.forward)
        dropped, kept = way.out, stack.eval()(draw(1, 5, 3))
    assert float((dropped == 0).double().mean()) == pytest.approx(0.25, abs=0.02)
    torch.testing.assert_close(dropped[dropped != 0], (kept / 0.75)[dropped != 0])


@pytest.mark.parametrize("stack_shape", [(4,), (4, 3)])
def test_members_of_one_generator_read_the_same_draws(stack_shape):
    one, two = (torch.Generator().manual_seed(seed) for seed in (1, 2))
    stack = make_stack(stack_shape, dropout=0.5).train()
    stack.set_dropout(torch.full((4,), 0.5, dtype=torch.float64), [one, two, two, one])
    alone = make_stack((1, *stack_shape[1:]), dropout=0.5).train()
    alone.set_dropout(torch.full((1,), 0.5, dtype=torch.float64), [torch.Generator().manual_seed(2)])
    together, single = (s._draw_mask(s.keep_prob, torch.empty(len(s.keep_prob), 6, 9).double()) for s in (stack, alone))
    masks = together.view(*stack_shape, 6, 9)
    assert torch.equal(masks[0], masks[3])
    assert torch.equal(masks[1], masks[2])
    assert torch.equal(masks[1], single.view(*masks.shape[1:]))
    assert not torch.equal(masks[0], masks[1])


def test_no_dropout_outside_training():
    stack, x = make_stack((2,), dropout=0.5).eval(), draw(2, 6, 4)
    way = stack.bind(x)
    run(way.forward)
    torch.testing.assert_close(way.out, stack(x).detach())


@pytest.mark.parametrize("stack_shape", STACKS.values(), ids=STACKS)
def test_without_layers_features_and_gradients_pass_through(stack_shape):
    stack, x, gradient = make_stack(stack_shape, (4,)), draw(2, 6, 4), draw(*stack_shape, 6, 4, seed=2)
    out, grads, grad_x = by_hand(stack, x, gradient)
    torch.testing.assert_close(out, stack(x))
    assert grads == []
    torch.testing.assert_close(grad_x, gradient if len(stack_shape) == 1 else gradient.sum(1))


def test_batches_of_several_sizes_do_not_mix():
    stack = make_stack((2, 3))
    for batch in (6, 2, 6, 5):
        x, gradient = draw(2, batch, 4, seed=batch), draw(2, 3, batch, 3, seed=9)
        out, grads, _ = by_hand(stack, x, gradient)
        expected, expected_grads, _ = by_autograd(stack, x, gradient)
        torch.testing.assert_close(out, expected)
        torch.testing.assert_close(grads, list(expected_grads))


def test_initial_weights_have_their_stated_variance():
    for activation, variance in (("relu", 2 / 300), ("tanh", 1 / 300)):
        stack = DenseStack((1,), (200, 400), activation)
        assert float(stack.weight_0.detach().var()) == pytest.approx(variance, rel=0.05)
        assert not stack.bias_0.any()


def test_flat_parameters_hold_each_networks_own():
    stack = make_stack((2, 3))
    flat = stack.flat_parameters()
    assert flat.shape == (2, 3, 4 * 5 + 5 + 5 * 3 + 3)
    assert sorted(flat[1, 2].tolist()) == sorted(v for p in stack.parameters() for v in p[1, 2].flatten().tolist())


def test_a_pickle_leaves_the_buffers_behind():
    stack = make_stack((1,), (4, 8))
    size = len(pickle.dumps(stack))
    stack.bind(draw(1, 5000, 4))
    assert len(pickle.dumps(stack)) < size + 1000
