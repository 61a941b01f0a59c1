"""A stack of dense networks trained side by side: forward and backward by hand.

`S` networks of one architecture, ``S = prod(stack_shape)``, lie along the first axis, so a layer of all of them is one
batched matrix product. With layer input a, weights W, bias b, pre-activation z and activation function s:

    forward     z = a W + b                       a' = s(z)
    backward    dz = da' * s'(z)                  dW = a^T dz      db = sum over the batch of dz      da = dz W^T

which is what `run` and `DenseStack.backward` spell out, into buffers that are allocated once per batch size. It gives
what autograd gives (see the tests) at a fraction of its overhead; `forward` is the same function for autograd.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from skmtl.sharing._activations import ACTIVATIONS
from skmtl.sharing._base import StackedModule


class DenseStack(StackedModule):
    """Dense layers of `prod(stack_shape)` networks.

    Networks along a task axis start from equal weights: towers then differ only by what their labels ask for, and a
    task trained alone from the same seed starts from the same network.

    Parameters
    ----------
    stack_shape : tuple of int
        (member,) or (member, task).
    sizes : sequence of int
        Widths from the input to the output.
    activation : str
        After every layer, or after every layer but the last with ``linear_output=True``.
    dropout : float
        Share of activations dropped in training.
    linear_output : bool
        Whether the last layer is linear: a head.
    """

    def __init__(
        self,
        stack_shape: tuple[int, ...],
        sizes: Sequence[int],
        activation: str,
        dropout: float = 0.0,
        linear_output: bool = False,
    ) -> None:
        super().__init__()
        self.stack_shape = stack_shape
        self.sizes = tuple(sizes)
        self.n_layers = len(self.sizes) - 1
        self.activation = activation
        self.dropout = dropout
        self.linear_output = linear_output
        self._function = ACTIVATIONS[activation]
        self._workspaces: dict[int, Workspace] = {}
        for k in range(self.n_layers):
            self.register_parameter(f"weight_{k}", nn.Parameter(self._draw(k)))
            self.register_parameter(f"bias_{k}", nn.Parameter(torch.zeros(*stack_shape, 1, self.sizes[k + 1])))

    def forward(self, x: Tensor) -> Tensor:
        """Return (\\*stack_shape, batch, n_out) for x (batch, n_in), (member, batch, n_in) or with every stack axis."""
        h = self._spread(x)
        for k in range(self.n_layers):
            weight, bias = self._layer(k)
            h = torch.baddbmm(bias, h, weight)
            if self._is_active(k):
                h = self._function.function(h)
                if self.dropout and self.training:
                    h = torch.dropout(h, self.dropout, True)
        return h.unflatten(0, self.stack_shape)

    def forward_train(self, x: Tensor) -> Tensor:
        """Return what `forward` does, by hand, into this stack's buffers; keep what `backward` needs."""
        self._x_shape = x.shape
        x = self._spread(x)
        batch = x.shape[1]
        if batch not in self._workspaces:
            self._workspaces[batch] = Workspace(self, batch)
        self._x, self._work = x, self._workspaces[batch]
        return self.run(x, self._work).unflatten(0, self.stack_shape)

    def run(self, x: Tensor, work: Workspace) -> Tensor:
        """Compute (stack, batch, n_in) -> (stack, batch, n_out) into `work`."""
        h = x
        for k, (weight, bias) in enumerate(work.layers):
            h = torch.baddbmm(bias, h, weight, out=work.pre[k])
            if not self._is_active(k):
                continue
            h = self._function.forward_(work.out[k].copy_(h) if self._function.saves_input else h)
            if self.dropout and self.training:
                keep = 1.0 - self.dropout
                h = torch.mul(h, work.mask[k].bernoulli_(keep).div_(keep), out=work.dropped[k])
        return h

    def backward(self, gradient: Tensor, input_gradient: bool = False) -> Tensor | None:
        """Set each parameter's gradient, given that of the output (overwritten); return that of the input if asked."""
        work, dz = self._work, gradient.flatten(0, len(self.stack_shape) - 1)
        for k in range(self.n_layers - 1, -1, -1):
            if self._is_active(k):
                if self.dropout and self.training:
                    dz.mul_(work.mask[k])
                self._function.backward_(dz, work.pre[k] if self._function.saves_input else work.out[k])
            a = work.dropped[k - 1] if k else self._x
            grad_weight, grad_bias = work.gradients[k]
            torch.bmm(a.transpose(1, 2), dz, out=grad_weight)
            torch.sum(dz, 1, keepdim=True, out=grad_bias)
            if k or input_gradient:
                dz = torch.bmm(dz, work.layers[k][0].transpose(1, 2), out=work.grad_inputs[k])
        return self._gather(dz) if input_gradient else None

    def flat_parameters(self) -> Tensor:
        """Return all parameters of each network: (\\*stack_shape, parameter)."""
        return torch.cat([p.detach().flatten(len(self.stack_shape)) for p in self.parameters()], dim=-1)

    def workspace(self, batch: int) -> Workspace:
        """Return fresh buffers for `run` outside training."""
        return Workspace(self, batch, training=False)

    def _is_active(self, k: int) -> bool:
        return k < self.n_layers - 1 or not self.linear_output

    def _layer(self, k: int) -> tuple[Tensor, Tensor]:
        depth = len(self.stack_shape) - 1
        return getattr(self, f"weight_{k}").flatten(0, depth), getattr(self, f"bias_{k}").flatten(0, depth)

    def _spread(self, x: Tensor) -> Tensor:
        """Return x with one leading axis over all networks: rows that several networks read are not copied if M = 1."""
        missing = len(self.stack_shape) + 2 - x.ndim
        if missing == 1 and len(self.stack_shape) == 2:  # (member, batch, n) -> (member, 1, batch, n)
            x = x.unsqueeze(1)
        return x.expand(*self.stack_shape, *x.shape[-2:]).flatten(0, len(self.stack_shape) - 1)

    def _gather(self, gradient: Tensor) -> Tensor:
        """Sum the gradient over the axes that `_spread` expanded."""
        gradient = gradient.unflatten(0, self.stack_shape)
        if len(self._x_shape) < gradient.ndim:
            gradient = gradient.sum(1)
        return gradient

    def _gradients(self, k: int) -> tuple[Tensor, Tensor]:
        depth = len(self.stack_shape) - 1
        pair = []
        for parameter in (getattr(self, f"weight_{k}"), getattr(self, f"bias_{k}")):
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            pair.append(parameter.grad.flatten(0, depth))
        return pair[0], pair[1]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DenseStack:
        self._workspaces = {}  # they view the parameters, which may now move
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, object]:
        state = {k: v for k, v in self.__dict__.items() if k not in ("_x", "_work")}
        return {**state, "_workspaces": {}}

    def _draw(self, k: int) -> Tensor:
        """Draw weights: independent over members, equal over tasks."""
        gain = self._function.gain if self._is_active(k) else 1.0
        weight = glorot_uniform((self.stack_shape[0], *self.sizes[k : k + 2]), gain)
        if len(self.stack_shape) == 2:
            weight = weight.unsqueeze(1).expand(-1, self.stack_shape[1], -1, -1).clone()
        return weight


