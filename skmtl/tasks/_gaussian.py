"""A number and how uncertain it is."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from torch import Tensor

from skmtl._table import TargetTable
from skmtl.losses import Normal
from skmtl.metrics._skill import normal_crps_skill
from skmtl.tasks._base import Part, Task, array_of, with_missing
from skmtl.tasks._regression import fit_scale


class Gaussian(Task):
    """A number and how uncertain it is: the mean and the variance of a normal distribution, both learned from X.

    Parameters
    ----------
    columns : str, default=None
        The column of y; None for the one with the task's name.
    features : list, slice, callable or None, default=None
        The columns of X that the task reads, as in scikit-learn's `ColumnTransformer`; None for all.

    Notes
    -----
    The loss is the negative log likelihood [1]_ of standardised labels. An ensemble predicts the moments of its
    members' mixture, noise and disagreement together [2]_. The skill is that of the continuous ranked probability
    score against the distribution of the scored labels.

    References
    ----------
    .. [1] D. Nix and A. Weigend, "Estimating the mean and variance of the target probability distribution", ICNN 1994.
    .. [2] B. Lakshminarayanan et al., "Simple and Scalable Predictive Uncertainty Estimation using Deep Ensembles",
       NIPS 2017.

    Examples
    --------
    >>> from skmtl.tasks import Gaussian
    >>> Gaussian(columns="yield")
    Gaussian(columns='yield')
    """

    name = "gaussian"
    estimator_type = "regressor"

    def __init__(self, *, columns: Any = None, features: Any = None) -> None:
        self.columns = columns
        self.features = features

    def is_continuous(self) -> list[bool]:
        return [True]

    def learn(self, y: TargetTable, weight: np.ndarray | None) -> None:
        self.codec_ = fit_scale(y.numbers, y.observed, weight)

    def parts(self, y: TargetTable) -> list[Part]:
        return [Part(Normal(1), with_missing(self.codec_.encode(y.numbers), y.observed))]

    def decode(self, raw: Sequence[Tensor]) -> np.ndarray:
        return self.codec_.decode(array_of(raw[0])[:, 0])[:, 0]

    def predicted_std(self, raw: Sequence[Tensor]) -> np.ndarray:
        """Return the standard deviation in the units of y: (n_samples,)."""
        return array_of((0.5 * Normal(1).log_variance(raw[0])).exp())[:, 0] * self.codec_.scale[0]

    def predicted_interval(self, raw: Sequence[Tensor], coverage: float) -> np.ndarray:
        """Return the central interval of this probability, lower and upper end: (n_samples, 2)."""
        return normal_interval(self.decode(raw), self.predicted_std(raw), coverage)

    def predicted_tensor(self, raw: Sequence[Tensor]) -> Tensor:
        return raw[0][:, 0, 0] * float(self.codec_.scale[0]) + float(self.codec_.mean[0])

    def skill(self, y: TargetTable, raw: Sequence[Tensor], weight: np.ndarray | None) -> float:
        sigma = np.maximum(self.predicted_std(raw), np.finfo(float).tiny)
        return normal_crps_skill(y.numbers[:, 0], self.decode(raw), sigma, weight)


def normal_interval(mean: np.ndarray, sigma: np.ndarray, coverage: float) -> np.ndarray:
    """Return the central interval of normal distributions: (n_samples, 2)."""
    if not 0 < coverage < 1:
        raise ValueError(f"coverage must be in (0, 1). Found {coverage!r}.")
    half = NormalDist().inv_cdf(0.5 + coverage / 2) * sigma
    return np.stack([mean - half, mean + half], axis=1)
