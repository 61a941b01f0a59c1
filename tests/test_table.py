"""Every form a target table comes in."""

import numpy as np
import pandas as pd
import polars as pl
import pytest

from skmtl._table import read_targets

WORDS = ["b", "a", "b"]

# What is read, the labels of each column as lists with None where missing, the names, the dtype that predict returns.
TABLES = {
    "1-D ints": (np.array([3, 1, 2]), [[3, 1, 2]], None, "int64"),
    "1-D list": ([3, 1, 2], [[3, 1, 2]], None, "int64"),
    "2-D floats": (np.array([[1.5, 2.0], [np.nan, 4.0]]), [[1.5, None], [2.0, 4.0]], None, "float64"),
    "float32": (np.array([[1.5], [2.5]], dtype="f4"), [[1.5, 2.5]], None, "float32"),
    "2-D list with None": ([[1.0, None], [2.0, 3.0]], [[1.0, 2.0], [None, 3.0]], None, "object"),
    "list of words": ([["x", "u"], ["y", "v"]], [["x", "y"], ["u", "v"]], None, "<U1"),
    "list of words and numbers": ([["x", 1], ["y", 2]], [["x", "y"], [1, 2]], None, "object"),
    "list of words and None": ([["x", None], ["y", "v"]], [["x", "y"], [None, "v"]], None, "object"),
    "1-D words and None": (["x", None, "y"], [["x", None, "y"]], None, None),
    "bools": (np.array([[True], [False]]), [[True, False]], None, "bool"),
    "mixed labels in a column": (np.array([1, "a", None], dtype=object), [[1, "a", None]], None, "object"),
    "nan among words": (np.array(["a", np.nan, "b"], dtype=object), [["a", None, "b"]], None, None),
    "bytes": (np.array([b"x", b"y"]), [[b"x", b"y"]], None, "S1"),
    "series": (pd.Series([1, 2], name="age"), [[1, 2]], ["age"], "int64"),
    "series without a name": (pd.Series([1, 2]), [[1, 2]], None, "int64"),
    "frame": (pd.DataFrame({"a": [1, 2], "b": [0.5, np.nan]}), [[1, 2], [0.5, None]], ["a", "b"], "float64"),
    "frame of kinds": (pd.DataFrame({"n": [1, 2], "s": ["u", "v"]}), [[1, 2], ["u", "v"]], ["n", "s"], "object"),
    "categories": (pd.DataFrame({"c": pd.Categorical(["u", None])}), [["u", None]], ["c"], None),
    "categories of ints": (pd.DataFrame({"c": pd.Categorical([5, 7])}), [[5, 7]], ["c"], "int64"),
    "nullable ints": (pd.DataFrame({"i": pd.array([5, None], dtype="Int64")}), [[5, None]], ["i"], "int64"),
    "nullable bools": (pd.DataFrame({"i": pd.array([True, None], dtype="boolean")}), [[True, None]], ["i"], "bool"),
    "nullable floats": (pd.DataFrame({"i": pd.array([0.5, None], dtype="Float64")}), [[0.5, None]], ["i"], "float64"),
    "nullable words": (pd.DataFrame({"i": pd.array(["u", None], dtype="string")}), [["u", None]], ["i"], None),
    "repeated names": (pd.DataFrame([[1, 2]], columns=["a", "a"]), [[1], [2]], ["a", "a"], "int64"),
    "numbers as names": (pd.DataFrame({0: [1, 2], 1: [3, 4]}), [[1, 2], [3, 4]], ["0", "1"], "int64"),
    "polars frame": (pl.DataFrame({"a": [1, None], "b": ["u", "v"]}), [[1, None], ["u", "v"]], ["a", "b"], "object"),
    "polars floats": (pl.DataFrame({"a": [1.5, None]}), [[1.5, None]], ["a"], "float64"),
    "polars bools": (pl.DataFrame({"a": [True, None]}), [[True, None]], ["a"], "bool"),
    "polars categories": (
        pl.DataFrame({"a": pl.Series(["u", None], dtype=pl.Categorical)}),
        [["u", None]],
        ["a"],
        None,
    ),
    "large nullable ints": (pd.Series([2**60 + 1, None], dtype="Int64"), [[2**60 + 1, None]], None, "int64"),
    "missing categories of ints": (pd.DataFrame({"c": pd.Categorical([5, None])}), [[5, None]], ["c"], None),
    "polars series": (pl.Series("a", ["u", None]), [["u", None]], ["a"], None),
}


@pytest.mark.parametrize(("y", "labels", "names", "dtype"), TABLES.values(), ids=TABLES)
def test_reading(y, labels, names, dtype):
    table = read_targets(y)
    assert table.names == names
    assert table.task_names() == (names or [str(t) for t in range(len(labels))])
    assert table.n_columns == len(labels)
    for column, seen, expected in zip(table.columns, table.observed.T, labels, strict=True):
        assert seen.tolist() == [v is not None for v in expected]
        assert column[seen].tolist() == [v for v in expected if v is not None]
    if dtype is not None:
        assert table.dtype == dtype


@pytest.mark.parametrize(("y", "ndim"), [([1, 2], 1), ([[1], [2]], 2), (pd.Series([1]), 1), (pd.DataFrame([[1]]), 2)])
def test_one_column_keeps_its_dimensions(y, ndim):
    assert read_targets(y).ndim == ndim


@pytest.mark.parametrize("missing", [None, np.nan, np.float32("nan"), pd.NA, pd.NaT, float("nan")])
def test_every_mark_of_a_missing_label(missing):
    table = read_targets(np.array([["a", 1], [missing, missing], ["b", 0]], dtype=object))
    assert table.observed.tolist() == [[True, True], [False, False], [True, True]]
    assert table.columns[1].dtype == "int64"


def test_what_looks_like_a_missing_label_is_one_label_more():
    assert read_targets(np.array(["nan", "None", ""])).observed.all()
    assert read_targets(np.array(["nan", 0, False], dtype=object)).observed.all()


def test_rows_of_a_table():
    table = read_targets(pd.DataFrame({"a": [1.0, np.nan, 3.0]})).take(np.array([2, 1]))
    assert len(table) == 2
    assert table.observed.tolist() == [[True], [False]]
    assert table.columns[0][0] == 3.0
    assert table.task_names() == ["a"]


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros((3, 2, 2)), r"targets must be 1-D or 2-D. Found an array of shape \(3, 2, 2\)"),
        (np.float64(3), r"targets must be 1-D or 2-D. Found float64 of shape \(\)"),
        (np.zeros((3, 0)), r"targets must have at least one column. Found shape \(3, 0\)"),
        (pd.DataFrame(index=[0, 1]), r"targets must have at least one column"),
        (np.array([1j, 2.0]), "Complex data not supported: targets holds complex numbers"),
        (pd.DataFrame({"a": [1j]}), "Complex data not supported: targets holds complex numbers"),
    ],
)
def test_bad_tables(y, message):
    with pytest.raises(ValueError, match=message):
        read_targets(y, "targets")


@pytest.mark.parametrize("y", [[[1, 2], [3]], [["a"], ["b", "c"]]])
def test_ragged_lists_raise(y):
    with pytest.raises(ValueError, match="y must have equally many labels in each row. Found rows of 1 and 2"):
        read_targets(y)
