"""Applies the `class_weight` of a classifier to the weights of labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skmtl._table import TargetTable
from skmtl._validation import check_task_names
from skmtl.tasks import ClassCodec, class_weights


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
            weight[seen, t] *= class_weights(chosen, codecs[t], codes, weight[seen, t], names[t])[codes]


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
