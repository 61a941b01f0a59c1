"""A stack of dense networks trained side by side: forward and backward by hand.

`S` networks of one architecture, ``S = prod(stack_shape)``, lie along the first axis, so a layer of all of them is one
batched matrix product. With layer input a, weights W, bias b, pre-activation z and activation function s:

    forward     z = a W + b                       a' = s(z)
    backward    dz = da' * s'(z)                  dW = a^T dz      db = sum over the batch of dz      da = dz W^T

which is what `_Layer` spells out, between buffers that are allocated once per batch size, and what `forward_train` and
`backward` run through. They give what autograd gives (see the tests) at a fraction of its overhead; `forward` is the
same function for autograd.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import cast

import torch
from torch import Tensor, nn

from skmtl.sharing._activations import ACTIVATIONS
from skmtl.sharing._base import StackedModule, gradient_of
from skmtl.sharing._views import ViewOf, padded

Operation = Callable[[], object]


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
            for operation in layer.forward:
                operation()
        return work.out

    def backward(self, gradient: Tensor, input_gradient: bool = False) -> Tensor | None:
        """Set each parameter's gradient, given that of the output (overwritten); return that of the input if asked."""
        work = self._workspaces[0]
        work.receive(gradient)
        for layer in work.layers_backward:
            for operation in layer.backward:
                operation()
        return work.input_gradient() if input_gradient else None

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
    """The layers of a pass over batches of one size, and the buffers that they read and write.

    It lies in the memory of a `host` for larger batches, if there is one: no two are in use at once.
    """

    def __init__(self, stack: DenseStack, batch: int, host: Workspace | None) -> None:
        self.batch = batch
        hosts: Sequence[_Layer | None] = host.layers if host is not None else [None] * stack.n_layers
        self.layers: list[_Layer] = [_Layer(stack, k, batch, hosts[k]) for k in range(stack.n_layers)]
        for before, layer in zip(self.layers, self.layers[1:], strict=False):
            layer.read(before.out)
            before.receive(layer.grad_input)
        self.layers_backward = self.layers[::-1]
        self._stack = stack
        self._x: Tensor | None = None
        self._x_ndim = 0
        self._gradient: Tensor | None = None
        if self.layers:
            self.out = stack._split(self.layers[-1].out)

    def read(self, x: Tensor) -> None:
        """Take a batch: (batch, n_in), (member, batch, n_in) or with every stack axis."""
        if x is self._x:  # the same buffer as in the last step, with other rows in it
            return
        spread = self._stack._spread(x)
        self._x = x if _is_view(spread, x) else None
        if x.ndim != self._x_ndim:
            self._gather, self._x_ndim = ViewOf(partial(self._stack._gather, x.ndim)), x.ndim
        if self.layers:
            self.layers[0].read(spread)
        else:
            self.out = self._stack._split(spread)

    def receive(self, gradient: Tensor) -> None:
        """Take the gradient of the output, with every stack axis."""
        if gradient is self._gradient:
            return
        self._dz = self._stack._flatten(gradient)
        self._gradient = gradient if _is_view(self._dz, gradient) else None
        if self.layers:
            self.layers[-1].receive(self._dz)

    def input_gradient(self) -> Tensor:
        """Return the gradient of the batch that was read."""
        return self._gather(self.layers[0].input_gradient() if self.layers else self._dz)


def _is_view(one: Tensor, other: Tensor) -> bool:
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


