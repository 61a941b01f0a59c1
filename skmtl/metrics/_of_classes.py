"""Metrics of classes, given as positions among the sorted classes, or as probabilities with one column per class.

With two classes, position 1 is the positive class.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.metrics import average_precision_score, f1_score, recall_score, roc_auc_score
from sklearn.metrics import log_loss as sklearn_log_loss

from skmtl.metrics._comparison import equal
from skmtl.metrics._means import mean_of

Weight = np.ndarray | None


def accuracy(y: np.ndarray, predicted: np.ndarray, weight: Weight) -> float:
    """Return the share of rows whose label was predicted; `y` and `predicted` are labels, not positions."""
    return mean_of(equal(y, predicted), weight)


def balanced_accuracy(y: np.ndarray, predicted: np.ndarray, weight: Weight) -> float:
    """Return the mean recall over the classes in `y`."""
    return recall_score(y, predicted, labels=np.unique(y), average="macro", sample_weight=weight, zero_division=0.0)


def f1_macro(y: np.ndarray, predicted: np.ndarray, weight: Weight) -> float:
    """Return the mean F1 over the classes in `y` or `predicted`."""
    return f1_score(y, predicted, average="macro", sample_weight=weight, zero_division=0.0)


def f1(y: np.ndarray, predicted: np.ndarray, weight: Weight) -> float:
    """Return the F1 of the positive class; NaN (0/0) if it is neither observed nor predicted."""
    return f1_score(y == 1, predicted == 1, sample_weight=weight, zero_division=np.nan)


def roc_auc(y: np.ndarray, proba: np.ndarray, weight: Weight) -> float:
    """Return the area under the ROC curve; NaN if only one class is observed."""
    return _one_vs_rest(roc_auc_score, y, proba, weight) if y.min() < y.max() else np.nan


def average_precision(y: np.ndarray, proba: np.ndarray, weight: Weight) -> float:
    """Return the average precision; NaN if there are two classes and the positive one is not observed."""
    return _one_vs_rest(average_precision_score, y, proba, weight)


def log_loss(y: np.ndarray, proba: np.ndarray, weight: Weight) -> float:
    """Return the mean of -log p, where p is the probability of the true class, in nats."""
    if proba.shape[1] == 1:  # p = 1; scikit-learn raises an error for a single class
        return 0.0
    return sklearn_log_loss(y, proba, labels=np.arange(proba.shape[1]), sample_weight=weight)


def _one_vs_rest(score: Callable[..., float], y: np.ndarray, proba: np.ndarray, weight: Weight) -> float:
    """Return the score of the positive class of two, or the mean over the observed classes, each against the rest."""
    present = set(np.unique(y).tolist())
    scored = present & {1} if proba.shape[1] <= 2 else present
    values = [score(y == c, proba[:, c], sample_weight=weight) for c in sorted(scored)]
    return float(np.mean(values)) if values else np.nan
