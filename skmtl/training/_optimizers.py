"""Optimisers over one flat buffer: one kernel per step, whatever the number of parameters.

They are `torch.optim.Optimizer`s, so that learning rate schedulers and checkpoints work, but they avoid the base
class's dynamo decorators, whose first use in a process takes most of a second.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from skmtl.sharing import Operation, proximal_step_
from skmtl.training._buffer import FlatBuffer, Region


class FlatOptimizer(torch.optim.Optimizer):
    """Base of the optimisers over a `FlatBuffer`.

    Parameters
    ----------
    buffer : FlatBuffer
        What to optimise.
    lr : float
        Step size; schedulers change it in ``param_groups``.
    weight_decay : float or Tensor of shape (member,)
        Adds ``weight_decay * w`` to the gradient of weights; biases are left alone.
    """

    def __init__(self, buffer: FlatBuffer, lr: float, weight_decay: float | Tensor) -> None:
        self.buffer = buffer
        self._p, self._g = buffer.data.detach(), buffer.data.grad
        self.schedule = 1.0  # multiplies every step size; set by the epoch
        self.tied: list[Region] = []
        self.sharing_lambda: Tensor | None = None  # (member,)
        self._factor = self._p.new_ones(1)  # multiple of the step size, (member,) or one for all
        self._equal_steps = [(1.0, [slice(0, len(self._p))])]  # each multiple, and the places of its parameters
        self._pace: tuple[float, float] | None = None  # step size and schedule that `_sizes` was computed for
        decay = torch.as_tensor(weight_decay, dtype=self._p.dtype, device=self._p.device)
        self._decay = decay.reshape(-1) if bool(decay.any()) else None  # (member,) or one for all
        self._shrinking: list[Operation] = []  # what weight decay does before a step
        super().__init__([buffer.data], {"lr": lr})

    def tie(self, regions: list[Region], sharing_lambda: Tensor) -> None:
        """Apply the sharing penalty to these regions (member, task, parameter) after each step."""
        self.tied = regions if bool((sharing_lambda > 0).any()) else []
        self.sharing_lambda = sharing_lambda
        self._pace = None
        largest = max((math.prod(region.shape) for region in self.tied), default=0)
        scratch = self._p.new_empty(2, largest).unbind()
        self._towers = [[region.view(flat) for flat in (self._p, self._g)] for region in self.tied]
        self._scratch = [[flat[: t.numel()].view(t.shape) for flat in scratch] for t, _ in self._towers]

    def vary(self, lr_factor: Tensor) -> None:
        """Give each member its own multiple of the step size: (member,)."""
        members: dict[float, list[int]] = {}
        for m, factor in enumerate(lr_factor.tolist()):
            members.setdefault(factor, []).append(m)
        self._equal_steps = [(factor, self.buffer.places(who)) for factor, who in members.items()]
        for lr in sorted(self.buffer.own_steps):
            everyone = list(range(len(lr_factor)))
            self._equal_steps.append((lr / self.defaults["lr"], self.buffer.places(everyone, lr)))
        self._factor, self._pace = lr_factor, None

    def state_by_member(self) -> dict[str, Tensor]:
        """Return a copy of each state that differs between members, (member, k); the step count does not."""
        flat = self._p.shape
        own = {name: value for name, value in self.state[self.buffer.data].items() if value.ndim}
        return {name: self.buffer.rows(v) if v.shape == flat else v.flatten(1).clone() for name, v in own.items()}

    def take_over(self, earlier: FlatOptimizer, states: dict[str, Tensor]) -> None:
        """Continue with the step size and step count of another optimiser, and with these states of members."""
        self.param_groups[0]["lr"] = earlier.param_groups[0]["lr"]
        own = self.state[self.buffer.data]
        for name, value in earlier.state[earlier.buffer.data].items():
            if not value.ndim:
                own[name] = value.clone()
            elif value.shape == earlier._p.shape:
                own[name] = self.buffer.fill(torch.zeros_like(self._p), states[name])
            else:
                own[name] = states[name].view(-1, *value.shape[1:])

    def add_param_group(self, param_group):
        """Add the one group there is."""
        self.param_groups.append({**self.defaults, "params": list(param_group["params"])})

    def zero_grad(self, set_to_none=False):
        """Set the flat gradient to zero; views of it stay valid."""
        self._g.zero_()

    def step(self, closure: Callable | None = None):
        """Update every parameter from its gradient."""
        loss = closure() if closure is not None else None
        pace = self.param_groups[0]["lr"], self.schedule
        if pace != self._pace:
            self._change_pace(*pace)
        for operation in self._shrinking:
            operation()
        self._update(self._p, self._g)
        if self.tied and pace[0] > 0:
            self._pull_together()
        return loss

    step.hooked = True  # keep the base class from wrapping every step in a profiler record

    def _change_pace(self, lr: float, schedule: float) -> None:
        """Compute everything that depends on the step sizes."""
        self._pace = lr, schedule
        self._lr = (self._factor * lr).mul_(schedule)  # (member,) or one for all; multiplied in a single fit's order
        self._sizes = [(lr * factor * schedule, places) for factor, places in self._equal_steps]
        if self.tied:
            self._pulls = [self._pull(self._lr)] * len(self.tied)
            if self.buffer.own_steps:
                self._pulls = [self._pull(self._lr_of(region)) for region in self.tied]
        self._shrinking = [] if self._decay is None else [self._shrink(*part) for part in self._decaying_parts()]

    def _lr_of(self, region: Region) -> Tensor:
        """Return the step sizes of a region: (member,) or one for all."""
        own = self.buffer.own_step(region) if self.buffer.own_steps else None
        if own is None:
            return self._lr
        lr, schedule = self._pace
        return torch.full_like(self._lr, own / self.defaults["lr"] * lr * schedule)

    def _pull(self, lr: Tensor) -> tuple[Tensor, Tensor]:
        """Return how strongly the penalty pulls in a step of these sizes, (member,), and the sizes, (member, 1, 1)."""
        return self.sharing_lambda * lr, lr.view(-1, 1, 1)

    def _decaying_parts(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield parameters that decay, their gradients and the factor: in one part if all share a factor."""
        factor, n = self._decay_factor(self._lr), self.buffer.n_weights
        if bool((factor == factor[0]).all()) and not self.buffer.own_steps:
            yield self._p[:n], self._g[:n], factor[:1]
            return
        for region in self.buffer.weights:
            factor = self._decay_factor(self._lr_of(region))
            yield region.view(self._p), region.view(self._g), factor.view(-1, *[1] * (len(region.shape) - 1))

    def _pull_together(self) -> None:
        """Apply the proximal step of the sharing penalty, with everything in it multiplied by the step size."""
        for k, ((theta, gradient), (metric, scratch)) in enumerate(zip(self._towers, self._scratch, strict=True)):
            strength, lr = self._pulls[k]
            gradient = gradient.sum(1, keepdim=True)
            common, push = self._common_metric(k, gradient), self._push(k, gradient).mul_(lr)
            self._metric(k, out=metric)
            proximal_step_(theta, metric, strength, push, common, scratch)

    def _shrink(self, p: Tensor, g: Tensor, factor: Tensor) -> Operation:
        """Return what applies weight decay in a step: as an L2 penalty unless a subclass overrides it."""
        return partial(g.addcmul_, p, factor)

    def _decay_factor(self, lr: Tensor) -> Tensor:
        """Return what `_shrink` multiplies with where these are the step sizes, (member,) or one for all."""
        return self._decay

    @abstractmethod
    def _update(self, p: Tensor, g: Tensor) -> None:
        """Step all parameters: each place in `_sizes` with its step size."""

    @abstractmethod
    def _metric(self, k: int, out: Tensor) -> None:
        """Write lr H of the last step in tied region k: in the long run the step was ``-lr g / (lr H)``."""

    @abstractmethod
    def _push(self, k: int, gradient: Tensor) -> Tensor:
        """Return H times the last step, summed over the towers of tied region k: (member, 1, parameter).

        It is minus the sum of their gradients, (member, 1, parameter), smoothed as the optimiser smooths them.
        """

    @abstractmethod
    def _common_metric(self, k: int, gradient: Tensor) -> Tensor:
        """Return the lr H that the sum of the gradients of tied region k would have: (member, 1, parameter)."""


