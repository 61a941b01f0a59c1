"""How well items are ranked for each user: recall and normalised discounted cumulative gain of the first k."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.utils.validation import check_consistent_length

Discount = Callable[[np.ndarray], np.ndarray]


def recall_at_k(y_true: ArrayLike, y_score: ArrayLike, groups: ArrayLike, k: int = 10) -> float:
    """Return the share of a user's positive items among the k with the highest scores, mean over users.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        1 and 0, or numbers of which those above 0 are positive. Rows with NaN are left out.
    y_score : array-like of shape (n_samples,)
        The higher, the further up.
    groups : array-like of shape (n_samples,)
        The user of each row. Those without a positive row are left out.
    k : int, default=10
        How many rows of a user are looked at, >= 1.

    Returns
    -------
    float
        In [0, 1]; NaN without a positive row.

    Notes
    -----
    Rows of one user with equal scores share their ranks: the result is the mean over all orders of them. A user with
    more than k positive rows cannot reach 1.

    Examples
    --------
    >>> from skmtl.metrics import recall_at_k
    >>> recall_at_k([1, 0, 1, 0, 1], [3, 2, 1, 9, 8], list("aaabb"), k=1)
    0.25
    """
    relevance, score, group = _read(y_true, y_score, groups)
    positive = (relevance > 0).astype(float)
    return mean_recall(positive, positive, score, group, check_k(k))


def ndcg_at_k(y_true: ArrayLike, y_score: ArrayLike, groups: ArrayLike, k: int = 10) -> float:
    r"""Return the normalised discounted cumulative gain of the k items with the highest scores, mean over users.

    Of a user it is :math:`\sum_{r \leq k} y_r / \log_2(r + 1)` in the order of the scores, over the same in the order
    of the labels.

    Parameters
    ----------
    y_true : array-like of shape (n_samples,)
        Gains, >= 0. Rows with NaN are left out.
    y_score : array-like of shape (n_samples,)
        The higher, the further up.
    groups : array-like of shape (n_samples,)
        The user of each row. Those whose gains are all 0 are left out.
    k : int, default=10
        How many rows of a user are looked at, >= 1.

    Returns
    -------
    float
        In [0, 1]; NaN without a gain.

    Raises
    ------
    ValueError
        If a gain is negative.

    Notes
    -----
    Rows of one user with equal scores share their ranks, as in `sklearn.metrics.ndcg_score`.

    References
    ----------
    .. [1] K. Järvelin, J. Kekäläinen, "Cumulated Gain-Based Evaluation of IR Techniques", ACM TOIS 20, 2002.

    Examples
    --------
    >>> from skmtl.metrics import ndcg_at_k
    >>> ndcg_at_k([1, 0, 1, 0, 1], [3, 2, 1, 9, 8], list("aaabb"), k=2)
    0.622...
    """
    relevance, score, group = _read(y_true, y_score, groups)
    return mean_ndcg(relevance, relevance, score, group, check_k(k))


def mean_recall(gain: np.ndarray, relevance: np.ndarray, score: np.ndarray, group: np.ndarray, k: int) -> float:
    """Return the recall, where rows gain what they gain and the best order has these relevances, both 0 or 1."""
    hits = _gain_of_each(gain, score, group, lambda rank: (rank < k).astype(float))
    return _mean_ratio(hits, np.bincount(group, relevance))


def mean_ndcg(gain: np.ndarray, relevance: np.ndarray, score: np.ndarray, group: np.ndarray, k: int) -> float:
    """Return the discounted gain over that of the best order."""
    if (relevance < 0).any():
        raise ValueError(f"NDCG needs gains >= 0. Found {relevance.min():g}.")

    def discount(rank: np.ndarray) -> np.ndarray:
        return np.where(rank < k, 1 / np.log2(rank + 2), 0.0)

    best = _gain_of_each(relevance, relevance, group, discount)
    return _mean_ratio(_gain_of_each(gain, score, group, discount), best)


def _gain_of_each(gain: np.ndarray, score: np.ndarray, group: np.ndarray, discount: Discount) -> np.ndarray:
    """Return what each group gains, highest score first: (n_groups,). Equal scores share their ranks."""
    order = np.lexsort((-score, group))
    gain, score, group = gain[order], score[order], group[order]
    rank = np.arange(len(group)) - np.searchsorted(group, group)
    is_new = np.ones(len(group), dtype=bool)
    is_new[1:] = (group[1:] != group[:-1]) | (score[1:] != score[:-1])
    tie = np.cumsum(is_new) - 1
    of_tie = np.bincount(tie, gain) * np.bincount(tie, discount(rank)) / np.bincount(tie)
    return np.bincount(group[is_new], of_tie)


def _mean_ratio(found: np.ndarray, best: np.ndarray) -> float:
    some = best > 0
    return float((found[some] / best[some]).mean()) if some.any() else float("nan")


def _read(y_true: ArrayLike, y_score: ArrayLike, groups: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, scores and codes of groups of the rows with a label: (n_rows,) each."""
    relevance, score, group = np.asarray(y_true, dtype=float), np.asarray(y_score, dtype=float), np.asarray(groups)
    for name, values in (("y_true", relevance), ("y_score", score), ("groups", group)):
        if values.ndim != 1:
            raise ValueError(f"{name} must have shape (n_samples,). Found {values.shape}.")
    check_consistent_length(relevance, score, group)
    seen = ~np.isnan(relevance)
    if np.isnan(score[seen]).any():
        raise ValueError("y_score must hold a number for each row with a label. Found NaN.")
    return relevance[seen], score[seen], np.unique(group[seen], return_inverse=True)[1]


def check_k(k: Any) -> int:
    """Return a number of items; refuse what is none."""
    if not isinstance(k, Integral) or isinstance(k, bool) or k < 1:
        raise ValueError(f"k must be a whole number >= 1. Found {k!r}.")
    return int(k)
