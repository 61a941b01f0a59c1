"""One table of several data sets with other rows and other columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from skmtl._table import read_targets
from skmtl.preprocessing._columns import as_frame


class StackedTasks(NamedTuple):
    """Several data sets as one table.

    Attributes
    ----------
    X : DataFrame of shape (n_rows, n_columns)
        All rows one after the other; NaN where a data set lacks a column.
    y : DataFrame of shape (n_rows, n_targets)
        Their targets; missing where a data set lacks one.
    features : dict of lists of str
        The columns of X that each data set has: `features` of its tasks.
    targets : dict of lists of str
        The columns of y that each data set has.
    """

    X: pd.DataFrame
    y: pd.DataFrame
    features: dict[str, list[str]]
    targets: dict[str, list[str]]


def stack_tasks(data):
    """Make one table of several data sets, which may have other rows, features and targets.

    Parameters
    ----------
    data : dict of tuples (X, y)
        Features and targets of each data set, by name. Columns of frames with equal names are one column of the stacked
        table; those of arrays are called after their data set, "a.x0", "a.x1", ... A target of one column is called as
        its data set, several are "a.0", ...; those of frames keep their names.

    Returns
    -------
    StackedTasks
        ``X``, ``y``, and by data set ``features`` and ``targets``, the names of its columns.

    Raises
    ------
    ValueError
        If X and y of a data set differ in length, or two data sets have a target of the same name.

    See Also
    --------
    skmtl.MultiTaskEstimator : Learns from it, with tasks that read their own columns of X.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import MultiTaskEstimator, stack_tasks
    >>> from skmtl.tasks import Classification, Regression
    >>> rng = np.random.default_rng(0)
    >>> X_a, X_b = rng.normal(size=(60, 3)), rng.normal(size=(40, 5))
    >>> data = {"a": (X_a, X_a[:, 0]), "b": (X_b, X_b[:, 1] > 0)}
    >>> X, y, features, _ = stack_tasks(data)
    >>> X.shape, y.shape
    ((100, 8), (100, 2))
    >>> tasks = {
    ...     "a": Regression(features=features["a"]),
    ...     "b": Classification(features=features["b"]),
    ... }
    >>> model = MultiTaskEstimator(tasks, max_epochs=5, random_state=0)
    >>> model = model.fit(X, y)
    >>> model.predict(X).shape
    (100, 2)
    """
    if not isinstance(data, Mapping) or not data:
        raise TypeError(f"data must be a dict of tuples (X, y). Found {data!r:.60}.")
    features, targets = {}, {}
    for name, pair in data.items():
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"Data set {name!r} must be a tuple (X, y). Found {type(pair).__name__}.")
        X, y = pair
        features[name], targets[name] = _features(str(name), X), _targets(str(name), y)
        if len(features[name]) != len(targets[name]):
            raise ValueError(
                f"Data set {name!r}: X and y must have the same number of rows. Found {len(features[name])} and "
                f"{len(targets[name])}."
            )
    columns = [column for frame in targets.values() for column in frame.columns]
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated:
        raise ValueError(f"Data sets must not have targets of the same name. Found {repeated}: rename them.")
    return StackedTasks(
        pd.concat(features.values(), ignore_index=True),
        pd.concat(targets.values(), ignore_index=True),
        {name: list(frame.columns) for name, frame in features.items()},
        {name: list(frame.columns) for name, frame in targets.items()},
    )


def _features(name: str, X) -> pd.DataFrame:
    frame = as_frame(X)
    if hasattr(X, "columns"):
        return frame.set_axis([str(column) for column in frame.columns], axis=1)
    return frame.set_axis([f"{name}.x{k}" for k in range(frame.shape[1])], axis=1)


def _targets(name: str, y) -> pd.DataFrame:
    """Return targets in types that hold them beside missing ones: whole numbers and bools as objects."""
    table = read_targets(y, f"y of data set {name!r}")
    if table.names is not None and table.ndim == 2:
        names = table.names
    else:
        names = [name] if table.n_columns == 1 else [f"{name}.{k}" for k in range(table.n_columns)]
    found = {}
    for column, labels, seen in zip(names, table.columns, table.observed.T, strict=True):
        if labels.dtype.kind == "f":
            found[column] = np.where(seen, labels, np.nan)
        else:
            found[column] = labels.astype(object)
            found[column][~seen] = None
    return pd.DataFrame(found)
