"""Tasks that read different columns of X: an encoder for each distinct set of them, into one trunk."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from skmtl._memory import moved
from skmtl.sharing import DenseStack, DenseTrunk, Sharing, SharingModule, StackedModule, TrunkShape, submodule


class InputTrunk(SharingModule):
    """One dense layer for each distinct input, into the trunk of a sharing strategy.

    A shared trunk sees the rows once for each distinct input, not for each task; towers see those of their task.

    Parameters
    ----------
    sharing : Sharing
        The strategy; its trunk has all of `shape.hidden_layer_sizes` and reads layers of the first of these widths.
    shape : TrunkShape
        Sizes.
    inputs : sequence of sequences of int
        The columns of X that each task reads, in the network's order of tasks.
    """

    per_task = True
    uses_global_generator = False
    trunk, encoder = submodule("trunk"), submodule("encoder")

    def __init__(self, sharing: Sharing, shape: TrunkShape, inputs: Sequence[Sequence[int]]) -> None:
        super().__init__()
        if not shape.hidden_layer_sizes:
            raise ValueError("features= needs a trunk: give at least one hidden layer. Found hidden_layer_sizes=().")
        distinct = list(dict.fromkeys(map(tuple, inputs)))
        self._input_of = torch.tensor([distinct.index(tuple(own)) for own in inputs])
        self._reads = torch.zeros(len(distinct), 1, shape.n_features, dtype=torch.bool)
        for reads, columns in zip(self._reads, distinct, strict=True):
            reads[0, list(columns)] = True
        width = shape.hidden_layer_sizes[0]
        members = (shape.n_members, len(distinct))
        self.encoder = DenseStack(members, (shape.n_features, width), shape.activation, shape.dropout)
        self._scale_to(self._reads.sum(-1, keepdim=True), width)
        inner = TrunkShape(
            shape.n_tasks, width, shape.hidden_layer_sizes, shape.activation, shape.dropout, shape.n_members
        )
        self.trunk = sharing.build(inner)
        self.n_features_out, self.n_buffered = self.trunk.n_features_out, self.trunk.n_buffered + width
        self.uses_global_generator = self.trunk.uses_global_generator
        if hasattr(self.trunk, "attention_weights"):
            self.attention_weights = self._attention_weights

    def _scale_to(self, n_read: Tensor, width: int) -> None:
        """Scale initial weights from all columns to those that are read."""
        weight = self.encoder.weight_0
        with torch.no_grad():
            weight.mul_(((weight.shape[-2] + width) / (n_read + width)).sqrt())

    def forward(self, x: Tensor) -> Tensor:
        encoded, n_inputs = self._encode(x), len(self._reads)
        self._input_of = moved(self._input_of, x.device)
        if isinstance(self.trunk, DenseTrunk) and self.trunk.per_task:  # each tower reads its task's input alone
            return self.trunk(encoded.unflatten(1, (n_inputs, -1))[:, self._input_of])
        features: Tensor = self.trunk(encoded).unflatten(-2, (n_inputs, -1))
        if not self.trunk.per_task:  # (member, input, batch, feature)
            return features[:, self._input_of]
        return features[:, torch.arange(len(self._input_of), device=x.device), self._input_of]

    def _encode(self, x: Tensor) -> Tensor:
        """Return the inputs' layers, one input's rows after the other's: (member, input * batch, width)."""
        self._reads = moved(self._reads, x.device)
        own = torch.where(self._reads, x.unsqueeze(-3), 0.0)  # ([member,] input, batch, n_features)
        members = self.encoder.stack_shape[0]
        encoded: Tensor = self.encoder(own if own.ndim == 4 else own.expand(members, *own.shape))
        return encoded.flatten(1, 2)

    def _attention_weights(self, x: Tensor) -> Tensor:
        """Return (member, batch, task, token) of each task's own input."""
        weights = self.trunk.attention_weights(self._encode(x)).unflatten(1, (len(self._reads), -1))
        task = torch.arange(len(self._input_of), device=x.device)
        return weights[:, moved(self._input_of, x.device), :, task].permute(1, 2, 0, 3)

    def tied(self) -> Sequence[StackedModule]:
        return self.trunk.tied()

    @property
    def ties_heads(self) -> bool:
        return self.trunk.ties_heads

    def task_vectors(self) -> Tensor | None:
        return self.trunk.task_vectors()
