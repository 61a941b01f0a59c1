"""Weights of classes: balanced, or as given for each."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from skmtl._labels import objects_of
from skmtl.tasks._codec import ClassCodec

LARGEST = float(np.finfo(np.float64).max)  # a Decimal or an int may be larger


def class_weights(chosen: Any, codec: ClassCodec, codes: np.ndarray, weight: np.ndarray, task: str) -> np.ndarray:
    """Return one weight per class: balanced by the labels' weights, or from a dict (1 for classes it leaves out).

    As in scikit-learn, a dict may name unknown classes if it names all known ones.
    """
    if isinstance(chosen, str) and chosen == "balanced":
        total = np.bincount(codes, weights=weight, minlength=len(codec.classes))
        present = total > 0  # the weight of an absent class is 1, but no label has it
        return np.where(present, total.sum() / (max(present.sum(), 1) * np.where(present, total, 1.0)), 1.0)
    if not isinstance(chosen, Mapping):
        raise ValueError(f"Task {task!r}: class_weight must be 'balanced', a dict or None. Found {chosen!r}.")
    known = list(objects_of(codec.classes))
    unknown, unnamed = [c for c in chosen if c not in known], [c for c in known if c not in chosen]
    if unknown and unnamed:
        raise ValueError(
            f"Task {task!r}: class_weight names unknown classes {unknown}, but not the classes {unnamed}. The classes "
            f"are {known}."
        )
    if not all(
        isinstance(w, (Real, Decimal)) and 0 <= w <= LARGEST  # type: ignore[operator]
        for w in chosen.values()
    ):
        raise ValueError(f"Task {task!r}: class weights must be finite and >= 0. Found {chosen!r}.")
    return np.array([float(chosen.get(label, 1.0)) for label in known])
