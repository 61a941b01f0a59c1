"""Laws of every named metric, on drawn tables: scikit-learn says the same, and weights are what they are said to be."""

import warnings
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from skmtl.metrics import METRICS, task_scores

LABELS = {
    "ints": [-1, 2, 3, 7, 10],
    "large ints": [2**53, 2**53 + 1, 2**53 + 2, 2**62, 2**62 + 1],
    "strings": ["1", "a", "aa", "b", "z"],
    "bools": [False, True],
    "floats": [-0.5, 0.0, 0.1, 0.25, 1e300],
    "objects": [0, 1.5, 2, "a", "b"],  # sorted: numbers come first
}
PROBABILITIES = {"roc_auc", "average_precision", "log_loss"}
NUMBERS = {
    "r2",
    "explained_variance",
    "mean_absolute_error",
    "mean_squared_error",
    "root_mean_squared_error",
    "rrmse",
}


@dataclass(frozen=True)
class Case:
    """A table of labels, what was predicted of it, and weights.

    Attributes
    ----------
    y : array of shape (n, T)
        None or NaN where missing.
    predicted : array of shape (n, T) or list of T arrays of shape (n, n_classes)
        Labels or numbers; or probabilities.
    weight : array of shape (n,) or (n, T), or None
        Zeros among them.
    scale : float
        What the package is given in place of `weight` is `scale * weight`.
    classes : list of T lists or None
        Sorted; None where the package is to find them.
    """

    y: np.ndarray
    predicted: np.ndarray | list
    weight: np.ndarray | None
    scale: float
    classes: list | None

    def scores(self, name):
        weight = None if self.weight is None else self.weight * self.scale
        return task_scores(name, self.y, self.predicted, sample_weight=weight, classes=self.classes)

    def take(self, rows, weight=None):
        cut = [p[rows] for p in self.predicted] if isinstance(self.predicted, list) else self.predicted[rows]
        return replace(self, y=self.y[rows], predicted=cut, weight=weight)

    def observed(self):
        return np.array([[v is not None and v == v for v in row] for row in self.y.astype(object)])

    def task(self, t):
        """Return the task's labels, predictions and weights on its observed rows of positive weight, and classes."""
        weight = np.ones(self.y.shape) if self.weight is None else np.broadcast_to(self.weight.T, self.y.T.shape).T
        kept = self.observed()[:, t] & (weight[:, t] > 0)
        predicted = self.predicted[t] if isinstance(self.predicted, list) else self.predicted[:, t]
        return self.y[kept, t].tolist(), predicted[kept].tolist(), weight[kept, t], self.classes and self.classes[t]


