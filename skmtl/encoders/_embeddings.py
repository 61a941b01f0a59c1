"""Users, items and other ids: a learned vector for each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from numbers import Integral
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from skmtl.encoders._base import Encoder, check_sizes

UNSEEN = 0
"""Code of ids that were not in the rows of the fit."""


class Embeddings(Encoder):
    """Columns of ids, numbers or text, become learned vectors; other columns of the table stay beside them.

    The ids of each column are learned in `fit`. Those that are not among them share a vector of zeros that is not
    trained, so that a new user's features are those of the item, and the other columns.

    Parameters
    ----------
    columns : sequence of str or int, default=None
        Names or positions of the columns of ids. None for all. The first two are users and items where that matters:
        ``Classification(negatives=...)``, `TaskView.recommend`.
    dim : int, default=16
        Size of a vector.
    product : bool, default=True
        Whether the features also hold the elementwise product of the vectors of each two columns, by which
        matrix factorisation scores a user and an item.
    freeze : bool, default=False
        Whether the weights stay as they began.
    lr : float, default=None
        Step size of its own, > 0; None for the `lr` of the estimator.

    References
    ----------
    .. [1] Y. Koren, R. Bell, C. Volinsky, "Matrix Factorization Techniques for Recommender Systems", Computer 42, 2009.
    .. [2] X. He et al., "Neural Collaborative Filtering", WWW 2017.

    Examples
    --------
    >>> from skmtl.encoders import Embeddings
    >>> Embeddings(["user", "item"], dim=8)
    Embeddings(columns=['user', 'item'], dim=8)
    """

    name = "embeddings"

    def __init__(
        self,
        columns: Sequence[str | int] | None = None,
        dim: int = 16,
        product: bool = True,
        freeze: bool = False,
        lr: float | None = None,
    ) -> None:
        self.columns = columns
        self.dim = dim
        self.product = product
        self.freeze = freeze
        self.lr = lr

    def learn(self, X: Any) -> Self:
        columns = columns_of(X)
        self.names_ = names = list(columns)
        chosen = names if self.columns is None else list(self.columns)
        places = [_place_of(column, names) for column in chosen]
        self.ids_ = [_distinct(values, names[k]) for k, values in enumerate(columns.values()) if k in places]
        self.places_ = sorted(places)
        self.pair_ = tuple(self.places_.index(place) for place in places[:2])  # of user and item among the ids
        return self

    def numbers(self, X: Any) -> np.ndarray:
        """Return ids as codes, 0 for those that are not known, then the other columns."""
        columns = list(self._in_order(columns_of(X)).items())
        codes = [_codes(columns[k][1], known) for k, known in zip(self.places_, self.ids_, strict=True)]
        others = [_floats(values, name) for k, (name, values) in enumerate(columns) if k not in self.places_]
        return np.stack([*codes, *others], axis=1)

    def known_numbers(self, columns: dict[Any, np.ndarray]) -> dict[int, np.ndarray]:
        """Return what `numbers` gives for some columns of X.

        Parameters
        ----------
        columns : dict of arrays of shape (n_samples,)
            Columns of X by name.

        Returns
        -------
        dict of arrays of shape (n_samples,)
            Codes and numbers by their position in what `numbers` returns.
        """
        found, names = {}, [*self.places_, *(k for k in range(len(self.names_)) if k not in self.places_)]
        for name, values in columns.items():
            if name not in self.names_:
                raise ValueError(f"Column {name!r} was not in X. Its columns were {self.names_}.")
            k = names.index(self.names_.index(name))
            found[k] = _codes(values, self.ids_[k]) if k < len(self.ids_) else _floats(values, name)
        return found

    def _in_order(self, columns: dict[Any, np.ndarray]) -> dict[Any, np.ndarray]:
        """Return columns in the order of those of the fit: by name, or by position where either has no names."""
        if set(columns) == set(self.names_):
            return {name: columns[name] for name in self.names_}
        are_named = [isinstance(next(iter(names), None), str) for names in (columns, self.names_)]
        if len(columns) != len(self.names_) or all(are_named):
            raise ValueError(f"X must have the columns {self.names_}, as in fit. Found {list(columns)}.")
        return columns

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        """Return the vectors of all columns of ids."""
        (dim,) = check_sizes(self.dim, "Embeddings: dim")
        return _Vectors([len(known) for known in self.ids_], dim, self.product)


class _Vectors(nn.Module):
    """One table for the vectors of all columns."""

    starts: Tensor

    def __init__(self, n_ids: Sequence[int], dim: int, product: bool) -> None:
        super().__init__()
        starts = np.cumsum([1, *n_ids])[:-1]
        self.register_buffer("starts", torch.as_tensor(starts - 1))  # code 1 is the first id of a column
        self.vectors = nn.Embedding(1 + sum(n_ids), dim, padding_idx=UNSEEN)
        with torch.no_grad():
            self.vectors.weight.normal_(std=dim**-0.5)[UNSEEN] = 0.0
        pairs = list(combinations(range(len(n_ids)), 2)) if product else []
        self._first, self._second = [a for a, _ in pairs], [b for _, b in pairs]

    def forward(self, x: Tensor) -> Tensor:
        n = len(self.starts)
        codes = x[:, :n].long()
        vectors = self.vectors(torch.where(codes == UNSEEN, UNSEEN, codes + self.starts))  # (batch, column, dim)
        products = vectors[:, self._first] * vectors[:, self._second]
        return torch.cat([vectors.flatten(1), products.flatten(1), x[:, n:]], dim=1)


def columns_of(X: Any) -> dict[Any, np.ndarray]:
    """Return the columns of a table by name, or by position where it has no names."""
    if hasattr(X, "columns"):
        return {str(name): np.asarray(X[name]) for name in X.columns}
    table = np.asarray(X)
    if table.dtype.names:
        return {name: table[name] for name in table.dtype.names}
    if table.ndim != 2:
        raise ValueError(f"Embeddings reads X of shape (n_samples, n_columns). Found shape {table.shape}.")
    return dict(enumerate(table.T))


def _place_of(column: str | int, names: Sequence[Any]) -> int:
    if column in names:
        return list(names).index(column)
    if isinstance(column, Integral) and -len(names) <= column < len(names):
        return int(column) % len(names)
    raise ValueError(f"Embeddings: columns names {column!r}. X has the columns {list(names)}.")


def _distinct(values: np.ndarray, name: Any) -> np.ndarray:
    """Return the sorted ids of a column."""
    try:
        ids = np.unique(values)
    except TypeError:
        raise ValueError(f"Embeddings: column {name!r} must hold numbers, or text, but not both.") from None
    if ids.dtype.kind == "f" and np.isnan(ids).any():
        raise ValueError(f"Embeddings: column {name!r} must hold an id in every row. Found NaN.")
    return ids


def _codes(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return 1, 2, ... for known ids and 0 for others."""
    place = {value: code for code, value in enumerate(known.tolist(), start=1)}
    return np.array([place.get(value, UNSEEN) for value in values.tolist()], dtype=np.float64)


def _floats(values: np.ndarray, name: Any) -> np.ndarray:
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Column {name!r} of X must hold numbers, or be among Embeddings(columns=...): {error}"
        ) from None
