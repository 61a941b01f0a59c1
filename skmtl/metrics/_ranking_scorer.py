"""A scikit-learn scorer of how well a task ranks items for each user."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from skmtl._labels import floats_of
from skmtl._table import check_columns, read_targets
from skmtl.metrics._ranking import check_k, mean_ndcg, mean_recall

RANKINGS = {"ndcg": mean_ndcg, "recall": mean_recall}


def make_ranking_scorer(task, *, user, k=10, metric="ndcg", candidates="rows"):
    """Make a scorer of how well a task ranks items for each user.

    Pass it as ``scoring`` to `GridSearchCV` or `cross_validate`.

    Parameters
    ----------
    task : str or int
        Name of the task, or its position: two classes, of which the second is relevant; numbers, which are the gains;
        or a `Chain`, whose last event counts.
    user : str or int
        The column of X that holds the user, by name or position.
    k : int, default=10
        How many items of a user are looked at.
    metric : {"ndcg", "recall"}, default="ndcg"
        See `ndcg_at_k` and `recall_at_k`.
    candidates : {"rows", "items"}, default="rows"
        What is ranked. ``"rows"``: the scored rows of each user, of which some must be negative. ``"items"``: all items
        that the estimator has learned, without those that it has seen with the user (`TaskView.recommend`), so that y
        may hold positive labels alone; items of positive rows that are not among the first k are missed.

    Returns
    -------
    RankingScorer
        A callable ``scorer(estimator, X, y)`` that returns a float, greater is better; NaN where no user has a positive
        row. It can be pickled.

    Raises
    ------
    ValueError
        If `k`, `metric` or `candidates` is unknown.

    Notes
    -----
    Users without a positive row are left out, and so are rows without a label. Divide rows at random, not by user,
    where users are to be known: a new user is ranked as anybody.

    Examples
    --------
    >>> from skmtl.metrics import make_ranking_scorer
    >>> make_ranking_scorer("click", user="user", k=5)
    make_ranking_scorer('click', user='user', k=5, metric='ndcg', candidates='rows')
    """
    if metric not in RANKINGS:
        raise ValueError(f"Unknown metric {metric!r}. Known: {', '.join(map(repr, RANKINGS))}.")
    if candidates not in ("rows", "items"):
        raise ValueError(f"candidates must be 'rows' or 'items'. Found {candidates!r}.")
    return RankingScorer(task, user, check_k(k), metric, candidates)


class RankingScorer:
    """A scorer of how a task ranks items. Make one with `make_ranking_scorer`, which describes its use.

    Parameters
    ----------
    task : str or int
        See `make_ranking_scorer`.
    user : str or int
        See `make_ranking_scorer`.
    k : int
        See `make_ranking_scorer`.
    metric : {"ndcg", "recall"}
        See `make_ranking_scorer`.
    candidates : {"rows", "items"}
        See `make_ranking_scorer`.
    """

    def __init__(self, task, user, k, metric, candidates):
        self.task = task
        self.user = user
        self.k = k
        self.metric = metric
        self.candidates = candidates

    def __repr__(self):
        options = ("user", "k", "metric", "candidates")
        return f"make_ranking_scorer({self.task!r}, {', '.join(f'{o}={getattr(self, o)!r}' for o in options)})"

    def __call__(self, estimator, X, y):
        """Score the task.

        Parameters
        ----------
        estimator : object
            A fitted estimator of this package, or a pipeline or search around one.
        X : array-like of shape (n_samples, n_columns)
            Rows to score.
        y : array-like of shape (n_samples,) or (n_samples, n_columns)
            True labels; missing ones are skipped.

        Returns
        -------
        float
            Mean over users.
        """
        last, features = _last_step(estimator, X)
        view = last.task(self.task)
        relevance = _relevance(last, view, y)
        rows = np.flatnonzero(~np.isnan(relevance))
        users = _column(X, self.user)
        if self.metric == "recall":
            relevance = np.where(np.isnan(relevance), np.nan, relevance > 0)
        if self.candidates == "items":
            listed = self._listed(view, features, users, relevance)
        else:
            score = view.predict_proba(features)[:, -1] if hasattr(view, "predict_proba") else view.predict(features)
            listed = relevance[rows], relevance[rows], score[rows], users[rows]
        gain, relevance, score, users = listed
        group = np.unique(users, return_inverse=True)[1]
        return RANKINGS[self.metric](gain, relevance, np.asarray(score, dtype=float), group, self.k)

    def _listed(self, view, X, users: np.ndarray, relevance: np.ndarray):
        """Return gains, relevances, scores and users of what is recommended, and of relevant items that are not."""
        import pandas  # slow to import

        rows = np.flatnonzero(relevance > 0)
        asked = pandas.unique(users[rows])
        found = view.recommend(asked, self.k)
        user, item = found.columns[:2]
        known = pandas.DataFrame({user: users[rows], item: _column(X, item)[rows], "relevance": relevance[rows]})
        known = known.groupby([user, item], as_index=False, sort=False).max()
        table = found.merge(known, how="outer", on=[user, item]).fillna({"relevance": 0.0})
        gain = np.where(table["score"].isna(), 0.0, table["relevance"])
        return gain, table["relevance"].to_numpy(), table["score"].fillna(-np.inf).to_numpy(), table[user].to_numpy()


def _last_step(estimator: Any, X: Any) -> tuple[Any, Any]:
    """Return the estimator of the tasks, and X as it reads it."""
    while isinstance(estimator, Pipeline) or hasattr(estimator, "best_estimator_"):
        if isinstance(estimator, Pipeline):
            X = estimator[:-1].transform(X) if len(estimator) > 1 else X
        estimator = estimator[-1] if isinstance(estimator, Pipeline) else estimator.best_estimator_
    if not hasattr(estimator, "task"):
        raise TypeError(f"A ranking scorer scores estimators of this package. Found {type(estimator).__name__}.")
    return estimator, X


def _relevance(last: Any, view: Any, y: Any) -> np.ndarray:
    """Return how relevant the row is by its label of the task, NaN where that is missing: (n_samples,)."""
    number = last.task_names_.index(view.task) if view.task in last.task_names_ else int(view.task)
    name = last.task_names_[number]
    table = read_targets(y)
    check_columns(table.names, table.n_columns, last._y_names, "y")
    column = last._columns[name][-1] if hasattr(last, "_columns") else number  # a Chain: its last event
    labels, seen = table.columns[column], table.observed[:, column]
    found = np.full(len(table), np.nan)
    if not hasattr(view, "classes_"):
        found[seen] = floats_of(labels[seen], f"Task {name!r}: labels to rank by")
        return found
    if len(view.classes_) != 2:
        raise ValueError(f"Task {name!r}: a ranking needs two classes, or numbers. Found {len(view.classes_)} classes.")
    found[seen] = labels[seen] == view.classes_[1]
    return found


def _column(X: Any, name: Any) -> np.ndarray:
    """Return a column of X by name or position."""
    if hasattr(X, "columns"):
        if name in list(X.columns):
            return np.asarray(X[name])
        if isinstance(name, str):
            raise ValueError(f"X has no column {name!r}. Its columns are {list(X.columns)}.")
        return np.asarray(X[X.columns[name]])
    table = np.asarray(X)
    if table.dtype.names:
        return table[name]
    if isinstance(name, str):
        raise ValueError(f"X has no names of columns: give the position of {name!r}.")
    return table[:, name]
