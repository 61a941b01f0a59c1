"""Divide rows into parts that have every class of every task in the same proportion: iterative stratification.

Rows of the rarest class are placed first, each in the part that lacks most rows of that class. Abundant classes are
placed last, because they can balance what the rare ones left uneven. In a large table only the rows of the rarest
classes and a sample of the others are placed this way; all other rows are spread over the parts by counting before.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

_EXACT = 8_000  # rows placed one by one, about 3 microseconds each with 5 tasks; spreading takes a twentieth of that
_BATCH = 64  # rows of one class that are matched to parts together
_GOLDEN = (5**0.5 - 1) / 2  # its multiples, modulo 1, are evenly distributed and never repeat

# Limits of the search for exchanges that bring a missing class to a part: rows tried on either side, and passes.
_DONORS, _PARTNERS, _PASSES = 16, 512, 3


def assign_parts(codes: np.ndarray, proportions: ArrayLike, rng: Any = None) -> np.ndarray:
    """Divide rows into parts that have every class, and the observed labels of every task, in the same proportion.

    Part sizes are exact (the wanted shares of the rows, rounded). A class with at least as many rows as there are parts
    reaches every part unless the other classes make that impossible. With two parts, the first is the training set:
    it gets a row of every class that has at least two, even if that makes the second part smaller.

    Parameters
    ----------
    codes : int array of shape (n_samples, n_tasks)
        Class of each label, numbered from 0 in each task; -1 where it is missing.
    proportions : sequence of n_parts floats
        Wanted relative sizes of the parts, > 0; they need not sum to one.
    rng : RandomState or Generator, default=None
        Shuffles the rows and breaks ties. None: rows and parts are taken in their order.

    Returns
    -------
    int array of shape (n_samples,)
        The part of each row.

    Notes
    -----
    The paper places one row at a time. As the choice of the next part depends only on how many rows of the current
    class each part still lacks, many rows of a class are placed at once here. This implementation adds:

    * part sizes are exact;
    * a part without any row of the current class is served first;
    * the rows' other labels break ties between parts, and decide which row goes to which part;
    * missing labels are divided evenly, too;
    * a final search exchanges pairs of rows to bring classes to parts that still lack them. It does not find solutions
      that take several exchanges at once.

    Of more than 8,000 rows, about 8,000 are placed in this way: half of them the rows with the rarest classes, half a
    sample of the others. All other rows are spread by counting before: sorted by their rarest class and then by the
    classes of all tasks (of the first tasks only, if a 64-bit integer cannot number all combinations), they go to the
    parts in rotation, so that each combination of classes is divided evenly. If a part then lacks a class, some rows of
    that class are taken back and placed one by one. The rows placed one by one also balance what the spreading left
    uneven. Time grows as that of a few sorts, unless there are thousands of rare classes.

    References
    ----------
    .. [1] K. Sechidis, G. Tsoumakas and I. Vlahavas, "On the Stratification of Multi-Label Data", ECML PKDD 2011.
    """
    proportions = np.asarray(proportions, dtype=float)
    labels = Labels(codes)
    part = _spread(labels, _part_sizes(len(codes), proportions), rng)
    placement = _Placement(labels, part, proportions, rng)
    placement.place_all()
    placement.repair()
    part[placement.rows] = placement.part
    return part


def _spread(labels: Labels, sizes: np.ndarray, rng: Any) -> np.ndarray:
    """Return the part of each row that is spread by counting; -1 for the rows to be placed one by one."""
    n = len(labels.codes)
    part = np.full(n, -1, dtype=np.int64)
    if n <= _EXACT:
        return part
    counts = sizes - sizes * _EXACT // n
    n_spread = int(counts.sum())
    rows = labels.sorted_rows(rng)[(n - n_spread) // 2 :]  # without the rarest classes,
    rows = rows[np.arange(n_spread) * len(rows) // n_spread]  # and without a sample, evenly spaced
    part[rows] = _interleave(counts, rng)
    _take_back(labels, part, rows, len(sizes))
    return part


def _take_back(labels: Labels, part: np.ndarray, rows: np.ndarray, n_parts: int) -> None:
    """Take back rows of each label that a part lacks, and as many rows of that part to free their places.

    Rows that are taken back get part -1. `rows` are those that were spread, the rarest classes first.
    """
    absent = (labels.count(part, n_parts) == 0) & (labels.total >= n_parts)  # (part, label)
    if absent.any():
        part[labels.rows_of(absent.any(axis=0), part, n_parts + _DONORS)] = -1
        rare, common = np.split(rows, [len(rows) // 2])
        common = common[np.argsort(np.arange(len(common)) * _GOLDEN % 1)]  # scattered, so that no class loses many rows
        rows = np.concatenate([common, rare[::-1]])  # the rarest last: without them the part would lack their classes
        rows = rows[part[rows] >= 0]
        part[_first_of_each(rows, part[rows], absent.sum(axis=1))] = -1


def _interleave(counts: np.ndarray, rng: Any) -> np.ndarray:
    """Return a sequence in which each part occurs as often as its count, at even distances with a small shift each."""
    part = np.repeat(np.arange(len(counts)), counts)
    nth = np.arange(len(part)) - (np.cumsum(counts) - counts)[part]
    # Without the shift, classes that repeat in step with the rotation of parts would always go to the same part.
    shift = np.arange(len(part)) * _GOLDEN % 1 if rng is None else rng.random(len(part))
    return part[np.argsort((nth + shift) / counts[part], kind="stable")]


class Labels:
    """The labels of all rows, numbered across tasks, and how many rows have each.

    A label is a (task, class) pair. A task with missing labels adds one more, which all its observed rows have, so that
    missing labels are divided evenly like classes; these have the highest numbers. The number n_labels means no label.
    """

    def __init__(self, codes: np.ndarray):
        self.codes = np.asfortranarray(codes, dtype=np.int64)  # read column by column
        self.n_classes = self.codes.max(axis=0, initial=-1) + 1
        self.start = np.cumsum(self.n_classes) - self.n_classes
        self.gaps = np.flatnonzero((self.codes < 0).any(axis=0))
        self.n_labels = int(self.n_classes.sum()) + len(self.gaps)
        self.total = self.count(np.zeros(len(codes), dtype=np.int64), 1)[0]

    def number(self, rows: np.ndarray) -> np.ndarray:
        """Return the rows' label numbers, (n_rows, n_slots): one slot per task, then one per task with gaps."""
        codes = self.codes[rows]
        missing = codes < 0
        classes = np.where(missing, self.n_labels, codes + self.start)
        first = self.n_labels - len(self.gaps)
        observed = np.where(missing[:, self.gaps], self.n_labels, first + np.arange(len(self.gaps)))
        return np.hstack([classes, observed])

    def count(self, part: np.ndarray, n_parts: int) -> np.ndarray:
        """Return how many rows of each label each part has, (n_parts, n_labels); rows of part -1 do not count."""
        tables = [np.zeros((n_parts, 0), dtype=np.int64)]
        for codes, n_classes in zip(self.codes.T, self.n_classes, strict=True):
            width = n_classes + 1  # the first column counts missing labels, the first row part -1
            table = np.bincount((part + 1) * width + codes + 1, minlength=(n_parts + 1) * width)
            tables.append(table.reshape(-1, width)[1:, 1:])
        observed = [tables[1 + t].sum(axis=1, keepdims=True) for t in self.gaps]
        return np.hstack(tables + observed)

    def sorted_rows(self, rng: Any) -> np.ndarray:
        """Return the rows sorted by their rarest class (rarest first), then by all classes; shuffled where equal."""
        n = len(self.codes)
        order = np.arange(n) if rng is None else rng.permutation(n)
        rank = np.argsort(np.argsort(self.total, kind="stable"))
        rarest, pattern, n_patterns = np.full(n, self.n_labels), np.zeros(n, dtype=np.int64), 1
        for codes, start, n_classes in zip(self.codes.T, self.start, self.n_classes, strict=True):
            np.minimum(rarest, np.append(rank[start : start + n_classes], self.n_labels)[codes], out=rarest)
            n_patterns *= int(n_classes) + 1
            if n_patterns < 2**63:  # later tasks are balanced by the rows placed one by one
                pattern = pattern * (n_classes + 1) + codes + 1
        return order[np.lexsort([*_digits(pattern[order]), *_digits(rarest[order])])]

    def rows_of(self, wanted: np.ndarray, part: np.ndarray, limit: int) -> np.ndarray:
        """Return up to `limit` rows of each label where `wanted`, (n_labels,), is True, among rows that have a part."""
        observed = np.zeros(len(self.n_classes), dtype=bool)
        observed[self.gaps] = wanted[self.n_labels - len(self.gaps) :]
        found = [np.zeros(0, dtype=np.int64)]
        for t, (start, n_classes) in enumerate(zip(self.start, self.n_classes, strict=True)):
            classes = np.append(wanted[start : start + n_classes] | observed[t], False)  # the last, -1, is missing
            if classes.any():
                rows = np.flatnonzero(classes[self.codes[:, t]] & (part >= 0))
                found.append(_first_of_each(rows, self.codes[rows, t], np.full(n_classes, limit)))
        return np.concatenate(found)


