"""The scored rows of one task, checked and converted to what its metric reads."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from skmtl._labels import floats_of
from skmtl.metrics._comparison import class_list, distinct, families, sorted_union
from skmtl.metrics._means import relative
from skmtl.metrics._named import TaskMetric


@dataclass(frozen=True)
class ScoredTask:
    """One task on the rows that are scored: observed and of positive weight, at least one.

    Attributes
    ----------
    name : str
        Name of the task.
    y : array of shape (n_rows,)
        Observed labels.
    prediction : array of shape (n_rows,) or (n_rows, n_classes)
        Predicted labels, None where missing; or probabilities.
    classes : sequence or None
        Classes that the model has learned, in the order of the columns of its probabilities; None if not known.
    """

    name: str
    y: np.ndarray
    prediction: np.ndarray
    classes: Iterable[Any] | None

    def score(self, metric: TaskMetric, weight: np.ndarray | None) -> float:
        """Return the score with weights > 0 of shape (n_rows,), or without; NaN if the metric is undefined."""
        if weight is not None and metric.reads != "as given":
            weight = relative(weight)
        read = self.read_as(metric)
        return np.nan if read is None else metric(*read, weight)

    def read_as(self, metric: TaskMetric) -> tuple[np.ndarray, np.ndarray] | None:
        """Return true and predicted values as the metric reads them; None if the classes of columns are unclear."""
        known = self._known_classes()
        if metric.reads == "probabilities":
            return self._probabilities(metric, known)
        self._check_complete()
        # With mixed classes, y may show one family and the predictions another: compare both with the classes then.
        if not (known and families(self.prediction) & families(known)):
            self._check_families(self.prediction, "predictions")
        if metric.reads == "positions":
            return self._true_and_predicted_positions(metric, known)
        if metric.reads == "numbers":
            return (
                floats_of(self.y, f"Task {self.name!r}: y for {metric.name}"),
                floats_of(self.prediction, f"Task {self.name!r}: predictions for {metric.name}"),
            )
        return self.y, self.prediction

    def _known_classes(self) -> list[Any] | None:
        """Return the learned classes as Python objects; ValueError if they repeat or have another type than y."""
        if self.classes is None:
            return None
        known = class_list(self.classes)
        if known:
            self._check_families(known, "the classes that were learned")
        if len(self._sorted(known)) < len(known):
            raise ValueError(f"Task {self.name!r}: classes must differ from each other. Found {known!r}.")
        return known

    def _true_and_predicted_positions(
        self, metric: TaskMetric, known: list[Any] | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return true and predicted labels as positions among all classes that are known, observed or predicted."""
        true, predicted = self._distinct(self.y), self._distinct(self.prediction)
        classes = self._sorted(known or [], true[0], predicted[0])
        if metric.two_classes and len(classes) > 2:
            raise ValueError(
                f"Task {self.name!r}: {metric.name} needs two classes, found {len(classes)}. Use 'f1_macro'."
            )
        return _positions(_with_negative(classes), true), _positions(_with_negative(classes), predicted)

    def _probabilities(self, metric: TaskMetric, known: list[Any] | None) -> tuple[np.ndarray, np.ndarray] | None:
        """Return label positions, and probabilities with a column of zeros for each class that was not learned."""
        proba = self.prediction
        found = self._distinct(self.y)
        if known is None:  # then the columns are the classes found in y, as in scikit-learn
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
                f"per class. Found shape {shape}. Pass the result of predict_proba, and the classes of its columns."
            )

    def _check_families(self, others: np.ndarray | list[Any], what: str) -> None:
        ours, theirs = families(self.y), families(others)
        if not ours & theirs:
            raise ValueError(
                f"Task {self.name!r}: labels are {_joined(ours)}, {what} are {_joined(theirs)}. Score on the labels "
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

    def _distinct(self, labels: np.ndarray) -> tuple[list[Any], np.ndarray]:
        return self._sortable(distinct, labels)

    def _sorted(self, *labels: list[Any]) -> list[Any]:
        return self._sortable(sorted_union, *labels)

    def _sortable(self, function: Callable[..., Any], *labels: Any) -> Any:
        """Call a function that hashes and sorts labels; ValueError if that is not possible."""
        try:
            return function(*labels)
        except TypeError as error:
            raise ValueError(
                f"Task {self.name!r}: labels must be single values that can be sorted: numbers, strings, bools or "
                f"dates. Found {self.y[0]!r} ({error})."
            ) from error


def _joined(names: set[str]) -> str:
    return " and ".join(sorted(names))


def _positions(classes: list[Any], found: tuple[list[Any], np.ndarray]) -> np.ndarray:
    """Return the position of each row's label among the classes; `found` is the result of `distinct`."""
    position = {label: p for p, label in enumerate(classes)}
    labels, inverse = found
    return np.array([position[label] for label in labels], dtype=np.intp)[inverse]


def _with_negative(classes: list[Any]) -> list[Any]:
    """Return the classes, with a negative one added to a single 1 or True: that is positive, as in scikit-learn."""
    return [0, 1] if classes == [1] else classes


def _two_around(label: Any) -> list[Any] | None:
    """Return the two classes of which only one was found; None if it could be the positive or the negative one."""
    if label == 1:
        return [0, 1]
    return [label, 1] if label in (0, -1) else None


def _columns(proba: np.ndarray, known: list[Any], classes: list[Any]) -> np.ndarray:
    """Return the columns of the known classes in the order of all classes, with zeros for the unknown ones."""
    if known == classes:
        return proba
    position = {label: p for p, label in enumerate(classes)}
    wide = np.zeros((len(proba), len(classes)), dtype=proba.dtype)
    wide[:, [position[label] for label in known]] = proba
    return wide
