"""What rows hold: their fields, the encoder of each, and what it takes to run these."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor, nn

from skmtl._seeding import own_generator
from skmtl.encoders._base import Encoder
from skmtl.encoders._cost import run_counted
from skmtl.encoders._embeddings import Embeddings

PASSTHROUGH = "passthrough"
NO_ROWS = "X must have at least one row. Found shape {}."


def check_encoders(encoder: Any, has_own_optimizer: bool) -> None:
    """Refuse encoders that are none, and options of theirs that are not what they must be."""
    given = encoder if isinstance(encoder, Mapping) else {"": encoder}
    if not given:
        raise ValueError("encoder must name at least one field of X. Found an empty dict.")
    for field, own in given.items():
        what = f"encoder[{field!r}]" if isinstance(encoder, Mapping) else "encoder"
        if own is None or (isinstance(own, str) and own == PASSTHROUGH):
            continue
        if not isinstance(own, Encoder):
            raise TypeError(f"{what} must be an Encoder, such as ConvEncoder(), or 'passthrough'. Found {own!r}.")
        if not isinstance(own.freeze, (bool, np.bool_)):
            raise TypeError(f"{what}: freeze must be True or False. Found {own.freeze!r}.")
        if own.lr is None:
            continue
        if not isinstance(own.lr, Real) or not 0 < own.lr < math.inf:
            raise ValueError(f"{what}: lr must be a number above 0, or None. Found {own.lr!r}.")
        if has_own_optimizer:
            raise ValueError(f"{what}: lr needs an optimizer given by name, such as 'adamw'. Found lr={own.lr!r}.")


class Places(NamedTuple):
    """The places of a site: their grid, the width of their features, and the extent of what the encoder reads."""

    grid: tuple[int, ...]
    width: int
    extent: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Field:
    """A part of a row.

    Attributes
    ----------
    name : str or None
        Of the field in a structured X; None where X is one array.
    encoder : Encoder or None
        The fitted encoder; None where the numbers are features themselves.
    shape : tuple of int
        Of the part.
    start, stop : int
        Where its numbers lie in a flat row.
    holds_ids : bool
        Whether the encoder takes whole numbers.
    width : int
        Number of features.
    n_buffered, n_operations : int
        Numbers that the encoder keeps for a row, and its multiplications for a row beside one per weight.
    weights : tuple
        Shapes of its weights.
    places : dict
        Grid and width of its features of places, by site.
    """

    name: str | None
    encoder: Encoder | None
    shape: tuple[int, ...]
    start: int
    stop: int
    holds_ids: bool
    width: int
    n_buffered: int = 0
    n_operations: int = 0
    weights: tuple[tuple[int, ...], ...] = ()
    places: Mapping[str, Places] = dataclasses.field(default_factory=dict)

    @property
    def what(self) -> str:
        """What errors call it."""
        return _called(self.name)

    def read(self, rows: Tensor, dtype: torch.dtype) -> Tensor:
        """Return this part of flat rows, (..., n) -> (..., \\*shape), as its encoder takes it."""
        part = rows[..., self.start : self.stop]
        return part.to(torch.int64 if self.holds_ids else dtype).unflatten(-1, self.shape)


class EncodedInput:
    """The fields of X as a fit found them; makes flat rows of numbers of an X.

    Parameters
    ----------
    encoder : Encoder or dict of Encoder or "passthrough"
        For all of X, or by field of a structured X.
    X : array-like of n_samples rows
        Rows of the fit.
    sites : tuple of str, default=("row",)
        What the tasks read.
    attends : bool, default=False
        Whether tasks of the row attend to places, those of the first field that has some.

    Attributes
    ----------
    fields : list of Field
        Parts of a flat row.
    dtype : dtype
        Precision of the floats in X: float64 if all have it, else float32.
    width : int
        Number of features of the row.
    sites : tuple of str
        What tasks read.
    attended : str or None
        The site that tasks of the row attend to; None where they do not.
    """

    def __init__(
        self,
        encoder: Encoder | Mapping[str, Any],
        X: Any,
        sites: tuple[str, ...] = ("row",),
        attends: bool = False,
    ) -> None:
        self._names = list(encoder) if isinstance(encoder, Mapping) else [None]
        given = self._given(X)
        encoders: Mapping[Any, Any] = encoder if isinstance(encoder, Mapping) else {None: encoder}
        self.fields: list[Field] = []
        self.sites, self.attended = sites, None
        floats = []
        for name, values in given.items():
            if len(values) == 0:
                raise ValueError(NO_ROWS.format(np.shape(values)))
            field, dtype = _learn(name, encoders[name], values, self.n_numbers, sites, attends and not self.attended)
            self.fields.append(self._without_taken(field))
            if attends and not self.attended:
                self.attended = next((site for site in AXES if site in field.places), None)
            floats += [dtype] if dtype.kind == "f" else []
        self.dtype = np.dtype(np.float64 if floats and all(d == np.float64 for d in floats) else np.float32)
        self._keeps_ids = any(field.holds_ids for field in self.fields)

    def _without_taken(self, field: Field) -> Field:
        """Return a field without places that those before it have; refuse one that gives tasks a choice."""
        taken = {site: before.what for before in self.fields for site in before.places}
        for site in self.sites:
            if site in taken and site in field.places:
                raise ValueError(f"One encoder may give features of {site}. Found {taken[site]} and {field.what}.")
        return replace(field, places={site: own for site, own in field.places.items() if site not in taken})

    @property
    def places(self) -> dict[str, Places]:
        """The places of each site but the row."""
        return {site: places for field in self.fields for site, places in field.places.items()}

    @property
    def n_numbers(self) -> int:
        """Numbers of a flat row."""
        return self.fields[-1].stop if self.fields else 0

    @property
    def width(self) -> int:
        return sum(field.width for field in self.fields)

    @property
    def n_features(self) -> int:
        """What scikit-learn calls the number of features: fields, or the length of X's second axis."""
        return self.fields[0].shape[0] if self._names == [None] else len(self.fields)

    @property
    def pair_field(self) -> tuple[Field, Embeddings] | None:
        """The first field with ids of users and items, two at least, and its encoder."""
        for field in self.fields:
            if isinstance(field.encoder, Embeddings) and len(field.encoder.ids_) > 1:
                return field, field.encoder
        return None

    @property
    def key(self) -> tuple[object, ...]:
        """What two inputs must have in common for their networks to be of one architecture."""
        fields = [(f.name, repr(f.encoder), f.shape, f.weights, f.holds_ids) for f in self.fields]
        return (self.sites, self.attended, *fields)

    def rows(self, X: Any, precision: np.dtype) -> np.ndarray:
        """Return flat rows: floats of shape (n_samples, n_numbers), in float64 where they hold ids."""
        parts = []
        for field, values in zip(self.fields, self._given(X).values(), strict=True):
            numbers = _numbers(field.encoder, values, field.what)
            if numbers.shape[1:] != field.shape:
                raise ValueError(
                    f"{field.what} must have rows of shape {field.shape}, as in fit. Found shape {numbers.shape[1:]}."
                )
            if len(numbers) == 0:
                raise ValueError(NO_ROWS.format(numbers.shape))
            dtype = np.dtype(np.float64) if self._keeps_ids else precision
            parts.append(numbers.reshape(len(numbers), math.prod(field.shape)).astype(dtype, copy=False))
            if not _is_finite(parts[-1]):
                raise ValueError(f"{field.what} must hold finite numbers. Found NaN or infinity.")
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    def _given(self, X: Any) -> dict[str | None, Any]:
        """Return what each encoder reads, by field."""
        if self._names == [None]:
            return {None: X.detach().cpu().numpy() if isinstance(X, torch.Tensor) else X}
        if isinstance(X, Mapping):
            raise TypeError("X must be a structured array. Found a dict: write skmtl.records(X).")
        found = getattr(getattr(X, "dtype", None), "names", None) or list(getattr(X, "columns", ()))
        missing = [name for name in self._names if name not in found]
        if missing or len(found) > len(self._names):
            raise ValueError(
                f"encoder names the fields {self._names}, and X must have these: a structured array, as skmtl.records "
                f"makes it. Found {list(found) if found else type(X).__name__}."
            )
        return {name: X[name] if isinstance(X, np.ndarray) else np.stack(list(X[name])) for name in self._names}