def _digits(keys: np.ndarray) -> list[np.ndarray]:
    """Split integers >= 0 into digits of 16 bits, lowest first: NumPy sorts 16-bit integers in linear time."""
    n_bits = int(keys.max(initial=0)).bit_length()
    return [(keys >> shift).astype(np.uint16) for shift in range(0, max(n_bits, 1), 16)]


def _first_of_each(rows: np.ndarray, group: np.ndarray, limit: np.ndarray) -> np.ndarray:
    """Return the first rows of each group, up to its limit: (n_rows,), (n_rows,), (n_groups,) -> (n_chosen,)."""
    order = np.argsort(group, kind="stable")
    size = np.bincount(group, minlength=len(limit))
    nth = np.arange(len(rows)) - np.repeat(np.cumsum(size) - size, size)
    return rows[order[nth < np.repeat(limit, size)]]


class _Placement:
    """Places rows one by one, and counts what each part has of each label and what it should have.

    Attributes
    ----------
    rows : int array of shape (n_rows,)
        The rows to place: those that spreading left without a part. The methods number rows by their position here.
    part : int array of shape (n_rows,)
        Part of each of these rows, -1 until it is placed.
    ids : int array of shape (n_rows, n_slots)
        Numbers of their labels.
    free : int array of shape (n_parts,)
        Places left in each part.
    have, want : arrays of shape (n_parts, n_labels)
        Rows of each label in each part, and how many there should be; both count the rows spread before.
    """

    def __init__(self, labels: Labels, part: np.ndarray, proportions: np.ndarray, rng: Any):
        n, k = len(part), len(proportions)
        self.rng = rng
        self.rows = np.flatnonzero(part < 0)
        self.ids, self.total = labels.number(self.rows), labels.total
        if len(self.rows) < n:
            self.ids = _packed(self.ids, len(self.total))
        self.free = _part_sizes(n, proportions) - np.bincount(part[part >= 0], minlength=k)  # (part,)
        self.share = proportions / proportions.sum()  # not free / n: parts of equal size must tie exactly
        self.want = self.share[:, None] * self.total  # (part, label)
        self.to_place = np.bincount(self.ids.ravel(), minlength=len(self.total) + 1)[:-1]
        self.have = labels.count(part, k)
        # What each part should get of the rows to place: what it lacks, or a fair share if spreading gave it too much.
        fair = np.maximum(self.share[:, None] * self.to_place, 1e-12)
        self.supply = np.maximum(self.want - self.have, fair)
        self.baseline = self.want - self.supply
        self.part = part[self.rows]
        self.order = np.arange(len(self.rows)) if rng is None else rng.permutation(len(self.rows))
        self.rows_by_label, self.start = _group_rows(self.ids, self.order, len(self.total))
        # A class that the first of two parts lacks outweighs everything that the second could lack.
        self.urgency = np.array([1 + self.ids.size, 1]) if k == 2 else np.ones(k, dtype=np.int64)

    def place_all(self) -> None:
        """Place the rows of the rarest remaining label, until none is left; then the rows without any label."""
        left = self.to_place.astype(float)
        left[left == 0] = np.inf  # so that argmin passes over labels that are done
        while np.isfinite(left.min(initial=np.inf)):
            label = int(left.argmin())
            rows = self._holders(label)
            rows = rows[self.part[rows] < 0]
            for first in range(0, len(rows), _BATCH):
                self._place_matched(rows[first : first + _BATCH], label)
            ids = self.ids[rows][self.ids[rows] < len(left)]
            np.subtract.at(left, ids, 1)
            left[ids[left[ids] == 0]] = np.inf
        rest = self.order[self.part[self.order] < 0]
        self._place(rest, np.repeat(np.arange(len(self.free)), self.free))

    def _holders(self, label: int) -> np.ndarray:
        """Return the rows with this label, in the order in which they are placed."""
        return self.rows_by_label[self.start[label] : self.start[label + 1]]

    def _place_matched(self, rows: np.ndarray, label: int) -> None:
        """Place rows of a label: the label decides which parts are next, the other labels which row each part gets."""
        benefit = self._benefit(rows)
        # Free places count like one more label, as abundant as the rows' most abundant one: if they were used up
        # unevenly, the classes placed last would find none where they are needed.
        space = (self.free - self.share * self.free.sum()) / self._widest(rows)
        parts = self._next_parts(label, len(rows), benefit.mean(axis=0) + space)
        benefit -= benefit.mean(axis=1, keepdims=True)
        chosen = np.empty(len(rows), dtype=np.int64)
        for slot, part in enumerate(parts):
            chosen[slot] = benefit[:, part].argmax()
            benefit[chosen[slot]] = -np.inf
        self._place(rows[chosen], parts)

    def _benefit(self, rows: np.ndarray) -> np.ndarray:
        """Return how much each part lacks the labels of each row, relative to what it should get: (n_rows, n_parts)."""
        ids = np.minimum(self.ids[rows], len(self.total) - 1)
        real = self.ids[rows] < len(self.total)  # not the number that means no label
        lack = 1 - (self.have[:, ids] - self.baseline[:, ids]) / self.supply[:, ids]  # (part, row, slot)
        return (lack * real).sum(axis=2).T

    def _widest(self, rows: np.ndarray) -> float:
        """Return how many rows of these rows' most abundant label a part should get on average."""
        ids = self.ids[rows]
        return float(self.to_place[ids[ids < len(self.total)]].max() / len(self.free))

    def _next_parts(self, label: int, n_rows: int, benefit: np.ndarray) -> np.ndarray:
        """Return the part of each of the next `n_rows` rows of a label; `benefit`, (n_parts,), breaks ties."""
        slots = np.minimum(self.free, n_rows)
        part = np.repeat(np.arange(len(slots)), slots)
        nth = np.arange(len(part)) - np.repeat(np.cumsum(slots) - slots, slots)  # the part's 0th, 1st, ... new row
        # Rounded, so that parts that lack equally many rows tie in spite of rounding errors in the shares.
        wish = np.round((self.want[:, label] - self.have[:, label])[part] - nth, 9)
        lacks = (self.have[part, label] == 0) & (nth == 0)
        tie = np.arange(len(slots)) if self.rng is None else self.rng.permutation(len(slots))
        # The last key counts first: parts without the label, the greatest lack, the benefit, the most free places.
        best = np.lexsort((tie[part], nth - self.free[part], -benefit[part], -wish, ~lacks))
        return part[best[:n_rows]]

    def _place(self, rows: np.ndarray, parts: np.ndarray) -> None:
        self.part[rows] = parts
        self.free -= np.bincount(parts, minlength=len(self.free))
        self._count(rows, parts, 1)

    def _count(self, rows: np.ndarray, parts: np.ndarray, change: int) -> None:
        ids = self.ids[rows]
        real = ids < len(self.total)
        np.add.at(self.have, (np.broadcast_to(parts[:, None], ids.shape)[real], ids[real]), change)

    def repair(self) -> None:
        """Exchange rows to bring classes to parts that lack them; with two parts, complete the first in any case."""
        passes = 0
        while passes < _PASSES and self._exchange_all():
            passes += 1
        if len(self.have) == 2:
            for label in np.flatnonzero((self.have[0] == 0) & (self.total > 1)):
                self._force(int(label))

    def _exchange_all(self) -> bool:
        """Try to bring each missing class to its part, rarest class first; return whether any exchange was made."""
        wanted = np.minimum(self.total, len(self.have))
        scarce = np.flatnonzero((self.have > 0).sum(axis=0) < wanted)
        progress = False
        for label in scarce[np.argsort(self.total[scarce], kind="stable")]:
            for target in np.flatnonzero(self.have[:, label] == 0):
                if (self.have[:, label] > 0).sum() < wanted[label]:
                    progress |= self._exchange(int(label), int(target))
        return progress

    def _exchange(self, label: int, target: int) -> bool:
        """Exchange a row with the label for one of the target part, if fewer classes are missing then."""
        holders = np.sort(self._holders(label))
        spare = holders[self._can_spare(label, target)[self.part[holders]]]
        for row in spare[self._ranked(spare, target)][:_DONORS]:
            source = self.part[row]
            partners = self._sample(np.flatnonzero(self.part == target))
            gained = self._harm(row[None], target)[0]
            self._move(row, target)  # on trial: what a partner's move would cost depends on it
            harm = self._harm(partners, source)
            if len(partners) and gained + harm.min() < 0:
                self._move(partners[self._ranked(partners, source)[0]], source)
                return True
            self._move(row, source)
        return False

    def _force(self, label: int) -> None:
        """Move a row of the class to the first part, which then has one row more than its share."""
        if self.have[0, label] == 0:
            holders = np.sort(self._holders(label))
            self._move(holders[self._ranked(holders, 0)[0]], 0)

    def _can_spare(self, label: int, target: int) -> np.ndarray:
        """Return which parts may give away a row of the label: those with two, or one if the target is more urgent."""
        return (self.have[:, label] > 1) | ((self.have[:, label] > 0) & (self.urgency < self.urgency[target]))

    def _harm(self, rows: np.ndarray, target: int) -> np.ndarray:
        """Return, for each row, how many more (class, part) pairs would be empty if it alone moved to the target."""
        ids = np.minimum(self.ids[rows], len(self.total) - 1)
        real = self.ids[rows] < len(self.total)
        source = self.part[rows][:, None]
        lost = (real & (self.have[source, ids] == 1)) * self.urgency[source]
        gained = (real & (self.have[target, ids] == 0)) * self.urgency[target]
        return (lost - gained).sum(axis=1)

    def _ranked(self, rows: np.ndarray, target: int) -> np.ndarray:
        """Return the order in which to try rows: by classes left missing, then by distance from the wanted shares."""
        ids = np.minimum(self.ids[rows], len(self.total) - 1)
        real = self.ids[rows] < len(self.total)
        source = self.part[rows][:, None]
        excess, excess_here = (self.have[p, ids] - self.want[p, ids] for p in (target, source))
        skew = real * (excess - excess_here + 1) / np.maximum(self.total[ids], 1)
        return np.lexsort((skew.sum(axis=1), self._harm(rows, target)))

    def _move(self, row: np.ndarray, target: int) -> None:
        rows = np.atleast_1d(row)
        self._count(rows, self.part[rows], -1)
        self.part[rows] = target
        self._count(rows, self.part[rows], 1)

    def _sample(self, rows: np.ndarray) -> np.ndarray:
        return rows if self.rng is None or len(rows) <= _PARTNERS else rows[self.rng.permutation(len(rows))[:_PARTNERS]]


