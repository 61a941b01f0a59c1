"""A stack of dense networks trained side by side: forward and backward by hand.

`S` networks of one architecture, ``S = prod(stack_shape)``, lie along the first axis, so a layer of all of them is one
batched matrix product. With layer input a, weights W, bias b, pre-activation z and activation function s:

    forward     z = a W + b                       a' = s(z)
    backward    dz = da' * s'(z)                  dW = a^T dz      db = sum over the batch of dz      da = dz W^T

which is what `forward_train` and `backward` spell out, into buffers that are allocated once per batch size. They give
what autograd gives (see the tests) at a fraction of its overhead; `forward` is the same function for autograd.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import cast

import torch
from torch import Tensor, nn

from skmtl.sharing._activations import ACTIVATIONS
from skmtl.sharing._base import StackedModule, gradient_of
from skmtl.sharing._views import ViewOf

MOST_INPUTS = 256  # batches whose views are kept


class DenseStack(StackedModule):
    """Dense layers of `prod(stack_shape)` networks.

    Parameters
    ----------
    stack_shape : tuple of int
        (member,) or (member, task).
    sizes : sequence of int
        Widths from the input to the output.
    activation : str
        After every layer, or after every layer but the last with ``linear_output=True``.
    dropout : float, default=0.0
        Share of activations dropped in training.
    linear_output : bool, default=False
        Whether the last layer is linear: a head.
    alike : bool, default=False
        Whether networks along the task axis start from equal weights: towers and their heads, which then differ only
        by what their labels ask for, and whose mean is as good as any of them.
    """

    def __init__(
        self,
        stack_shape: tuple[int, ...],
        sizes: Sequence[int],
        activation: str,
        dropout: float = 0.0,
        linear_output: bool = False,
        alike: bool = False,
    ) -> None:
        super().__init__()
        self.stack_shape = stack_shape
        self.sizes = tuple(sizes)
        self.n_layers = len(self.sizes) - 1
        self.activation = activation
        self.keep = torch.full((math.prod(stack_shape), 1, 1), 1.0 - dropout) if dropout else None
        self.generators: Sequence[torch.Generator | None] = (None,)
        self._draw_of: Tensor | None = None
        self.linear_output = linear_output
        self.alike = alike
        self._function = ACTIVATIONS[activation]
        self._n_networks = math.prod(stack_shape)
        self._workspaces: dict[int, Workspace] = {}  # by rows of a batch
        for k in range(self.n_layers):
            self.register_parameter(f"weight_{k}", nn.Parameter(self._draw(k)))
            self.register_parameter(f"bias_{k}", nn.Parameter(torch.zeros(*stack_shape, 1, self.sizes[k + 1])))

    def forward(self, x: Tensor) -> Tensor:
        """Return (\\*stack_shape, batch, n_out) for x (batch, n_in), (member, batch, n_in) or with every stack axis."""
        h = self._spread(x)
        for k in range(self.n_layers):
            weight, bias = self._layer(k)
            h = _affine(h, weight, bias)
            if self._is_active(k):
                h = self._function.function(h)
                if self.keep is not None and self.training:
                    h = h * self._draw_mask(self.keep.to(h), torch.empty_like(h))
        return self._split(h)

    def forward_train(self, x: Tensor) -> Tensor:
        """Return what `forward` does, by hand, into this stack's buffers; keep what `backward` needs."""
        work = self._workspaces.get(x.shape[-2]) or self._new_workspace(x.shape[-2])
        work.read(x)
        self._workspaces[0] = work  # the one that `backward` will read; no batch has 0 rows
        for layer in work.layers:
            if layer.is_narrow:
                torch.baddbmm(layer.bias_t, layer.weight_t, layer.input_t, out=layer.z_t)
            else:
                torch.baddbmm(layer.bias, layer.input, layer.weight, out=layer.z)
            if layer.is_active:
                self._function.forward_(layer.a if layer.a is layer.z else layer.a.copy_(layer.z))
                if layer.keep is not None:
                    self._drop(layer.a, layer.keep, layer.mask, layer.out)
        return work.out

    def backward(self, gradient: Tensor, input_gradient: bool = False) -> Tensor | None:
        """Set each parameter's gradient, given that of the output (overwritten); return that of the input if asked."""
        work = self._workspaces[0]
        dz = work.flat(gradient)
        for layer in work.layers_backward:
            if layer.is_active:
                if layer.keep is not None:
                    dz.mul_(layer.mask)
                self._function.backward_(dz, layer.saved)
            torch.sum(dz, 1, keepdim=True, out=layer.grad_bias)
            if layer.is_narrow:
                torch.bmm(layer.transposed(dz), layer.input, out=layer.narrow_t)
                layer.grad_weight_t.copy_(layer.narrow_t)
            else:
                torch.bmm(layer.input_t, dz, out=layer.grad_weight)
            if input_gradient or not layer.is_first:
                multiply = torch.bmm if layer.n_out > 1 else torch.mul  # of two vectors: five times faster
                dz = multiply(dz, layer.weight_t, out=layer.grad_input)
        return work.gathered(dz) if input_gradient else None

    def flat_parameters(self) -> Tensor:
        """Return all parameters of each network: (\\*stack_shape, parameter)."""
        return torch.cat([p.detach().flatten(len(self.stack_shape)) for p in self.parameters()], dim=-1)

    def _gradients(self, k: int) -> list[Tensor]:
        """Return the gradients of weight and bias, shaped as `_layer` shapes them."""
        pair = [gradient_of(parameter) for parameter in self._pair(k)]
        return [g.flatten(0, 1) for g in pair] if len(self.stack_shape) == 2 else pair

    def set_dropout(self, dropout: Tensor, generators: Sequence[torch.Generator]) -> None:
        """Set the share that each member drops, (member,), and what draws its masks.

        Members of one generator read the same draws, so that one of a stack drops what it would drop alone.
        """
        self.generators = tuple(dict.fromkeys(generators))
        places = [self.generators.index(generator) for generator in generators]
        own = places == list(range(len(self.generators)))  # each member its own
        self._draw_of = None if own or len(self.generators) == 1 else torch.tensor(places, device=dropout.device)
        self._workspaces = {}
        if not bool(dropout.any()):
            self.keep = None
            return
        keep = (1.0 - dropout).view(-1, *[1] * (len(self.stack_shape) - 1)).expand(self.stack_shape)
        self.keep = keep.reshape(-1, 1, 1).clone()

    def _drop(self, a: Tensor, keep: Tensor, mask: Tensor, out: Tensor) -> None:
        """Write the activations a of a layer, less those that drop, to `out`."""
        torch.mul(a, self._draw_mask(keep, mask) if self.training else mask.fill_(1.0), out=out)

    def _draw_mask(self, keep: Tensor, mask: Tensor) -> Tensor:
        """Fill `mask` (stack, batch, n) with 1 / keep where a unit stays and 0 where it drops."""
        shape = (*self.stack_shape, *mask.shape[1:])
        draws = mask.new_empty(len(self.generators), *shape[1:])
        for draw, generator in zip(draws, self.generators, strict=True):
            draw.uniform_(generator=generator)
        draws = draws.expand(shape) if self._draw_of is None else draws[self._draw_of]
        torch.lt(draws, keep.unflatten(0, self.stack_shape), out=mask.view(shape))
        return mask.div_(keep)

    def _is_active(self, k: int) -> bool:
        return k < self.n_layers - 1 or not self.linear_output

    def _layer(self, k: int) -> tuple[Tensor, Tensor]:
        """Return weight (stack, n_in, n_out) and bias (stack, 1, n_out)."""
        weight, bias = self._pair(k)
        return (weight.flatten(0, 1), bias.flatten(0, 1)) if len(self.stack_shape) == 2 else (weight, bias)

    def _pair(self, k: int) -> tuple[nn.Parameter, nn.Parameter]:
        """Return weight and bias of a layer; a look-up in the dict, for `getattr` would slow every pass."""
        weight, bias = self._parameters[f"weight_{k}"], self._parameters[f"bias_{k}"]
        return cast(nn.Parameter, weight), cast(nn.Parameter, bias)

    def _spread(self, x: Tensor) -> Tensor:
        """Return x as (stack, batch, n_in); rows that all networks read are not copied."""
        if x.ndim == 2:
            return x.expand(self._n_networks, -1, -1)
        if len(self.stack_shape) == 1:
            return x
        if x.ndim == 3:  # (member, batch, n_in), read by every task
            x = x.unsqueeze(1).expand(-1, self.stack_shape[1], -1, -1)
        return x.flatten(0, 1)

    def _split(self, h: Tensor) -> Tensor:
        """Return (stack, batch, n) with the axes of `stack_shape`."""
        return h.unflatten(0, self.stack_shape) if len(self.stack_shape) == 2 else h

    def _flatten(self, h: Tensor) -> Tensor:
        """Return h with one stack axis: the inverse of `_split`."""
        return h.flatten(0, 1) if len(self.stack_shape) == 2 else h

    def _gather(self, x_ndim: int, gradient: Tensor) -> Tensor:
        """Return the gradient of the input that `_spread` was given."""
        gradient = self._split(gradient)
        return gradient.sum(1) if x_ndim < gradient.ndim else gradient

    def _new_workspace(self, batch: int) -> Workspace:
        with torch.inference_mode(False):  # its buffers outlive the pass that needs them first
            largest = max(self._workspaces.values(), key=lambda work: work.batch, default=None)
            host = largest if largest is not None and largest.batch >= batch else None
            work = self._workspaces[batch] = Workspace(self, batch, host)
        return work

    def release(self) -> None:
        """Let go of all buffers; the next pass makes new ones."""
        self._workspaces = {}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DenseStack:
        self.release()  # buffers view the parameters, which may now move
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_workspaces": {}}

    def _draw(self, k: int) -> Tensor:
        """Draw weights: independent over members, and over tasks unless these shall start alike."""
        gain = self._function.gain if self._is_active(k) else 1.0
        shape = (*self.stack_shape, *self.sizes[k : k + 2])
        if self.alike:
            return glorot_uniform((shape[0], 1, *shape[2:]), gain).expand(shape).clone()
        return glorot_uniform(shape, gain)