def _learn(
    name: str | None, encoder: Any, values: Any, start: int, sites: tuple[str, ...], attends: bool
) -> tuple[Field, np.dtype]:
    """Return a field as the rows of a fit define it, and the type of its numbers."""
    encoder = None if encoder is None or encoder == PASSTHROUGH else clone(encoder).learn(values)
    numbers = _numbers(encoder, values, _called(name))
    shape = numbers.shape[1:]
    stop = start + math.prod(shape)
    if encoder is None:
        return Field(name, None, shape, start, stop, False, stop - start), numbers.dtype
    encoder.sites_ = tuple(dict.fromkeys([*sites, *([encoder.attended] if attends and encoder.attended else [])]))
    holds_ids = encoder.reads_ids(numbers.dtype)
    found = Field(name, encoder, shape, start, stop, holds_ids, 0)
    return _measured(found, numbers[[0, -1]]), numbers.dtype


def _called(name: str | None) -> str:
    return "X" if name is None else f"Field {name!r} of X"


def _is_finite(values: np.ndarray) -> bool:
    with np.errstate(all="ignore"):  # a sum of large numbers may overflow
        return bool(np.isfinite(values.sum()) or np.isfinite(values).all())


def _numbers(encoder: Encoder | None, values: Any, what: str) -> np.ndarray:
    numbers = np.asarray(values) if encoder is None else encoder.numbers(values)
    if encoder is None and numbers.ndim == 1:
        numbers = numbers[:, None]
    if numbers.dtype.kind not in "fiub":
        raise ValueError(f"{what} must hold numbers. Found {numbers.dtype}.")
    if numbers.ndim < 2:
        raise ValueError(f"{what} must have rows of at least one number. Found shape {numbers.shape}.")
    return numbers


