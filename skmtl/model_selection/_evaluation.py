"""The fits and scores of a stacked search: every candidate on every split, as few stacks as can be."""

from __future__ import annotations

import math
import time
import warnings
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from traceback import format_exc

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
from skmtl.model_selection._stack import TooLargeError, content_key, fit_stack, stack_key, why_alone
from skmtl.training import threads_for

__all__ = ["Evaluation"]

NOT_REACHED = "The search was interrupted before this fit."


@dataclass
class _Fit:
    """One candidate on one split."""

    candidate: int
    split: int
    parameters: dict
    estimator: object
    seconds: float = 0.0
    error: str | None = None

    @property
    def last(self):
        """The estimator itself, or the last step of a pipeline."""
        return self.estimator.steps[-1][1] if isinstance(self.estimator, Pipeline) else self.estimator


@dataclass
class _Batch:
    """Fits of one split that share their preprocessing and can be one stack, or one fit that must be alone."""

    split: int
    fits: list[_Fit] = field(default_factory=list)
    alone: str | None = None


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
        self.search, self.X, self.y, self.splits, self.scorers = search, X, y, splits, scorers
        self.fit_params, self.score_params = routed.estimator.fit, routed.scorer.score
        self.max_bytes = math.inf if search.max_bytes is None else search.max_bytes
        self.interrupted = False
        self._running: set[int] = set()  # batches that threads are at

    def run(self, candidates: Sequence[dict]) -> list[dict]:
        """Return one result for each candidate and split, splits innermost."""
        batches = self._batches(candidates)
        if self.search.verbose:
            self._announce(batches, len(candidates))
        results = self._results(batches)
        finished = [results[place] for place in sorted(results)]
        _warn_or_raise_about_fit_failures(finished, self.search.error_score)
        if callable(self.search.scoring):
            _insert_error_scores(finished, self.search.error_score)
        places = [(c, s) for c in range(len(candidates)) for s in range(len(self.splits))]
        if self.interrupted:
            self._tell_interrupted(len(finished), len(places))
        return [results.get(place) or self._not_reached(place, finished) for place in places]

    def _results(self, batches: list[_Batch]) -> dict[tuple[int, int], dict]:
        """Return results by (candidate, split): all of them, or those that were finished before Ctrl-C."""
        results: dict[tuple[int, int], dict] = {}
        jobs = (delayed(self._evaluate)(batch) for batch in batches)
        parallel = Parallel(n_jobs=self.search.n_jobs, prefer="threads", return_as="generator_unordered")
        try:
            with threads_for(0):  # one torch thread for each of the Python threads
                for part in self._shown(parallel(jobs), sum(len(batch.fits) for batch in batches)):
                    results.update(part)
        except KeyboardInterrupt:
            self.interrupted = True
            while self._running:  # threads cannot be stopped, and must not outlive the search
                time.sleep(0.01)
            if not results:
                raise
        return results

    def _shown(self, parts, n_fits: int) -> Iterator[dict]:
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

    def _batches(self, candidates: Sequence[dict]) -> list[_Batch]:
        """Sort the fits into batches; what may be together is the same on every split."""
        batches: dict[tuple, _Batch] = {}
        first = [_Fit(c, 0, parameters, self._candidate(parameters)) for c, parameters in enumerate(candidates)]
        reasons = [self._why_alone(fit) for fit in first]
        keys = [fit.candidate if why else _batch_key(fit) for fit, why in zip(first, reasons, strict=True)]
        for s in range(len(self.splits)):
            for c, fit in enumerate(first):
                own = fit if s == 0 else _Fit(c, s, fit.parameters, self._candidate(fit.parameters))
                batches.setdefault((s, keys[c]), _Batch(s, alone=reasons[c])).fits.append(own)
        return list(batches.values())

    def _candidate(self, parameters: dict):
        """Return the estimator with these parameters."""
        return clone(self.search.estimator).set_params(**clone(parameters, safe=False))

    def _why_alone(self, fit: _Fit) -> str | None:
        if not isinstance(fit.last, BaseMultiTask):
            return f"{type(fit.last).__name__} is no estimator of skmtl"
        others = sorted(set(self.fit_params) - {self._weight_name(fit)})
        if others:
            return f"fit takes {', '.join(others)}"
        return why_alone(fit.last)

    @staticmethod
    def _weight_name(fit: _Fit) -> str:
        is_pipeline = isinstance(fit.estimator, Pipeline)
        return f"{fit.estimator.steps[-1][0]}__sample_weight" if is_pipeline else "sample_weight"

    def _announce(self, batches: list[_Batch], n_candidates: int) -> None:
        """Print what is trained together, what alone, and why."""
        alone: dict[str, set[int]] = defaultdict(set)
        for batch in batches:
            if batch.alone:
                alone[batch.alone].add(batch.fits[0].candidate)
        n_splits, n_stacks = len(self.splits), sum(batch.alone is None for batch in batches)
        fits = f"{n_splits} folds for each of {n_candidates} candidates, totalling {n_candidates * n_splits} fits"
        print(f"Fitting {fits}, in {n_stacks} stacks")  # noqa: T201
        for reason, which in alone.items():
            print(f"Trained alone: candidates {', '.join(map(str, sorted(which)))} ({reason})")  # noqa: T201

    # ---- one batch ----------------------------------------------------------------------------------------------

    def _evaluate(self, batch: _Batch) -> dict[tuple[int, int], dict]:
        """Fit a batch and score its members; nothing if the search has been interrupted meanwhile."""
        if self.interrupted:
            return {}
        self._running.add(id(batch))
        try:
            return self._fit_and_score(batch)
        finally:
            self._running.discard(id(batch))

    def _fit_and_score(self, batch: _Batch) -> dict[tuple[int, int], dict]:
        train, test = self.splits[batch.split]
        template = batch.fits[0].estimator
        X_train, y_train = _safe_split(template, self.X, self.y, train)
        X_test, y_test = _safe_split(template, self.X, self.y, test, train)
        self._fit(batch, X_train, y_train, _check_method_params(self.X, self.fit_params, train))
        results = {}
        for fit in batch.fits:
            result = self._result(fit, X_test, y_test, test)
            if self.search.return_train_score:
                result["train_scores"] = self._scores(fit, X_train, y_train, train)
            results[fit.candidate, fit.split] = result
        return results

    def _fit(self, batch: _Batch, X, y, fit_params: Mapping) -> None:
        """Fit all members of a batch; what fails as a whole is fitted one by one, to say whose fault it is."""
        start = time.perf_counter()
        together = False
        if not batch.alone:
            try:
                self._fit_together(batch.fits, X, y, fit_params)
                together = True
            except TooLargeError:
                raise
            except Exception as error:
                if self.search.verbose:
                    print(f"One by one, for the {len(batch.fits)} together raised: {error!r}")  # noqa: T201
                for fit in batch.fits:
                    fit.estimator = self._candidate(fit.parameters)
        for fit in batch.fits:
            if not together:
                self._fit_alone(fit, X, y, fit_params)
            elif fit.error and self.search.error_score == "raise":
                raise ValueError(fit.error)
        for fit in batch.fits:
            fit.seconds = (time.perf_counter() - start) / len(batch.fits)

    def _fit_together(self, fits: list[_Fit], X, y, fit_params: Mapping) -> None:
        """Fit the preprocessing once and the members as stacks; note what went wrong with each."""
        weight = fit_params.get(self._weight_name(fits[0]))
        first = fits[0].estimator
        if isinstance(first, Pipeline) and len(first.steps) > 1:
            X = first[:-1].fit_transform(X, y)
            for fit in fits[1:]:
                fit.estimator.steps[:-1] = first.steps[:-1]
        errors = fit_stack([fit.last for fit in fits], X, y, weight, self.max_bytes)
        for fit, error in zip(fits, errors, strict=True):
            fit.error = error and f"{error}\nCandidate: {fit.parameters}"

    def _fit_alone(self, fit: _Fit, X, y, fit_params: Mapping) -> None:
        try:
            fit.estimator.fit(X, y, **fit_params)
        except Exception:
            if self.search.error_score == "raise":
                raise
            fit.error = f"{format_exc()}Candidate: {fit.parameters}"
            return
        if isinstance(fit.last, BaseMultiTask) and fit.last.net_.interrupted_:
            raise KeyboardInterrupt  # the estimator took it for a wish to keep what it had learned

    # ---- results ------------------------------------------------------------------------------------------------

    def _result(self, fit: _Fit, X_test, y_test, test) -> dict:
        start = time.perf_counter()
        scores = self._scores(fit, X_test, y_test, test)
        return {
            "fit_error": fit.error,
            "test_scores": scores,
            "n_test_samples": len(test),
            "fit_time": fit.seconds,
            "score_time": time.perf_counter() - start,
        }

    def _scores(self, fit: _Fit, X, y, rows):
        """Score a fitted member; one that could not be fitted gets `error_score`."""
        error_score = self.search.error_score
        if fit.error is None:
            params = _check_method_params(self.X, self.score_params, rows)
            return _score(fit.estimator, X, y, self.scorers, params, error_score)
        if isinstance(self.scorers, _MultimetricScorer):
            return dict.fromkeys(self.scorers._scorers, error_score)
        return error_score

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


def _batch_key(fit: _Fit) -> tuple:
    """Return what two fits must have in common to share their preprocessing and to be members of one stack."""
    before = fit.estimator.steps[:-1] if isinstance(fit.estimator, Pipeline) else []
    return content_key(before), stack_key(fit.last)
