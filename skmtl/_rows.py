"""Where the rows of X come from: a dense table, or a sparse one that is made dense batch by batch.

Whoever trains or predicts takes rows into a buffer and knows nothing else of the table.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from skmtl._memory import tensor_over

MAX_BYTES = 2**26
"""Of rows that are copied at once where nobody asked for a number of them, as in validation and prediction."""


class Rows(ABC):
    """The rows of X.

    Attributes
    ----------
    shape : tuple of int
        Number of rows, and the shape of one: (n_samples, n_features).
    dtype, device : torch.dtype, torch.device
        Of the rows that `take` and `between` give.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def row_bytes(self) -> int:
        """Bytes of one row as `take` gives it."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @abstractmethod
    def take(self, index: Tensor, out: Tensor) -> None:
        """Write the rows at these places, (n,), to a buffer of shape (n, \\*shape[1:])."""

    @abstractmethod
    def between(self, start: int, stop: int) -> Tensor:
        """Return the rows from `start` to `stop`, dense."""

    @abstractmethod
    def joined(self, others: Sequence[Rows]) -> Rows:
        """Return these rows and, after them, those of other tables of the same type."""

    def buffer(self, n: int) -> Tensor:
        """Return a new buffer for n rows."""
        return torch.empty(n, *self.shape[1:], dtype=self.dtype, device=self.device)

    def at_once(self, n: int) -> int:
        """Return how many rows, n at most, can be copied at once."""
        return max(1, min(n, MAX_BYTES // max(1, self.row_bytes)))

    def whole(self) -> Tensor | None:
        """Return the table itself where it is dense."""
        return None


class DenseRows(Rows):
    """Rows of a dense table; none is copied before it is taken."""

    def __init__(self, table: Tensor) -> None:
        self._table = table
        self.shape, self.dtype, self.device = tuple(table.shape), table.dtype, table.device

    def take(self, index: Tensor, out: Tensor) -> None:
        torch.index_select(self._table, 0, index, out=out)

    def between(self, start: int, stop: int) -> Tensor:
        return self._table[start:stop]

    def joined(self, others: Sequence[Rows]) -> DenseRows:
        return DenseRows(torch.cat([self._table, *(other.between(0, len(other)) for other in others)]))

    def whole(self) -> Tensor:
        return self._table


class SparseRows(Rows):
    """Rows of a matrix in CSR format, which stays on the CPU."""

    def __init__(self, table: sparse.csr_array, device: torch.device) -> None:
        self._table = table
        self.dtype = torch.float32 if table.dtype == np.float32 else torch.float64
        self.shape, self.device = table.shape, device

    def take(self, index: Tensor, out: Tensor) -> None:
        rows = self._table[index.cpu().numpy()]  # scipy's: torch has no selection of sparse rows into a buffer
        if out.device.type == "cpu":
            rows.toarray(out=out.numpy())
        else:
            out.copy_(torch.from_numpy(rows.toarray()))

    def between(self, start: int, stop: int) -> Tensor:
        return torch.from_numpy(self._table[start:stop].toarray()).to(self.device)

    def joined(self, others: Sequence[Rows]) -> SparseRows:
        tables = [self._table, *(other._table for other in others)]
        return SparseRows(sparse.vstack(tables, format="csr"), self.device)


def rows_of(
    X: np.ndarray | Tensor | sparse.sparray, dtype: torch.dtype | None = None, device: torch.device | None = None
) -> Rows:
    """Return the rows of a checked X, (n_samples, n_features); in another precision only if that is given."""
    if not sparse.issparse(X):
        table = X if isinstance(X, Tensor) else tensor_over(X)
        return DenseRows(table.to(dtype=dtype, device=device))
    numbers = X.dtype if dtype is None else np.dtype(np.float32 if dtype == torch.float32 else np.float64)
    return SparseRows(sparse.csr_array(X).astype(numbers, copy=False), device or torch.device("cpu"))
