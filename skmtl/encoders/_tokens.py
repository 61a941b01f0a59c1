"""Texts as rows of token ids."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from skmtl.encoders._base import IS_TOKEN, WHOLE, Encoder, check_sizes

PADDING = 0
N_HEADS = 4
SPREAD = 0.1
"""Standard deviation of initial vectors: words that are rare in training stay near it, and say little."""


class TokenEncoder(Encoder):
    """A text's token ids become vectors, which see their neighbours; its features are their largest values.

    Tasks over tokens, such as `TokenLabels`, and attention sharing read the vectors themselves.

    Ids are whole numbers from 1; 0 is padding and counts for nothing. Ids above the largest one in `fit`
    share a vector.

    Parameters
    ----------
    width : int, default=64
        Size of a token's vector, and number of features.
    kind : {"conv", "gru", "attention"}, default="conv"
        How tokens see each other: convolutions over three tokens, a GRU in both directions, or a transformer layer with
        learned positions.
    embedding : array-like of shape (n_ids, width), default=None
        Vectors to begin with, such as pretrained ones; row 0 is not used. None draws them.
    freeze : bool, default=False
        Whether the weights stay as they began.
    lr : float, default=None
        Step size of its own, > 0; None for the `lr` of the estimator.

    References
    ----------
    .. [1] Y. Kim, "Convolutional Neural Networks for Sentence Classification", EMNLP 2014.

    Examples
    --------
    >>> from skmtl.encoders import TokenEncoder
    >>> TokenEncoder(width=32, kind="gru")
    TokenEncoder(kind='gru', width=32)
    """

    name = "tokens"
    attended = "tokens"

    def __init__(
        self,
        width: int = 64,
        kind: str = "conv",
        embedding: ArrayLike | None = None,
        freeze: bool = False,
        lr: float | None = None,
    ) -> None:
        self.width = width
        self.kind = kind
        self.embedding = embedding
        self.freeze = freeze
        self.lr = lr

    def learn(self, X: Any) -> Self:
        ids = self._ids(X)
        self.n_ids_ = int(ids.max(initial=0)) + 1
        if self.embedding is not None:
            shape = np.shape(self.embedding)
            if len(shape) != 2 or shape[1] != self.width:
                raise ValueError(
                    f"TokenEncoder: embedding must have shape (n_ids, {self.width}), as width={self.width}. "
                    f"Found shape {shape}."
                )
            if self.n_ids_ > shape[0]:
                raise ValueError(
                    f"TokenEncoder: ids must be below {shape[0]}, the rows of embedding. Found {self.n_ids_ - 1}."
                )
            self.n_ids_ = shape[0]
        return self

    def numbers(self, X: Any) -> np.ndarray:
        """Return the ids, those above the largest known one replaced by the next."""
        return np.minimum(self._ids(X), self.n_ids_)

    def _ids(self, X: Any) -> np.ndarray:
        ids = np.asarray(X)
        if ids.ndim != 2:
            raise ValueError(f"TokenEncoder reads X of shape (n_samples, length). Found shape {ids.shape}.")
        if ids.dtype.kind not in WHOLE:
            if ids.dtype.kind != "f" or not (ids == np.floor(ids)).all():
                raise ValueError(f"TokenEncoder reads token ids, which are whole numbers. Found {ids.dtype} values.")
            ids = ids.astype(np.int64)
        if ids.min(initial=0) < 0:
            raise ValueError(f"TokenEncoder: ids must be 0 (padding) or positive. Found {ids.min()}.")
        return ids

    def reads_ids(self, dtype: np.dtype) -> bool:
        return True

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        """Return the network for rows of some length."""
        if self.kind not in LAYERS:
            raise ValueError(f"TokenEncoder: kind must be one of {sorted(LAYERS)}. Found {self.kind!r}.")
        check_sizes(self.width, "TokenEncoder: width")
        if self.kind != "conv" and self.width % N_HEADS:
            raise ValueError(
                f"TokenEncoder: width must be a multiple of {N_HEADS} with kind={self.kind!r}. Found {self.width}."
            )
        vectors = nn.Embedding(self.n_ids_ + 1, self.width, padding_idx=PADDING)
        with torch.no_grad():
            vectors.weight.mul_(SPREAD)
        if self.embedding is not None:
            with torch.no_grad():
                vectors.weight[1:-1] = torch.as_tensor(np.asarray(self.embedding)[1:]).to(vectors.weight)
        return _Texts(vectors, LAYERS[self.kind](self.width, shape[0]), "tokens" in self.sites_)


class _Texts(nn.Module):
    """Vectors of tokens, a layer in which they see each other, and the maximum over the tokens of a text."""

    def __init__(self, vectors: nn.Embedding, layer: nn.Module, gives_tokens: bool) -> None:
        super().__init__()
        self.vectors, self.layer, self._gives_tokens = vectors, layer, gives_tokens

    def forward(self, ids: Tensor) -> Tensor | dict[str, Tensor]:
        is_token = ids != PADDING
        features: Tensor = self.layer(self.vectors(ids), is_token)
        lowest = torch.finfo(features.dtype).min
        largest = features.masked_fill(~is_token.unsqueeze(-1), lowest).amax(1)
        row = torch.where(is_token.any(1, keepdim=True), largest, 0.0)  # a text without tokens has no features
        return {"row": row, "tokens": features, IS_TOKEN: is_token} if self._gives_tokens else row


class _Conv(nn.Module):
    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, vectors: Tensor, is_token: Tensor) -> Tensor:
        seen: Tensor = self.conv(vectors.transpose(1, 2)).transpose(1, 2)
        return vectors + torch.relu(seen)


class _Recurrent(nn.Module):
    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width // 2, batch_first=True, bidirectional=True)

    def forward(self, vectors: Tensor, is_token: Tensor) -> Tensor:
        seen: Tensor = self.gru(vectors)[0]
        return vectors + seen


class _Attention(nn.Module):
    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(0.02 * torch.randn(length, width))
        self.attention = nn.MultiheadAttention(width, N_HEADS, batch_first=True)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.forwards = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, vectors: Tensor, is_token: Tensor) -> Tensor:
        h = vectors + self.positions
        unread = ~is_token & is_token.any(1, keepdim=True)  # a text without tokens may read its padding
        normal = self.norms[0](h)
        h = h + self.attention(normal, normal, normal, key_padding_mask=unread, need_weights=False)[0]
        out: Tensor = h + self.forwards(self.norms[1](h))
        return out


LAYERS = {"conv": _Conv, "gru": _Recurrent, "attention": _Attention}
