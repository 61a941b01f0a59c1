"""The contract of a task: columns of y become parts that are learned, and raw outputs become predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import Tensor

from skmtl._table import TargetTable
from skmtl.losses import Loss
from skmtl.tasks._layout import ROW, Decoding


class Part(NamedTuple):
    """Columns of targets and the loss by which they are learned.

    Attributes
    ----------
    loss : Loss
        Of ``loss.n_parts`` columns.
    targets : array of shape (n_samples, loss.n_parts)
        As the loss reads them; NaN where missing.
    weight : array of shape (n_samples,) or (n_samples, loss.n_parts), or None
        What each row or label counts, beside its sample weight; None for 1.
    at_place : Loss or None
        The loss at one place, for tasks that read places of a row; see `part_at_places`.
    """

    loss: Loss
    targets: np.ndarray
    weight: np.ndarray | None = None
    at_place: Loss | None = None


def part_at_places(loss: Loss, targets: np.ndarray, weight: np.ndarray | None = None) -> Part:
    """Return a part that is learned at every place of a row.

    Parameters
    ----------
    loss : Loss
        At one place, of k parts.
    targets : array of shape (n_samples, n_places, k)
        NaN where missing.
    weight : array of the shape of targets or None
        What each label counts; None for 1.
    """
    joined = type(loss).join([loss] * targets.shape[1])
    flat = None if weight is None else weight.reshape(len(weight), -1)
    return Part(joined, targets.reshape(len(targets), -1), flat, loss)


class Task(BaseEstimator, ABC):  # type: ignore[misc]
    """What a task is: which columns of y it reads, what is learned of them, and what is predicted.

    Subclass it for a task of your own: `parts`, `decode` and `skill`, and `learn` where the task has to know all
    labels, such as their mean. ``__init__`` stores parameters, as in any scikit-learn estimator. `MultiTaskEstimator`
    learns with a clone, which is in its ``tasks_`` afterwards.

    Attributes
    ----------
    name : str
        Of a task of the package: what stands for it with its defaults.
    estimator_type : {"classifier", "regressor"} or None, default=None
        What a `TaskView` of the task is to scikit-learn.
    columns : str, list of str or None, default=None
        Columns of y that it reads; None for the one with the task's name.
    features : list, slice, callable or None, default=None
        Columns of X that it reads; None for all.
    site : {"row", "tokens", "pixels", "cells"}, default="row"
        Where its labels are: one for a row, or one for each place that an encoder gives features of. A task with a
        `decoding` reads these places to write a sequence.
    negatives : int, default=0
        Items that a user has not been seen with, drawn for each row of a positive label: one whose first target is 1.
        In the rows drawn all targets of the task are 0.
    """

    name: str
    site: str = ROW
    estimator_type: str | None = None
    columns: Any = None
    features: Any = None
    negatives: int = 0

    def claims(self, key: str) -> list[str]:
        """Return the columns of y that the task of this name reads."""
        if self.columns is None:
            return [key]
        return [str(c) for c in ([self.columns] if isinstance(self.columns, (str, int)) else self.columns)]

    def find_places(self, grid: tuple[int, ...], extent: tuple[int, ...]) -> None:
        """Learn what the encoder gives, before `learn`; only where `site` is not the row.

        Parameters
        ----------
        grid : tuple of int
            Numbers of places: (length,) of tokens, (height, width) of pixels and cells.
        extent : tuple of int
            The same of what the encoder reads: the length of a text, height and width of an image.
        """

    def decoding(self) -> Decoding | None:
        """Return what a decoder writes for the task, once it has learned; None where it reads features themselves."""
        return None

    def written(self, y: TargetTable) -> np.ndarray:
        """Return what a decoder reads of the targets while it learns: ids (n_samples, length), 0 where missing."""
        raise NotImplementedError

    def output_names(self, key: str) -> list[str]:
        """Return the names of the columns that `decode` returns: by default the one of the task."""
        return [key]

    def is_continuous(self) -> list[bool] | None:
        """Return which of its columns hold numbers, to be binned where rows are stratified; None to go by values."""
        return None

    def learn(self, y: TargetTable, weight: np.ndarray | None) -> None:
        """Learn what `parts` and `decode` need of all labels, such as classes and scales.

        Parameters
        ----------
        y : TargetTable of n_samples rows
            The columns of the task: ``y.columns``, arrays of labels; ``y.numbers``, the same as floats of shape
            (n_samples, n_columns); ``y.observed``, bools of that shape.
        weight : array of shape (n_samples,) or None
            Sample weights of rows; None for 1.
        """

    @abstractmethod
    def parts(self, y: TargetTable) -> list[Part]:
        """Return what is learned; raise ValueError if a label is not what it must be.

        It must not depend on other rows than those that `learn` has seen, except in the targets.
        """

    @abstractmethod
    def decode(self, raw: Sequence[Tensor]) -> np.ndarray:
        """Return predictions: (n_samples,), or (n_samples, n_outputs) for several `output_names`.

        Parameters
        ----------
        raw : sequence of Tensors of shape (n_samples, width, n_parts)
            Raw outputs for the loss of each part, as `Loss.loss` reads them.
        """

    def predicted_tensor(self, raw: Sequence[Tensor]) -> Tensor:
        """Return predictions, of classes their probabilities, as a differentiable tensor; optional.

        Parameters
        ----------
        raw : sequence of Tensors of shape (batch, width, n_parts)
            As for `decode`.
        """
        raise ValueError(f"{type(self).__name__} has no torch module: it does not define predicted_tensor.")

    @abstractmethod
    def skill(self, y: TargetTable, raw: Sequence[Tensor], weight: np.ndarray | None) -> float:
        """Return how good predictions are: 1 is perfect, 0 as good as the best constant, NaN undefined.

        Parameters
        ----------
        y : TargetTable of n_samples rows
            Labels, all of them observed as far as `observed_rows` goes.
        raw : sequence of Tensors of shape (n_samples, width, n_parts)
            As for `decode`.
        weight : array of shape (n_samples,) or None
            Positive weights of rows; None for 1.
        """

    def observed_rows(self, y: TargetTable) -> np.ndarray:
        """Return which rows have a label of the task, (n_samples,): by default those with a label in every column."""
        return np.asarray(y.observed.all(axis=1))

    def weight_of_negatives(self) -> float:
        """Return what a drawn negative weighs against its positive, once the task has learned."""
        return 1.0

    def known_range(self, y: TargetTable) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends between which the labels of a regressor are known to be, (n_samples,) each: equal if exact.

        In the units of `decode`; infinite where there is no end, arbitrary where there is no label.
        """
        numbers = y.select([0]).numbers[:, 0]
        return numbers, numbers

    def finish(self, y: TargetTable, raw: Sequence[Tensor], weight: np.ndarray | None) -> None:
        """Learn what needs the trained network, given its raw outputs for the training rows; see `needs_finish`."""

    needs_finish = False


