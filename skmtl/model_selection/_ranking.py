"""The choice of a candidate by its ranks in the folds."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata


def best_mean_rank(cv_results, metric=None):
    """Return the candidate of the best mean rank over the folds: a value of ``refit`` for a search.

    One fold with an outlier can decide a mean of R² or log loss; in a mean of ranks each fold has one vote.

    Parameters
    ----------
    cv_results : dict of arrays
        ``cv_results_`` of a search of this package or of scikit-learn.
    metric : str, default=None
        Which of several scores ranks. None: the only one, or "average" of a `make_task_scorer`. For another one give
        the search ``functools.partial(best_mean_rank, metric="f1")``.

    Returns
    -------
    int
        Index of the candidate; the first one on ties. A fold without a score ranks last. Of a halving search only
        candidates of the last rung are considered.

    Raises
    ------
    ValueError
        If there are several scores and `metric` is none of them.

    Examples
    --------
    >>> from skmtl.model_selection import best_mean_rank
    >>> best_mean_rank(
    ...     {
    ...         "split0_test_score": [0.9, 0.8],
    ...         "split1_test_score": [0.9, 0.8],
    ...         "split2_test_score": [-40.0, 0.1],
    ...         "mean_test_score": [-12.7, 0.57],
    ...     }
    ... )
    0
    """
    names = [key.removeprefix("mean_test_") for key in cv_results if key.startswith("mean_test_")]
    if metric is None:
        metric = names[0] if len(names) == 1 else "average"
    if metric not in names:
        raise ValueError(
            f"best_mean_rank needs the score that ranks: functools.partial(best_mean_rank, metric=...) with one of "
            f"{names}. Found {metric!r}."
        )
    folds = [key for key in cv_results if key.startswith("split") and key.partition("_")[2] == f"test_{metric}"]
    scores = np.array([cv_results[key] for key in folds], dtype=float)
    ranks = rankdata(-np.nan_to_num(scores, nan=-np.inf), axis=1).mean(axis=0)
    if "iter" in cv_results:
        rungs = np.asarray(cv_results["iter"])
        ranks = np.where(rungs == rungs.max(), ranks, np.inf)
    return int(ranks.argmin())
