"""Which columns of X and y each task reads, and what its parts weigh."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from scipy.sparse import issparse
from sklearn.base import clone
from sklearn.utils._indexing import _get_column_indices  # private: what ColumnTransformer reads columns by

from skmtl._table import TargetTable
from skmtl.encoders import EncodedInput
from skmtl.tasks import ROW, TASKS, Part, Task


def check_tasks(tasks: Mapping | None) -> None:
    """Refuse names and objects that are no tasks."""
    if tasks is None:
        return
    if not tasks:
        raise ValueError("tasks must name at least one task. Found an empty dict.")
    for name, task in tasks.items():
        if not isinstance(name, str) or "__" in name or not name:
            raise ValueError(f"Names of tasks must be strings without '__'. Found {name!r}.")
        if isinstance(task, type):
            raise ValueError(f"Task {name!r} must be an object, not a class: write {task.__name__}(...).")
        if not isinstance(task, Task) and not (isinstance(task, str) and task in TASKS):
            known = ", ".join(map(repr, TASKS))
            raise ValueError(f"Task {name!r} must be an object of skmtl.tasks or one of {known}. Found {task!r}.")
        make_task(name, task)


def make_task(name: str, task: str | Task) -> Task:
    """Return an unfitted task: a clone, or what a string stands for."""
    if not isinstance(task, str):
        return clone(task)
    try:
        return TASKS[task]()
    except TypeError as error:
        raise ValueError(
            f"Task {name!r} needs more than {task!r}: write {TASKS[task].__name__}(...). {error}."
        ) from None


def tasks_of(table: TargetTable, names: list[str]) -> dict[str, Task]:
    """Return a task for each column of y, by the type of its labels; refuse integers, which may be of either kind."""
    kinds = {name: _kind_of(column) for name, column in zip(names, table.columns, strict=True)}
    unclear = [name for name, kind in kinds.items() if kind is None]
    if unclear:
        guess = {name: kind or "classification" for name, kind in kinds.items()}
        raise ValueError(
            f"Task {unclear[0]!r} holds integers, which may be classes or numbers. Say what the tasks are: "
            f"tasks={guess}, with 'regression' or 'count' for those that are numbers."
        )
    return {name: make_task(name, kind) for name, kind in kinds.items() if kind is not None}


def _kind_of(column: np.ndarray) -> str | None:
    if column.dtype.kind in "iu":
        return None
    return "regression" if column.dtype.kind == "f" else "classification"


def assign_columns(
    tasks: Mapping[str, Task], table: TargetTable, names: list[str]
) -> tuple[list[str], dict[str, list[int]]]:
    """Return the names of y's columns, and the positions of each task's; refuse what is read twice or by none."""
    claims: dict[str, list[str]] = {}
    for name, task in tasks.items():
        with naming(name):
            claims[name] = task.claims(name)
    claimed = [(column, name) for name, own in claims.items() for column in own]
    owner: dict[str, str] = {}
    for column, name in claimed:
        if column in owner:
            whose = "twice" if owner[column] == name else f"by {owner[column]!r} too"
            raise ValueError(f"Task {name!r} reads the column {column!r} of y, which is read {whose}.")
        owner[column] = name
    if table.names is None and not set(owner) <= set(names) and len(owner) == len(names):
        names = list(owner)  # columns without names are those that the tasks read, in their order
    place = {column: k for k, column in enumerate(names)}
    for column, name in claimed:
        if column not in place:
            raise ValueError(f"Task {name!r} reads the column {column!r} of y. Found only {names[:20]}.")
        labels = table.columns[place[column]]
        if labels.ndim > 1 and tasks[name].site == ROW:
            raise ValueError(
                f"Task {name!r} reads one label in each row. Found arrays of shape {labels.shape[1:]} in the field "
                f"{column!r}: TokenLabels, Mask and Sequence read these."
            )
    idle = [column for column in names if column not in owner]
    if idle:
        raise ValueError(f"Column {idle[0]!r} of y is read by no task. Add one, or drop the column.")
    return names, {name: [place[column] for column in own] for name, own in claims.items()}


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Name the task in errors about its labels."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if str(error).startswith("Task "):
            raise
        raise type(error)(f"Task {name!r}: {error}") from error


def check_labels(rows: np.ndarray, weight: np.ndarray | None, may_lack: bool) -> None:
    """Refuse a task without a label, or without one of positive weight; `rows` are those with one."""
    if may_lack:
        return
    if not rows.any():
        raise ValueError("every label is missing. Give at least one observed label, or drop the task.")
    if weight is not None and not (weight[rows] > 0).any():
        raise ValueError("every observed label has weight zero. Give one of them a positive weight, or drop the task.")


def part_weights(parts: Mapping[str, list[Part]], rows: Mapping[str, np.ndarray | None]) -> np.ndarray | None:
    """Return what each label of each part counts, 0 where it is missing: (n_samples, part); None for all 1.

    Parameters
    ----------
    parts : dict of lists of Part
        The parts of each task.
    rows : dict of arrays of shape (n_samples,) or None
        The weights of rows for each task; None for 1.
    """
    found, plain = [], True
    for name, own in parts.items():
        for part in own:
            weight = (~np.isnan(part.targets)).astype(float)
            for factor in (part.weight, rows[name]):
                if factor is not None:
                    weight *= factor if factor.ndim > 1 else factor[:, None]
            plain = plain and bool((weight == 1).all())
            found.append(weight)
    return None if plain else np.concatenate(found, axis=1)


def find_places(name: str, task: Task, entry: EncodedInput | None) -> None:
    """Show a task the places that it reads; refuse one whose encoder gives none."""
    places = {} if entry is None else entry.places
    if task.site not in places:
        found = "encoder='passthrough'" if entry is None else f"features of {', '.join(['row', *places])} only"
        raise ValueError(
            f"Task {name!r} reads {task.site}, of which an encoder must give features. Found {found}: TokenEncoder "
            f"gives tokens, ConvEncoder pixels and cells, and a module of your own may return a dict of them by site."
        )
    task.find_places(places[task.site].grid, places[task.site].extent)


def columns_of_x(name: str, task: Task, X) -> tuple[int, ...]:
    """Return the positions of the columns of X that a task reads, ascending."""
    if task.features is None:
        return tuple(range(X.shape[1] if hasattr(X, "shape") else len(X[0])))
    features = task.features(X) if callable(task.features) else task.features
    with naming(name):
        try:
            columns = _get_column_indices(X if hasattr(X, "shape") else np.asarray(X), features)
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"features={features!r} must name columns of X. {str(error).strip(chr(34))}") from None
        if len(columns) == 0:
            raise ValueError(f"features={features!r} must name at least one column of X.")
    return tuple(sorted({int(column) for column in columns}))


def check_inputs(name: str, X, columns: tuple[int, ...], names, labelled: np.ndarray | None) -> None:
    """Refuse a row with a label of a task that lacks a value which the task reads; `names` are those of X's columns."""
    if issparse(X):
        return
    lacks = np.isnan(X[:, list(columns)])
    if labelled is not None:
        lacks &= labelled[:, None]
    if lacks.any():
        row, place = np.argwhere(lacks)[0]
        column = columns[place] if names is None else names[columns[place]]
        raise ValueError(
            f"Task {name!r} reads column {column!r} of X, which must hold a finite number in each row with a label of "
            f"the task. Found NaN in {lacks.any(axis=1).sum()} rows, the first of them row {row}."
        )
