"""Fit many estimators side by side: those that differ only in what a member of a stack has for itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

from skmtl._base import BaseMultiTask
from skmtl.training import OPTIMIZERS, DivergedError, train

OWN = ("sharing_lambda", "lr", "weight_decay", "dropout", "task_weights", "random_state")
"""Parameters that members of one stack may have different values of."""


def why_alone(estimator: BaseMultiTask) -> str | None:
    """Return why an estimator cannot be part of a stack, or None if it can."""
    if estimator.callbacks:
        return "callbacks act on a whole net"
    if not isinstance(estimator.optimizer, str) or estimator.optimizer not in OPTIMIZERS:
        return f"optimizer={estimator.optimizer!r} has one learning rate for all"
    if estimator.warm_start:
        return "warm_start goes on from an earlier fit"
    return None


def stack_key(estimator: BaseMultiTask) -> tuple:
    """Return what two estimators must have in common to be trained side by side."""
    own = set(OWN)
    if estimator.early_stopping or estimator.dropout:
        own.remove("random_state")  # it also draws the validation rows and the dropout masks
    parameters = estimator.get_params(deep=True)
    shared = {k: repr(v) for k, v in parameters.items() if k not in own}
    return (type(estimator), estimator.dropout > 0, *sorted(shared.items()))


def bytes_per_member(estimator: BaseMultiTask) -> int:
    """Return about how many bytes one member takes in training: parameters, optimiser state and activations."""
    plan = estimator._plan
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
        Largest number of members of a stack.

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
    for estimator in estimators:
        estimator._check_parameters()
    data, valid = first._read(X, y, sample_weight)
    need = bytes_per_member(first)
    if need > max_bytes:
        raise ValueError(f"One member takes about {need} bytes in training, more than max_bytes={max_bytes:.0f}.")
    size = int(min(chunk, max_bytes / need, len(estimators)))
    failures: list[str | None] = []
    for start in range(0, len(estimators), size):
        part = estimators[start : start + size]
        try:
            net = train(first._training_run(part, None, first.max_epochs), data, valid)
        except DivergedError as error:  # every member diverged
            failures += [str(error)] * len(part)
            continue
        if net.interrupted_:
            raise KeyboardInterrupt
        for m, estimator in enumerate(part):
            failures.append(net.diverged_.get(m))
            if m not in net.diverged_:
                estimator._keep_member(net, m, first)
    return failures
