"""The training table as tensors, and batches drawn from it without a data loader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset

from skmtl.sharing import ALIGNMENT

ALIGNED_ROWS = ALIGNMENT // 4  # so many rows of any width end on a boundary
SMALL = 2**22  # bytes of a table that stays in the cache, so that a whole epoch is gathered at once

Batch = tuple[Tensor, Tensor, Tensor | None]


@dataclass
class TensorData(Dataset):
    """Rows of a training table.

    Attributes
    ----------
    X : Tensor of shape (n_samples, n_features)
        Features.
    y : Tensor of shape (n_samples, task)
        Encoded targets in the network's task order; 0 where missing.
    weight : Tensor of shape (n_samples, task) or None
        Weight of each label, 0 where missing; None where all are observed and weigh 1.
    rows : int64 Tensor of shape (n,) or (member, n), or None
        The rows that count, or each member's own; None for all. X itself is never copied.
    """

    X: Tensor
    y: Tensor
    weight: Tensor | None = None
    rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.X) if self.rows is None else self.rows.shape[-1]

    def of_members(self, index: Tensor) -> TensorData:
        """Return the table of some members."""
        return self if self.rows is None or self.rows.ndim == 1 else replace(self, rows=self.rows[index])

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        row = index if self.rows is None else self.rows[index]
        return self.X[row], mark_missing(self.y[row], None if self.weight is None else self.weight[row])


def join_tables(parts: Sequence[TensorData], owners: Sequence[int]) -> TensorData:
    """Return one table in which member m reads the rows of ``parts[owners[m]]``; all must have equally many."""
    if len(parts) == 1:
        return parts[0]
    device = parts[0].X.device
    starts = torch.tensor([0, *(len(part.X) for part in parts[:-1])], device=device).cumsum(0)
    rows = [torch.arange(len(part), device=device) if part.rows is None else part.rows for part in parts]
    return TensorData(
        X=torch.cat([part.X for part in parts]),
        y=torch.cat([part.y for part in parts]),
        weight=None if parts[0].weight is None else torch.cat([part.weight for part in parts]),
        rows=(torch.stack(rows) + starts[:, None])[list(owners)],
    )


def mark_missing(y: Tensor, weight: Tensor | None) -> Tensor:
    """Return targets with NaN where the label is missing: what callbacks see."""
    return y.clone() if weight is None else y.masked_fill(weight == 0, float("nan"))


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
        return data.X, data.y, data.weight

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
        self.tables = [t for t in (data.X, data.y, data.weight) if t is not None]
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
        for x, y, *weight in self._parts:
            _, (room, _, _) = self._room(x.shape[:1])
            yield room.copy_(x), y, weight[0] if weight else None  # the layers are bound to where x lies

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
            self._rooms[n] = room, (views[0], views[1], views[2] if len(views) == 3 else None)
        return self._rooms[n]
