"""Who is trained with whom: every key, limit and reason, from candidates to the members of a stack.

Four questions, in this order:

1. `why_alone`: can a fit be trained side by side with others at all?
2. `plan`: which fits form a job, that is what one thread or process does at a time? Those of one `stack_key`, cut by
   the number of workers and by how many tables of training rows may be held at once.
3. `cut_into_waves`: which jobs are done at once, where their preprocessing makes tables that take memory?
4. `cut_into_stacks`: which fits of a job form a stack? That is known only when the rows are read: those on tables of
   one shape, cut by memory.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby, pairwise
from typing import TYPE_CHECKING

import joblib
import numpy as np
from scipy.sparse import issparse
from sklearn.pipeline import Pipeline

from skmtl._base import BaseMultiTask
from skmtl.model_selection._fit import Fit, Protocol, last_step, with_parameters

if TYPE_CHECKING:
    from skmtl.model_selection._stack import Table

MEMBER_PARAMETERS = ("sharing_lambda", "lr", "weight_decay", "dropout", "task_weights", "class_weight", "random_state")
"""Parameters that members of one stack may have different values of."""

MAX_MEMBERS = 64
"""Largest number of members of a stack, unless one ensemble has more."""

CACHE_BYTES = 2**24
"""Bytes that a stack of more than `ALWAYS_TOGETHER` members may take: what leaves the cache trains no faster."""

ALWAYS_TOGETHER = 4
"""Members that are worth being together whatever they take."""

TABLE_BYTES = 2**27
"""Bytes that the training rows of a job may take, unless those of one fold take more; its stack copies them once."""

FITS_PER_JOB = 4
"""Fits below which a job is not cut for the sake of more workers."""


class TooLargeError(ValueError):
    """One member alone takes more memory than allowed."""


# ---- reasons --------------------------------------------------------------------------------------------------------


def why_alone(fit: Fit, protocol: Protocol) -> str | None:
    """Return why a fit cannot be trained side by side with others, or None if it can."""
    prefix, last = last_step(fit.estimator)
    other_params = sorted(set(protocol.fit_params) - set(row_parameters(fit.estimator).values()))
    if not isinstance(last, BaseMultiTask):
        return f"{type(last).__name__} is not a skmtl estimator"
    if fit.estimator is not last and type(fit.estimator) is not Pipeline:
        return f"{type(fit.estimator).__name__} may fit its steps in another way than Pipeline"
    if prefix.count("__") > 1:
        return "its pipeline ends in another pipeline"
    if other_params:
        return f"fit takes {', '.join(other_params)}"
    if type(last).fit is not BaseMultiTask.fit:
        return f"{type(last).__name__} overrides fit"
    if not _has_valid_parameters(last):
        return "a parameter is not what it must be"
    if last.callbacks:
        return "callbacks act on a whole net"
    if not isinstance(last.optimizer, str):
        return "an optimizer class has one learning rate for all"
    if last.warm_start:
        return "warm_start continues an earlier fit"
    return None


def _has_valid_parameters(estimator: BaseMultiTask) -> bool:
    try:
        estimator._check_parameters()
    except ValueError:
        return False
    return True


def row_parameters(estimator) -> dict[str, str]:
    """Return the parameters of fit that hold something for each row, and what they are called by this estimator."""
    prefix = f"{estimator.steps[-1][0]}__" if isinstance(estimator, Pipeline) else ""
    return {name: prefix + name for name in ("sample_weight", "groups")}


# ---- keys -----------------------------------------------------------------------------------------------------------


def stack_key(estimator: BaseMultiTask) -> tuple:
    """Return what two estimators must have in common to be trained side by side."""
    parameters = estimator.get_params(deep=True)
    shared = {name: content_key(value) for name, value in parameters.items() if name not in MEMBER_PARAMETERS}
    return (type(estimator), estimator.dropout > 0, *sorted(shared.items()))


def preprocessing_key(estimator) -> str:
    """Return what two fits of one split must have in common to share the steps before the last one."""
    steps = estimator.steps[:-1] if isinstance(estimator, Pipeline) else []
    return " ".join(content_key(step) for step in steps)


def reading_key(estimator: BaseMultiTask) -> str:
    """Return what two estimators of one `stack_key` must have in common to read the same from equal rows."""
    return content_key(estimator.get_params(deep=False).get("class_weight"))


def table_key(fit: Fit) -> tuple:
    """Return what fits that learn from equal rows have in common; it can be sorted by."""
    return fit.split, fit.preprocessing, reading_key(fit.last)


def content_key(value) -> str:
    """Return a string that equals another's only if the values are equal; what cannot be compared equals nothing."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return repr(value)
    try:
        return joblib.hash(value)
    except (pickle.PicklingError, TypeError, AttributeError, ValueError):
        return f"{type(value).__qualname__} at {id(value)}"


# ---- jobs -----------------------------------------------------------------------------------------------------------


