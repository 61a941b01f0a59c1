"""The scores of trained fits; what preprocessing makes of the rows of a split is made once for all of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import groupby

from skmtl.metrics import TaskScorer
from skmtl.model_selection._fit import Fit, Protocol
from skmtl.model_selection._sklearn_private import (
    _check_method_params,
    _MultimetricScorer,
    _PassthroughScorer,
    _safe_split,
    _score,
    _Scorer,
    copy_scorers,
    scorers_by_name,
)


def score(fits: Sequence[Fit], X, y, protocol: Protocol) -> None:
    """Score fits that are trained, or have failed: set their `scores`."""
    shares_rows = not protocol.score_params and _asks_last_step(protocol.scorers)
    for _, group in groupby(fits, key=lambda fit: (fit.split, fit.preprocessing)):
        _score_split(list(group), X, y, protocol, shares_rows)


def _score_split(fits: list[Fit], X, y, protocol: Protocol, shares_rows: bool) -> None:
    """Score fits of one split and preprocessing."""
    train, test = protocol.splits[fits[0].split]
    together = [fit for fit in fits if shares_rows and fit.stack is not None and fit.error is None]
    test_rows = _transformed(together, X, y, test, train)
    train_rows = _transformed(together, X, y, train) if protocol.return_train_score else None
    for fit in fits:
        own = fit in together
        test_scores, seconds = _scores(fit, X, y, protocol, (test, train), test_rows if own else None)
        scores = {"test_scores": test_scores, "score_time": seconds, "n_test_samples": len(test)}
        if protocol.return_train_score:
            scores["train_scores"], _ = _scores(fit, X, y, protocol, (train,), train_rows if own else None)
        fit.scores = scores


def _transformed(fits: list[Fit], X, y, *rows) -> tuple | None:
    """Return rows as the last steps of some fits read them, their targets, and the seconds this took for each fit.

    None if there is no fit, or if that fails, which each fit will find out when it is scored.
    """
    if not fits:
        return None
    start = time.perf_counter()
    try:
        X_rows, y_rows = _safe_split(fits[0].estimator, X, y, *rows)
        if fits[0].has_preprocessing:
            X_rows = fits[0].estimator[:-1].transform(X_rows)
    except Exception:
        return None
    return X_rows, y_rows, (time.perf_counter() - start) / len(fits)


def _scores(fit: Fit, X, y, protocol: Protocol, rows: tuple, transformed: tuple | None) -> tuple[object, float]:
    """Return the scores of a fit, and the seconds they took; one that has failed gets `error_score`.

    Parameters
    ----------
    fit, X, y, protocol
        What to score, and on what.
    rows : (scored,) or (scored, train)
        Positions of the rows, as scikit-learn's `_safe_split` takes them.
    transformed : (X, y, seconds) or None
        What `_transformed` made of them for the last step of the estimator.
    """
    by_name, error_score = scorers_by_name(protocol.scorers), protocol.error_score
    if fit.error is not None:
        return error_score if by_name is None else dict.fromkeys(by_name, error_score), 0.0
    naming = _NamingScorer if by_name is None else _NamingScorers
    scorers = naming(protocol.scorers, f"Candidate: {fit.parameters}, split {fit.split}")
    start = time.perf_counter()
    if transformed is not None:
        X_rows, y_rows, seconds = transformed
        scores = _score(fit.last, X_rows, y_rows, scorers, {}, error_score)
        return scores, seconds + time.perf_counter() - start
    X_rows, y_rows = _safe_split(fit.estimator, X, y, *rows)
    params = _check_method_params(X, protocol.score_params, rows[0])
    return _score(fit.estimator, X_rows, y_rows, scorers, params, error_score), time.perf_counter() - start


def _asks_last_step(scorer) -> bool:
    """Return whether a scorer asks a pipeline for no more than what its last step says of the transformed rows."""
    by_name = scorers_by_name(scorer)
    if by_name is not None:
        return all(_asks_last_step(one) for one in by_name.values())
    return type(scorer) in (_PassthroughScorer, _Scorer, TaskScorer)


class _NamingScorer:
    """A scorer whose errors name the candidate that it scored."""

    def __init__(self, scorer, whose: str) -> None:
        self._scorer, self._whose = scorer, whose

    def __repr__(self) -> str:
        return repr(self._scorer)

    def __call__(self, *args, **kwargs):
        try:
            return self._scorer(*args, **kwargs)
        except Exception as error:
            error.add_note(self._whose)
            raise


class _NamingScorers(_MultimetricScorer):
    """The same for scikit-learn's scorer of several metrics, which gives a text for each one that fails."""

    def __init__(self, scorer: _MultimetricScorer, whose: str) -> None:
        super().__init__(**copy_scorers(scorer))
        self._whose = whose

    def __call__(self, estimator, *args, **kwargs):
        scores = _NamingScorer(super().__call__, self._whose)(estimator, *args, **kwargs)
        return {name: f"{score}{self._whose}" if isinstance(score, str) else score for name, score in scores.items()}
