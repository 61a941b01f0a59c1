"""Reads target tables of every kind: arrays, masked arrays, lists, and pandas, polars and Arrow tables.

Each column keeps its labels in a dtype that holds them unchanged, beside a mask of the observed ones. All code of the
package reads targets here, so that NaN, None, NaT, NA, Decimal('NaN') and masked entries are missing everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import issparse

from skmtl._labels import (
    common_dtype,
    floats_of,
    holds_unchanged,
    in_plain_dtype,
    object_array,
    objects_of,
    observed_in,
)


@dataclass(frozen=True)
class TargetTable:
    """A target table: one array of labels per column, and a mask of the observed labels.

    Attributes
    ----------
    columns : list of n_columns arrays of shape (n_samples,)
        Labels; the values at missing entries are arbitrary. Fields of `records` may have more axes.
    observed : bool array of shape (n_samples, n_columns)
        False where a label is missing; of a field with more axes, where all of a row is.
    names : list of str or None
        Column names; None if the table has none.
    ndim : int
        1 for a 1-D `y`, else 2.
    dtype : dtype
        A dtype that holds the labels of every column; `predict` returns it.
    is_structured : bool, default=False
        Whether it came as a structured array, or as a frame whose cells hold arrays.
    """

    columns: list[np.ndarray]
    observed: np.ndarray
    names: list[str] | None
    ndim: int
    dtype: np.dtype
    is_structured: bool = False

    def __len__(self) -> int:
        return len(self.observed)

    @property
    def n_columns(self) -> int:
        return len(self.columns)

    @cached_property
    def numbers(self) -> np.ndarray:
        """The columns as floats of shape (n_samples, n_columns), 0 where missing; ValueError unless all are numbers."""
        numbers = np.zeros(self.observed.shape)
        for t, (name, labels, seen) in enumerate(zip(self.task_names(), self.columns, self.observed.T, strict=True)):
            everywhere = seen.all()  # a whole column is copied ten times faster than an indexed one
            floats = floats_of(labels if everywhere else labels[seen], f"Task {name!r}: a regression target")
            if everywhere:
                numbers[:, t] = floats
            else:
                numbers[seen, t] = floats
        return numbers

    def task_names(self) -> list[str]:
        """Return the column names; "0", "1", ... if the table has none."""
        return self.names or [str(t) for t in range(self.n_columns)]

    def select(self, columns: Sequence[int]) -> TargetTable:
        """Return a table of some columns."""
        names = None if self.names is None else [self.names[k] for k in columns]
        chosen = [self.columns[k] for k in columns]
        return replace(self, columns=chosen, observed=self.observed[:, list(columns)], names=names, ndim=2)

    def take(self, rows: np.ndarray) -> TargetTable:
        """Return a table of the given rows."""
        return replace(self, columns=[column[rows] for column in self.columns], observed=self.observed[rows])


def read_targets(y: ArrayLike, name: str = "y") -> TargetTable:
    """Read 1-D or 2-D targets from any container.

    Parameters
    ----------
    y : array-like, masked array, or pandas, polars or Arrow table or column, of shape (n_samples,) or \
            (n_samples, n_columns)
        NaN, None, NaT, NA, Decimal('NaN') and masked entries are missing.
    name : str, default="y"
        Name of `y` in error messages.

    Returns
    -------
    TargetTable
        The labels, and which of them are observed.

    Raises
    ------
    ValueError
        If `y` has no columns, has more than two dimensions or holds complex numbers.
    TypeError
        If `y` is a sparse matrix, a dict, or another container that is not a table.
    """
    y = _check_container(y, name)
    if getattr(getattr(y, "dtype", None), "names", None):
        return _read_fields({field: y[field] for field in y.dtype.names})
    if _holds_arrays(y):
        return _read_fields({str(field): _stacked(str(field), _column(y, i)) for i, field in enumerate(y.columns)})
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
    # A frame has a dtype per column; 1-D objects get the dtype of their labels, while 2-D objects stay objects.
    keeps_dtype = not _is_frame(y) and array.dtype.kind != "T" and (ndim == 2 or array.dtype.kind != "O")
    dtype = array.dtype if keeps_dtype else common_dtype(columns)
    return TargetTable(list(columns), np.stack(observed, axis=1), names, ndim, dtype)


def _holds_arrays(y: Any) -> bool:
    """Return whether a table is a frame of pandas in which a column has an array in its first row."""
    if not (_is_frame(y) and hasattr(y, "iloc")) or not len(y):
        return False
    objects = [i for i, dtype in enumerate(y.dtypes) if str(dtype) == "object"]
    return any(isinstance(y.iat[0, i], np.ndarray) and y.iat[0, i].ndim for i in objects)


def _stacked(name: str, column: Any) -> Any:
    """Return a column whose cells hold arrays as one array; other columns as they are."""
    if str(column.dtype) != "object" or not isinstance(column.iat[0], np.ndarray):
        return column
    shapes = {np.shape(cell) for cell in column}
    if len(shapes) > 1:
        raise ValueError(f"Task {name!r}: the arrays in its cells must have one shape. Found {sorted(shapes)[:5]}.")
    return np.stack(list(column))


def _read_fields(fields: Mapping[str, Any]) -> TargetTable:
    """Read columns by name, which may have more axes than that of the rows."""
    columns, observed = [], []
    for values in fields.values():
        if isinstance(values, np.ndarray) and values.ndim > 1:
            found, seen = values, observed_in(values.ravel()).reshape(len(values), -1).any(axis=1)
        else:
            found, seen = _read_column(values)
        columns.append(found)
        observed.append(seen)
    names = list(fields)
    return TargetTable(columns, np.stack(observed, axis=1), names, 2, np.dtype(object), is_structured=True)


# ---- names ----------------------------------------------------------------------------------------------------------


def column_names(table: Any) -> list[str] | None:
    """Return the column names of a frame, or the name of a Series; None if there are none."""
    if _is_frame(table):
        return [str(c) for c in (table.column_names if _is_arrow(table) else table.columns)]
    name = getattr(table, "name", None) if hasattr(table, "to_numpy") else None  # arrays in HDF5 files have a name too
    return None if name is None or str(name) == "" or np.ndim(table) != 1 else [str(name)]


def check_columns(names: Sequence[str] | None, n_columns: int, tasks: Sequence[str], what: str) -> None:
    """Raise ValueError unless the columns of a table are the tasks, in the same order.

    Columns without names are matched by position. So are "0", "1", ..., the names that tasks or columns without names
    get, if no name of the other side is among them.

    Parameters
    ----------
    names : sequence of str or None
        Column names of the table; None if it has none.
    n_columns : int
        Number of columns of the table.
    tasks : sequence of str
        Names of the tasks.
    what : str
        Name of the table in the error message.
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
    """Return the task names after one more table: the earlier names, or the table's if they were only "0", "1", ..."""
    if earlier is None:
        return table.task_names()
    return table.names if table.names is not None and _are_positions(earlier) else earlier


