"""The best items for users: a row for every user and item, scored at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from skmtl._catalogue import Catalogue
from skmtl._factors import Factors, is_linear, sides_of
from skmtl.encoders import columns_of
from skmtl.metrics._ranking import check_k
from skmtl.tasks import Chain, average_members, decoded

SCORES = 2**20
"""Scores that are computed at once."""
ROWS = 2**16
"""Rows that are put through the network at once, where these are needed."""


def why_not(view) -> str | None:
    """Return why a task cannot recommend items, None where it can."""
    last, task, classes = view._last()[1], view._task(), view._classes()
    if getattr(last, "_catalogue", None) is None or last._entry is None:
        return "X must have ids of users and of items that an encoder reads, encoder=Embeddings(['user', 'item']), say"
    if classes is not None and len(classes) == 2:
        return None
    if isinstance(task, Chain) or (classes is None and view._estimator_type_of_task() == "regressor"):
        return None
    return "items are ranked by a number, by the greater of two classes or by the last event of a Chain"


def recommend(view, users: Any, k: int, exclude_seen: bool):
    """Return the best items for users, see `TaskView.recommend`."""
    import pandas  # slow to import

    k, last = check_k(k), view._last()[1]
    catalogue, (_, encoder) = last._catalogue, last._entry.pair_field
    names = [encoder.names_[encoder.places_[place]] for place in encoder.pair_]
    asked, rows = _rows_of_users(last, users, names[0])
    scorer = _Scorer(view, last)
    places, items, scores = [], [], []
    size = max(1, SCORES // len(catalogue.items))
    for start in range(0, max(1, len(rows)), size):
        found = scorer.scores(rows[start : start + size])
        if exclude_seen:
            _drop_seen(found, catalogue, rows[start : start + size, catalogue.user].astype(np.int64))
        user, item = _best(found, k)
        places.append(user + start)
        items.append(catalogue.items[item])
        scores.append(found[user, item])
    codes = np.concatenate(items)
    ids = encoder.ids_[encoder.pair_[1]][codes - 1]
    columns = {names[0]: asked[np.concatenate(places)], names[1]: ids, "score": np.concatenate(scores)}
    return pandas.DataFrame(columns)


def _rows_of_users(last, users: Any, name: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids that were asked for, and a flat row for each: (n_users,), (n_users, n_numbers)."""
    catalogue, (field, encoder) = last._catalogue, last._entry.pair_field
    columns = columns_of(users) if hasattr(users, "columns") else {name: _as_ids(users)}
    if name not in columns:
        raise ValueError(f"users must be ids, or a frame with the column {name!r}. Found {list(columns)}.")
    asked = columns[name]
    if asked.ndim != 1:
        raise ValueError(f"users must be one id, an array of ids, or a frame. Found shape {asked.shape}.")
    given = encoder.known_numbers(columns)
    codes = given[catalogue.user - field.start].astype(np.int64)
    rows = np.tile(catalogue.default, (len(asked), 1))
    rows[:, catalogue.of_user] = catalogue.user_values[codes]
    for column, (place, values) in zip(columns, given.items(), strict=True):
        if field.start + place in {catalogue.item, *catalogue.of_item.tolist()}:
            raise ValueError(f"users may have columns of X that are not of the item. Found {column!r}.")
        if not np.isfinite(values).all():
            raise ValueError(f"users must hold finite numbers. Found NaN or infinity in column {column!r}.")
        rows[:, field.start + place] = values
    return asked, rows


def _as_ids(users: Any) -> np.ndarray:
    """Return ids as an array; numbers beside text stay numbers."""
    if not isinstance(users, (list, tuple)):
        return np.atleast_1d(np.asarray(users))
    kinds = {type(user) for user in users}
    return np.asarray(users, dtype=None if len(kinds) == 1 else object)


class _Scorer:
    """The scores of all items, one matrix product where the network is linear above the vectors of ids."""

    def __init__(self, view, last) -> None:
        self._view, self._last = view, last
        (self._network,) = last.network_.networks
        (plan,) = last._plan.plans
        self._layout, self._catalogue = plan.layout, last._catalogue
        sides = sides_of(last._entry, self._catalogue) if is_linear(self._network) else None
        self._factors = None
        if sides is not None:
            task = int(self._layout.places[view._number()])
            self._columns = np.flatnonzero(self._layout.column_owners == task)
            items = self._with_items(self._catalogue.default[None])
            with torch.inference_mode():
                self._factors = Factors(self._network, sides, self._tensor(items), self._columns)

    def scores(self, users: np.ndarray) -> np.ndarray:
        """Return the score of each item for these rows of users: (n_users, n_items)."""
        n = len(self._catalogue.items)
        if self._factors is not None:
            return self._decoded(self._product(users)).reshape(-1, n)
        size, found = max(1, ROWS // n), []
        for start in range(0, max(1, len(users)), size):
            rows = self._with_items(users[start : start + size])
            found.append(self._decoded(self._last._raw_of_rows(rows)).reshape(-1, n))
        return np.concatenate(found)

    def _product(self, users: np.ndarray) -> list[np.ndarray]:
        """Return raw outputs for the mean prediction of the members: (n_users * n_items, n_outputs)."""
        with torch.inference_mode():
            own = self._factors.raw(self._tensor(users)).flatten(1, 2)
            raw = own.new_zeros(*own.shape[:2], self._layout.n_outputs)  # of other tasks nobody asks
            raw[..., self._columns] = own
            return [average_members(self._layout.groups, raw).cpu().numpy()]

    def _with_items(self, users: np.ndarray) -> np.ndarray:
        """Return a row of each user with each item: (n_users * n_items, n_numbers)."""
        catalogue = self._catalogue
        rows = np.repeat(users, len(catalogue.items), axis=0)
        items = np.tile(catalogue.items, len(users))
        rows[:, catalogue.item] = items
        rows[:, catalogue.of_item] = catalogue.item_values[items]
        return rows

    def _tensor(self, rows: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(rows, device=self._network.device)

    def _decoded(self, raws: list[np.ndarray]) -> np.ndarray:
        """Return what items are ranked by: (n_rows,)."""
        view, last = self._view, self._last
        number, task = view._number(), view._task()
        if task is None and view._classes() is not None:
            return last._probabilities(raws)[number][:, 1]
        if task is None:
            return last._decode(raws).reshape(len(raws[0]), -1)[:, number].astype(float)
        raw = view._select(raws)
        return task.probabilities(raw)[:, -1] if hasattr(task, "probabilities") else decoded(task, raw)


def _drop_seen(scores: np.ndarray, catalogue: Catalogue, users: np.ndarray) -> None:
    """Set the scores of items that came with a user to -inf."""
    place, seen = catalogue.seen_by(users)
    scores[place, np.searchsorted(catalogue.items, seen)] = -np.inf


def _best(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of the k highest scores of each row, highest first, without those that are -inf."""
    k = min(k, scores.shape[1])
    best = np.argpartition(-scores, k - 1, axis=1)[:, :k] if k < scores.shape[1] else np.arange(k)[None]
    best = np.broadcast_to(np.sort(best, axis=1), (len(scores), k))
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    best = np.take_along_axis(best, order, axis=1)
    user = np.repeat(np.arange(len(scores)), k)
    keep = np.isfinite(scores[user, best.ravel()])
    return user[keep], best.ravel()[keep]
