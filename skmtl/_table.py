"""One reader for every form a target table comes in: arrays, lists, pandas and polars frames.

Reading keeps each column in its own labels and says which entries are observed. NaN, None, NaT and pandas' NA are
missing everywhere in the package, because every room reads targets through this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["TargetTable", "check_distinct", "observed_in", "read_targets"]


@dataclass(frozen=True)
class TargetTable:
    """A target table: one array of labels per column, and what is observed in it.

    Attributes
    ----------
    columns : list of n_columns arrays of shape (n_samples,)
        Labels in their own dtype; the value at a missing entry means nothing.
    observed : bool array of shape (n_samples, n_columns)
        False where a label is missing.
    names : list of str or None
        Column names where the table had them.
    ndim : int
        1 for a 1-D `y`, else 2.
    dtype : dtype
        The dtype that holds every column: what `predict` returns.
    """

    columns: list[np.ndarray]
    observed: np.ndarray
    names: list[str] | None
    ndim: int
    dtype: np.dtype

    def __len__(self) -> int:
        return len(self.observed)

    @property
    def n_columns(self) -> int:
        return len(self.columns)

    @cached_property
    def numbers(self) -> np.ndarray:
        """The columns as floats (n_samples, n_columns), 0 where missing; ValueError where a label is no number."""
        numbers = np.zeros(self.observed.shape)
        for t, (name, labels, seen) in enumerate(zip(self.task_names(), self.columns, self.observed.T, strict=True)):
            if labels.dtype.kind not in "biuf":
                found = next(v for v in labels[seen].tolist() if not isinstance(v, Real))
                raise ValueError(f"Task {name!r}: a regression target must hold numbers. Found {found!r}.")
            if seen.all():  # ten times faster than by index
                numbers[:, t] = labels
            else:
                numbers[seen, t] = labels[seen]
        return numbers

    def task_names(self) -> list[str]:
        """Return the column names, or "0", "1", ... where the table had none."""
        return self.names or [str(t) for t in range(self.n_columns)]

    def take(self, rows: np.ndarray) -> TargetTable:
        """Return the table of some rows."""
        columns = [column[rows] for column in self.columns]
        return TargetTable(columns, self.observed[rows], self.names, self.ndim, self.dtype)


def read_targets(y: ArrayLike, name: str = "y") -> TargetTable:
    """Read 1-D or 2-D targets of any container.

    Parameters
    ----------
    y : array-like, pandas or polars DataFrame or Series of shape (n_samples,) or (n_samples, n_columns)
        NaN, None, NaT and NA are missing.
    name : str, default="y"
        How error messages call it.

    Returns
    -------
    TargetTable
        The columns as labels of their own dtype.

    Raises
    ------
    ValueError
        If `y` has no column, more than two dimensions or complex numbers.
    """
    if _is_frame(y):
        names = [str(c) for c in y.columns]
        columns, observed = _read_columns([_own_column(y, i) for i in range(len(names))])
        ndim, dtype = 2, _common_dtype(columns)
    else:
        array = _as_array(y, name)
        names = [str(y.name)] if getattr(y, "name", None) not in (None, "") else None
        columns, observed = _read_columns([array] if array.ndim == 1 else list(array.T))
        ndim, dtype = array.ndim, _array_dtype(array, columns)
    if not columns:
        raise ValueError(f"{name} must have at least one column. Found shape {np.shape(y)}.")
    if any(column.dtype.kind == "c" for column in columns):
        raise ValueError(f"Complex data not supported: {name} holds complex numbers.")
    return TargetTable(columns, np.stack(observed, axis=1), names, ndim, dtype)


def check_distinct(names: list[str]) -> list[str]:
    """Return the task names if they all differ."""
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(f"Task names must differ. Found more than once: {', '.join(map(repr, twice))}.")
    return names


def _is_frame(y) -> bool:
    return hasattr(y, "columns") and hasattr(y, "shape")


def _own_column(frame, i):
    """Return column i as a pandas or polars Series (positions, because names may repeat in pandas)."""
    return frame.iloc[:, i] if hasattr(frame, "iloc") else frame.to_series(i)


def _as_array(y, name: str) -> np.ndarray:
    if hasattr(y, "to_numpy"):
        array = _read_series(y)
    elif isinstance(y, (list, tuple)) and _is_ragged(y):
        raise ValueError(f"{name} must be a table: every row needs as many labels as the first.")
    else:
        array = np.asarray(y, dtype=object) if _mixes_types(y) else np.asarray(y)
    if array.ndim not in (1, 2):
        raise ValueError(f"{name} must be 1-D or 2-D. Found an array of shape {array.shape}.")
    return array


def _mixes_types(y) -> bool:
    """Say whether numpy would turn a list's numbers or None into strings."""
    if not isinstance(y, (list, tuple)):
        return False
    return np.asarray(y).dtype.kind in "US" and any(not isinstance(v, (str, bytes)) for row in y for v in _cells(row))


def _is_ragged(y) -> bool:
    return len({len(_cells(row)) for row in y}) > 1


def _cells(row):
    return row if isinstance(row, (list, tuple, np.ndarray)) else [row]


def _read_series(series) -> np.ndarray:
    """Return a Series as an array that keeps integers integers where labels are missing."""
    if hasattr(series, "is_null"):  # polars
        return np.array(series.to_list(), dtype=object) if series.null_count() else series.to_numpy()
    array = np.asarray(series)
    if array.dtype.kind == "f" and not isinstance(series.dtype, np.dtype):  # nullable: numpy has no missing integer
        return np.array(series.tolist(), dtype=object)
    return array.astype(object) if array.dtype.kind in "mM" else array


def _read_columns(raw: list) -> tuple[list[np.ndarray], list[np.ndarray]]:
    columns, observed = [], []
    for series in raw:
        array = series if isinstance(series, np.ndarray) else _read_series(series)
        seen = observed_in(array)
        columns.append(_native(array, seen))
        observed.append(seen)
    return columns, observed


def observed_in(array: np.ndarray) -> np.ndarray:
    """Return where a column has a label: bool array of shape (n_samples,)."""
    if array.dtype.kind in "fc":
        return ~np.isnan(array)
    if array.dtype.kind != "O":
        return np.ones(len(array), dtype=bool)
    return np.fromiter((not _is_missing(v) for v in array), dtype=bool, count=len(array))


def _is_missing(value) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, (float, np.floating)) and value != value


def _native(array: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Return an object column in the plain dtype of its observed labels; a mix of types stays objects."""
    if array.dtype.kind != "O":
        return array
    labels = array[observed].tolist()
    if {type(v) for v in labels} & {str, bytes} and not all(isinstance(v, str) for v in labels):
        return array
    plain = np.asarray(labels)
    if plain.ndim != 1 or plain.dtype.kind == "O":
        return array
    column = np.zeros(len(array), dtype=plain.dtype)
    column[observed] = plain
    return column


def _array_dtype(array: np.ndarray, columns: list[np.ndarray]) -> np.dtype:
    return array.dtype if array.dtype.kind != "O" or array.ndim == 2 else _common_dtype(columns)


def _common_dtype(columns: list[np.ndarray]) -> np.dtype:
    """Return the dtype that holds every column; objects where numpy would turn one kind of label into another."""
    if not columns:
        return np.dtype(object)
    kinds = {column.dtype.kind for column in columns}
    if kinds <= set("iuf") or kinds == {"b"} or kinds <= set("US"):
        return np.result_type(*columns)
    return np.dtype(object)
