"""Tasks over places of a row: features by site, and one linear map for the heads of each site.

A site is where labels are: the row itself, the tokens of a text, the pixels or cells of an image. Places are folded
into the batch axis in front of a head, so that heads, losses and missing labels are those of tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skmtl._decoder import DecoderCopies
from skmtl._encoded import EncodedTrunk
from skmtl._memory import moved
from skmtl.encoders import IS_TOKEN, EncodedInput
from skmtl.sharing import DenseStack, Pass, Sharing, TrunkShape, gradient_of
from skmtl.tasks import ROW, SiteLayout, TaskLayout

Features = Mapping[str, Tensor]


class SiteTrunk(EncodedTrunk):
    """Encoders, and behind them the strategy's trunk for tasks that read the row.

    Tasks over places read the features of the encoder: of their own one where the strategy has towers, else of the one
    that all tasks share, through gates of their own where the strategy attends.

    Parameters
    ----------
    sharing : Sharing
        The strategy.
    shape : TrunkShape
        Sizes; its `n_features` are the numbers of a flat row.
    entry : EncodedInput
        The fields of X.
    layout : TaskLayout
        The tasks of each site.
    """

    def __init__(self, sharing: Sharing, shape: TrunkShape, entry: EncodedInput, layout: TaskLayout) -> None:
        tasks = {own.site: own.tasks for own in layout.sites}
        super().__init__(sharing, shape, entry, {site: len(own) for site, own in tasks.items()})
        if self.ties_heads:
            raise ValueError("Heads cannot be tied where tasks read places of a row. Set tie_heads=False.")
        self.tasks, self.n_members = tasks, shape.n_members
        self.widths = {site: places.width for site, places in entry.places.items()} | {ROW: self.trunk.n_features_out}
        self.places = {own.site: len(own.columns) for own in layout.sites}
        self.layout, self.n_numbers = layout, entry.n_numbers
        self.decoders = nn.ModuleDict()
        for own in layout.writing:
            assert own.decoding is not None
            self.widths[own.site] = width = entry.places["tokens"].width
            self.decoders[own.site] = decoder = DecoderCopies(own.decoding, width, shape.n_members)
            self.n_buffered += 2 * decoder.n_buffered
            self.n_operations += decoder.n_operations

    def has_task_axis(self, site: str) -> bool:
        """Return whether the features of a site differ between tasks."""
        if site == ROW:
            return bool(self.trunk.per_task)
        return site not in self.decoders and (self._has_towers or self._attended is not None)

    def forward(self, x: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        """Return the features of each site that tasks read: (member, [task,] batch * place, width)."""
        encoded, found = self.encode_sites(x), {}
        ids = self._ids(x)
        for own in self.layout.sites:
            site, tasks = own.site, own.tasks
            if own.decoding is not None:
                found[site] = self.decoders[site].decode(ids.pop(0), *self.memory(own, encoded)).flatten(1, 2)
            elif site == ROW:
                found[site] = self.of_row(encoded | {ROW: encoded[ROW][:, tasks]} if self._has_towers else encoded)
            elif self._attended is not None:
                found[site] = self.trunk.gate(site, encoded[site], encoded.get(ROW)).flatten(-3, -2)
            else:
                found[site] = (encoded[site][:, tasks] if self._has_towers else encoded[site]).flatten(-3, -2)
        return found

    def _attention_weights(self, x: Tensor) -> Tensor:
        """Return (member, batch, task, place), NaN for tasks over places."""
        weights = super()._attention_weights(x)
        n_tasks = sum(len(own) for own in self.tasks.values())
        found = weights.new_full((*weights.shape[:2], n_tasks, weights.shape[3]), torch.nan)
        found[:, :, self.tasks[ROW]] = weights
        return found

    def memory(self, own: SiteLayout, encoded: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the tokens that a decoder reads, (member, batch, length, width), and which are no padding."""
        features, is_token = encoded["tokens"], encoded.get(IS_TOKEN)
        is_token = torch.ones_like(features[..., 0], dtype=torch.bool) if is_token is None else is_token
        task = int(own.tasks[0])
        return (features[:, task], is_token[:, task]) if self._has_towers else (features, is_token)

    def _ids(self, x: Tensor) -> list[Tensor]:
        """Return what each decoder has written or is to write, which follows a row: (member or 1, batch, length)."""
        lengths = [own.decoding.length for own in self.layout.writing if own.decoding is not None]
        ids = x[..., self.n_numbers :] if x.ndim == 3 else x[None, :, self.n_numbers :]
        if not ids.shape[-1]:  # where nobody asks for what they write
            ids = ids.new_zeros(*ids.shape[:-1], sum(lengths))
        return list(ids.long().split_with_sizes(lengths, -1)) if lengths else []

    def _leaves(self) -> list[nn.Parameter]:
        """Return the trained weights of the copies of encoders and decoders."""
        copies: list[Any] = [*self.encoders, *self.decoders.values()]
        return [p for module in copies for p in module.leaves()]

    def shared(self, x: Tensor) -> Tensor:
        encoded = self.encode_sites(x)
        return encoded[ROW] if ROW in encoded else next(iter(encoded.values())).mean(-2)

    def bind(self, x: Tensor, shape: Sequence[int]) -> Pass:
        return _FeaturesPass(self, x, [*self._leaves(), *self.trunk.parameters()])


