"""The fits and scores of a stacked search: every candidate on every split, as few stacks as can be.

`Evaluation.run` is the way: sort the fits into jobs, fit the preprocessing of the stacks, run the jobs, collect the
results. A job is what one thread or process does at a time; `do_job` and what stands below it need nothing but their
arguments, so any engine of joblib can run them.
"""

from __future__ import annotations

import math
import time
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from traceback import format_exc

import joblib
import numpy as np
from sklearn.base import clone
from sklearn.metrics._scorer import _MultimetricScorer
from sklearn.model_selection._validation import (
    _check_method_params,
    _insert_error_scores,
    _score,
    _warn_or_raise_about_fit_failures,
)
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.parallel import Parallel, delayed

from skmtl._base import BaseMultiTask
from skmtl.model_selection._stack import (
    CHUNK,
    Stack,
    Table,
    TooLargeError,
    content_key,
    cut_evenly,
    fit_stack,
    make_stacks,
    reading_key,
    stack_key,
    why_alone,
)
from skmtl.training import threads_for

__all__ = ["Evaluation"]

NOT_REACHED = "The search was interrupted before this fit."

Results = dict[tuple[int, int], dict]
"""What scikit-learn's `_fit_and_score` returns, by candidate and split."""


@dataclass
class Fit:
    """One candidate on one split."""

    candidate: int
    split: int
    parameters: dict
    estimator: object
    preprocessing: tuple = ()  # what fits of one split have in common to share it
    seconds: float = 0.0
    error: str | None = None

    @property
    def last(self):
        """The estimator itself, or the last step of a pipeline."""
        return self.estimator.steps[-1][1] if isinstance(self.estimator, Pipeline) else self.estimator


@dataclass
class Job:
    """Fits that are trained side by side, or one that must be alone."""

    fits: list[Fit] = field(default_factory=list)
    alone: str | None = None
    prepared: dict[tuple, Prepared | None] = field(default_factory=dict)  # by split and preprocessing
    course: Course | None = None

    def keep(self, candidates: Collection[int]) -> None:
        """Go on with some candidates only."""
        self.fits = [fit for fit in self.fits if fit.candidate in candidates]
        for stack in self.course.stacks or ():
            stack.keep([fit.last for fit in self.fits])


@dataclass
class Course:
    """How far a job is trained that goes on from where it was when it is done again."""

    max_epochs: int  # in all
    epochs: int = 0  # by the end of the next time
    stacks: list[Stack] | None = None


@dataclass
class Prepared:
    """The fitted steps before the last one; the training rows that they give go beside it, for engines to share."""

    steps: list
    seconds: float


@dataclass(frozen=True)
class Protocol:
    """What all fits have in common.

    Attributes
    ----------
    estimator : estimator
        What candidates are made of.
    splits : list of (train, test)
        Positions of rows.
    scorers : callable
        A scorer, or scikit-learn's of several metrics.
    fit_params, score_params : dict
        Parameters of the estimator's fit and of the scorer.
    error_score : "raise" or float
        Score of a fit that fails.
    return_train_score : bool
        Whether to score the training rows too.
    max_bytes : float
        Bound on the memory of one stack.
    verbose : int
        Whether to say why something is fitted one by one.
    """

    estimator: object
    splits: Sequence
    scorers: object
    fit_params: Mapping
    score_params: Mapping
    error_score: object
    return_train_score: bool
    max_bytes: float
    verbose: int

    def __sizeof__(self) -> int:
        """Return the bytes of all that it holds by rows: engines that send large arguments once go by this."""
        by_rows = [rows for split in self.splits for rows in split]
        by_rows += [*self.fit_params.values(), *self.score_params.values()]
        return object.__sizeof__(self) + sum(getattr(rows, "nbytes", 0) for rows in by_rows)


