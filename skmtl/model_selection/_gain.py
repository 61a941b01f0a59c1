"""What sharing gained: a paired interval and a verdict per task, as a table, a sentence and a figure."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from skmtl.model_selection._defined import mean_of_defined

GAINED, LOST, CANNOT_TELL = "gained", "lost", "cannot tell"


@dataclass(frozen=True, eq=False)
class TransferGain:
    """The result of `transfer_gain`: each task's scores with sharing and alone, and how certain the difference is.

    Attributes
    ----------
    task_names : list of n_tasks str
        Names of the tasks.
    shared : array of shape (n_tasks, n_folds)
        Scores with sharing; NaN where a task is undefined in a fold.
    alone : array of shape (n_tasks, n_folds)
        Scores of the same network with nothing shared, on the same folds.
    test_train_ratio : float
        Test rows over training rows, mean over the folds.
    confidence : float
        Level of the intervals.
    correction : str or None
        "holm" if the verdicts account for the number of tasks.
    metric : str
        What the scores are, for headings.
    gain : array of shape (n_tasks,)
        Mean of shared - alone over the folds where both are defined.
    ci_low : array of shape (n_tasks,)
        Lower end of the gain's interval.
    ci_high : array of shape (n_tasks,)
        Upper end of the gain's interval.
    p_value : array of shape (n_tasks,)
        Two-sided p-value of "no difference"; adjusted by Holm's method if `correction` is "holm".
    verdict : list of n_tasks str
        "gained", "lost" or "cannot tell".
    """

    task_names: list[str]
    shared: np.ndarray
    alone: np.ndarray
    test_train_ratio: float
    confidence: float = 0.95
    correction: str | None = None
    metric: str = "score"
    gain: np.ndarray = field(init=False)
    ci_low: np.ndarray = field(init=False)
    ci_high: np.ndarray = field(init=False)
    p_value: np.ndarray = field(init=False)
    verdict: list[str] = field(init=False)

    def __post_init__(self):
        rows = [paired_interval(d, self.test_train_ratio, self.confidence) for d in self.shared - self.alone]
        gain, low, high, p = (np.array(values) for values in zip(*rows, strict=True))
        p = _holm(p) if self.correction == "holm" else p
        sure = p < 1 - self.confidence  # False for NaN
        verdict = [(GAINED if g > 0 else LOST) if s else CANNOT_TELL for g, s in zip(gain, sure, strict=True)]
        computed = {"gain": gain, "ci_low": low, "ci_high": high, "p_value": p, "verdict": verdict}
        for name, value in computed.items():
            object.__setattr__(self, name, value)

    def to_frame(self):
        """Return the table.

        Returns
        -------
        pandas.DataFrame
            A row per task: mean scores alone and shared, gain, interval, p-value and verdict.
        """
        import pandas as pd  # type: ignore[import-untyped]

        columns = {
            "alone": mean_of_defined(self.alone),
            "shared": mean_of_defined(self.shared),
            "gain": self.gain,
            "ci_low": self.ci_low,
            "ci_high": self.ci_high,
            "p_value": self.p_value,
            "verdict": self.verdict,
        }
        return pd.DataFrame(columns, index=pd.Index(self.task_names, name="task"))

    def summary(self):
        """Return the table and a summary, as text.

        Returns
        -------
        str
            One line per task and a sentence.
        """
        width = max(len("task"), *(len(name) for name in self.task_names))
        interval = f"{self._level()} interval"
        lines = [f"{'task':<{width}}  {'alone':>9}  {'shared':>9}  {'gain':>9}  {interval:^22}  verdict"]
        means = mean_of_defined(self.alone), mean_of_defined(self.shared)
        for t, name in enumerate(self.task_names):
            ends = f"[{self.ci_low[t]:+.4f}, {self.ci_high[t]:+.4f}]"
            numbers = f"{means[0][t]:9.4f}  {means[1][t]:9.4f}  {self.gain[t]:+9.4f}  {ends:^22}"
            lines.append(f"{name:<{width}}  {numbers}  {self.verdict[t]}")
        return "\n".join([f"Scores: {self.metric}; greater is better.", *lines, self.statement()])

    def statement(self):
        """Return what the test says, in a sentence.

        Returns
        -------
        str
            How many tasks gained, lost, and cannot be told apart.
        """
        gained, lost, unsure = (self.verdict.count(v) for v in (GAINED, LOST, CANNOT_TELL))
        holm = " after Holm's correction" if self.correction == "holm" else ""
        return (
            f"{gained} of {len(self.verdict)} tasks gained from sharing, {lost} lost, "
            f"{unsure} cannot be told apart at {self._level()}{holm}."
        )

    def __str__(self):
        return self.summary()

    def plot(self, ax=None):
        """Draw each task's gain with its interval, sorted by gain.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None makes a figure.

        Returns
        -------
        matplotlib.axes.Axes
            The axes drawn on.
        """
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(figsize=(6.4, 1.2 + 0.28 * len(self.task_names)), layout="constrained")
        order = np.argsort(self.gain)
        colors = {GAINED: "tab:green", LOST: "tab:red", CANNOT_TELL: "0.55"}
        for verdict, color in colors.items():
            at = [place for place, t in enumerate(order) if self.verdict[t] == verdict]
            rows = order[at]
            ax.hlines(at, self.ci_low[rows], self.ci_high[rows], color=color, label=f"{verdict} ({len(at)})")
            ax.plot(self.gain[rows], at, "o", color=color)
        ax.axvline(0.0, color="black", linewidth=0.8)
        ax.set_yticks(range(len(order)), [self.task_names[t] for t in order])
        ax.set_xlabel(f"gain of sharing: {self.metric}, {self._level()} interval")
        ax.legend()
        return ax

    def _level(self) -> str:
        return f"{100 * self.confidence:g} %"


def paired_interval(differences: np.ndarray, ratio: float, confidence: float) -> tuple[float, float, float, float]:
    """Return mean, interval and two-sided p-value of fold differences, by the corrected resampled t-test.

    The variance of the mean over J folds is (1/J + n_test/n_train) times the folds' variance (Nadeau and Bengio), for
    training sets of different folds overlap. NaN folds are left out; fewer than two folds give NaN.
    """
    d = differences[~np.isnan(differences)]
    if len(d) < 2:
        return (float(d.mean()) if len(d) else np.nan), np.nan, np.nan, np.nan
    mean = float(d.mean())
    error = np.sqrt((1 / len(d) + ratio) * d.var(ddof=1))
    if error == 0:
        return mean, mean, mean, float(mean == 0)
    half = stats.t.ppf((1 + confidence) / 2, len(d) - 1) * error
    return mean, mean - half, mean + half, float(2 * stats.t.sf(abs(mean) / error, len(d) - 1))


def _holm(p: np.ndarray) -> np.ndarray:
    """Return Holm's step-down adjusted p-values; NaN stays NaN and counts as no test."""
    adjusted = np.full(len(p), np.nan)
    order = np.argsort(p)[: int((~np.isnan(p)).sum())]  # NaN sorts last
    scaled = p[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted
