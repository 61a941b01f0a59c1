"""TableEncoder: what scikit-learn's transformers, or a calculation by hand, make of the same columns."""

import datetime
import pickle
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.preprocessing import OneHotEncoder, QuantileTransformer, SplineTransformer, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skmtl import MultiTaskRegressor, table_pipeline
from skmtl.model_selection import StackedGridSearchCV
from skmtl.preprocessing import TableEncoder, _encoder

CHOICES = ("standard", "quantile", "spline")


@parametrize_with_checks([TableEncoder(numeric) for numeric in CHOICES])
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)


def encode(column, **params):
    return TableEncoder(**params).fit_transform(pd.DataFrame({"c": column}))


# ---- numbers ---------------------------------------------------------------------------------------------------------

NUMBERS = np.random.default_rng(0).normal(size=300)


def test_numbers_are_standardised_and_missing_ones_the_median():
    holed = np.where(np.arange(300) % 7 == 0, np.nan, NUMBERS)
    filled = SimpleImputer(strategy="median", add_indicator=True).fit_transform(holed[:, None])
    np.testing.assert_allclose(encode(holed), StandardScaler().fit_transform(filled), atol=1e-6)


def test_far_numbers_are_cut_off():
    heavy = np.append(NUMBERS, 1e6)
    assert encode(heavy).max() == 5.0  # standard deviations
    assert encode(np.arange(301) == 7).max() == 3.0  # of a column of two values
    encoder = TableEncoder().fit(pd.DataFrame({"c": NUMBERS}))
    assert encoder.transform(pd.DataFrame({"c": [-1e9]})) == -5.0


def test_splines_are_beside_the_standardised_number():
    expected = SplineTransformer(degree=1, n_knots=7, knots="quantile").fit_transform(NUMBERS[:, None])
    found = encode(NUMBERS, numeric="spline")
    np.testing.assert_allclose(found[:, 1:], expected, atol=1e-6)
    np.testing.assert_allclose(found[:, :1], encode(NUMBERS), atol=1e-6)
    few = np.arange(300) % 4  # too few distinct values for six bins
    np.testing.assert_array_equal(encode(few, numeric="spline"), encode(few))


def test_quantiles_are_ranks():
    ranks = QuantileTransformer(output_distribution="normal", n_quantiles=300).fit_transform(NUMBERS[:, None])
    np.testing.assert_allclose(encode(np.exp(NUMBERS), numeric="quantile"), ranks, atol=1e-5)


@pytest.mark.parametrize(
    ("column", "numbers"),
    [
        (pd.array([1, None, 3, 3], dtype="Int64"), [1, np.nan, 3, 3]),
        (pd.array([True, None, False, True], dtype="boolean"), [1, np.nan, 0, 1]),
        ([True, False, False, True], [1, 0, 0, 1]),
        (pd.to_timedelta([0, 60, 120, None], "s"), [0, 60, 120, np.nan]),
        (pd.array([1.5, None, 2.5, 0.0], dtype=object), [1.5, np.nan, 2.5, 0.0]),
        ([Decimal("1.5"), None, Decimal("2.5"), Decimal(0)], [1.5, np.nan, 2.5, 0.0]),
        (pd.array([1, None, 3, 3], dtype="int64[pyarrow]"), [1, np.nan, 3, 3]),
        (pd.array([1.5, None, 3, 3], dtype="float64[pyarrow]"), [1.5, np.nan, 3, 3]),
        (pd.array([True, None, False, True], dtype="bool[pyarrow]"), [1, np.nan, 0, 1]),
        ([datetime.timedelta(seconds=s) for s in (0, 60, 120, 30)], [0, 60, 120, 30]),
    ],
)
def test_what_is_read_as_numbers(column, numbers):
    found, expected = encode(column), encode(np.array(numbers, dtype=float))
    np.testing.assert_allclose(found, expected)
    assert np.isfinite(found).all()


def test_missing_values_that_fit_did_not_see_are_the_median():
    encoder = TableEncoder().fit(pd.DataFrame({"a": [1.0, 2.0, 9.0], "b": [1.0, 2.0, 3.0]}))
    found = encoder.transform(pd.DataFrame({"a": [np.nan], "b": [np.nan]}))
    np.testing.assert_array_equal(found, encoder.transform(pd.DataFrame({"a": [2.0], "b": [2.0]})))


# ---- categories ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [list, pd.Categorical, lambda v: pd.array(v, dtype="string"), np.array])
def test_categories_are_one_hot_with_the_rare_ones_together(make):
    levels = ["u"] * 9 + ["v"] * 6 + ["w", "x"]
    expected = OneHotEncoder(min_frequency=5, sparse_output=False).fit_transform(np.array(levels)[:, None])
    np.testing.assert_array_equal(encode(make(levels)), expected)


