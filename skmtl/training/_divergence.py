"""Which members diverged: in an epoch's losses, or in the last update, after which no loss is computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from skmtl.training._batches import Batch
from skmtl.training._engine import Engine
from skmtl.training._record import DivergedError, Record

LARGE_WEIGHT, LARGE_LOSS = 1e3, 1e6  # predicting the mean costs a half: what goes beyond them may be about to diverge
LARGE_OUTPUT = 1e30  # of standardised targets: beyond what networks within those bounds give


def note_diverged_losses(losses: np.ndarray, engine: Engine, record: Record, task_names: Sequence[str]) -> None:
    """Record the members whose losses (batches, member, task) of an epoch are not finite.

    Raises
    ------
    DivergedError
        If no other member is left.
    """
    finite = np.isfinite(losses)
    if finite.all():
        return
    for k in np.flatnonzero(~finite.all((0, 2))).tolist():
        m = int(engine.roster.active[k])
        if m not in record.ended:
            step, task = np.argwhere(~finite[:, k])[0].tolist()
            record.diverged[m] = (
                f"Task {task_names[task]!r}: the training loss is no longer finite in epoch {record.n_epochs + 1} "
                f"(step {step + 1}). {_remedy(engine, k)}"
            )
    refuse_if_all_diverged(engine, record)


def may_have_diverged(engine: Engine, record: Record, largest: float) -> bool:
    """Return whether outputs may be larger than `largest`, as far as weights and the last losses can tell."""
    losses_are_large = bool(record.train) and bool((record.train[-1].by_task > LARGE_LOSS).any())
    return losses_are_large or largest <= LARGE_OUTPUT or not engine.largest_weight() <= LARGE_WEIGHT


@torch.inference_mode()
def note_diverged_outputs(batches: Iterable[Batch], engine: Engine, record: Record, largest: float) -> None:
    """Record the members whose weights are not finite, or whose outputs for some row are not or exceed `largest`.

    Raises
    ------
    DivergedError
        If no other member is left.
    """
    largest = min(largest, torch.finfo(engine.buffer.data.dtype).max)
    engine.set_training(False)  # neither masks of dropout nor running means may change
    finite = engine.network_state()["weights"].isfinite().all(1)
    for batch in batches:
        finite &= (engine.network(batch.x).abs() <= largest).all(-1).all(-1)  # False for NaN
    for k in (~finite).nonzero().flatten().tolist():
        reason = f"Predictions are no longer finite after the last update. {_remedy(engine, k)}"
        record.diverged.setdefault(int(engine.roster.active[k]), reason)
    refuse_if_all_diverged(engine, record)


def note_undefined(totals: np.ndarray, engine: Engine, record: Record) -> None:
    """Record when the validation loss (member,) of a running member was first not finite."""
    if np.isfinite(totals).all():
        return
    for k in record.running(engine.roster.active):
        if not np.isfinite(totals[k]):
            record.undefined.setdefault(int(engine.roster.active[k]), record.n_epochs + 1)


def refuse_if_all_diverged(engine: Engine, record: Record) -> None:
    """Raise DivergedError if no member is left that has not diverged."""
    roster, diverged = engine.roster, record.diverged
    if diverged and not roster.has_waiting and all(m in diverged for m in roster.active.tolist()):
        raise DivergedError(diverged)


def _remedy(engine: Engine, k: int) -> str:
    """Return what may help the member at place k of the stack."""
    return (
        f"Try a smaller lr (now {float(engine.members.lr[k]):g}), standardised features, or gradient clipping with "
        f"callbacks=[skorch.callbacks.GradientNormClipping(1.0)]."
    )
