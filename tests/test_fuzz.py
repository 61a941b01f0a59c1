"""Fits over containers, types of labels, marks of missing ones and weights: right, or refused as documented."""

from __future__ import annotations

import re
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.sharing import STRATEGIES
from tests._cases import outputs

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(40, 3))

# ---- what is drawn: columns as lists with None where a label is missing -------------------------------------------

CLASSES = {
    "ints": [0, 1, 7],
    "negative ints": [-1, 1],
    "large ints": [2**53, 2**53 + 1, -(2**62)],
    "beyond 64 bits": [2**70, 2**70 + 1, 3],
    "floats": [0.0, 1.0, 2.0],
    "bools": [False, True],
    "strings": ["a", "b", "a longer one"],
    "bytes": [b"a", b"bc"],
    "mixed": [1, "one", 2],
    "decimals": [Decimal("1.5"), Decimal(2)],
    "dates": [pd.Timestamp("2020-01-01"), pd.Timestamp("2021-06-01 12:00")],
}
NUMBERS = {
    "floats": st.floats(-1e3, 1e3),
    "offset": st.floats(1e6, 1e6 + 10),
    "large": st.floats(-1e300, 1e300),
    "small": st.floats(-1e-290, 1e-290),
    "ints": st.integers(-(2**40), 2**40),
    "beyond 64 bits": st.integers(2**70, 2**71),
    "decimals": st.decimals(-1000, 1000, places=3),
    "fractions": st.fractions(-10, 10, max_denominator=97),
    "bools": st.booleans(),
}
PLAIN = {"ints", "negative ints", "floats", "bools", "strings", "offset", "large", "small"}


@st.composite
def tables(draw, numbers: bool):
    """Return columns: lists of equal length, each with a label at least, and the kinds of labels."""
    n, n_tasks = draw(st.integers(6, 24)), draw(st.integers(1, 3))
    kinds = [draw(st.sampled_from(sorted(NUMBERS if numbers else CLASSES))) for _ in range(n_tasks)]
    columns = []
    for kind in kinds:
        labels = NUMBERS[kind] if numbers else st.sampled_from(CLASSES[kind])
        column = draw(st.lists(labels, min_size=n, max_size=n))
        share = draw(st.sampled_from([0.0, 0.0, 0.3, 0.8]))
        missing = np.random.default_rng(draw(st.integers(0, 99))).random(n) < share
        missing[draw(st.integers(0, n - 1))] = False
        columns.append([None if gone else v for v, gone in zip(column, missing, strict=True)])
    return columns, kinds


# ---- how it is given ----------------------------------------------------------------------------------------------


def as_objects(columns, mark=None):
    array = np.empty((len(columns[0]), len(columns)), dtype=object)
    for t, column in enumerate(columns):
        array[:, t] = [mark if v is None else v for v in column]
    return array


def as_plain(columns, kinds):
    """Return the array that numpy makes of complete columns of one kind, else None."""
    if len(set(kinds)) > 1 or kinds[0] not in PLAIN or any(v is None for column in columns for v in column):
        return None
    return np.array(columns).T


def as_masked(columns, kinds):
    if len(set(kinds)) > 1 or kinds[0] not in PLAIN - {"strings"}:
        return None
    missing = np.array([[v is None for v in column] for column in columns]).T
    fill = next(v for v in columns[0] if v is not None)
    return np.ma.array(np.array([[fill if v is None else v for v in c] for c in columns]).T, mask=missing)


def as_wide_strings(columns, kinds, mark):
    if set(kinds) != {"strings"}:
        return None
    cells = [[mark if v is None else v for v in row] for row in zip(*columns, strict=True)]
    return np.array(cells, dtype=np.dtypes.StringDType(na_object=mark))


def as_polars(columns, kinds):
    if set(kinds) & {"mixed", "beyond 64 bits", "fractions", "bytes"}:
        return None
    return pl.DataFrame({str(t): column for t, column in enumerate(columns)})


