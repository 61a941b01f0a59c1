"""Bad input to tasks: every message names the task, before any training."""

import numpy as np
import pandas as pd
import pytest

from skmtl import MultiTaskEstimator
from skmtl.tasks import (
    Censored,
    Chain,
    Classification,
    Count,
    Gaussian,
    Hierarchy,
    Multilabel,
    Ordinal,
    Quantile,
    Regression,
    Survival,
)

N = 12
X = np.random.default_rng(0).normal(size=(N, 2))


@pytest.fixture(autouse=True)
def _no_training(monkeypatch):
    """Fail the test if anything is trained."""

    def refuse(*args):
        raise AssertionError("training began")

    monkeypatch.setattr("skmtl._base.train", refuse)


def frame(**columns):
    return pd.DataFrame({name: (list(values) * N)[:N] for name, values in columns.items()})


BAD = {
    "negative counts": (Count(columns="n"), frame(n=[1, -2.0, 3]), "counts must be >= 0. Found -2"),
    "exposures": (Count(columns="n", exposure="e"), frame(n=[1], e=[1.0, 0.0]), "exposures must be > 0. Found 0"),
    "event codes": (Survival("d", "e"), frame(d=[1.0], e=[0, 0.5]), "column 'e' must hold 0 where no event.*Found 0.5"),
    "negative events": (Survival("d", "e"), frame(d=[1.0], e=[0, -1]), "column 'e' must hold 0 .* Found -1"),
    "words as events": (Survival("d", "e"), frame(d=[1.0], e=["dead", "alive"]), "must hold numbers. Found 'dead'"),
    "no event": (Survival("d", "e"), frame(d=[1.0], e=[0]), "column 'e' shows no event"),
    "times": (Survival("d", "e"), frame(d=[1.0, 0.0], e=[1]), "times must be > 0. Found 0 in column 'd'"),
    "cox of several": (Survival("d", "e", model="cox"), frame(d=[1.0, 2], e=[1, 2]), "model='cox' knows one kind"),
    "a model": (Survival("d", "e", model="weibull"), frame(d=[1.0], e=[1]), "model must be 'discrete' or 'cox'"),
    "ties": (Survival("d", "e", ties="exact"), frame(d=[1.0], e=[1]), "ties must be 'breslow' or 'efron'"),
    "intervals": (Survival("d", "e", n_intervals=1), frame(d=[1.0], e=[1]), "n_intervals must be an integer >= 2"),
    "a bound": (Censored("b", columns="v"), frame(v=[1.0], b=["=", "?"]), r"column 'b' must hold '>'.*'\?' in row 1"),
    "crossed ends": (Censored(upper="u", columns="v"), frame(v=[1.0, 3], u=[2.0]), "lower end.*Found 3 and 2 in row 1"),
    "no bound": (Censored(columns="v"), frame(v=[1.0]), "Censored needs one of bound= and upper="),
    "two bounds": (Censored("b", upper="u"), frame(v=[1.0]), "Censored needs one of bound= and upper="),
    "two parents": (
        Hierarchy("a", "b"), frame(a=["x", "y"], b=["p", "p"]), "b 'p' must be below one a. Found it below 'x' and 'y'"
    ),
    "no parent": (
        Hierarchy("a", "b"), frame(a=["x", None], b=["p", "q"]), "b 'q' is in no row that has a a, too"
    ),
    "one level": (Hierarchy("a"), frame(a=["x"]), "Hierarchy needs at least two columns"),
    "conversion alone": (Chain("a", "b"), frame(a=[1, 0], b=[0, 1]), "'b' can only follow 'a'. Found it alone in 6"),
    "flags": (Multilabel(["a", "b"]), frame(a=[0, 1], b=[0, 2]), "Column 'b' must hold 0 and 1, .*Found 2"),
    "text as numbers": (Regression(columns="v"), frame(v=["x", "y"]), "must hold numbers. Found 'x'"),
    "text as counts": (Count(columns="v"), frame(v=["x"]), "must hold numbers. Found 'x'"),
    "numbers as classes": (Classification(columns="v"), frame(v=[0.5, 1.5]), "Unknown label type"),
    "quantiles": (Quantile([0.1, 1.0], columns="v"), frame(v=[1.0]), r"quantiles must be in \(0, 1\). Found 1.0"),
    "descending": (Quantile([0.9, 0.1], columns="v"), frame(v=[1.0]), "quantiles must be ascending"),
    "no quantile": (Quantile([], columns="v"), frame(v=[1.0]), "quantiles must be ascending, at least one"),
    "a quantile": (Regression("quantile", quantile=0, columns="v"), frame(v=[1.0]), r"quantile must be in \(0, 1\)"),
    "a loss": (Regression("hinge", columns="v"), frame(v=[1.0]), "loss must be one of 'squared_error'"),
    "smoothing": (Classification(label_smoothing=1, columns="v"), frame(v=["a", "b"]), "label_smoothing must be in"),
    "focal": (Classification(focal_gamma=-1, columns="v"), frame(v=["a", "b"]), "focal_gamma must be >= 0"),
    "class weights": (
        Classification(class_weight={"c": 1}, columns="v"), frame(v=["a", "b"]), "class_weight names unknown classes"
    ),
    "categories": (Ordinal(["a", "b"], columns="v"), frame(v=["a", "c"]), "unknown labels 'c'"),
    "repeated categories": (Ordinal(["a", "a"], columns="v"), frame(v=["a"]), "categories must differ"),
    "one grade": (Ordinal(columns="v"), frame(v=["a"]), "at least two classes. Found"),
    "no label": (Gaussian(columns="v"), frame(v=[np.nan]), "every label is missing"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_labels_and_options_that_a_task_refuses(case):
    task, y, message = BAD[case]
    with pytest.raises((ValueError, TypeError), match=rf"(?s)(Task 't'.*{message}|Task.*{message})"):
        MultiTaskEstimator({"t": task, "other": "regression"}).fit(X, y.assign(other=1.0))


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ({"a": "regression"}, "Column 'b' of y is read by no task"),
        ({"a": "regression", "b": "regression", "c": "regression"}, "Task 'c' reads the column 'c' of y. Found only"),
        (
            {"a": "regression", "b": Gaussian(columns="a")},
            "Task 'b' reads the column 'a' of y, which is read by 'a' too",
        ),
        ({"a": Multilabel(["b", "b"])}, "Task 'a' reads the column 'b' of y, which is read twice"),
        ({"a__b": "regression"}, "Names of tasks must be strings without '__'. Found 'a__b'"),
        ({1: "regression"}, "Names of tasks must be strings"),
        ({"a": "segmentation"}, "Task 'a' must be an object of skmtl.tasks or one of 'censored'"),
        ({"a": Regression}, r"Task 'a' must be an object, not a class: write Regression\(...\)"),
        ({"a": "survival"}, r"Task 'a' needs more than 'survival': write Survival\(...\)"),
        ({}, "tasks must name at least one task"),
    ],
)
def test_tasks_that_do_not_fit_the_table(tasks, message):
    with pytest.raises(ValueError, match=message):
        MultiTaskEstimator(tasks).fit(X, frame(a=[1.0, 2.0], b=[0.5, 0.7]))


def test_integers_need_a_task():
    message = r"(?s)Task 'b' holds integers.*tasks=\{'a': 'regression', 'b': 'classification', 'c': 'classification'\}"
    with pytest.raises(ValueError, match=message):
        MultiTaskEstimator().fit(X, frame(a=[1.0, 0.5], b=[0, 1], c=["u", "v"]))


def test_weights_and_names():
    y = frame(a=[1.0, 0.5], b=["u", "v"])
    with pytest.raises(ValueError, match="task_weights names unknown tasks"):
        MultiTaskEstimator(task_weights={"c": 1.0}).fit(X, y)
    weight = np.ones((N, 2))
    weight[:, 1] = 0.0
    with pytest.raises(ValueError, match="Task 'b': every observed label has weight zero"):
        MultiTaskEstimator().fit(X, y, weight)
    with pytest.raises(ValueError, match="Invalid parameter 'tasks__c__loss'"):
        MultiTaskEstimator({"a": "regression"}).set_params(tasks__c__loss="huber")
