"""How a column of classes becomes numbers and comes back."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils.multiclass import check_classification_targets

from skmtl._labels import objects_of, survives


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
        try:
            if labels.dtype.kind == "f" and (labels != np.rint(labels)).any():
                check_classification_targets(labels)  # raises; it would take as long as a small fit to find nothing
            return cls(sorted_classes(labels))
        except ValueError as error:
            raise ValueError(f"Task {task!r}: {error}") from error
        except TypeError as error:
            raise ValueError(
                f"Task {task!r}: labels must be single values that can be sorted: numbers, strings, bools or dates. "
                f"Found {labels[0]!r} ({error})."
            ) from error

    def encode(self, labels: np.ndarray, task: str) -> np.ndarray:
        """Return codes 0 .. n_classes - 1 of a task's observed labels; an unknown label raises ValueError."""
        if _as_objects(self.classes, labels):
            position = {c: k for k, c in enumerate(objects_of(self.classes))}
            codes = np.array([_place(position, v) for v in objects_of(labels)], dtype=np.int64)
        else:
            codes = np.searchsorted(self.classes, labels).clip(0, len(self.classes) - 1)
            codes[self.classes[codes] != labels] = -1
        if (codes < 0).any():
            unknown = sorted({_shown(v) for v in labels[codes < 0]})
            known = ", ".join(map(_shown, self.classes[:10]))
            raise ValueError(f"Task {task!r}: unknown labels {', '.join(unknown[:5])}. The classes are {known}.")
        return codes

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Return the labels of codes."""
        labels: np.ndarray = self.classes[codes.astype(np.int64)]
        return labels


def _as_objects(classes: np.ndarray, labels: np.ndarray) -> bool:
    """Return whether numpy cannot compare the two arrays exactly: objects, other types, or integers with floats."""
    one, other = classes.dtype.kind, labels.dtype.kind
    if "O" in (one, other) or (one != other and not {one, other} <= set("biuf")):
        return True
    common = np.result_type(classes, labels) if one != other else None
    return common is not None and not (survives(classes, common) and survives(labels, common))


def _place(position: dict[Any, int], label: Any) -> int:
    """Return the position of a label, -1 where it is none or cannot be looked up."""
    try:
        return position.get(label, -1)
    except TypeError:
        return -1


def _shown(label: Any) -> str:
    return repr(label.item() if isinstance(label, np.generic) and label.dtype.kind not in "mM" else label)


def sorted_classes(labels: np.ndarray) -> np.ndarray:
    """Return the sorted distinct labels; numbers come before strings where a column mixes them."""
    if labels.dtype.kind != "O":
        return np.unique(labels)
    distinct = sorted(set(labels.tolist()), key=_sort_key)
    return np.fromiter(distinct, dtype=object, count=len(distinct))  # labels may be tuples


def _sort_key(label: Any) -> tuple[str, Any]:
    return ("" if isinstance(label, (Real, Decimal)) else type(label).__name__, label)
