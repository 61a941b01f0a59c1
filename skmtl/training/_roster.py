"""Which members of a stack are still being trained; those that left, by early stopping or halving, wait or are gone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from skmtl.training._members import Members

States = Mapping[str, Tensor]
"""What differs between members, by name: (member, k) each."""


class Roster:
    """The members of a stack, present or gone.

    Attributes
    ----------
    everyone : Members
        All members, in their order.
    active : int64 Tensor of shape (n_active,)
        Numbers of those that are in the stack.
    is_whole : bool
        Whether that is all of them.
    """

    def __init__(self, everyone: Members) -> None:
        self.everyone = everyone
        self.active = torch.arange(len(everyone))
        self.is_whole = True
        self._left: dict[int, States] = {}

    @property
    def has_waiting(self) -> bool:
        """Whether members that left can come back."""
        return bool(self._left)

    def select(self, index: Tensor, states: States) -> None:
        """Continue with the members at these places of the stack; the others leave with their states."""
        for k in sorted(set(range(len(self.active))) - set(index.tolist())):
            self._left[int(self.active[k])] = {name: rows[k : k + 1] for name, rows in states.items()}
        self.active, self.is_whole = self.active[index], False

    def forget_left(self) -> None:
        """Let go of the members that left; they cannot come back."""
        self._left = {}

    def reunite(self, states: States) -> dict[str, Tensor]:
        """Bring back those that left; return the states of all, given those of the active ones."""
        present = {int(m): {name: rows[k : k + 1] for name, rows in states.items()} for k, m in enumerate(self.active)}
        of_each = [{**self._left, **present}[m] for m in range(len(self.everyone))]
        self.active, self.is_whole, self._left = torch.arange(len(self.everyone)), True, {}
        return {name: torch.cat([state[name] for state in of_each]) for name in states}

    def spread(self, values: Tensor, fill: float) -> Tensor:
        """Return values of the active members, (n_active, ...), with a row for every member."""
        if self.is_whole:
            return values
        everyone = values.new_full((len(self.everyone), *values.shape[1:]), fill)
        everyone[self.active] = values
        return everyone
