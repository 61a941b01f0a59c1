"""Groups of rows that stay together, such as those of a patient: their codes, and their division into parts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skmtl._label_codes import class_codes
from skmtl._stratify import Labels
from skmtl._table import read_targets


def group_codes(groups: ArrayLike, n_samples: int) -> np.ndarray:
    """Return the group of each row as a number from 0, (n_samples,).

    Parameters
    ----------
    groups : array-like, masked array, or pandas, polars or Arrow column, of shape (n_samples,)
        Hashable names or numbers of the groups.
    n_samples : int
        Number of rows that it must have.

    Raises
    ------
    ValueError
        If there is not one group for each row, one is missing, or all rows are of one group.
    """
    table = read_targets(groups, "groups")
    shape = (len(table),) if table.ndim == 1 else table.observed.shape
    if shape != (n_samples,):
        raise ValueError(f"groups must have shape {(n_samples,)}, one group for each row. Found {shape}.")
    if not table.observed.all():
        raise ValueError(f"groups must name the group of every row. Found {(~table.observed).sum()} missing.")
    codes = class_codes(table.columns[0])
    if codes.max(initial=0) == 0:
        raise ValueError(f"groups must be at least two, to keep one apart. Found only {table.columns[0][0]}.")
    return codes


def assign_groups(codes: np.ndarray, groups: np.ndarray, proportions: ArrayLike, rng: Any = None) -> np.ndarray:
    r"""Divide groups into parts that have rows, classes and observed labels in about the same proportion.

    Parameters
    ----------
    codes : int array of shape (n_samples, n_tasks)
        Class of each label, numbered from 0 in each task; -1 where it is missing.
    groups : int array of shape (n_samples,)
        Group of each row, numbered from 0.
    proportions : sequence of n_parts floats
        Wanted relative sizes of the parts, > 0.
    rng : RandomState or Generator, default=None
        Breaks ties; None: groups and parts are taken in their order.

    Returns
    -------
    int array of shape (n_samples,)
        The part of each row, the same for all rows of a group.

    Notes
    -----
    Groups are placed one by one, those first that hold most of a label or of all rows, each in the part where it adds
    least to the sum over labels of :math:`(n - sN)^2 / (s N^2)`, with n the rows of a label that a part has, N all of
    them and s the size of the part. scikit-learn's StratifiedGroupKFold goes about it in a similar way, for one task
    and parts of equal size.
    """
    share = np.asarray(proportions, dtype=float) / np.sum(proportions)
    held, number, amount, total = _labels_by_group(codes, groups)
    n_groups, n_parts = len(held) - 1, len(share)
    wanted = share[:, None] * total  # (part, label)
    largest = np.maximum.reduceat(amount / total[number], held[:-1])
    order = np.arange(n_groups) if rng is None else rng.permutation(n_groups)
    order = order[np.argsort(-largest[order], kind="stable")]
    ties = np.arange(n_parts) if rng is None else rng.permutation(n_parts)
    have, part = np.zeros_like(wanted), np.empty(n_groups, dtype=np.int64)
    empty = n_parts
    for k, group in enumerate(order):
        own = slice(held[group], held[group + 1])
        labels, rows = number[own], amount[own]
        added = (2 * (have[:, labels] - wanted[:, labels]) + rows) * rows / total[labels] ** 2
        excess = added.sum(axis=1) / share
        if empty and n_groups - k <= empty:  # no part stays empty while there are groups left
            excess[have[:, -1] > 0] = np.inf
        best = ties[np.argmin(excess[ties].round(9))]
        empty -= have[best, -1] == 0
        have[best, labels] += rows
        part[group] = best
    return part[groups]


def _labels_by_group(codes: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the labels of all groups, one group after the other, and how often each occurs in all.

    Returns
    -------
    held : int array of shape (n_groups + 1,)
        Where the labels of each group begin.
    number, amount : arrays of shape (n_entries,)
        Label, and rows of the group that have it. The last label is that of every row.
    total : array of shape (n_labels + 1,)
        Rows that have each label.
    """
    labels = Labels(codes)
    every_row = labels.n_labels + 1  # n_labels itself is no label
    numbers = np.column_stack([labels.number(np.arange(len(codes))), np.full(len(codes), every_row)])
    keys = (groups[:, None] * (every_row + 1) + numbers)[numbers != labels.n_labels]
    pairs, amount = np.unique(keys, return_counts=True)
    group, number = np.divmod(pairs, every_row + 1)
    number = np.where(number == every_row, labels.n_labels, number)
    held = np.searchsorted(group, np.arange(groups.max() + 2))
    return held, number, amount.astype(float), np.append(labels.total, len(codes)).astype(float)