class _Layer:
    """What one layer does in a step, as lists of operations between its parameters and buffers.

    They are bound once to what they read and write: to look all of that up in each step took a third as long as the
    arithmetic of a small network. Everything has one stack axis.
    """

    def __init__(self, stack: DenseStack, k: int, batch: int, host: _Layer | None) -> None:
        self.weight, self.bias = (p.detach() for p in stack._layer(k))
        self.grad_weight, self.grad_bias = stack._gradients(k)
        rows, n_in, n_out = self.weight.shape
        self.is_first, self.is_active, self.is_narrow = k == 0, stack._is_active(k), _is_narrow(n_out)
        self.narrow_t = self.weight.new_empty(rows, n_out, n_in if self.is_narrow else 0)
        self._stack, self._host, self._shape = stack, host, (rows, batch, n_out)
        self.z = self._room("z")  # before activation
        keeps_z = self.is_active and stack._function.saves_input
        self.a = self._room("a") if keeps_z else self.z  # after it
        self.saved = self.z  # what the derivative is computed from: where z is not kept, a stands in its place
        self.keep = stack.keep.to(self.z) if stack.keep is not None and self.is_active else None
        self.mask = self._room("mask") if self.keep is not None else self.z
        self.out = self.a if self.keep is None else self._room("out")  # after dropout
        self.forward: list[Operation] = []
        self.backward: list[Operation] = []
        self._input: Tensor | None = None
        self._dz: Tensor | None = None
        self._to_input: Operation | None = None

    def read(self, h: Tensor) -> None:
        """Take the input, (stack, batch, n_in), and bind all operations to it."""
        self._input = h
        self.forward = [*self._forward(h)]
        self.backward = [] if self._dz is None else [*self._backward(h, self._dz)]

    def receive(self, gradient: Tensor) -> None:
        """Take the gradient of the output, (stack, batch, n_out), and bind the way back to it."""
        self._dz, self._to_input = gradient, None
        self.backward = [] if self._input is None else [*self._backward(self._input, gradient)]

    def _forward(self, h: Tensor) -> Iterator[Operation]:
        if self.is_narrow:
            weight_t, bias_t = _transpose(self.weight), _transpose(self.bias)
            yield partial(torch.baddbmm, bias_t, weight_t, _transpose(h), out=_transpose(self.z))
        else:
            yield partial(torch.baddbmm, self.bias, h, self.weight, out=self.z)
        if self.is_active:
            if self.a is not self.z:
                yield partial(self.a.copy_, self.z)
            yield partial(self._stack._function.forward_, self.a)
        if self.keep is not None:
            yield partial(self._stack._drop, self.a, self.keep, self.mask, self.out)

    def _backward(self, h: Tensor, dz: Tensor) -> Iterator[Operation]:
        if self.keep is not None:
            yield partial(dz.mul_, self.mask)
        if self.is_active:
            yield partial(self._stack._function.backward_, dz, self.saved)
        yield partial(torch.sum, dz, 1, keepdim=True, out=self.grad_bias)
        if self.is_narrow:
            yield partial(torch.bmm, _transpose(dz), h, out=self.narrow_t)
            yield partial(_transpose(self.grad_weight).copy_, self.narrow_t)
        else:
            yield partial(torch.bmm, _transpose(h), dz, out=self.grad_weight)
        if not self.is_first:
            yield self._back_to_input(dz)

    def input_gradient(self) -> Tensor:
        """Return the gradient of the input, once `backward` is done; those who never ask need no room for it."""
        self._to_input = self._to_input or self._back_to_input(cast(Tensor, self._dz))
        self._to_input()
        return self.grad_input

    def _back_to_input(self, dz: Tensor) -> Operation:
        multiply = torch.bmm if self._shape[-1] > 1 else torch.mul  # of two vectors: five times faster
        return partial(multiply, dz, _transpose(self.weight), out=self.grad_input)

    @cached_property
    def grad_input(self) -> Tensor:
        """Room for the gradient of the input, which the first layer of a trunk never needs."""
        rows, batch, _ = self._shape
        return self._make_room("grad_input", (rows, batch, self.weight.shape[1]))

    def _room(self, name: str) -> Tensor:
        """Return room for (stack, batch, n_out), transposed in memory where the layer is narrow."""
        rows, batch, n_out = self._shape
        if self.is_narrow:
            return self._make_room(name, (rows, n_out, batch)).transpose(1, 2)
        return self._make_room(name, self._shape)

    def _make_room(self, name: str, shape: tuple[int, int, int]) -> Tensor:
        """Return room of this shape in which each network begins on 64 bytes, so that it computes as it would alone."""
        rows, height, width = shape
        step = padded(height * width, self.weight.element_size())
        memory = self.weight.new_empty(rows * step) if self._host is None else getattr(self._host, name)
        return memory.as_strided(shape, (step, width, 1), memory.storage_offset())
