"""The dense trunk of hard, soft and independent sharing."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from skmtl.sharing._base import SharingModule, TrunkShape, submodule
from skmtl.sharing._dense import DenseStack
from skmtl.sharing._passes import Pass


class DenseTrunk(SharingModule):
    """A dense trunk, one for all tasks or a tower per task, trained by the dense stack's own backward pass.

    Parameters
    ----------
    shape : TrunkShape
        Sizes of the trunk.
    per_task : bool
        Whether there is a tower per task.
    tied : bool, default=False
        Whether the penalty pulls the towers together.
    ties_heads : bool, default=False
        Whether it also pulls the heads together.
    """

    uses_global_generator = False
    needs_autograd = False
    stack = submodule("stack")

    def __init__(self, shape: TrunkShape, per_task: bool, tied: bool = False, ties_heads: bool = False) -> None:
        super().__init__()
        self.per_task = per_task
        sizes = (shape.n_features, *shape.hidden_layer_sizes)
        self.n_features_out = sizes[-1]
        self._tied, self._ties_heads = tied, ties_heads
        stack = (shape.n_members, shape.n_tasks) if per_task else (shape.n_members,)
        self.stack = DenseStack(stack, sizes, shape.activation, shape.dropout, equal_start=per_task)

    @property
    def is_tied(self) -> bool:
        """Whether the penalty pulls the towers together."""
        return self._tied

    @property
    def ties_heads(self) -> bool:
        return self._ties_heads

    def tied(self) -> tuple[DenseStack, ...]:
        return (self.stack,) if self._tied and self.stack.n_layers else ()

    def task_vectors(self) -> Tensor | None:
        if not self.per_task or not self.stack.n_layers:
            return None
        return self.stack.flat_parameters()

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.stack(x)
        return features

    def bind(self, x: Tensor, shape: Sequence[int]) -> Pass:
        return self.stack.bind(x)
