"""One reader for every form a target table comes in: arrays, masked arrays, lists, pandas, polars and Arrow tables.

Reading keeps each column in its own labels and says which entries are observed. NaN, None, NaT, NA, Decimal('NaN') and
masked entries are missing everywhere in the package, because every room reads targets through this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse

from skmtl._labels import as_objects, common_dtype, floats_of, native, objects_of, observed_in, says_the_same


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
            everywhere = seen.all()  # then ten times faster than by index
            floats = floats_of(labels if everywhere else labels[seen], f"Task {name!r}: a regression target")
            if everywhere:
                numbers[:, t] = floats
            else:
                numbers[seen, t] = floats
        return numbers

    def task_names(self) -> list[str]:
        """Return the column names, or "0", "1", ... where the table had none."""
        return self.names or [str(t) for t in range(self.n_columns)]

    def take(self, rows: np.ndarray) -> TargetTable:
        """Return the table of some rows."""
        return replace(self, columns=[column[rows] for column in self.columns], observed=self.observed[rows])


def read_targets(y: ArrayLike, name: str = "y") -> TargetTable:
    """Read 1-D or 2-D targets of any container.

    Parameters
    ----------
    y : array-like, masked array, or pandas, polars or Arrow table or column, of shape (n_samples,) or \
            (n_samples, n_columns)
        NaN, None, NaT, NA, Decimal('NaN') and masked entries are missing.
    name : str, default="y"
        How error messages call it.

    Returns
    -------
    TargetTable
        The columns as labels of their own dtype.

    Raises
    ------
    ValueError
        If `y` has no column, more than two dimensions, fields or complex numbers.
    TypeError
        If `y` is a sparse matrix, a dict, or another container that is no table.
    """
    y = _check_container(y, name)
    names = column_names(y)
    if _is_frame(y):
        raw, ndim, shape = [_column(y, i) for i in range(len(names))], 2, (len(y), len(names))
    else:
        array = _as_array(y, name)
        raw, ndim, shape = [array] if array.ndim == 1 else list(array.T), array.ndim, array.shape
    if not raw:
        raise ValueError(f"{name} must have at least one column. Found shape {shape}.")
    columns, observed = zip(*map(_read_column, raw), strict=True)
    if any(column.dtype.kind == "c" for column in columns):
        raise ValueError(f"Complex data not supported: {name} holds complex numbers.")
    keeps_dtype = not _is_frame(y) and array.dtype.kind != "T" and (ndim == 2 or array.dtype.kind != "O")
    dtype = array.dtype if keeps_dtype else common_dtype(columns)
    return TargetTable(list(columns), np.stack(observed, axis=1), names, ndim, dtype)


# ---- names ----------------------------------------------------------------------------------------------------------


def column_names(table) -> list[str] | None:
    """Return the names of the columns of a frame, or of a named Series; None where there are none."""
    if _is_frame(table):
        return [str(c) for c in (table.column_names if _is_arrow(table) else table.columns)]
    name = getattr(table, "name", None) if hasattr(table, "to_numpy") else None  # arrays in files have a name, too
    return None if name is None or str(name) == "" or np.ndim(table) != 1 else [str(name)]


def check_columns(names: Sequence[str] | None, n_columns: int, tasks: Sequence[str], what: str) -> None:
    """Refuse a table whose columns are not the tasks, in their order; one without names goes by position.

    Parameters
    ----------
    names : sequence of str or None
        Names of the columns of a table, if it has any. "0", "1", ... are no names beside others.
    n_columns : int
        How many columns it has.
    tasks : sequence of str
        Names of the tasks.
    what : str
        How the error message calls the table.
    """
    if n_columns != len(tasks):
        raise ValueError(
            f"{what} must have one column for each of the {len(tasks)} tasks {_listed(tasks)}. Found {n_columns}"
            f"{'' if names is None else f': {_listed(names)}'}."
        )
    if names is None or list(names) == list(tasks):
        return
    if _are_positions(names) != _are_positions(tasks) and not set(names) & set(tasks):
        return
    raise ValueError(
        f"The columns of {what} must be in the order of the tasks, and named as they are: {_listed(tasks)}. Found "
        f"{_listed(names)}. Reorder or rename them, or give an array."
    )


def name_tasks(table: TargetTable, earlier: list[str] | None) -> list[str]:
    """Return the names of the tasks of a table: the earlier ones, unless those were none and now there are."""
    if earlier is None:
        return table.task_names()
    return table.names if table.names is not None and _are_positions(earlier) else earlier


def check_distinct(names: list[str]) -> list[str]:
    """Return the task names if they all differ."""
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise ValueError(f"Task names must differ. Found more than once: {', '.join(map(repr, twice))}.")
    return names


def _are_positions(names: Sequence[str]) -> bool:
    return list(names) == [str(t) for t in range(len(names))]


def _listed(names: Sequence[str]) -> str:
    return f"[{', '.join(map(repr, names[:20]))}{', ...' if len(names) > 20 else ''}]"


# ---- containers -----------------------------------------------------------------------------------------------------


def _check_container(y, name: str):
    """Return y, computed if it is lazy; refuse what is no table."""
    if issparse(y):
        raise TypeError(
            f"Sparse data was passed for {name}, but dense data is required. Use '.toarray()' to convert to a dense "
            f"numpy array."
        )
    if isinstance(y, (Mapping, AbstractSet, str, bytes)) or hasattr(y, "__next__"):
        raise TypeError(f"{name} must be an array, a list or a frame. Found {type(y).__name__}: make it a DataFrame.")
    if hasattr(y, "__dask_graph__"):
        return y.compute()
    if type(y).__module__.partition(".")[0] == "torch":
        return y.detach().cpu().numpy()
    return y


def _is_arrow(y) -> bool:
    return type(y).__module__.partition(".")[0] == "pyarrow"


def _is_frame(y) -> bool:
    return hasattr(y, "columns") and hasattr(y, "shape")


def _column(frame, i: int):
    """Return column i (positions, because names may repeat)."""
    if _is_arrow(frame):
        return frame.column(i)
    return frame.iloc[:, i] if hasattr(frame, "iloc") else frame.to_series(i)


def _as_array(y, name: str) -> np.ndarray:
    if isinstance(y, (list, tuple)):
        array = _read_list(y, name)
    else:
        array = _read_series(y) if hasattr(y, "to_numpy") else y if isinstance(y, np.ma.MaskedArray) else np.asarray(y)
    if array.dtype.names is not None:
        raise ValueError(
            f"{name} must hold one label in each cell. Found a structured array with the fields "
            f"{_listed(array.dtype.names)}: give its fields as columns of a 2-D array or DataFrame."
        )
    if array.ndim not in (1, 2):
        kind = "an array" if array.ndim else type(y).__name__
        raise ValueError(f"{name} must be 1-D or 2-D. Found {kind} of shape {array.shape}.")
    return array


def _read_list(y: Sequence, name: str) -> np.ndarray:
    """Return a list as an array, of objects where numpy would turn one label into another."""
    if any(isinstance(row, Mapping) for row in y):
        raise TypeError(f"{name} must be an array, a list or a frame. Found a list of dicts: make it a DataFrame.")
    if len({len(_cells(row)) for row in y}) > 1:
        raise ValueError(f"{name} must be a table: every row needs as many labels as the first.")
    if any(isinstance(row, np.ma.MaskedArray) and row.ndim for row in y):
        return np.ma.stack([np.ma.asarray(row) for row in y])
    cells = [v for row in y for v in _cells(row)]
    if any(v is np.ma.masked for v in cells):
        return np.asarray(y, dtype=object)
    try:
        array = np.asarray(y)
    except UnicodeDecodeError:  # of bytes beside text, which numpy would read as text
        return np.asarray(y, dtype=object)
    return array if says_the_same(array, cells) else np.asarray(y, dtype=object)


def _cells(row):
    if isinstance(row, (list, tuple)):
        return row
    return np.asarray(row) if getattr(row, "ndim", 0) else [row]


def _read_column(column) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of a column in their own dtype, and where it has one."""
    array = column if isinstance(column, np.ndarray) else _read_series(column)
    masked = np.ma.getmaskarray(array) if isinstance(array, np.ma.MaskedArray) else None
    if array.dtype.kind == "T":  # numpy's strings of variable width, whose mark of a missing one may be a string, too
        mark = getattr(array.dtype, "na_object", None)
        is_mark = [not isinstance(v, str) or (isinstance(mark, str) and v == mark) for v in array]
        array = as_objects([None if missing else v for v, missing in zip(array, is_mark, strict=True)])
    array = np.asarray(array)
    seen = observed_in(array) if masked is None else observed_in(array) & ~masked
    return native(array, seen), seen


def _read_series(series) -> np.ndarray:
    """Return a Series or Arrow column as an array that keeps integers integers where labels are missing."""
    if _is_arrow(series):
        return as_objects(series.to_pylist())
    if hasattr(series, "is_null"):  # polars
        if series.null_count() or series.dtype.is_temporal():
            return as_objects(series.to_list()) if not _counts_nanoseconds(series) else objects_of(series.to_numpy())
        series = series.to_numpy()
    array = np.asarray(series)
    if array.dtype.kind == "f" and not isinstance(series.dtype, np.dtype):  # nullable: numpy has no missing integer
        return as_objects(series.tolist())
    return objects_of(array) if array.dtype.kind in "mM" else array


def _counts_nanoseconds(series) -> bool:
    """Return whether a polars column holds times that Python's own types cannot."""
    return getattr(series.dtype, "time_unit", None) == "ns" and getattr(series.dtype, "time_zone", None) is None
