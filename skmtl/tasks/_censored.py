"""A number of which sometimes only a bound is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from skmtl._table import TargetTable
from skmtl.losses import Tobit
from skmtl.metrics._skill import skill_score
from skmtl.tasks._base import Part, Task, any_observed, array_of
from skmtl.tasks._gaussian import normal_interval
from skmtl.tasks._scale import ScaleCodec

NONE = 1e10
"""Standardised bound that stands for none."""

SIDES: dict[object, int] = {">": 1, ">=": 1, "≥": 1, "=": 0, "==": 0, "~": 0, "": 0, "<": -1, "<=": -1, "≤": -1}


class Censored(Task):
    """A number of which sometimes only a bound is known, such as ">10 µM".

    Parameters
    ----------
    bound : str, default=None
        The column of y that says what a number is: ``">"`` or 1 where the true one is greater, ``"<"`` or -1 where
        it is smaller, ``"="``, 0 or missing where it is exact.
    upper : str, default=None
        Instead of `bound`, for intervals: the column of y that holds their upper ends, while the task's own holds the
        lower ones. Equal ends are an exact number; a missing end is none.
    columns : str, default=None
        The column of y that holds numbers; None for the one with the task's name.
    features : list, slice, callable or None, default=None
        The columns of X that the task reads, as in scikit-learn's `ColumnTransformer`; None for all.

    Notes
    -----
    The Tobit model [1]_: a normal distribution whose mean depends on X, with one standard deviation. A bound teaches
    that the number lies beyond it, and no more; to drop such labels, or to take bounds for numbers, biases predictions.
    The skill compares squared distances from what is known: 0 for every prediction beyond a bound.

    References
    ----------
    .. [1] J. Tobin, "Estimation of Relationships for Limited Dependent Variables", Econometrica 26, 1958.

    Examples
    --------
    >>> from skmtl.tasks import Censored
    >>> Censored(bound="relation")
    Censored(bound='relation')
    """

    name = "censored"
    estimator_type = "regressor"

    def __init__(self, bound: Any = None, *, upper: Any = None, columns: Any = None, features: Any = None) -> None:
        self.bound = bound
        self.upper = upper
        self.columns = columns
        self.features = features

    def claims(self, key: str) -> list[str]:
        if (self.bound is None) == (self.upper is None):
            raise ValueError(
                f"Censored needs one of bound= and upper=. Found bound={self.bound!r}, upper={self.upper!r}."
            )
        return [*super().claims(key), str(self.upper if self.bound is None else self.bound)]

    def is_continuous(self) -> list[bool]:
        return [True, self.bound is None]

    def observed_rows(self, y: TargetTable) -> np.ndarray:
        return y.observed[:, 0] if self.bound is not None else any_observed(y)

    def learn(self, y: TargetTable, weight: np.ndarray | None) -> None:
        lower, upper = self._ends(y)
        seen = self.observed_rows(y)
        middle = np.where(np.isinf(lower), upper, np.where(np.isinf(upper), lower, (lower + upper) / 2))
        weight = seen.astype(float) if weight is None else seen * weight
        self.codec_ = ScaleCodec.fit(np.where(seen, middle, 0.0)[:, None], weight[:, None])

    def parts(self, y: TargetTable) -> list[Part]:
        ends = np.stack(self._ends(y), axis=1)
        targets = np.clip(self.codec_.encode(np.where(np.isinf(ends), 0.0, ends)), -NONE / 100, NONE / 100)
        targets = np.where(np.isinf(ends), np.sign(ends) * NONE, targets)
        return [Part(Tobit(2), np.where(self.observed_rows(y)[:, None], targets, np.nan))]

    def decode(self, raw: Sequence[Tensor]) -> np.ndarray:
        return self.codec_.decode(array_of(raw[0])[:, 0, :1])[:, 0]

    def predicted_std(self, raw: Sequence[Tensor]) -> np.ndarray:
        """Return the standard deviation in the units of y: (n_samples,)."""
        return np.exp(array_of(Tobit(2).moments(raw[0])[1])[:, 0]) * self.codec_.scale[0]

    def predicted_interval(self, raw: Sequence[Tensor], coverage: float) -> np.ndarray:
        """Return the central interval of this probability, lower and upper end: (n_samples, 2)."""
        return normal_interval(self.decode(raw), self.predicted_std(raw), coverage)

    def predicted_tensor(self, raw: Sequence[Tensor]) -> Tensor:
        return raw[0][:, 0, 0] * float(self.codec_.scale[0]) + float(self.codec_.mean[0])

    def known_range(self, y: TargetTable) -> tuple[np.ndarray, np.ndarray]:
        return self._ends(y)

    def skill(self, y: TargetTable, raw: Sequence[Tensor], weight: np.ndarray | None) -> float:
        lower, upper = self._ends(y)
        if len(lower) < 2:
            return float("nan")

        def loss(guess: np.ndarray | float) -> float:
            return float(np.average(np.square(guess - np.clip(guess, lower, upper)), weights=weight))

        ends = np.concatenate([lower[np.isfinite(lower)], upper[np.isfinite(upper)]])
        low, high = ends.min(), ends.max()
        for _ in range(200):  # the loss of a constant is convex: ternary search
            third = (high - low) / 3
            low, high = (low, high - third) if loss(low + third) < loss(high - third) else (low + third, high)
        return skill_score(loss(self.decode(raw)), loss((low + high) / 2))

    def _ends(self, y: TargetTable) -> tuple[np.ndarray, np.ndarray]:
        """Return the ends of what is known, (n_samples,) each, infinite where there is none."""
        if self.bound is None:
            numbers, seen = y.numbers, y.observed
            lower, upper = np.where(seen[:, 0], numbers[:, 0], -np.inf), np.where(seen[:, 1], numbers[:, 1], np.inf)
            if (lower > upper).any():
                row = int(np.flatnonzero(lower > upper)[0])
                raise ValueError(
                    f"the lower end of an interval must not exceed the upper one. Found {lower[row]:g} and "
                    f"{upper[row]:g} in row {row}."
                )
            return lower, upper
        numbers, side = y.select([0]).numbers[:, 0], self._sides(y)
        return np.where(side < 0, -np.inf, numbers), np.where(side > 0, np.inf, numbers)

    def _sides(self, y: TargetTable) -> np.ndarray:
        """Return 1, 0 or -1 for each row: the true number is greater, equal or smaller."""
        known: dict[object, int] = {**SIDES, 1: 1, 0: 0, -1: -1}
        sides = np.zeros(len(y), dtype=int)
        for row in np.flatnonzero(y.observed[:, 1]):
            label = y.columns[1][row]
            side = known.get(label.strip() if isinstance(label, str) else label)
            if side is None:
                found = label.item() if isinstance(label, np.generic) else label
                raise ValueError(
                    f"column {self.bound!r} must hold '>', '<', '=', or 1, -1, 0. Found {found!r} in row {row}."
                )
            sides[row] = side
        return sides
