"""Events of which each can only follow the one before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from skmtl._table import TargetTable
from skmtl.losses import ChainedLogistic
from skmtl.tasks._base import Part, any_observed, array_of, with_missing
from skmtl.tasks._drawn import check_negatives
from skmtl.tasks._levels import TaskOfLevels
from skmtl.tasks._multilabel import flags_of, mean_brier_skill


class Chain(TaskOfLevels):
    """Events of which each can only follow the one before, such as click and conversion.

    The probability of an event is that of the one before times that of itself given the one before, and both are
    learned from all rows [1]_: not only from those with the earlier event, which are no fair sample of all.

    Parameters
    ----------
    *levels : str
        Columns of y that hold 0 and 1, or False and True, the first event first.
    features : list, slice, callable or None, default=None
        The columns of X that the task reads, as in scikit-learn's `ColumnTransformer`; None for all.
    negatives : int, default=0
        Items drawn for each row with the first event, among those that its user has not been seen with; no event came
        of them. As for `Classification`, so that y may hold 1 alone for the first event.

    Notes
    -----
    `predict` gives 1 where the probability exceeds a half, so that a later event never comes without an earlier one.
    The skill is the mean over events of the Brier skill.

    References
    ----------
    .. [1] X. Ma et al., "Entire Space Multi-Task Model", SIGIR 2018.

    Examples
    --------
    >>> from skmtl.tasks import Chain
    >>> Chain("visit", "conversion")
    Chain('visit', 'conversion')
    """

    name = "chain"

    def __init__(self, *levels: Any, features: Any = None, negatives: int = 0) -> None:
        self.levels = levels
        self.features = features
        self.negatives = negatives

    @classmethod
    def _get_param_names(cls) -> list[str]:
        return ["levels", "features", "negatives"]

    def learn(self, y: TargetTable, weight: np.ndarray | None) -> None:
        check_negatives(self.negatives)

    def observed_rows(self, y: TargetTable) -> np.ndarray:
        return any_observed(y)

    def parts(self, y: TargetTable) -> list[Part]:
        flags = flags_of(y)
        known = y.observed[:, 1:] & y.observed[:, :-1]
        wrong = known & (flags[:, 1:] > flags[:, :-1])
        if wrong.any():
            row, k = np.argwhere(wrong)[0]
            raise ValueError(
                f"{self.levels[k + 1]!r} can only follow {self.levels[k]!r}. Found it alone in {wrong.sum()} rows, the "
                f"first of them row {row}."
            )
        return [Part(ChainedLogistic([y.n_columns]), with_missing(flags, y.observed))]

    def decode(self, raw: Sequence[Tensor]) -> np.ndarray:
        return (self.probabilities(raw) > 0.5).astype(np.int64)

    def probabilities(self, raw: Sequence[Tensor]) -> np.ndarray:
        """Return the probability of each event: (n_samples, n_events), never rising along a row."""
        return array_of(ChainedLogistic([len(self.levels)]).decode(raw[0]))

    def predicted_tensor(self, raw: Sequence[Tensor]) -> Tensor:
        return ChainedLogistic([len(self.levels)]).decode(raw[0])

    def skill(self, y: TargetTable, raw: Sequence[Tensor], weight: np.ndarray | None) -> float:
        return mean_brier_skill(flags_of(y), self.probabilities(raw), y.observed, weight)