class Adam(FlatOptimizer):
    """Adam with L2 regularisation, as `torch.optim.Adam` over the flat buffer.

    The fused kernel has one step size for all it is given, so it is called once for all members of equal step size.

    References
    ----------
    .. [1] D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
    """

    beta1, beta2, eps = 0.9, 0.999, 1e-8
    _options = dict(beta1=beta1, beta2=beta2, eps=eps, weight_decay=0.0, amsgrad=False, maximize=False)  # noqa: C408

    def __init__(self, buffer: FlatBuffer, lr: float, weight_decay: float | Tensor) -> None:
        super().__init__(buffer, lr, weight_decay)
        self.state[buffer.data] = {
            "step": torch.zeros((), dtype=torch.float32, device=self._p.device),
            "exp_avg": torch.zeros_like(self._p),
            "exp_avg_sq": torch.zeros_like(self._p),
        }
        self._n_steps: int | None = 0
        self._eps = self._p.new_full((), self.eps)
        self._calls: list[Operation] = []  # of the fused kernel

    def load_state_dict(self, state_dict):
        """Load moments and step count."""
        super().load_state_dict(state_dict)
        self._n_steps = self._pace = None

    def take_over(self, earlier: FlatOptimizer, states: dict[str, Tensor]) -> None:
        super().take_over(earlier, states)
        self._n_steps = self._pace = None

    def _change_pace(self, lr: float, schedule: float) -> None:
        super()._change_pace(lr, schedule)
        state = self.state[self.buffer.data]
        self._step, moments = state["step"], (state["exp_avg"], state["exp_avg_sq"])
        self._calls = []
        for size, places in self._sizes if _FUSED is not None else ():
            parts = [[tensor[place] for place in places] for tensor in (self._p, self._g, *moments)]
            steps = [self._step] * len(places)
            self._calls.append(partial(_FUSED, *parts, [], steps, lr=size, **self._options))
        self._moments = [[region.view(state[name]) for name in ("exp_avg", "exp_avg_sq")] for region in self.tied]

    def _update(self, p: Tensor, g: Tensor) -> None:
        self._n_steps = (int(self._step) if self._n_steps is None else self._n_steps) + 1
        self._step.fill_(self._n_steps)
        if _FUSED is not None:
            for call in self._calls:
                call()
            return
        state = self.state[self.buffer.data]
        m, v = state["exp_avg"], state["exp_avg_sq"]
        m.lerp_(g, 1 - self.beta1)
        v.mul_(self.beta2).addcmul_(g, g, value=1 - self.beta2)
        direction = self._scale(v).reciprocal_().mul_(m)
        for size, places in self._sizes:
            for place in places:
                p[place].add_(direction[place], alpha=-size / (1 - self.beta1**self._n_steps))

    def _metric(self, k: int, out: Tensor) -> None:
        self._scale(self._moments[k][1], out)

    def _push(self, k: int, gradient: Tensor) -> Tensor:
        moment = self._common(f"common_exp_avg_{k}", gradient).lerp_(gradient, 1 - self.beta1)
        return moment * (-1 / (1 - self.beta1**self._n_steps))

    def _common_metric(self, k: int, gradient: Tensor) -> Tensor:
        moment = self._common(f"common_exp_avg_sq_{k}", gradient)
        return self._scale(moment.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2))

    def _common(self, name: str, like: Tensor) -> Tensor:
        """Return a moment of the summed gradients of a tied region: (member, 1, parameter)."""
        state = self.state[self.buffer.data]
        if name not in state:
            state[name] = torch.zeros_like(like)
        return state[name]

    def _scale(self, v: Tensor, out: Tensor | None = None) -> Tensor:
        """Return sqrt(v / (1 - beta2^t)) + eps."""
        root = torch.rsqrt(v, out=out).reciprocal_()  # torch.sqrt takes longer than both of them
        return torch.add(self._eps, root, alpha=1 / math.sqrt(1 - self.beta2**self._n_steps), out=root)


