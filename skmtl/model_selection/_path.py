"""The λ path: how each task scores on the way from independent towers to tied ones."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

import numpy as np
import torch

from skmtl._base import BaseMultiTask
from skmtl._parameters import strategy_of
from skmtl._table import read_targets
from skmtl._validation import check_layer_sizes
from skmtl.model_selection._defined import mean_of_defined, warn_undefined
from skmtl.model_selection._fit import last_step
from skmtl.model_selection._folds import as_splitter, check_same_length
from skmtl.model_selection._search import StackedGridSearchCV
from skmtl.model_selection._transfer import _equally_seeded, _metric_name, _task_scorer
from skmtl.sharing import TrunkShape

DEFAULT_LAMBDAS = (0.0, *np.logspace(-5, 1, 13))


def sharing_path(estimator, X, y, *, sharing_lambdas=None, cv=None, scoring=None, n_jobs=None):
    """Score every task along λ, from independent (0) to tied (large).

    All λ of a fold are trained side by side, as one stack, from equal initial weights and batches; each scores as a fit
    alone would, to within rounding.

    Parameters
    ----------
    estimator : estimator
        A multi-task estimator whose strategy has a penalty, such as ``sharing="soft"``, or a pipeline that ends in
        one. Its own ``sharing_lambda`` is not used.
    X : array-like or DataFrame of shape (n_samples, n_features)
        Rows to fit and score.
    y : array-like or DataFrame of shape (n_samples,) or (n_samples, n_tasks)
        Targets; missing labels are neither learned nor scored.
    sharing_lambdas : array-like of shape (n_lambdas,), default=None
        Values of λ >= 0. None: 0, and two a decade from 1e-5 to 10.
    cv : int, splitter or iterable of (train, test), default=None
        An integer k is ``MultiTaskKFold(k, random_state=0)``, None means 5.
    scoring : str, callable, dict or scorer of make_task_scorer, default=None
        The metric of all tasks, or a dict with each task's. None: ``"accuracy"`` for classifiers, ``"r2"`` for
        regressors, ``"default"``, the skill of each task, for a `MultiTaskEstimator`. Greater is better in all of them.
    n_jobs : int, default=None
        Stacks trained at the same time, in threads, or on what a `joblib.parallel_config` names.

    Returns
    -------
    SharingPath
        Printing it shows a table, ``plot()`` is a figure. ``scores`` has shape (n_lambdas, n_tasks, n_folds), ``mean``
        (n_lambdas,); ``best_lambda`` is one per task and ``best_lambda_mean`` that of the mean over tasks.

    Raises
    ------
    ValueError
        If the strategy has no penalty, or another argument is invalid.
    TypeError
        If the estimator is not a skmtl estimator, or `scoring` none of the above.

    See Also
    --------
    transfer_gain : Test which tasks gained from sharing.
    StackedGridSearchCV : Choose λ together with other parameters.

    Notes
    -----
    The score at the best λ is the largest of several, and so overestimates the score on new rows; choose λ
    inside a `StackedGridSearchCV` and score the result on other rows. Where ``random_state`` is None, one seed is
    drawn and used for all λ.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.datasets import make_related_regression
    >>> from skmtl.model_selection import sharing_path
    >>> X, y = make_related_regression(n_samples=60, n_tasks=3, random_state=0)
    >>> model = MultiTaskRegressor(
    ...     "soft", hidden_layer_sizes=(8,), max_epochs=5, random_state=0
    ... )
    >>> path = sharing_path(model, X, y, sharing_lambdas=[0, 0.01, 1], cv=2)
    >>> path.scores.shape
    (3, 3, 2)
    """
    check_same_length(X, y)
    name = _lambda_name(estimator, X, y)
    lambdas = _check_lambdas(DEFAULT_LAMBDAS if sharing_lambdas is None else sharing_lambdas)
    scorer = _task_scorer(scoring, estimator)
    (seeded,) = _equally_seeded(estimator)
    grid = {name: lambdas.tolist()}
    options = {"scoring": scorer.score_tasks, "cv": as_splitter(cv), "refit": False, "n_jobs": n_jobs}
    search = StackedGridSearchCV(seeded, grid, error_score="raise", **options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="One or more of the test scores are non-finite")  # reported below
        results = search.fit(X, y).cv_results_
    scores, names = _scores(results, search.n_splits_)
    warn_undefined(names, np.isnan(scores).any(0))
    return SharingPath(lambdas, names, scores, _metric_name(scorer))


def _scores(results: dict, n_splits: int) -> tuple[np.ndarray, list[str]]:
    """Return scores (lambda, task, fold) and the tasks' names from the results of a search."""
    start = "split0_test_"
    names = [key.removeprefix(start) for key in results if key.startswith(start)]
    scores = [[results[f"split{k}_test_{name}"] for k in range(n_splits)] for name in names]
    return np.moveaxis(np.array(scores), -1, 0), names