def glorot_uniform(shape: tuple[int, ...], gain: float = 1.0) -> Tensor:
    """Draw uniform weights (..., n_in, n_out) of variance gain / mean(n_in, n_out)."""
    bound = math.sqrt(6.0 * gain / sum(shape[-2:]))
    return torch.empty(shape).uniform_(-bound, bound)


class Workspace:
    """Everything that a pass over one batch size writes to, and views of the weights with one stack axis."""

    def __init__(self, stack: DenseStack, batch: int, training: bool = True) -> None:
        layers = range(stack.n_layers)
        rows = math.prod(stack.stack_shape)
        self.layers = [tuple(p.detach() for p in stack._layer(k)) for k in layers]

        def new(sizes: Sequence[int]) -> list[Tensor]:
            like = self.layers[0][0] if self.layers else torch.empty(0)
            return [torch.empty(rows, batch, n, dtype=like.dtype, device=like.device) for n in sizes]

        self.pre = new(stack.sizes[1:])
        self.out = new(stack.sizes[1:]) if stack._function.saves_input else self.pre
        self.mask = new(stack.sizes[1:]) if stack.dropout and training else []
        self.dropped = new(stack.sizes[1:]) if stack.dropout and training else self.out
        if training:
            self.grad_inputs = new(stack.sizes[:-1])
            self.gradients = [stack._gradients(k) for k in layers]
