"""Fit many estimators side by side: those that differ only in what a member of a stack has for itself."""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence

import joblib
import numpy as np
import torch

from skmtl._base import BaseMultiTask
from skmtl.training import GLOBAL_GENERATOR, DivergedError, train

OWN = ("sharing_lambda", "lr", "weight_decay", "dropout", "task_weights", "random_state")
"""Parameters that members of one stack may have different values of."""


class TooLargeError(ValueError):
    """One member alone takes more memory than allowed."""


def why_alone(estimator: BaseMultiTask) -> str | None:
    """Return why an estimator cannot be part of a stack, or None if it can."""
    try:
        estimator._check_parameters()
    except ValueError:
        return "a parameter is not what it must be"
    if estimator.callbacks:
        return "callbacks act on a whole net"
    if not isinstance(estimator.optimizer, str):
        return "an optimizer class has one learning rate for all"
    if estimator.warm_start:
        return "warm_start goes on from an earlier fit"
    return None


def stack_key(estimator: BaseMultiTask) -> tuple:
    """Return what two estimators must have in common to be trained side by side."""
    own = set(OWN)
    if estimator.early_stopping or estimator.dropout:
        own.remove("random_state")  # it also draws the validation rows and the dropout masks
    shared = {k: content_key(v) for k, v in estimator.get_params(deep=True).items() if k not in own}
    return (type(estimator), estimator.dropout > 0, *sorted(shared.items()))


def content_key(value) -> str:
    """Return a string that equals another's only if the values are alike; what cannot be told is like nothing else."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return repr(value)
    try:
        return joblib.hash(value)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError):
        return f"{type(value).__qualname__} at {id(value)}"


def bytes_per_member(estimator: BaseMultiTask) -> int:
    """Return about how many bytes one member takes in training: parameters, optimiser state and activations."""
    plan = estimator._plan
    with GLOBAL_GENERATOR, torch.random.fork_rng(devices=[]):  # initial weights come from the global generator
        network = plan.build()
    parameters = sum(p.numel() for p in network.parameters())
    towers = plan.layout.n_tasks if network.trunk.per_task else 1
    widths = sum(plan.hidden_layer_sizes) * towers + sum(plan.head_layer_sizes) * plan.layout.n_tasks
    activations = 3 * estimator.batch_size * (widths + plan.layout.n_outputs)
    return estimator._numpy_dtype.itemsize * (9 * parameters + activations)


def fit_stack(
    estimators: Sequence[BaseMultiTask], X, y, sample_weight=None, max_bytes: float = math.inf, chunk: int = 32
):
    """Fit estimators of one `stack_key` side by side.

    Parameters
    ----------
    estimators : sequence of estimators
        Unfitted; each becomes what its own `fit` would make of it.
    X, y, sample_weight
        As for their `fit`.
    max_bytes : float
        Bound on the memory of one stack; more members are trained one stack after the other.
    chunk : int
        Largest number of members of a stack, unless one estimator has more.

    Returns
    -------
    list of str or None
        For each estimator why it could not be fitted (its loss diverged), or None.

    Raises
    ------
    ValueError
        If the data are not what they must be, or one member alone takes more than `max_bytes`.
    """
    first = estimators[0]
    data, valid = first._read(X, y, sample_weight)
    for estimator in estimators[1:]:
        _read_as(estimator, first)
    n_members = first.n_members
    size = max(min(chunk, _members_within(first, max_bytes)) // n_members, 1)
    failures: list[str | None] = []
    for start in range(0, len(estimators), size):
        part = estimators[start : start + size]
        try:
            net = train(part[0]._training_run(part, None, first.max_epochs), data, valid)
        except DivergedError as error:  # every member diverged
            failures += [str(error)] * len(part)
            continue
        if net.interrupted_:
            raise KeyboardInterrupt
        for k, estimator in enumerate(part):
            members = range(k * n_members, (k + 1) * n_members)
            diverged = all(m in net.diverged_ for m in members)
            failures.append(net.diverged_[members.start] if diverged else None)
            if not diverged:
                estimator._keep_members(net, members, first)
    return failures


def _read_as(estimator: BaseMultiTask, first: BaseMultiTask) -> None:
    """Give an estimator what the first has learned from the data; their random states stay alike."""
    own = estimator.get_params(deep=False)
    vars(estimator).update({k: v for k, v in vars(first).items() if k not in own})
    if estimator.early_stopping and isinstance(estimator.random_state, np.random.RandomState):
        estimator.random_state.set_state(first.random_state.get_state())  # the first drew the validation rows


def _members_within(estimator: BaseMultiTask, max_bytes: float) -> int:
    """Return how many members of a stack take no more than `max_bytes`."""
    if max_bytes == math.inf:
        return 2**31
    each = bytes_per_member(estimator)
    n_members, need = estimator.n_members, each * estimator.n_members
    if need > max_bytes:
        raise TooLargeError(
            f"A stack of {'one member' if n_members == 1 else f'{n_members} members'} takes about {need} bytes in "
            f"training, more than max_bytes={max_bytes:.0f}. Found {type(estimator).__name__} with "
            f"hidden_layer_sizes={estimator.hidden_layer_sizes!r}, batch_size={estimator.batch_size}, "
            f"n_members={n_members} and {estimator.n_tasks_} tasks. Give more bytes or a smaller network."
        )
    return int(max_bytes / each)