def _lambda_name(estimator, X, y) -> str:
    """Return the name of λ among the parameters; refuse an estimator that has no penalty."""
    prefix, last = last_step(estimator)
    if not isinstance(last, BaseMultiTask):
        raise TypeError(f"sharing_path needs an estimator of skmtl, or a pipeline that ends in one. Found {last!r}.")
    last._check_parameters()
    n_features = np.shape(X)[1] if np.ndim(X) == 2 else 1  # a pipeline may make others: what is tied is the same
    if not _ties_anything(last, read_targets(y).n_columns, n_features):
        raise ValueError(
            f"sharing={last.sharing!r} has no penalty, so λ changes nothing. Set a strategy that has one, such as "
            f"sharing='soft'."
        )
    return f"{prefix}sharing_lambda"


def _ties_anything(estimator: BaseMultiTask, n_tasks: int, n_features: int) -> bool:
    """Return whether the penalty covers any parameter of what the strategy builds."""
    sizes = check_layer_sizes(estimator.hidden_layer_sizes, "hidden_layer_sizes")
    shape = TrunkShape(n_tasks, n_features, sizes, estimator.activation, float(estimator.dropout))
    with torch.random.fork_rng(devices=[]):
        module = strategy_of(estimator).build(shape)
    return bool(module.tied()) or module.ties_heads


def _check_lambdas(values) -> np.ndarray:
    """Return the sorted values of λ."""
    lambdas = np.unique(np.asarray(values, dtype=np.float64))
    if np.ndim(values) != 1 or len(lambdas) == 0 or not (np.isfinite(lambdas).all() and lambdas[0] >= 0):
        raise ValueError(f"sharing_lambdas must be a list of finite numbers >= 0. Found {values!r}.")
    return lambdas


