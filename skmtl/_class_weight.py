"""Applies the `class_weight` of a classifier to the weights of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

from skmtl._labels import objects_of
from skmtl._table import TargetTable
from skmtl._validation import check_task_names
from skmtl.tasks import ClassCodec

LARGEST = float(np.finfo(np.float64).max)  # a Decimal or an int may be larger


def weigh_classes(
    class_weight: Any, table: TargetTable, codecs: Sequence[ClassCodec], names: Sequence[str], weight: np.ndarray
) -> None:
    """Multiply the weight of each label by the weight of its class, in place.

    Parameters
    ----------
    class_weight : "balanced", dict or sequence
        The parameter of the classifier.
    table : TargetTable
        Labels.
    codecs, names : sequence of length n_tasks
        Classes and name of each task.
    weight : array of shape (n_samples, n_tasks)
        Weights of the labels; changed in place.
    """
    for t, chosen in enumerate(_of_each_task(class_weight, table, names)):
        if chosen is not None:
            seen = table.observed[:, t]
            codes = codecs[t].encode(table.columns[t][seen], names[t])
            weight[seen, t] *= _by_class(chosen, codecs[t], codes, weight[seen, t], names[t])[codes]


def _of_each_task(given: Any, table: TargetTable, names: Sequence[str]) -> list[Any]:
    """Return the class weights of each task, given for all tasks at once, by name or in order."""
    if isinstance(given, str) or (table.ndim == 1 and isinstance(given, Mapping)):
        return [given] * table.n_columns
    if isinstance(given, Mapping):
        check_task_names(given, names, "class_weight")
        return [given.get(name) for name in names]
    if len(given) != table.n_columns:
        raise ValueError(
            f"class_weight must hold one entry for each of the {table.n_columns} tasks. Found {len(given)}."
        )
    return list(given)


def _by_class(chosen: Any, codec: ClassCodec, codes: np.ndarray, weight: np.ndarray, task: str) -> np.ndarray:
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
    if not all(isinstance(w, (Real, Decimal)) and 0 <= w <= LARGEST for w in chosen.values()):
        raise ValueError(f"Task {task!r}: class weights must be finite and >= 0. Found {chosen!r}.")
    return np.array([float(chosen.get(label, 1.0)) for label in known])
