"""Ctrl-C at any line of a fit: the earlier fit is kept, or a partial one that says so; never silently another one."""

import gc
import os
import signal
import threading
import time
import warnings
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from skorch.callbacks import EarlyStopping, EpochScoring, LRScheduler

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl._seeding import own_generator
from tests import _interrupts as interrupts
from tests._cases import make_table

SMALL = {"hidden_layer_sizes": (8,), "max_epochs": 3, "batch_size": 16, "random_state": 0}
LEAVING = {"early_stopping": True, "n_iter_no_change": 1, "max_epochs": 30, "n_members": 4, "lr": 0.3, "tol": 0.0}


def regression(**params):
    return MultiTaskRegressor(**{**SMALL, **params}), *make_table("regression")


def classification(**params):
    return MultiTaskClassifier(**{**SMALL, **params}), *make_table("multiclass")


def fitted_before(case):
    """Return the case with an estimator that has been fitted."""
    model, X, y = case
    return model.fit(X, y), X, y


CASES = {
    "fit": lambda: (regression(), "fit"),
    "classifier": lambda: (classification(class_weight="balanced"), "fit"),
    "soft": lambda: (regression(sharing="soft", task_weights=[1, 2, 1, 1]), "fit"),
    "early_stopping": lambda: (regression(early_stopping=True), "fit"),
    "members_leave": lambda: (regression(**LEAVING), "fit"),
    "fit_again": lambda: (fitted_before(regression(sharing="attention")), "fit"),
    "warm_start": lambda: (fitted_before(regression(warm_start=True)), "fit"),
    "partial_fit": lambda: (fitted_before(regression()), "partial_fit"),
    "callbacks": lambda: (
        regression(callbacks=[EarlyStopping("train_loss", patience=50), EpochScoring(lambda *_: 0.0), LRScheduler()]),
        "fit",
    ),
    "stopped_by_a_callback": lambda: (
        regression(callbacks=[EarlyStopping("train_loss", patience=2, threshold=100.0)], max_epochs=9),
        "fit",
    ),
}


def outcome(case, file, line, hit):
    """Interrupt a fit and return what came of it; "silent", "changed" and names of errors are faults."""
    (model, X, y), method = case
    before = dict(vars(model))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            interrupts.interrupted_at(lambda: getattr(model, method)(X, y), file, line, hit)
        except KeyboardInterrupt:
            after = vars(model)
            same = after.keys() == before.keys() and all(after[name] is value for name, value in before.items())
            return "as before" if same else "changed"
        except AssertionError:  # such as a line of what is found only once in a process
            return "not reached"
        except BaseException as error:
            return type(error).__name__
    said = any("Training was interrupted" in str(warning.message) for warning in heard)
    if not said:
        return "silent"
    return "partial" if np.isfinite(model.predict(X).astype(float)).all() else "not finite"


def outcomes(name, places):
    """Return how often each outcome came of interrupting a case at these places, and where the faults are."""
    found, faults = Counter(), []
    for place in places:
        result = outcome(CASES[name](), *place)
        found[result] += 1
        if result not in ("as before", "partial", "not reached"):
            faults.append((result, *place))
        assert is_free(), f"the lock of the generator is still held after {place}"
        assert torch.is_grad_enabled(), f"torch no longer records gradients after {place}"
    print(f"{name}: {dict(found)}")  # noqa: T201
    return found, faults


def is_free():
    """Return whether another thread can seed torch's generator."""

    def take():
        with own_generator():
            pass

    thread = threading.Thread(target=take, daemon=True)
    thread.start()
    thread.join(10)
    return not thread.is_alive()


def places_of(name):
    cases = [CASES[name]() for _ in range(2)]  # so that lines of the earlier fit are not counted

    def call():
        (model, X, y), method = cases.pop()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            getattr(model, method)(X, y)

    return interrupts.first_and_last_hits(interrupts.executed_lines(call))


@pytest.mark.parametrize("name", CASES)
def test_some_lines(name):
    found, faults = outcomes(name, interrupts.sample(places_of(name), 12, seed=len(name)))
    assert faults == []
    assert found["as before"] + found["partial"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_every_line(name):
    threads = torch.get_num_threads()
    try:
        found, faults = outcomes(name, places_of(name))
    finally:
        torch.set_num_threads(threads)
    assert faults == []
    assert found["as before"] > 100


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
@pytest.mark.parametrize("name", ["fit", "members_leave", "warm_start"])
def test_real_signals(name):
    found, step = Counter(), 0.003 if name == "members_leave" else 0.02  # seconds
    for k in range(8):
        (model, X, y), method = CASES[name]()
        model.set_params(max_epochs=100_000)
        found[signalled(partial(getattr(model, method), X, y), model, k * step)] += 1
    print(f"{name}: {dict(found)}")  # noqa: T201
    assert set(found) <= {"as before", "partial", "ended before"}
    assert name == "members_leave" or found["as before"] + found["partial"] == 8


def signalled(call, model, seconds):
    """Send SIGINT to this process some seconds after a fit began, unless it has ended; return what came of it."""
    before, ended, sent, lock = dict(vars(model)), False, False, threading.Lock()

    def send():
        nonlocal sent
        time.sleep(seconds)
        with lock:
            if not ended:
                sent = True
                os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=send)
    gc.disable()  # Python ignores what is raised in a callback of its garbage collection, such as that of hypothesis
    try:
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            thread.start()
            call()
            if any("Training was interrupted" in str(warning.message) for warning in heard):
                return "partial"
            with lock:
                ended = True
            if sent:
                time.sleep(10)  # until the signal arrives, which was sent when the fit was about to end
            return "ended before" if model.early_stopping else "silent"
    except KeyboardInterrupt:
        if ended:
            return "ended before"
        return "as before" if all(vars(model)[k] is v for k, v in before.items()) else "changed"
    finally:
        thread.join()
        gc.enable()
