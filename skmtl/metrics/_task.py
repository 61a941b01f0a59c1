"""The scored rows of one task, checked and read as its metric wants them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from skmtl._labels import floats_of
from skmtl.metrics._comparison import class_list, distinct, families, sorted_union
from skmtl.metrics._means import relative
from skmtl.metrics._named import TaskMetric


@dataclass(frozen=True)
class ScoredTask:
    """One task on its observed rows of positive weight, at least one.

    Attributes
    ----------
    name : str
        How messages call the task.
    y : array of shape (n_rows,)
        Observed labels.
    prediction : array of shape (n_rows,) or (n_rows, n_classes)
        Predicted labels, None where missing; or probabilities.
    classes : sequence or None
        The classes that the model knows, in the order of its probabilities.
    """

    name: str
    y: np.ndarray
    prediction: np.ndarray
    classes: Iterable | None

    def score(self, metric: TaskMetric, weight: np.ndarray | None) -> float:
        """Return the score of weights > 0 of shape (n_rows,); NaN where the metric is undefined."""
        if weight is not None and metric.reads != "as given":
            weight = relative(weight)
        read = self.read_as(metric)
        return np.nan if read is None else metric(*read, weight)

    def read_as(self, metric: TaskMetric) -> tuple[np.ndarray, np.ndarray] | None:
        """Return true and predicted values as the metric reads them; None where nothing can be said of them."""
        known = self._known_classes()
        if metric.reads == "probabilities":
            return self._probabilities(metric, known)
        self._check_complete()
        if not (known and families(self.prediction) & families(known)):  # of mixed classes, rows may show one type each
            self._check_families(self.prediction, "predictions")
        if metric.reads == "labels":
            return self._labels(metric, known)
        if metric.reads == "numbers":
            return (
                floats_of(self.y, f"Task {self.name!r}: y for {metric.name}"),
                floats_of(self.prediction, f"Task {self.name!r}: predictions for {metric.name}"),
            )
        return self.y, self.prediction

    def _known_classes(self) -> list | None:
        if self.classes is None:
            return None
        known = class_list(self.classes)
        if known:
            self._check_families(known, "the classes that were learned")
        if len(self._sorted(known)) < len(known):
            raise ValueError(f"Task {self.name!r}: classes must differ from each other. Found {known!r}.")
        return known

    def _labels(self, metric: TaskMetric, known: list | None) -> tuple[np.ndarray, np.ndarray]:
        """Return true and predicted labels as positions among the classes."""
        true, predicted = self._distinct(self.y), self._distinct(self.prediction)
        classes = self._sorted(known or [], true[0], predicted[0])
        if metric.two_classes and len(classes) > 2:
            raise ValueError(
                f"Task {self.name!r}: {metric.name} needs two classes, found {len(classes)}. Use 'f1_macro'."
            )
        return _positions(_with_negative(classes), true), _positions(_with_negative(classes), predicted)

    def _probabilities(self, metric: TaskMetric, known: list | None) -> tuple[np.ndarray, np.ndarray] | None:
        """Return label positions, and probabilities with a column of zeros for each class the model never saw."""
        proba = self.prediction
        found = self._distinct(self.y)
        if known is None:
            known = self._sorted(found[0])
            if len(known) == 1 and proba.shape[1:] == (2,):
                known = _two_around(known[0])
        if known is not None:
            self._check_shape(metric, len(known))
        if not np.isfinite(proba).all():
            raise ValueError(f"Task {self.name!r}: {metric.name} needs finite probabilities. Found NaN or infinity.")
        if known is None:
            return None
        classes = _with_negative(self._sorted(known, found[0]))
        return _positions(classes, found), _columns(proba, known, classes)

    def _check_shape(self, metric: TaskMetric, n_classes: int) -> None:
        shape = self.prediction.shape
        if shape[1:] != (n_classes,):
            raise ValueError(
                f"Task {self.name!r}: {metric.name} needs probabilities of shape (n_samples, {n_classes}), one column "
                f"per class. Found shape {shape}. Pass the result of predict_proba, and its columns' classes."
            )

    def _check_families(self, others: np.ndarray | list, what: str) -> None:
        ours, theirs = families(self.y), families(others)
        if not ours & theirs:
            raise ValueError(
                f"Task {self.name!r}: labels are {_listed(ours)}, {what} are {_listed(theirs)}. Score on the labels "
                f"that the estimator was fitted on, or convert y."
            )

    def _check_complete(self) -> None:
        if self.prediction.dtype.kind == "O":
            n_missing = sum(label is None for label in self.prediction)
            if n_missing:
                raise ValueError(
                    f"Task {self.name!r}: every row with an observed label must have a prediction. "
                    f"Found {n_missing} missing predictions among {len(self.y)}."
                )

    def _distinct(self, labels: np.ndarray) -> tuple[list, np.ndarray]:
        return self._sortable(distinct, labels)

    def _sorted(self, *labels: list) -> list:
        return self._sortable(sorted_union, *labels)

    def _sortable(self, function, *labels):
        try:
            return function(*labels)
        except TypeError as error:
            raise ValueError(
                f"Task {self.name!r}: labels must be single values that can be sorted: numbers, strings, bools or "
                f"dates. Found {self.y[0]!r} ({error})."
            ) from error


def _listed(names: set[str]) -> str:
    return " and ".join(sorted(names))


def _positions(classes: list, found: tuple[list, np.ndarray]) -> np.ndarray:
    """Return found labels, as (distinct labels, inverse), as positions among the classes."""
    place = {label: p for p, label in enumerate(classes)}
    labels, inverse = found
    return np.array([place[label] for label in labels], dtype=np.intp)[inverse]


def _with_negative(classes: list) -> list:
    """Return the classes, of two if only the positive one is there: 1 and True are positive, as in scikit-learn."""
    return [0, 1] if classes == [1] else classes


def _two_around(label) -> list | None:
    """Return the classes of two columns of which one class was found; None where it could be either."""
    if label == 1:
        return [0, 1]
    return [label, 1] if label in (0, -1) else None


def _columns(proba: np.ndarray, known: list, classes: list) -> np.ndarray:
    """Return the columns of known classes in the order of all classes, zeros where a class is not known."""
    if known == classes:
        return proba
    place = {label: p for p, label in enumerate(classes)}
    wide = np.zeros((len(proba), len(classes)), dtype=proba.dtype)
    wide[:, [place[label] for label in known]] = proba
    return wide
