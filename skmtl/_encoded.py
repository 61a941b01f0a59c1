"""Encoders in front of a strategy's trunk: copies of a module for members and towers, in one flat buffer."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from skmtl._rows import MAX_BYTES
from skmtl.encoders import IS_TOKEN, EncodedInput, Encoder, features_by_site
from skmtl.sharing import (
    AttentionSharing,
    AutogradPass,
    DenseTrunk,
    Pass,
    PlacesShape,
    Sharing,
    SharingModule,
    StackedModule,
    TrunkShape,
    submodule,
)
from skmtl.tasks import ROW


class ModuleCopies(StackedModule):
    """Copies of one module, run one after the other.

    What is registered are the weights of all copies, stacked (\\*stack_shape, ...) and named by position, so that
    buffer, penalty and searches see them like those of any stacked module. The copies' weights and gradients are views
    of them.

    Parameters
    ----------
    encoder : Encoder
        Builds the module.
    shape : tuple of int
        Of what it reads of a row.
    stack_shape : tuple of int
        (member,) or (member, task). Copies of one member begin with equal weights.
    """

    def __init__(self, encoder: Encoder, shape: tuple[int, ...], stack_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.stack_shape, self.lr, self._is_frozen = stack_shape, encoder.lr, bool(encoder.freeze)
        first = [encoder.build(shape) for _ in range(stack_shape[0])]
        each = math.prod(stack_shape[1:])
        self.__dict__["copies"] = [copy.deepcopy(module) for module in first for _ in range(each)]
        for k, own in enumerate(zip(*[module.parameters() for module in self.copies], strict=True)):
            values = torch.stack([p.detach() for p in own]).unflatten(0, stack_shape)
            kind = "bias" if own[0].ndim < 2 else "weight"
            is_trained = own[0].requires_grad and not self._is_frozen
            self.register_parameter(f"{kind}_{k}", nn.Parameter(values, requires_grad=is_trained))
            for p in own:
                p.requires_grad_(is_trained)
        for k, own in enumerate(zip(*[module.buffers() for module in self.copies], strict=True)):
            self.register_buffer(f"constant_{k}", torch.stack(list(own)).unflatten(0, stack_shape))
        self.train()

    copies: list[nn.Module]

    def forward(self, x: Tensor, by_member: bool) -> Tensor:
        """Return features (\\*stack_shape, batch, width) for x (batch, \\*shape), or of each member (member, ...)."""
        return self.by_site(x, by_member)[ROW]

    def by_site(self, x: Tensor, by_member: bool) -> dict[str, Tensor]:
        """Return the same by site: features of places are (\\*stack_shape, batch, place, width)."""
        self.link()
        each = math.prod(self.stack_shape[1:])
        found = [features_by_site(m(x[k // each] if by_member else x)) for k, m in enumerate(self.copies)]
        return {site: torch.stack([own[site] for own in found]).unflatten(0, self.stack_shape) for site in found[0]}

    def link(self) -> None:
        """Make the copies' weights and gradients views of the stacked ones, wherever these have moved to."""
        depth = len(self.stack_shape)
        stacked = [*self._parameters.values(), *self._buffers.values()]
        with torch.inference_mode(False):
            for values, own in zip(stacked, zip(*map(_tensors, self.copies), strict=True), strict=True):
                assert values is not None
                if _is_part(own[0], values):
                    continue
                parts = values.detach().flatten(0, depth - 1)
                grads = None if values.grad is None else values.grad.flatten(0, depth - 1)
                for k, mine in enumerate(own):
                    mine.grad = None
                    mine.data = parts[k]
                    mine.requires_grad_(values.requires_grad)
                    mine.grad = None if grads is None else grads[k]

    def leaves(self) -> list[nn.Parameter]:
        """Return the trained weights of the copies, with gradients that are views of the stacked ones'."""
        self.link()
        return [p for module in self.copies for p in module.parameters() if p.requires_grad]

    def train(self, mode: bool = True) -> ModuleCopies:
        super().train(mode)
        for module in self.copies:
            module.train(mode and not self._is_frozen)
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> ModuleCopies:
        twin = object.__new__(type(self))
        memo[id(self)] = twin
        twin.__dict__.update({name: copy.deepcopy(value, memo) for name, value in self.__dict__.items()})
        twin.link()
        return twin


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


def _is_part(own: Tensor, values: Tensor) -> bool:
    """Return whether a tensor of the first copy, and its gradient, are those of the stack."""
    if own.data_ptr() != values.data_ptr() or own.dtype != values.dtype or own.requires_grad != values.requires_grad:
        return False
    if own.grad is None or values.grad is None:
        return own.grad is values.grad
    return own.grad.data_ptr() == values.grad.data_ptr()


