"""Optimisers over one flat buffer: one kernel per step, whatever the number of parameters.

They are `torch.optim.Optimizer`s, so that learning rate schedulers and checkpoints work, but they keep clear of the
base class's dynamo decorators, whose first use in a process costs most of a second.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from skmtl.sharing import proximal_step_
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
        self._factor = torch.ones_like(self._p)
        self._steps: dict[tuple[float, float], Tensor] = {}
        self._shrinkage: Tensor | None = None  # step size times decay, for decoupled weight decay
        decay = torch.as_tensor(weight_decay, dtype=self._p.dtype, device=self._p.device)
        self._decay = buffer.spread(decay).mul_(buffer.decayed) if bool(decay.any()) else None
        super().__init__([buffer.data], {"lr": lr})

    def tie(self, regions: list[Region], sharing_lambda: Tensor) -> None:
        """Apply the sharing penalty to these regions (member, task, parameter) after each step."""
        self.tied = regions if bool((sharing_lambda > 0).any()) else []
        self.sharing_lambda = sharing_lambda

    def vary(self, lr_factor: Tensor) -> None:
        """Give each member its own multiple of the step size: (member,)."""
        self._factor, self._steps = self.buffer.spread(lr_factor), {}

    def add_param_group(self, param_group):
        """Add the one group there is."""
        self.param_groups.append({**self.defaults, "params": list(param_group["params"])})

    def zero_grad(self, set_to_none=False):
        """Set the flat gradient to zero; views of it stay valid."""
        self._g.zero_()

    def step(self, closure: Callable | None = None):
        """Update every parameter from its gradient."""
        loss = closure() if closure is not None else None
        lr = self.param_groups[0]["lr"]
        key = lr, self.schedule
        if key not in self._steps:
            self._steps = {key: (self._factor * lr).mul_(self.schedule)}  # in this order a stack equals its members
            self._shrinkage = None if self._decay is None else self._decay * self._steps[key]
        self._shrink(self._p, self._g, self._steps[key])
        self._update(self._p, self._g, self._steps[key])
        for k, region in enumerate(self.tied if lr > 0 else ()):
            step = region.view(self._steps[key])
            common = self._common_metric(k, region.view(self._g).sum(1, keepdim=True)).div_(step[:, :1])
            metric = self._metric(region).div_(step)
            push = self._push(region).sum(1, keepdim=True)
            proximal_step_(region.view(self._p), metric, self.sharing_lambda, push, common)
        return loss

    step.hooked = True  # keep the base class from wrapping every step in a profiler record

    def _shrink(self, p: Tensor, g: Tensor, lr: Tensor) -> None:
        """Apply weight decay: as an L2 penalty unless a subclass says otherwise."""
        if self._decay is not None:
            g.addcmul_(p, self._decay)

    @abstractmethod
    def _update(self, p: Tensor, g: Tensor, lr: Tensor) -> None:
        """Step all parameters, with a step size for each."""

    @abstractmethod
    def _metric(self, region: Region) -> Tensor:
        """Return lr H of the last step in a region, a new tensor: in the long run the step was ``-lr g / (lr H)``."""

    @abstractmethod
    def _push(self, region: Region) -> Tensor:
        """Return H times the last step in a region: minus the gradient, smoothed as the optimiser smooths it."""

    @abstractmethod
    def _common_metric(self, k: int, gradient: Tensor) -> Tensor:
        """Return the lr H that the sum of the gradients of tied region k would have: (member, 1, parameter)."""


class Adam(FlatOptimizer):
    """Adam with L2 regularisation, as `torch.optim.Adam` over the flat buffer.

    The fused kernel has one step size for all it is given, so it updates a zero vector with step size 1, and that
    update is scaled by each member's own.

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
        self._direction = torch.empty_like(self._p)
        self._n_steps: int | None = 0

    def load_state_dict(self, state_dict):
        """Load moments and step count."""
        super().load_state_dict(state_dict)
        self._n_steps = None

    def _update(self, p: Tensor, g: Tensor, lr: Tensor) -> None:
        state = self.state[self.buffer.data]
        m, v, t = state["exp_avg"], state["exp_avg_sq"], state["step"]
        self._n_steps = (int(t) if self._n_steps is None else self._n_steps) + 1
        t.add_(1)
        direction = self._direction.zero_()
        if _FUSED is not None:
            _FUSED([direction], [g], [m], [v], [], [t], lr=1.0, **self._options)
        else:
            m.lerp_(g, 1 - self.beta1)
            v.mul_(self.beta2).addcmul_(g, g, value=1 - self.beta2)
            direction.addcdiv_(m, self._scale(v), value=-1 / (1 - self.beta1**self._n_steps))
        p.addcmul_(direction, lr)

    def _metric(self, region: Region) -> Tensor:
        return self._scale(region.view(self.state[self.buffer.data]["exp_avg_sq"]))

    def _push(self, region: Region) -> Tensor:
        m = region.view(self.state[self.buffer.data]["exp_avg"])
        return m * (-1 / (1 - self.beta1**self._n_steps))

    def _common_metric(self, k: int, gradient: Tensor) -> Tensor:
        v = self.state[self.buffer.data].setdefault(f"common_exp_avg_sq_{k}", torch.zeros_like(gradient))
        return self._scale(v.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2))

    def _scale(self, v: Tensor) -> Tensor:
        """Return sqrt(v / (1 - beta2^t)) + eps, a new tensor."""
        return v.sqrt().mul_(1 / math.sqrt(1 - self.beta2**self._n_steps)).add_(self.eps)


class AdamW(Adam):
    """Adam with decoupled weight decay.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.
    """

    def _shrink(self, p: Tensor, g: Tensor, lr: Tensor) -> None:
        if self._shrinkage is not None:
            p.addcmul_(p, self._shrinkage, value=-1.0)


class SGD(FlatOptimizer):
    """Stochastic gradient descent with Nesterov momentum 0.9, as `torch.optim.SGD` over the flat buffer."""

    momentum = 0.9

    def __init__(self, buffer: FlatBuffer, lr: float, weight_decay: float | Tensor) -> None:
        super().__init__(buffer, lr, weight_decay)
        self.state[buffer.data] = {"momentum_buffer": torch.zeros_like(self._p)}

    def _update(self, p: Tensor, g: Tensor, lr: Tensor) -> None:
        velocity = self.state[self.buffer.data]["momentum_buffer"]
        velocity.mul_(self.momentum).add_(g)
        p.addcmul_(g, lr, value=-1.0).addcmul_(velocity, lr, value=-self.momentum)

    def _metric(self, region: Region) -> Tensor:
        return torch.full_like(region.view(self._p), 1 - self.momentum)

    def _push(self, region: Region) -> Tensor:
        velocity = region.view(self.state[self.buffer.data]["momentum_buffer"])
        return (region.view(self._g) + self.momentum * velocity).mul_(self.momentum - 1)

    def _common_metric(self, k: int, gradient: Tensor) -> Tensor:
        return torch.full_like(gradient, 1 - self.momentum)


_FUSED = getattr(torch, "_fused_adam_", None)

OPTIMIZERS = {"adam": Adam, "adamw": AdamW, "sgd": SGD}
