"""Did sharing help? Each task with sharing against the same network with nothing shared."""

from __future__ import annotations

import numbers

import numpy as np
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.utils import check_random_state
from sklearn.utils.parallel import Parallel, delayed

from skmtl._base import BaseMultiTask
from skmtl.metrics import TaskScorer, make_task_scorer
from skmtl.model_selection._defined import warn_undefined
from skmtl.model_selection._fit import last_step
from skmtl.model_selection._folds import as_splitter, check_same_length, fit_rows, take_rows, with_groups
from skmtl.model_selection._gain import TransferGain
from skmtl.sharing import IndependentSharing


def transfer_gain(
    estimator,
    X,
    y,
    *,
    cv=None,
    scoring=None,
    n_repeats=None,
    confidence=0.95,
    correction=None,
    params=None,
    n_jobs=None,
):
    """Test which tasks gained from sharing, which lost, and for which the data cannot tell.

    Each task's score is compared with that of ``sharing="independent"``: the same network, all else equal, with
    nothing shared between the tasks. Both are fitted on the same folds with the same seed, so the differences are
    paired.

    Parameters
    ----------
    estimator : estimator
        A multi-task estimator with a parameter ``sharing`` that shares, or a pipeline that ends in one.
    X : array-like or DataFrame of shape (n_samples, n_features)
        Rows to fit and score.
    y : array-like or DataFrame of shape (n_samples,) or (n_samples, n_tasks)
        Targets; missing labels are neither learned nor scored.
    cv : int, splitter or iterable of (train, test), default=None
        An integer k is ``MultiTaskKFold(k)``, None means 5, with the seeds 0, 1, ... for the repeats.
    scoring : str, callable, dict or scorer of make_task_scorer, default=None
        The metric of all tasks, or a dict with each task's. None: ``"accuracy"`` for classifiers, ``"r2"`` for
        regressors, ``"default"``, the skill of each task, for a `MultiTaskEstimator`. Greater is better in all of them.
    n_repeats : int, default=None
        How many times the folds are drawn, for a `cv` of None or an integer. None: twice; once for any other `cv`.
    confidence : float, default=0.95
        Level of the intervals and verdicts, between 0 and 1.
    correction : {"holm"}, default=None
        None judges every task by its own interval, so that at a level of 95 % about 5 % of the unaffected tasks
        are still reported as gained or lost. ``"holm"`` keeps the chance of even one such error below
        5 %: it adjusts p-values and verdicts; intervals stay those of single tasks.
    params : dict, default=None
        Parameters of ``fit`` for both sides; those with one entry per row are split with the rows. ``groups`` also goes
        to the splitter, and to ``fit`` only if that takes them.
    n_jobs : int, default=None
        Fits run at the same time, as in joblib.

    Returns
    -------
    TransferGain
        Printing it shows a table and a plain statement. ``task_names``, ``shared`` and ``alone`` (scores, shape
        (n_tasks, n_folds)), ``gain``, ``ci_low``, ``ci_high``, ``p_value`` (shape (n_tasks,)) and ``verdict``
        ("gained", "lost" or "cannot tell") are attributes; ``to_frame()`` is a pandas table, ``plot()`` a figure.

    Raises
    ------
    ValueError
        If the estimator has no ``sharing`` or shares nothing, or another argument is invalid.
    TypeError
        If `scoring` is none of the above.

    Notes
    -----
    Training sets of different folds overlap, so the folds' scores are not independent and the usual paired t interval
    is too narrow. The variance of the mean over J folds is therefore taken as (1/J + n_test/n_train) times the folds'
    variance [1]_, with J - 1 degrees of freedom, also when folds are repeated [2]_. Where ``random_state`` is
    None (also of pipeline steps), every fold draws one seed and sets it on both sides. Holm's correction is [3]_.

    References
    ----------
    .. [1] C. Nadeau and Y. Bengio, "Inference for the Generalization Error", Machine Learning 52, 2003.
    .. [2] R. R. Bouckaert and E. Frank, "Evaluating the Replicability of Significance Tests for Comparing Learning
       Algorithms", PAKDD 2004.
    .. [3] S. Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6,
       1979.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.datasets import make_related_regression
    >>> from skmtl.model_selection import transfer_gain
    >>> X, y = make_related_regression(n_samples=60, n_tasks=3, random_state=0)
    >>> model = MultiTaskRegressor(
    ...     "hard", hidden_layer_sizes=(8,), max_epochs=5, random_state=0
    ... )
    >>> result = transfer_gain(model, X, y, cv=2, n_repeats=1)
    >>> result.shared.shape
    (3, 2)
    """
    _check_choices(confidence, correction)
    check_same_length(X, y)
    shared, alone = clone(estimator), _without_sharing(estimator)
    scorer = _task_scorer(scoring, estimator)
    fit_params, split_params = with_groups(estimator, params or {})
    splits = _all_splits(cv, n_repeats, X, y, split_params)
    jobs = [(model, train, test) for train, test in splits for model in _equally_seeded(shared, alone)]
    scores = Parallel(n_jobs=n_jobs)(delayed(_fit_and_score)(*job, X, y, scorer, fit_params) for job in jobs)
    names = list(scores[0])
    table = np.array([list(s.values()) for s in scores]).T  # (task, 2 * fold)
    warn_undefined(names, np.isnan(table[:, ::2] + table[:, 1::2]))
    ratio = float(np.mean([len(test) / len(train) for train, test in splits]))
    return TransferGain(names, table[:, ::2], table[:, 1::2], ratio, confidence, correction, _metric_name(scorer))


