"""The average over tasks: mean, median or worst score, or a mean weighted by task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from skmtl._labels import floats_of
from skmtl._weights import by_name
from skmtl.metrics._means import mean_of, relative

AVERAGES: dict[str, Callable[[np.ndarray], float]] = {
    "mean": lambda values: mean_of(values, None),
    "median": np.median,
    "worst": np.min,
}


@np.errstate(over="ignore", invalid="ignore")  # scores, or their sum, may be infinite
def average_of(average: Any, scores: Mapping[str, float]) -> float:
    """Return the average of the defined scores; NaN if there is none, or none with a positive weight.

    Parameters
    ----------
    average : str, array-like of shape (n_tasks,), dict or Series
        See `make_task_scorer`.
    scores : dict
        One score per task name, NaN where undefined.
    """
    values = np.array(list(scores.values()))
    counts = ~np.isnan(values)
    if isinstance(average, str):
        return float(AVERAGES[average](values[counts])) if counts.any() else np.nan
    weights = _weights_of(average, list(scores))
    counts &= weights > 0
    return mean_of(values[counts], relative(weights[counts])) if counts.any() else np.nan


def _weights_of(average: Any, names: list[str]) -> np.ndarray:
    """Return the weight of each task, (n_tasks,), given by name or in order."""
    named = by_name(average)
    if named is not None:
        average = [named[name] for name in check_keys(named, names, "average")]
    weights = np.asarray(average)
    if weights.shape != (len(names),) or not (floats_of(weights, "average") >= 0).all():
        raise ValueError(f"average must hold {len(names)} weights >= 0, one per task. Found {average!r}.")
    return weights.astype(np.float64)


def check_keys(by_task: Mapping[Any, Any], names: Sequence[str], what: str) -> Sequence[str]:
    """Return the names; ValueError unless they are the keys of the dict."""
    unknown, absent = [k for k in by_task if k not in names], [k for k in names if k not in by_task]
    if unknown or absent:
        raise ValueError(
            f"{what} as a dict must name every task once. Unknown: {unknown}. Missing: {absent}. Tasks: {list(names)}."
        )
    return names
