"""The fits of a halving search: rung by rung they are trained further, scored, and the better ones selected."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from joblib import effective_n_jobs

from skmtl.model_selection._evaluation import results_of, run, stacks_of
from skmtl.model_selection._fit import Fit, Protocol
from skmtl.model_selection._grouping import bytes_of, plan
from skmtl.model_selection._jobs import make_stacks
from skmtl.model_selection._reporting import announce
from skmtl.model_selection._stack import Stack


class ResumableStacks:
    """Candidates of which those in stacks continue, rung after rung, from where they are; others begin anew.

    Parameters
    ----------
    candidates : list of dict
        The parameters of each.
    X, y : array-like
        All rows.
    protocol : Protocol
        What all fits have in common.
    n_jobs : int or None
        Jobs that are done at the same time.
    resource : str
        What ``max_epochs`` is called among the parameters.
    max_epochs : int
        Epochs by the end of the last rung.
    """

    def __init__(self, candidates, X, y, protocol: Protocol, n_jobs: int | None, resource: str, max_epochs: int):
        self.X, self.y, self.n_jobs = X, y, n_jobs
        self.protocol = replace(protocol, resumes=True)
        self.resource, self.max_epochs = resource, max_epochs
        self.jobs = plan(candidates, self.protocol, bytes_of(X), effective_n_jobs(n_jobs))
        self._stacks: dict[int, list[Stack]] = {}  # by job
        self._epochs = 0
        self._results: list[dict] = []  # of the last rung
        self._trained: set[tuple[int, int]] = set()

    @property
    def candidates(self) -> list[int]:
        """The numbers of the candidates that are left."""
        return sorted({fit.candidate for job in self.jobs for fit in job})

    @property
    def n_stacks(self) -> int:
        """In how many stacks fits were trained, in one rung or several."""
        return len(self._trained)

    def train_up_to(self, epochs: int) -> tuple[list[dict], bool]:
        """Train all fits up to a number of epochs; return the results of each, and whether Ctrl-C ended it early.

        Ctrl-C before any fit of the first rung is finished is raised.
        """
        self._begin(epochs)
        try:
            finished, interrupted = run(self.jobs, self.X, self.y, self.protocol, self.n_jobs, self._train)
        except KeyboardInterrupt:
            if not self._results:
                raise
            finished, interrupted = [], True
        self._trained |= stacks_of(finished)
        self._results = results_of(self.jobs, finished, self.protocol, self._results)
        return self._results, interrupted

    def _begin(self, epochs: int) -> None:
        self._epochs = epochs
        for fit in (fit for job in self.jobs for fit in job):
            fit.parameters = {**fit.parameters, self.resource: epochs}
            fit.seconds, fit.error, fit.scores = 0.0, None, None
        if self.protocol.verbose:
            announce(self.jobs, len(self.protocol.splits))

    def _train(self, fits: Sequence[Fit], X, y, protocol: Protocol, rows: Mapping[str, object]) -> None:
        """Train fits of one job side by side, from where they are."""
        job = fits[0].job
        if job not in self._stacks:
            self._stacks[job] = make_stacks(fits, X, y, protocol, rows)
        for stack in self._stacks[job]:
            stack.train(self._epochs, self.max_epochs)

    def select(self, candidates: Collection[int]) -> None:
        """Let the fits of all other candidates go."""
        self.jobs = [[fit for fit in job if fit.candidate in candidates] for job in self.jobs]
        self.jobs = [job for job in self.jobs if job]
        for job, stacks in self._stacks.items():
            for stack in stacks:
                stack.select(candidates)
            self._stacks[job] = [stack for stack in stacks if stack.fits]