class AdamW(Adam):
    """Adam with decoupled weight decay.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.
    """

    def _decay_factor(self, lr: Tensor) -> Tensor:
        return 1.0 - self._decay * lr

    def _shrink(self, p: Tensor, g: Tensor, factor: Tensor) -> Operation:
        return partial(p.mul_, factor)


class SGD(FlatOptimizer):
    """Stochastic gradient descent with Nesterov momentum 0.9, as `torch.optim.SGD` over the flat buffer."""

    momentum = 0.9

    def __init__(self, buffer: FlatBuffer, lr: float, weight_decay: float | Tensor) -> None:
        super().__init__(buffer, lr, weight_decay)
        self.state[buffer.data] = {"momentum_buffer": torch.zeros_like(self._p)}

    def _update(self, p: Tensor, g: Tensor) -> None:
        velocity = self.state[self.buffer.data]["momentum_buffer"]
        velocity.mul_(self.momentum).add_(g)
        for size, places in self._sizes:
            for place in places:
                p[place].add_(g[place], alpha=-size).add_(velocity[place], alpha=-size * self.momentum)

    def _metric(self, k: int, out: Tensor) -> None:
        out.fill_(1 - self.momentum)

    def _push(self, k: int, gradient: Tensor) -> Tensor:
        velocity = self.tied[k].view(self.state[self.buffer.data]["momentum_buffer"]).sum(1, keepdim=True)
        return torch.add(gradient, velocity, alpha=self.momentum).mul_(self.momentum - 1)

    def _common_metric(self, k: int, gradient: Tensor) -> Tensor:
        return torch.full_like(gradient, 1 - self.momentum)


_FUSED = getattr(torch, "_fused_adam_", None)

OPTIMIZERS = {"adam": Adam, "adamw": AdamW, "sgd": SGD}