def _part_sizes(n_samples: int, proportions: np.ndarray) -> np.ndarray:
    """Return integer sizes that sum to the rows, by largest remainder; no part is empty while another has two rows."""
    exact = n_samples * proportions / proportions.sum()
    sizes = np.floor(exact + 1e-9).astype(np.int64)  # 1e-9: a whole number may be rounded to slightly less
    short = n_samples - int(sizes.sum())
    sizes[np.argsort(sizes - exact, kind="stable")[:short]] += 1
    while sizes.min() == 0 and sizes.max() > 1:
        sizes[sizes.argmax()] -= 1
        sizes[sizes.argmin()] += 1
    return sizes


def _packed(ids: np.ndarray, nothing: int) -> np.ndarray:
    """Return the label numbers of each row, sorted, in as few slots as the row with most labels needs."""
    n_slots = int((ids < nothing).sum(axis=1).max(initial=0))
    return np.sort(ids, axis=1)[:, :n_slots]  # `nothing`, the number of no label, is the highest and comes last


def _group_rows(ids: np.ndarray, order: np.ndarray, n_labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows grouped by label, in the given order within each label, and the position where each starts."""
    flat = ids[order].ravel()
    rows = order[np.argsort(flat, kind="stable") // max(ids.shape[1], 1)]
    return rows, np.concatenate([[0], np.cumsum(np.bincount(flat, minlength=n_labels + 1))])
