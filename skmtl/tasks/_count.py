"""A count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import mean_poisson_deviance
from torch import Tensor

from skmtl._table import TargetTable
from skmtl.losses import Poisson
from skmtl.metrics._skill import skill_score
from skmtl.tasks._base import Part, Task, array_of, with_missing


class Count(Task):
    """A count, or a rate of events, by Poisson regression.

    Parameters
    ----------
    exposure : str, default=None
        The column of y that holds what a count refers to, such as years or kilometres, > 0. Predictions are then counts
        per unit of it.
    columns : str, default=None
        The column of y that holds counts; None for the one with the task's name.
    features : list, slice, callable or None, default=None
        The columns of X that the task reads, as in scikit-learn's `ColumnTransformer`; None for all.

    Notes
    -----
    The loss is the Poisson deviance [1]_ of counts divided by their mean; a rate weighs its exposure, as in
    scikit-learn's `PoissonRegressor`. The skill is D², the explained share of the deviance.

    References
    ----------
    .. [1] P. McCullagh and J. A. Nelder, "Generalized Linear Models", Chapman & Hall 1989.

    Examples
    --------
    >>> from skmtl.tasks import Count
    >>> Count(exposure="years")
    Count(exposure='years')
    """

    name = "count"
    estimator_type = "regressor"

    def __init__(self, *, exposure: Any = None, columns: Any = None, features: Any = None) -> None:
        self.exposure = exposure
        self.columns = columns
        self.features = features

    def claims(self, key: str) -> list[str]:
        return [*super().claims(key), *([] if self.exposure is None else [str(self.exposure)])]

    def is_continuous(self) -> list[bool]:
        return [True] * (1 + (self.exposure is not None))

    def learn(self, y: TargetTable, weight: np.ndarray | None) -> None:
        rate, exposure, seen = self._rates(y)
        weight = exposure if weight is None else exposure * weight
        seen = seen & (weight > 0)  # numpy adds in pairs: what is absent must not be there
        total = weight[seen].sum()
        self.mean_ = float((weight[seen] * rate[seen]).sum() / total) if total > 0 else 1.0
        self.mean_ = self.mean_ if self.mean_ > 0 else 1.0  # of zeros alone

    def parts(self, y: TargetTable) -> list[Part]:
        rate, exposure, seen = self._rates(y)
        return [Part(Poisson(1), with_missing(rate / self.mean_, seen)[:, None], exposure)]

    def decode(self, raw: Sequence[Tensor]) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.exp(array_of(raw[0])[:, 0, 0]) * self.mean_

    def predicted_tensor(self, raw: Sequence[Tensor]) -> Tensor:
        return raw[0][:, 0, 0].exp() * self.mean_

    def known_range(self, y: TargetTable) -> tuple[np.ndarray, np.ndarray]:
        rate, _, _ = self._rates(y)
        return rate, rate

    def skill(self, y: TargetTable, raw: Sequence[Tensor], weight: np.ndarray | None) -> float:
        rate, exposure, _ = self._rates(y)
        if len(rate) < 2 or not (rate > 0).any():
            return float("nan")
        weight = exposure if weight is None else exposure * weight
        guesses = (
            np.maximum(self.decode(raw), np.finfo(float).tiny),
            np.full(len(rate), np.average(rate, weights=weight)),
        )
        loss, of_constant = (mean_poisson_deviance(rate, guess, sample_weight=weight) for guess in guesses)
        return skill_score(float(loss), float(of_constant) if (rate != rate[0]).any() else 0.0)

    def _rates(self, y: TargetTable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return counts per exposure, exposures and which rows have both; refuse what no count is."""
        numbers, seen = y.numbers, self.observed_rows(y)
        counts = numbers[:, 0]
        if (counts < 0).any():
            raise ValueError(f"counts must be >= 0. Found {counts.min():g}.")
        if self.exposure is None:
            return counts, np.ones(len(counts)), seen
        exposure = np.where(y.observed[:, 1], numbers[:, 1], 1.0)
        if (exposure <= 0).any():
            raise ValueError(f"exposures must be > 0. Found {exposure.min():g}.")
        return counts / exposure, np.where(seen, exposure, 1.0), seen
