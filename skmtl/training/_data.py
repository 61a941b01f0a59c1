"""The training table: rows of X, encoded targets, and what each label counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from skmtl._rows import Rows
from skmtl._weights import label_shares

MAX_PART = 1 / 8  # of what an average batch holds of the objective: rows that hold more are drawn more than once
MAX_ROWS = 1  # average rows: what a row may hold at the least, so that an epoch no more than doubles


@dataclass(eq=False)
class TensorData(Dataset):
    """Rows of a training table, and which of them make an epoch.

    Attributes
    ----------
    X : Rows of shape (n_samples, n_features)
        Features; never copied as a whole.
    y : Tensor of shape (n_samples, part)
        Encoded targets in the network's order of parts; 0 where missing. Most tasks have one part.
    coefficient : Tensor of shape (n, part), (k * n, part) or ()
        What multiplies the loss of each label, 0 where it is missing, for each place of an epoch of n; k times as many
        where members have different rows; one number where it is the same for all. Over an epoch, the coefficients of a
        task of one part sum to the number of steps, see `skmtl._objective`. For a task of several parts, each labelled
        row counts once in that sum, so that its loss is a mean over rows, not over parts.
    index : int64 Tensor of shape (n,) or (member, n), or None
        The row at each place of an epoch, or each member's own; None for all rows in their order.
    start : int64 Tensor of shape (member, 1), or None
        Where each member's coefficients begin; None where all members have the same.
    labelled : bool Tensor of shape (task,) or (member, task), or None
        Tasks that have a label in these rows; None for all.
    """

    X: Rows
    y: Tensor
    coefficient: Tensor
    index: Tensor | None = None
    start: Tensor | None = None
    labelled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.X) if self.index is None else self.index.shape[-1]

    @property
    def has_all_labels(self) -> bool:
        """Whether every label is observed and counts the same."""
        return self.coefficient.ndim == 0

    @property
    def by_member(self) -> bool:
        """Whether each member has its own rows."""
        return self.index is not None and self.index.ndim == 2

    def of_members(self, index: Tensor) -> TensorData:
        """Return the table of some members."""
        own = {"index": self.index, "start": self.start, "labelled": self.labelled}
        return replace(self, **{name: v[index] for name, v in own.items() if v is not None and v.ndim == 2})

    def rows(self, places: Tensor) -> Tensor:
        """Return the rows of X and y at places of an epoch: (n,) or (member, n)."""
        if self.index is None:
            return places
        if self.index.ndim == 2 and places.ndim == 2:
            return self.index.gather(1, places)
        return self.index[..., places]

    def counts(self, places: Tensor) -> Tensor:
        """Return the rows of `coefficient` for places of an epoch: (n,) or (member, n)."""
        return places if self.start is None else places + self.start

    def __getitem__(self, place: int | slice | Sequence[int]) -> tuple[Tensor, Tensor]:
        if isinstance(place, int):
            places = torch.tensor(range(len(self))[place], device=self.y.device)  # those who iterate take one at a time
        else:
            places = torch.arange(len(self), device=self.y.device)[place]
        rows = self.rows(places)
        coefficient = self.coefficient if self.has_all_labels else self.coefficient[self.counts(places)]
        x = self.X.buffer(rows.numel())
        self.X.take(rows.reshape(-1), x)
        return x.unflatten(0, rows.shape) if rows.ndim else x[0], mark_missing(self.y[rows], coefficient)


def make_tables(
    X: Rows,
    y: Tensor,
    weight: np.ndarray | None,
    divisions: Sequence[Sequence[np.ndarray | None]],
    batch_size: int,
    owners: np.ndarray | None = None,
    has_places: np.ndarray | None = None,
) -> list[TensorData]:
    """Return the table to learn from and, where rows are held out, the one to validate on.

    Parameters
    ----------
    X : Rows of shape (n_samples, n_features)
        All rows.
    y : Tensor of shape (n_samples, part)
        Their encoded targets.
    weight : array of shape (n_samples, part) or None
        Weight of each label, 0 where missing; None where all are observed and weigh 1.
    divisions : sequence of sequences of one or two int arrays, or None for all rows
        The rows to learn from and those held out: one division for all members, or one for each.
    batch_size : int
        Rows of a training batch.
    owners : int array of shape (part,) or None
        The task that owns each part, `TaskLayout.owners`; None where every task has one part.
    has_places : bool array of shape (task,) or None
        Tasks whose loss is a mean over labels, not over rows; None for none.
    """
    sizes = (batch_size, len(X))  # rows of a step: validation is one
    by_part = zip(*divisions, strict=True)
    return [_table(X, y, weight, own, size, owners, has_places) for own, size in zip(by_part, sizes, strict=False)]


def _table(
    X: Rows,
    y: Tensor,
    weight: np.ndarray | None,
    rows_of_each: Sequence[np.ndarray | None],
    size: int,
    owners: np.ndarray | None,
    has_places: np.ndarray | None,
) -> TensorData:
    """Return the table of these rows for each member, or for all."""
    lengths = {len(X) if rows is None else len(rows) for rows in rows_of_each}
    if weight is None and len(lengths) == 1 and has_places is None:
        n = lengths.pop()
        return TensorData(X, y, y.new_tensor(-(-n // size) / n), _index(rows_of_each, y.device))
    if weight is None:
        weight = np.ones(y.shape)
    drawn, shares, labelled = zip(
        *(_weighed(weight, rows, size, owners, has_places) for rows in rows_of_each), strict=True
    )
    n, known = max(map(len, shares)), np.array(labelled)
    steps = -(-n // size)
    if len(shares) == 1:
        index, start = _index(drawn, y.device), None
        coefficient, known = torch.as_tensor(shares[0] * steps).to(y), known[0]
    else:  # shorter epochs are filled up with rows that count for nothing
        index = _index([np.concatenate([rows, np.repeat(rows[:1], n - len(rows))]) for rows in drawn], y.device)
        start = torch.arange(0, len(shares) * n, n, device=y.device)[:, None]
        coefficient = y.new_zeros(len(shares), n, y.shape[1])
        for own, values in zip(coefficient, shares, strict=True):
            own[: len(values)] = torch.as_tensor(values * steps)
        coefficient = coefficient.flatten(0, 1)
    known = None if known.all() else torch.as_tensor(known, device=y.device)
    return TensorData(X, y, coefficient, index, start, known)


def _weighed(
    weight: np.ndarray, rows: np.ndarray | None, size: int, owners: np.ndarray | None, has_places: np.ndarray | None
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Return the rows of an epoch, (n,) or None for all; each label's share, (n, part); which tasks have labels."""
    if rows is not None:
        weight = weight[rows]
    of_task = weight if owners is None else weights_by_task(weight, owners)
    shares = label_shares(of_task)
    labelled, times = (shares > 0).any(axis=0), visits(shares, size)
    if owners is not None:
        shares = shares_by_part(shares, weight, of_task, owners)
        if has_places is not None:
            _share_by_label(shares, weight, owners, has_places)
    if times is None:
        return rows, shares, labelled
    drawn = np.repeat(np.arange(len(weight)) if rows is None else rows, times)
    return drawn, np.repeat(shares / times[:, None], times, axis=0), labelled


