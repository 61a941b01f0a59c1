"""Do the jobs of a search: fit what preprocessing they need, run them on joblib's workers, collect what is finished.

Preprocessing is fitted before the jobs that need it and not by them: it is then fitted once for each split and each
combination of its own parameters, whatever the number of workers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from joblib import effective_n_jobs
from sklearn.utils.parallel import Parallel, delayed

from skmtl.model_selection._fit import Fit, Protocol
from skmtl.model_selection._grouping import bytes_of, cut_into_waves
from skmtl.model_selection._jobs import Train, Watch, do_job, leave_alone, prepare, train_stacks
from skmtl.model_selection._reporting import NOT_REACHED, progress
from skmtl.model_selection._sklearn_private import _insert_error_scores, _warn_or_raise_about_fit_failures
from skmtl.training import short_turns, threads_for


def run(
    jobs: Sequence[list[Fit]], X, y, protocol: Protocol, n_jobs: int | None, train: Train = train_stacks
) -> tuple[list[Fit], bool]:
    """Do jobs; return the fits that are finished, in order, and whether Ctrl-C ended it before all were.

    Parameters
    ----------
    jobs : sequence of list of Fit
        As `plan` gives them.
    X, y : array-like
        All rows.
    protocol : Protocol
        What all fits have in common.
    n_jobs : int or None
        Jobs that are done at the same time, as in joblib.
    train : callable
        What trains the fits of a job that may be trained side by side.

    Raises
    ------
    KeyboardInterrupt
        If no fit was finished before it.
    """
    finished: list[Fit] = []
    interrupted, watch = False, Watch()
    try:
        # one torch thread for each of the Python threads
        with threads_for(0), short_turns(effective_n_jobs(n_jobs)), progress(jobs, protocol) as show:
            for wave in _prepared_waves(jobs, X, y, protocol, n_jobs):
                calls = (delayed(do_job)(job, X, y, protocol, watch, train, **rows) for job, rows in wave)
                for fits in _parallel(n_jobs, protocol.resumes)(calls):
                    finished += fits
                    show(fits)
                del wave, calls  # with their rows, before the next are made
    except BaseException as error:
        watch.stop()
        if not isinstance(error, KeyboardInterrupt) or all(fit.error for fit in finished):
            raise
        interrupted = True
    return sorted(finished, key=lambda fit: (fit.candidate, fit.split)), interrupted


def _parallel(n_jobs: int | None, shares_memory: bool = False) -> Parallel:
    """Return what runs calls in threads, or on another joblib backend if one is asked for and memory not shared."""
    options = {"n_jobs": n_jobs, **({"require": "sharedmem"} if shares_memory else {"prefer": "threads"})}
    try:
        return Parallel(return_as="generator_unordered", **options)
    except ValueError:  # some backends give their results only when all are there
        return Parallel(**options)


def _prepared_waves(
    jobs: Sequence[list[Fit]], X, y, protocol: Protocol, n_jobs: int | None
) -> Iterator[list[tuple[list[Fit], dict[str, object]]]]:
    """Yield some jobs at a time, each with the rows that preprocessing made for it, by their names.

    Rows are held as long as jobs need them, and where X is large only few at once.
    """
    needs = [_rows_to_make(job) for job in jobs]
    held: dict[str, object] = {}
    tried: set[str] = set()
    for wave in cut_into_waves(needs, bytes_of(X), effective_n_jobs(n_jobs)):
        names = dict.fromkeys(name for k in wave for name in needs[k] if name not in tried)
        tried.update(names)
        sharing = {name: [fit for own in needs for fit in own.get(name, ())] for name in names}
        held.update(_prepare(sharing, X, y, protocol, n_jobs) if sharing else {})
        yield [(jobs[k], {name: held[name] for name in needs[k] if name in held}) for k in wave]
        later = {name for k in range(wave.stop, len(jobs)) for name in needs[k]}
        held = {name: rows for name, rows in held.items() if name in later}


def _rows_to_make(job: Sequence[Fit]) -> dict[str, list[Fit]]:
    """Return the fits of a job that learn from rows yet to be made by preprocessing, by the names of the rows."""
    needed: dict[str, list[Fit]] = {}
    for fit in job:
        if fit.why_alone is None and fit.has_preprocessing and not fit.is_prepared:
            needed.setdefault(fit.rows, []).append(fit)
    return needed


def _prepare(
    sharing: dict[str, list[Fit]], X, y, protocol: Protocol, n_jobs: int | None
) -> Iterator[tuple[str, object]]:
    """Fit preprocessing once for all fits that share it, set it in each, and yield the rows that it makes."""
    calls = (delayed(prepare)(fits[0], X, y, protocol) for fits in sharing.values())
    for name, steps, rows, seconds in _parallel(n_jobs)(calls):
        fits = sharing[name]
        if steps is None:
            leave_alone(fits, "their preprocessing cannot be fitted", protocol)
            continue
        for fit in fits:
            fit.estimator.steps[:-1] = steps
            fit.is_prepared = True
            fit.seconds += seconds / len(fits)
        yield name, rows


def results_of(
    jobs: Sequence[list[Fit]], finished: Sequence[Fit], protocol: Protocol, earlier: Sequence[dict] = ()
) -> list[dict]:
    """Return what scikit-learn's search notes of each fit, in order; NaN for those that are not finished.

    Those have the form of a result that there is: of this or of an `earlier` rung.

    Raises
    ------
    ValueError
        If every fit failed.
    """
    results = {(fit.candidate, fit.split): fit.result() for fit in finished}
    _warn_or_raise_about_fit_failures(list(results.values()), protocol.error_score)
    _insert_error_scores(list(results.values()), protocol.error_score)
    form = next(iter(results.values()), None) or earlier[0]
    places = sorted((fit.candidate, fit.split) for job in jobs for fit in job)
    return [results.get(place) or _not_reached(form, protocol.splits[place[1]]) for place in places]


def _not_reached(form: dict, split: tuple) -> dict:
    """Return the result of a fit that was not reached: NaN of the form that another result has."""

    def undefined(scores):
        return dict.fromkeys(scores, np.nan) if isinstance(scores, dict) else np.nan

    unknown = {name: undefined(scores) for name, scores in form.items() if name in ("test_scores", "train_scores")}
    times = {"fit_time": np.nan, "score_time": np.nan}
    return {"fit_error": NOT_REACHED, "n_test_samples": len(split[1]), **times, **unknown}


def stacks_of(fits: Sequence[Fit]) -> set[tuple[int, int]]:
    """Return the stacks that fits were trained in."""
    return {(fit.job, fit.stack) for fit in fits if fit.stack is not None}
