"""What the columns of a table hold, and the numbers and categories that they become."""

from __future__ import annotations

import datetime
from collections.abc import Collection
from numbers import Real

import numpy as np
import pandas as pd

NUMBER, CATEGORY, DATE = "number", "category", "date"

DAY = np.timedelta64(1, "D")
CYCLES = {"month": 12, "day_of_week": 7, "hour": 24}
"""Parts of a date that begin again, and their number of values."""


def as_frame(X) -> pd.DataFrame:
    """Return a table as a pandas frame, whatever it was: an array, a pandas or a polars frame."""
    if isinstance(X, pd.DataFrame):
        return X
    if type(X).__module__.partition(".")[0] == "polars":
        return pd.DataFrame({name: _of_polars(X[name]) for name in X.columns})
    columns = np.asarray(X).T
    return pd.DataFrame(dict(enumerate(pd.Series(column, copy=True) for column in columns)))


def _of_polars(column):
    """Return a polars column as what pandas reads without pyarrow."""
    is_plain = column.dtype.is_numeric() or column.dtype.is_temporal()
    return column.to_numpy() if is_plain else column.cast(str).to_list() if _is_text(column) else column.to_list()


def _is_text(column) -> bool:
    return str(column.dtype).startswith(("Categorical", "Enum"))


def kind_of(column: pd.Series) -> str:
    """Return what a column is read as: numbers (booleans, durations too), dates, or else categories."""
    dtype = column.dtype
    if pd.api.types.is_complex_dtype(dtype):
        raise ValueError(f"Complex data not supported. Found complex numbers in column {column.name!r}.")
    if isinstance(dtype, pd.CategoricalDtype):
        return CATEGORY
    if pd.api.types.is_datetime64_any_dtype(dtype):
        return DATE
    if pd.api.types.is_numeric_dtype(dtype) or pd.api.types.is_timedelta64_dtype(dtype):
        return NUMBER
    values = column.dropna()
    if all(isinstance(value, (Real, np.bool_)) for value in values):  # of none, too
        return NUMBER
    if all(_is_date(value) for value in values):
        return DATE
    _refuse_objects(column, values)
    return CATEGORY


def _is_date(value) -> bool:
    return isinstance(value, (datetime.date, np.datetime64))


def _refuse_objects(column: pd.Series, values: pd.Series) -> None:
    """Refuse what is no level of a category, such as lists in cells."""
    odd = next((value for value in values if not (pd.api.types.is_scalar(value) or _is_date(value))), None)
    if odd is not None:
        raise TypeError(
            f"Column {column.name!r}: cells must hold numbers, text, categories or dates; argument must be a string or "
            f"a number. Found {odd!r}."
        )


def numbers_of(column: pd.Series) -> np.ndarray:
    """Return a column of numbers, booleans or durations (in seconds) as floats; NaN where missing."""
    if pd.api.types.is_timedelta64_dtype(column.dtype):
        return (column / pd.Timedelta(seconds=1)).to_numpy(dtype=float, na_value=np.nan)
    try:
        values = pd.to_numeric(column).to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Column {column.name!r} held numbers in fit. Found what is none: {error}.") from error
    if np.isinf(values).any():
        raise ValueError(
            f"Input X contains infinity or a value too large, in column {column.name!r}. Replace it by a number or NaN."
        )
    return values


def levels_of(column: pd.Series) -> np.ndarray:
    """Return a column of categories as text; None where missing."""
    levels = column.astype(object).to_numpy(dtype=object, copy=True)
    missing = column.isna().to_numpy()
    levels[~missing] = [str(level) for level in levels[~missing]]
    levels[missing] = None
    return levels


def parts_of_dates(column: pd.Series, cycles: Collection[str]) -> dict[str, np.ndarray]:
    """Return days since 1970, NaN where missing, and sine and cosine of those parts that begin again.

    Days are of UTC, all other parts of the time zone that the column has.
    """
    try:
        dates = pd.to_datetime(column)
        universal = pd.to_datetime(column, utc=True).dt.tz_localize(None)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Column {column.name!r} held dates in fit. Found what is none: {error}.") from error
    parts = {"days": ((universal - pd.Timestamp(0)) / DAY).to_numpy(dtype=float)}
    for cycle in cycles:
        angle = 2 * np.pi * getattr(dates.dt, cycle).to_numpy(dtype=float) / CYCLES[cycle]
        parts |= {f"{cycle}_{name}": np.nan_to_num(wave(angle)) for name, wave in (("sin", np.sin), ("cos", np.cos))}
    return parts


def varying_cycles(column: pd.Series) -> list[str]:
    """Return the parts of dates that are not the same in all rows."""
    dates = pd.to_datetime(column)
    return [cycle for cycle in CYCLES if getattr(dates.dt, cycle).nunique() > 1]
