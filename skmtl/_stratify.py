"""Parts of rows in which every class of every task keeps its share: iterative stratification.

The rows of the rarest class still to be placed go first. Each goes to the part that wants that class most, so that
abundant classes, placed last, can make up for what the rare ones needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["assign_parts", "is_continuous", "label_codes"]

_BATCH = 64  # rows of one class that are matched to parts together

# Limits of the search for exchanges that bring a missing class to a part: rows tried on either side, passes.
_DONORS, _PARTNERS, _PASSES = 16, 512, 3


def assign_parts(codes: np.ndarray, proportions: ArrayLike, rng: Any = None) -> np.ndarray:
    """Divide rows into parts in which every class of every task, and every task's labels, keep their share.

    Sizes are exact (rounded shares of the rows). A class with at least as many rows as there are parts reaches every
    part wherever the other classes leave room for it. With two parts the first is the one to learn from: every class
    with two or more rows has one there, even where that leaves the second part smaller.

    Parameters
    ----------
    codes : int array of shape (n_samples, n_tasks)
        Class of each label, counted from 0 in each task; -1 where it is missing.
    proportions : sequence of n_parts floats
        Wanted shares of the rows, > 0; they need not sum to one.
    rng : RandomState or Generator, default=None
        Shuffles the rows and breaks ties; None takes rows and parts in their order.

    Returns
    -------
    int array of shape (n_samples,)
        The part of each row.

    Notes
    -----
    The paper places row after row. Which part is next depends only on how many rows of the current class each part
    still wants, so many rows of a class are placed at once. Beyond the paper: part sizes are kept exactly; a part that
    has none of a class comes first; ties between parts, and which of the rows goes to which of the parts, are decided
    by the rows' other labels; missing labels are shared out as well; classes that a part still lacks are brought there
    by a search for exchanges of rows, which may miss one where exchanges of two rows do not suffice.

    References
    ----------
    .. [1] K. Sechidis, G. Tsoumakas and I. Vlahavas, "On the Stratification of Multi-Label Data", ECML PKDD 2011.
    """
    deal = _Deal(codes, np.asarray(proportions, dtype=float), rng)
    deal.place_all()
    deal.repair()
    return deal.part


class _Deal:
    """The state of the dealing: which row is where, what every part has of each label and what it should have.

    A label is a (task, class) pair, or "observed" of a task with missing labels. Rows hold label numbers in `ids`,
    shape (n_samples, n_slots); the number n_labels stands for nothing.
    """

    def __init__(self, codes: np.ndarray, proportions: np.ndarray, rng: Any):
        n, k = len(codes), len(proportions)
        self.rng = rng
        self.ids, self.total = _number_labels(codes)
        self.room = _part_sizes(n, proportions)  # (part,)
        self.share = proportions / proportions.sum()  # not room / n: equal parts must tie
        self.want = self.share[:, None] * self.total  # (part, label)
        self.have = np.zeros((k, len(self.total)), dtype=np.int64)
        self.part = np.full(n, -1, dtype=np.int64)
        self.order = np.arange(n) if rng is None else rng.permutation(n)
        # Classes that the first of two parts lacks outweigh anything else.
        self.urgency = np.array([1 + self.ids.size, 1]) if k == 2 else np.ones(k, dtype=np.int64)

    def place_all(self) -> None:
        """Place the rows of each label, always the rarest of those that remain, then the rows without a label."""
        rows_by_label, start = _group_rows(self.ids, self.order, len(self.total))
        left = self.total.astype(float)
        left[left == 0] = np.inf
        while np.isfinite(left).any():
            label = int(left.argmin())
            rows = rows_by_label[start[label] : start[label + 1]]
            rows = rows[self.part[rows] < 0]
            for first in range(0, len(rows), _BATCH):
                self._place_matched(rows[first : first + _BATCH], label)
            np.subtract.at(left, self.ids[rows][self.ids[rows] < len(left)], 1)
            left[left == 0] = np.inf
        rest = self.order[self.part[self.order] < 0]
        self._place(rest, np.repeat(np.arange(len(self.room)), self.room))

    def _place_matched(self, rows: np.ndarray, label: int) -> None:
        """Place rows of a label: it decides which parts are next, the rows' other labels which row goes where."""
        benefit = self._benefit(rows)
        # Space counts like the most abundant label of the rows: spent unevenly, it would fail the last classes.
        space = (self.room - self.share * self.room.sum()) / self._widest(rows)
        parts = self._next_parts(label, len(rows), benefit.mean(axis=0) + space)
        benefit -= benefit.mean(axis=1, keepdims=True)
        chosen = np.empty(len(rows), dtype=np.int64)
        for slot, part in enumerate(parts):
            chosen[slot] = benefit[:, part].argmax()
            benefit[chosen[slot]] = -np.inf
        self._place(rows[chosen], parts)

    def _benefit(self, rows: np.ndarray) -> np.ndarray:
        """Return (row, part) how far the part lacks the row's labels, relative to what it should have of each."""
        ids = np.minimum(self.ids[rows], len(self.total) - 1)
        real = self.ids[rows] < len(self.total)
        lack = 1 - self.have[:, ids] / np.maximum(self.want[:, ids], 1e-12)  # (part, row, slot)
        return (lack * real).sum(axis=2).T

    def _widest(self, rows: np.ndarray) -> float:
        """Return the rows that a part should have, on average, of the most abundant label of these rows."""
        ids = self.ids[rows]
        return float(self.total[ids[ids < len(self.total)]].max() / len(self.room))

    def _next_parts(self, label: int, n_rows: int, benefit: np.ndarray) -> np.ndarray:
        """Return the parts that the next rows of a label go to, first row first; benefit (n_parts,) breaks ties."""
        slots = np.minimum(self.room, n_rows)
        part = np.repeat(np.arange(len(slots)), slots)
        nth = np.arange(len(part)) - np.repeat(np.cumsum(slots) - slots, slots)  # the part's 0th, 1st, ... new row
        wish = np.round((self.want[:, label] - self.have[:, label])[part] - nth, 9)
        lacks = (self.have[part, label] == 0) & (nth == 0)
        tie = np.arange(len(slots)) if self.rng is None else self.rng.permutation(len(slots))
        best = np.lexsort((tie[part], nth - self.room[part], -benefit[part], -wish, ~lacks))
        return part[best[:n_rows]]

    def _place(self, rows: np.ndarray, parts: np.ndarray) -> None:
        self.part[rows] = parts
        self.room -= np.bincount(parts, minlength=len(self.room))
        self._count(rows, parts, 1)

    def _count(self, rows: np.ndarray, parts: np.ndarray, change: int) -> None:
        ids = self.ids[rows]
        real = ids < len(self.total)
        np.add.at(self.have, (np.broadcast_to(parts[:, None], ids.shape)[real], ids[real]), change)

    def repair(self) -> None:
        """Exchange rows while that brings classes to parts that could have them; then serve the first of two parts."""
        passes = 0
        while passes < _PASSES and self._exchange_all():
            passes += 1
        if len(self.have) == 2:
            for label in np.flatnonzero((self.have[0] == 0) & (self.total > 1)):
                self._force(int(label))

    def _exchange_all(self) -> bool:
        """Try every class that is missing in a part, the rarest first; say whether one was brought there."""
        wanted = np.minimum(self.total, len(self.have))
        scarce = np.flatnonzero((self.have > 0).sum(axis=0) < wanted)
        progress = False
        for label in scarce[np.argsort(self.total[scarce], kind="stable")]:
            for target in np.flatnonzero(self.have[:, label] == 0):
                if (self.have[:, label] > 0).sum() < wanted[label]:
                    progress |= self._exchange(int(label), int(target))
        return progress

    def _exchange(self, label: int, target: int) -> bool:
        """Bring a row with the label to the target part for another one, if fewer classes are missing after it."""
        holders = np.flatnonzero((self.ids == label).any(axis=1))
        spare = holders[self._can_spare(label, target)[self.part[holders]]]
        for row in spare[self._ranked(spare, target)][:_DONORS]:
            source = self.part[row]
            partners = self._sample(np.flatnonzero(self.part == target))
            gained = self._harm(row[None], target)[0]
            self._move(row, target)
            harm = self._harm(partners, source)
            if len(partners) and gained + harm.min() < 0:
                self._move(partners[self._ranked(partners, source)[0]], source)
                return True
            self._move(row, source)
        return False

    def _force(self, label: int) -> None:
        """Give the first part a class that no exchange could bring, one row more than its share."""
        if self.have[0, label] == 0:
            holders = np.flatnonzero((self.ids == label).any(axis=1))
            self._move(holders[self._ranked(holders, 0)[0]], 0)

    def _can_spare(self, label: int, target: int) -> np.ndarray:
        """Say which parts may give a row of the label away: those with two, or any to a part of more urgency."""
        return (self.have[:, label] > 1) | ((self.have[:, label] > 0) & (self.urgency < self.urgency[target]))

    def _harm(self, rows: np.ndarray, target: int) -> np.ndarray:
        """Return how much worse the classes are covered once each row alone has moved to the target part."""
        ids = np.minimum(self.ids[rows], len(self.total) - 1)
        real = self.ids[rows] < len(self.total)
        source = self.part[rows][:, None]
        lost = (real & (self.have[source, ids] == 1)) * self.urgency[source]
        gained = (real & (self.have[target, ids] == 0)) * self.urgency[target]
        return (lost - gained).sum(axis=1)

    def _ranked(self, rows: np.ndarray, target: int) -> np.ndarray:
        """Return the order of the rows: least harm to coverage first, then least harm to the shares."""
        ids = np.minimum(self.ids[rows], len(self.total) - 1)
        real = self.ids[rows] < len(self.total)
        excess = self.have - self.want
        skew = real * (excess[target, ids] - excess[self.part[rows][:, None], ids] + 1) / self.total[ids]
        return np.lexsort((skew.sum(axis=1), self._harm(rows, target)))

    def _move(self, row: np.ndarray, target: int) -> None:
        rows = np.atleast_1d(row)
        self._count(rows, self.part[rows], -1)
        self.part[rows] = target
        self._count(rows, self.part[rows], 1)

    def _sample(self, rows: np.ndarray) -> np.ndarray:
        return rows if self.rng is None or len(rows) <= _PARTNERS else rows[self.rng.permutation(len(rows))[:_PARTNERS]]


