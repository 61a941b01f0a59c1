"""skorch's batch hooks: those that callbacks define, and what callbacks see of a batch."""

from __future__ import annotations

from skorch import NeuralNet
from skorch.callbacks import Callback, LRScheduler
from torch import Tensor

from skmtl.training._batches import Batch
from skmtl.training._data import mark_missing


class Hooks:
    """The batch hooks of those callbacks that define them."""

    def __init__(self, batch_begin: list, grad_computed: list, batch_end: list) -> None:
        self.batch_begin, self.grad_computed, self.batch_end = batch_begin, grad_computed, batch_end

    @classmethod
    def of(cls, callbacks: list[tuple[str, Callback]]) -> Hooks:
        def listening(name: str) -> list:
            default = getattr(Callback, name)
            return [
                getattr(callback, name)
                for _, callback in callbacks
                if getattr(type(callback), name) is not default and not _idle(callback, name)
            ]

        return cls(*(listening(name) for name in ("on_batch_begin", "on_grad_computed", "on_batch_end")))

    def __bool__(self) -> bool:
        return bool(self.batch_begin or self.grad_computed or self.batch_end)

    def begin(self, net: NeuralNet, batch: tuple[Tensor, Tensor] | None, training: bool) -> None:
        for hook in self.batch_begin:
            hook(net, batch=batch, training=training)

    def end(self, net: NeuralNet, batch: tuple[Tensor, Tensor] | None, training: bool, **values: Tensor) -> None:
        for hook in self.batch_end:
            hook(net, batch=batch, training=training, **values)


def _idle(callback: Callback, hook: str) -> bool:
    return isinstance(callback, LRScheduler) and hook == "on_batch_end" and callback.step_every == "epoch"


def as_callbacks_see(batch: Batch) -> tuple[Tensor, Tensor]:
    """Return features and targets, NaN where missing, as callbacks see them: (batch, ...)."""
    shown = batch.x, mark_missing(batch.y, batch.coefficient)
    return tuple(part.flatten(0, 1) for part in shown) if batch.by_member else shown
