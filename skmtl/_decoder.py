"""Decoders: what a sequence is written by, token after token, while it reads the tokens of a text."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from skmtl._encoded import ModuleCopies
from skmtl.tasks import Decoding


class DecoderCopies(ModuleCopies):
    """A decoder for each member.

    Parameters
    ----------
    decoding : Decoding
        What it writes.
    width : int
        Of the tokens that it reads.
    n_members : int
        Copies.
    """

    def __init__(self, decoding: Decoding, width: int, n_members: int) -> None:
        super().__init__(_Spec(decoding), (width,), (n_members,))  # type: ignore[arg-type]
        places = (decoding.length + 1) * width * decoding.n_layers
        self.n_buffered = 16 * places
        self.n_operations = places * 16 * width

    def decode(self, ids: Tensor, memory: Tensor, is_token: Tensor) -> Tensor:
        """Return features of the places after each id, and of the one before all: (member, batch, n + 1, width).

        Parameters
        ----------
        ids : int64 Tensor of shape (member or 1, batch, n)
            What is written so far.
        memory : Tensor of shape (member, batch, length, width)
            Features of the tokens read.
        is_token : bool Tensor of shape (member, batch, length)
            Which of them are no padding.
        """
        self.link()
        ids = ids.expand(len(memory), -1, -1)
        return torch.stack([m(ids[k], memory[k], is_token[k]) for k, m in enumerate(self.copies)])


class _Spec:
    """What `ModuleCopies` builds a decoder from."""

    lr, freeze = None, False

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        return _Decoder(self._decoding, shape[0])


class _Decoder(nn.Module):
    """Layers of attention to what is written and to what is read; places see no later ones."""

    def __init__(self, decoding: Decoding, width: int) -> None:
        super().__init__()
        if width % decoding.n_heads:
            raise ValueError(
                f"Sequence: n_heads must divide the width of the encoder's tokens, {width}. Found {decoding.n_heads}."
            )
        self.vectors = nn.Embedding(decoding.n_ids + 2, width)  # 0 begins a sequence, the last one is of unknown ids
        self.positions = nn.Parameter(0.1 * torch.randn(decoding.length + 1, width))
        self.layers = nn.ModuleList(
            nn.TransformerDecoderLayer(
                width, decoding.n_heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(decoding.n_layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, ids: Tensor, memory: Tensor, is_token: Tensor) -> Tensor:
        before = nn.functional.pad(ids, (1, 0))
        n = before.shape[1]
        h = self.vectors(before) + self.positions[:n]
        later = torch.ones(n, n, dtype=torch.bool, device=h.device).triu(1)
        unread = ~is_token & is_token.any(1, keepdim=True)  # a text without tokens may read its padding
        for layer in self.layers:
            h = layer(h, memory, tgt_mask=later, memory_key_padding_mask=unread)
        out: Tensor = self.norm(h)
        return out


def write(network: Any, own: Any, encoded: dict[str, Tensor], averages: bool) -> Tensor:
    """Return the most probable sequences that a beam search finds, padded with 0: int64 (member or 1, batch, length).

    Of the sequences so far, `beam_size` are kept in each step; 1 is greedy. The probability of a sequence is that of
    its tokens and of its end, without a correction for its length.

    Parameters
    ----------
    network : MultiTaskNetwork
        With a `SiteTrunk`.
    own : SiteLayout
        Of the task.
    encoded : dict of Tensor
        What encoders give for the rows.
    averages : bool
        Whether members write one sequence by their mean probabilities, or each its own.
    """
    memory, is_token = network.trunk.memory(own, encoded)
    n_groups, n, length = 1 if averages else len(memory), memory.shape[1], own.decoding.length
    ids = torch.zeros(n_groups, n, 1, 0, dtype=torch.int64, device=memory.device)
    total = memory.new_zeros(n_groups, n, 1)
    is_over = torch.zeros(n_groups, n, 1, dtype=torch.bool, device=memory.device)
    for step in range(length + 1):
        k = ids.shape[2]
        so_far = ids.flatten(1, 2)
        features = network.trunk.decoders[own.site].decode(
            so_far, memory.repeat_interleave(k, 1), is_token.repeat_interleave(k, 1)
        )
        log_p = _log_probabilities(own, network.heads.by_site[own.site](features[:, :, -1]), averages)
        log_p = log_p.unflatten(1, (n, k))
        padding = torch.full_like(log_p[0, 0, 0], -torch.inf)
        padding[0] = 0.0  # what is over goes on with padding, and stays as probable
        log_p = torch.where(is_over[..., None], padding, log_p)
        if step == length:
            total = total + log_p[..., 0]
            break
        candidates = (total[..., None] + log_p).flatten(2)
        total, best = candidates.topk(min(own.decoding.beam_size, candidates.shape[-1]), -1)
        source, last = best // log_p.shape[-1], best % log_p.shape[-1]
        ids = torch.cat([ids.gather(2, source[..., None].expand(-1, -1, -1, step)), last[..., None]], -1)
        is_over = last == 0
        if is_over.all():
            break
    chosen = total.argmax(-1)[..., None, None].expand(-1, -1, -1, ids.shape[-1])
    return nn.functional.pad(ids.gather(2, chosen)[:, :, 0], (0, length - ids.shape[-1]))


def _log_probabilities(own: Any, raw: Tensor, averages: bool) -> Tensor:
    """Return the log probability of each id at a place, of members together or apart: (member or 1, batch, id)."""
    group = own.at_place.groups[0]
    view = group.view(raw)
    if averages and len(view) > 1:
        view = group.loss.average(view)[None]
    elif averages:
        view = view[:1]
    return view[..., 0].log_softmax(-1)


def written(network: Any, x: Tensor, averages: bool) -> tuple[Tensor, Tensor]:
    """Return rows with the sequences that the network writes, as its `forward` reads them, and the sequences alone.

    Parameters
    ----------
    network : MultiTaskNetwork
        With a `SiteTrunk`.
    x : Tensor of shape (batch, n)
        Flat rows, with or without tokens of the targets.
    averages : bool
        As for `write`.

    Returns
    -------
    Tensor of shape (batch, n) or (member, batch, n)
        Rows.
    Tensor of shape (member or 1, batch, id)
        The ids, task after task.
    """
    trunk = network.trunk
    x = x[..., : trunk.n_numbers]
    encoded = trunk.encode_sites(x)
    ids = torch.cat([write(network, own, encoded, averages) for own in trunk.layout.writing], -1)
    rows = torch.cat([x.expand(len(ids), -1, -1), ids.to(x.dtype)], -1)
    return (rows[0] if averages else rows), ids
