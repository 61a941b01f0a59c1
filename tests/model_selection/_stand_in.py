"""Small deterministic estimators with a parameter `sharing`: what the tools do with them can be worked out by hand."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.tree import DecisionTreeClassifier
from sklearn.utils import check_random_state

from skmtl._table import read_targets


class MeanSlopes(RegressorMixin, BaseEstimator):
    """A line through the origin per task on its observed rows; "hard" gives every task the mean slope."""

    def __init__(self, sharing="hard", noise=0.0, random_state=None):
        self.sharing, self.noise, self.random_state = sharing, noise, random_state

    def fit(self, X, y, sample_weight=None):
        table = read_targets(y)
        x, weight = np.asarray(X)[:, 0], np.ones(len(table)) if sample_weight is None else np.asarray(sample_weight)
        slopes = []
        for column, seen in zip(table.columns, table.observed.T, strict=True):
            w = weight[seen]
            slopes.append((w * x[seen] * column[seen]).sum() / (w * x[seen] ** 2).sum())
        self.slopes_ = np.array(slopes) if self.sharing != "hard" else np.full(len(slopes), np.mean(slopes))
        self.slopes_ += self.noise * check_random_state(self.random_state).normal()
        self.task_names_ = table.task_names()
        self.ndim_ = table.ndim
        return self

    def predict(self, X):
        predicted = np.asarray(X)[:, :1] * self.slopes_
        return predicted if self.ndim_ == 2 else predicted[:, 0]


class Trees(ClassifierMixin, BaseEstimator):
    """A decision tree per task on its observed rows."""

    def __init__(self, sharing="hard"):
        self.sharing = sharing

    def fit(self, X, y):
        table = read_targets(y)
        self.trees_ = [
            DecisionTreeClassifier(random_state=0).fit(np.asarray(X)[seen], column[seen])
            for column, seen in zip(table.columns, table.observed.T, strict=True)
        ]
        self.ndim_, self.dtype_, self.task_names_ = table.ndim, table.dtype, table.task_names()
        self.n_labels_ = table.observed.sum(axis=0)
        classes = [tree.classes_ for tree in self.trees_]
        self.classes_ = classes if self.ndim_ == 2 else classes[0]
        return self

    def predict(self, X):
        columns = [tree.predict(np.asarray(X)).astype(self.dtype_) for tree in self.trees_]
        return np.stack(columns, axis=1) if self.ndim_ == 2 else columns[0]

    def predict_proba(self, X):
        proba = [tree.predict_proba(np.asarray(X)) for tree in self.trees_]
        return proba if self.ndim_ == 2 else proba[0]
