"""What one thread or process does at a time: train the fits of a job, side by side or alone, and score them.

`do_job`, `prepare` and what they call need nothing but their arguments, so any joblib backend can run them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from itertools import groupby
from traceback import format_exc

from skmtl.model_selection._fit import Fit, Protocol, with_parameters
from skmtl.model_selection._folds import take_rows
from skmtl.model_selection._grouping import TooLargeError, cut_into_stacks, row_parameters, table_key
from skmtl.model_selection._scoring import score
from skmtl.model_selection._sklearn_private import _check_method_params, _safe_split
from skmtl.model_selection._stack import Stack, Table, read_tables
from skmtl.training import threads_for, whole_fits_only

Train = Callable[[Sequence[Fit], object, object, Protocol, Mapping[str, object]], None]
"""What trains fits side by side: `train_stacks`, or what keeps the stacks to train them on later."""


class Watch:
    """Which threads of this process are at work for a search, and whether they shall begin nothing more."""

    def __init__(self) -> None:
        self.interrupted = False
        self.at_work: set[int] = set()

    def __reduce__(self):
        return Watch, ()  # a worker process has no threads of ours to watch

    def stop(self) -> None:
        """Wait until no other thread is at work, and let none begin: threads must not outlive the search."""
        self.interrupted = True
        while self.at_work - {threading.get_ident()}:
            time.sleep(0.01)


def do_job(fits: list[Fit], X, y, protocol: Protocol, watch: Watch, train: Train, **rows) -> list[Fit]:
    """Train and score the fits of a job; return them, or none if the search has been interrupted meanwhile.

    Whatever is large is a separate argument, which backends send once: X, y, what all fits have in common, and under
    the name that `Fit.rows` gives it each table that preprocessing made.
    """
    try:
        watch.at_work.add(threading.get_ident())  # before the look at the flag, or `stop` might not wait for it
        if watch.interrupted:
            return []
        with threads_for(0), whole_fits_only():
            together = [fit for fit in fits if fit.why_alone is None]
            if together:
                _train_together(together, X, y, protocol, train, rows)
            for fit in fits:
                if fit.stack is None:
                    _train_alone(fit, X, y, protocol)
            score(fits, X, y, protocol)
        if not protocol.resumes:
            for fit in fits:
                fit.use(None)  # its network is not needed any more
        return fits
    finally:
        watch.at_work.discard(threading.get_ident())


# ---- preprocessing --------------------------------------------------------------------------------------------------


def prepare(fit: Fit, X, y, protocol: Protocol) -> tuple[str, list | None, object, float]:
    """Fit the steps before the last one; return the name of the rows that they give, the steps, the rows, the seconds.

    There are no steps if that fails: each fit, trained alone, will raise the error again.
    """
    start = time.perf_counter()
    (name, _), steps = fit.estimator.steps[-1], copy(fit.estimator)
    steps.steps = [*fit.estimator.steps[:-1], (name, "passthrough")]  # a slice would not cache its last step
    X_train, y_train = _safe_split(fit.estimator, X, y, protocol.splits[fit.split][0])
    try:
        X_train = steps.fit_transform(X_train, y_train)
    except Exception:
        return fit.rows, None, None, 0.0
    return fit.rows, steps.steps[:-1], X_train, time.perf_counter() - start


# ---- side by side ---------------------------------------------------------------------------------------------------


def _train_together(fits: list[Fit], X, y, protocol: Protocol, train: Train, rows: Mapping[str, object]) -> None:
    """Train fits side by side; those that turn out to need it are left to be trained alone."""
    start = time.perf_counter()
    try:
        train(fits, X, y, protocol, rows)
    except TooLargeError:
        raise
    except Exception as error:
        leave_alone(fits, "together they raised an error", protocol, error)
    together = [fit for fit in fits if fit.stack is not None]
    for fit in together:
        fit.seconds += (time.perf_counter() - start) / len(together)
        if fit.error and protocol.error_score == "raise":
            raise ValueError(fit.error)


def train_stacks(fits: Sequence[Fit], X, y, protocol: Protocol, rows: Mapping[str, object]) -> None:
    """Train fits side by side to the end, stack by stack."""
    stacks = make_stacks(fits, X, y, protocol, rows)
    while stacks:
        stacks.pop(0).train()  # no two of them at once hold networks


def make_stacks(fits: Sequence[Fit], X, y, protocol: Protocol, rows: Mapping[str, object]) -> list[Stack]:
    """Return the stacks that some fits form; those whose rows cannot be read are in none."""
    tables = []
    for _, group in groupby(fits, key=table_key):
        own = list(group)
        try:
            tables += _read(own, X, y, protocol, rows)
        except Exception as error:
            leave_alone(own, "their rows cannot be read", protocol, error)
    return [Stack(k, members) for k, members in enumerate(cut_into_stacks(tables, protocol.max_bytes))]


def _read(fits: list[Fit], X, y, protocol: Protocol, rows: Mapping[str, object]) -> list[Table]:
    """Return what fits of one `table_key` learn from."""
    first = fits[0]
    train, _ = protocol.splits[first.split]
    given = _check_method_params(X, protocol.fit_params, train)
    by_row = {name: given.get(full) for name, full in row_parameters(first.estimator).items()}
    if first.has_preprocessing:  # then only y is yet to be split
        X_train, y_train = rows[first.rows], None if y is None else take_rows(y, train)
    else:
        X_train, y_train = _safe_split(first.estimator, X, y, train)
    return read_tables(fits, X_train, y_train, **by_row)


def leave_alone(fits: Sequence[Fit], reason: str, protocol: Protocol, error: Exception | None = None) -> None:
    """Let fits be trained alone after all; each of them will raise what is its own fault."""
    for fit in fits:
        fit.why_alone, fit.stack, fit.error = reason, None, None
    if protocol.verbose:
        print(f"Training {len(fits)} fits one by one, because {reason}" + (f": {error!r}" if error else ""))  # noqa: T201


# ---- alone ----------------------------------------------------------------------------------------------------------


def _train_alone(fit: Fit, X, y, protocol: Protocol) -> None:
    start = time.perf_counter()
    train, _ = protocol.splits[fit.split]
    fit.use(with_parameters(protocol.estimator, fit.parameters))
    X_train, y_train = _safe_split(fit.estimator, X, y, train)
    targets = () if y_train is None else (y_train,)
    try:
        fit.estimator.fit(X_train, *targets, **_check_method_params(X, protocol.fit_params, train))
    except Exception:
        if protocol.error_score == "raise":
            raise
        fit.fail(format_exc().rstrip("\n"))
    fit.seconds = time.perf_counter() - start
