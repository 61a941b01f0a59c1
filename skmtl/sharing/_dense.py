"""A stack of dense networks trained side by side: forward and backward by hand.

`S` networks of one architecture, ``S = prod(stack_shape)``, are stacked along the first axis, so a layer of all of them
is one batched matrix product. With layer input a, weights W, bias b, pre-activation z and activation function s:

    forward     z = a W + b                       a' = s(z)
    backward    dz = da' * s'(z)                  dW = a^T dz      db = sum over the batch of dz      da = dz W^T

which is what `_Layer` spells out as operations between buffers that are allocated once, and what a training step runs
through. They give what autograd gives (see the tests) at a fraction of its overhead; `forward` is the same function for
autograd.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import cast

import torch
from torch import Tensor, nn

from skmtl.sharing._activations import ACTIVATIONS, Activation
from skmtl.sharing._base import StackedModule
from skmtl.sharing._passes import Operation, Pass, aligned, gradient_of, is_view


class DenseStack(StackedModule):
    """Dense layers of `prod(stack_shape)` networks.

    Parameters
    ----------
    stack_shape : tuple of int
        (member,), or (member, k) for k networks per member, such as one for each task or each expert.
    sizes : sequence of int
        Widths from the input to the output.
    activation : str
        After every layer, or after every layer but the last with ``linear_output=True``.
    dropout : float, default=0.0
        Share of activations dropped in training.
    linear_output : bool, default=False
        Whether the last layer is linear: a head.
    equal_start : bool, default=False
        Whether networks along the task axis start from equal weights: towers and their heads, which then differ only
        because of their labels, and whose mean is as good as any of them.
    batch_last : bool, default=False
        Whether a training step keeps the outputs of the last layer with the batch last in memory, for what reads them
        column by column.
    """

    sizes: tuple[int, ...]
    n_layers: int
    activation: str
    keep_prob: Tensor | None  # per network
    generators: Sequence[torch.Generator | None]
    linear_output: bool
    equal_start: bool
    batch_last: bool
    _draw_of: Tensor | None
    _function: Activation
    _n_networks: int
    _host: DensePass | None  # the pass with most rows, whose memory the others use

    def __init__(
        self,
        stack_shape: tuple[int, ...],
        sizes: Sequence[int],
        activation: str,
        dropout: float = 0.0,
        linear_output: bool = False,
        equal_start: bool = False,
        batch_last: bool = False,
    ) -> None:
        super().__init__()
        vars(self).update(  # `nn.Module.__setattr__` takes eight calls for each
            stack_shape=stack_shape,
            sizes=tuple(sizes),
            n_layers=len(sizes) - 1,
            activation=activation,
            keep_prob=torch.full((math.prod(stack_shape), 1, 1), 1.0 - dropout) if dropout else None,
            generators=(None,),
            linear_output=linear_output,
            equal_start=equal_start,
            batch_last=batch_last,
            _draw_of=None,
            _function=ACTIVATIONS[activation],
            _n_networks=math.prod(stack_shape),
            _host=None,
        )
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
                if self.keep_prob is not None and self.training:
                    h = h * self._draw_mask(self.keep_prob.to(h), torch.empty_like(h))
        return self._split(h)

    def bind(self, x: Tensor) -> DensePass:
        """Return a training step through the stack, for batches stored in x, shaped as for `forward`."""
        if self._host is not None and self._host.batch >= x.shape[-2]:
            return DensePass(self, x, self._host)
        self._host = DensePass(self, x, None)
        return self._host

    def flat_parameters(self) -> Tensor:
        """Return all parameters of each network: (\\*stack_shape, parameter)."""
        return torch.cat([p.detach().flatten(len(self.stack_shape)) for p in self.parameters()], dim=-1)

    def _gradients(self, k: int) -> list[Tensor]:
        """Return the gradients of weight and bias, shaped as `_layer` shapes them."""
        pair = [gradient_of(parameter) for parameter in self._pair(k)]
        return [g.flatten(0, 1) for g in pair] if len(self.stack_shape) == 2 else pair

    def set_dropout(self, dropout: Tensor, generators: Sequence[torch.Generator]) -> None:
        """Set the share that each member drops, (member,), and the generators of its masks.

        Members that share a generator read the same draws, so that a member of a stack drops what it would drop alone.
        """
        self.generators = tuple(dict.fromkeys(generators))
        places = [self.generators.index(generator) for generator in generators]
        own = places == list(range(len(self.generators)))  # each member its own
        self._draw_of = None if own or len(self.generators) == 1 else torch.tensor(places, device=dropout.device)
        self._host = None
        if not bool(dropout.any()):
            self.keep_prob = None
            return
        keep_prob = (1.0 - dropout).view(-1, *[1] * (len(self.stack_shape) - 1)).expand(self.stack_shape)
        self.keep_prob = keep_prob.reshape(-1, 1, 1).clone()

    def _drop(self, a: Tensor, keep_prob: Tensor, mask: Tensor, out: Tensor) -> None:
        """Write the activations a of a layer, without those that are dropped, to `out`."""
        torch.mul(a, self._draw_mask(keep_prob, mask) if self.training else mask.fill_(1.0), out=out)

    def _draw_mask(self, keep_prob: Tensor, mask: Tensor) -> Tensor:
        """Fill `mask` (stack, batch, n) with 1 / keep_prob for a unit that is kept and 0 for one that is dropped."""
        shape = (*self.stack_shape, *mask.shape[1:])
        draws = mask.new_empty(len(self.generators), *shape[1:])
        for draw, generator in zip(draws, self.generators, strict=True):
            draw.uniform_(generator=generator)
        draws = draws.expand(shape) if self._draw_of is None else draws[self._draw_of]
        torch.lt(draws, keep_prob.unflatten(0, self.stack_shape), out=mask.view(shape))
        return mask.div_(keep_prob)

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

    def release(self) -> None:
        """Free all buffers; the next pass allocates new ones."""
        self._host = None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DenseStack:
        self.release()  # buffers view the parameters, which may now move
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_host": None}

    def _draw(self, k: int) -> Tensor:
        """Draw weights: independent over members, and over tasks unless `equal_start`."""
        gain = self._function.gain if self._is_active(k) else 1.0
        shape = (*self.stack_shape, *self.sizes[k : k + 2])
        if self.equal_start:
            return glorot_uniform((shape[0], 1, *shape[2:]), gain).expand(shape).clone()
        return glorot_uniform(shape, gain)


def _affine(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return h W + b: (stack, batch, n_in) -> (stack, batch, n_out)."""
    if _is_narrow(weight.shape[-1]):
        return torch.baddbmm(bias.transpose(1, 2), weight.transpose(1, 2), h.transpose(1, 2)).transpose(1, 2)
    return torch.baddbmm(bias, h, weight)


