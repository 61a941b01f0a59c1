"""Sparse X: the same results as dense, and never the whole table dense."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skmtl import MultiTaskRegressor
from skmtl.model_selection import StackedGridSearchCV, cross_val_predict, transfer_gain
from tests._cases import make_estimator, make_table

FORMATS = [sparse.csr_array, sparse.csc_array, sparse.coo_array, sparse.csr_matrix, sparse.lil_array]


def sparse_table(kind="regression", dtype=np.float64, missing=0.25):
    X, y = make_table(kind, dtype=dtype, missing=missing)
    return np.where(np.abs(X) > 0.8, X, 0).astype(dtype), y


def weights_of(model):
    return model.network_.state_dict()


@pytest.mark.parametrize("kind", ["regression", "multiclass"])
@pytest.mark.parametrize("sharing", ["hard", "soft", "attention"])
@pytest.mark.parametrize("to_sparse", FORMATS)
def test_fits_and_predicts_as_from_dense(to_sparse, sharing, kind):
    X, y = sparse_table(kind)
    one, other = (make_estimator(kind, sharing).fit(table, y) for table in (X, to_sparse(X)))
    for mine, theirs in zip(weights_of(one).values(), weights_of(other).values(), strict=True):
        assert mine.equal(theirs)
    np.testing.assert_array_equal(one.predict(X), other.predict(to_sparse(X)))
    np.testing.assert_array_equal(one.transform(X), other.transform(to_sparse(X)))
    np.testing.assert_array_equal(one.predict_frame(X), other.predict_frame(to_sparse(X)))


@pytest.mark.parametrize(
    "params",
    [
        {"early_stopping": True},
        {"n_members": 3},
        {"n_members": 3, "early_stopping": True, "n_iter_no_change": 1},
        {"batch_size": 1000},
        {"dropout": 0.3},
        {"head_layer_sizes": (4,)},
        {"optimizer": "sgd"},
        {"hidden_layer_sizes": ()},
    ],
    ids=str,
)
@pytest.mark.parametrize("missing", [0.0, 0.25])
def test_with_every_option(params, missing):
    X, y = sparse_table(missing=missing)
    one, other = (make_estimator(**params).fit(table, y) for table in (X, sparse.csr_array(X)))
    np.testing.assert_array_equal(one.predict(X), other.predict(sparse.csc_array(X)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_precision_is_kept_and_whole_numbers_are_read(dtype):
    X, y = sparse_table()
    X = (10 * X).astype(dtype)
    one, other = (make_estimator().fit(table, y) for table in (X, sparse.csr_array(X)))
    assert one._numpy_dtype == other._numpy_dtype
    np.testing.assert_array_equal(one.predict(X), other.predict(sparse.csr_array(X)))


def test_a_validation_set_partial_fit_and_warm_start():
    X, y = sparse_table()
    S = sparse.csr_array(X)
    one = make_estimator(early_stopping=True).fit(X, y, X_val=X[:20], y_val=y[:20])
    other = make_estimator(early_stopping=True).fit(S, y, X_val=sparse.csc_array(X[:20]), y_val=y[:20])
    assert one.history_[-1]["valid_loss"] == other.history_[-1]["valid_loss"]
    for way in ("fit", "partial_fit"):
        one, other = (make_estimator(warm_start=True) for _ in range(2))
        for _ in range(2):
            getattr(one, way)(X, y)
            getattr(other, way)(S, y)
        np.testing.assert_array_equal(one.predict(X), other.predict(S))


def test_rows_without_weight_and_entries_in_several_parts():
    X, y = sparse_table()
    weight = (np.arange(len(X)) % 3).astype(float)
    double = sparse.coo_array((np.full(2, 0.5), ([0, 0], [1, 1])), shape=X.shape)  # entries of one place add up
    S = sparse.csr_array(X)
    one = make_estimator().fit(X + double.toarray(), y, sample_weight=weight)
    parts = sparse.csr_array(
        sparse.coo_array(
            (
                np.r_[S.tocoo().data, double.data],
                (np.r_[S.tocoo().row, double.row], np.r_[S.tocoo().col, double.col]),
            ),
            shape=X.shape,
        )
    )
    other = make_estimator().fit(parts, y, sample_weight=weight)
    np.testing.assert_array_equal(one.predict(X), other.predict(S))


def test_searches_over_folds_of_sparse_rows():
    X, y = sparse_table(missing=0.0)
    grid = {"lr": [0.01, 0.03], "weight_decay": [0.0, 0.1]}
    results = [
        search(make_estimator(), grid, cv=3).fit(table, y).cv_results_["mean_test_score"]
        for search, table in ((GridSearchCV, X), (StackedGridSearchCV, X), (StackedGridSearchCV, sparse.csr_array(X)))
    ]
    np.testing.assert_allclose(results[0], results[2], rtol=1e-9)
    np.testing.assert_array_equal(results[1], results[2])


def test_out_of_fold_predictions_and_gains():
    X, y = sparse_table()
    one, other = (cross_val_predict(make_estimator(), table, y, cv=3) for table in (X, sparse.csr_array(X)))
    np.testing.assert_array_equal(one, other)
    one, other = (transfer_gain(make_estimator(), table, y, cv=3) for table in (X, sparse.csr_array(X)))
    np.testing.assert_array_equal(one.gain, other.gain)


def test_one_hot_columns_of_a_pipeline():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"city": rng.choice([f"c{k}" for k in range(40)], 200), "age": rng.normal(40, 9, 200)})
    y = np.column_stack([frame["city"].str.len() + 0.1 * frame["age"], frame["age"] > 40])
    steps = [("city", OneHotEncoder(handle_unknown="ignore"), ["city"]), ("age", StandardScaler(), ["age"])]
    sparse_columns = ColumnTransformer(steps, sparse_threshold=1.0)
    model = MultiTaskRegressor(max_epochs=5, random_state=0)
    assert sparse.issparse(sparse_columns.fit_transform(frame))
    one, other = (
        make_pipeline(ColumnTransformer(steps, sparse_threshold=threshold), model).fit(frame, y).predict(frame)
        for threshold in (0.0, 1.0)
    )
    np.testing.assert_array_equal(one, other)


def test_sparse_columns_of_a_frame():
    X, y = sparse_table()
    frame = pd.DataFrame(X, columns=list("abcde")).astype(pd.SparseDtype(float, 0.0))
    model = make_estimator().fit(frame, y)
    assert model.feature_names_in_.tolist() == list("abcde")
    np.testing.assert_array_equal(model.predict(frame), make_estimator().fit(X, y).predict(X))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_named(bad):
    X, y = sparse_table()
    X[3, 2] = bad
    with pytest.raises(ValueError, match="Column 2 of X must hold finite numbers"):
        make_estimator().fit(sparse.csc_array(X), y)


def test_other_numbers_of_columns_are_refused():
    X, y = sparse_table()
    model = make_estimator().fit(sparse.csr_array(X), y)
    with pytest.raises(ValueError, match="features"):
        model.predict(sparse.csr_array(X[:, :3]))


def test_rows_are_made_dense_a_few_at_a_time():
    """Of 20,000 rows, dense 320 MB, no more than validation and prediction may copy at once: 64 MiB."""
    rng = np.random.default_rng(0)
    X = sparse.random_array((20_000, 2_000), density=1e-3, format="csr", rng=rng)
    y = X @ rng.normal(size=(2_000, 2))
    model = MultiTaskRegressor(hidden_layer_sizes=(2,), max_epochs=1, n_members=1, early_stopping=True)
    taken = largest_dense_rows(lambda: model.fit(X, y).predict(X))
    assert 0 < taken <= 2**26


def largest_dense_rows(call):
    """Return the bytes of the largest table of rows that scipy makes dense meanwhile."""
    largest, toarray = [0], sparse.csr_array.toarray

    def watched(self, *args, **kwargs):
        dense = toarray(self, *args, **kwargs)
        largest[0] = max(largest[0], dense.nbytes)
        return dense

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse.csr_array, "toarray", watched)
        call()
    return largest[0]


@pytest.mark.slow
@pytest.mark.parametrize("stops", [False, True])
def test_the_peak_of_a_large_sparse_table_is_bounded(stops):
    """1e5 rows of 1e4 columns, a thousandth of them filled: at most three times the sparse bytes and 200 MB."""
    code = f"""
import resource, sys
import numpy as np
from scipy import sparse
from skmtl import MultiTaskRegressor

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

rng = np.random.default_rng(0)
X = sparse.random_array((100_000, 10_000), density=1e-3, format="csr", rng=rng)
y = X @ rng.normal(size=(10_000, 3))
MultiTaskRegressor(max_epochs=1).fit(X[:200, :50], y[:200]).predict(X[:200, :50])
before = peak()
MultiTaskRegressor(n_members=1, max_epochs=1, early_stopping={stops}).fit(X, y).predict(X)
n_bytes = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
print(peak() - before, 3 * n_bytes + 200e6)
sys.exit(peak() - before > 3 * n_bytes + 200e6)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
