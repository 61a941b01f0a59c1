"""Items that users have not been seen with, drawn as negative examples inside a fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

import numpy as np
import torch

from skmtl._rows import DenseRows, Rows
from skmtl.encoders import EncodedInput


class Drawn(NamedTuple):
    """Of one task, what its negatives are drawn for.

    Attributes
    ----------
    name : str
        Of the task.
    n : int
        Negatives for each positive label.
    places : int array
        The places of its parts in the network, the one that says what is positive first.
    ratio : float
        What a negative weighs against its positive.
    """

    name: str
    n: int
    places: np.ndarray
    ratio: float


class _Added:
    """New rows, collected part by part: the row that each is a copy of, its item, and its task."""

    def __init__(self, n_given: int) -> None:
        self.n = n_given
        self.sources: list[np.ndarray] = []
        self.items: list[np.ndarray] = []
        self.tasks: list[np.ndarray] = []

    def add(self, sources: np.ndarray, items: np.ndarray, task: int) -> np.ndarray:
        """Return the numbers that the new rows get."""
        self.sources.append(sources)
        self.items.append(items)
        self.tasks.append(np.full(len(items), task))
        self.n += len(items)
        return np.arange(self.n - len(items), self.n)


def with_negatives(reading, divisions, seeds: Sequence[int]) -> tuple[Rows, torch.Tensor, np.ndarray, list]:
    """Return X, y and weights of a reading with negatives after them, and divisions with each member's own.

    Negatives of rows to learn from are drawn among the pairs that the member does not learn from; those of rows to
    validate on, among the pairs that are in neither.

    Parameters
    ----------
    reading : Reading
        What the fit has read.
    divisions : sequence of sequences of one or two int arrays, or None for all rows
        The rows to learn from and those held out: one division for all members, or one for each.
    seeds : sequence of int
        Of the members.
    """
    X, y, weight, divisions = _joined(reading, divisions, len(seeds))
    catalogue, drawn = reading.estimator._catalogue, drawn_parts(reading.estimator)
    pairs = X[:, [catalogue.user, catalogue.item]].cpu().numpy().astype(np.int64)
    firsts = [task.places[0] for task in drawn]
    is_positive = (y[:, firsts].cpu().numpy() == 1) & (weight[:, firsts] > 0)
    known = catalogue.pairs() if reading.codes is None else None  # nothing of it is held out
    added, found = _Added(len(X)), []
    for division, seed in zip(divisions, seeds, strict=True):
        seen = pairs[division[0]] if known is None else known
        items, own = np.unique(seen[:, 1][seen[:, 1] > 0]), []
        for part, rows in enumerate(division):
            seen = np.concatenate([seen, pairs[rows]]) if part else seen
            numbers = [rows]
            for number, task in enumerate(drawn):
                sources = np.repeat(rows[is_positive[rows, number]], task.n)
                rng = np.random.default_rng([seed, crc32(task.name.encode()), part])
                chosen = draw_unseen(pairs[sources, 0], seen, items, rng)
                if not part:
                    _check_drawn(chosen, task, items)
                numbers.append(added.add(sources[chosen > 0], chosen[chosen > 0], number))
            own.append(np.concatenate(numbers))
        found.append(own)
    return *_tables(X, y, weight, catalogue, drawn, added), found


def check_ids(entry: EncodedInput | None) -> None:
    """Refuse to draw items where X has no ids of users and items."""
    if entry is None or entry.pair_field is None:
        raise ValueError(
            "negatives are drawn among items, so X must have ids of users and of items, and an encoder must read both: "
            "encoder=Embeddings(['user', 'item']), say. Found none: name them, or set negatives=0."
        )


def drawn_parts(estimator) -> list[Drawn]:
    """Return the tasks that draw negatives, in an order that does not depend on that of the tasks."""
    places = np.argsort(estimator._plan.layout.part_order)
    stops = np.cumsum([sum(loss.n_parts for loss in losses) for losses in estimator._losses.values()])
    found = []
    for (name, task), start, stop in zip(estimator.tasks_.items(), [0, *stops[:-1]], stops, strict=True):
        if task.negatives:
            found.append(Drawn(name, task.negatives, places[start:stop], task.weight_of_negatives()))
    return sorted(found, key=lambda task: task.name)


def _check_drawn(chosen: np.ndarray, task: Drawn, items: np.ndarray) -> None:
    if len(chosen) and not chosen.any():
        raise ValueError(
            f"Task {task.name!r}: negatives={task.n} draws items that a user has not been seen with. Every user with a "
            f"positive label has been seen with all {len(items)} items: set negatives=0."
        )


def draw_unseen(users: np.ndarray, seen: np.ndarray, items: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return for each of these users an item that it has not been seen with, each as likely; 0 where there is none.

    A draw is a number r below the count of unseen items. The r-th of them follows those seen items of which no more
    than r unseen ones come before, and these are counted by one search for all draws.

    Parameters
    ----------
    users : int64 array of shape (n,)
        Codes.
    seen : int64 array of shape (n_pairs, 2)
        Pairs of codes of users and items, in any order, repeated or not.
    items : int64 array of shape (n_items,)
        Sorted codes above 0 of the items to draw from.
    rng : Generator
        Draws one number for each user.

    Returns
    -------
    int64 array of shape (n,)
    """
    if not len(users) or not len(items):
        return np.zeros(len(users), dtype=np.int64)
    n = len(items)
    place = np.searchsorted(items, seen[:, 1]).clip(max=n - 1)
    is_known = items[place] == seen[:, 1]
    codes = np.sort(seen[is_known, 0] * n + place[is_known])
    owner, place = np.divmod(codes[np.diff(codes, prepend=-1) > 0], n)
    starts = np.append(0, np.cumsum(np.bincount(owner, minlength=users.max() + 1)))
    start = starts[users]
    before = place - (np.arange(len(owner)) - starts[owner])  # unseen items that come before a seen one
    left = n - (starts[users + 1] - start)
    r = np.minimum((rng.random(len(users)) * left).astype(np.int64), left - 1)
    passed = np.searchsorted(owner * (n + 1) + before, users * (n + 1) + r, side="right") - start
    return np.where(left > 0, items[(r + passed).clip(0, n - 1)], 0)


