"""A number: its mean, its median or another quantile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import d2_absolute_error_score, d2_pinball_score
from torch import Tensor

from skmtl._table import TargetTable
from skmtl.losses import AbsoluteError, Huber, Loss, Pinball, SquaredError
from skmtl.metrics._of_numbers import r2
from skmtl.tasks._base import Part, Task, array_of, with_missing
from skmtl.tasks._scale import ScaleCodec
from skmtl.tasks._transform import LabelTransform


class Regression(Task):
    """A number.

    Labels are standardised by the weighted mean and standard deviation of those that are observed, and predictions
    come back in their units.

    Parameters
    ----------
    loss : {"squared_error", "absolute_error", "huber", "quantile"}, default="squared_error"
        ``"squared_error"`` predicts the mean, ``"absolute_error"`` the median, ``"quantile"`` the one that `quantile`
        names. ``"huber"`` is squared for errors up to one standard deviation of the labels and absolute beyond, for
        labels with outliers.
    quantile : float, default=0.5
        In (0, 1), for ``loss="quantile"``.
    transform : transformer, default=None
        A scikit-learn transformer of labels, fitted on those that are observed and inverted in predictions, such as
        ``FunctionTransformer(np.log1p, np.expm1)``. What comes back is no mean but, if the transformed labels are
        symmetric, a median.
    columns : str, default=None
        The column of y; None for the one with the task's name.
    features : list, slice, callable or None, default=None
        The columns of X that the task reads, as in scikit-learn's `ColumnTransformer`; None for all.

    Notes
    -----
    The skill is R² for ``"squared_error"`` and ``"huber"``, else the D² of the pinball loss [1]_.

    References
    ----------
    .. [1] R. Koenker and J. Machado, "Goodness of Fit and Related Inference Processes for Quantile Regression", JASA
       94, 1999.

    Examples
    --------
    >>> from skmtl import MultiTaskEstimator
    >>> from skmtl.tasks import Regression
    >>> MultiTaskEstimator({"price": Regression(loss="huber")})
    MultiTaskEstimator(tasks={'price': Regression(loss='huber')})
    """

    name = "regression"
    estimator_type = "regressor"

    def __init__(
        self,
        loss: str = "squared_error",
        *,
        quantile: float = 0.5,
        transform: Any = None,
        columns: Any = None,
        features: Any = None,
    ) -> None:
        self.loss = loss
        self.quantile = quantile
        self.transform = transform
        self.columns = columns
        self.features = features

    def is_continuous(self) -> list[bool]:
        return [True]

    def learn(self, y: TargetTable, weight: np.ndarray | None) -> None:
        self._make_loss()
        if self.transform is not None:
            counts = y.observed[:, 0] if weight is None else y.observed[:, 0] & (weight > 0)
            self.transform_ = LabelTransform.fit(self.transform, y.numbers[counts, 0])
        self.codec_ = fit_scale(self._forward(y), y.observed, weight)

    def parts(self, y: TargetTable) -> list[Part]:
        return [Part(self._make_loss(), with_missing(self.codec_.encode(self._forward(y)), y.observed))]

    def decode(self, raw: Sequence[Tensor]) -> np.ndarray:
        values = self.codec_.decode(array_of(raw[0])[:, 0])[:, 0]
        return values if self.transform is None else self.transform_.backward(values)

    def predicted_tensor(self, raw: Sequence[Tensor]) -> Tensor:
        if self.transform is not None:
            raise ValueError(f"transform={self.transform!r} has no torch module.")
        return raw[0][:, 0, 0] * float(self.codec_.scale[0]) + float(self.codec_.mean[0])

    def skill(self, y: TargetTable, raw: Sequence[Tensor], weight: np.ndarray | None) -> float:
        true, predicted = y.numbers[:, 0], self.decode(raw)
        if len(true) < 2:
            return float("nan")
        if self.loss == "absolute_error":
            return float(d2_absolute_error_score(true, predicted, sample_weight=weight))
        if self.loss == "quantile":
            return float(d2_pinball_score(true, predicted, sample_weight=weight, alpha=self.quantile))
        return float(r2(true, predicted, weight))

    def _make_loss(self) -> Loss:
        if self.loss == "quantile":
            check_levels([self.quantile], "quantile")
            return Pinball([self.quantile])
        losses: dict[str, type[Loss]] = {
            "squared_error": SquaredError, "absolute_error": AbsoluteError, "huber": Huber,
        }  # fmt: skip
        if self.loss not in losses:
            raise ValueError(f"loss must be one of {', '.join(map(repr, [*losses, 'quantile']))}. Found {self.loss!r}.")
        return losses[self.loss](1)

    def _forward(self, y: TargetTable) -> np.ndarray:
        """Return labels as they are standardised: (n_samples, 1), 0 where missing."""
        if self.transform is None:
            return y.numbers
        return self.transform_.forward(y.numbers[:, 0], y.observed[:, 0], y.task_names()[0])[:, None]


def fit_scale(numbers: np.ndarray, observed: np.ndarray, weight: np.ndarray | None) -> ScaleCodec:
    """Return mean and scale of the observed labels of a column: (n_samples, 1) both, weights (n_samples,)."""
    if weight is None and observed.all():
        return ScaleCodec.fit(numbers)
    return ScaleCodec.fit(numbers, observed * (1.0 if weight is None else weight[:, None]))


def check_levels(levels: Sequence[float], name: str) -> None:
    """Refuse quantiles outside (0, 1)."""
    for level in levels:
        if not (isinstance(level, (int, float, np.number)) and 0 < level < 1):
            raise ValueError(f"{name} must be in (0, 1). Found {level!r}.")
