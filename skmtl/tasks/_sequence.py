"""A sequence of tokens for each row, such as a translation."""

from __future__ import annotations

from collections import abc
from numbers import Integral
from typing import Any

import numpy as np
from torch import Tensor

from skmtl._table import TargetTable
from skmtl.losses import Softmax
from skmtl.tasks._base import Part, Task, array_of, part_at_places
from skmtl.tasks._layout import Decoding
from skmtl.tasks._places import observed_places


class Sequence(Task):
    """A text for a text: a translation, a summary, or any other sequence of ids that is written token after token.

    A decoder of the task's own reads the encoder's tokens and what it has written so far. It reads a field of a
    structured y (`skmtl.records`) of shape (n_samples, length) with ids: whole numbers from 1, and 0 or NaN as padding
    after them. A row of padding alone is missing. The end of a sequence is learned without an id of its own.

    Parameters
    ----------
    max_length : int, default=None
        Ids of a sequence at most; None for the length of y in `fit`.
    n_layers : int, default=1
        Layers of the decoder.
    n_heads : int, default=4
        Attention heads; they divide the width of the encoder's tokens.
    beam_size : int, default=1
        Sequences that are kept in each step of `predict`; 1 writes the most probable id each time.
    columns : str, default=None
        The field of y; None for the one with the task's name.

    Attributes
    ----------
    n_ids_ : int
        The largest id in `fit`. Larger ones are unknown: no loss, and never written.
    length_ : int
        Ids of a sequence at most.
    classes_ : array of shape (n_classes,)
        0, the end, and all ids: the columns of `predict_proba`.

    Notes
    -----
    In training the decoder reads the ids of y before each place (teacher forcing); the loss is the softmax cross
    entropy, a mean over all ids and ends, in nats. Beam search takes the sequence of the largest probability, that of
    its end included, without a correction for its length. `predict` gives ids padded with 0, `predict_proba` the
    probability of the end (column 0) and of each id at every place, given what was written before it. The skill is the
    share of rows whose whole sequence is right, as it compares with that of the commonest sequence.

    References
    ----------
    .. [1] A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017.

    Examples
    --------
    >>> from skmtl import MultiTaskEstimator
    >>> from skmtl.encoders import TokenEncoder
    >>> from skmtl.tasks import Sequence
    >>> tasks = {"german": Sequence(), "french": Sequence(beam_size=4)}
    >>> model = MultiTaskEstimator(tasks, encoder=TokenEncoder(kind="gru"))
    """

    name = "sequence"
    site = "tokens"

    def __init__(
        self,
        max_length: int | None = None,
        *,
        n_layers: int = 1,
        n_heads: int = 4,
        beam_size: int = 1,
        columns: Any = None,
    ) -> None:
        self.max_length = max_length
        self.n_layers = n_layers
        self.n_heads = n_heads
        self.beam_size = beam_size
        self.columns = columns

    def is_continuous(self) -> list[bool]:
        return [False]

    def observed_rows(self, y: TargetTable) -> np.ndarray:
        return np.asarray((self._ids(y) > 0).any(axis=1))

    def learn(self, y: TargetTable, weight: np.ndarray | None) -> None:
        for what in ("n_layers", "n_heads", "beam_size", "max_length"):
            value = getattr(self, what)
            if what == "max_length" and value is None:
                continue
            if not isinstance(value, Integral) or isinstance(value, bool) or value < 1:
                raise ValueError(f"{what} must be an integer of at least 1. Found {value!r}.")
        ids = self._ids(y)
        self.length_ = ids.shape[1] if self.max_length is None else int(self.max_length)
        self.n_ids_ = int(ids.max() if weight is None else ids[weight > 0].max())
        self.classes_ = np.arange(self.n_ids_ + 1)

    def decoding(self) -> Decoding:
        return Decoding(self.n_ids_, self.length_, int(self.n_layers), int(self.n_heads), int(self.beam_size))

    def written(self, y: TargetTable) -> np.ndarray:
        return np.minimum(self._padded(y), self.n_ids_ + 1)

    def parts(self, y: TargetTable) -> list[Part]:
        ids = np.pad(self._padded(y), [(0, 0), (0, 1)])
        is_learned = (np.arange(ids.shape[1]) <= (ids > 0).sum(axis=1, keepdims=True)) & (ids[:, :1] > 0)
        targets = np.where(is_learned & (ids <= self.n_ids_), ids, np.nan)
        return [part_at_places(Softmax([self.n_ids_ + 1]), targets[..., None])]

    def decode(self, raw: abc.Sequence[Tensor]) -> np.ndarray:
        return raw[-1][:, 0].cpu().numpy().astype(np.int64)

    def probabilities(self, raw: abc.Sequence[Tensor]) -> np.ndarray:
        """Return the probability of the end and of each id: (n_samples, length_ + 1, n_ids_ + 1)."""
        return array_of(raw[0].softmax(1)).swapaxes(1, 2)

    def skill(self, y: TargetTable, raw: abc.Sequence[Tensor], weight: np.ndarray | None) -> float:
        ids = self._padded(y)
        right = np.average((ids == self.decode(raw)).all(axis=1), weights=weight)
        which = np.unique(ids, axis=0, return_inverse=True)[1].ravel()
        by_constant = np.bincount(which, weight).max() / (len(ids) if weight is None else weight.sum())
        return float((right - by_constant) / (1 - by_constant)) if by_constant < 1 else float("nan")

    def _ids(self, y: TargetTable) -> np.ndarray:
        """Return ids as they are given, 0 where missing: (n_samples, length)."""
        seen, labels = observed_places(y, None, 1), y.columns[0]
        ids = np.zeros(labels.shape)
        ids[seen] = labels[seen].astype(float)
        if (ids < 0).any() or (ids != np.floor(ids)).any():
            raise ValueError("ids must be whole numbers of at least 0, which is padding.")
        if ((ids[:, :-1] == 0) & (ids[:, 1:] > 0)).any():
            raise ValueError("padding must follow the ids of a row.")
        return ids.astype(np.int64)

    def _padded(self, y: TargetTable) -> np.ndarray:
        """Return ids, 0 where missing: (n_samples, length_)."""
        ids = self._ids(y)
        longest = int((ids > 0).sum(axis=1).max(initial=0))
        if longest > self.length_:
            raise ValueError(f"a sequence must have at most {self.length_} ids. Found {longest}.")
        ids = ids[:, : self.length_]
        return np.pad(ids, [(0, 0), (0, self.length_ - ids.shape[1])])
