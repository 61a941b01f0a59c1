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
    weight_decay : float
        Adds ``weight_decay * w`` to the gradient of weights; biases are left alone.
    """

    def __init__(self, buffer: FlatBuffer, lr: float, weight_decay: float) -> None:
        self.buffer = buffer
        self._p, self._g = buffer.data.detach(), buffer.data.grad
        self.tied: list[Region] = []
        self.sharing_lambda: Tensor | None = None  # (member,)
        super().__init__([buffer.data], {"lr": lr, "weight_decay": weight_decay})

    def tie(self, regions: list[Region], sharing_lambda: Tensor) -> None:
        """Apply the sharing penalty to these regions (member, task, parameter) after each step."""
        self.tied = regions if bool((sharing_lambda > 0).any()) else []
        self.sharing_lambda = sharing_lambda

    def add_param_group(self, param_group):
        """Add the one group there is."""
        self.param_groups.append({**self.defaults, "params": list(param_group["params"])})

    def zero_grad(self, set_to_none=False):
        """Set the flat gradient to zero; views of it stay valid."""
        self._g.zero_()

    def step(self, closure: Callable | None = None):
        """Update every parameter from its gradient."""
        loss = closure() if closure is not None else None
        group = self.param_groups[0]
        lr = group["lr"]
        before = [region.view(self._p).mean(1, keepdim=True) for region in self.tied]
        self._update(self._p, self._g, lr, group["weight_decay"])
        for k, region in enumerate(self.tied if lr > 0 else ()):
            common = self._common_metric(k, region.view(self._g).sum(1, keepdim=True), lr)
            metric = self._metric(region, lr)
            proximal_step_(region.view(self._p), metric, self.sharing_lambda, before[k], common)
        return loss

    step.hooked = True  # keep the base class from wrapping every step in a profiler record

    @abstractmethod
    def _update(self, p: Tensor, g: Tensor, lr: float, weight_decay: float) -> None:
        """Step all parameters."""

    @abstractmethod
    def _metric(self, region: Region, lr: float) -> Tensor:
        """Return the diagonal H of the last step, which was ``-g / H`` in the long run, in a region; a new tensor."""

    @abstractmethod
    def _common_metric(self, k: int, gradient: Tensor, lr: float) -> Tensor:
        """Return the H that the sum of the towers' gradients would have, (member, 1, parameter), in tied region k."""


class Adam(FlatOptimizer):
    """Adam with L2 regularisation, as `torch.optim.Adam` over the flat buffer.

    References
    ----------
    .. [1] D. P. Kingma, J. Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015.
    """

    beta1, beta2, eps = 0.9, 0.999, 1e-8
    _fused_options = dict(beta1=beta1, beta2=beta2, eps=eps, weight_decay=0.0, amsgrad=False, maximize=False)  # noqa: C408

    def __init__(self, buffer: FlatBuffer, lr: float, weight_decay: float) -> None:
        super().__init__(buffer, lr, weight_decay)
        data = buffer.data.detach()
        self.state[buffer.data] = {
            "step": torch.zeros((), dtype=torch.float32, device=data.device),
            "exp_avg": torch.zeros_like(data),
            "exp_avg_sq": torch.zeros_like(data),
        }
        self._n_steps: int | None = 0

    def load_state_dict(self, state_dict):
        """Load moments and step count."""
        super().load_state_dict(state_dict)
        self._n_steps = None

    def _update(self, p: Tensor, g: Tensor, lr: float, weight_decay: float) -> None:
        if weight_decay:
            g.addcmul_(p, self.buffer.decayed, value=weight_decay)
        self._adam(p, g, lr)

    def _adam(self, p: Tensor, g: Tensor, lr: float) -> None:
        state = self.state[self.buffer.data]
        m, v, t = state["exp_avg"], state["exp_avg_sq"], state["step"]
        self._n_steps = (int(t) if self._n_steps is None else self._n_steps) + 1
        t.add_(1)
        if _FUSED is not None:
            _FUSED([p], [g], [m], [v], [], [t], lr=lr, **self._fused_options)
            return
        m.lerp_(g, 1 - self.beta1)
        v.mul_(self.beta2).addcmul_(g, g, value=1 - self.beta2)
        denominator = (v.sqrt() / math.sqrt(1 - self.beta2**self._n_steps)).add_(self.eps)
        p.addcdiv_(m, denominator, value=-lr / (1 - self.beta1**self._n_steps))

    def _metric(self, region: Region, lr: float) -> Tensor:
        return self._scale(region.view(self.state[self.buffer.data]["exp_avg_sq"]), lr)

    def _common_metric(self, k: int, gradient: Tensor, lr: float) -> Tensor:
        state = self.state[self.buffer.data]
        v = state.setdefault(f"common_exp_avg_sq_{k}", torch.zeros_like(gradient))
        v.mul_(self.beta2).addcmul_(gradient, gradient, value=1 - self.beta2)
        return self._scale(v, lr)

    def _scale(self, v: Tensor, lr: float) -> Tensor:
        """Return (sqrt(v / (1 - beta2^t)) + eps) / lr."""
        return v.sqrt().mul_(1 / math.sqrt(1 - self.beta2**self._n_steps) / lr).add_(self.eps / lr)


class AdamW(Adam):
    """Adam with decoupled weight decay.

    References
    ----------
    .. [1] I. Loshchilov, F. Hutter, "Decoupled Weight Decay Regularization", ICLR 2019.
    """

    def _update(self, p: Tensor, g: Tensor, lr: float, weight_decay: float) -> None:
        if weight_decay:
            p.addcmul_(p, self.buffer.decayed, value=-lr * weight_decay)
        self._adam(p, g, lr)


class SGD(FlatOptimizer):
    """Stochastic gradient descent with Nesterov momentum 0.9, as `torch.optim.SGD` over the flat buffer."""

    momentum = 0.9

    def __init__(self, buffer: FlatBuffer, lr: float, weight_decay: float) -> None:
        super().__init__(buffer, lr, weight_decay)
        self.state[buffer.data] = {"momentum_buffer": torch.zeros_like(buffer.data.detach())}

    def _update(self, p: Tensor, g: Tensor, lr: float, weight_decay: float) -> None:
        if weight_decay:
            g.addcmul_(p, self.buffer.decayed, value=weight_decay)
        velocity = self.state[self.buffer.data]["momentum_buffer"]
        velocity.mul_(self.momentum).add_(g)
        p.add_(g, alpha=-lr).add_(velocity, alpha=-lr * self.momentum)

    def _metric(self, region: Region, lr: float) -> Tensor:
        data = region.view(self.buffer.data.detach())
        return torch.full_like(data, (1 - self.momentum) / lr)

    def _common_metric(self, k: int, gradient: Tensor, lr: float) -> Tensor:
        return torch.full_like(gradient, (1 - self.momentum) / lr)


_FUSED = getattr(torch, "_fused_adam_", None)

OPTIMIZERS = {"adam": Adam, "adamw": AdamW, "sgd": SGD}
