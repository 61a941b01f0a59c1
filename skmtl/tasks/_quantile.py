"""Several quantiles of a number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import mean_pinball_loss
from torch import Tensor

from skmtl._table import TargetTable
from skmtl.losses import Quantiles
from skmtl.metrics._skill import skill_score
from skmtl.tasks._base import Part, Task, array_of, with_missing
from skmtl.tasks._regression import check_levels, fit_scale


class Quantile(Task):
    """Several quantiles of a number, which never cross: an interval of prediction without an assumed distribution.

    Parameters
    ----------
    quantiles : list of float, default=(0.1, 0.5, 0.9)
        In (0, 1), ascending.
    columns : str, default=None
        The column of y; None for the one with the task's name.
    features : list, slice, callable or None, default=None
        The columns of X that the task reads, as in scikit-learn's `ColumnTransformer`; None for all.

    Notes
    -----
    The loss is the mean pinball loss [1]_ of standardised labels; the distances between neighbouring quantiles are
    learned through a softplus, so that they are positive. `predict` gives the middle quantile, of an even number the
    lower of the two. An ensemble averages quantiles. The skill is D² of the mean pinball loss.

    References
    ----------
    .. [1] R. Koenker and G. Bassett, "Regression Quantiles", Econometrica 46, 1978.

    Examples
    --------
    >>> from skmtl.tasks import Quantile
    >>> Quantile([0.05, 0.5, 0.95])
    Quantile(quantiles=[0.05, 0.5, 0.95])
    """

    name = "quantile"
    estimator_type = "regressor"

    def __init__(self, quantiles: Any = (0.1, 0.5, 0.9), *, columns: Any = None, features: Any = None) -> None:
        self.quantiles = quantiles
        self.columns = columns
        self.features = features

    def is_continuous(self) -> list[bool]:
        return [True]

    def learn(self, y: TargetTable, weight: np.ndarray | None) -> None:
        check_levels(self.quantiles, "quantiles")
        if len(self.quantiles) == 0 or (np.diff(self.quantiles) <= 0).any():
            raise ValueError(f"quantiles must be ascending, at least one. Found {self.quantiles!r}.")
        self.codec_ = fit_scale(y.numbers, y.observed, weight)

    def parts(self, y: TargetTable) -> list[Part]:
        return [Part(self._loss(), with_missing(self.codec_.encode(y.numbers), y.observed))]

    def decode(self, raw: Sequence[Tensor]) -> np.ndarray:
        return self.predicted_quantiles(raw)[:, self._loss().middle]

    def predicted_quantiles(self, raw: Sequence[Tensor]) -> np.ndarray:
        """Return the quantiles in the units of y: (n_samples, n_quantiles)."""
        return self.codec_.decode(array_of(self._loss().quantiles(raw[0]))[:, :, 0])

    def predicted_tensor(self, raw: Sequence[Tensor]) -> Tensor:
        middle = self._loss().decode(raw[0])[:, 0]
        return middle * float(self.codec_.scale[0]) + float(self.codec_.mean[0])

    def predicted_interval(self, raw: Sequence[Tensor], coverage: float) -> np.ndarray:
        """Return the two quantiles between which this share of labels lies, (n_samples, 2); refuse others."""
        tails = (0.5 - coverage / 2, 0.5 + coverage / 2)
        places = [int(np.abs(np.subtract(self.quantiles, tail)).argmin()) for tail in tails]
        if not np.allclose(np.take(self.quantiles, places), tails, rtol=0.0, atol=1e-9):
            raise ValueError(
                f"coverage={coverage!r} needs the quantiles {tails[0]:.4g} and {tails[1]:.4g}. Found "
                f"{list(self.quantiles)}: choose another coverage, or fit with these quantiles."
            )
        return self.predicted_quantiles(raw)[:, places]

    def skill(self, y: TargetTable, raw: Sequence[Tensor], weight: np.ndarray | None) -> float:
        true, predicted = y.numbers[:, 0], self.predicted_quantiles(raw)
        if len(true) < 2:
            return float("nan")
        constant = weighted_quantiles(true, self.quantiles, weight)

        def loss(guess: np.ndarray) -> float:
            pairs = zip(guess.T, self.quantiles, strict=True)
            return float(np.mean([mean_pinball_loss(true, q, sample_weight=weight, alpha=level) for q, level in pairs]))

        return skill_score(loss(predicted), loss(np.tile(constant, (len(true), 1))))

    def _loss(self) -> Quantiles:
        return Quantiles(self.quantiles)


def weighted_quantiles(y: np.ndarray, levels: Sequence[float] | np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    """Return the smallest values below which at least these shares of the weight lie: (n_levels,)."""
    order = np.argsort(y)
    share = np.cumsum(np.ones(len(y)) if weight is None else weight[order])
    place = np.searchsorted(share, np.asarray(levels) * share[-1] * (1 - 1e-12))
    return y[order][np.minimum(place, len(y) - 1)]
