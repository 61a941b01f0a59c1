"""A class, out of two or more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from skmtl._table import TargetTable
from skmtl.losses import Logistic, Softmax
from skmtl.metrics._skill import brier_skill
from skmtl.tasks._base import Part, Task, array_of
from skmtl.tasks._class_weights import class_weights
from skmtl.tasks._codec import ClassCodec
from skmtl.tasks._drawn import check_negatives, with_negative_class


class Classification(Task):
    """A class, out of two or more: numbers, strings, bools or dates.

    Parameters
    ----------
    class_weight : "balanced" or dict, default=None
        Weights of the classes, ``{label: weight}``, or inverse to their numbers of observed labels. None: all 1.
    label_smoothing : float, default=0.0
        Share of each label that is spread over all classes equally, in [0, 1): predictions become less certain.
    focal_gamma : float, default=0.0
        Exponent >= 0 of the focal loss: with 2, say, labels that are predicted well count for little.
    negatives : int, default=0
        Items drawn for each row with the positive label, ``classes_[1]``, among those that its user has not been seen
        with; they get the negative one. For clicks and purchases, of which only what happened is known: y may hold
        positive labels alone, 1 or True. Needs an encoder with ids of users and items, such as `Embeddings`.
    columns : str, default=None
        The column of y; None for the one with the task's name.
    features : list, slice, callable or None, default=None
        The columns of X that the task reads, as in scikit-learn's `ColumnTransformer`; None for all.

    Attributes
    ----------
    classes_ : array of shape (n_classes,)
        Sorted labels, once `MultiTaskEstimator` has learned them.

    Notes
    -----
    Two classes are learned by the logistic loss, more by the softmax cross entropy, both with the options above [1]_
    [2]_. The skill is that of the Brier score.

    Negatives are drawn once in a fit, each network of an ensemble its own, uniformly among the items in the rows that
    it learns from, without the pairs in these rows; a user that has been seen with every item gets none. The rows that
    `early_stopping` holds out, or `X_val`, get negatives too, which are in neither part. A negative has the weight of
    its positive, times that of its class, and no label of other tasks; columns of X that are the same in all rows of an
    item come with the item drawn, all others stay. Probabilities are then those among rows and negatives together, and
    good for ranking. See :doc:`/user_guide/recommenders`.

    References
    ----------
    .. [1] C. Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016 (smoothing).
    .. [2] T.-Y. Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017.
    .. [3] X. He et al., "Neural Collaborative Filtering", WWW 2017 (sampled negatives).

    Examples
    --------
    >>> from skmtl import MultiTaskEstimator
    >>> from skmtl.tasks import Classification
    >>> MultiTaskEstimator({"toxic": Classification(class_weight="balanced")})
    MultiTaskEstimator(tasks={'toxic': Classification(class_weight='balanced')})
    """

    name = "classification"
    estimator_type = "classifier"

    def __init__(
        self,
        *,
        class_weight: Any = None,
        label_smoothing: float = 0.0,
        focal_gamma: float = 0.0,
        negatives: int = 0,
        columns: Any = None,
        features: Any = None,
    ) -> None:
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
        self.focal_gamma = focal_gamma
        self.negatives = negatives
        self.columns = columns
        self.features = features

    def is_continuous(self) -> list[bool]:
        return [False]

    def learn(self, y: TargetTable, weight: np.ndarray | None) -> None:
        self._check_options()
        seen, task = y.observed[:, 0], y.task_names()[0]
        labels = y.columns[0][seen]
        self.codec_ = ClassCodec.fit(labels, task)
        if self.negatives:
            self.codec_ = with_negative_class(self.codec_)
        self.classes_ = self.codec_.classes
        if self.class_weight is not None:
            codes = self.codec_.encode(labels, task)
            own = np.ones(len(labels)) if weight is None else weight[seen]
            if self.negatives:  # they are labels too
                codes = np.concatenate([codes, np.zeros_like(codes)])
                own = np.concatenate([own, self.negatives * own * codes[: len(own)]])
            self.class_weight_ = class_weights(self.class_weight, self.codec_, codes, own, task)

    def parts(self, y: TargetTable) -> list[Part]:
        codes = codes_of(self.codec_, y)
        weight = None
        if self.class_weight is not None:
            weight = self.class_weight_[np.nan_to_num(codes).astype(int)]
        return [Part(self._make_loss(), codes[:, None], weight)]

    def weight_of_negatives(self) -> float:
        if self.class_weight is None:
            return 1.0
        negative, positive = self.class_weight_
        return float(negative / positive) if positive else 0.0

    def decode(self, raw: Sequence[Tensor]) -> np.ndarray:
        return self.codec_.decode(self._make_loss().decode(raw[0])[:, 0].cpu().numpy())

    def probabilities(self, raw: Sequence[Tensor]) -> np.ndarray:
        """Return class probabilities: (n_samples, n_classes)."""
        return array_of(self._make_loss().probabilities(raw[0]))[:, : len(self.classes_), 0]

    def predicted_tensor(self, raw: Sequence[Tensor]) -> Tensor:
        return self._make_loss().probabilities(raw[0])[:, : len(self.classes_), 0]

    def skill(self, y: TargetTable, raw: Sequence[Tensor], weight: np.ndarray | None) -> float:
        return brier_skill(*outcomes(y.columns[0], self.classes_, self.probabilities(raw)), weight)

    def _make_loss(self) -> Logistic | Softmax:
        if len(self.classes_) == 2 and not self.label_smoothing and not self.focal_gamma:
            return Logistic(1)
        return Softmax([len(self.classes_)], self.label_smoothing, self.focal_gamma)

    def _check_options(self) -> None:
        if not 0 <= self.label_smoothing < 1:
            raise ValueError(f"label_smoothing must be in [0, 1). Found {self.label_smoothing!r}.")
        if not self.focal_gamma >= 0:
            raise ValueError(f"focal_gamma must be >= 0. Found {self.focal_gamma!r}.")
        check_negatives(self.negatives)


def codes_of(codec: ClassCodec, y: TargetTable, column: int = 0) -> np.ndarray:
    """Return the codes of a column of labels, NaN where missing: (n_samples,)."""
    seen = y.observed[:, column]
    codes = np.full(len(y), np.nan)
    codes[seen] = codec.encode(y.columns[column][seen], y.task_names()[column])
    return codes


def outcomes(labels: np.ndarray, classes: np.ndarray, proba: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return labels as zeros and ones, and probabilities, of all classes and of others that are among the labels."""
    place = {label: k for k, label in enumerate(classes.tolist())}
    codes = np.array([place.setdefault(label, len(place)) for label in labels.tolist()], dtype=int)
    known = np.eye(len(place))[codes]
    return known, np.pad(proba, ((0, 0), (0, len(place) - proba.shape[1])))
