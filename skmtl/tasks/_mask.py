"""A class for each pixel of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from skmtl._table import TargetTable
from skmtl.losses import Logistic, Softmax
from skmtl.metrics._skill import brier_skill
from skmtl.tasks._base import Part, Task, array_of, part_at_places
from skmtl.tasks._codec import ClassCodec
from skmtl.tasks._places import observed_places


class Mask(Task):
    """A class for each pixel: a lesion or none, or one of several things.

    It reads a field of a structured y (`skmtl.records`) of shape (n_samples, height, width), that of the images in X.
    Images without a mask, and pixels that nobody labelled, are missing: NaN, None or the value `missing`.

    Parameters
    ----------
    missing : object, default=None
        A label that stands for none, such as 255 among integers, which have no NaN.
    columns : str, default=None
        The field of y; None for the one with the task's name.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Sorted labels.

    Notes
    -----
    The loss is the logistic loss, for more than two classes the softmax cross entropy, a mean over all labelled pixels,
    in nats; the skill is that of the Brier score over pixels. `skmtl.metrics.iou` and `skmtl.metrics.dice` score how
    well masks overlap.

    Examples
    --------
    >>> from skmtl import MultiTaskEstimator
    >>> from skmtl.encoders import ConvEncoder
    >>> from skmtl.tasks import Mask
    >>> tasks = {"ill": "classification", "lesion": Mask()}
    >>> model = MultiTaskEstimator(tasks, encoder=ConvEncoder())
    """

    name = "mask"
    site = "pixels"

    def __init__(self, *, missing: Any = None, columns: Any = None) -> None:
        self.missing = missing
        self.columns = columns

    def is_continuous(self) -> list[bool]:
        return [False]

    def find_places(self, grid: tuple[int, ...], extent: tuple[int, ...]) -> None:
        self.grid_ = grid

    def observed_rows(self, y: TargetTable) -> np.ndarray:
        return np.asarray(observed_places(y, self.missing, 2).any(axis=(1, 2)))

    def learn(self, y: TargetTable, weight: np.ndarray | None) -> None:
        self.codec_ = ClassCodec.fit(y.columns[0][observed_places(y, self.missing, 2)], y.task_names()[0])
        self.classes_ = self.codec_.classes

    def parts(self, y: TargetTable) -> list[Part]:
        return [part_at_places(self._make_loss(), self._codes(y).reshape(len(y), -1, 1))]

    def decode(self, raw: Sequence[Tensor]) -> np.ndarray:
        chosen = raw[0][:, 0] > 0 if self._is_binary else raw[0].argmax(1)
        labels = self.codec_.decode(chosen.cpu().numpy().astype(int).ravel())
        return labels.reshape(-1, *self.grid_)

    def probabilities(self, raw: Sequence[Tensor]) -> np.ndarray:
        """Return class probabilities: (n_samples, height, width, n_classes)."""
        return array_of(self.predicted_tensor(raw))

    def predicted_tensor(self, raw: Sequence[Tensor]) -> Tensor:
        proba = self._make_loss().probabilities(raw[0]).transpose(1, 2)
        return proba.unflatten(1, self.grid_)

    def skill(self, y: TargetTable, raw: Sequence[Tensor], weight: np.ndarray | None) -> float:
        codes = self._codes(y)
        seen = ~np.isnan(codes)
        own = None if weight is None else np.broadcast_to(weight[:, None, None], codes.shape)[seen]
        return brier_skill(np.eye(len(self.classes_))[codes[seen].astype(int)], self.probabilities(raw)[seen], own)

    @property
    def _is_binary(self) -> bool:
        return len(self.classes_) == 2

    def _make_loss(self) -> Logistic | Softmax:
        return Logistic(1) if self._is_binary else Softmax([len(self.classes_)])

    def _codes(self, y: TargetTable) -> np.ndarray:
        """Return codes, NaN where missing: (n_samples, height, width)."""
        seen = observed_places(y, self.missing, 2)
        if seen.shape[1:] != self.grid_:
            raise ValueError(f"masks must have the shape of the images, {self.grid_}. Found {seen.shape[1:]}.")
        codes = np.full(seen.shape, np.nan)
        codes[seen] = self.codec_.encode(y.columns[0][seen], y.task_names()[0])
        return codes
