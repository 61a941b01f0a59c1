"""Labels of one column: which are missing, which dtype holds them unchanged, and their values as numbers or objects."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from numbers import Integral, Real

import numpy as np

NEVER_MISSING = {str, bytes, int, bool}


def observed_in(array: np.ndarray) -> np.ndarray:
    """Return where a column has a label: bool array of shape (n_samples,)."""
    if array.dtype.kind in "fc":
        return ~np.isnan(array)
    if array.dtype.kind in "mM":
        return ~np.isnat(array)
    if array.dtype.kind != "O" or set(map(type, array)) <= NEVER_MISSING:
        return np.ones(len(array), dtype=bool)
    return np.fromiter((not _is_missing(v) for v in array), dtype=bool, count=len(array))


def _is_missing(value) -> bool:
    if type(value) in NEVER_MISSING:
        return False
    if value is None or value is np.ma.masked or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, (float, np.floating)):
        return value != value
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return bool(np.isnat(value))
    return isinstance(value, Decimal) and value.is_nan()


def objects_of(labels: np.ndarray) -> np.ndarray:
    """Return labels as objects that compare and hash exactly: dates and durations as those of pandas.

    numpy makes whole numbers of its dates in nanoseconds, and Python's own have none.
    """
    if labels.dtype.kind in "mM":
        import pandas

        return pandas.Series(labels.ravel()).astype(object).to_numpy().reshape(labels.shape)
    return labels.astype(object)


def as_objects(labels: list) -> np.ndarray:
    return np.fromiter(labels, dtype=object, count=len(labels))  # labels may be sequences


def native(array: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Return an object column in the plain dtype of its observed labels; a mix of types stays objects."""
    if array.dtype.kind != "O":
        return array
    labels = array[observed].tolist()
    kinds = set(map(type, labels))
    if any(hasattr(kind, "__len__") and not issubclass(kind, (str, bytes)) for kind in kinds):
        return array  # lists, arrays, tuples
    if any(issubclass(kind, (str, bytes)) for kind in kinds) and len({issubclass(kind, str) for kind in kinds}) > 1:
        return array
    plain = np.asarray(labels)
    if plain.ndim != 1 or plain.dtype.kind == "O" or not says_the_same(plain, labels):
        return array
    column = np.zeros(len(array), dtype=plain.dtype)
    column[observed] = plain
    return column


def says_the_same(array: np.ndarray, labels: Sequence) -> bool:
    """Return whether an array that numpy made of labels holds them unchanged.

    Numbers become strings beside strings, strings lose zeros at their end, and beside floats or large integers whole
    numbers become floats, not all of which floats can hold.
    """
    if array.dtype.kind in "US":
        return (
            all(issubclass(kind, (str, bytes)) for kind in set(map(type, labels))) and array.ravel().tolist() == labels
        )
    if array.dtype.kind == "f" and (np.abs(array) >= _exact(array.dtype)).any():
        return all(a == int(v) for a, v in zip(array.ravel().tolist(), labels, strict=True) if isinstance(v, Integral))
    return True


def common_dtype(columns: Sequence[np.ndarray]) -> np.dtype:
    """Return the dtype that holds every column; objects where numpy would turn one kind of label into another."""
    kinds = {column.dtype.kind for column in columns}
    if kinds <= set("iuf") or (len(kinds) == 1 and kinds <= set("bmM")) or kinds in ({"U"}, {"S"}):
        dtype = np.result_type(*columns)
        if all(survives(column, dtype) for column in columns):
            return dtype
    return np.dtype(object)


def survives(labels: np.ndarray, dtype: np.dtype) -> bool:
    """Return whether labels are the same ones in another dtype."""
    kinds = {labels.dtype.kind, dtype.kind}
    if dtype.kind == "O" or len(labels) == 0 or (len(kinds) == 1 and np.can_cast(labels.dtype, dtype)):
        return True
    if len(kinds) == 2 and not kinds <= set("iuf"):
        return False
    if labels.dtype.kind in "iu" and dtype.kind == "f" and max(-int(labels.min()), int(labels.max())) <= _exact(dtype):
        return True  # without a look at each
    with np.errstate(all="ignore"):
        return bool(labels.astype(dtype).tolist() == labels.tolist())


def _exact(dtype: np.dtype) -> int:
    """Return up to where a type of floats holds every whole number."""
    return 2 ** (np.finfo(dtype).nmant + 1)


def floats_of(labels: np.ndarray, what: str) -> np.ndarray:
    """Return observed labels as float64; `what` begins the message that refuses what is no finite number."""
    if labels.dtype.kind not in "biuf":
        is_object = labels.dtype.kind == "O"
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
