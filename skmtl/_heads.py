"""The heads: from features to the raw columns of all tasks, as one linear map or one stack of networks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from skmtl._memory import moved
from skmtl.sharing import DensePass, DenseStack, Pass, gradient_of, is_view, submodule
from skmtl.tasks import LossGroup, TaskLayout


class SharedHeads(nn.Module):
    """All heads as one linear map from shared features to the raw columns."""

    stack = submodule("stack")
    _constant: Tensor | None = None  # which columns X does not change

    def __init__(self, n_members: int, n_features: int, layout: TaskLayout) -> None:
        super().__init__()
        self._layout, self.n_tasks = layout, layout.n_tasks
        several = len(layout.groups) > 1  # whose losses read their columns only
        sizes = n_features, layout.n_outputs
        self.stack = DenseStack((n_members,), sizes, "identity", linear_output=True, batch_last=several)
        if layout.constant_columns is not None:
            self._constant = torch.as_tensor(layout.constant_columns)
            _hold_constant(self.stack, self._constant)

    def forward(self, features: Tensor) -> Tensor:
        raw: Tensor = self.stack(features)
        return raw

    def bind(self, features: Tensor) -> DensePass | _ConstantPass:
        dense = self.stack.bind(features)
        return dense if self._constant is None else _ConstantPass(dense, self.stack, self._constant)

    def change_units(self, factor: Tensor, shift: Tensor) -> None:
        """Let every output f of part j become ``factor[j] * f + shift[j]``."""
        part = torch.as_tensor(self._layout.column_parts, device=factor.device)
        with torch.no_grad():
            self.stack.weight_0.mul_(factor[part])
            self.stack.bias_0.mul_(factor[part]).add_(shift[part])

    def similarity(self) -> Tensor:
        """Return the similarity of the heads: (member, task, task).

        For heads W_i and W_j of shape (features, width) it is ||W_i' W_j|| / sqrt(||W_i' W_i|| ||W_j' W_j||) in the
        Frobenius norm; for one output column each, the cosine of the two columns with its sign.
        """
        weight = self.stack.weight_0.detach()  # (member, features, columns)
        gram = weight.transpose(1, 2) @ weight
        owner = torch.as_tensor(self._layout.column_owners, device=weight.device)
        pick = nn.functional.one_hot(owner, self.n_tasks).to(weight.dtype)  # (columns, task)
        norm = (pick.T @ gram.square() @ pick).sqrt()
        single = pick.sum(0) == 1
        signed = torch.where(single[:, None] & single[None, :], (pick.T @ gram @ pick).sign(), 1.0)
        own = norm.diagonal(dim1=1, dim2=2).clamp_min(torch.finfo(weight.dtype).tiny).sqrt()
        return signed * norm / (own[:, :, None] * own[:, None, :])


class TaskHeads(nn.Module):
    """A head per task on the features of that task, or with hidden layers per task: stacked over (member, task).

    All heads are as wide as the task of most raw columns; the others leave their last outputs unused.
    """

    stack = submodule("stack")
    constant: Tensor | None = None  # which outputs X does not change

    def __init__(
        self, n_members: int, sizes: tuple[int, ...], layout: TaskLayout, activation: str, dropout: float
    ) -> None:
        super().__init__()
        self._layout, self.groups, self.n_tasks = layout, layout.groups, layout.n_tasks
        shape, widest = (n_members, self.n_tasks), int(layout.task_widths.max())
        self.stack = DenseStack(shape, (*sizes, widest), activation, dropout, linear_output=True, equal_start=True)
        self.slots = None if layout.has_one_part_each else _Slots(layout)
        if layout.constant_columns is not None:
            self.constant = _constant_slots(layout)
            _hold_constant(self.stack, self.constant)

    def forward(self, features: Tensor) -> Tensor:
        return self._to_columns(self.stack(features))

    def bind(self, features: Tensor) -> TaskHeadsPass:
        return TaskHeadsPass(self, features)

    def change_units(self, factor: Tensor, shift: Tensor) -> None:
        """Let every output f of part j become ``factor[j] * f + shift[j]``."""
        weight, bias = self.stack._pair(self.stack.n_layers - 1)
        factor, shift = factor[:, None], shift[:, None]  # (task, 1)
        if self.slots is not None:
            factor, shift = self.slots.of_parts(factor, 1.0), self.slots.of_parts(shift, 0.0)  # (task, slot)
        with torch.no_grad():
            weight.mul_(factor[:, None])
            bias.mul_(factor[:, None]).add_(shift[:, None])

    def similarity(self) -> Tensor:
        """Return the cosine of the heads' parameters: (member, task, task)."""
        unit = nn.functional.normalize(self.stack.flat_parameters(), dim=-1)
        return unit @ unit.transpose(-1, -2)

    def _to_columns(self, outputs: Tensor) -> Tensor:
        """Return (member, task, batch, width) as raw columns (member, batch, n_outputs), class before task."""
        if self.slots is not None:
            return self.slots.gather(outputs)
        parts = [_outputs_of(group, outputs).flatten(-2) for group in self.groups]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