class Evaluation:
    """Fit and score every candidate on every split.

    Parameters
    ----------
    search : object
        The search, with the parameters of scikit-learn's and `max_bytes`.
    X, y : array-like
        All rows.
    splits : list of (train, test)
        Positions of rows.
    scorers : callable
        A scorer, or scikit-learn's of several metrics.
    routed : Bunch
        Parameters of the estimator's fit and of the scorer.

    Attributes
    ----------
    interrupted : bool
        Whether Ctrl-C ended it early.
    """

    def __init__(self, search, X, y, splits, scorers, routed) -> None:
        self.search, self.X, self.y, self.splits = search, X, y, splits
        self.protocol = Protocol(
            estimator=search.estimator,
            splits=splits,
            scorers=scorers,
            fit_params=routed.estimator.fit,
            score_params=routed.scorer.score,
            error_score=search.error_score,
            return_train_score=search.return_train_score,
            max_bytes=math.inf if search.max_bytes is None else search.max_bytes,
            verbose=search.verbose,
        )
        self.interrupted = False

    def run(self, candidates: Sequence[dict]) -> list[dict]:
        """Return one result for each candidate and split, splits innermost."""
        return self.do(self.jobs(candidates))

    def do(self, jobs: list[Job]) -> list[dict]:
        """Return one result for each candidate and split of some jobs, splits innermost."""
        candidates = sorted({fit.candidate for job in jobs for fit in job.fits})
        if self.search.verbose:
            self._announce(jobs, len(candidates))
        results = self._results(jobs)
        finished = [results[place] for place in sorted(results)]
        _warn_or_raise_about_fit_failures(finished, self.search.error_score)
        if callable(self.search.scoring):
            _insert_error_scores(finished, self.search.error_score)
        places = [(c, s) for c in candidates for s in range(len(self.splits))]
        if self.interrupted:
            self._tell_interrupted(len(finished), len(places))
        return [results.get(place) or self._not_reached(place, finished) for place in places]

    def _results(self, jobs: list[Job]) -> Results:
        """Return results by (candidate, split): all of them, or those that were finished before Ctrl-C."""
        results: Results = {}
        watch = _Watch()
        try:
            with threads_for(0):  # one torch thread for each of the Python threads
                rows = self._prepare(jobs)
                data = [(self.X, self.y, self.protocol, watch, *(rows[key] for key in job.prepared)) for job in jobs]
                parallel = self._parallel(goes_on=any(job.course for job in jobs))
                parts = parallel(delayed(do_job)(job, *own) for job, own in zip(jobs, data, strict=True))
                for part in self._shown(parts, sum(len(job.fits) for job in jobs)):
                    results.update(part)
        except KeyboardInterrupt:
            self.interrupted = watch.interrupted = True
            while watch.running:  # threads cannot be stopped, and must not outlive the search
                time.sleep(0.01)
            if not results:
                raise
        return results

    def _parallel(self, goes_on: bool = False) -> Parallel:
        how = {"n_jobs": self.search.n_jobs, **({"require": "sharedmem"} if goes_on else {"prefer": "threads"})}
        try:
            return Parallel(return_as="generator_unordered", **how)
        except ValueError:  # some engines give their results only when all are there
            return Parallel(**how)

    def _prepare(self, jobs: list[Job]) -> dict[tuple, object]:
        """Fit the preprocessing of the stacks, once for each split and each combination of its own parameters.

        Returns the rows that it gives.
        """
        first: dict[tuple, Fit] = {}
        for job in jobs:
            for fit in job.fits:
                if job.alone is None and isinstance(fit.estimator, Pipeline) and len(fit.estimator.steps) > 1:
                    first.setdefault((fit.split, fit.preprocessing), fit)
        tasks = (delayed(prepare)(key, fit, self.X, self.y, self.splits[key[0]][0]) for key, fit in first.items())
        done = {key: (prepared, X) for key, prepared, X in (self._parallel()(tasks) if first else ())}
        for job in jobs:
            keys = {(fit.split, fit.preprocessing) for fit in job.fits}
            job.prepared = {key: done[key][0] for key in keys if key in done}
        return {key: X for key, (_, X) in done.items()}

    def _shown(self, parts: Iterable[Results], n_fits: int) -> Iterator[Results]:
        """Yield the parts; show a bar over fits if the search is verbose."""
        if not self.search.verbose:
            yield from parts
            return
        from tqdm.auto import tqdm

        with tqdm(total=n_fits, desc="search", unit="fit") as bar:
            for part in parts:
                yield part
                bar.update(len(part))

    # ---- what is trained together -------------------------------------------------------------------------------

    def jobs(self, candidates: Sequence[dict]) -> list[Job]:
        """Sort the fits into jobs: those that may be together by split, so that one stack reads few tables."""
        together: dict[tuple, list[Fit]] = {}
        alone: list[Job] = []
        for c, parameters in enumerate(candidates):
            estimator = candidate(self.search.estimator, parameters)
            fits = [Fit(c, s, parameters, estimator) for s in range(len(self.splits))]
            for fit in fits[1:]:
                fit.estimator = candidate(self.search.estimator, parameters)
            why = self._why_alone(fits[0])
            if why:
                alone += [Job([fit], why) for fit in fits]
                continue
            preprocessing = _preprocessing_key(fits[0])
            for fit in fits:
                fit.preprocessing = preprocessing
            together.setdefault(stack_key(fits[0].last), []).extend(fits)
        stacks = [Job(part) for fits in together.values() for part in self._cut(fits)]
        return [*stacks, *alone]

    def _cut(self, fits: list[Fit]) -> Iterator[list[Fit]]:
        """Yield parts of nearly equal size, as many as there are workers or a multiple of it where each is large."""
        fits = sorted(fits, key=lambda fit: (fit.split, repr(fit.preprocessing)))
        workers = joblib.effective_n_jobs(self.search.n_jobs)
        n_parts = min(workers * -(-len(fits) // (CHUNK * workers)), max(1, len(fits) // 4))
        yield from cut_evenly(fits, n_parts)

    def _why_alone(self, fit: Fit) -> str | None:
        if not isinstance(fit.last, BaseMultiTask):
            return f"{type(fit.last).__name__} is no estimator of skmtl"
        others = sorted(set(self.protocol.fit_params) - {_weight_name(fit)})
        if others:
            return f"fit takes {', '.join(others)}"
        return why_alone(fit.last)

    def _announce(self, jobs: list[Job], n_candidates: int) -> None:
        """Print what is trained together, what alone, and why."""
        alone: dict[str, set[int]] = defaultdict(set)
        for job in jobs:
            if job.alone:
                alone[job.alone].add(job.fits[0].candidate)
        n_splits, n_stacks = len(self.splits), sum(job.alone is None for job in jobs)
        fits = f"{n_splits} folds for each of {n_candidates} candidates, totalling {n_candidates * n_splits} fits"
        print(f"Fitting {fits}, in {n_stacks} stack{'s' * (n_stacks != 1)}")  # noqa: T201
        for reason, which in alone.items():
            print(f"Trained alone: candidates {', '.join(map(str, sorted(which)))} ({reason})")  # noqa: T201

    # ---- Ctrl-C -------------------------------------------------------------------------------------------------

    def _not_reached(self, place: tuple[int, int], finished: list[dict]) -> dict:
        """Return the result of a fit that was not reached: NaN of the form that the finished ones have."""

        def undefined(scores):
            return dict.fromkeys(scores, np.nan) if isinstance(scores, dict) else np.nan

        done = finished[0]
        unknown = {k: undefined(scores) for k, scores in done.items() if k in ("test_scores", "train_scores")}
        n_test_samples = len(self.splits[place[1]][1])
        times = {"fit_time": np.nan, "score_time": np.nan}
        return {"fit_error": NOT_REACHED, "n_test_samples": n_test_samples, **times, **unknown}

    @staticmethod
    def _tell_interrupted(n_finished: int, n_fits: int) -> None:
        warnings.warn(
            f"The search was interrupted after {n_finished} of {n_fits} fits. Their scores are in cv_results_, the "
            f"others are NaN; nothing was chosen or refitted.",
            stacklevel=4,
        )


class _Watch:
    """Which jobs the threads of this process are at, and whether they shall begin no more."""

    def __init__(self) -> None:
        self.interrupted = False
        self.running: set[int] = set()

    def __reduce__(self):
        return _Watch, ()  # a worker process has no threads of ours to watch


# ---- one job --------------------------------------------------------------------------------------------------------


def candidate(estimator, parameters: Mapping):
    """Return the estimator with these parameters."""
    return clone(estimator).set_params(**clone(parameters, safe=False))


def prepare(key: tuple, fit: Fit, X, y, train) -> tuple[tuple, Prepared | None, object]:
    """Fit the steps before the last one; None if that fails, which each fit will find out and tell for itself."""
    start = time.perf_counter()
    steps = fit.estimator[:-1]
    X_train, y_train = _safe_split(fit.estimator, X, y, train)
    try:
        X_train = steps.fit_transform(X_train, y_train)
    except Exception:
        return key, None, None
    return key, Prepared(steps.steps, time.perf_counter() - start), X_train


def do_job(job: Job, X, y, protocol: Protocol, watch: _Watch, *prepared_rows) -> Results:
    """Fit and score the fits of a job; nothing if the search has been interrupted meanwhile.

    Whatever is large is an argument of its own, which engines send once: X, y, the rows of each entry of
    `job.prepared`, and what all jobs have in common.
    """
    if watch.interrupted:
        return {}
    watch.running.add(id(job))
    try:
        with threads_for(0):
            rows = dict(zip(job.prepared, prepared_rows, strict=True))
            if job.alone is not None or not _fit_together(job, X, y, protocol, rows):
                for fit in job.fits:
                    _fit_alone(fit, X, y, protocol)
            return {(fit.candidate, fit.split): _result(fit, X, y, protocol) for fit in job.fits}
    finally:
        watch.running.discard(id(job))


def _fit_together(job: Job, X, y, protocol: Protocol, rows: Mapping[tuple, object]) -> bool:
    """Fit a stack; return False if it fails as a whole, so that each fit can tell whose fault it is."""
    start = time.perf_counter()
    try:
        if job.course is None:
            errors = fit_stack(_tables(job, X, y, protocol, rows), protocol.max_bytes)
        else:
            errors = _go_on(job, X, y, protocol, rows)
    except TooLargeError:
        raise
    except Exception as error:
        if protocol.verbose:
            print(f"One by one, for the {len(job.fits)} together raised: {error!r}")  # noqa: T201
        job.alone = "a stack of them cannot be fitted"
        return False
    seconds = (time.perf_counter() - start) / len(job.fits)
    for fit, error in zip((fit for fits in _by_table(job.fits) for fit in fits), errors, strict=True):
        fit.seconds += seconds
        fit.error = error and f"{error}\nCandidate: {fit.parameters}"
        if error and protocol.error_score == "raise":
            raise ValueError(fit.error)
    return True


def _go_on(job: Job, X, y, protocol: Protocol, rows: Mapping[tuple, object]) -> list[str | None]:
    """Do what `fit_stack` does, as far as the course of the job says and from where it was."""
    course, errors = job.course, {}
    if course.stacks is None:
        course.stacks = make_stacks(_tables(job, X, y, protocol, rows), protocol.max_bytes)
    for stack in course.stacks:
        errors.update(stack.fit(course.epochs, course.max_epochs))
        stack.hand_out()
    return [errors[id(fit.last)] for fits in _by_table(job.fits) for fit in fits]


def _tables(job: Job, X, y, protocol: Protocol, rows: Mapping[tuple, object]) -> list[Table]:
    """Return what the fits of a job learn from, table by table."""
    tables = []
    for fits in _by_table(job.fits):
        key = (fits[0].split, fits[0].preprocessing)
        tables.append(_table(fits, X, y, protocol, job.prepared.get(key), rows.get(key)))
    return tables


def _by_table(fits: Sequence[Fit]) -> list[list[Fit]]:
    """Return the fits that learn from equal rows, table by table."""
    tables: dict[tuple, list[Fit]] = {}
    for fit in fits:
        tables.setdefault((fit.split, fit.preprocessing, reading_key(fit.last)), []).append(fit)
    return list(tables.values())


def _table(fits: list[Fit], X, y, protocol: Protocol, prepared: Prepared | None, rows) -> Table:
    """Return what the last steps of some fits read; `rows` is what the steps before it made of them."""
    first = fits[0]
    train, _ = protocol.splits[first.split]
    weight = _check_method_params(X, protocol.fit_params, train).get(_weight_name(first))
    if not isinstance(first.estimator, Pipeline) or len(first.estimator.steps) == 1:
        return Table([fit.last for fit in fits], *_safe_split(first.estimator, X, y, train), weight)
    if prepared is None:
        raise ValueError("the preprocessing cannot be fitted")
    for fit in fits:
        fit.estimator.steps[:-1] = prepared.steps
        fit.seconds += prepared.seconds / len(fits)
    return Table([fit.last for fit in fits], rows, _safe_split(first.estimator, X, y, train)[1], weight)


def _fit_alone(fit: Fit, X, y, protocol: Protocol) -> None:
    start = time.perf_counter()
    train, _ = protocol.splits[fit.split]
    fit.estimator = candidate(protocol.estimator, fit.parameters)
    X_train, y_train = _safe_split(fit.estimator, X, y, train)
    try:
        fit.estimator.fit(X_train, y_train, **_check_method_params(X, protocol.fit_params, train))
    except Exception:
        if protocol.error_score == "raise":
            raise
        fit.error = f"{format_exc()}Candidate: {fit.parameters}"
    else:
        if isinstance(fit.last, BaseMultiTask) and fit.last.net_.interrupted_:
            raise KeyboardInterrupt  # the estimator took it for a wish to keep what it had learned
    fit.seconds = time.perf_counter() - start


def _result(fit: Fit, X, y, protocol: Protocol) -> dict:
    start = time.perf_counter()
    train, test = protocol.splits[fit.split]
    result = {
        "fit_error": fit.error,
        "test_scores": _scores(fit, X, y, test, train, protocol),
        "n_test_samples": len(test),
        "fit_time": fit.seconds,
        "score_time": time.perf_counter() - start,
    }
    if protocol.return_train_score:
        result["train_scores"] = _scores(fit, X, y, train, None, protocol)
    return result


def _scores(fit: Fit, X, y, rows, train, protocol: Protocol):
    """Score a fitted candidate; one that could not be fitted gets `error_score`."""
    if fit.error is None:
        params = _check_method_params(X, protocol.score_params, rows)
        X_rows, y_rows = _safe_split(fit.estimator, X, y, rows, train)
        return _score(fit.estimator, X_rows, y_rows, protocol.scorers, params, protocol.error_score)
    if isinstance(protocol.scorers, _MultimetricScorer):
        return dict.fromkeys(protocol.scorers._scorers, protocol.error_score)
    return protocol.error_score


def _weight_name(fit: Fit) -> str:
    is_pipeline = isinstance(fit.estimator, Pipeline)
    return f"{fit.estimator.steps[-1][0]}__sample_weight" if is_pipeline else "sample_weight"


def _preprocessing_key(fit: Fit) -> tuple:
    """Return what two fits of one split must have in common to share their preprocessing."""
    if not isinstance(fit.estimator, Pipeline):
        return ()
    return tuple(content_key(step) for step in fit.estimator.steps[:-1])
