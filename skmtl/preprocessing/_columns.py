"""What the columns of a table hold, and the numbers and categories that they become."""

from __future__ import annotations

import datetime
from collections.abc import Collection
from decimal import Decimal
from numbers import Real

import numpy as np
import pandas as pd

NUMBER, DURATION, CATEGORY, DATE, EMPTY = "number", "duration", "category", "date", "empty"

DAY = np.timedelta64(1, "D")
CYCLES = {"month": 12, "day_of_week": 7, "hour": 24}
"""Parts of a date that begin again, and their number of values."""


def as_frame(X) -> pd.DataFrame:
    """Return a table as a pandas frame, whatever it was: an array, a pandas, polars or Arrow table."""
    if isinstance(X, pd.DataFrame):
        return X
    library = type(X).__module__.partition(".")[0]
    if library == "pyarrow":
        return X.to_pandas()
    if library == "polars":
        return pd.DataFrame({name: _of_polars(X[name]) for name in X.columns})
    columns = np.asarray(X).T
    return pd.DataFrame(dict(enumerate(pd.Series(column, copy=True) for column in columns)))


def _of_polars(column):
    """Return a polars column as what pandas reads without pyarrow."""
    is_plain = column.dtype.is_numeric() or (
        column.dtype.is_temporal() and getattr(column.dtype, "time_zone", None) is None
    )
    is_plain = is_plain and not str(column.dtype).startswith("Decimal")
    return column.to_numpy() if is_plain else column.cast(str).to_list() if _is_text(column) else column.to_list()


def _is_text(column) -> bool:
    return str(column.dtype).startswith(("Categorical", "Enum"))


def kind_of(column: pd.Series) -> str:
    """Return what a column is read as: numbers (booleans too), durations, dates, or else categories."""
    dtype = column.dtype
    if column.isna().all():
        return EMPTY
    if pd.api.types.is_complex_dtype(dtype):
        raise ValueError(f"Complex data not supported. Found complex numbers in column {column.name!r}.")
    if isinstance(dtype, pd.CategoricalDtype):
        return CATEGORY
    if pd.api.types.is_datetime64_any_dtype(dtype) or isinstance(dtype, pd.PeriodDtype):
        return DATE
    if pd.api.types.is_timedelta64_dtype(dtype) or str(dtype).startswith("duration"):
        return DURATION
    if pd.api.types.is_numeric_dtype(dtype):
        return NUMBER
    values = column.dropna()
    if all(isinstance(value, (Real, Decimal, np.bool_)) for value in values):
        return NUMBER
    if all(isinstance(value, (datetime.timedelta, np.timedelta64)) for value in values):
        return DURATION
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


def check_kind(column: pd.Series, kind: str) -> None:
    """Refuse dates, durations and numbers in each other's place: pandas would count nanoseconds."""
    if kind == NUMBER and isinstance(column.dtype, np.dtype) and column.dtype.kind in "biuf":
        return
    found = {_kind_of_value(value) for value in column.dropna()} if column.dtype == object else {kind_of(column)}
    odd = [other for other in (NUMBER, DURATION, DATE) if other in found and other != kind]
    if odd:
        found = odd[0]
        raise ValueError(f"Column {column.name!r} held {kind}s in fit. Found {found}s.")


def _kind_of_value(value) -> str | None:
    """Return what a value in a column of objects is; None where it is neither number, duration nor date."""
    if _is_date(value):
        return DATE
    if isinstance(value, (datetime.timedelta, np.timedelta64)):
        return DURATION
    return NUMBER if isinstance(value, (Real, Decimal, np.bool_)) else None


def durations_of(column: pd.Series) -> np.ndarray:
    """Return a column of durations in seconds; NaN where missing."""
    return (pd.to_timedelta(column) / pd.Timedelta(seconds=1)).to_numpy(dtype=float, na_value=np.nan)


def numbers_of(column: pd.Series) -> np.ndarray:
    """Return a column of numbers or booleans as floats; NaN where missing."""
    try:
        if column.dtype == object:
            column = column.map(lambda value: float(value) if isinstance(value, Decimal) else value)
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
    levels[~missing] = [_level(level) for level in levels[~missing]]
    levels[missing] = None
    return levels


def _level(value) -> str:
    """Return a level as text: 2, 2.0 and "2" are one, for whole numbers become floats beside missing ones."""
    if isinstance(value, (float, np.floating)) and value.is_integer():
        value = int(value)
    return str(value)


def _moments(column: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Return dates in their own time zone, or in UTC where there are several, and in UTC; both without a zone."""
    if isinstance(column.dtype, pd.PeriodDtype):
        column = column.dt.to_timestamp()
    try:
        local = pd.to_datetime(column)
        universal = pd.to_datetime(column, utc=True)
        return local, universal.dt.tz_localize(None)
    except (TypeError, ValueError) as error:  # several time zones, or years that nanoseconds do not reach
        if column.dtype != object or not column.dropna().map(_is_date).all():
            raise error
    moments = np.array([_microseconds(value) for value in column], dtype="datetime64[us]")
    moments = pd.Series(moments, index=column.index)
    return moments, moments


def _microseconds(value) -> np.datetime64:
    if pd.isna(value):
        return np.datetime64("NaT", "us")
    if getattr(value, "tzinfo", None) is not None:
        value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    return np.datetime64(value, "us")


def parts_of_dates(column: pd.Series, cycles: Collection[str]) -> dict[str, np.ndarray]:
    """Return days since 1970, NaN where missing, and sine and cosine of those parts that begin again.

    Days are of UTC, all other parts of the time zone that the column has, or of UTC where it has several.
    """
    try:
        dates, universal = _moments(column)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Column {column.name!r} held dates in fit. Found what is none: {error}.") from error
    parts = {"days": (universal.to_numpy().astype("datetime64[us]") - np.datetime64(0, "us")) / DAY}
    for cycle in cycles:
        angle = 2 * np.pi * getattr(dates.dt, cycle).to_numpy(dtype=float) / CYCLES[cycle]
        parts |= {f"{cycle}_{name}": np.nan_to_num(wave(angle)) for name, wave in (("sin", np.sin), ("cos", np.cos))}
    return parts


def varying_cycles(column: pd.Series) -> list[str]:
    """Return the parts of dates that are not the same in all rows."""
    dates, _ = _moments(column)
    return [cycle for cycle in CYCLES if getattr(dates.dt, cycle).nunique() > 1]
