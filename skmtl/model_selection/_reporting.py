"""What a search prints and warns of: the plan, a bar and a line for each fit, failures, scores that are NaN, Ctrl-C."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from joblib.logger import short_format_time

from skmtl.model_selection._fit import Fit, Protocol

NOT_REACHED = "The search was interrupted before this fit."


def announce(jobs: Sequence[list[Fit]], n_splits: int) -> None:
    """Print what is trained together, what alone, and why."""
    alone: dict[str, set[int]] = defaultdict(set)
    for fit in (fit for job in jobs for fit in job if fit.why_alone):
        alone[fit.why_alone].add(fit.candidate)
    n_candidates = len({fit.candidate for job in jobs for fit in job})
    n_stacks = sum(any(fit.why_alone is None for fit in job) for job in jobs)
    fits = f"{n_splits} folds for each of {n_candidates} candidates, totalling {n_candidates * n_splits} fits"
    print(f"Fitting {fits}, in {n_stacks} stack{'s' * (n_stacks != 1)}")  # noqa: T201
    for reason, which in alone.items():
        print(f"Trained alone: candidates {', '.join(map(str, sorted(which)))} ({reason})")  # noqa: T201


@contextmanager
def progress(jobs: Sequence[list[Fit]], protocol: Protocol) -> Iterator[Callable[[list[Fit]], None]]:
    """Give a function that takes finished fits: it moves a bar and prints their lines, if the search is verbose."""
    if not protocol.verbose:
        yield lambda fits: None
        return
    from tqdm.auto import tqdm

    n_candidates = 1 + max(fit.candidate for job in jobs for fit in job)
    with tqdm(total=sum(map(len, jobs)), desc="search", unit="fit") as bar:

        def show(fits: list[Fit]) -> None:
            bar.update(len(fits))
            if protocol.verbose > 1:
                for fit in fits:
                    print(_line(fit, protocol, n_candidates))  # noqa: T201

        yield show


def _line(fit: Fit, protocol: Protocol, n_candidates: int) -> str:
    """Return the line that scikit-learn's searches print when a fit ends."""
    place = f" {fit.split + 1}/{len(protocol.splits)}" if protocol.verbose > 2 else ""
    place += f"; {fit.candidate + 1}/{n_candidates}" if protocol.verbose > 9 else ""
    text = ", ".join(f"{name}={fit.parameters[name]}" for name in sorted(fit.parameters))
    text += ";" if text else ""
    if protocol.verbose > 2:
        text += _scores_in_words(fit.scores)
    text += f" total time={short_format_time(fit.seconds + fit.scores['score_time'])}"
    return f"[CV{place}] END {'.' * (80 - len(f'[CV{place}] END ') - len(text))}{text}"


def _scores_in_words(scores: dict) -> str:
    test, train = scores["test_scores"], scores.get("train_scores")
    if not isinstance(test, dict):
        return f", score={test:.3f}" if train is None else f", score=(train={train:.3f}, test={test:.3f})"
    trained = {name: "" if train is None else f"train={train[name]:.3f}, " for name in test}
    return "".join(f" {name}: ({trained[name]}test={test[name]:.3f})" for name in sorted(test))


@contextmanager
def naming_undefined(candidates: Sequence[dict], results: Sequence[dict], n_splits: int) -> Iterator[None]:
    """Run a block in which scikit-learn's warning of test scores that are not finite names the first such candidate."""
    undefined = [k for k, result in enumerate(results) if result["fit_error"] is None and _has_no_score(result)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for warning in caught:
        text = str(warning.message)
        if undefined and text.startswith("One or more of the test scores are non-finite"):
            n_finished = sum(result["fit_error"] != NOT_REACHED for result in results)
            candidate, split = divmod(undefined[0], n_splits)
            text += (
                f" The score of {len(undefined)} of {n_finished} fits is NaN. The first of them: candidate "
                f"{candidates[candidate]}, split {split}."
            )
        warnings.warn(text, warning.category, stacklevel=7)


def _has_no_score(result: dict) -> bool:
    scores = result["test_scores"]
    scores = list(scores.values()) if isinstance(scores, dict) else [scores]
    return bool(scores) and bool(np.isnan(scores).all())


def warn_interrupted(results: Sequence[dict]) -> None:
    """Warn that Ctrl-C ended a search, or a rung of it, and of what is there."""
    n_finished = sum(result["fit_error"] != NOT_REACHED for result in results)
    warnings.warn(
        f"The search was interrupted after {n_finished} of {len(results)} fits. Their scores are in cv_results_, the "
        f"others are NaN; nothing was chosen or refitted.",
        stacklevel=5,
    )


def warn_not_refitted() -> None:
    """Warn that Ctrl-C ended the last fit of a search."""
    warnings.warn(
        "The search was interrupted in its last fit. All scores are in cv_results_ and the choice in best_params_, but "
        "there is no best_estimator_.",
        stacklevel=5,
    )
