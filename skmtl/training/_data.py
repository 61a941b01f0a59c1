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


@dataclass
class TensorData(Dataset):
    """Rows of a training table.

    Attributes
    ----------
    X : Rows of shape (n_samples, n_features)
        Features; never copied as a whole.
    y : Tensor of shape (n_samples, part)
        Encoded targets in the network's order of parts; 0 where missing. Most tasks have one part.
    coefficient : Tensor of shape (n_samples, part) or ()
        What multiplies the loss of each label, 0 where it is missing; one number where it is the same for all. Over an
        epoch, the coefficients of a task of one part sum to the number of steps, see `skmtl._objective`. For a task of
        several parts, each labelled row counts once in that sum, so that its loss is a mean over rows, not over parts.
    index : int64 Tensor of shape (n,) or (member, n), or None
        The rows of an epoch, or each member's own; None for all.
    labelled : bool Tensor of shape (task,) or (member, task), or None
        Tasks that have a label in these rows; None for all.
    """

    X: Rows
    y: Tensor
    coefficient: Tensor
    index: Tensor | None = None
    labelled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.X) if self.index is None else self.index.shape[-1]

    @property
    def has_all_labels(self) -> bool:
        """Whether every label is observed and counts the same."""
        return self.coefficient.ndim == 0

    def of_members(self, index: Tensor) -> TensorData:
        """Return the table of some members."""
        own = {"index": self.index, "labelled": self.labelled}
        return replace(self, **{name: v[index] for name, v in own.items() if v is not None and v.ndim == 2})

    def __getitem__(self, place: int | slice | Sequence[int]) -> tuple[Tensor, Tensor]:
        if self.index is None and isinstance(place, int):
            rows = torch.tensor(range(len(self))[place], device=self.y.device)  # those who iterate take one at a time
        else:
            index = torch.arange(len(self.X), device=self.y.device) if self.index is None else self.index
            rows = index[place]
        coefficient = self.coefficient if self.has_all_labels else self.coefficient[rows]
        x = self.X.buffer(rows.numel())
        self.X.take(rows.view(-1), x)
        return x if rows.ndim else x[0], mark_missing(self.y[rows], coefficient)


def make_tables(
    X: Rows,
    y: Tensor,
    weight: np.ndarray | None,
    parts: Sequence[np.ndarray | None],
    batch_size: int,
    owners: np.ndarray | None = None,
) -> list[TensorData]:
    """Return the table to learn from and, where there is a second part, the one to validate on.

    Parameters
    ----------
    X : Rows of shape (n_samples, n_features)
        All rows.
    y : Tensor of shape (n_samples, part)
        Their encoded targets.
    weight : array of shape (n_samples, part) or None
        Weight of each label, 0 where missing; None where all are observed and weigh 1.
    parts : sequence of int arrays, or of None for all rows
        The rows of each part.
    batch_size : int
        Rows of a training batch.
    owners : int array of shape (part,) or None
        The task that owns each part, `TaskLayout.owners`; None where every task has one part.
    """
    sizes = (batch_size, len(X))  # rows of a step: validation is one
    if weight is None:
        return [_even_table(X, y, rows, size) for rows, size in zip(parts, sizes, strict=False)]
    coefficients = y.new_zeros(weight.shape)
    return [_table(X, y, weight, coefficients, rows, size, owners) for rows, size in zip(parts, sizes, strict=False)]


def _even_table(X: Rows, y: Tensor, rows: np.ndarray | None, size: int) -> TensorData:
    """Return a table all of whose labels count the same."""
    n = len(X) if rows is None else len(rows)
    return TensorData(X, y, y.new_tensor(-(-n // size) / n), _index(rows, y.device))


def _table(
    X: Rows,
    y: Tensor,
    weight: np.ndarray,
    coefficients: Tensor,
    rows: np.ndarray | None,
    size: int,
    owners: np.ndarray | None,
) -> TensorData:
    """Return a table of weighted labels; what those of its rows count is written to `coefficients`."""
    weight = weight if rows is None else weight[rows]
    of_task = weight if owners is None else weights_by_task(weight, owners)
    shares = label_shares(of_task)
    labelled = (shares > 0).any(axis=0)
    times = visits(shares, size)
    drawn = rows
    if times is not None:
        drawn = np.repeat(np.arange(len(X)) if rows is None else rows, times)
        shares /= times[:, None]
    shares *= -(-(len(X) if drawn is None else len(drawn)) // size)
    if owners is not None:
        shares = shares_by_part(shares, weight, of_task, owners)
    coefficients[slice(None) if rows is None else _index(rows, y.device)] = torch.as_tensor(shares).to(coefficients)
    known = None if labelled.all() else torch.as_tensor(labelled, device=y.device)
    return TensorData(X, y, coefficients, _index(drawn, y.device), known)


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
    first, device = parts[0], parts[0].y.device
    starts = torch.tensor([0, *(len(part.X) for part in parts[:-1])], device=device).cumsum(0)
    index = [torch.arange(len(part), device=device) if part.index is None else part.index for part in parts]
    labelled = None
    if any(part.labelled is not None for part in parts):
        every = torch.ones_like(next(part.labelled for part in parts if part.labelled is not None))
        labelled = torch.stack([every if part.labelled is None else part.labelled for part in parts])[list(owners)]
    return TensorData(
        X=first.X.joined([part.X for part in parts[1:]]),
        y=torch.cat([part.y for part in parts]),
        coefficient=first.coefficient if first.has_all_labels else torch.cat([part.coefficient for part in parts]),
        index=(torch.stack(index) + starts[:, None])[list(owners)],
        labelled=labelled,
    )


def mark_missing(y: Tensor, coefficient: Tensor) -> Tensor:
    """Return targets with NaN where the label is missing: what callbacks see."""
    return y.masked_fill(coefficient == 0, float("nan")) if coefficient.ndim else y.clone()