def check_distinct(names: list[str]) -> list[str]:
    """Return the task names; ValueError if two are equal."""
    repeated = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if repeated:
        raise ValueError(f"Task names must differ. Found more than once: {', '.join(map(repr, repeated))}.")
    return names


def _are_positions(names: Sequence[str]) -> bool:
    return list(names) == [str(t) for t in range(len(names))]  # the names of columns without names


def _listed(names: Sequence[str]) -> str:
    return f"[{', '.join(map(repr, names[:20]))}{', ...' if len(names) > 20 else ''}]"


# ---- containers -----------------------------------------------------------------------------------------------------


def _check_container(y: Any, name: str) -> Any:
    """Return y: computed if it is lazy, on the CPU if it is a tensor. Raise TypeError if it is not a table."""
    if issparse(y):
        raise TypeError(
            f"Sparse data was passed for {name}, but dense data is required. Use '.toarray()' to convert to a dense "
            f"numpy array."
        )
    if isinstance(y, (Mapping, AbstractSet, str, bytes)) or hasattr(y, "__next__"):
        remedy = (
            f"make it a DataFrame, or write skmtl.records({name})" if isinstance(y, Mapping) else "make it a DataFrame"
        )
        raise TypeError(f"{name} must be an array, a list or a frame. Found {type(y).__name__}: {remedy}.")
    if hasattr(y, "__dask_graph__"):
        return y.compute()
    if type(y).__module__.partition(".")[0] == "torch":
        return y.detach().cpu().numpy()
    return y


