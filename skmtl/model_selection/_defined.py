"""Scores of tasks that may be undefined in some folds: their means, and a warning that names them."""

from __future__ import annotations

import warnings

import numpy as np

from skmtl.metrics import UndefinedTaskWarning


def mean_of_defined(scores: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis of what is not NaN; NaN where nothing is."""
    defined = ~np.isnan(scores)
    count = defined.sum(axis=-1)
    return np.where(count, np.where(defined, scores, 0).sum(axis=-1) / np.maximum(count, 1), np.nan)


def warn_undefined(names: list[str], undefined: np.ndarray) -> None:
    """Warn once of tasks that some fold could not score; `undefined` is (task, fold)."""
    gaps = [
        f"{name!r} ({int(row.sum())} of {len(row)})" for name, row in zip(names, undefined, strict=True) if row.any()
    ]
    if gaps:
        listed = ", ".join(gaps[:10]) + (", ..." if len(gaps) > 10 else "")
        warnings.warn(
            f"{len(gaps)} of {len(names)} tasks are undefined in some folds, which are left out for them: {listed}.",
            UndefinedTaskWarning,
            stacklevel=3,
        )
