"""The package's own callbacks: the best weights restored, one progress bar over epochs; and how a callback stops."""

from __future__ import annotations

import dis
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType

import torch
from skorch.callbacks import Callback
from torch import Tensor

_KEEPS_PARTIAL_FITS = ContextVar("keeps_partial_fits", default=True)


@contextmanager
def whole_fits_only() -> Iterator[None]:
    """Run a block in which Ctrl-C ends a fit by KeyboardInterrupt: a search must not score what is half trained."""
    token = _KEEPS_PARTIAL_FITS.set(False)
    try:
        yield
    finally:
        _KEEPS_PARTIAL_FITS.reset(token)


def keeps_partial_fits() -> bool:
    """Return whether Ctrl-C leaves what a fit has learned so far."""
    return _KEEPS_PARTIAL_FITS.get()


class StopTraining(KeyboardInterrupt):
    """Raised by a callback to end training early; skorch's own callbacks raise its base class."""


def is_wish_to_stop(stop: KeyboardInterrupt, callbacks: Sequence[tuple[str, Callback]]) -> bool:
    """Return whether one of the user's callbacks raised it to end training; if not, it is Ctrl-C.

    Callbacks raise it by a statement: in its traceback all frames but the last are in a call, and the last one in a
    ``raise``. Ctrl-C arrives in the middle of other statements, unless its handler is written in Python: so where all
    callbacks are ours, which raise none, it is Ctrl-C in any case.
    """
    if all(isinstance(callback, (BestWeights, EpochProgress)) for _, callback in callbacks):
        return False
    operations = []
    traceback = stop.__traceback__
    while traceback is not None:
        operations.append(_operation(traceback))
        traceback = traceback.tb_next
    *callers, last = operations
    return last == "RAISE_VARARGS" and all(operation.startswith("CALL") for operation in callers)


def _operation(traceback: TracebackType) -> str:
    """Return the name of the bytecode instruction that a frame was at."""
    code, place = traceback.tb_frame.f_code.co_code, traceback.tb_lasti
    while dis.opname[code[place]] == "CACHE":  # belongs to the instruction before it
        place -= 2
    return dis.opname[code[place]]


class BestWeights(Callback):
    """Stop when the validation loss has not improved for some epochs, and go back to the best weights.

    Every member of a stack keeps its own best weights and has its own patience; training stops when all are done.

    Parameters
    ----------
    patience : int
        Epochs without improvement before training stops.
    tol : float
        By how much the validation loss, in its own units, must fall to count.
    compact : bool
        Whether members that have stopped leave the stack, once they are a quarter of it, so that they cost no more.
    resumes : bool
        Whether training may continue later: from the last weights, though it leaves the best ones.

    Attributes
    ----------
    done_ : bool Tensor of shape (member,)
        Which members have run out of patience.
    """

    def __init__(self, patience, tol, compact=False, resumes=False):
        self.patience = patience
        self.tol = tol
        self.compact = compact
        self.resumes = resumes

    def initialize(self):
        """Forget earlier training."""
        self.state_ = self.last_ = None
        return self

    def on_train_begin(self, net, **kwargs):
        """Begin anew, or continue from the last weights."""
        if self.last_ is None:
            self.state_ = None
        else:
            net.engine_.set_network_state(self.last_)
            self.last_ = None

    def on_epoch_end(self, net, **kwargs):
        """Keep the weights of the members that are at their best; stop once all have run out of patience."""
        engine, epoch = net.engine_, net.record_.n_epochs
        loss = net.valid_loss_.nan_to_num(torch.inf, torch.inf)  # (member,); NaN must never be the best
        if self.state_ is None:
            self.best_, self.best_epoch_ = loss, torch.full_like(loss, epoch)
            self.done_, self.state_ = torch.zeros_like(loss, dtype=torch.bool), engine.network_state()
            return
        better = (loss < self.best_ - self.tol) & ~self.done_
        self.best_ = torch.where(better, loss, self.best_)
        self.best_epoch_ = torch.where(better, epoch, self.best_epoch_)
        if bool(better.any()):
            self.state_ = _mixed(better, engine.network_state(), self.state_)
        done = epoch - self.best_epoch_ >= self.patience
        for m in (done & ~self.done_).nonzero().flatten().tolist():
            net.record_.stopped[int(net.active[m])] = epoch
        self.done_ |= done
        if bool(self.done_.all()):
            raise StopTraining
        # Building a smaller stack takes time, too, so one is not built for each member that stops.
        if self.compact and 4 * int(self.done_.sum()) >= len(self.done_):
            with net.changing():
                self._dismiss(net)

    def _dismiss(self, net) -> None:
        """Let the members that are done leave with their best weights."""
        net.engine_.set_network_state(_mixed(self.done_, self.state_, net.engine_.network_state()))
        net.select_members((~self.done_).nonzero().flatten().cpu())

    def select(self, index: Tensor) -> None:
        """Continue with the members at these places of the stack."""
        if self.state_ is None and self.last_ is None:
            return
        self.best_, self.best_epoch_, self.done_ = (v[index] for v in (self.best_, self.best_epoch_, self.done_))
        for name in ("state_", "last_"):
            if getattr(self, name) is not None:
                setattr(self, name, {key: rows[index] for key, rows in getattr(self, name).items()})

    def on_train_end(self, net, **kwargs):
        """Restore the best weights."""
        if self.state_ is None:
            return
        if self.resumes:
            self.last_ = net.engine_.network_state()
        net.engine_.set_network_state(self.state_)
        if not self.resumes:
            self.state_ = None


def _mixed(choose: Tensor, one: dict[str, Tensor], other: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return `one` for the members that `choose` (member,) picks and `other` for the rest: (member, k) each."""
    return {name: torch.where(choose[:, None], rows, other[name]) for name, rows in one.items()}


class EpochProgress(Callback):
    """One bar over epochs with the losses beside it, on standard error."""

    def on_train_begin(self, net, **kwargs):
        """Draw the bar."""
        from tqdm.auto import tqdm

        self.bar_ = tqdm(total=net.max_epochs, desc="fit", unit="epoch")

    def on_epoch_end(self, net, **kwargs):
        """Move on by one epoch."""
        row = net.history[-1]
        self.bar_.set_postfix({k: f"{row[k]:.4g}" for k in ("train_loss", "valid_loss") if k in row}, refresh=False)
        self.bar_.update()

    def on_train_end(self, net, **kwargs):
        """Close the bar."""
        self.bar_.close()
        del self.bar_