def _number_labels(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the label numbers of every row, (n_samples, n_slots), and the rows of every label, (n_labels,)."""
    missing = codes < 0
    n_classes = codes.max(axis=0, initial=-1) + 1
    gaps = np.flatnonzero(missing.any(axis=0))
    n_class_labels = int(n_classes.sum())
    nothing = n_class_labels + len(gaps)
    classes = np.where(missing, nothing, codes + (np.cumsum(n_classes) - n_classes))
    observed = np.where(missing[:, gaps], nothing, n_class_labels + np.arange(len(gaps)))
    ids = np.hstack([classes, observed])
    return ids, np.bincount(ids.ravel(), minlength=nothing + 1)[:nothing]


def _part_sizes(n_samples: int, proportions: np.ndarray) -> np.ndarray:
    """Return whole sizes that sum to the rows, by largest remainder; no part is empty while another has two rows."""
    exact = n_samples * proportions / proportions.sum()
    sizes = np.floor(exact + 1e-9).astype(np.int64)
    short = n_samples - int(sizes.sum())
    sizes[np.argsort(sizes - exact, kind="stable")[:short]] += 1
    while sizes.min() == 0 and sizes.max() > 1:
        sizes[sizes.argmax()] -= 1
        sizes[sizes.argmin()] += 1
    return sizes


def _group_rows(ids: np.ndarray, order: np.ndarray, n_labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows sorted by label, in the given order within each, and where each label starts."""
    flat = ids[order].ravel()
    rows = order[np.argsort(flat, kind="stable") // max(ids.shape[1], 1)]
    return rows, np.concatenate([[0], np.cumsum(np.bincount(flat, minlength=n_labels + 1))])


def label_codes(
    columns: Sequence[np.ndarray],
    observed: np.ndarray,
    n_bins: int = 5,
    continuous: Sequence[bool] | None = None,
) -> np.ndarray:
    """Return the codes that `assign_parts` reads: classes as they are, numbers binned at their quantiles.

    Parameters
    ----------
    columns : list of n_tasks arrays of shape (n_samples,)
        Labels of each task.
    observed : bool array of shape (n_samples, n_tasks)
        False where a label is missing.
    n_bins : int, default=5
        Bins of a column of numbers; fewer where it has less than two labels a bin.
    continuous : sequence of n_tasks bools, default=None
        Which columns are numbers to be binned. None: those that `is_continuous` names.

    Returns
    -------
    int array of shape (n_samples, n_tasks)
        Codes from 0 in every column, -1 where a label is missing.
    """
    codes = np.full(observed.shape, -1, dtype=np.int64)
    for t, column in enumerate(columns):
        labels = column[observed[:, t]]
        binned = is_continuous(labels) if continuous is None else continuous[t]
        codes[observed[:, t], t] = _bins(labels, n_bins) if binned else _classes(labels)
    return codes


def is_continuous(labels: np.ndarray) -> bool:
    """Say whether a column is of numbers rather than classes.

    So are numbers with a fraction, as in scikit-learn's ``type_of_target``, and whole numbers most of which occur
    only once or twice (more than half as many different ones as labels), of which stratified parts could keep no share.

    Parameters
    ----------
    labels : array of shape (n_observed,)
        Observed labels.

    Returns
    -------
    bool
        True if the labels are to be binned.
    """
    if labels.dtype.kind not in "iuf":
        return False
    if labels.dtype.kind == "f" and (labels != np.floor(labels)).any():
        return True
    n_distinct = len(np.unique(labels))
    return n_distinct > 2 and n_distinct > len(labels) / 2


def _bins(labels: np.ndarray, n_bins: int) -> np.ndarray:
    n_bins = max(1, min(n_bins, len(labels) // 2))
    if n_bins == 1:
        return np.zeros(len(labels), dtype=np.int64)
    inner = np.arange(1, n_bins) / n_bins
    edges = np.unique(np.quantile(labels.astype(float), inner, method="inverted_cdf"))
    return _classes(np.searchsorted(edges, labels.astype(float), side="left"))


def _classes(labels: np.ndarray) -> np.ndarray:
    if labels.dtype.kind != "O":
        return np.unique(labels, return_inverse=True)[1]
    position = {label: c for c, label in enumerate(dict.fromkeys(labels.tolist()))}
    return np.fromiter((position[v] for v in labels.tolist()), dtype=np.int64, count=len(labels))
