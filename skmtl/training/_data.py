"""The training table as tensors, and batches drawn from it without a data loader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset

from skmtl._weights import label_shares
from skmtl.sharing import ALIGNMENT

ALIGNED_ROWS = ALIGNMENT // 4  # so many rows of any width end on a boundary
SMALL = 2**22  # bytes of a table that stays in the cache, so that a whole epoch is gathered at once

MAX_PART = 1 / 8  # of what an average batch holds of the objective: rows that hold more are drawn more than once
MAX_ROWS = 1  # average rows: what a row may hold at the least, so that an epoch no more than doubles

Batch = tuple[Tensor, Tensor, Tensor]


@dataclass
class TensorData(Dataset):
    """Rows of a training table.

    Attributes
    ----------
    X : Tensor of shape (n_samples, n_features)
        Features.
    y : Tensor of shape (n_samples, task)
        Encoded targets in the network's task order; 0 where missing.
    coefficient : Tensor of shape (n_samples, task) or ()
        What multiplies the loss of each label, 0 where it is missing; one number where it is the same for all. Those of
        a task sum to the number of steps over an epoch, see `skmtl._objective`.
    rows : int64 Tensor of shape (n,) or (member, n), or None
        The rows of an epoch, or each member's own; None for all. X itself is never copied.
    labelled : bool Tensor of shape (task,) or (member, task), or None
        Tasks that have a label in these rows; None for all.
    """

    X: Tensor
    y: Tensor
    coefficient: Tensor
    rows: Tensor | None = None
    labelled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.X) if self.rows is None else self.rows.shape[-1]

    @property
    def has_all_labels(self) -> bool:
        """Whether every label is observed and counts alike."""
        return self.coefficient.ndim == 0

    def of_members(self, index: Tensor) -> TensorData:
        """Return the table of some members."""
        own = {"rows": self.rows, "labelled": self.labelled}
        return replace(self, **{name: v[index] for name, v in own.items() if v is not None and v.ndim == 2})

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        row = index if self.rows is None else self.rows[index]
        coefficient = self.coefficient if self.has_all_labels else self.coefficient[row]
        return self.X[row], mark_missing(self.y[row], coefficient)


def make_tables(
    X: Tensor, y: Tensor, weight: np.ndarray | None, parts: Sequence[np.ndarray | None], batch_size: int
) -> list[TensorData]:
    """Return the table to learn from and, where there is a second part, the one to validate on.

    Parameters
    ----------
    X, y : Tensor of shape (n_samples, n_features) and (n_samples, task)
        All rows.
    weight : array of shape (n_samples, task) or None
        Weight of each label, 0 where missing; None where all are observed and weigh 1.
    parts : sequence of int arrays, or of None for all rows
        The rows of each part.
    batch_size : int
        Rows of a training batch.
    """
    sizes = (batch_size, len(X))  # rows of a step: validation is one
    if weight is None:
        return [_even_table(X, y, rows, size) for rows, size in zip(parts, sizes, strict=False)]
    coefficients = X.new_zeros(weight.shape)
    return [_table(X, y, weight, coefficients, rows, size) for rows, size in zip(parts, sizes, strict=False)]


def _even_table(X: Tensor, y: Tensor, rows: np.ndarray | None, size: int) -> TensorData:
    """Return a table all of whose labels count alike."""
    n = len(X) if rows is None else len(rows)
    return TensorData(X, y, X.new_tensor(-(-n // size) / n), _index(rows, X.device))


def _table(
    X: Tensor, y: Tensor, weight: np.ndarray, coefficients: Tensor, rows: np.ndarray | None, size: int
) -> TensorData:
    """Return a table of weighted labels; what those of its rows count is written to `coefficients`."""
    shares = label_shares(weight if rows is None else weight[rows])
    labelled = (shares > 0).any(axis=0)
    times = visits(shares, size)
    drawn = rows
    if times is not None:
        drawn = np.repeat(np.arange(len(X)) if rows is None else rows, times)
        shares /= times[:, None]
    shares *= -(-(len(X) if drawn is None else len(drawn)) // size)
    coefficients[slice(None) if rows is None else _index(rows, X.device)] = torch.as_tensor(shares).to(coefficients)
    known = None if labelled.all() else torch.as_tensor(labelled, device=X.device)
    return TensorData(X, y, coefficients, _index(drawn, X.device), known)


def _index(rows: np.ndarray | None, device: torch.device) -> Tensor | None:
    return None if rows is None else torch.as_tensor(rows, device=device)


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


def join_tables(parts: Sequence[TensorData], owners: Sequence[int]) -> TensorData:
    """Return one table in which member m reads the rows of ``parts[owners[m]]``; all must have equally many."""
    if len(parts) == 1:
        return parts[0]
    first, device = parts[0], parts[0].X.device
    starts = torch.tensor([0, *(len(part.X) for part in parts[:-1])], device=device).cumsum(0)
    rows = [torch.arange(len(part), device=device) if part.rows is None else part.rows for part in parts]
    labelled = None
    if any(part.labelled is not None for part in parts):
        every = torch.ones(first.y.shape[1], dtype=torch.bool, device=device)
        labelled = torch.stack([every if part.labelled is None else part.labelled for part in parts])[list(owners)]
    return TensorData(
        X=torch.cat([part.X for part in parts]),
        y=torch.cat([part.y for part in parts]),
        coefficient=first.coefficient if first.has_all_labels else torch.cat([part.coefficient for part in parts]),
        rows=(torch.stack(rows) + starts[:, None])[list(owners)],
        labelled=labelled,
    )


def mark_missing(y: Tensor, coefficient: Tensor) -> Tensor:
    """Return targets with NaN where the label is missing: what callbacks see."""
    return y.masked_fill(coefficient == 0, float("nan")) if coefficient.ndim else y.clone()


class Batches:
    """Batches of one epoch: a permutation, cut into slices.

    A table that fits in one batch is used whole and in order.

    Parameters
    ----------
    dataset : TensorData
        Where rows come from.
    batch_size : int
        Rows of a batch; the last one may be smaller.
    generators : sequence of torch.Generator
        Shuffle the rows. None keeps their order.
    owners : int64 Tensor of shape (member,) or None
        Which generator shuffles for each member; None where one shuffles for all.

    Yields
    ------
    Batch
        Tensors (batch, ...), or (member, batch, ...) where members have rows or a generator of their own.
    """

    def __init__(
        self,
        dataset: TensorData,
        batch_size: int,
        generators: Sequence[torch.Generator] = (),
        owners: Tensor | None = None,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.generators = generators
        self.owners = owners
        self._draw = _Draw(dataset)
        self._whole: Batch | None = None

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        if len(self.dataset) <= self.batch_size:
            self._whole = self._whole or self._everything()
            yield self._whole
            return
        rows = self._rows()
        if rows.ndim == 1 and self._is_small():
            yield from self._draw.cut(rows, self.batch_size)
            return
        for part in rows.split(self.batch_size, dim=-1):
            yield self._draw(part)

    def keep(self, index: Tensor) -> None:
        """Go on for some members only."""
        self.dataset = self.dataset.of_members(index)
        self.owners = None if self.owners is None else self.owners[index]
        self._draw, self._whole = _Draw(self.dataset), None

    def _everything(self) -> Batch:
        """Return all rows in order, without a copy where all rows count."""
        data = self.dataset
        if data.rows is not None or data.X.data_ptr() % ALIGNMENT:
            return self._draw(torch.arange(len(data), device=data.X.device) if data.rows is None else data.rows)
        return data.X, data.y, data.coefficient

    def _is_small(self) -> bool:
        """Say whether an epoch may be gathered at once: it fits in the cache."""
        return sum(table.nbytes for table in self._draw.tables) <= SMALL

    def _rows(self) -> Tensor:
        """Return the rows of an epoch in their new order: (n,) or (member, n)."""
        rows, device, n = self.dataset.rows, self.dataset.X.device, len(self.dataset)
        orders = [torch.randperm(n, generator=generator) for generator in self.generators] or [torch.arange(n)]
        order = (orders[0] if self.owners is None else torch.stack(orders)[self.owners]).to(device)
        if rows is None:
            return order
        return rows[..., order] if order.ndim == 1 else rows.expand(len(order), -1).gather(1, order)


class _Draw:
    """Gather rows into buffers that are allocated once per batch size, so that a step finds them where they were.

    Each member's batch begins on an alignment boundary, so that it is computed with as it would be alone.
    """

    def __init__(self, data: TensorData) -> None:
        self.tables = [data.X, data.y] if data.has_all_labels else [data.X, data.y, data.coefficient]
        self._common = data.coefficient  # of all labels, where it is one number
        self._rooms: dict[int, tuple[list[Tensor], Batch]] = {}
        self._epoch: list[Tensor] = []
        self._parts: list[tuple[Tensor, ...]] = []  # its batches

    def cut(self, rows: Tensor, batch_size: int) -> Iterator[Batch]:
        """Gather the rows of an epoch at once, (n,), and yield batches of them."""
        if not self._epoch:
            self._epoch = [table.new_empty(len(rows), table.shape[1]) for table in self.tables]
            self._parts = list(zip(*(table.split(batch_size) for table in self._epoch), strict=True))
        for table, out in zip(self.tables, self._epoch, strict=True):
            torch.index_select(table, 0, rows, out=out)
        for x, y, *coefficient in self._parts:
            _, (room, _, _) = self._room(x.shape[:1])
            yield room.copy_(x), y, *(coefficient or (self._common,))  # the layers are bound to where x lies

    def __call__(self, rows: Tensor) -> Batch:
        """Return the batch of these rows: (batch,) or (member, batch)."""
        room, batch = self._room(rows.shape)
        if rows.ndim == 2:
            missing = -rows.shape[1] % ALIGNED_ROWS
            rows = (pad(rows, (0, missing)) if missing else rows).flatten()
        for table, out in zip(self.tables, room, strict=True):
            torch.index_select(table, 0, rows, out=out)
        return batch

    def _room(self, shape: tuple[int, ...]) -> tuple[list[Tensor], Batch]:
        """Return room for rows of this shape, and the batch that lies in it."""
        n = shape[-1]
        if n not in self._rooms:
            padded = n if len(shape) == 1 else shape[0] * (n + -n % ALIGNED_ROWS)
            room = [table.new_empty(padded, table.shape[1]) for table in self.tables]
            views = room if len(shape) == 1 else [values.view(shape[0], -1, values.shape[1])[:, :n] for values in room]
            self._rooms[n] = room, (views[0], views[1], views[2] if len(views) == 3 else self._common)
        return self._rooms[n]