@st.composite
def cases(draw, name):
    """Draw a case that the metric can read."""
    base = name.removeprefix("neg_")
    n, n_tasks = draw(st.integers(2, 40)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if base in NUMBERS:
        (y, predicted), classes = _numbers(draw, rng, (2, n, n_tasks)), None
    else:
        y, predicted, classes = _labels(draw, rng, base, (n, n_tasks))
    if draw(st.booleans()):
        missing = rng.random(y.shape) < draw(st.sampled_from([0.1, 0.5]))
        y = np.where(missing, np.nan, y) if y.dtype.kind == "f" else np.where(missing, None, y.astype(object))
    scale = draw(st.sampled_from([1.0, 1e-50, 1e38, 1e307]))
    return Case(y, predicted, _weights(draw, rng, (n, n_tasks)), scale, classes)


def _numbers(draw, rng, shape):
    if draw(st.booleans()):
        return rng.integers(0, 3, shape)  # now and then a column is constant
    return (rng.normal(size=shape) + draw(st.integers(-3, 3))) * 10.0 ** draw(st.integers(-20, 20))


def _labels(draw, rng, base, shape):
    kind = draw(st.sampled_from(sorted(LABELS)))
    most = 2 if base == "f1" else len(LABELS[kind])
    chosen = [sorted(rng.permutation(len(LABELS[kind]))[: draw(st.integers(2, most))]) for _ in range(shape[1])]
    classes = [[LABELS[kind][c] for c in some] for some in chosen]
    y, predicted = (np.stack([_drawn(rng, some, shape[0], kind) for some in classes], axis=1) for _ in range(2))
    if base in PROBABILITIES:
        return y, [_probabilities(rng, shape[0], len(some)) for some in classes], classes
    return y, predicted, classes if kind == "objects" or draw(st.booleans()) else None


def _drawn(rng, labels, n, kind):
    return np.array(labels, dtype=object if kind == "objects" else None)[rng.integers(0, len(labels), n)]


def _probabilities(rng, n, k):
    counts = rng.integers(0, 4, (n, k)) + 1e-3  # ties
    return counts / counts.sum(axis=1, keepdims=True)


def _weights(draw, rng, shape):
    kind = draw(st.sampled_from(["none", "rows", "rows and tasks"]))
    if kind == "none":
        return None
    shape = shape[:1] if kind == "rows" else shape
    return rng.integers(0, 4, shape).astype(float) if draw(st.booleans()) else rng.random(shape).round(1)


# ---- scikit-learn's word ---------------------------------------------------------------------------------------------


def _place(labels, classes):
    return [classes.index(label) for label in labels]


def _sorted_classes(*labels):
    return sorted(set().union(*labels), key=lambda label: (isinstance(label, str), label))


def _of_labels(score):
    """Return the peer of a metric of labels; those that scikit-learn refuses are given as positions."""

    def peer(y, predicted, weight, classes):
        union = _sorted_classes(y, predicted)
        if len({isinstance(label, str) for label in union}) > 1 or any(isinstance(label, float) for label in union):
            y, predicted = _place(y, union), _place(predicted, union)
        return score(y, predicted, sample_weight=weight)

    return peer


def _f1(y, predicted, weight, classes):
    union = _sorted_classes(classes or [], y, predicted)
    positive = union[-1] if len(union) == 2 or union == [1] else None
    if positive is None or positive not in {*y, *predicted}:
        return np.nan
    return sk.f1_score([v == positive for v in y], [v == positive for v in predicted], sample_weight=weight)


def _one_vs_rest(score):
    def peer(y, proba, weight, classes):
        present = [c for c in classes if c in y]
        if score is sk.roc_auc_score and len(present) < 2:
            return np.nan
        scored = present if len(classes) > 2 else [c for c in present if c == classes[-1]]
        columns = np.array(proba)
        values = [score([v == c for v in y], columns[:, classes.index(c)], sample_weight=weight) for c in scored]
        return np.mean(values) if values else np.nan

    return peer


def _log_loss(y, proba, weight, classes):
    return sk.log_loss(_place(y, classes), proba, labels=range(len(classes)), sample_weight=weight)


def _of_numbers(score, constant=None):
    def peer(y, predicted, weight, classes):
        if constant is not None and (len(y) < 2 or len(set(y)) == 1):
            return constant(y, predicted)
        return score(y, predicted, sample_weight=weight)

    return peer


def _rrmse(y, predicted, sample_weight):
    return np.sqrt(1 - sk.r2_score(y, predicted, sample_weight=sample_weight))


def _share_of_constant(y, predicted):
    return np.nan if len(y) < 2 else float(y == predicted)


def _variance_share_of_constant(y, predicted):
    return np.nan if len(y) < 2 else float(len(set(predicted)) == 1)


_LOSSES = {
    "log_loss": _log_loss,
    "mean_absolute_error": _of_numbers(sk.mean_absolute_error),
    "mean_squared_error": _of_numbers(sk.mean_squared_error),
    "root_mean_squared_error": _of_numbers(sk.root_mean_squared_error),
    "rrmse": _of_numbers(_rrmse, lambda y, predicted: np.nan),
}
PEERS = {
    "accuracy": _of_labels(sk.accuracy_score),
    "balanced_accuracy": _of_labels(sk.balanced_accuracy_score),
    "f1": _f1,
    "f1_macro": _of_labels(lambda *a, **kw: sk.f1_score(*a, average="macro", **kw)),
    "roc_auc": _one_vs_rest(sk.roc_auc_score),
    "average_precision": _one_vs_rest(sk.average_precision_score),
    "r2": _of_numbers(sk.r2_score, _share_of_constant),
    "explained_variance": _of_numbers(sk.explained_variance_score, _variance_share_of_constant),
    **_LOSSES,
    **{f"neg_{name}": lambda *a, peer=peer: -peer(*a) for name, peer in _LOSSES.items()},
}


def assert_equals_sklearn(name, case):
    """A named metric is scikit-learn's on the observed rows of positive weight, task by task."""
    scores = case.scores(name)
    assert list(scores) == [str(t) for t in range(case.y.shape[1])]
    for t in range(case.y.shape[1]):
        y, predicted, weight, classes = case.task(t)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of classes that are predicted and never observed
            expected = PEERS[name](y, predicted, weight, classes) if y else np.nan
        assert scores[str(t)] == pytest.approx(expected, rel=1e-9, abs=1e-12, nan_ok=True), (name, t)


def assert_weights_are_weights(name, case):
    """A row of weight 0 is absent, bit for bit, and a row of weight 2 is the row twice."""
    rows = np.arange(len(case.y))
    if case.weight is not None and case.weight.ndim == 1:
        kept = case.weight > 0
        absent = case.take(rows[kept], case.weight[kept])
        np.testing.assert_array_equal(list(case.scores(name).values()), list(absent.scores(name).values()))
    even = np.where(rows % 2, 1.0, 2.0)
    doubled = case.take(rows, even).scores(name)
    repeated = case.take(np.repeat(rows, even.astype(int))).scores(name)
    for t, (key, score) in enumerate(doubled.items()):
        if case.observed()[:, t].sum() > 1:  # of a single row, R² is not defined
            assert score == pytest.approx(repeated[key], rel=1e-12, abs=1e-12, nan_ok=True), (name, t)


LAWS = [assert_equals_sklearn, assert_weights_are_weights]


def _run(name, law, n_examples):
    if name not in PEERS:
        pytest.fail(f"Metric {name!r} has no peer here: give it one in PEERS.")

    @settings(
        max_examples=n_examples,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(cases(name))
    def run(case):
        law(name, case)

    run()


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", sorted(METRICS))
def test_law(name, law):
    _run(name, law, 60 if law is assert_equals_sklearn and not name.startswith("neg_") else 15)


@pytest.mark.slow
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", sorted(METRICS))
def test_law_on_many_tables(name, law):
    _run(name, law, 2000 if law is assert_equals_sklearn and not name.startswith("neg_") else 300)
