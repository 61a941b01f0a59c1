"""A class for each token of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from skmtl._table import TargetTable
from skmtl.losses import Softmax
from skmtl.metrics._skill import brier_skill
from skmtl.tasks._base import Part, Task, array_of, part_at_places
from skmtl.tasks._codec import ClassCodec
from skmtl.tasks._places import observed_places


class TokenLabels(Task):
    """A class for each token, such as names of people and places, or parts of speech.

    It reads a field of a structured y (`skmtl.records`) of shape (n_samples, length), where length is at most that of
    the rows of X; tokens beyond it have no labels. Padding, and tokens that nobody labelled, are missing: NaN, None or
    the value `missing`.

    Parameters
    ----------
    missing : object, default=None
        A label that stands for none, such as -1 among integers, which have no NaN.
    columns : str, default=None
        The field of y; None for the one with the task's name.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Sorted labels.

    Notes
    -----
    The loss is the softmax cross entropy, a mean over all labelled tokens, in nats; the skill is that of the Brier
    score over tokens. `predict` gives a label for every token of X, of padding too. `skmtl.metrics.span_f1` scores
    names that several tokens make up.

    Examples
    --------
    >>> from skmtl import MultiTaskEstimator
    >>> from skmtl.encoders import TokenEncoder
    >>> from skmtl.tasks import TokenLabels
    >>> tasks = {"intent": "classification", "slots": TokenLabels(missing=-1)}
    >>> model = MultiTaskEstimator(tasks, encoder=TokenEncoder())
    """

    name = "token_labels"
    site = "tokens"

    def __init__(self, *, missing: Any = None, columns: Any = None) -> None:
        self.missing = missing
        self.columns = columns

    def is_continuous(self) -> list[bool]:
        return [False]

    def find_places(self, grid: tuple[int, ...], extent: tuple[int, ...]) -> None:
        self.length_ = grid[0]

    def observed_rows(self, y: TargetTable) -> np.ndarray:
        return np.asarray(observed_places(y, self.missing, 1).any(axis=1))

    def learn(self, y: TargetTable, weight: np.ndarray | None) -> None:
        self.codec_ = ClassCodec.fit(y.columns[0][observed_places(y, self.missing, 1)], y.task_names()[0])
        self.classes_ = self.codec_.classes

    def parts(self, y: TargetTable) -> list[Part]:
        return [part_at_places(Softmax([len(self.classes_)]), self._codes(y)[..., None])]

    def decode(self, raw: Sequence[Tensor]) -> np.ndarray:
        codes = raw[0].argmax(1).cpu().numpy()
        return self.codec_.decode(codes.ravel()).reshape(codes.shape)

    def probabilities(self, raw: Sequence[Tensor]) -> np.ndarray:
        """Return class probabilities: (n_samples, length, n_classes)."""
        return array_of(raw[0].softmax(1)).swapaxes(1, 2)

    def predicted_tensor(self, raw: Sequence[Tensor]) -> Tensor:
        return raw[0].softmax(1).transpose(1, 2)

    def skill(self, y: TargetTable, raw: Sequence[Tensor], weight: np.ndarray | None) -> float:
        codes = self._codes(y)
        seen = ~np.isnan(codes)
        own = None if weight is None else np.broadcast_to(weight[:, None], codes.shape)[seen]
        labels = np.eye(len(self.classes_))[codes[seen].astype(int)]
        return brier_skill(labels, self.probabilities(raw)[seen], own)

    def _codes(self, y: TargetTable) -> np.ndarray:
        """Return codes, NaN where missing: (n_samples, length_)."""
        seen, labels = observed_places(y, self.missing, 1), y.columns[0]
        if seen.shape[1] > self.length_:
            raise ValueError(
                f"labels must be at most as many as the {self.length_} tokens of a row of X. Found {seen.shape[1]}."
            )
        codes = np.full((len(y), self.length_), np.nan)
        codes[:, : seen.shape[1]][seen] = self.codec_.encode(labels[seen], y.task_names()[0])
        return codes