def test_a_missing_value_is_a_level_and_an_unknown_one_is_a_rare_one():
    X = pd.DataFrame({"c": ["u"] * 6 + [None] * 5 + ["w"]})
    encoder = TableEncoder().fit(X)
    assert encoder.get_feature_names_out().tolist() == ["c_u", "c_None", "c_infrequent_sklearn"]
    new = pd.DataFrame({"c": ["u", None, "never seen"]})
    np.testing.assert_array_equal(encoder.transform(new), np.eye(3))
    without_rare = TableEncoder().fit(X[:11])
    np.testing.assert_array_equal(without_rare.transform(new)[2], [0.0, 0.0])


def test_codes_that_the_user_says_are_categories():
    codes = np.repeat([3, 1, 2], 6)[:, None]
    expected = OneHotEncoder(sparse_output=False).fit_transform(codes)
    np.testing.assert_array_equal(TableEncoder(categorical=[0]).fit_transform(codes), expected)
    with pytest.raises(ValueError, match="categorical must name columns of X. Found 'b', which is none of"):
        TableEncoder(categorical=["b"]).fit(pd.DataFrame({"a": [1, 2]}))


def test_free_text_is_a_constant():
    np.testing.assert_array_equal(encode([f"text {k}" for k in range(20)]), np.ones((20, 1)))


# ---- dates -----------------------------------------------------------------------------------------------------------


def test_dates_are_days_and_cycles():
    dates = pd.date_range("2024-01-31", periods=400, freq="D")
    encoder = TableEncoder().fit(pd.DataFrame({"d": dates}))
    names = encoder.get_feature_names_out().tolist()
    assert names == ["d_days", *(f"d_{part}_{wave}" for part in ("month", "day_of_week") for wave in ("sin", "cos"))]
    found = encoder.transform(pd.DataFrame({"d": dates}))
    turn = 2 * np.pi * dates.month.to_numpy() / 12
    expected = np.column_stack([np.arange(400), np.sin(turn), np.cos(turn)])
    np.testing.assert_allclose(found[:, :3], StandardScaler().fit_transform(expected), atol=1e-5)


def test_dates_with_time_zones_missing_ones_and_plain_objects():
    naive = pd.Series(pd.date_range("2024-03-01", periods=50, freq="5h"))
    zoned = naive.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")
    as_objects = pd.Series(list(naive), dtype=object)
    np.testing.assert_allclose(encode(as_objects), encode(naive))
    np.testing.assert_allclose(encode(zoned)[:, 0], encode(naive)[:, 0], atol=1e-6)  # the same days of UTC
    assert not np.allclose(encode(zoned)[:, -1], encode(naive)[:, -1])  # and other hours
    holed = naive.where(np.arange(50) % 9 > 0)
    assert np.isfinite(encode(holed)).all()
    assert encode(holed).shape[1] == encode(naive).shape[1] + 1  # one indicator for all parts


# ---- tables ----------------------------------------------------------------------------------------------------------


def draw_frame(rng, n):
    """Return a frame of random kinds of columns, some cells missing."""
    columns = {
        "number": lambda: rng.lognormal(size=n),
        "count": lambda: rng.poisson(2, n),
        "flag": lambda: rng.random(n) < 0.3,
        "level": lambda: rng.choice(["u", "v", "w"], n).astype(object),
        "category": lambda: pd.Categorical(rng.choice(list("abcdefgh"), n)),
        "date": lambda: pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 10**7, n), "s"),
        "constant": lambda: np.ones(n),
        "nothing": lambda: np.full(n, np.nan),
    }
    names = ["number", *rng.choice(list(columns), rng.integers(1, 7))]
    frame = pd.DataFrame({f"{name} {k}": pd.Series(columns[name]()) for k, name in enumerate(names)})
    return frame.mask(rng.random(frame.shape) < rng.choice([0.0, 0.2]))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**31 - 1), st.sampled_from(CHOICES))
def test_any_table(seed, numeric):
    rng = np.random.default_rng(seed)
    X, new = draw_frame(rng, 60), None
    encoder = TableEncoder(numeric)
    found = encoder.fit_transform(X)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found.shape == (60, len(encoder.get_feature_names_out()))
    np.testing.assert_array_equal(found, encoder.transform(X))
    shuffled = X[list(rng.permutation(X.columns))].assign(more="unknown")
    np.testing.assert_array_equal(found, encoder.transform(shuffled))
    new = pickle.loads(pickle.dumps(encoder)).transform(X[:7])
    np.testing.assert_allclose(new, found[:7], atol=1e-6)
    assert list(clone(encoder).set_output(transform="pandas").fit_transform(X).columns) == list(
        encoder.get_feature_names_out()
    )


