"""The package's own callbacks: losses of an epoch, best weights kept and restored, one progress bar over epochs."""

from __future__ import annotations

import numpy as np
import torch
from skorch.callbacks import Callback, PassthroughScoring


class StopTraining(KeyboardInterrupt):
    """Raised by a callback to end training early; skorch's own callbacks raise its base class."""


class EpochLoss(PassthroughScoring):
    """Record the mean of the batch losses: what its base class does, in a tenth of the time."""

    def on_epoch_end(self, net, **kwargs):
        """Record the mean, weighted by the rows of the batches, and whether it is the best so far."""
        rows = [row for row in net.history[-1]["batches"] if self.name in row]
        if not rows:
            return
        size = "train_batch_size" if self.on_train else "valid_batch_size"
        sizes = np.array([row[size] for row in rows])
        loss = np.array([row[self.name] for row in rows]) @ sizes / sizes.sum()
        is_best = self._is_best_score(loss)
        if is_best:
            self.best_score_ = loss
        net.history.record(self.name, loss)
        net.history.record(f"{self.name}_best", bool(is_best))


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
    """

    def __init__(self, patience, tol, compact=False):
        self.patience = patience
        self.tol = tol
        self.compact = compact

    def on_train_begin(self, net, **kwargs):
        """Forget earlier training."""
        self.weights_ = None

    def on_epoch_end(self, net, **kwargs):
        """Keep the weights of the members that are at their best; stop once all have run out of patience."""
        loss = net.valid_loss_.nan_to_num(torch.inf, torch.inf)  # (member,)
        epoch = net.history[-1, "epoch"]
        if self.weights_ is None:
            self.best_, self.best_epoch_ = loss, torch.full_like(loss, epoch)
            self.done_, self.weights_ = torch.zeros_like(loss, dtype=torch.bool), net.weights()
            return
        better = (loss < self.best_ - self.tol) & ~self.done_
        self.best_ = torch.where(better, loss, self.best_)
        self.best_epoch_ = torch.where(better, epoch, self.best_epoch_)
        if bool(better.any()):
            self.weights_ = torch.where(net.spread(better.to(net.members.lr)) > 0, net.weights(), self.weights_)
        done = epoch - self.best_epoch_ >= self.patience
        for m in (done & ~self.done_).nonzero().flatten().tolist():
            net.last_epochs_[int(net.active[m])] = epoch
        self.done_ |= done
        if bool(self.done_.all()):
            raise StopTraining
        if self.compact and 4 * int(self.done_.sum()) >= len(self.done_):
            with net.changing():
                self._dismiss(net)

    def _dismiss(self, net) -> None:
        """Let the members that are done leave with their best weights."""
        stay = (~self.done_).nonzero().flatten().cpu()
        current, best = net.weights_by_member(), net.weights_by_member(self.weights_)
        net.restore(net.weights_from(torch.where(self.done_[:, None], best, current)))
        net.keep_members(stay)
        self.weights_ = net.weights_from(best[stay])
        self.best_, self.best_epoch_, self.done_ = (v[stay] for v in (self.best_, self.best_epoch_, self.done_))

    def on_train_end(self, net, **kwargs):
        """Restore the best weights."""
        if self.weights_ is not None:
            net.restore(self.weights_)
            self.weights_ = None


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