class _FeaturesPass(Pass):
    """A training step through encoders and trunk, by autograd.

    Parameters
    ----------
    trunk : SiteTrunk
        Computes the features.
    x : Tensor
        The buffer that will hold the batches.
    leaves : sequence of Parameter
        What the features are differentiated by.
    """

    out: dict[str, Tensor]  # type: ignore[assignment]

    def __init__(self, trunk: SiteTrunk, x: Tensor, leaves: Sequence[nn.Parameter]) -> None:
        super().__init__()
        self._trunk, self._x, self._leaves = trunk, x, [p for p in leaves if p.requires_grad]
        like = self._leaves[0] if self._leaves else x
        self.out = {}
        for site, tasks in trunk.tasks.items():
            axes = (len(tasks),) if trunk.has_task_axis(site) else ()
            shape = (trunk.n_members, *axes, x.shape[-2] * trunk.places[site], trunk.widths[site])
            self.out[site] = like.new_empty(shape)
        self.forward = [self._compute]

    def receive(self, gradient: Features) -> None:  # type: ignore[override]
        self.backward = [partial(self._differentiate, gradient)]

    def _compute(self) -> None:
        with torch.enable_grad():
            self._features = self._trunk(self._x)
        for site, features in self._features.items():
            self.out[site].copy_(features.detach())

    def _differentiate(self, gradient: Features) -> None:
        trained = [site for site, features in self._features.items() if features.requires_grad]
        if trained:
            features, own = [self._features[site] for site in trained], [gradient[site] for site in trained]
            found = torch.autograd.grad(features, self._leaves, own, allow_unused=True, materialize_grads=True)
            torch._foreach_copy_([gradient_of(p) for p in self._leaves], list(found))
        del self._features


class SiteHeads(nn.Module):
    """The heads of each site, applied at each of its places, and their outputs in the network's order of columns.

    Parameters
    ----------
    layout : TaskLayout
        Of all tasks.
    heads : dict of SharedHeads or TaskHeads
        By site, of its tasks at one place.
    """

    def __init__(self, layout: TaskLayout, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.n_tasks, self._layout, self.by_site = layout.n_tasks, layout, nn.ModuleDict(heads)
        self._columns = torch.as_tensor(np.concatenate([own.columns.ravel() for own in layout.sites]))

    @property
    def stack(self) -> DenseStack:
        """The heads of the first site."""
        first: Any = next(iter(self.by_site.values()))
        return first.stack  # type: ignore[no-any-return]

    def forward(self, features: Features) -> Tensor:
        found = [self._of_rows(own, self.by_site[own.site](features[own.site])) for own in self._layout.sites]
        side_by_side = torch.cat(found, -1)
        raw = side_by_side.new_zeros(*side_by_side.shape[:-1], self._layout.n_outputs)
        return raw.index_copy(-1, self.columns_on(raw.device), side_by_side)

    def columns_on(self, device: torch.device) -> Tensor:
        """Return the raw column of each output of each place of each site."""
        self._columns = moved(self._columns, device)
        return self._columns

    def bind(self, features: Features) -> _SiteHeadsPass:
        return _SiteHeadsPass(self, self._layout, features)

    def similarity(self) -> Tensor:
        """Return the similarity of the heads of one site, NaN between sites: (member, task, task)."""
        like = self.stack.bias_0
        found = like.new_full((len(like), self.n_tasks, self.n_tasks), float("nan"))
        for own in self._layout.sites:
            module: Any = self.by_site[own.site]
            found[:, own.tasks[:, None], own.tasks[None, :]] = module.similarity()
        return found

    def with_rows(self, similarity: Tensor) -> Tensor:
        """Return `similarity`, with another one of the tasks that read the row: (member, task of the row, same)."""
        found, rows = self.similarity(), {own.site: own.tasks for own in self._layout.sites}.get(ROW)
        if rows is not None:
            found[:, rows[:, None], rows[None, :]] = similarity
        return found

    @staticmethod
    def _of_rows(own: SiteLayout, outputs: Tensor) -> Tensor:
        """Return (member, batch * place, output) as (member, batch, place * output)."""
        return outputs.unflatten(1, (-1, len(own.columns))).flatten(2)


class _SiteHeadsPass(Pass):
    """A training step through the heads of all sites."""

    def __init__(self, heads: SiteHeads, layout: TaskLayout, features: Features) -> None:
        super().__init__()
        modules: Mapping[str, Any] = heads.by_site
        self._passes = {own.site: modules[own.site].bind(features[own.site]) for own in layout.sites}
        outs = [one.out for one in self._passes.values()]
        self._by_place = [out.unflatten(1, (-1, len(own.columns))) for own, out in zip(layout.sites, outs, strict=True)]
        self._columns = heads.columns_on(outs[0].device)
        rows = self._by_place[0].shape[:2]
        self._side_by_side = outs[0].new_empty(*rows, len(self._columns))
        sizes = [own.columns.size for own in layout.sites]
        self._parts = [
            part.unflatten(-1, own.columns.shape)
            for own, part in zip(layout.sites, self._side_by_side.split_with_sizes(sizes, -1), strict=True)
        ]
        self.out = outs[0].new_empty(*rows, layout.n_outputs)
        self.forward = [operation for one in self._passes.values() for operation in one.forward] + [self._spread]

    def receive(self, gradient: Tensor, input_gradient: bool = False) -> dict[str, Tensor | None]:  # type: ignore[override]
        found = {site: one.receive(one.out, input_gradient) for site, one in self._passes.items()}
        self.backward = [partial(self._gather, gradient)]
        self.backward += [operation for one in self._passes.values() for operation in one.backward]
        return found

    def _spread(self) -> None:
        for part, out in zip(self._parts, self._by_place, strict=True):
            part.copy_(out)
        self.out.zero_().index_copy_(-1, self._columns, self._side_by_side)  # some parts leave columns unused

    def _gather(self, gradient: Tensor) -> None:
        torch.index_select(gradient, -1, self._columns, out=self._side_by_side)
        for part, out in zip(self._parts, self._by_place, strict=True):
            out.copy_(part)
