"""Skill scores: 1 for perfect predictions, 0 for those of the best constant, so that unlike tasks can be averaged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Weight = np.ndarray | None


def skill_score(loss: float, of_constant: float) -> float:
    """Return 1 - loss / loss of the best constant; where that is perfect, 1 for perfect predictions and else 0."""
    if not np.isfinite(of_constant):
        return float("nan")
    if of_constant <= 0:
        return float(loss <= 0)
    return float(1.0 - loss / of_constant)


def mean_skill(skills: Sequence[float]) -> float:
    """Return the mean of the skills that are defined; NaN if none is."""
    known = [skill for skill in skills if not np.isnan(skill)]
    return float(np.mean(known)) if known else float("nan")


def brier_skill(outcomes: np.ndarray, probabilities: np.ndarray, weight: Weight) -> float:
    """Return the skill by the Brier score, of outcomes 0 or 1 and probabilities, both (n_samples, n_outcomes).

    The constant is the frequency of each outcome among these rows. NaN for fewer than two rows.

    References
    ----------
    .. [1] G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review 78, 1950.
    """
    if len(outcomes) < 2:
        return float("nan")
    constant = np.average(outcomes, axis=0, weights=weight)
    loss, of_constant = (
        np.average(np.square(outcomes - guess).sum(axis=1), weights=weight) for guess in (probabilities, constant)
    )
    return skill_score(loss, of_constant)


def normal_crps_skill(y: np.ndarray, mean: np.ndarray, sigma: np.ndarray, weight: Weight) -> float:
    """Return the skill by the continuous ranked probability score of normal distributions, all (n_samples,).

    The constant is the distribution of y among these rows. NaN for fewer than two rows.

    References
    ----------
    .. [1] T. Gneiting and A. E. Raftery, "Strictly Proper Scoring Rules, Prediction, and Estimation", JASA 102, 2007.
    """
    if len(y) < 2:
        return float("nan")
    from scipy.stats import norm

    z = (y - mean) / sigma
    loss = np.average(sigma * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi)), weights=weight)
    return skill_score(loss, _mean_difference(y, weight) / 2)


def _mean_difference(y: np.ndarray, weight: Weight) -> float:
    """Return the mean absolute difference of two draws from y."""
    order = np.argsort(y)
    y, weight = y[order], np.ones(len(y)) if weight is None else weight[order]
    share = weight / weight.sum()
    below = np.cumsum(share)[:-1]
    return float(2 * (below * (1 - below) * np.diff(y)).sum())
