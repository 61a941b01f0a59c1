"""How well labels of tokens and pixels are predicted: spans of names, and overlap of masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from skmtl._labels import observed_in


def span_f1(y_true: ArrayLike, y_pred: ArrayLike, missing: Any = None) -> float:
    """Return the F1 score of spans that tokens with labels such as "B-place", "I-place" and "O" make up.

    A span counts as found where its kind, its first and its last token are predicted.

    Parameters
    ----------
    y_true : array-like of shape (n_samples, length)
        Text labels: "B-" begins a span of a kind, "I-" continues it, "O" is outside of all. An "I-" after another kind
        or after "O" begins a span, too. NaN and None are missing.
    y_pred : array-like of shape (n_samples, length)
        The same; labels at missing tokens are not looked at.
    missing : object, default=None
        A label of `y_true` that stands for none.

    Returns
    -------
    float
        In [0, 1]; 0 if either side has no spans.

    Raises
    ------
    ValueError
        If the two have different shapes.

    Notes
    -----
    As CoNLL-2003 [1]_ scores named entities.

    References
    ----------
    .. [1] E. F. Tjong Kim Sang and F. De Meulder, "Introduction to the CoNLL-2003 Shared Task", CoNLL 2003.

    Examples
    --------
    >>> from skmtl.metrics import span_f1
    >>> y_true = [["B-who", "I-who", "O", "B-at"]]
    >>> y_pred = [["B-who", "I-who", "O", "O"]]
    >>> span_f1(y_true, y_pred)
    0.666...
    """
    true, predicted, seen = _read(y_true, y_pred, missing)
    found = []
    for labels in (true, predicted):
        texts = np.where(seen, labels, "O").astype(str)
        outside = np.full((len(texts), 1), "O")  # so that no span reaches into the next text
        found.append(_spans(np.concatenate([texts, outside], axis=1).ravel().tolist()))
    both = len(found[0] & found[1])
    return 2 * both / max(len(found[0]) + len(found[1]), 1)


def _spans(labels: Sequence[str]) -> set[tuple[str, int, int]]:
    """Return kind, first and last token of each span."""
    found, kind, start = set(), "", 0
    for place, label in enumerate([*labels, "O"]):
        mark, _, own = label.partition("-")
        if kind and (mark != "I" or own != kind):
            found.add((kind, start, place - 1))
            kind = ""
        if mark in ("B", "I") and not kind:
            kind, start = own, place
    return found


def iou(y_true: ArrayLike, y_pred: ArrayLike, missing: Any = None) -> float:
    """Return the intersection of two masks over their union, pooled over all images.

    Parameters
    ----------
    y_true : array-like of shape (n_samples, height, width)
        0 and 1, or bools; NaN is missing.
    y_pred : array-like of shape (n_samples, height, width)
        The same; pixels that are missing in `y_true` are left out.
    missing : object, default=None
        A label of `y_true` that stands for none.

    Returns
    -------
    float
        In [0, 1]; NaN where neither has a pixel of 1.

    Raises
    ------
    ValueError
        If the two have different shapes.

    Examples
    --------
    >>> from skmtl.metrics import iou
    >>> iou([[[1, 1], [0, 0]]], [[[1, 0], [1, 0]]])
    0.333...
    """
    both, either, _ = _overlap(y_true, y_pred, missing)
    return both / either if either else float("nan")


def dice(y_true: ArrayLike, y_pred: ArrayLike, missing: Any = None) -> float:
    """Return the Dice coefficient of two masks, pooled over all images: the F1 score of their pixels.

    Parameters
    ----------
    y_true : array-like of shape (n_samples, height, width)
        0 and 1, or bools; NaN is missing.
    y_pred : array-like of shape (n_samples, height, width)
        The same; pixels that are missing in `y_true` are left out.
    missing : object, default=None
        A label of `y_true` that stands for none.

    Returns
    -------
    float
        In [0, 1]; NaN where neither has a pixel of 1.

    Raises
    ------
    ValueError
        If the two have different shapes.

    Examples
    --------
    >>> from skmtl.metrics import dice
    >>> dice([[[1, 1], [0, 0]]], [[[1, 0], [1, 0]]])
    0.5
    """
    both, _, total = _overlap(y_true, y_pred, missing)
    return 2 * both / total if total else float("nan")


def _overlap(y_true: ArrayLike, y_pred: ArrayLike, missing: Any) -> tuple[int, int, int]:
    """Return the pixels of 1 in both masks, in either, and in one plus those in the other."""
    true, predicted, seen = _read(y_true, y_pred, missing)
    one, other = (values[seen].astype(float) > 0 for values in (true, predicted))
    return int((one & other).sum()), int((one | other).sum()), int(one.sum() + other.sum())


def _read(y_true: ArrayLike, y_pred: ArrayLike, missing: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return both as arrays, and where there is a label."""
    true, predicted = np.asarray(y_true), np.asarray(y_pred)
    if true.shape != predicted.shape or true.ndim < 2:
        raise ValueError(
            f"y_true and y_pred must have one shape, (n_samples, ...). Found {true.shape} and {predicted.shape}."
        )
    seen = observed_in(true.ravel()).reshape(true.shape)
    return true, predicted, seen if missing is None else seen & np.asarray(true != missing, dtype=bool)