def _joined(reading, divisions, n_members: int):
    """Return X, y and weights as tables, a validation set of the user's own after them, and each member's division."""
    X, y, weight, valid = reading.X.whole(), reading.y, reading.weight, reading.valid
    weight, n = np.ones(y.shape) if weight is None else weight, len(X)
    divisions = divisions if len(divisions) == n_members else [divisions[0]] * n_members
    divisions = [[np.arange(n) if rows is None else rows for rows in division] for division in divisions]
    if valid is None:
        return X, y, weight, divisions
    own = valid.coefficient.expand(valid.y.shape).cpu().double().numpy()  # in proportion to weights within a task
    divisions = [[*division, np.arange(n, n + len(valid))] for division in divisions]
    return torch.cat([X, valid.X.whole()]), torch.cat([y, valid.y]), np.concatenate([weight, own]), divisions


def _tables(X, y, weight, catalogue, drawn: Sequence[Drawn], added: _Added) -> tuple[Rows, torch.Tensor, np.ndarray]:
    """Return tables with the new rows after those that are given."""
    sources, items, tasks = (np.concatenate(parts) for parts in (added.sources, added.items, added.tasks))
    new = X[torch.as_tensor(sources, device=X.device)]
    new[:, catalogue.item] = torch.as_tensor(items).to(X)
    new[:, catalogue.of_item.tolist()] = torch.as_tensor(catalogue.item_values[items]).to(X)
    new_weight = np.zeros((len(items), weight.shape[1]))
    for number, task in enumerate(drawn):
        own = np.flatnonzero(tasks == number)
        new_weight[np.ix_(own, task.places)] = task.ratio * weight[sources[own], task.places[0]][:, None]
    y = torch.cat([y, y.new_zeros(len(items), y.shape[1])])
    return DenseRows(torch.cat([X, new])), y, np.concatenate([weight, new_weight])
