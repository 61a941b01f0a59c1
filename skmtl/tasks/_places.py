"""Labels of places: which of them are observed."""

from __future__ import annotations

from typing import Any

import numpy as np

from skmtl._labels import observed_in
from skmtl._table import TargetTable


def observed_places(y: TargetTable, missing: Any, n_axes: int) -> np.ndarray:
    """Return where a field has labels: bools of its shape; refuse a field of another number of axes.

    Parameters
    ----------
    y : TargetTable of one column
        The field of a task.
    missing : object
        A label that stands for none; None for no such label.
    n_axes : int
        Axes of a row's labels.
    """
    labels = y.columns[0]
    if labels.ndim != n_axes + 1:
        raise ValueError(
            f"y must be a structured array, as skmtl.records makes it, with a field of {n_axes} axes beside that of "
            f"the rows. Found rows of shape {labels.shape[1:]}."
        )
    seen = observed_in(labels.ravel()).reshape(labels.shape)
    return seen if missing is None else seen & np.asarray(labels != missing, dtype=bool)
