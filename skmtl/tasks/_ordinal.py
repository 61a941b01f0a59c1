"""A class on an ordered scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from skmtl._labels import object_array
from skmtl._table import TargetTable
from skmtl.losses import CumulativeLogit
from skmtl.metrics._skill import brier_skill
from skmtl.tasks._base import Part, Task, array_of
from skmtl.tasks._classification import codes_of, outcomes
from skmtl.tasks._codec import ClassCodec


class Ordinal(Task):
    r"""A class on an ordered scale, such as a grade or a stage of a disease.

    The cumulative logit model [1]_: :math:`P(y > k \mid x) = \sigma(f(x) - \theta_k)` with one function of x and
    ordered thresholds, so that the probabilities of "more than k" never cross.

    Parameters
    ----------
    categories : list, default=None
        The classes in their order; None for the observed ones in sorted order.
    columns : str, default=None
        The column of y; None for the one with the task's name.
    features : list, slice, callable or None, default=None
        The columns of X that the task reads, as in scikit-learn's `ColumnTransformer`; None for all.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        The classes in their order.

    Notes
    -----
    `predict` gives the most likely class. The skill is that of the ranked probability score, the sum of the Brier
    scores of "more than k".

    References
    ----------
    .. [1] P. McCullagh, "Regression Models for Ordinal Data", Journal of the Royal Statistical Society B 42, 1980.
    .. [2] W. Cao et al., "Rank consistent ordinal regression for neural networks", Pattern Recognition Letters 140,
       2020.

    Examples
    --------
    >>> from skmtl.tasks import Ordinal
    >>> Ordinal(["low", "medium", "high"])
    Ordinal(categories=['low', 'medium', 'high'])
    """

    name = "ordinal"
    estimator_type = "classifier"

    def __init__(self, categories: Any = None, *, columns: Any = None, features: Any = None) -> None:
        self.categories = categories
        self.columns = columns
        self.features = features

    def is_continuous(self) -> list[bool]:
        return [False]

    def learn(self, y: TargetTable, weight: np.ndarray | None) -> None:
        seen, task = y.observed[:, 0], y.task_names()[0]
        self.codec_ = ClassCodec.fit(y.columns[0][seen], task)
        if self.categories is not None:
            given = list(self.categories)
            if len(set(given)) < len(given):
                raise ValueError(f"categories must differ from each other. Found {given!r}.")
            self.codec_ = OrderedCodec(_plain(given))
            self.codec_.encode(y.columns[0][seen], task)  # refuses labels that are none of them
        self.classes_ = self.codec_.classes
        if len(self.classes_) < 2:
            raise ValueError(f"an ordered scale needs at least two classes. Found {self.classes_.tolist()}.")

    def parts(self, y: TargetTable) -> list[Part]:
        return [Part(self._loss(), codes_of(self.codec_, y)[:, None])]

    def decode(self, raw: Sequence[Tensor]) -> np.ndarray:
        return self.classes_[self.probabilities(raw).argmax(axis=1)]

    def probabilities(self, raw: Sequence[Tensor]) -> np.ndarray:
        """Return class probabilities: (n_samples, n_classes)."""
        return array_of(self._loss().probabilities(raw[0]))[:, :, 0]

    def predicted_tensor(self, raw: Sequence[Tensor]) -> Tensor:
        return self._loss().probabilities(raw[0])[:, :, 0]

    def skill(self, y: TargetTable, raw: Sequence[Tensor], weight: np.ndarray | None) -> float:
        known, proba = outcomes(y.columns[0], self.classes_, self.probabilities(raw))
        return brier_skill(known.cumsum(axis=1)[:, :-1], proba.cumsum(axis=1)[:, :-1], weight)

    def _loss(self) -> CumulativeLogit:
        return CumulativeLogit([len(self.classes_)])


class OrderedCodec(ClassCodec):
    """Classes in an order of the user's."""

    def encode(self, labels: np.ndarray, task: str) -> np.ndarray:
        order = np.argsort(self.classes)
        return order[ClassCodec(self.classes[order]).encode(labels, task)]


def _plain(labels: list[Any]) -> np.ndarray:
    array = np.asarray(labels)
    return array if array.tolist() == labels and array.ndim == 1 else object_array(labels)
