"""Searches on other processes, through joblib backends, give what one process gives, and send the rows once.

Fits alone give equal bits. That relies on one machine (the same processor and libraries in all processes), on one torch
thread wherever a step is small, and on seeds that travel with the estimators. Stacks are cut by the number of workers,
and so agree to within rounding.
"""

import os
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from joblib._parallel_backends import ThreadingBackend
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from skmtl.metrics import make_task_scorer
from skmtl.model_selection import HalvingStackedSearchCV, StackedGridSearchCV, sharing_path
from skmtl.training import DivergedError
from tests._asserts import assert_same_choice, assert_same_scores, assert_within_promise
from tests._cases import make_odd_estimator as make_estimator
from tests._cases import make_table

FOLDS = KFold(3, shuffle=True, random_state=0)
GRID = {"lr": [1e-3, 1e-2], "sharing": ["hard", "soft"]}
SEARCHES = [GridSearchCV, StackedGridSearchCV]


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes of one thread each, on this machine."""
    distributed = pytest.importorskip("distributed", reason="needs dask: install skmtl[distributed]")
    kind = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**kind) as running, distributed.Client(running) as client:
        yield client


@pytest.fixture(params=["loky", "dask"])
def engine(request):
    """Run a test on two worker processes."""
    if request.param == "dask":
        request.getfixturevalue("cluster")
    with joblib.parallel_config(request.param, **({"n_jobs": 2} if request.param == "loky" else {})):
        yield request.param


def search_both(search, X, y, **fit_params):
    """Fit a search on the workers and a copy of it here; return the first. Fits alone give equal bits."""
    there = clone(search).fit(X, y, **fit_params)
    with joblib.parallel_config("sequential"):
        search.fit(X, y, **fit_params)
    assert_same_scores(there.cv_results_, search.cv_results_, exact=type(search) is GridSearchCV)
    assert_same_choice(there, search)
    return there


# ---- equal results --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["regression", "multiclass"])
@pytest.mark.parametrize("search", SEARCHES)
def test_searches_give_the_same(search, kind, engine):
    X, y = make_table(kind, n_samples=60)
    fitted = search_both(search(make_estimator(kind), GRID, cv=FOLDS, return_train_score=True), X, y)
    assert fitted.best_estimator_.predict(X).shape == y.shape


def test_stacks_and_plain_fits_on_workers_give_the_same(engine):
    X, y = make_table("regression")
    plain, stacked = (search(make_estimator(), GRID, cv=FOLDS, refit=False).fit(X, y) for search in SEARCHES)
    assert_same_scores(stacked.cv_results_, plain.cv_results_)
    assert_same_choice(stacked, plain)


def test_pipelines_frames_weights_and_scores_by_task(engine):
    X, y = make_table("regression")
    X, y = pd.DataFrame(X, columns=list("abcde")), pd.DataFrame(y, columns=list("pqrs"))
    model = Pipeline([("scale", StandardScaler()), ("net", make_estimator())])
    grid = {"net__lr": [1e-3, 1e-2], "scale__with_mean": [True, False]}
    search = StackedGridSearchCV(model, grid, cv=FOLDS, scoring=make_task_scorer("r2"), refit="average")
    weight = np.random.default_rng(0).random(y.shape)
    fitted = search_both(search, X, y, net__sample_weight=weight)
    assert "mean_test_p" in fitted.cv_results_


def test_cross_validation_gives_the_same_fitted_estimators(engine):
    X, y = make_table("multiclass", n_samples=60)
    there = cross_validate(make_estimator("multiclass"), X, y, cv=FOLDS, return_estimator=True)
    with joblib.parallel_config("sequential"):
        here = cross_validate(make_estimator("multiclass"), X, y, cv=FOLDS, return_estimator=True)
    for ours, theirs in zip(there["estimator"], here["estimator"], strict=True):
        for a, b in zip(ours.predict_proba(X), theirs.predict_proba(X), strict=True):
            np.testing.assert_array_equal(a, b)


def test_halving_stays_here_and_gives_the_same(engine):
    X, y = make_table("regression")
    options = {"cv": FOLDS, "min_resources": 1, "scoring": place, "refit": "r2"}
    search = HalvingStackedSearchCV(make_estimator(), GRID, **options).fit(X, y)
    assert set(search.cv_results_["mean_test_process"]) == {os.getpid()}
    with joblib.parallel_config("sequential"):
        here = clone(search).fit(X, y)
    assert_within_promise(search.cv_results_["mean_test_r2"], here.cv_results_["mean_test_r2"])
    assert_same_choice(search, here)


def place(estimator, X, y):
    """Tell as scores how good an estimator is, and in which process that was found."""
    return {"r2": estimator.score(X, y), "process": os.getpid()}


def test_sharing_path_gives_the_same(engine):
    X, y = make_table("regression")
    there = sharing_path(make_estimator(sharing="soft"), X, y, sharing_lambdas=[0, 0.1, 1], cv=2)
    with joblib.parallel_config("sequential"):
        here = sharing_path(make_estimator(sharing="soft"), X, y, sharing_lambdas=[0, 0.1, 1], cv=2)
    assert_within_promise(there.scores, here.scores)


class _AtTheEnd(ThreadingBackend):
    """A backend that gives its results only when all are there, as multiprocessing and ray do."""

    supports_return_generator = False


def test_engines_that_give_results_only_at_the_end():
    X, y = make_table("regression")
    joblib.register_parallel_backend("at_the_end", _AtTheEnd)
    with joblib.parallel_config("at_the_end", n_jobs=2):
        search_both(StackedGridSearchCV(make_estimator(), GRID, cv=FOLDS, refit=False), X, y)


# ---- where it runs, and what is sent --------------------------------------------------------------------------------


def witness(estimator, X, y):
    """Tell as scores the process, its torch threads, and the file that its rows lie in (-1 for none)."""
    file = os.stat(Rows.last.filename).st_ino if isinstance(Rows.last, np.memmap) else -1
    return {"process": os.getpid(), "threads": torch.get_num_threads(), "file": file}


class Rows:
    """Rows that count how often they are pickled, and remember the last values that came out of a pickle."""

    pickled = 0
    last = None

    def __init__(self, values):
        self.values = values
        self.shape, self.dtype = values.shape, values.dtype

    def __len__(self):
        return len(self.values)

    def __getitem__(self, rows):
        return np.array(self.values[rows])

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype)

    def __sizeof__(self):
        return self.values.nbytes

    def __reduce__(self):
        Rows.pickled += 1
        return _unpickle, (self.values,)


def _unpickle(values):
    Rows.last = values
    return Rows(values)


@pytest.mark.parametrize("search", SEARCHES)
def test_rows_are_sent_once_and_workers_have_one_thread(search, engine):
    X, y = make_table("regression", n_samples=30_000, dtype=np.float64)  # 1.2 MB
    assert X.nbytes > 1e6
    model = make_estimator(max_epochs=1)
    grid = {"lr": np.logspace(-3, -2, 3), "batch_size": [3000, 6000]}
    Rows.pickled = 0
    options = {"cv": FOLDS, "refit": False, "scoring": witness}
    results = search(model, grid, **options).fit(Rows(X), y).cv_results_
    names = ("process", "threads", "file")
    seen = {name: {int(v) for k in range(3) for v in results[f"split{k}_test_{name}"]} for name in names}
    assert os.getpid() not in seen["process"]
    assert seen["threads"] == {1}
    if engine == "loky":  # what is pickled is the name of one file, which all workers map
        assert len(seen["file"]) == 1
        assert seen["file"] != {-1}
    else:
        assert Rows.pickled == 1


@pytest.mark.usefixtures("cluster")
def test_rows_that_preprocessing_gives_are_sent_once_each():
    X, y = make_table("regression", n_samples=300)
    model = Pipeline([("wrap", FunctionTransformer(Rows)), ("net", make_estimator(max_epochs=1))])
    grid = {"net__lr": [1e-3, 1e-2, 1e-1], "net__batch_size": [30, 60, 120]}
    Rows.pickled = 0
    with joblib.parallel_config("dask"):
        StackedGridSearchCV(model, grid, cv=FOLDS, refit=False).fit(X, y)
    assert Rows.pickled == 3  # one table for each fold, whatever the number of jobs


@pytest.mark.usefixtures("cluster")
def test_what_jobs_have_in_common_is_sent_once():
    X, y = make_table("regression", n_samples=300)
    weight = Rows(np.random.default_rng(0).random(len(X)))
    grid = {"lr": [1e-3, 1e-2, 1e-1], "batch_size": [30, 60, 120]}
    Rows.pickled = 0
    with joblib.parallel_config("dask"):
        search = StackedGridSearchCV(make_estimator(max_epochs=1), grid, cv=FOLDS, refit=False, scoring=_sum)
        search.fit(X, y, sample_weight=weight)
    assert search.n_stacks_ > 3
    assert Rows.pickled == 1


def _sum(estimator, X, y, sample_weight=None):
    return float(np.abs(estimator.predict(X)).sum())


# ---- errors ---------------------------------------------------------------------------------------------------------


def test_the_error_of_a_diverged_stack_can_be_sent():
    error = pickle.loads(pickle.dumps(DivergedError({2: "Task 'a': no longer finite.", 5: "Task 'b'"})))
    assert str(error) == "Task 'a': no longer finite."
    assert error.reasons == {2: "Task 'a': no longer finite.", 5: "Task 'b'"}


def test_what_fails_in_a_worker_is_told_here(engine):
    X, y = make_table("regression", dtype=np.float32)
    search = GridSearchCV if engine == "dask" else StackedGridSearchCV  # loky starts anew after each error
    with pytest.raises(ValueError, match="no longer finite"):
        search(make_estimator(), {"lr": [1e30]}, cv=FOLDS, error_score="raise").fit(X, y)