def test_polars_and_pandas_frames_are_read_alike():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {
            "a": np.where(rng.random(50) < 0.2, np.nan, rng.normal(size=50)),
            "b": rng.choice(["u", "v", None], 50),
            "c": pd.date_range("2020", periods=50, freq="31h"),
            "d": rng.random(50) < 0.5,
        }
    )
    text = [level if isinstance(level, str) else None for level in X["b"]]
    other = pl.DataFrame({"a": X["a"].to_list(), "b": text, "c": X["c"].to_numpy(), "d": X["d"].to_list()})
    np.testing.assert_allclose(TableEncoder().fit(X).transform(other), TableEncoder().fit_transform(X), atol=1e-6)


def test_a_wide_table_of_zeros_is_sparse(monkeypatch):
    X = pd.DataFrame({"id": np.repeat(np.arange(60), 6).astype(str), "n": np.arange(360.0)})
    dense = TableEncoder().fit_transform(X)
    monkeypatch.setattr(_encoder, "DENSE_BYTES", 1000)
    encoder = TableEncoder().fit(X)
    assert encoder.is_sparse_
    found = encoder.transform(X)
    assert sparse.issparse(found)
    np.testing.assert_array_equal(found.toarray(), dense)


@pytest.mark.parametrize(
    ("X", "error", "message"),
    [
        (pd.DataFrame({"a": [1.0, np.inf]}), ValueError, "infinity.*in column 'a'"),
        (pd.DataFrame({"a": [[1], [2]]}), TypeError, "Column 'a': cells must hold numbers, text"),
        (pd.DataFrame({"a": [1 + 2j, 3.0]}), ValueError, "Complex data not supported.*'a'"),
        (pd.DataFrame({"a": []}), ValueError, "0 sample"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), ValueError, "unique column names. Found 'a' more than once"),
        (sparse.csr_array(np.eye(3)), TypeError, "[Ss]parse"),
    ],
)
def test_what_is_no_table(X, error, message):
    with pytest.raises(error, match=message):
        TableEncoder().fit(X)


def test_columns_of_predict():
    encoder = TableEncoder().fit(pd.DataFrame({"a": [1.0, 2.0], "b": ["u", "v"]}))
    with pytest.raises(ValueError, match=r"columns are missing: \['b'\]"):
        encoder.transform(pd.DataFrame({"a": [1.0]}))
    with pytest.raises(ValueError, match="Column 'a' held numbers in fit. Found what is none"):
        encoder.transform(pd.DataFrame({"a": ["x"], "b": ["u"]}))


# ---- the pipeline ----------------------------------------------------------------------------------------------------


def test_a_pipeline_is_searched_as_by_scikit_learn():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"a": rng.normal(size=60), "b": rng.choice(["u", "v", None], 60)})
    X.loc[::5, "a"] = np.nan
    y = np.column_stack([np.nan_to_num(X["a"]), X["b"] == "u"]) + 0.1 * rng.normal(size=(60, 2))
    model = table_pipeline(MultiTaskRegressor(n_members=1, max_epochs=3, random_state=0))
    assert list(model.named_steps) == ["table", "model"]
    grid = {"table__numeric": list(CHOICES), "model__lr": [1e-3, 1e-2]}
    weight = rng.random(60)
    ours, theirs = (
        search(model, grid, cv=KFold(3)).fit(X, y, model__sample_weight=weight)
        for search in (StackedGridSearchCV, GridSearchCV)
    )
    np.testing.assert_allclose(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], atol=1e-5)
    assert ours.n_stacks_ > 0
    np.testing.assert_allclose(pickle.loads(pickle.dumps(ours)).predict(X), ours.predict(X), rtol=1e-6)


# ---- edges ----------------------------------------------------------------------------------------------------------


def test_whole_numbers_that_become_floats_are_the_same_levels():
    encoder = TableEncoder(categorical=["code"], min_frequency=1).fit(pd.DataFrame({"code": [1, 2, 3, 2]}))
    expected = encoder.transform(pd.DataFrame({"code": [2, 3]}))
    for codes in ([2.0, 3.0], ["2", "3"], pd.array([2, 3], dtype="Int64"), pd.Categorical([2.0, 3.0])):
        np.testing.assert_array_equal(encoder.transform(pd.DataFrame({"code": codes})), expected)
    beside_a_gap = encoder.transform(pd.DataFrame({"code": [2, 3, None]}))
    np.testing.assert_array_equal(beside_a_gap[:2], expected)


def test_a_column_that_was_empty_in_fit_is_left_out():
    encoder = TableEncoder().fit(pd.DataFrame({"a": [1.0, 2.0], "b": [None, None]}))
    assert encoder.kinds_ == {"a": "number", "b": "empty"}
    found = encoder.transform(pd.DataFrame({"a": [1.0, 2.0], "b": ["later", "text"]}))
    assert found.shape == (2, 1)
    assert encoder.get_feature_names_out().tolist() == ["a"]
    with pytest.raises(ValueError, match=r"At least one column must hold a value. Found none in \['b'\]"):
        TableEncoder().fit(pd.DataFrame({"b": [None, np.nan]}))


