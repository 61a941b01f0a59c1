"""How one target column becomes numbers and comes back: class codes, or standardised units."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets


@dataclass(frozen=True)
class ClassCodec:
    """Classes of one task, sorted; a label is encoded as its position.

    Attributes
    ----------
    classes : array of shape (n_classes,)
        Labels in their own dtype.
    """

    classes: np.ndarray

    @classmethod
    def fit(cls, labels: np.ndarray, task: str) -> ClassCodec:
        """Find the classes among a task's observed labels; numbers with a fraction raise ValueError."""
        if labels.dtype.kind == "f":
            try:
                check_classification_targets(labels)
            except ValueError as error:
                raise ValueError(f"Task {task!r}: {error}") from error
        return cls(sorted_classes(labels))

    def encode(self, labels: np.ndarray, task: str) -> np.ndarray:
        """Return codes 0 .. n_classes - 1 of a task's observed labels; an unknown label raises ValueError."""
        if _as_objects(self.classes, labels):
            position = {c: k for k, c in enumerate(self.classes.tolist())}
            codes = np.array([position.get(v, -1) for v in labels.tolist()], dtype=np.int64)
        else:
            codes = np.searchsorted(self.classes, labels).clip(0, len(self.classes) - 1)
            codes[self.classes[codes] != labels] = -1
        if (codes < 0).any():
            unknown = sorted({repr(v) for v in labels[codes < 0].tolist()})
            known = ", ".join(repr(c) for c in self.classes.tolist()[:10])
            raise ValueError(f"Task {task!r}: unknown labels {', '.join(unknown[:5])}. The classes are {known}.")
        return codes

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Return the labels of codes."""
        labels: np.ndarray = self.classes[codes.astype(np.int64)]
        return labels


def _as_objects(classes: np.ndarray, labels: np.ndarray) -> bool:
    """Say whether numpy cannot compare the two arrays: objects, or strings against numbers."""
    kinds = classes.dtype.kind + labels.dtype.kind
    return "O" in kinds or (classes.dtype.kind in "US") != (labels.dtype.kind in "US")


def sorted_classes(labels: np.ndarray) -> np.ndarray:
    """Return the sorted distinct labels; numbers come before strings where a column mixes them."""
    if labels.dtype.kind != "O":
        return np.unique(labels)
    distinct = sorted(set(labels.tolist()), key=_sort_key)
    classes = np.empty(len(distinct), dtype=object)
    classes[:] = distinct
    return classes


def _sort_key(label: Any) -> tuple[str, Any]:
    return ("" if isinstance(label, (bool, int, float)) else type(label).__name__, label)


@dataclass(frozen=True)
class ScaleCodec:
    """Mean and standard deviation of regression tasks, to and from standardised units.

    Attributes
    ----------
    mean, scale : arrays of shape (n_tasks,)
        In the units of y; a constant target has scale 1.
    """

    mean: np.ndarray
    scale: np.ndarray

    @classmethod
    def fit(cls, y: np.ndarray, weight: np.ndarray | None = None) -> ScaleCodec:
        """Take weighted moments of y (n_samples, n_tasks); a missing label has weight 0, None weighs all labels 1."""
        total = len(y) if weight is None else weight.sum(axis=0)
        mean = (y if weight is None else weight * y).sum(axis=0) / total
        square = np.square(y - mean)
        deviation = np.sqrt((square if weight is None else weight * square).sum(axis=0) / total)
        constant = deviation <= 1e-12 * np.maximum(np.abs(mean), 1e-300)
        return cls(mean, np.where(constant, 1.0, deviation))

    def encode(self, y: np.ndarray) -> np.ndarray:
        """Return y in standardised units."""
        centred = y - self.mean
        centred /= self.scale
        return centred

    def decode(self, y: np.ndarray) -> np.ndarray:
        """Return standardised values in the units of y, in the precision of the values given."""
        scaled = y * self.scale.astype(y.dtype)
        scaled += self.mean.astype(y.dtype)
        return scaled