def with_missing(values: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Return values as floats, NaN where not observed."""
    return np.where(observed, values, np.nan)


def any_observed(y: TargetTable) -> np.ndarray:
    """Return which rows have a label in any column: (n_samples,)."""
    return np.asarray(y.observed.any(axis=1))


def array_of(raw: Tensor) -> np.ndarray:
    """Return a tensor of raw outputs as an array of float64."""
    return raw.detach().cpu().double().numpy()


def decoded(task: Task, raw: Sequence[Tensor]) -> np.ndarray:
    """Return the predictions of a task, missing where its inputs are."""
    lacks = raw[0][:, 0, 0].isnan()
    if not lacks.any():
        return task.decode(raw)
    values = task.decode([torch.where(lacks[:, None, None], 0.0, part) for part in raw])
    values = values.astype(float if values.dtype.kind in "fiu" else object)
    values[lacks.numpy()] = np.nan if values.dtype.kind == "f" else None
    return values


def refuse_unknown_inputs(name: str, raw: Sequence[Tensor], rows: np.ndarray) -> None:
    """Refuse to score labels of rows that lack what the task reads."""
    lacks = raw[0][:, 0, 0].isnan().numpy() & rows
    if lacks.any():
        raise ValueError(
            f"Task {name!r}: {lacks.sum()} rows with a label lack a column of X that it reads, the first of them row "
            f"{np.flatnonzero(lacks)[0]}."
        )