def _check_choices(confidence, correction) -> None:
    if not (isinstance(confidence, numbers.Real) and 0 < float(confidence) < 1):
        raise ValueError(f"confidence must lie between 0 and 1. Found {confidence!r}.")
    if correction not in (None, "holm"):
        raise ValueError(f"correction must be None or 'holm'. Found {correction!r}.")


def _without_sharing(estimator):
    """Return a clone with nothing shared."""
    prefix, last = last_step(estimator)
    sharing = last.get_params(deep=False).get("sharing")
    if sharing is None:
        raise ValueError(
            "transfer_gain compares values of a parameter 'sharing' of the estimator, or of the last step of a "
            f"pipeline. Found {last!r}. Give a multi-task estimator of this package."
        )
    if sharing == "independent" or isinstance(sharing, IndependentSharing):
        raise ValueError(
            "The estimator's sharing already is independent: there is no sharing to judge. "
            "Set another, such as sharing='hard'."
        )
    return clone(estimator).set_params(**{f"{prefix}sharing": "independent"})


def _task_scorer(scoring, estimator) -> TaskScorer:
    if isinstance(scoring, TaskScorer):
        return scoring
    if scoring is None:
        if is_classifier(estimator) or is_regressor(estimator):
            scoring = "accuracy" if is_classifier(estimator) else "r2"
        elif isinstance(last_step(estimator)[1], BaseMultiTask):
            scoring = "default"
        else:
            raise ValueError("The estimator is neither a classifier nor a regressor: scoring must be given.")
    return make_task_scorer(scoring)


def _all_splits(cv, n_repeats, X, y, params: dict) -> list[tuple[np.ndarray, np.ndarray]]:
    redrawn = cv is None or isinstance(cv, numbers.Integral)
    repeats = (2 if redrawn else 1) if n_repeats is None else n_repeats
    if not isinstance(repeats, numbers.Integral) or int(repeats) < 1:
        raise ValueError(f"n_repeats must be a whole number >= 1. Found {n_repeats!r}.")
    if int(repeats) > 1 and not redrawn:
        raise ValueError(
            "n_repeats redraws the folds of cv=None or of an integer. Found a splitter: repeat within it, as "
            "RepeatedKFold does."
        )
    splits = [split for seed in range(int(repeats)) for split in as_splitter(cv, seed).split(X, y, **params)]
    if len(splits) < 2:
        raise ValueError(f"An interval needs at least two folds. Found {len(splits)}.")
    return splits


def _equally_seeded(*models):
    """Yield clones whose unset random states all hold one new seed."""
    seed = int(check_random_state(None).randint(np.iinfo(np.int32).max))
    for model in models:
        unset = [k for k, v in model.get_params().items() if k.split("__")[-1] == "random_state" and v is None]
        yield clone(model).set_params(**dict.fromkeys(unset, seed))


def _fit_and_score(model, train, test, X, y, scorer: TaskScorer, params: dict) -> dict[str, float]:
    fitted = fit_rows(model, X, y, train, params)
    return scorer.score_tasks(fitted, take_rows(X, test), take_rows(y, test))


def _metric_name(scorer: TaskScorer) -> str:
    if isinstance(scorer.metric, str):
        return scorer.metric
    return getattr(scorer.metric, "__name__", "by task")
