"""The fits and scores of a stacked search: every candidate on every split, as few stacks as can be.

`Evaluation.run` is the way: sort the fits into jobs, fit the preprocessing of the stacks, run the jobs, collect the
results.
"""

from __future__ import annotations

import math
import time
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby

import joblib
import numpy as np
from sklearn.model_selection._validation import _insert_error_scores, _warn_or_raise_about_fit_failures
from sklearn.pipeline import Pipeline
from sklearn.utils.parallel import Parallel, delayed

from skmtl._base import BaseMultiTask
from skmtl.model_selection._jobs import (
    Fit,
    Job,
    Prepared,
    Protocol,
    Results,
    Watch,
    candidate,
    do_job,
    prepare,
    preprocessing_key,
    table_key,
    weight_name,
)
from skmtl.model_selection._stack import CHUNK, cut_evenly, stack_key, why_alone
from skmtl.training import short_turns, threads_for

__all__ = ["Evaluation"]

NOT_REACHED = "The search was interrupted before this fit."

TABLES = 2**27
"""Bytes that the training rows of a job may take, unless those of one fold take more; its stack copies them once."""


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
        self._tell_undefined(jobs, results)
        places = [(c, s) for c in candidates for s in range(len(self.splits))]
        if self.interrupted:
            self._tell_interrupted(len(finished), len(places))
        return [results.get(place) or self._not_reached(place, finished) for place in places]

    def _results(self, jobs: list[Job]) -> Results:
        """Return results by (candidate, split): all of them, or those that were finished before Ctrl-C."""
        results: Results = {}
        watch = Watch()
        try:
            with threads_for(0), short_turns(self._n_workers()):  # one torch thread for each of the Python threads
                for part in self._shown(self._parts(jobs, watch), sum(len(job.fits) for job in jobs)):
                    results.update(part)
        except BaseException as error:
            watch.interrupted = True
            while watch.running:  # threads cannot be stopped, and must not outlive the search
                time.sleep(0.01)
            if not isinstance(error, KeyboardInterrupt) or not results:
                raise
            self.interrupted = True
        return results

    def _parts(self, jobs: list[Job], watch: Watch) -> Iterator[Results]:
        """Yield the results of each job, as they come."""
        for wave, rows in self._waves(jobs):
            data = [(self.X, self.y, self.protocol, watch, *(rows[key] for key in job.prepared)) for job in wave]
            parallel = self._parallel(goes_on=any(job.course for job in wave))
            yield from parallel(delayed(do_job)(job, *own) for job, own in zip(wave, data, strict=True))
            del rows, data  # before the next are made
            for job in wave:
                job.prepared = {}

    def _parallel(self, goes_on: bool = False) -> Parallel:
        how = {"n_jobs": self.search.n_jobs, **({"require": "sharedmem"} if goes_on else {"prefer": "threads"})}
        try:
            return Parallel(return_as="generator_unordered", **how)
        except ValueError:  # some engines give their results only when all are there
            return Parallel(**how)

    def _waves(self, jobs: list[Job]) -> Iterator[tuple[list[Job], dict[tuple, object]]]:
        """Yield some jobs at a time, and what their preprocessing makes of the rows.

        That is fitted once for each split and each combination of its own parameters. Its rows are held as long as
        jobs need them, and where X is large only few at once.
        """
        needed = {id(job): _preprocessing(job) for job in jobs}
        done: dict[tuple, tuple[Prepared | None, object]] = {}
        while jobs:
            wave, jobs = self._cut_wave(jobs, needed)
            new = {key: fit for job in wave for key, fit in needed[id(job)].items() if key not in done}
            tasks = [delayed(prepare)(key, fit, self.X, self.y, self.splits[key[0]][0]) for key, fit in new.items()]
            done.update((key, (prepared, X)) for key, prepared, X in (self._parallel()(tasks) if tasks else ()))
            for job in wave:
                job.prepared = {key: done[key][0] for key in needed[id(job)]}
            yield wave, {key: X for key, (_, X) in done.items()}
            later = {key for job in jobs for key in needed[id(job)]}
            done = {key: value for key, value in done.items() if key in later}

    def _cut_wave(self, jobs: list[Job], needed: Mapping[int, Collection]) -> tuple[list[Job], list[Job]]:
        """Return the jobs of the next wave, at least one for each worker, and those that are left."""
        keys: set[tuple] = set()
        for k, job in enumerate(jobs):
            keys.update(needed[id(job)])
            if k >= self._n_workers() and len(keys) * bytes_of(self.X) > TABLES:
                return jobs[:k], jobs[k:]
        return jobs, []

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
            preprocessing = preprocessing_key(fits[0])
            for fit in fits:
                fit.preprocessing = preprocessing
            together.setdefault(stack_key(fits[0].last), []).extend(fits)
        stacks = [Job(part) for fits in together.values() for part in self._cut(fits)]
        stacks.sort(key=lambda job: table_key(job.fits[0]))  # those that need the same rows one after the other
        return [*stacks, *alone]

    def _cut(self, fits: list[Fit]) -> Iterator[list[Fit]]:
        """Yield parts of nearly equal size, as many as there are workers or a multiple of it where each is large."""
        fits = sorted(fits, key=table_key)
        workers = self._n_workers()
        n_parts = min(workers * -(-len(fits) // (CHUNK * workers)), max(1, len(fits) // 4))
        most = max(1, TABLES // max(1, bytes_of(self.X)))  # tables of one part
        for part in cut_evenly(fits, n_parts):
            tables = [list(own) for _, own in groupby(part, key=table_key)]
            for k in range(0, len(tables), most):
                yield [fit for own in tables[k : k + most] for fit in own]

    def _n_workers(self) -> int:
        return joblib.effective_n_jobs(self.search.n_jobs)

    def _why_alone(self, fit: Fit) -> str | None:
        if not isinstance(fit.last, BaseMultiTask):
            return f"{type(fit.last).__name__} is no estimator of skmtl"
        if fit.estimator is not fit.last and type(fit.estimator) is not Pipeline:
            return f"{type(fit.estimator).__name__} may fit its steps in another way than Pipeline"
        others = sorted(set(self.protocol.fit_params) - {weight_name(fit)})
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

    @staticmethod
    def _tell_undefined(jobs: list[Job], results: Results) -> None:
        """Name a candidate whose scorer gave NaN; of those that could not be fitted that is told already."""
        parameters = {(fit.candidate, fit.split): fit.parameters for job in jobs for fit in job.fits}
        places = [p for p, result in sorted(results.items()) if result["fit_error"] is None and _has_no_score(result)]
        if places:
            warnings.warn(
                f"The score of {len(places)} of {len(results)} fits is NaN. The first of them: candidate "
                f"{parameters[places[0]]}, split {places[0][1]}.",
                stacklevel=5,
            )

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


def _preprocessing(job: Job) -> dict[tuple, Fit]:
    """Return fits of a stack whose steps before the last one are yet to be fitted, one by split and preprocessing."""
    if job.alone is not None or (job.course is not None and job.course.stacks is not None):
        return {}
    pipelines = [fit for fit in job.fits if isinstance(fit.estimator, Pipeline) and len(fit.estimator.steps) > 1]
    return {(fit.split, fit.preprocessing): fit for fit in reversed(pipelines)}


def _has_no_score(result: dict) -> bool:
    scores = result["test_scores"]
    scores = list(scores.values()) if isinstance(scores, dict) else [scores]
    return bool(scores) and bool(np.isnan(scores).all())


def bytes_of(X) -> int:
    """Return about how many bytes a table of features takes; 0 where it does not say."""
    if hasattr(X, "memory_usage"):  # pandas
        return int(np.sum(X.memory_usage(deep=False)))
    return int(X.estimated_size()) if hasattr(X, "estimated_size") else getattr(X, "nbytes", 0)