def _is_narrow(n_out: int) -> bool:
    """Return whether products with so few columns are quicker transposed (two to five times, for up to 15 columns)."""
    return n_out < 16


def _transpose(dz: Tensor) -> Tensor:
    return dz.transpose(1, 2)


def glorot_uniform(shape: tuple[int, ...], gain: float = 1.0) -> Tensor:
    """Draw uniform weights (..., n_in, n_out) of variance gain / mean(n_in, n_out)."""
    bound = math.sqrt(6.0 * gain / sum(shape[-2:]))
    return torch.empty(shape).uniform_(-bound, bound)


class DensePass(Pass):
    """A training step through a stack.

    Parameters
    ----------
    stack : DenseStack
        Its layers are run.
    x : Tensor of shape (batch, n_in), (member, batch, n_in) or (*stack_shape, batch, n_in)
        The buffer that will hold the batches.
    host : DensePass or None
        A pass with at least as many rows whose buffers this one reuses; only one of them runs at a time.
    """

    def __init__(self, stack: DenseStack, x: Tensor, host: DensePass | None) -> None:
        super().__init__()
        self._stack, self.batch = stack, x.shape[-2]
        self._is_read_by_several = x.ndim < 2 + len(stack.stack_shape)
        hosts: Sequence[_Layer | None] = host.layers if host is not None else [None] * stack.n_layers
        h = stack._spread(x)
        if not is_view(h, x):
            h = aligned(h.shape, h)
            self.forward.append(partial(stack._split(h).copy_, x.unsqueeze(1) if x.ndim == 3 else x))
        self.layers: list[_Layer] = []
        for k in range(stack.n_layers):
            self.layers.append(_Layer(stack, k, h, hosts[k]))
            self.forward += self.layers[-1].forward()
            h = self.layers[-1].out
        self.out = stack._split(h)

    def receive(self, gradient: Tensor, input_gradient: bool = False) -> Tensor | None:
        """Set the buffer of the output's gradient; return that of the input's gradient, if asked."""
        dz = self._stack._flatten(gradient)
        self.backward = []
        if not is_view(dz, gradient):
            dz = aligned(dz.shape, dz)
            self.backward.append(partial(self._stack._split(dz).copy_, gradient))
        for layer in reversed(self.layers):
            to_input = input_gradient or layer is not self.layers[0]
            self.backward += layer.backward(dz, to_input)
            dz = layer.grad_input if to_input else dz
        if not input_gradient:
            return None
        each = self._stack._split(dz)
        if not self._is_read_by_several:
            return each
        total = aligned((len(each), *each.shape[2:]), each)
        self.backward.append(partial(torch.sum, each, 1, out=total))
        return total