def plan(candidates: Sequence[dict], protocol: Protocol, table_bytes: int, n_workers: int) -> list[list[Fit]]:
    """Return all fits of a search as jobs: those that may be trained side by side, and those that must be alone.

    Parameters
    ----------
    candidates : sequence of dict
        The parameters of each.
    protocol : Protocol
        What all fits have in common.
    table_bytes : int
        Bytes of a table of features, see `bytes_of`.
    n_workers : int
        Jobs that are done at the same time.
    """
    together: dict[tuple, list[Fit]] = {}
    alone: list[list[Fit]] = []
    for c, parameters in enumerate(candidates):
        fits = [
            Fit(c, s, parameters, with_parameters(protocol.estimator, parameters)) for s in range(len(protocol.splits))
        ]
        reason = why_alone(fits[0], protocol)
        preprocessing = "" if reason else preprocessing_key(fits[0].estimator)
        for fit in fits:
            fit.why_alone, fit.preprocessing = reason, preprocessing
        if reason:
            alone += [[fit] for fit in fits]
        else:
            together.setdefault(stack_key(fits[0].last), []).extend(fits)
    jobs = [job for fits in together.values() for job in _cut_into_jobs(fits, table_bytes, n_workers)]
    jobs.sort(key=lambda job: table_key(job[0]))  # those that need the same rows one after the other
    jobs += alone
    for k, job in enumerate(jobs):
        for fit in job:
            fit.job = k
    return jobs


def _cut_into_jobs(fits: list[Fit], table_bytes: int, n_workers: int) -> Iterator[list[Fit]]:
    """Yield parts of nearly equal size, as many as there are workers or a multiple of it where each is large."""
    fits = sorted(fits, key=table_key)
    n_parts = min(n_workers * -(-len(fits) // (MAX_MEMBERS * n_workers)), max(1, len(fits) // FITS_PER_JOB))
    max_tables = max(1, TABLE_BYTES // max(1, table_bytes))
    for part in cut_evenly(fits, n_parts):
        tables = [list(own) for _, own in groupby(part, key=table_key)]
        for k in range(0, len(tables), max_tables):
            yield [fit for own in tables[k : k + max_tables] for fit in own]


def cut_into_waves(needs: Sequence[Collection[str]], table_bytes: int, n_workers: int) -> Iterator[range]:
    """Yield which jobs to do at once: all that are left, or where tables are large as many as there are workers.

    Parameters
    ----------
    needs : sequence of collections of str
        The names of the rows that each job needs preprocessing for.
    table_bytes, n_workers : int
        As in `plan`.
    """
    start, held = 0, set()
    for k, need in enumerate(needs):
        held.update(need)
        if k - start >= n_workers and len(held) * table_bytes > TABLE_BYTES:
            yield range(start, k)
            start, held = k, set(need)
    yield range(start, len(needs))


def bytes_of(X) -> int:
    """Return about how many bytes a table of features takes; 0 where it does not say."""
    if issparse(X):
        return int(X.nnz * (X.dtype.itemsize + np.dtype(np.int32).itemsize))  # values and their columns
    if hasattr(X, "memory_usage"):  # pandas
        return int(np.sum(X.memory_usage(deep=False)))
    return int(X.estimated_size()) if hasattr(X, "estimated_size") else getattr(X, "nbytes", 0)


# ---- stacks ---------------------------------------------------------------------------------------------------------


def cut_into_stacks(tables: Sequence[Table], max_bytes: float) -> list[list[tuple[Fit, Table]]]:
    """Return the members of as few stacks as the memory and the shapes of the tables allow.

    Raises
    ------
    TooLargeError
        If one estimator alone takes more than `max_bytes`.
    """
    by_shape: dict[tuple, list[tuple[Fit, Table]]] = {}
    for table in tables:
        by_shape.setdefault(table.shape, []).extend((fit, table) for fit in table.fits)
    stacks = []
    for members in by_shape.values():
        if members:
            size = _fits_per_stack(members[0][1].first, len(members[0][1].data), max_bytes)
            stacks += cut_evenly(members, -(-len(members) // size))
    return stacks


def cut_evenly(items: list, n_parts: int) -> list[list]:
    """Return consecutive parts whose sizes differ by at most one."""
    cuts = [k * len(items) // n_parts for k in range(n_parts + 1)]
    return [items[i:j] for i, j in pairwise(cuts)]


def _fits_per_stack(estimator: BaseMultiTask, n_rows: int, max_bytes: float) -> int:
    """Return how many estimators like this one, which has read its rows, a stack may hold."""
    each, n_members = bytes_per_member(estimator, n_rows), estimator.n_members_
    if each * n_members > max_bytes:
        raise TooLargeError(
            f"A stack of {'one member' if n_members == 1 else f'{n_members} members'} takes about {each * n_members} "
            f"bytes in training, more than max_bytes={max_bytes:.0f}. Found {type(estimator).__name__} with "
            f"hidden_layer_sizes={estimator.hidden_layer_sizes!r}, batch_size={estimator.batch_size}, "
            f"n_members={n_members} and {estimator.n_tasks_} tasks. Give more bytes or a smaller network."
        )
    within = MAX_MEMBERS if max_bytes == math.inf else int(max_bytes / each)
    fast = max(ALWAYS_TOGETHER, CACHE_BYTES // each)
    return max(1, min(MAX_MEMBERS, fast, within) // n_members)


def bytes_per_member(estimator: BaseMultiTask, n_rows: float = math.inf) -> int:
    """Return about how many bytes one member takes in training: parameters, optimiser state and activations."""
    network_plan = estimator._plan
    network = network_plan.build_blank()
    parameters = sum(p.numel() for p in network.parameters())
    n_tasks = network_plan.layout.n_tasks
    towers = n_tasks if network.trunk.per_task else 1
    widths = sum(network_plan.hidden_layer_sizes) * towers + sum(network_plan.head_layer_sizes) * n_tasks
    each = 4 if network_plan.dropout else 2  # activations and their gradients; what dropout leaves of them, and masks
    row = each * (widths + network_plan.layout.n_outputs)
    row += network.trunk.n_buffered + network_plan.n_features + 2 * network_plan.layout.n_parts
    return estimator._numpy_dtype.itemsize * (9 * parameters + int(min(estimator.batch_size, n_rows)) * row)