def weights_by_task(weight: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Return what each row weighs in each task, the largest weight of its parts: (n, part) -> (n, task).

    0 only where all parts are missing. So the rows of a task count by whether they are labelled at all, and not by how
    many of their parts are: the likelihood of a survival time is a mean over subjects, not over intervals.
    """
    by_task = np.argsort(owners, kind="stable")
    starts = np.searchsorted(owners[by_task], np.arange(owners.max() + 1))
    return np.maximum.reduceat(weight[:, by_task], starts, axis=1)


def shares_by_part(shares: np.ndarray, weight: np.ndarray, of_task: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Return what each label counts, the share of its row in its task, 0 where the part is missing: (n, part).

    Where parts of one row weigh differently, each counts in proportion to its weight, the heaviest for the whole share.
    """
    heaviest = of_task[:, owners]
    return shares[:, owners] * np.divide(weight, heaviest, out=np.zeros_like(weight), where=heaviest > 0)


def _share_by_label(shares: np.ndarray, weight: np.ndarray, owners: np.ndarray, has_places: np.ndarray) -> None:
    """Let each label of a task over places count its share in the weight of all of them."""
    for task in np.flatnonzero(has_places):
        of_rows = weight[:, owners == task]
        total = label_shares(of_rows.sum(axis=1, keepdims=True))  # rows of weight zero change no bit
        heaviest = of_rows.sum(axis=1, keepdims=True)
        shares[:, owners == task] = total * np.divide(of_rows, heaviest, out=np.zeros_like(of_rows), where=heaviest > 0)


def _index(rows_of_each: Sequence[np.ndarray | None], device: torch.device) -> Tensor | None:
    """Return the rows of all, (n,), or of each member, (member, n); None for all rows of the table."""
    if rows_of_each[0] is None:
        return None
    index = torch.as_tensor(np.array(rows_of_each), device=device)
    return index if len(index) > 1 else index[0]


def visits(shares: np.ndarray, batch_size: int) -> np.ndarray | None:
    """Return how often each row is drawn in an epoch, (n,); None for once each.

    A label of a task with few of them has a large share in it. If its row were drawn once, one batch would hold a
    large part of that task's loss, and the others nothing of it. So a row whose labels' shares sum to more than
    `MAX_PART` of an average batch, and more than an average row, is drawn several times, and counts for a part of it
    each time. That leaves the objective as it is, bounds what one drawn row counts for, and makes an epoch longer by
    at most a sixteenth for batches of 128 rows; for those of 8 or fewer it may double.
    """
    if len(shares) <= batch_size:
        return None  # one batch holds them all
    of_row = shares.sum(axis=1)
    limit = max(MAX_ROWS, MAX_PART * batch_size) * of_row.mean()
    times = np.ceil(of_row / limit - 1e-9).astype(np.int64)  # rounding alone draws no row twice
    return times if (times > 1).any() else None


def join_tables(parts: Sequence[TensorData], n_members: int) -> TensorData:
    """Return one table for the members of several fits, `n_members` of each, that read one of these tables each.

    All must have equally many places in an epoch. What they have in common is not copied.
    """
    first = parts[0]
    if all(part is first for part in parts) and (len(parts) == 1 or not first.by_member):
        return first
    device, n = first.y.device, len(first)
    targets = {part.X: part.y for part in parts}
    starts = dict(zip(targets, np.cumsum([0, *map(len, targets)]).tolist(), strict=False))
    everything = torch.arange(n, device=device)
    index = [(everything if part.index is None else part.index) + starts[part.X] for part in parts]
    coefficient, start = first.coefficient, None
    if not first.has_all_labels:
        tables = {part: part.coefficient for part in parts}
        begins = dict(zip(tables, np.cumsum([0, *map(len, tables.values())]).tolist(), strict=False))
        start = [torch.zeros(1, dtype=torch.int64, device=device) if p.start is None else p.start for p in parts]
        start = _of_members([own + begins[part] for own, part in zip(start, parts, strict=True)], n_members)
        coefficient = _joined(list(tables.values()))
    labelled, known = None, [part.labelled for part in parts if part.labelled is not None]
    if known:
        every = known[0].new_ones(known[0].shape[-1])
        labelled = _of_members([every if part.labelled is None else part.labelled for part in parts], n_members)
    X, *others = targets
    return TensorData(
        X=X.joined(others) if others else X,
        y=_joined(list(targets.values())),
        coefficient=coefficient,
        index=_of_members(index, n_members),
        start=start,
        labelled=labelled,
    )


def _joined(tables: Sequence[Tensor]) -> Tensor:
    return tables[0] if len(tables) == 1 else torch.cat(tables)


def _of_members(values: Sequence[Tensor], n_members: int) -> Tensor:
    """Return what each fit has, (k,) for all its members or (n_members, k), as (member, k)."""
    return torch.cat([own.expand(n_members, -1) for own in values])


def mark_missing(y: Tensor, coefficient: Tensor) -> Tensor:
    """Return targets with NaN where the label is missing: what callbacks see."""
    return y.masked_fill(coefficient == 0, float("nan")) if coefficient.ndim else y.clone()
