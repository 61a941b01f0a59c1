"""Ctrl-C at any line of a search: it raises KeyboardInterrupt and stays as it was, or is finished, with right scores.

Lines are interrupted before their first and their last run: all of them in the slow tests, in the ordinary run a
sample. Real signals come whenever they come.
"""

import os
import signal
import threading
import time
import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import KFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from skmtl.model_selection import HalvingStackedSearchCV, StackedGridSearchCV
from skmtl.training import BestWeights
from tests._cases import make_estimator, make_table
from tests._interrupts import executed_lines, first_and_last_hits, interrupted_at, sample

X, Y = make_table("regression", n_samples=24)
FOLDS = KFold(2)
STOPS = {"early_stopping": True, "n_iter_no_change": 1, "max_epochs": 6, "validation_fraction": 0.3}


def model(**params):
    """Return an estimator of two steps an epoch."""
    return make_estimator(**{"hidden_layer_sizes": (3,), "batch_size": 6, "max_epochs": 2, **params})


SEARCHES = {
    "stacks": lambda: StackedGridSearchCV(model(), {"lr": [1e-3, 1e-2], "batch_size": [6, 8]}, cv=FOLDS),
    "pipelines": lambda: StackedGridSearchCV(
        Pipeline([("scale", StandardScaler()), ("net", model(**STOPS))]),
        {"net__lr": [1e-3, 0.1, 0.3]},
        cv=FOLDS,
        return_train_score=True,
    ),
    "alone": lambda: StackedGridSearchCV(model(warm_start=True), {"lr": [1e-3, 1e-2]}, cv=FOLDS),
    "threads": lambda: StackedGridSearchCV(
        model(), {"lr": [1e-3, 1e-2], "batch_size": [6, 8]}, cv=FOLDS, n_jobs=2, refit=False
    ),
    "halving": lambda: HalvingStackedSearchCV(
        model(max_epochs=4), {"lr": [1e-3, 1e-2, 0.1], "warm_start": [False, True]}, cv=FOLDS, factor=2
    ),
}


def fitted_before(name):
    """Return a search that was fitted before, with other results."""
    search = SEARCHES[name]()
    search.cv_results_ = {"of": "an earlier fit"}
    return search


def assert_survives(search, expected, fit):
    """Interrupt the fit of a search: KeyboardInterrupt leaves it as it was, or it is finished and right."""
    before = dict(vars(search))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fit()
        except KeyboardInterrupt:
            assert vars(search) == before
            return
    assert any("interrupted" in str(warning.message) for warning in caught)
    assert_finished_scores_are_right(search, expected)


def assert_finished_scores_are_right(search, expected):
    """Scores that are there are those of a search that was left in peace."""
    ours, theirs = search.cv_results_, expected.cv_results_
    rows = len(ours["params"])
    assert ours["params"] == theirs["params"][:rows]
    scores = [key for key in theirs if key.startswith("split")]
    assert len(scores) >= 2
    for key in scores:
        finished = ~np.isnan(ours[key])
        np.testing.assert_allclose(ours[key][finished], theirs[key][:rows][finished], rtol=1e-9, err_msg=key)
    if hasattr(search, "best_params_"):
        assert rows == len(theirs["params"])
        assert search.best_params_ == expected.best_params_
    else:
        assert not hasattr(search, "best_estimator_")


def interrupt(name, n_places=None):
    """Interrupt a search at some of its places, or at all; print how many, and how many were not reached."""
    search = SEARCHES[name]()
    places = first_and_last_hits(executed_lines(lambda: search.fit(X, Y)))
    expected, unreached, faults = clone(search).fit(X, Y), [], []
    assert len(places) > 300
    places = places if n_places is None else sample(places, n_places)
    for place in places:
        search = fitted_before(name)
        try:
            assert_survives(search, expected, lambda own=search, at=place: interrupted_at(lambda: own.fit(X, Y), *at))
        except (Exception, AssertionError) as error:
            (unreached if "was run" in str(error) else faults).append((place, repr(error)))
    print(f"{name}: {len(places)} places, {len(faults)} faults, {len(unreached)} not reached again")  # noqa: T201
    assert faults == []
    assert len(unreached) <= len(places) / 20  # threads take their turns as they like


@pytest.mark.parametrize("name", SEARCHES)
def test_ctrl_c_at_some_lines(name):
    interrupt(name, 8)


@pytest.mark.slow
@pytest.mark.parametrize("name", SEARCHES)
def test_ctrl_c_at_every_line(name):
    interrupt(name)


@pytest.mark.parametrize("name", SEARCHES)
def test_real_signals(name, monkeypatch):
    """Press Ctrl-C at some moments of a search; a signal that comes when it is over is not heard."""
    expected = SEARCHES[name]().fit(X, Y)
    start = time.perf_counter()
    SEARCHES[name]().fit(X, Y)
    seconds = time.perf_counter() - start
    is_fitting = []

    def hear(number, frame):
        if is_fitting:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, hear)
    try:
        for share in (0.05, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95):
            search = fitted_before(name)
            pressed = threading.Timer(share * seconds, os.kill, (os.getpid(), signal.SIGINT))
            was = dict(vars(search))
            pressed.start()
            is_fitting.append(True)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    search.fit(X, Y)
            except KeyboardInterrupt:
                if vars(search) == was:
                    continue
            finally:
                is_fitting.clear()
                pressed.join()
            assert_finished_scores_are_right(search, expected)
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_signal_handler_in_python_is_no_callback(monkeypatch):
    """A handler that raises looks, at the end of an epoch, like a callback that ends training; stacks have none."""
    expected = SEARCHES["pipelines"]().fit(X, Y)
    on_epoch_end, calls = BestWeights.on_epoch_end, []

    def interrupted(callback, net, **kwargs):
        calls.append(net)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return on_epoch_end(callback, net, **kwargs)

    monkeypatch.setattr(BestWeights, "on_epoch_end", interrupted)
    search = fitted_before("pipelines")
    assert_survives(search, expected, lambda: search.fit(X, Y))
    assert len(calls) == 2