def _is_arrow(y: Any) -> bool:
    return type(y).__module__.partition(".")[0] == "pyarrow"


def _is_frame(y: Any) -> bool:
    return hasattr(y, "columns") and hasattr(y, "shape")


def _column(frame: Any, i: int) -> Any:
    """Return column i, by position because names may repeat."""
    if _is_arrow(frame):
        return frame.column(i)
    return frame.iloc[:, i] if hasattr(frame, "iloc") else frame.to_series(i)


def _as_array(y: Any, name: str) -> np.ndarray:
    """Return y as an array of one or two dimensions."""
    if isinstance(y, (list, tuple)):
        array = _read_list(y, name)
    else:
        array = _read_series(y) if hasattr(y, "to_numpy") else y if isinstance(y, np.ma.MaskedArray) else np.asarray(y)
    if array.ndim not in (1, 2):
        kind = "an array" if array.ndim else type(y).__name__
        remedy = f" Arrays of labels are fields of skmtl.records(task={name})." if array.ndim else ""
        raise ValueError(f"{name} must be 1-D or 2-D. Found {kind} of shape {array.shape}.{remedy}")
    return array


def _read_list(y: Sequence, name: str) -> np.ndarray:
    """Return a list as an array: of objects if numpy would change the labels otherwise."""
    if any(isinstance(row, Mapping) for row in y):
        raise TypeError(f"{name} must be an array, a list or a frame. Found a list of dicts: make it a DataFrame.")
    widths = sorted({len(_cells(row)) for row in y})
    if len(widths) > 1:
        raise ValueError(
            f"{name} must have equally many labels in each row. Found rows of {widths[0]} and {widths[1]}."
        )
    if any(isinstance(row, np.ma.MaskedArray) and row.ndim for row in y):
        return np.ma.stack([np.ma.asarray(row) for row in y])
    cells = [v for row in y for v in _cells(row)]
    if any(v is np.ma.masked for v in cells):
        return np.asarray(y, dtype=object)
    try:
        array = np.asarray(y)
    except UnicodeDecodeError:  # bytes beside strings, which numpy tries to decode
        return np.asarray(y, dtype=object)
    return array if holds_unchanged(array, cells) else np.asarray(y, dtype=object)


def _cells(row: Any) -> Sequence | np.ndarray:
    """Return the labels of a row of a list, which may be a single label."""
    if isinstance(row, (list, tuple)):
        return row
    return np.asarray(row) if getattr(row, "ndim", 0) else [row]


def _read_column(column: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of a column, and a mask of the observed ones: two arrays of shape (n_samples,)."""
    array = column if isinstance(column, np.ndarray) else _read_series(column)
    masked = np.ma.getmaskarray(array) if isinstance(array, np.ma.MaskedArray) else None
    if array.dtype.kind == "T":  # StringDType, whose user-defined missing value may itself be a string
        mark = getattr(array.dtype, "na_object", None)
        is_mark = [not isinstance(v, str) or (isinstance(mark, str) and v == mark) for v in array]
        array = object_array([None if missing else v for v, missing in zip(array, is_mark, strict=True)])
    array = np.asarray(array)
    seen = observed_in(array) if masked is None else observed_in(array) & ~masked
    return in_plain_dtype(array, seen), seen


def _read_series(series: Any) -> np.ndarray:
    """Return a Series or Arrow column as an array in which integers stay integers, even if labels are missing."""
    if _is_arrow(series):
        return object_array(series.to_pylist())
    if hasattr(series, "is_null"):  # polars
        if series.null_count() or series.dtype.is_temporal():
            return object_array(series.to_list()) if not _has_nanoseconds(series) else objects_of(series.to_numpy())
        series = series.to_numpy()
    array = np.asarray(series)
    if array.dtype.kind == "f" and not isinstance(series.dtype, np.dtype):  # nullable integers became floats
        return object_array(series.tolist())
    return objects_of(array) if array.dtype.kind in "mM" else array


def _has_nanoseconds(series: Any) -> bool:
    """Return whether a polars column holds times in nanoseconds, which Python's datetime cannot represent."""
    return getattr(series.dtype, "time_unit", None) == "ns" and getattr(series.dtype, "time_zone", None) is None
