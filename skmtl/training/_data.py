"""The training table as tensors, and batches drawn from it without a data loader."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

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
    rows : int64 Tensor or None
        The rows that count; None for all. X itself is never copied.
    """

    X: Tensor
    y: Tensor
    weight: Tensor | None = None
    rows: Tensor | None = None

    def __len__(self) -> int:
        return len(self.X) if self.rows is None else len(self.rows)

    def take(self, index: Tensor) -> Batch:
        """Return the rows at these positions."""
        rows = index if self.rows is None else self.rows[index]
        weight = None if self.weight is None else self.weight.index_select(0, rows)
        return self.X.index_select(0, rows), self.y.index_select(0, rows), weight

    def everything(self) -> Batch:
        """Return all rows, without a copy where all rows count."""
        if self.rows is not None:
            return self.take(torch.arange(len(self), device=self.X.device))
        return self.X, self.y, self.weight

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x, y, weight = self.take(torch.as_tensor([index]))
        return x[0], mark_missing(y, weight)[0]


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
        One shuffles for all members; several shuffle for each its own, and batches get a member axis. None keeps the
        order of the rows.
    """

    def __init__(self, dataset: TensorData, batch_size: int, generators: Sequence[torch.Generator] = ()) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.generators = generators

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        n, size = len(self.dataset), self.batch_size
        if n <= size:
            yield self.dataset.everything()
            return
        device = self.dataset.X.device
        orders = [torch.randperm(n, generator=generator) for generator in self.generators] or [torch.arange(n)]
        order = (orders[0] if len(orders) == 1 else torch.stack(orders)).to(device)
        if self.dataset.rows is not None:
            order = self.dataset.rows[order]
        draw = _Draw(self.dataset)
        for rows in order.split(size, dim=-1):
            yield draw(rows)


class _Draw:
    """Gather rows into buffers that are allocated once per batch size."""

    def __init__(self, data: TensorData) -> None:
        self.tables = [t for t in (data.X, data.y, data.weight) if t is not None]
        self.buffers: dict[int, list[Tensor]] = {}

    def __call__(self, rows: Tensor) -> Batch:
        n = rows.shape[-1]
        if n not in self.buffers:
            self.buffers[n] = [table.new_empty(rows.numel(), table.shape[1]) for table in self.tables]
        flat = rows if rows.ndim == 1 else rows.flatten()
        for table, out in zip(self.tables, self.buffers[n], strict=True):
            torch.index_select(table, 0, flat, out=out)
        x, y, *weight = self.buffers[n] if rows.ndim == 1 else [b.view(len(rows), n, -1) for b in self.buffers[n]]
        return x, y, weight[0] if weight else None