def as_arrow(columns, kinds):
    if set(kinds) & {"mixed", "beyond 64 bits", "fractions"}:
        return None
    return pa.table({str(t): column for t, column in enumerate(columns)})


def as_categories(columns, kinds):
    if set(kinds) & {"mixed", "fractions", "beyond 64 bits"}:
        return None
    return pd.DataFrame({str(t): pd.Categorical(column) for t, column in enumerate(columns)})


def as_nullable(columns, kinds):
    names = {"ints": "Int64", "bools": "boolean", "strings": "string", "floats": "Float64"}
    if set(kinds) - set(names):
        return None
    return pd.DataFrame(
        {str(t): pd.array(c, dtype=names[k]) for t, (c, k) in enumerate(zip(columns, kinds, strict=True))}
    )


def as_tensor(columns, kinds):
    if set(kinds) - {"floats", "offset"}:
        return None
    return torch.tensor(
        [[np.nan if v is None else v for v in row] for row in zip(*columns, strict=True)], dtype=torch.float64
    )


CONTAINERS = {
    "array": lambda c, k: as_plain(c, k),
    "Fortran array": lambda c, k: None if as_plain(c, k) is None else np.asfortranarray(as_plain(c, k)),
    "reversed": lambda c, k: None if as_plain(c, k) is None else as_plain(c, k)[::-1][::-1],
    "objects, NaN": lambda c, k: as_objects(c, np.nan),
    "objects, NA": lambda c, k: as_objects(c, pd.NA),
    "objects, NaT": lambda c, k: as_objects(c, pd.NaT),
    "objects, Decimal": lambda c, k: as_objects(c, Decimal("NaN")),
    "objects, masked": lambda c, k: as_objects(c, np.ma.masked),
    "lists": lambda c, k: [list(row) for row in zip(*c, strict=True)],
    "tuples": lambda c, k: tuple(zip(*c, strict=True)),
    "frame": lambda c, k: pd.DataFrame({str(t): pd.Series(column, dtype=object) for t, column in enumerate(c)}),
    "inferred frame": lambda c, k: (
        None if "large ints" in k else pd.DataFrame({str(t): column for t, column in enumerate(c)})
    ),
    "categories": as_categories,
    "nullable": as_nullable,
    "masked array": as_masked,
    "wide strings, NaN": lambda c, k: as_wide_strings(c, k, np.nan),
    "wide strings, text": lambda c, k: as_wide_strings(c, k, "?"),
    "polars": as_polars,
    "arrow": as_arrow,
    "tensor": as_tensor,
}


@st.composite
def weights(draw, n: int, n_tasks: int):
    """Return None, weights of rows or weights of labels; some are zero, and their scale is anything."""
    shape = draw(st.sampled_from([None, (n,), (n, n_tasks)]))
    if shape is None:
        return None
    weight = np.random.default_rng(draw(st.integers(0, 99))).exponential(size=shape)
    weight[np.random.default_rng(draw(st.integers(0, 99))).random(shape) < draw(st.sampled_from([0.0, 0.2]))] = 0.0
    return weight * draw(st.sampled_from([1.0, 1e-50, 1e38, 1e300]))


# ---- what must hold -----------------------------------------------------------------------------------------------


REFUSALS = "Task '|sample_weight|Sample weights|validation_fraction"


def fit(estimator, X, y, **params):
    """Return the fitted model, or None if the input was refused as documented."""
    try:
        return estimator.fit(X, y, **params)
    except (ValueError, TypeError) as error:
        if not re.search(REFUSALS, str(error)):
            raise
        return None


