"""The labels of one column: which are missing, which dtype holds them unchanged, how to read them as numbers."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

import numpy as np

NEVER_MISSING = {str, bytes, int, bool}  # most object columns hold only these, and need no look at each label


def observed_in(array: np.ndarray) -> np.ndarray:
    """Return where a column has a label: bool array of shape (n_samples,)."""
    if array.dtype.kind in "fc":
        return ~np.isnan(array)
    if array.dtype.kind in "mM":
        return ~np.isnat(array)
    if array.dtype.kind != "O" or set(map(type, array)) <= NEVER_MISSING:
        return np.ones(len(array), dtype=bool)
    return np.fromiter((not _is_missing(v) for v in array), dtype=bool, count=len(array))


def _is_missing(value: Any) -> bool:
    if type(value) in NEVER_MISSING:
        return False
    # The types of pandas.NA and NaT go by name, so that pandas is imported only where it is in use.
    if value is None or value is np.ma.masked or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, (float, np.floating)):
        return bool(value != value)  # NaN
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return bool(np.isnat(value))
    return isinstance(value, Decimal) and value.is_nan()


def objects_of(labels: np.ndarray) -> np.ndarray:
    """Return labels as Python objects that compare and hash exactly; dates and durations become those of pandas.

    numpy would turn dates in nanoseconds into integers, and Python's datetime has no nanoseconds.
    """
    if labels.dtype.kind in "mM":
        import pandas

        return pandas.Series(labels.ravel()).astype(object).to_numpy().reshape(labels.shape)
    return labels.astype(object)


def object_array(labels: list) -> np.ndarray:
    """Return labels as a 1-D array of objects, even if they are lists or tuples."""
    return np.fromiter(labels, dtype=object, count=len(labels))


def in_plain_dtype(array: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Return an object column in the dtype of its observed labels; labels of several types remain objects.

    Parameters
    ----------
    array : array of shape (n_samples,)
        Labels.
    observed : bool array of shape (n_samples,)
        False where a label is missing.

    Returns
    -------
    array of shape (n_samples,)
        The labels; the values at missing entries are arbitrary.
    """
    if array.dtype.kind != "O":
        return array
    labels = array[observed].tolist()
    kinds = set(map(type, labels))
    if any(hasattr(kind, "__len__") and not issubclass(kind, (str, bytes)) for kind in kinds):
        return array  # np.asarray would spread lists and tuples over a second axis
    if any(issubclass(kind, (str, bytes)) for kind in kinds) and len({issubclass(kind, str) for kind in kinds}) > 1:
        return array  # strings beside other types: np.asarray would turn all into strings
    plain = np.asarray(labels)
    if plain.ndim != 1 or plain.dtype.kind == "O" or not holds_unchanged(plain, labels):
        return array
    column = np.zeros(len(array), dtype=plain.dtype)
    column[observed] = plain
    return column


def holds_unchanged(array: np.ndarray, labels: Sequence) -> bool:
    """Return whether `array`, as numpy made it of `labels`, holds them unchanged.

    numpy turns numbers beside strings into strings, cuts trailing null characters off strings, and turns integers
    beside floats or beside very large integers into floats, which rounds those beyond 2**53.
    """
    if array.dtype.kind in "US":
        return (
            all(issubclass(kind, (str, bytes)) for kind in set(map(type, labels))) and array.ravel().tolist() == labels
        )
    if array.dtype.kind == "f" and (np.abs(array) >= _exact_up_to(array.dtype)).any():
        return all(a == int(v) for a, v in zip(array.ravel().tolist(), labels, strict=True) if isinstance(v, Integral))
    return True


def common_dtype(columns: Sequence[np.ndarray]) -> np.dtype:
    """Return a dtype that holds the labels of every column unchanged: objects if no plain dtype does."""
    kinds = {column.dtype.kind for column in columns}
    if kinds <= set("iuf") or (len(kinds) == 1 and kinds <= set("bmM")) or kinds in ({"U"}, {"S"}):
        dtype = np.result_type(*columns)
        if all(survives(column, dtype) for column in columns):
            return dtype
    return np.dtype(object)


def survives(labels: np.ndarray, dtype: np.dtype) -> bool:
    """Return whether labels keep their values when they are converted to another dtype."""
    kinds = {labels.dtype.kind, dtype.kind}
    if dtype.kind == "O" or len(labels) == 0 or (len(kinds) == 1 and np.can_cast(labels.dtype, dtype)):
        return True
    if len(kinds) == 2 and not kinds <= set("iuf"):
        return False
    if (
        labels.dtype.kind in "iu"
        and dtype.kind == "f"
        and max(-int(labels.min()), int(labels.max())) <= _exact_up_to(dtype)
    ):
        return True  # no need to compare each label
    with np.errstate(all="ignore"):
        return bool(labels.astype(dtype).tolist() == labels.tolist())


def _exact_up_to(dtype: np.dtype) -> int:
    """Return the number up to which a float type represents every integer exactly: 2**53 for float64."""
    return 2 ** (np.finfo(dtype).nmant + 1)


def floats_of(labels: np.ndarray, what: str) -> np.ndarray:
    """Return observed labels as float64.

    Parameters
    ----------
    labels : array of shape (n_observed,)
        Labels of any dtype.
    what : str
        Subject of the error message, such as "Task 'age': y".

    Raises
    ------
    ValueError
        If a label is not a finite number.
    """
    if labels.dtype.kind not in "biuf":
        is_object = labels.dtype.kind == "O"
        # Strings and dates are refused even where numpy would convert them; objects may be of any number type.
        strange = [v for v in labels if not isinstance(v, (Real, Decimal))][:1] if is_object else list(labels[:1])
        if strange:
            found = strange[0].item() if isinstance(strange[0], np.character) else strange[0]
            raise ValueError(f"{what} must hold numbers. Found {found!r}.")
    try:
        with np.errstate(over="ignore"):
            floats = labels.astype(np.float64, copy=False)
    except OverflowError:
        raise ValueError(f"{what} must hold numbers of size < 1.8e308. Found a larger one.") from None
    if np.isinf(floats).any():
        raise ValueError(f"{what} must hold finite numbers. Found infinity or a value too large for float64.")
    return floats