def _affine(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return h W + b: (stack, batch, n_in) -> (stack, batch, n_out)."""
    if _is_narrow(weight.shape[-1]):
        return torch.baddbmm(bias.transpose(1, 2), weight.transpose(1, 2), h.transpose(1, 2)).transpose(1, 2)
    return torch.baddbmm(bias, h, weight)


def _is_narrow(n_out: int) -> bool:
    """Say whether products with so few columns are quicker transposed (two to five times, for up to 15 columns)."""
    return n_out < 16


def _transpose(dz: Tensor) -> Tensor:
    return dz.transpose(1, 2)


def glorot_uniform(shape: tuple[int, ...], gain: float = 1.0) -> Tensor:
    """Draw uniform weights (..., n_in, n_out) of variance gain / mean(n_in, n_out)."""
    bound = math.sqrt(6.0 * gain / sum(shape[-2:]))
    return torch.empty(shape).uniform_(-bound, bound)


class Workspace:
    """What a pass over batches of one size reads and writes: a `_Layer` each, and the views between them.

    It lies in the memory of a `host` for larger batches, if there is one: no two are in use at once.
    """

    def __init__(self, stack: DenseStack, batch: int, host: Workspace | None) -> None:
        self.batch = batch
        hosts: Sequence[_Layer | None] = host.layers if host is not None else [None] * stack.n_layers
        self.layers: list[_Layer] = [_Layer(stack, k, batch, hosts[k]) for k in range(stack.n_layers)]
        for before, layer in zip(self.layers, self.layers[1:], strict=False):
            layer.read(before.out)
        self.layers_backward = self.layers[::-1]
        self.flat = ViewOf(stack._flatten)
        self._stack = stack
        self._inputs: dict[int, tuple[Tensor, Tensor, Tensor]] = {}  # views of batches, made once, by id
        self._x_ndim = 0
        if self.layers:
            self.out = stack._split(self.layers[-1].out)

    def read(self, x: Tensor) -> None:
        """Take a batch: (batch, n_in), (member, batch, n_in) or with every stack axis."""
        known = self._inputs.get(id(x))
        if known is not None and x.ndim == self._x_ndim:  # the same buffer as in an earlier step, with other rows in it
            _, self.layers[0].input, self.layers[0].input_t = known
            return
        spread = self._stack._spread(x)
        if x.ndim != self._x_ndim:
            self.gathered, self._x_ndim = ViewOf(partial(self._stack._gather, x.ndim)), x.ndim
        if not self.layers:
            self.out = self._stack._split(spread)
            return
        self.layers[0].read(spread)
        if spread.untyped_storage().data_ptr() == x.untyped_storage().data_ptr():
            if len(self._inputs) == MOST_INPUTS:
                self._inputs.clear()
            self._inputs[id(x)] = x, self.layers[0].input, self.layers[0].input_t


class _Layer:
    """Views of one layer's parameters and gradients with one stack axis, and its buffers."""

    input: Tensor
    input_t: Tensor

    def __init__(self, stack: DenseStack, k: int, batch: int, host: _Layer | None) -> None:
        self.weight, self.bias = (p.detach() for p in stack._layer(k))
        self.grad_weight, self.grad_bias = stack._gradients(k)
        rows, n_in, n_out = self.weight.shape
        self.weight_t, self.bias_t = self.weight.transpose(1, 2), self.bias.transpose(1, 2)
        self.grad_weight_t, self.transposed = self.grad_weight.transpose(1, 2), ViewOf(_transpose)
        self.is_first, self.is_active = k == 0, stack._is_active(k)
        self.is_narrow, self.n_out = _is_narrow(n_out), n_out
        self.narrow_t = self.weight.new_empty(rows, n_out, n_in if self.is_narrow else 0)
        self._host, self._shape = host, (rows, batch, n_out)
        self.z = self._room("z")  # before activation
        self.z_t = self.z.transpose(1, 2)
        keeps_z = self.is_active and stack._function.saves_input
        self.a = self._room("a") if keeps_z else self.z  # after it
        self.saved = self.z  # what the derivative is computed from: where z is not kept, a stands in its place
        self.keep = stack.keep.to(self.z) if stack.keep is not None and self.is_active else None
        self.mask = self._room("mask") if self.keep is not None else self.z
        self.out = self.a if self.keep is None else self._room("out")  # after dropout

    @cached_property
    def grad_input(self) -> Tensor:
        """Room for the gradient of the input, which the first layer of a trunk never needs."""
        shape = (*self._shape[:2], self.weight.shape[1])
        host = None if self._host is None else self._host.grad_input.view(-1)
        return self.weight.new_empty(shape) if host is None else host[: math.prod(shape)].view(shape)

    def _room(self, name: str) -> Tensor:
        """Return room for (stack, batch, n_out), transposed in memory where the layer is narrow."""
        rows, batch, n_out = self._shape
        shape = (rows, n_out, batch) if self.is_narrow else self._shape
        if self._host is None:
            dense = self.weight.new_empty(shape)
        else:
            whole = getattr(self._host, name)
            dense = (whole.transpose(1, 2) if self.is_narrow else whole).view(-1)[: math.prod(shape)].view(shape)
        return dense.transpose(1, 2) if self.is_narrow else dense

    def read(self, h: Tensor) -> None:
        """Take the input: (stack, batch, n_in)."""
        self.input, self.input_t = h, h.transpose(1, 2)
