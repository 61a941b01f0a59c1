"""Groups of rows that stay together, such as those of a patient: their codes, and their division into parts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

from skmtl._label_codes import class_codes
from skmtl._stratify import Labels
from skmtl._table import read_targets

_EFFORT = 20_000_000  # products for all moves after placing, some tenths of a second
_PAIRS = 300  # up to this many groups, all pairs are tried
_LEAST = 1e-9  # gains below it may be rounding errors


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
    and parts of equal size. Then the best move of a group, or exchange of two where there are at most 300 groups, is
    made again and again, as long as the sum becomes less.
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
    _improve(part, csr_array((amount, number, held), shape=(n_groups, len(total))), total, share)
    return part[groups]


def _improve(part: np.ndarray, counts: csr_array, total: np.ndarray, share: np.ndarray) -> None:
    """Make the best move or exchange of groups, again and again, until none lessens the imbalance.

    Parameters
    ----------
    part : int array of shape (n_groups,)
        Part of each group, changed in place.
    counts : sparse array of shape (n_groups, n_labels)
        Rows of each label in each group.
    total : array of shape (n_labels,)
        Rows of each label.
    share : array of shape (n_parts,)
        Wanted size of each part, of 1.
    """
    n_groups, n_parts = len(part), len(share)
    counts = counts / np.maximum(total, 1)  # the imbalance is the sum over parts and labels of excess**2 / share
    overlap = (counts @ counts.T).toarray() if n_groups <= _PAIRS else None
    for _ in range(min(2 * n_groups, _EFFORT // (counts.nnz * n_parts))):
        moves = _moves(part, counts, share)
        exchanges = np.zeros((1, 1)) if overlap is None else _exchanges(part, moves, overlap, share)
        moves[np.bincount(part, minlength=n_parts)[part] == 1] = np.inf  # no part is emptied
        moves[np.arange(n_groups), part] = np.inf
        if min(moves.min(), exchanges.min()) > -_LEAST:
            break
        if moves.min() <= exchanges.min():
            group, target = np.unravel_index(moves.argmin(), moves.shape)
            part[group] = target
        else:
            pair = list(np.unravel_index(exchanges.argmin(), exchanges.shape))
            part[pair] = part[pair[::-1]]


def _moves(part: np.ndarray, counts: csr_array, share: np.ndarray) -> np.ndarray:
    """Return by how much the imbalance grows if a group moves to a part, (n_groups, n_parts)."""
    own = np.arange(len(part)), part
    members = csr_array((np.ones(len(part)), own[::-1]), shape=(len(share), len(part)))
    excess = (members @ counts).toarray() - share[:, None]  # (part, label)
    slope, square = 2 * (counts @ excess.T), (counts**2).sum(axis=1)[:, None]
    return (square + slope) / share + ((square - slope) / share)[own][:, None]


def _exchanges(part: np.ndarray, moves: np.ndarray, overlap: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return by how much the imbalance grows if two groups change places, (n_groups, n_groups)."""
    there, per_share = moves[:, part], 1 / share[part]  # the first group to the part of the second
    change = there + there.T - 2 * overlap * (per_share[:, None] + per_share)
    change[part[:, None] == part] = np.inf
    return change


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
