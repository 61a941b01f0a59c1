"""Raw outputs of users with all items as one matrix product, where a network is linear above the vectors of ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skmtl._catalogue import Catalogue
from skmtl._encoded import EncodedTrunk
from skmtl._heads import SharedHeads
from skmtl._network import MultiTaskNetwork
from skmtl.encoders import EncodedInput
from skmtl.sharing import DenseTrunk

USER, ITEM, BOTH = 0, 1, 2


@dataclass(frozen=True)
class Sides:
    """Which features depend on the user and the context, which on the item, and which are products of both.

    Attributes
    ----------
    side : int array of shape (n_features,)
        `USER`, `ITEM` or `BOTH`.
    of_user, of_item : int arrays of shape (n_products,)
        The features whose product each feature of `BOTH` is.
    """

    side: np.ndarray
    of_user: np.ndarray
    of_item: np.ndarray


def is_linear(network: MultiTaskNetwork) -> bool:
    """Return whether raw outputs are a linear map of the features of the encoders, one for all tasks."""
    trunk = network.trunk
    if not isinstance(trunk, EncodedTrunk) or not isinstance(trunk.trunk, DenseTrunk):
        return False
    return not trunk.trunk.per_task and not trunk.trunk.stack.n_layers and isinstance(network.heads, SharedHeads)


def sides_of(entry: EncodedInput, catalogue: Catalogue) -> Sides | None:
    """Return the sides of all features; None where an encoder mixes numbers of both."""
    side_of_number = np.zeros(entry.n_numbers, dtype=int)
    side_of_number[[catalogue.item, *catalogue.of_item]] = ITEM
    found, first, pair = [], 0, entry.pair_field
    products: tuple[np.ndarray, ...] = ()
    for field in entry.fields:
        own = side_of_number[field.start : field.stop]
        if pair is not None and field is pair[0]:
            own, *products = _of_embeddings(own, len(pair[1].ids_), pair[1].dim, field.width)
            products = tuple(first + places for places in products)
        elif field.encoder is not None:
            if len(np.unique(own)) > 1:
                return None
            own = np.full(field.width, own[0])
        found.append(own)
        first += field.width
    return Sides(np.concatenate(found), *products)


def _of_embeddings(side: np.ndarray, n_ids: int, dim: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the sides of the features of `Embeddings`, and the two factors of each that is a product of both sides."""
    ids, places = side[:n_ids], np.arange(n_ids * dim).reshape(n_ids, dim)
    first, second = np.triu_indices(n_ids, 1)
    if width == n_ids * dim + len(side) - n_ids:  # without products
        first = second = first[:0]
    of_product = np.where(ids[first] == ids[second], ids[first], BOTH)
    both = of_product == BOTH
    user = np.where(ids[first] == USER, first, second)[both]
    item = np.where(ids[first] == USER, second, first)[both]
    found = np.concatenate([np.repeat(ids, dim), np.repeat(of_product, dim), side[n_ids:]])
    return found, places[user].ravel(), places[item].ravel()


class Factors:
    """The factors of items, by which those of users are multiplied.

    Parameters
    ----------
    network : MultiTaskNetwork
        One that `is_linear`.
    sides : Sides
        Of its features.
    items : Tensor of shape (n_items, n_numbers)
        A flat row of each item; what it holds of the user does not matter.
    columns : int array of shape (n_columns,)
        The raw columns to compute.
    """

    def __init__(self, network: MultiTaskNetwork, sides: Sides, items: Tensor, columns: np.ndarray) -> None:
        weight, bias = network.heads.stack._pair(0)
        self._weight, self._bias = weight[:, :, columns], bias[:, :, columns]  # (member, feature, column)
        self._network, self._n_columns = network, len(columns)
        self._on_user, self._on_item, self._on_both = (
            torch.as_tensor(np.flatnonzero(sides.side == side), device=weight.device) for side in (USER, ITEM, BOTH)
        )
        self._of_user = torch.as_tensor(sides.of_user, device=weight.device)
        features = self._encoded(items)  # (member, item, feature)
        alone = features[:, :, self._on_item] @ self._weight[:, self._on_item]
        one = torch.ones_like(features[:, :, :1])
        self._items = torch.cat([features[:, :, torch.as_tensor(sides.of_item)], alone, one], dim=2).transpose(1, 2)

    def raw(self, users: Tensor) -> Tensor:
        """Return the raw columns (member, user, item, column) for a flat row of each user, (n_users, n_numbers)."""
        features = self._encoded(users)  # (member, user, feature)
        alone = features[:, :, self._on_user] @ self._weight[:, self._on_user] + self._bias
        of_both = self._weight[:, self._on_both].transpose(1, 2)  # (member, column, product)
        products = features[:, :, None, self._of_user] * of_both[:, None]  # (member, user, column, product)
        which = torch.eye(self._n_columns).to(features).expand(*products.shape[:2], -1, -1)
        factors = torch.cat([products, which, alone[..., None]], dim=3)
        raw = factors.flatten(1, 2) @ self._items  # the one product
        return raw.unflatten(1, factors.shape[1:3]).transpose(2, 3)

    def _encoded(self, rows: Tensor) -> Tensor:
        """Return the features of flat rows: (member, n_rows, n_features)."""
        encode, limit = self._network.trunk.encode, self._network.max_rows
        return encode(rows) if limit is None else torch.cat([encode(own) for own in rows.split(limit)], dim=1)
