"""Compares labels of one task as Python does: their types, whether they are equal, the classes they belong to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from numbers import Number
from typing import Any

import numpy as np

from skmtl._labels import objects_of, survives


@lru_cache(maxsize=256)
def _family(label_type: type) -> str:
    """Return the family of labels that a type belongs to; labels of different families are never equal."""
    if issubclass(label_type, str):
        return "strings"
    if issubclass(label_type, bytes):
        return "bytes"
    if issubclass(label_type, (timedelta, np.timedelta64)):  # before numbers, which numpy's durations are, too
        return "durations"
    if issubclass(label_type, (Number, np.bool_)):
        return "numbers"
    return "dates" if issubclass(label_type, (datetime, np.datetime64)) else label_type.__name__


def families(labels: np.ndarray | list[Any]) -> set[str]:
    """Return the families of one or more labels: "numbers", "strings", ..."""
    if isinstance(labels, np.ndarray) and labels.dtype.kind != "O":
        return {_family(labels.dtype.type)}
    return {_family(label_type) for label_type in set(map(type, labels))}


def equal(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return where two columns of labels are equal, compared without rounding: bool array of shape (n_rows,).

    Both columns must share a family of labels.
    """
    kinds = one.dtype.kind, other.dtype.kind
    if (one.dtype == other.dtype and kinds[0] != "O") or kinds in (("U", "U"), ("S", "S")):
        return one == other
    if set(kinds) <= set("biuf"):
        common = np.result_type(one, other)  # the dtype numpy compares in, which may round large integers
        if all(labels.dtype in (common, np.bool_) or survives(labels, common) for labels in (one, other)):
            return one == other
    pairs = zip(_python_labels(one), _python_labels(other), strict=True)
    return np.fromiter((a == b for a, b in pairs), dtype=bool, count=len(one))


def is_class_list(entry: Any) -> bool:
    """Return whether an entry is a list of classes, or None for classes that are not known."""
    return entry is None or (isinstance(entry, Iterable) and not isinstance(entry, (str, bytes)))


def class_list(classes: Iterable[Any]) -> list[Any]:
    """Return the classes of a task as Python objects, in their order."""
    if isinstance(classes, np.ndarray):
        return _python_labels(classes)
    return [_python_number(label) for label in classes]


def distinct(labels: np.ndarray) -> tuple[list[Any], np.ndarray]:
    """Return the distinct labels, and the position of each row's label among them: int array of shape (n_rows,)."""
    if labels.dtype.kind != "O":
        values, inverse = np.unique(labels, return_inverse=True)
        return _python_labels(values), inverse
    plain = _python_labels(labels)
    position = {label: p for p, label in enumerate(dict.fromkeys(plain))}
    return list(position), np.fromiter((position[v] for v in plain), dtype=np.intp, count=len(plain))


def sorted_union(*labels: Sequence[Any]) -> list[Any]:
    """Return the distinct labels, sorted; numbers come before strings if a task has both."""
    return sorted(set().union(*labels), key=_sort_key)


def _sort_key(label: Any) -> tuple[str, Any]:
    family = _family(type(label))
    return "" if family == "numbers" else family, label


def _python_labels(labels: np.ndarray) -> list[Any]:
    """Return labels as objects that compare and hash exactly: numpy's numbers become Python's."""
    if labels.dtype.kind == "O":
        return list(map(_python_number, labels))
    return objects_of(labels).tolist() if labels.dtype.kind in "mM" else labels.tolist()


def _python_number(label: Any) -> Any:
    if not isinstance(label, np.generic) or label.dtype.kind not in "biufmM":
        return label
    return objects_of(np.array([label]))[0] if label.dtype.kind in "mM" else label.item()