def _measured(own: Field, two_rows: np.ndarray) -> Field:
    """Return a field with what a pass of two rows through its encoder shows; refuse one that cannot be trained."""
    encoder = own.encoder
    assert encoder is not None
    name = type(encoder).__name__
    with own_generator(), torch.enable_grad():
        module = encoder.build(own.shape).train(not encoder.freeze)
        _refuse_statistics(module, name)
        weight = next(module.parameters(), torch.empty(0))
        flat = torch.as_tensor(two_rows.reshape(2, -1).astype(np.float64))
        x = replace(own, start=0, stop=flat.shape[1]).read(flat, weight.dtype)
        before = [value.clone() for value in module.buffers()]
        features, n_buffered, n_operations = _run(module, x, name)
        if any(not torch.equal(a, b) for a, b in zip(before, module.buffers(), strict=True)):
            _raise_statistics(name)
        by_site = features_by_site(features)
        if "row" in by_site:
            _check_features(by_site["row"], name, tuple(x.shape))
        elif not isinstance(features, Mapping) or "row" in encoder.sites_:
            raise ValueError(f"{name} must give features of the row, which tasks read. Found {list(by_site)}.")
        given = features if isinstance(features, Mapping) else {}
        places = {site: _check_places(given[site], site, name, own.shape) for site in AXES if site in given}
        if not encoder.freeze:
            _check_gradients(module, [given for given in by_site.values() if given.is_floating_point()], name)
    weights = tuple(tuple(p.shape) for p in module.parameters())
    width = int(by_site["row"].shape[1]) if "row" in by_site else 0
    return replace(own, width=width, places=places, n_buffered=n_buffered, n_operations=n_operations, weights=weights)


def _run(module: nn.Module, x: Tensor, name: str) -> tuple[Any, int, int]:
    try:
        return run_counted(module, x)
    except Exception as error:
        raise ValueError(
            f"{name} failed on two rows of shape {tuple(x.shape)} and type {x.dtype}: {type(error).__name__}: {error}"
        ) from error


def _check_features(features: Any, name: str, shape: tuple[int, ...]) -> None:
    if not isinstance(features, Tensor) or features.ndim != 2 or features.shape[0] != 2 or features.shape[1] < 1:
        found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(
            f"{name} must return features of shape (batch, width) with a width of at least 1. Found {found} for two "
            f"rows, a batch of shape {shape}."
        )
    if not features.is_floating_point():
        raise ValueError(f"{name} must return features that are floats. Found {features.dtype}.")


AXES = {"tokens": 3, "pixels": 4, "cells": 4}
"""Sites of places, those to attend to first, and how many axes their features have."""


def features_by_site(features: Any) -> dict[str, Any]:
    """Return what a module gives by site, places side by side: (batch, place, width)."""
    if not isinstance(features, Mapping):
        return {"row": features}
    found = dict(features)
    for site in ("pixels", "cells"):
        if isinstance(found.get(site), Tensor) and found[site].ndim == 4:
            found[site] = found[site].flatten(2).transpose(1, 2)
    return found


def _check_places(features: Any, site: str, name: str, shape: tuple[int, ...]) -> Places:
    """Return the places of a site; refuse features of another form."""
    if not isinstance(features, Tensor) or features.ndim != AXES[site] or len(features) != 2:
        form = "(batch, length, width)" if site == "tokens" else "(batch, width, height, width of the grid)"
        found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(f"{name} must return features of {site} of shape {form}. Found {found} for two rows.")
    if site == "tokens":
        return Places((int(features.shape[1]),), int(features.shape[2]), shape[:1])
    height, width = map(int, features.shape[2:])
    return Places((height, width), int(features.shape[1]), shape[-2:])


def _check_gradients(module: nn.Module, features: Sequence[Tensor], name: str) -> None:
    named = [(key, p) for key, p in module.named_parameters() if p.requires_grad]
    if not named:
        return
    found: list[Tensor | None] = [None] * len(named)
    trained = [own.sum() for own in features if own.requires_grad]
    if trained:
        found = list(torch.autograd.grad(sum(trained, torch.zeros(())), [p for _, p in named], allow_unused=True))
    idle = [key for (key, _), gradient in zip(named, found, strict=True) if gradient is None]
    if idle:
        raise ValueError(
            f"{name}: the features must depend on every weight of the module, or it must be frozen with freeze=True. "
            f"Found no gradient for {idle[:5]}."
        )


def _refuse_statistics(module: nn.Module, name: str) -> None:
    if any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in module.modules()):
        _raise_statistics(name)


def _raise_statistics(name: str) -> None:
    raise ValueError(
        f"{name}: the module keeps statistics of batches, as BatchNorm does, so that what it gives for a row "
        f"depends on other rows. Use GroupNorm or LayerNorm instead, in Keras GroupNormalization or LayerNormalization."
    )
