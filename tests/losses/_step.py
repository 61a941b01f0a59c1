"""What a training step asks of a loss."""

import torch


def step(method, raw, target, coefficient=None):
    """Return the weighted losses (member, part) and their gradient by raw outputs (member, batch, width, part)."""
    coefficient = raw.new_tensor(1.0) if coefficient is None else coefficient
    losses = raw.new_empty(len(raw), raw.shape[-1])
    gradient = raw.flatten(-2).clone()
    method(gradient, target, coefficient, losses, (torch.empty_like(gradient), torch.empty_like(gradient)))
    return losses, gradient.unflatten(-1, raw.shape[-2:])
