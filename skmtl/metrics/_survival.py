"""Scores of event times, of which some are censored."""

from __future__ import annotations

import numpy as np

from skmtl.metrics._skill import skill_score

Weight = np.ndarray | None


def concordance_index(time, event, risk, sample_weight=None):
    """Return how often the row of greater risk has its event first: Harrell's index.

    Parameters
    ----------
    time : array-like of shape (n_samples,)
        Time of the event, or of censoring.
    event : array-like of shape (n_samples,)
        True where the event was seen, False where the row was censored.
    risk : array-like of shape (n_samples,)
        Predicted risk: greater for earlier events.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights >= 0; a pair weighs the product.

    Returns
    -------
    float
        In [0, 1], 0.5 for random risks; pairs of equal risk count a half. A pair can be compared if its earlier time is
        an event, or, at equal times, if one of them is. NaN if no pair can be.

    References
    ----------
    .. [1] F. E. Harrell et al., "Evaluating the yield of medical tests", JAMA 247, 1982.

    Examples
    --------
    >>> from skmtl.metrics import concordance_index
    >>> concordance_index([1.0, 2.0, 3.0], [True, False, True], [0.9, 0.1, 0.5])
    1.0
    """
    time, event, risk = np.asarray(time, float), np.asarray(event).astype(bool), np.asarray(risk, float)
    weight = np.ones(len(time)) if sample_weight is None else np.asarray(sample_weight, float)
    concordant = comparable = 0.0
    for row in np.flatnonzero(event & (weight > 0)):
        later = (time > time[row]) | ((time == time[row]) & ~event)
        own = weight[row] * weight[later]
        comparable += own.sum()
        concordant += (own * ((risk[row] > risk[later]) + 0.5 * (risk[row] == risk[later]))).sum()
    return float(concordant / comparable) if comparable > 0 else float("nan")


def kaplan_meier(time: np.ndarray, event: np.ndarray, weight: Weight = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct times, ascending, and the probability of no event up to and including each: (n_times,) both.

    References
    ----------
    .. [1] E. L. Kaplan and P. Meier, "Nonparametric Estimation from Incomplete Observations", JASA 53, 1958.
    """
    weight = np.ones(len(time)) if weight is None else weight
    times, place = np.unique(time, return_inverse=True)
    leaving = np.bincount(place, weight, len(times))
    events = np.bincount(place, weight * event, len(times))
    at_risk = leaving[::-1].cumsum()[::-1]
    return times, np.cumprod(1 - np.divide(events, at_risk, out=np.zeros(len(times)), where=at_risk > 0))


def step_at(times: np.ndarray, values: np.ndarray, at: np.ndarray, before: float = 1.0, side: str = "right"):
    """Return a right-continuous step function at some times; its left limits with ``side="left"``."""
    return np.concatenate([[before], values])[np.searchsorted(times, at, side=side)]


def brier_scores(
    time: np.ndarray, event: np.ndarray, survival: np.ndarray, times: np.ndarray, weight: Weight = None
) -> np.ndarray:
    """Return the Brier score at each time: (n_times,).

    Rows that were censored before a time say nothing of it; the others are weighed by the inverse probability of not
    being censored, by Kaplan and Meier's estimate among these rows.

    References
    ----------
    .. [1] E. Graf et al., "Assessment and comparison of prognostic classification schemes for survival data",
       Statistics in Medicine 18, 1999.
    """
    weight = np.ones(len(time)) if weight is None else weight
    known, uncensored = kaplan_meier(time, ~event, weight)
    at_own = step_at(known, uncensored, time)  # as in scikit-survival: at the time itself, not just before it
    at_times = step_at(known, uncensored, times)
    died = (time[:, None] <= times) & event[:, None]
    alive = time[:, None] > times
    inverse = np.divide(1.0, at_own, out=np.zeros(len(time)), where=at_own > 0)[:, None]
    of_times = np.divide(1.0, at_times, out=np.zeros(len(times)), where=at_times > 0)
    loss = np.square(survival) * died * inverse + np.square(1 - survival) * alive * of_times
    return np.average(loss, axis=0, weights=weight)


def integrated_brier_score(time, event, survival, times, sample_weight=None):
    """Return the Brier score of predicted survival, averaged over time by the trapezoidal rule.

    Parameters
    ----------
    time : array-like of shape (n_samples,)
        Time of the event, or of censoring.
    event : array-like of shape (n_samples,)
        True where the event was seen.
    survival : array-like of shape (n_samples, n_times)
        Predicted probability of no event up to each of `times`.
    times : array-like of shape (n_times,)
        Ascending times, at least two.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights >= 0.

    Returns
    -------
    float
        0 for perfect predictions.

    References
    ----------
    .. [1] E. Graf et al., "Assessment and comparison of prognostic classification schemes for survival data",
       Statistics in Medicine 18, 1999.

    Examples
    --------
    >>> from skmtl.metrics import integrated_brier_score
    >>> alive = [[0.0, 0.0], [1.0, 1.0]]
    >>> integrated_brier_score([1.0, 3.0], [True, True], alive, [1.5, 2.5])
    0.0
    """
    time, event, times = np.asarray(time, float), np.asarray(event).astype(bool), np.asarray(times, float)
    weight = None if sample_weight is None else np.asarray(sample_weight, float)
    scores = brier_scores(time, event, np.asarray(survival, float), times, weight)
    return float(np.trapezoid(scores, times) / (times[-1] - times[0]))


def integrated_brier_skill(
    time: np.ndarray, event: np.ndarray, survival: np.ndarray, times: np.ndarray, weight: Weight = None
) -> float:
    """Return the skill by the integrated Brier score; the constant is Kaplan and Meier's curve of these rows.

    NaN if there are fewer than two times.
    """
    if len(times) < 2:
        return float("nan")
    curve = step_at(*kaplan_meier(time, event, weight), times)
    loss, of_constant = (
        integrated_brier_score(time, event, guess, times, weight)
        for guess in (survival, np.broadcast_to(curve, survival.shape))
    )
    return skill_score(loss, of_constant)
