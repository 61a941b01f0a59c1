"""Arrays of any shape, side by side in one table that scikit-learn can split."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


def records(fields=None, /, **more):
    """Return a structured array with a field for each array, for an X or a y of several parts.

    Every splitter and search of scikit-learn can index it, unlike a dict.

    Parameters
    ----------
    fields : mapping or DataFrame, default=None
        Arrays of shape (n_samples, ...) by name. Columns of a frame may hold arrays of one shape in their cells.
    **more : array-like of shape (n_samples, ...)
        More of them.

    Returns
    -------
    structured array of shape (n_samples,)
        Field by field what was given, in its own type and shape; text as objects.

    Raises
    ------
    ValueError
        If there is no field, or they have other lengths.

    Examples
    --------
    >>> import numpy as np
    >>> from skmtl import records
    >>> X = records(scan=np.zeros((5, 28, 28)), age=np.arange(5))
    >>> X.dtype.names, X["scan"].shape
    (('scan', 'age'), (5, 28, 28))
    """
    given = {} if fields is None else {str(name): fields[name] for name in _names_of(fields)}
    arrays = {name: _as_array(name, values) for name, values in {**given, **more}.items()}
    if not arrays:
        raise ValueError("records needs at least one field. Found none.")
    lengths = {name: len(values) for name, values in arrays.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"Fields must have one length. Found {lengths}.")
    dtype = [(name, values.dtype, values.shape[1:]) for name, values in arrays.items()]
    table = np.empty(next(iter(lengths.values())), dtype=dtype)
    for name, values in arrays.items():
        table[name] = values
    return table


def _names_of(fields) -> list:
    if isinstance(fields, Mapping):
        return list(fields)
    if hasattr(fields, "columns"):
        return list(fields.columns)
    names = getattr(getattr(fields, "dtype", None), "names", None)
    if names is None:
        raise TypeError(f"records needs a mapping of arrays or a frame. Found {type(fields).__name__}.")
    return list(names)


def _as_array(name: str, values) -> np.ndarray:
    array = np.asarray(values)
    if array.ndim == 0:
        raise ValueError(f"Field {name!r} must hold a value for each row. Found {values!r}.")
    if array.dtype.kind == "O" and array.ndim == 1 and len(array) and np.ndim(array[0]):
        shapes = {np.shape(cell) for cell in array}
        if len(shapes) > 1:
            raise ValueError(
                f"Field {name!r}: the arrays in its cells must have one shape. Found {sorted(shapes)[:5]}."
            )
        return np.stack([np.asarray(cell) for cell in array])
    return array.astype(object) if array.dtype.kind in "US" else array
