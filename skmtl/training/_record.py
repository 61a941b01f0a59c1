"""What happened to each member in each epoch: its losses, whether it diverged or stopped early; and the history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor


class DivergedError(ValueError):
    """The loss of every member is no longer finite; `reasons` says what happened to each."""

    def __init__(self, reasons: dict[int, str]) -> None:
        super().__init__(next(iter(reasons.values())))
        self.reasons = reasons

    def __reduce__(self):
        return DivergedError, (self.reasons,)  # an error that cannot be read back lets other processes wait for ever


@dataclass(slots=True)
class Losses:
    """Losses of one epoch.

    Attributes
    ----------
    by_task : array of shape (member, task)
        Of each task; NaN where it has no label, and for members that have left.
    total : array of shape (member,)
        What the member minimises: the weighted sum over the tasks and, in training, the penalty.
    """

    by_task: np.ndarray
    total: np.ndarray


class Record:
    """What happened to the members of a stack.

    Attributes
    ----------
    train, valid : list of Losses
        Of each epoch.
    n_epochs : int
        Finished epochs; the losses of an interrupted one do not count.
    first_row : int
        Where the first of them is in skorch's history.
    diverged : dict
        What happened to those members whose loss or outputs are no longer finite.
    stopped : dict
        Epoch in which a member stopped early.
    undefined : dict
        Epoch in which a member's validation loss was first not finite.
    """

    def __init__(self) -> None:
        self.train: list[Losses] = []
        self.valid: list[Losses] = []
        self.n_epochs = self.first_row = 0
        self.diverged: dict[int, str] = {}
        self.stopped: dict[int, int] = {}
        self.undefined: dict[int, int] = {}

    @property
    def ended(self) -> set[int]:
        """Members that have stopped or diverged."""
        return self.diverged.keys() | self.stopped.keys()

    def running(self, active: Tensor) -> list[int]:
        """Return the places of members that have neither stopped nor diverged; all of them once there is none left."""
        ended, members = self.ended, active.tolist()
        return [k for k, m in enumerate(members) if m not in ended] or list(range(len(members)))

    def history(self, rows: Sequence[dict], members: Sequence[int], places: np.ndarray, offset: int) -> list[dict]:
        """Return one dict per finished epoch: its row of skorch's history and the losses of some members.

        Parameters
        ----------
        rows : sequence of dict
            What skorch recorded.
        members : sequence of int
            Whose losses are averaged, each over the epochs in which it was trained.
        places : int array of shape (n_tasks,)
            Place of each of the user's tasks in the network's order.
        offset : int
            Epochs before the first of these.
        """
        last = {m: self.stopped.get(m, self.n_epochs) for m in members}
        best: dict[str, float] = {}
        history = []
        own = rows[self.first_row :]  # fewer than epochs where a callback loaded an earlier state
        for k, recorded in zip(range(max(last.values())), own, strict=False):
            row = {key: value for key, value in recorded.items() if key != "batches"} | {"epoch": offset + k + 1}
            running = [m for m in members if k < last[m]]
            for part, losses in (("train", self.train), ("valid", self.valid)):
                if k < len(losses):
                    row |= _of_members(losses[k], running, part, places, best)
            history.append(row)
        return history


def _of_members(
    losses: Losses, members: Sequence[int], part: str, places: np.ndarray, best: dict[str, float]
) -> dict[str, object]:
    """Return the entries of the history for these members; `best` holds the lowest losses so far."""
    entries: dict[str, object] = {f"{part}_task_losses": _mean(losses.by_task, members)[places]}
    if len(losses.total) > 1:  # skorch recorded the mean over all members
        name, loss = f"{part}_loss", float(_mean(losses.total, members))
        lowest = best.get(name, np.inf)
        entries |= {name: loss, f"{name}_best": loss < lowest}
        best[name] = min(loss, lowest)
    return entries


def _mean(values: np.ndarray, members: Sequence[int]) -> np.ndarray:
    """Return the mean over some members of (member, ...)."""
    return values[members[0]] if len(members) == 1 else values[list(members)].mean(0)
