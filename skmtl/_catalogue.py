"""What a fit has seen of users and items: which came together, and what its rows say of each."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skmtl.encoders import EncodedInput

BLOCK = 2**22
"""Numbers that are compared at once."""


@dataclass(frozen=True, eq=False)
class Catalogue:
    """Users, items and pairs of them, by the codes that stand for ids in flat rows; code 0 is of unknown ids.

    Attributes
    ----------
    user, item : int
        Where a flat row holds the codes.
    users, items : int arrays
        The sorted codes of those that the rows of the fit hold.
    starts : int64 array of shape (n_users + 2,)
        Where the items of each code of a user begin in `seen`; the last is its length.
    seen : int32 array of shape (n_pairs,)
        The items that came with each user, ascending, user by user.
    of_item, of_user : int arrays
        Places of numbers that are the same in all rows of an item, or of a user.
    item_values, user_values : arrays of shape (n_codes, n_places)
        These numbers.
    default : array of shape (n_numbers,)
        A row of which nothing is known: means, and 0 for codes.
    """

    user: int
    item: int
    users: np.ndarray
    items: np.ndarray
    starts: np.ndarray
    seen: np.ndarray
    of_item: np.ndarray
    of_user: np.ndarray
    item_values: np.ndarray
    user_values: np.ndarray
    default: np.ndarray

    @classmethod
    def of(cls, entry: EncodedInput, X: np.ndarray) -> Catalogue | None:
        """Return that of flat rows; None where no encoder reads ids of users and items."""
        found = entry.pair_field
        if found is None:
            return None
        field, encoder = found
        user, item = (field.start + place for place in encoder.pair_)
        n_users, n_items = (len(encoder.ids_[place]) for place in encoder.pair_)
        by_user, user_rows = _same(X, X[:, user], n_users)
        by_item, item_rows = _same(X, X[:, item], n_items)
        if (item_rows >= 0).sum() > (user_rows >= 0).sum():  # what is the same for both belongs to those with more rows
            by_item &= ~by_user
        by_user &= ~by_item
        by_item[[user, item]] = by_user[[user, item]] = False
        default = X.mean(axis=0, dtype=np.float64).astype(X.dtype)
        default[_places_of_codes(entry)] = 0
        of_item, of_user = np.flatnonzero(by_item), np.flatnonzero(by_user)
        pairs = X[:, [user, item]].astype(np.int64)
        return cls(
            user=user,
            item=item,
            users=np.flatnonzero(user_rows[1:] >= 0) + 1,
            items=np.flatnonzero(item_rows[1:] >= 0) + 1,
            **_by_user(pairs, n_users),
            of_item=of_item,
            of_user=of_user,
            item_values=_values(X, item_rows, of_item, default),
            user_values=_values(X, user_rows, of_user, default),
            default=default,
        )

    def with_pairs(self, X: np.ndarray) -> Catalogue:
        """Return this catalogue with the pairs of further rows."""
        pairs = np.concatenate([self.pairs(), X[:, [self.user, self.item]].astype(np.int64)])
        return replace(self, **_by_user(pairs, len(self.user_values) - 1))

    def pairs(self) -> np.ndarray:
        """Return all pairs as codes: int64 (n_pairs, 2)."""
        users = np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))
        return np.stack([users, self.seen.astype(np.int64)], axis=1)

    def seen_by(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the pairs of these users, codes (n,): places of users among them, and items; (n_pairs,) both."""
        first, n = self.starts[users], self.starts[users + 1] - self.starts[users]
        place = np.repeat(np.arange(len(users)), n)
        within = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
        return place, self.seen[np.repeat(first, n) + within].astype(np.int64)


def remember(estimator, X: np.ndarray, rows: np.ndarray | None, is_anew: bool) -> None:
    """Let an estimator with an encoder learn which users and items are in the rows of a fit, or of a later one."""
    X = X if rows is None else X[rows]
    if is_anew:
        estimator._catalogue = Catalogue.of(estimator._entry, X)
    elif estimator._catalogue is not None:
        estimator._catalogue = estimator._catalogue.with_pairs(X)


def _by_user(pairs: np.ndarray, n_users: int) -> dict[str, np.ndarray]:
    """Return which items came with each user; pairs with an unknown id are left out."""
    pairs = pairs[(pairs > 0).all(axis=1)]
    base = int(pairs[:, 1].max(initial=0)) + 1
    users, items = np.divmod(np.unique(pairs[:, 0] * base + pairs[:, 1]), base)
    return {"starts": np.searchsorted(users, np.arange(n_users + 2)), "seen": items.astype(np.int32)}


def _same(X: np.ndarray, codes: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which numbers are the same in all rows of a code, (n_numbers,), and the first row of each code or -1."""
    codes, first = codes.astype(np.int64), np.full(n + 1, -1)
    first[codes[::-1]] = np.arange(len(X))[::-1]
    same, size = np.ones(X.shape[1], dtype=bool), max(1, BLOCK // X.shape[1])
    for start in range(0, len(X), size):
        block = slice(start, start + size)
        same &= (X[block] == X[first[codes[block]]]).all(axis=0)
    return same, first


def _values(X: np.ndarray, rows: np.ndarray, places: np.ndarray, default: np.ndarray) -> np.ndarray:
    """Return what the first row of each code holds at some places; the default for codes without a row."""
    return np.where((rows >= 0)[:, None], X[np.ix_(rows, places)], default[places])


def _places_of_codes(entry: EncodedInput) -> list[int]:
    """Return where flat rows hold codes, whose mean is nothing."""
    found: list[int] = []
    for field in entry.fields:
        stop = field.stop if field.holds_ids else field.start + len(getattr(field.encoder, "ids_", ()))
        found += range(field.start, stop)
    return found