class TaskHeadsPass(Pass):
    """A training step through a head per task: its outputs are copied to the raw columns, loss by loss.

    Heads of one output each need no copy: their raw columns are another view of the same memory. Where a task has
    several parts, columns are gathered from the outputs of their tasks instead.
    """

    def __init__(self, heads: TaskHeads, features: Tensor) -> None:
        super().__init__()
        self._heads = heads
        dense = heads.stack.bind(features)
        self._dense = dense if heads.constant is None else _ConstantPass(dense, heads.stack, heads.constant)
        self.out = heads._to_columns(self._dense.out)
        if len(heads.groups) > 1:  # whose losses read their columns only: the batch lies last in memory
            self.out = self.out.mT.contiguous().mT
        self.forward = [*self._dense.forward]
        if heads.slots is not None:
            self.forward.append(partial(heads.slots.gather_, self.out, self._dense.out))
        elif not is_view(self.out, self._dense.out):
            self.forward += [partial(c.copy_, o) for c, o in self._pairs(self.out, self._dense.out)]

    def receive(self, gradient: Tensor, input_gradient: bool = False) -> Tensor | None:
        outputs, copies = self._dense.out, []
        if not is_view(gradient, outputs):
            outputs = outputs.clone().zero_()  # and zero it stays where a task has fewer outputs than the widest
            if self._heads.slots is not None:
                copies = [partial(self._heads.slots.scatter_, outputs, gradient)]
            else:
                copies = [partial(o.copy_, c) for c, o in self._pairs(gradient, outputs)]
        of_features = self._dense.receive(outputs, input_gradient)
        self.backward = [*copies, *self._dense.backward]
        return of_features

    def _pairs(self, columns: Tensor, outputs: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield each loss's part of the raw columns and of the outputs: (member, batch, width, task) both."""
        for group in self._heads.groups:
            yield group.view(columns), _outputs_of(group, outputs)


def _outputs_of(group: LossGroup, outputs: Tensor) -> Tensor:
    """Return what a group's tasks put out, of (member, task, batch, width): (member, batch, width, task)."""
    return outputs[:, group.parts, :, : group.loss.width].permute(0, 2, 3, 1)


class _ConstantPass(Pass):
    """A training step through heads of which some outputs are the same for all rows: their weights remain 0.

    Parameters
    ----------
    dense : DensePass
        Through all outputs.
    stack : DenseStack
        The heads.
    constant : bool Tensor of shape (n_outputs,) or (task, 1, n_outputs)
        Which outputs X does not change.
    """

    def __init__(self, dense: DensePass, stack: DenseStack, constant: Tensor) -> None:
        super().__init__()
        self._dense, self.out, self.forward = dense, dense.out, dense.forward
        weight, _ = stack._pair(stack.n_layers - 1)
        gradient = gradient_of(weight)
        self._hold = partial(gradient.masked_fill_, constant.to(gradient.device), 0.0)

    def receive(self, gradient: Tensor, input_gradient: bool = False) -> Tensor | None:
        of_features = self._dense.receive(gradient, input_gradient)
        self.backward = [*self._dense.backward, self._hold]
        return of_features


def _hold_constant(stack: DenseStack, constant: Tensor) -> None:
    """Begin with weights of 0 for the outputs that X does not change."""
    with torch.no_grad():
        stack._pair(stack.n_layers - 1)[0].masked_fill_(constant, 0.0)


def _constant_slots(layout: TaskLayout) -> Tensor:
    """Return which outputs of each task's head X does not change: (task, 1, slot)."""
    constant = np.zeros((layout.n_tasks, 1, int(layout.task_widths.max())), dtype=bool)
    constant[layout.column_owners, 0, layout.column_slots] = layout.constant_columns
    return torch.as_tensor(constant)


class _Slots:
    """The raw columns among the outputs of the tasks' heads, where tasks own several parts.

    A task's outputs are divided into slots, its parts one after the other; every raw column is one slot of one task.
    """

    def __init__(self, layout: TaskLayout) -> None:
        self._task, self._slot = torch.as_tensor(layout.column_owners), torch.as_tensor(layout.column_slots)
        self._part, self._shape = torch.as_tensor(layout.column_parts), (layout.n_tasks, int(layout.task_widths.max()))

    def gather(self, outputs: Tensor) -> Tensor:
        """Return (member, task, batch, slot) as raw columns (member, batch, n_outputs)."""
        return self._by_slot(outputs)[self._task, self._slot].permute(1, 2, 0)

    def gather_(self, columns: Tensor, outputs: Tensor) -> None:
        """Write what `gather` returns to `columns`."""
        columns.copy_(self.gather(outputs))

    def scatter_(self, outputs: Tensor, columns: Tensor) -> None:
        """Write raw columns to their slots: the inverse of `gather_`. No two share a slot."""
        self._by_slot(outputs)[self._task, self._slot] = columns.permute(2, 0, 1)

    def of_parts(self, values: Tensor, fill: float) -> Tensor:
        """Return a value per part, (part, 1), for each slot: (task, slot)."""
        slots = values.new_full(self._shape, fill)
        slots[self._task.to(values.device), self._slot.to(values.device)] = values[self._part.to(values.device), 0]
        return slots

    def _by_slot(self, outputs: Tensor) -> Tensor:
        """Return a view (task, slot, member, batch)."""
        self._task, self._slot = moved(self._task, outputs.device), moved(self._slot, outputs.device)
        return outputs.permute(1, 3, 0, 2)
