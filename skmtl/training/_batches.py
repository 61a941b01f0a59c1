"""The batches of an epoch, gathered without a data loader into buffers that are reused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from skmtl.sharing import ALIGNMENT
from skmtl.training._data import TensorData

ALIGNED_ROWS = ALIGNMENT // 4  # so many rows of any width end on a boundary
CACHED = 2**22  # bytes of a table that stays in the cache, so that a whole epoch is gathered at once


@dataclass(eq=False, slots=True)
class Batch:
    """Rows of one step.

    Attributes
    ----------
    x : Tensor of shape (batch, ...) or (member, batch, ...)
        Rows of X, in a buffer that stays the same while training continues.
    y : Tensor of shape (batch, task) or (member, batch, task)
        Encoded targets.
    coefficient : Tensor of the shape of y, or one number
        What multiplies the loss of each label.
    by_member : bool
        Whether the rows differ between members.
    passes : object
        What whoever trains has bound to `x`; None at first.
    """

    x: Tensor
    y: Tensor
    coefficient: Tensor
    by_member: bool = False
    passes: Any = None

    def __len__(self) -> int:
        return self.y.shape[-2]


class Batches:
    """Batches of one epoch: a permutation, cut into slices.

    A table that fits in one batch is used whole and in order.

    Parameters
    ----------
    data : TensorData
        Where rows come from.
    batch_size : int
        Rows of a batch; the last one may be smaller.
    generators : sequence of torch.Generator
        Shuffle the rows. None keeps their order.
    owners : int64 Tensor of shape (member,) or None
        Which generator shuffles for each member; None where one shuffles for all.

    Attributes
    ----------
    sizes : list of int
        Rows of each batch.

    Yields
    ------
    Batch
        With a member axis where rows or generators differ between members. The next batch may overwrite it.
    """

    def __init__(
        self,
        data: TensorData,
        batch_size: int,
        generators: Sequence[torch.Generator] = (),
        owners: Tensor | None = None,
    ) -> None:
        self.data = data
        self.batch_size = batch_size
        self.generators = generators
        self.owners = owners
        n = len(data)
        self.sizes = [min(batch_size, n - start) for start in range(0, n, batch_size)]
        self._draw = _Draw(data)
        self._whole: Batch | None = None

    def __len__(self) -> int:
        return len(self.sizes)

    def __iter__(self) -> Iterator[Batch]:
        if len(self.sizes) == 1:
            self._whole = self._whole or self._everything()
            yield self._whole
            return
        places = self._order()
        if places.ndim == 1 and self._draw.at_once:
            yield from self._draw.cut(places, self.batch_size)
            return
        for part in places.split(self.batch_size, dim=-1):
            yield self._draw(part)

    def select(self, index: Tensor) -> None:
        """Continue with some members only."""
        self.data = self.data.of_members(index)
        self.owners = None if self.owners is None else self.owners[index]
        self._draw, self._whole = _Draw(self.data), None

    def _everything(self) -> Batch:
        """Return all rows in order, without a copy where they are dense and all of them count."""
        data, table = self.data, self.data.X.whole()
        if data.index is not None or table is None or table.data_ptr() % ALIGNMENT:
            return self._draw(torch.arange(len(data), device=data.y.device))
        return Batch(table, data.y, data.coefficient)

    def _order(self) -> Tensor:
        """Return the places of an epoch in their new order: (n,) or (member, n)."""
        n = len(self.data)
        orders = [torch.randperm(n, generator=generator) for generator in self.generators] or [torch.arange(n)]
        return (orders[0] if self.owners is None else torch.stack(orders)[self.owners]).to(self.data.y.device)


class _Draw:
    """Gather rows into buffers that are allocated once per batch size, to which a step can be bound.

    Each member's batch begins on an alignment boundary, so that it gives the results it would give alone.
    """

    def __init__(self, data: TensorData) -> None:
        self._data = data
        self._labels = [data.y] if data.has_all_labels else [data.y, data.coefficient]
        self._common = data.coefficient  # of all labels, where it is one number
        self._buffers: dict[int, tuple[list[Tensor], Batch]] = {}
        self._epoch: list[Tensor] = []
        self._parts: list[tuple[Tensor, ...]] = []  # its batches
        n_bytes = len(data.X) * data.X.row_bytes + sum(table.nbytes for table in self._labels)
        self.at_once = n_bytes <= CACHED and not data.by_member  # whether an epoch may be gathered so

    def cut(self, places: Tensor, batch_size: int) -> Iterator[Batch]:
        """Gather the rows of an epoch at once, (n,), and yield batches of them."""
        if not self._epoch:
            self._epoch = self._new(len(places))
            self._parts = list(zip(*(table.split(batch_size) for table in self._epoch), strict=True))
        self._gather(places if self._data.index is None else self._data.rows(places), places, self._epoch)
        for x, y, *coefficient in self._parts:
            _, batch = self._buffer(x.shape[:1])
            batch.x.copy_(x)  # the layers are bound to this buffer
            batch.y, batch.coefficient = y, coefficient[0] if coefficient else self._common
            yield batch

    def __call__(self, places: Tensor) -> Batch:
        """Return the batch of the rows at these places: (batch,) or (member, batch)."""
        rows, counts = self._data.rows(places), self._data.counts(places)
        buffers, batch = self._buffer(rows.shape)
        if rows.ndim == 2:
            rows, counts = _aligned(rows), counts if self._data.has_all_labels else _aligned(counts)
        self._gather(rows, counts, buffers)
        return batch

    def _gather(self, rows: Tensor, counts: Tensor, buffers: list[Tensor]) -> None:
        self._data.X.take(rows, buffers[0])
        for table, index, out in zip(self._labels, (rows, counts), buffers[1:], strict=False):
            torch.index_select(table, 0, index, out=out)

    def _new(self, n: int) -> list[Tensor]:
        """Return new buffers for n rows of X, y and, where they differ, coefficients."""
        return [self._data.X.buffer(n), *(table.new_empty(n, table.shape[1]) for table in self._labels)]

    def _buffer(self, shape: tuple[int, ...]) -> tuple[list[Tensor], Batch]:
        """Return the buffers for rows of this shape, (batch,) or (member, batch), and the batch over them."""
        n = shape[-1]
        if n not in self._buffers:
            by_member = len(shape) == 2
            buffers = self._new(shape[0] * (n + -n % ALIGNED_ROWS) if by_member else n)
            views = [values.unflatten(0, (shape[0], -1))[:, :n] for values in buffers] if by_member else buffers
            self._buffers[n] = buffers, Batch(*views[:2], views[2] if len(views) == 3 else self._common, by_member)
        return self._buffers[n]


def _aligned(index: Tensor) -> Tensor:
    """Return each member's rows, (member, batch), in one line, each filled up to a multiple of `ALIGNED_ROWS`."""
    missing = -index.shape[1] % ALIGNED_ROWS
    return (pad(index, (0, missing)) if missing else index).flatten()