def check(data, numbers: bool):
    columns, kinds = data.draw(tables(numbers), label="columns, kinds")
    n, n_tasks = len(columns[0]), len(columns)
    sharing = data.draw(st.sampled_from(sorted(STRATEGIES)), label="sharing")
    early_stopping = data.draw(st.sampled_from([False, False, True]), label="early_stopping")
    params = {"hidden_layer_sizes": (8,), "batch_size": 8, "max_epochs": 2, "random_state": 0}
    params |= {"early_stopping": early_stopping, "validation_fraction": 0.3}
    params |= {"n_members": data.draw(st.sampled_from([1, 1, 2]), label="n_members")}
    if not numbers:
        params["class_weight"] = data.draw(st.sampled_from([None, None, "balanced"]), label="class_weight")
    estimator = MultiTaskRegressor if numbers else MultiTaskClassifier
    X, weight = FEATURES[:n], data.draw(weights(n, n_tasks), label="weight")
    plain = fit(estimator(sharing, **params), X, as_objects(columns), sample_weight=weight)

    name = data.draw(st.sampled_from(sorted(CONTAINERS)), label="container")
    given_y = CONTAINERS[name](columns, kinds)
    if given_y is not None:
        other = fit(estimator(sharing, **params), X, given_y, sample_weight=weight)
        assert (plain is None) == (other is None)
    if plain is None:
        return
    assert_is_right(plain, X, columns, numbers)
    if given_y is not None:
        assert_is_right(other, X, columns, numbers)
        for ours, theirs in zip(outputs(plain, X), outputs(other, X), strict=True):
            np.testing.assert_array_equal(ours, theirs)
        assert 0 <= sum(np.isfinite(list(other.score_tasks(X, given_y).values()))) <= n_tasks
    if weight is not None:
        assert_zero_is_absent(estimator(sharing, **params), plain, X, columns, weight)


def assert_is_right(model, X, columns, numbers):
    """Predictions are finite numbers, or members of the classes that were given."""
    assert all(bool(p.isfinite().all()) for p in model.network_.parameters())
    predicted = model.predict(X).reshape(len(X), len(columns))
    if numbers:
        assert np.isfinite(predicted.astype(float)).all()
        return
    classes = model.classes_ if isinstance(model.classes_, list) else [model.classes_]
    for t, column in enumerate(columns):
        labels = {v for v in column if v is not None}
        assert set(classes[t].tolist()) == labels
        assert set(predicted[:, t].tolist()) <= labels
    for proba, log_proba in zip(model.predict_proba(X), model.predict_log_proba(X), strict=True):
        np.testing.assert_allclose(proba.sum(axis=1), 1.0)
        np.testing.assert_allclose(np.exp(log_proba), proba, rtol=1e-9, atol=1e-300)


def assert_zero_is_absent(estimator, model, X, columns, weight):
    """Labels of weight zero may be missing: equal bits, unless they alone name a class."""
    weight = weight if weight.ndim == 2 else weight[:, None]
    weight = np.broadcast_to(weight, (len(X), len(columns)))
    kept = [[v if w > 0 else None for v, w in zip(c, ws, strict=True)] for c, ws in zip(columns, weight.T, strict=True)]
    if not any(
        (v is None) != (w is None) for c, k in zip(columns, kept, strict=True) for v, w in zip(c, k, strict=True)
    ):
        return
    if any({*c} - {None} != {*k} - {None} for c, k in zip(columns, kept, strict=True)) and not hasattr(
        model, "predict_std"
    ):
        return
    other = fit(estimator, X, as_objects(kept), sample_weight=weight)
    for ours, theirs in zip(outputs(model, X), outputs(other, X), strict=True):
        np.testing.assert_array_equal(ours, theirs)


few = settings(max_examples=120, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
many = settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("numbers", [True, False], ids=["numbers", "classes"])
@few
@given(data=st.data())
def test_fits_are_right_or_refused(numbers, data):
    check(data, numbers)


@pytest.mark.slow
@pytest.mark.parametrize("numbers", [True, False], ids=["numbers", "classes"])
@many
@given(data=st.data())
def test_many_fits_are_right_or_refused(numbers, data):
    check(data, numbers)


def test_the_table_of_containers_is_drawn_from():
    """Each container takes some table of these, so that none is always passed over."""
    samples = [([[1.5, None]], ["floats"]), ([[1.5, 2.5]], ["floats"]), ([["a", None]], ["strings"])]
    for name, container in CONTAINERS.items():
        assert any(container(columns, kinds) is not None for columns, kinds in samples), name