class _Layer:
    """What one layer does in a step: operations between its parameters and buffers, which have one stack axis.

    They are bound once to what they read and write: to look all of that up in each step took a third as long as the
    arithmetic of a small network.
    """

    def __init__(self, stack: DenseStack, k: int, h: Tensor, host: _Layer | None) -> None:
        self._weight, self._bias = (p.detach() for p in stack._layer(k))
        self._grad_weight, self._grad_bias = stack._gradients(k)
        rows, n_in, n_out = self._weight.shape
        self._stack, self._host, self._h, self._shape = stack, host, h, (rows, h.shape[1], n_out)
        self._is_active, self._is_narrow = stack._is_active(k), _is_narrow(n_out)
        self._is_batch_last = self._is_narrow or (stack.batch_last and k == stack.n_layers - 1)
        self._narrow_t = self._weight.new_empty(rows, n_out, n_in if self._is_narrow else 0)
        self.z = self._buffer("z")  # before activation
        keeps_z = self._is_active and stack._function.saves_input
        self.a = self._buffer("a") if keeps_z else self.z  # after it; where z is not needed later, a overwrites it
        self._keep_prob = stack.keep_prob.to(self.z) if stack.keep_prob is not None and self._is_active else None
        self.mask = self._buffer("mask") if self._keep_prob is not None else self.z
        self.out = self.a if self._keep_prob is None else self._buffer("out")  # after dropout

    def forward(self) -> Iterator[Operation]:
        """Yield what computes `out`."""
        if self._is_narrow:
            weight_t, bias_t = _transpose(self._weight), _transpose(self._bias)
            yield partial(torch.baddbmm, bias_t, weight_t, _transpose(self._h), out=_transpose(self.z))
        else:
            yield partial(torch.baddbmm, self._bias, self._h, self._weight, out=self.z)
        if self._is_active:
            if self.a is not self.z:
                yield partial(self.a.copy_, self.z)
            yield partial(self._stack._function.forward_, self.a)
        if self._keep_prob is not None:
            yield partial(self._stack._drop, self.a, self._keep_prob, self.mask, self.out)

    def backward(self, dz: Tensor, to_input: bool) -> Iterator[Operation]:
        """Yield what computes the gradients from that of `out`, which becomes that of `z`."""
        if self._keep_prob is not None:
            yield partial(dz.mul_, self.mask)
        if self._is_active:
            yield partial(self._stack._function.backward_, dz, self.z)
        yield partial(torch.sum, dz, 1, keepdim=True, out=self._grad_bias)
        if self._is_narrow:
            yield partial(torch.bmm, _transpose(dz), self._h, out=self._narrow_t)
            yield partial(_transpose(self._grad_weight).copy_, self._narrow_t)
        else:
            yield partial(torch.bmm, _transpose(self._h), dz, out=self._grad_weight)
        if to_input:
            multiply = torch.bmm if self._shape[-1] > 1 else torch.mul  # of two vectors: five times faster
            yield partial(multiply, dz, _transpose(self._weight), out=self.grad_input)

    @cached_property
    def grad_input(self) -> Tensor:
        """The buffer for the gradient of the input, which the first layer of a trunk never needs."""
        rows, batch, _ = self._shape
        return self._make_buffer("grad_input", (rows, batch, self._weight.shape[1]))

    def _buffer(self, name: str) -> Tensor:
        """Return a buffer (stack, batch, n_out), transposed in memory where the layer is narrow or must be."""
        rows, batch, n_out = self._shape
        if self._is_batch_last:
            return self._make_buffer(name, (rows, n_out, batch)).transpose(1, 2)
        return self._make_buffer(name, self._shape)

    def _make_buffer(self, name: str, shape: tuple[int, int, int]) -> Tensor:
        return aligned(shape, self._weight, None if self._host is None else getattr(self._host, name))
