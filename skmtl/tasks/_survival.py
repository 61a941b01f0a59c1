"""The time to an event, which some rows never showed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from skmtl._table import TargetTable
from skmtl.losses import Cox, Hazards
from skmtl.metrics._skill import mean_skill, skill_score
from skmtl.metrics._survival import brier_scores, integrated_brier_skill, step_at
from skmtl.tasks._base import Part, Task, array_of, with_missing
from skmtl.tasks._quantile import weighted_quantiles

MAX_TIMES = 100
"""Times at which the skill of Cox's model is measured."""

SMALLEST = 1e-4
"""Hazard at which an interval without an event of a cause begins, or share of survivors if all have one."""


class Survival(Task):
    r"""The time to an event, such as death or a failure, of which some rows were only followed for a while.

    Parameters
    ----------
    time : str
        The column of y that holds the time of the event, or of the end of follow-up, > 0.
    event : str
        The column of y that holds True or 1 where the event was seen, False or 0 where it was not. Several codes, from
        1 upwards, are competing risks: whichever event comes first (``model="discrete"`` only).
    model : {"discrete", "cox"}, default="discrete"
        ``"discrete"``: the hazard of each of `n_intervals` intervals of time, a logistic regression in which intervals
        after the event or the end of follow-up are missing labels [1]_ [2]_. ``"cox"``: proportional hazards, by the
        partial likelihood of the rows of a batch [3]_, with Breslow's baseline hazard of the training rows.
    n_intervals : int, default=20
        Intervals of time, between quantiles of event times; the last one is open and has no hazard.
    ties : {"breslow", "efron"}, default="breslow"
        Of ``"cox"``, for events of one time: Efron's is closer to the exact likelihood.
    features : list, slice, callable or None, default=None
        The columns of X that the task reads, as in scikit-learn's `ColumnTransformer`; None for all.

    Attributes
    ----------
    cuts_ : array of shape (n_cuts,)
        Ends of intervals (``"discrete"``), in the unit of time.
    causes_ : array of shape (n_causes,)
        Codes of events.

    Notes
    -----
    `predict` gives a risk score, greater for earlier events: the cumulative hazard summed over `cuts_`, of competing
    risks that of any event, or the log hazard ratio. The skill is that of the integrated Brier score against Kaplan and
    Meier's curve of the scored rows, with competing risks the mean over causes. A row counts once, however many
    intervals it was followed for. Training starts from the hazards of all rows together.

    References
    ----------
    .. [1] C. C. Brown, "On the use of indicator variables for studying the time-dependence of parameters in a
       response-time model", Biometrics 31, 1975.
    .. [2] M. F. Gensheimer and B. Narasimhan, "A scalable discrete-time survival model for neural networks", PeerJ 7,
       2019.
    .. [3] J. L. Katzman et al., "DeepSurv: personalized treatment recommender system using a Cox proportional hazards
       deep neural network", BMC Medical Research Methodology 18, 2018.

    Examples
    --------
    >>> from skmtl.tasks import Survival
    >>> Survival("days", "died")
    Survival(event='died', time='days')
    """

    name = "survival"

    def __init__(
        self,
        time: Any,
        event: Any,
        *,
        model: str = "discrete",
        n_intervals: int = 20,
        ties: str = "breslow",
        features: Any = None,
    ) -> None:
        self.time = time
        self.event = event
        self.model = model
        self.n_intervals = n_intervals
        self.ties = ties
        self.features = features

    @property
    def needs_finish(self) -> bool:  # type: ignore[override]
        """Whether the trained network is needed: for the baseline hazard."""
        return self.model == "cox"

    def claims(self, key: str) -> list[str]:
        return [str(self.time), str(self.event)]

    def is_continuous(self) -> list[bool]:
        return [True, False]

    # ---- labels -------------------------------------------------------------------------------------------------

    def learn(self, y: TargetTable, weight: np.ndarray | None) -> None:
        self._check_options()
        self.causes_ = np.array([1])
        time, event, seen = self._read(y, any_code=True)
        seen = seen if weight is None else seen & (weight > 0)
        codes = np.unique(event[seen & (event > 0)])
        if len(codes) == 0:
            raise ValueError(f"column {self.event!r} shows no event. At least one row must have one.")
        self.causes_ = np.arange(1, codes.max() + 1)
        if self.model == "cox" and len(self.causes_) > 1:
            raise ValueError(f"model='cox' knows one kind of event. Found the codes {codes.tolist()}.")
        happens = seen & (event > 0)
        shares = np.arange(1, self.n_intervals) / self.n_intervals
        own = None if weight is None else weight[happens]
        self.cuts_ = np.unique(weighted_quantiles(time[happens], shares, own))
        if self.model == "discrete":
            own = np.ones(seen.sum()) if weight is None else weight[seen]
            self._base = self._base_log_odds(time[seen], event[seen], own)

    def parts(self, y: TargetTable) -> list[Part]:
        time, event, seen = self._read(y)
        if self.model == "cox":
            rank = np.unique(np.where(seen, time, 0.0), return_inverse=True)[1] + 1.0
            return [Part(Cox(1, self.ties), with_missing(np.where(event > 0, rank, -rank), seen)[:, None])]
        ended = np.searchsorted(self.cuts_, time)[:, None]  # the interval of the event, or of the end of follow-up
        intervals = np.arange(len(self.cuts_))
        happens = (intervals == ended) & (event > 0)[:, None]
        known = ((intervals < ended) | happens) & seen[:, None]
        return [Part(self._hazards(), with_missing(np.where(happens, event[:, None], 0), known))]

    def _hazards(self) -> Hazards:
        return Hazards(self._base)

    def _base_log_odds(self, time: np.ndarray, event: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Return the log odds of each event against none in each interval, over all rows: (n_causes, n_cuts)."""
        n = len(self.cuts_)
        ended = np.searchsorted(self.cuts_, time)
        of_cause = np.stack([np.bincount(ended, weight * (event == cause), n + 1)[:n] for cause in self.causes_])
        known = np.bincount(ended, weight, n + 1)[::-1].cumsum()[::-1]
        stays = known[1:]  # those who end in an interval without an event say nothing of it
        total = of_cause.sum(axis=0) + stays
        share = np.maximum(np.array([*of_cause, stays]), SMALLEST * total)
        return np.log(share[:-1]) - np.log(share[-1])

    def _read(self, y: TargetTable, any_code: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return times, event codes and which rows have both; refuse what they cannot be."""
        numbers, seen = y.numbers, self.observed_rows(y)
        time, event = np.where(seen, numbers[:, 0], 1.0), np.where(seen, numbers[:, 1], 0.0)
        if (time <= 0).any():
            raise ValueError(f"times must be > 0. Found {time.min():g} in column {self.time!r}.")
        largest = np.inf if any_code else self.causes_[-1]
        odd = (event != np.floor(event)) | (event < 0) | (event > largest)
        if odd.any():
            raise ValueError(
                f"column {self.event!r} must hold 0 where no event was seen, and else 1 or the code of its kind, "
                f"{'1, 2, ...' if any_code else self.causes_.tolist()}. Found {event[odd][0]:g}."
            )
        return time, event.astype(int), seen

    def _check_options(self) -> None:
        if self.model not in ("discrete", "cox"):
            raise ValueError(f"model must be 'discrete' or 'cox'. Found {self.model!r}.")
        if self.ties not in ("breslow", "efron"):
            raise ValueError(f"ties must be 'breslow' or 'efron'. Found {self.ties!r}.")
        if not (isinstance(self.n_intervals, (int, np.integer)) and self.n_intervals >= 2):
            raise ValueError(f"n_intervals must be an integer >= 2. Found {self.n_intervals!r}.")

    # ---- predictions --------------------------------------------------------------------------------------------

    def decode(self, raw: Sequence[Tensor]) -> np.ndarray:
        if self.model == "cox":
            return array_of(raw[0])[:, 0, 0]
        log_survival = np.cumsum(np.log(np.maximum(self._in_intervals(raw)[:, 0], np.finfo(float).tiny)), axis=1)
        return -log_survival.sum(axis=1)

    def predicted_survival(self, raw: Sequence[Tensor], times: np.ndarray) -> np.ndarray:
        """Return the probability of no event up to each time: (n_samples, n_times).

        Constant after the last time that is known: of ``"discrete"`` the last of `cuts_`.
        """
        times = np.asarray(times, dtype=float)
        if self.model == "cox":
            hazard = step_at(*self.baseline_, times, before=0.0)
            return np.exp(-np.exp(self.decode(raw))[:, None] * hazard)
        return self._between(np.cumprod(self._in_intervals(raw)[:, 0], axis=1), times, 1.0)

    def predicted_incidence(self, raw: Sequence[Tensor], times: np.ndarray) -> np.ndarray:
        """Return the probability of each kind of event up to each time: (n_samples, n_causes, n_times)."""
        times = np.asarray(times, dtype=float)
        if self.model == "cox":
            return 1 - self.predicted_survival(raw, times)[:, None]
        proba = self._in_intervals(raw)
        before = np.cumprod(np.pad(proba[:, 0], ((0, 0), (1, 0)), constant_values=1.0)[:, :-1], axis=1)
        happens = np.cumsum(proba[:, 1:] * before[:, None], axis=2)
        return np.stack([self._between(of_cause, times, 0.0) for of_cause in happens.swapaxes(0, 1)], axis=1)

    def _in_intervals(self, raw: Sequence[Tensor]) -> np.ndarray:
        """Return the probabilities of no event, and of each kind, by interval: (n_samples, 1 + n_causes, n_cuts)."""
        return array_of(self._hazards().probabilities(raw[0]))

    def _between(self, at_cuts: np.ndarray, times: np.ndarray, before: float) -> np.ndarray:
        """Return values at some times: in a straight line from 0 and between cuts, constant after the last."""
        ends, values = np.concatenate([[0.0], self.cuts_]), np.pad(at_cuts, ((0, 0), (1, 0)), constant_values=before)
        right = np.clip(np.searchsorted(ends, times), 1, len(ends) - 1)
        share = np.clip((times - ends[right - 1]) / (ends[right] - ends[right - 1]), 0.0, 1.0)
        return values[:, right - 1] * (1 - share) + values[:, right] * share

    def predicted_tensor(self, raw: Sequence[Tensor]) -> Tensor:
        if self.model == "cox":
            return raw[0][:, 0, 0]
        stays = self._hazards().log_probabilities(raw[0])[:, 0]
        return -stays.cumsum(1).sum(1)

    def skill(self, y: TargetTable, raw: Sequence[Tensor], weight: np.ndarray | None) -> float:
        time, event, _ = self._read(y, any_code=True)
        times = self._times_to_score(time)
        if len(self.causes_) == 1:
            return integrated_brier_skill(time, event > 0, self.predicted_survival(raw, times), times, weight)
        if len(times) < 2:
            return float("nan")
        skills, incidence = [], self.predicted_incidence(raw, times)
        for k, cause in enumerate(self.causes_):
            constant = np.tile(_incidence_of_all(time, event, cause, times, weight), (len(time), 1))
            losses = [
                _incidence_loss(time, event, cause, guess, times, weight) for guess in (incidence[:, k], constant)
            ]
            skills.append(skill_score(*losses))
        return mean_skill(skills)

    def _times_to_score(self, time: np.ndarray) -> np.ndarray:
        """Return times within those of the scored rows."""
        times = self.cuts_ if self.model == "discrete" else self.baseline_[0]
        times = times[(times >= time.min()) & (times < time.max())]
        return times if len(times) <= MAX_TIMES else times[np.linspace(0, len(times) - 1, MAX_TIMES).astype(int)]

    def finish(self, y: TargetTable, raw: Sequence[Tensor], weight: np.ndarray | None) -> None:
        """Learn Breslow's estimate of the cumulative baseline hazard: times and values, (n_times,) both."""
        time, event, seen = self._read(y)
        weight = seen * (1.0 if weight is None else weight)
        ratio = np.exp(self.decode(raw)) * weight
        times, place = np.unique(time[seen], return_inverse=True)
        at_risk = np.bincount(place, ratio[seen], len(times))[::-1].cumsum()[::-1]
        events = np.bincount(place, (weight * (event > 0))[seen], len(times))
        hazard = np.cumsum(np.divide(events, at_risk, out=np.zeros(len(times)), where=at_risk > 0))
        self.baseline_ = times[events > 0], hazard[events > 0]


def _incidence_of_all(
    time: np.ndarray, event: np.ndarray, cause: int, times: np.ndarray, weight: np.ndarray | None
) -> np.ndarray:
    """Return the Aalen-Johansen estimate of the probability of one kind of event up to each time: (n_times,)."""
    weight = np.ones(len(time)) if weight is None else weight
    known, place = np.unique(time, return_inverse=True)
    at_risk = np.bincount(place, weight, len(known))[::-1].cumsum()[::-1]
    of_cause = np.bincount(place, weight * (event == cause), len(known)) / at_risk
    stays = np.cumprod(1 - np.bincount(place, weight * (event > 0), len(known)) / at_risk)
    return step_at(known, np.cumsum(of_cause * np.concatenate([[1.0], stays[:-1]])), times, before=0.0)


def _incidence_loss(
    time: np.ndarray, event: np.ndarray, cause: int, guess: np.ndarray, times: np.ndarray, weight: np.ndarray | None
) -> float:
    """Return the integrated Brier score of the incidence of one cause.

    Rows with another event are known not to have this one, ever.
    """
    other = (event > 0) & (event != cause)
    scores = brier_scores(np.where(other, np.inf, time), event == cause, 1 - guess, times, weight)
    return float(np.trapezoid(scores, times))