@dataclass(frozen=True, eq=False)
class SharingPath:
    """The result of `sharing_path`: each task's scores along λ.

    Attributes
    ----------
    sharing_lambdas : array of shape (n_lambdas,)
        Values of λ, ascending.
    task_names : list of n_tasks str
        Names of the tasks.
    scores : array of shape (n_lambdas, n_tasks, n_folds)
        Scores; NaN where a task is undefined in a fold.
    metric : str
        What the scores are, for headings.
    task_mean : array of shape (n_lambdas, n_tasks)
        Mean over the folds where the task is defined.
    mean : array of shape (n_lambdas,)
        Mean of `task_mean` over the tasks that are defined.
    best_lambda : array of shape (n_tasks,)
        The λ with the best score of each task; the smallest on ties, NaN for a task that is defined nowhere.
    best_lambda_mean : float
        The λ with the best `mean`; the smallest on ties.
    """

    sharing_lambdas: np.ndarray
    task_names: list[str]
    scores: np.ndarray
    metric: str = "score"
    task_mean: np.ndarray = field(init=False)
    mean: np.ndarray = field(init=False)
    best_lambda: np.ndarray = field(init=False)
    best_lambda_mean: float = field(init=False)

    def __post_init__(self):
        task_mean = mean_of_defined(self.scores)
        mean = mean_of_defined(task_mean)
        computed = {
            "task_mean": task_mean,
            "mean": mean,
            "best_lambda": np.array([_best(self.sharing_lambdas, column) for column in task_mean.T]),
            "best_lambda_mean": _best(self.sharing_lambdas, mean),
        }
        for name, value in computed.items():
            object.__setattr__(self, name, value)

    def to_frame(self):
        """Return the mean scores as a table.

        Returns
        -------
        pandas.DataFrame
            A row per λ, a column per task and one named "mean".
        """
        import pandas as pd  # type: ignore[import-untyped]

        table = pd.DataFrame(
            self.task_mean, index=pd.Index(self.sharing_lambdas, name="sharing_lambda"), columns=self.task_names
        )
        return table.assign(mean=self.mean)

    def summary(self):
        """Return each task's scores at both ends and at its best, as text.

        Returns
        -------
        str
            One line per task and one for the mean.
        """
        width = max(len("task"), *(len(name) for name in self.task_names))
        ends = [f"λ = {value:g}" for value in self.sharing_lambdas[[0, -1]]]
        lines = [f"{'task':<{width}}  {ends[0]:>10}  {ends[1]:>10}  {'best':>10}  {'at λ':>8}"]
        rows = [*zip(self.task_names, self.task_mean.T, self.best_lambda, strict=True)]
        for name, path, best in [*rows, ("mean", self.mean, self.best_lambda_mean)]:
            top = path[self.sharing_lambdas == best].sum() if best == best else np.nan
            lines.append(f"{name:<{width}}  {path[0]:10.4f}  {path[-1]:10.4f}  {top:10.4f}  {best:8.2g}")
        return "\n".join([f"Scores: {self.metric}; greater is better.", *lines])

    def __str__(self):
        return self.summary()

    def plot(self, ax=None):
        """Draw a thin curve per task and a thick one for the mean, with the best λ of each marked.

        λ = 0 is drawn at the left end of the logarithmic axis.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        matplotlib.axes.Axes
            The axes drawn on.
        """
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(figsize=(6.4, 4.0), layout="constrained")
        few = len(self.task_names) <= 10
        for name, path, best in zip(self.task_names, self.task_mean.T, self.best_lambda, strict=True):
            style = {"label": name} if few else {"color": "0.6"}
            self._curve(ax, path, best, linewidth=1.0, markersize=5, alpha=0.8 if few else 0.5, **style)
        style = {"color": "black", "linewidth": 3.0, "markersize": 10, "label": "mean over tasks"}
        self._curve(ax, self.mean, self.best_lambda_mean, zorder=3, **style)
        self._scale(ax)
        ax.set_xlabel("λ (●: best)")
        ax.set_ylabel(self.metric)
        ax.legend(fontsize="small", ncols=1 if len(self.task_names) < 6 else 2)
        return ax

    def _curve(self, ax, path: np.ndarray, best: float, **style) -> None:
        at = np.flatnonzero(self.sharing_lambdas == best).tolist()
        ax.plot(self.sharing_lambdas, path, marker="o", markevery=at, **style)

    def _scale(self, ax) -> None:
        """Show λ on a logarithmic axis, 0 at its left end."""
        positive = self.sharing_lambdas[self.sharing_lambdas > 0]
        if len(positive) == 0:
            return
        ax.set_xscale("symlog", linthresh=positive[0], linscale=0.5)
        first = [0.0] if self.sharing_lambdas[0] == 0 else []
        lowest, highest = np.ceil(np.log10(positive[[0, -1]]) - 1e-9)
        ax.set_xticks([*first, *10.0 ** np.arange(lowest, highest + 1)])
        ax.minorticks_off()


def _best(lambdas: np.ndarray, scores: np.ndarray) -> float:
    """Return λ of the largest score; NaN if none is defined."""
    return float("nan") if np.isnan(scores).all() else float(lambdas[np.nanargmax(scores)])