@pytest.mark.parametrize(
    ("fitted", "given", "message"),
    [
        (pd.to_datetime(["2020-01-01", "2021-01-01"]), [1, 2], "Column 'a' held dates in fit. Found numbers"),
        ([1.0, 2.0], pd.to_datetime(["2020-01-01", "2021-01-01"]), "Column 'a' held numbers in fit. Found dates"),
        ([1.0, 2.0], pd.to_timedelta([1, 2], "D"), "Column 'a' held numbers in fit. Found durations"),
        (pd.to_timedelta([1, 2], "D"), [1, 2], "Column 'a' held durations in fit. Found numbers"),
        ([1.0, 2.0], [datetime.date(2020, 1, 1), 3], "Column 'a' held numbers in fit. Found dates"),
    ],
)
def test_numbers_durations_and_dates_are_not_taken_for_each_other(fitted, given, message):
    encoder = TableEncoder().fit(pd.DataFrame({"a": fitted}))
    with pytest.raises(ValueError, match=message):
        encoder.transform(pd.DataFrame({"a": given}))
    assert np.isfinite(encoder.transform(pd.DataFrame({"a": [None, None]}))).all()


def test_dates_of_every_container_are_the_same():
    days = ["2020-03-01", "2021-07-15", "2022-01-31", "2020-12-24"]
    expected = encode(pd.to_datetime(days))
    for column in (
        pd.array(pd.to_datetime(days).date, dtype=object),
        pd.PeriodIndex(days, freq="D"),
        pd.array(pd.to_datetime(days), dtype="timestamp[ns][pyarrow]"),
        pd.array(pd.to_datetime(days).date, dtype="date32[pyarrow]"),
        pd.to_datetime(days).to_numpy().astype("datetime64[D]"),
    ):
        np.testing.assert_allclose(encode(column), expected, atol=1e-6)
    np.testing.assert_allclose(TableEncoder().fit_transform(pl.DataFrame({"x": pd.to_datetime(days)})), expected)
    zone = pl.DataFrame({"x": pd.to_datetime(days)}).with_columns(pl.col("x").dt.replace_time_zone("UTC"))
    np.testing.assert_allclose(TableEncoder().fit_transform(zone), expected, atol=1e-6)


def test_several_zones_and_years_far_away():
    east, west = (datetime.timezone(datetime.timedelta(hours=h)) for h in (3, -8))
    moments = [datetime.datetime(2020, 1, 1, 12, tzinfo=zone) for zone in (east, west)]
    universal = [datetime.datetime(2020, 1, 1, 9), datetime.datetime(2020, 1, 1, 20)]
    np.testing.assert_allclose(encode(pd.Series(moments, dtype=object)), encode(pd.to_datetime(universal)), atol=1e-6)
    far = pd.Series([datetime.date(9999, 12, 31), datetime.date(2020, 1, 1), None], dtype=object)
    found = encode(far)
    assert np.isfinite(found).all()
    assert found[0, 0] > found[1, 0]


def test_lists_masks_and_arrow_tables():
    rows = [[1.0, "a"], [2.0, "b"], [4.0, "a"]]
    frame = pd.DataFrame({"n": [1.0, 2.0, 4.0], "t": ["a", "b", "a"]})
    expected = TableEncoder(min_frequency=1).fit_transform(frame)
    np.testing.assert_array_equal(TableEncoder(min_frequency=1).fit_transform(rows), expected)
    arrow = TableEncoder(min_frequency=1).fit(pa.Table.from_pandas(frame))
    np.testing.assert_array_equal(arrow.transform(pa.Table.from_pandas(frame[["t", "n"]])), expected)
    assert arrow.feature_names_in_.tolist() == ["n", "t"]
    masked = np.ma.array([[1.0], [2.0], [9.0]], mask=[[False], [True], [False]])
    np.testing.assert_array_equal(
        TableEncoder().fit_transform(masked), TableEncoder().fit_transform([[1.0], [np.nan], [9.0]])
    )


def test_quantiles_of_many_rows_leave_the_global_generator_alone():
    X = np.random.default_rng(0).normal(size=(11_000, 1))
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    one, two = (TableEncoder("quantile").fit_transform(X) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1e-160, 1e300])
def test_numbers_at_the_ends_of_their_range(scale):
    with np.errstate(under="ignore"):
        column = scale * np.array([0.0, 1.0, 2.0, 1.0])
    assert np.isfinite(encode(column)).all()