class EncodedTrunk(SharingModule):
    """Encoders of the fields of X, joined at the row, into the trunk of a sharing strategy.

    Where tasks have towers of their own, each begins with its own encoders, which the penalty pulls together with it.

    Parameters
    ----------
    sharing : Sharing
        The strategy.
    shape : TrunkShape
        Sizes; its `n_features` are the numbers of a flat row.
    entry : EncodedInput
        The fields of X.
    n_tasks : dict of int, default=None
        Tasks by what they read; None where all read the row.
    """

    uses_global_generator = True  # for dropout in a module
    trunk, encoders = submodule("trunk"), submodule("encoders")

    def __init__(
        self, sharing: Sharing, shape: TrunkShape, entry: EncodedInput, n_tasks: Mapping[str, int] | None = None
    ) -> None:
        super().__init__()
        n_tasks = n_tasks or {ROW: shape.n_tasks}
        of_row = replace(shape, n_features=entry.width, n_tasks=max(1, n_tasks.get(ROW, 0)))
        self._attended = entry.attended
        if self._attended is None:
            self.trunk = sharing.build(of_row)
        else:
            assert isinstance(sharing, AttentionSharing)
            places = {
                site: PlacesShape(math.prod(own.grid), own.width, n_tasks.get(site, 0))
                for site, own in entry.places.items()
            }
            self.trunk = sharing.build_over_places(of_row, places, self._attended)
        self.per_task, self.n_features_out = self.trunk.per_task, self.trunk.n_features_out
        self._has_towers = isinstance(self.trunk, DenseTrunk) and self.trunk.per_task
        self._stack_shape = (shape.n_members, shape.n_tasks) if self._has_towers else (shape.n_members,)
        self._fields = entry.fields
        encoded = [field for field in entry.fields if field.encoder is not None]
        self.encoders = nn.ModuleList([ModuleCopies(f.encoder, f.shape, self._stack_shape) for f in encoded])
        towers = math.prod(self._stack_shape[1:])
        kept = sum(field.n_buffered for field in entry.fields)
        self.n_buffered = self.trunk.n_buffered + 2 * towers * (kept + entry.width)
        self.n_operations = towers * sum(field.n_operations for field in entry.fields)
        if self._attended is not None:
            kept += self.trunk.n_buffered
            self.n_operations += self.trunk.n_operations
        self.max_rows = max(1, MAX_BYTES // (8 * (1 + kept)))
        if hasattr(self.trunk, "attention_weights") or (self._attended is not None and ROW in n_tasks):
            self.attention_weights = self._attention_weights

    def forward(self, x: Tensor) -> Tensor:
        return self.of_row(self.encode_sites(x))

    def of_row(self, encoded: Mapping[str, Tensor]) -> Tensor:
        """Return the features of the tasks that read the row, for what the encoders give by site."""
        features: Tensor = self.trunk(encoded[ROW], *self._places(encoded))
        return features

    def _places(self, encoded: Mapping[str, Tensor]) -> tuple[Tensor | None, ...]:
        """Return the places that tasks attend to, and which of them are no padding, None for all; () for no places."""
        if self._attended is None:
            return ()
        return encoded[self._attended], encoded.get(IS_TOKEN) if self._attended == "tokens" else None

    def encode(self, x: Tensor) -> Tensor:
        """Return the features of all fields: ([member, [task,]] batch, width)."""
        return self.encode_sites(x)[ROW]

    def encode_sites(self, x: Tensor) -> dict[str, Tensor]:
        """Return the features by site, those of the row of all fields side by side."""
        dtype = next((p.dtype for p in self.parameters()), x.dtype)
        encoders, by_member = iter(self.encoders), x.ndim == 3
        rows, sites = [], {}
        for field in self._fields:
            part = field.read(x, dtype)
            if field.encoder is None:
                rows.append(self._spread(part.flatten(-len(field.shape)), by_member))
                continue
            own = next(encoders).by_site(part, by_member)
            rows += [own[ROW]] if ROW in own else []
            sites.update({site: own[site] for site in field.places})
            if "tokens" in field.places and IS_TOKEN in own:
                sites[IS_TOKEN] = own[IS_TOKEN]
        if rows:
            sites[ROW] = rows[0] if len(rows) == 1 else torch.cat(rows, dim=-1)
        return sites

    def _spread(self, part: Tensor, by_member: bool) -> Tensor:
        """Return what all copies read: (\\*stack_shape, batch, n)."""
        if by_member and self._has_towers:
            part = part.unsqueeze(1)
        return part.expand(*self._stack_shape, *part.shape[-2:])

    def shared(self, x: Tensor) -> Tensor:
        return self.trunk.shared(self.encode(x))

    def _attention_weights(self, x: Tensor) -> Tensor:
        if self._attended is None:
            return self.trunk.attention_weights(self.encode(x))
        encoded = self.encode_sites(x)
        return self.trunk.attend(*self._places(encoded)).mean(2)

    def tied(self) -> Sequence[StackedModule]:
        return (*self.trunk.tied(), *(self.encoders if self._has_towers and self.trunk.is_tied else ()))

    @property
    def ties_heads(self) -> bool:
        return self.trunk.ties_heads

    def task_vectors(self) -> Tensor | None:
        return self.trunk.task_vectors()

    def bind(self, x: Tensor, shape: Sequence[int]) -> Pass:
        leaves = [p for encoder in self.encoders for p in encoder.leaves()]
        return AutogradPass(self, x, shape, [*leaves, *self.trunk.parameters()])
