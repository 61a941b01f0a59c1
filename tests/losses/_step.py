"""What a training step asks of a loss."""

import numpy as np
import torch

from skmtl._objective import LossPass
from skmtl.losses import Loss
from skmtl.tasks import LossGroup, TaskLayout


def step(loss, raw, target, coefficient=None, batch_last=False):
    """Return the weighted losses (member, part) and their gradient by raw outputs (member, batch, width, part)."""
    places, every = np.arange(loss.n_parts), slice(0, loss.n_parts)
    layout = TaskLayout((LossGroup(loss, every, slice(0, raw[0, 0].numel())),), places, places, places)
    losses, gradient = raw.new_empty(len(raw), loss.n_parts), raw.flatten(-2).clone()
    if batch_last:
        gradient = gradient.mT.contiguous().mT
    LossPass(layout, gradient)(target, _or_one(coefficient, raw), losses, lambda _: None)
    return losses, gradient.unflatten(-1, raw.shape[-2:])


def step_by_autograd(loss, raw, target, coefficient=None):
    """Return what `step` must return."""
    losses, gradient = raw.new_empty(len(raw), loss.n_parts), raw.flatten(-2).clone()
    scratch = torch.empty_like(gradient), torch.empty_like(gradient)
    Loss.weighted_losses(loss, gradient, target, _or_one(coefficient, raw), losses, scratch)
    return losses, gradient.unflatten(-1, raw.shape[-2:])


def _or_one(coefficient, raw):
    return raw.new_tensor(1.0) if coefficient is None else coefficient
