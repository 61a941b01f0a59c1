"""Several labels of which any number may apply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from skmtl._table import TargetTable
from skmtl.losses import Logistic
from skmtl.metrics._skill import brier_skill, mean_skill
from skmtl.tasks._base import Part, Task, any_observed, array_of, with_missing


class Multilabel(Task):
    """Labels of which any number may apply: one task of several columns of 0 and 1.

    As one task they have one weight and, where sharing has a tower or query per task, one of those. Each label may be
    missing by itself.

    Parameters
    ----------
    columns : list of str
        The columns of y.
    features : list, slice, callable or None, default=None
        The columns of X that the task reads, as in scikit-learn's `ColumnTransformer`; None for all.

    Notes
    -----
    The loss is the sum of the columns' logistic losses, in nats; the skill is the mean of the columns' Brier skills.

    Examples
    --------
    >>> from skmtl.tasks import Multilabel
    >>> Multilabel(["amazed", "happy", "calm"])
    Multilabel(columns=['amazed', 'happy', 'calm'])
    """

    name = "multilabel"

    def __init__(self, columns: Any, *, features: Any = None) -> None:
        self.columns = columns
        self.features = features

    def output_names(self, key: str) -> list[str]:
        return self.claims(key)

    def is_continuous(self) -> list[bool]:
        return [False] * len(self.columns)

    def observed_rows(self, y: TargetTable) -> np.ndarray:
        return any_observed(y)

    def parts(self, y: TargetTable) -> list[Part]:
        return [Part(Logistic(y.n_columns), with_missing(flags_of(y), y.observed))]

    def decode(self, raw: Sequence[Tensor]) -> np.ndarray:
        return (self.probabilities(raw) > 0.5).astype(np.int64)

    def probabilities(self, raw: Sequence[Tensor]) -> np.ndarray:
        """Return the probability of each label: (n_samples, n_labels)."""
        return array_of(raw[0].sigmoid())[:, 0]

    def predicted_tensor(self, raw: Sequence[Tensor]) -> Tensor:
        return raw[0][:, 0].sigmoid()

    def skill(self, y: TargetTable, raw: Sequence[Tensor], weight: np.ndarray | None) -> float:
        return mean_brier_skill(flags_of(y), self.probabilities(raw), y.observed, weight)


def flags_of(y: TargetTable) -> np.ndarray:
    """Return columns of 0 and 1 as floats, 0 where missing; refuse other numbers."""
    flags = y.numbers
    odd = (flags != 0) & (flags != 1)
    if odd.any():
        column = int(np.flatnonzero(odd.any(axis=0))[0])
        raise ValueError(
            f"Column {y.task_names()[column]!r} must hold 0 and 1, or False and True. Found {flags[odd][0]:g}."
        )
    return flags


def mean_brier_skill(flags: np.ndarray, proba: np.ndarray, observed: np.ndarray, weight: np.ndarray | None) -> float:
    """Return the mean over columns of the Brier skill of their observed rows; NaN if no column has one."""
    skills = []
    for k, seen in enumerate(observed.T):
        own = None if weight is None else weight[seen]
        skills.append(brier_skill(flags[seen, k, None], proba[seen, k, None], own))
    return mean_skill(skills)
