r"""The tasks' attention over tokens: as a differentiable module, and forward and backward by hand.

The pass by hand runs between buffers that are allocated once per batch size. For one row, with tokens X, folded
queries F of all heads and tasks, values V and mixed values O:

    forward     S = X F          P = softmax(S) over tokens         O = P^T V
    backward    dV = P dO        dP = V dO^T                        dS = P * (dP - sum over tokens of P dP)
                dF = X^T dS      dX = dS F^T  (and what V adds)

F joins the key projection K and the projected query q of a head, F = K q^T / sqrt(d), so no key is ever formed; then
dK = dF q / sqrt(d) and dq = dF^T K / sqrt(d). A head mixes its own d columns of V only. O holds what it makes of all of
them, and dO is zero outside of its own: one product for a row takes less time than one for each of its heads, as small
as they are. The dense layers before, between and after do their own part.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from skmtl.sharing._base import SharingModule, StackedModule, TrunkShape, gradient_of
from skmtl.sharing._dense import DenseStack, glorot_uniform
from skmtl.sharing._views import ViewOf


class TaskQueries(StackedModule):
    """One query per task: (member, task, width)."""

    def __init__(self, n_members: int, n_tasks: int, width: int) -> None:
        super().__init__()
        self.stack_shape = (n_members, n_tasks)
        self.weight = nn.Parameter(torch.randn(n_members, n_tasks, width))


class AttentionModule(SharingModule):
    """Trunk, tokens and the tasks' attention over them; trained by hand, see `AttentionStep`."""

    per_task = True
    uses_global_generator = False
    needs_autograd = False

    def __init__(self, shape: TrunkShape, width: int, n_heads: int, n_tokens: int) -> None:
        super().__init__()
        members = shape.n_members
        self.n_features_out = width
        self.n_heads, self.n_tokens = n_heads, n_tokens
        sizes = (shape.n_features, *shape.hidden_layer_sizes)
        self.trunk = DenseStack((members,), sizes, shape.activation, shape.dropout)
        self.tokens = DenseStack((members,), (width, n_tokens * width), shape.activation)
        self.queries = TaskQueries(members, shape.n_tasks, width)
        self.project_query = DenseStack((members,), (width, width), "identity")
        self.key_weight = nn.Parameter(glorot_uniform((members, width, width)))
        self.project_value = DenseStack((members,), (width, width), "identity")
        self.project_out = DenseStack((members,), (width, width), "identity")
        self.n_buffered = (width + n_tokens) * 2 * n_heads * shape.n_tasks + 6 * n_tokens * width
        self._steps: dict[int, AttentionStep] = {}  # by rows of a batch

    @property
    def n_shared(self) -> int:
        return self.n_features_out

    def tied(self) -> tuple[TaskQueries, ...]:
        return (self.queries,)

    def task_vectors(self) -> Tensor:
        vectors: Tensor = self.project_query(self.queries.weight)
        return vectors

    def shared(self, x: Tensor) -> Tensor:
        features: Tensor = self.trunk(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        tokens = self._tokens(x)  # (member, batch * token, width)
        weights = self._attend(tokens)  # (member, batch, head, task, token)
        value = self._split(self.project_value(tokens)).transpose(2, 3)  # (member, batch, head, token, d)
        attended = (weights @ value).transpose(2, 3).flatten(3)  # (member, batch, task, width)
        out = self.project_out(attended.flatten(1, 2)).unflatten(1, attended.shape[1:3])
        return out.transpose(1, 2)  # (member, task, batch, width)

    def forward_train(self, x: Tensor) -> Tensor:
        batch = x.shape[-2]
        if batch not in self._steps:
            with torch.inference_mode(False):  # its buffers outlive the pass that needs them first
                self._steps[batch] = AttentionStep(self, batch)
        self._steps[0] = self._steps[batch]  # the one that `backward` will read; no batch has 0 rows
        return self._steps[0].forward(x)

    def backward(self, gradient: Tensor) -> None:
        self._steps[0].backward(gradient)

    def release(self) -> None:
        """Let go of all buffers; the next pass makes new ones."""
        self._steps = {}

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> AttentionModule:
        self.release()
        return super()._apply(fn, recurse)  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, object]:
        return {**super().__getstate__(), "_steps": {}}

    def attention_weights(self, x: Tensor) -> Tensor:
        """Return (member, batch, task, token), the mean over heads; they sum to one over the tokens."""
        return self._attend(self._tokens(x)).mean(2)

    def _tokens(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.tokens(self.trunk(x))
        return tokens.unflatten(-1, (self.n_tokens, -1)).flatten(1, 2)

    def _split(self, tokens: Tensor) -> Tensor:
        """Return (member, batch, token, head, d)."""
        return tokens.unflatten(-1, (self.n_heads, -1)).unflatten(1, (-1, self.n_tokens))

    def _attend(self, tokens: Tensor) -> Tensor:
        """Return the attention weights (member, batch, head, task, token).

        The query is folded into the key projection, so that no key is ever formed; the keys' bias shifts all scores of
        a query alike and drops out of the softmax.
        """
        d = self.n_features_out // self.n_heads
        query, key = (
            _by_head(vectors, self.n_heads).flatten(0, 1).contiguous()  # (member * head, task or width, d)
            for vectors in (self.project_query(self.queries.weight), self.key_weight)
        )
        fold = torch.bmm(key, query.transpose(1, 2) / math.sqrt(d))  # (member * head, width, task)
        fold = fold.unflatten(0, (-1, self.n_heads)).transpose(1, 2).flatten(2)  # (member, width, head * task)
        scores = torch.bmm(tokens, fold).unflatten(1, (-1, self.n_tokens))  # (member, batch, token, head * task)
        return scores.softmax(2).unflatten(-1, (self.n_heads, -1)).permute(0, 1, 3, 4, 2)


class AttentionStep:
    """A training step of attention for batches of one size.

    Parameters
    ----------
    module : AttentionModule
        Whose step it is.
    batch : int
        Rows of a batch.
    """

    def __init__(self, module: AttentionModule, batch: int) -> None:
        self._module = module
        self._key, self._queries = module.key_weight.detach(), module.queries.weight.detach()
        members, tasks, width = self._queries.shape
        heads, tokens, rows = module.n_heads, module.n_tokens, members * batch
        d = width // heads
        self._scale = 1.0 / math.sqrt(d)
        new = self._key.new_empty
        self._query = new(members, heads, tasks, d)  # q
        self._key_by_head = new(members, heads, width, d)  # K
        self._fold = new(members, width, heads, tasks)  # F
        self._fold_gradient = new(members, heads, width, tasks)
        self._all_mixed = new(rows, heads * tasks, width)  # O
        self._all_mixed_gradient = self._key.new_zeros(rows, heads * tasks, width)
        self._score_gradient = new(rows, tokens, heads * tasks)
        # What dense layers read is one and the same tensor in every step, for they are bound to it.
        self._mixed = new(members, batch * tasks, width)
        self._features = new(members, tasks, batch, width)
        self._features_gradient = new(members, batch * tasks, width)
        self._value_gradient = new(members, batch * tokens, width)
        self._query_gradient = new(members, tasks, width)
        self._as_tokens = ViewOf(lambda out: out.contiguous().view(members, batch * tokens, width))
        self._as_outputs = ViewOf(lambda rows: rows.view(members, batch, tokens * width))
        # The same buffers with other axes.
        by_head = (members, batch, heads, tasks, heads, d)
        self._own_mixed, self._own_mixed_gradient = (
            every.view(by_head).diagonal(dim1=2, dim2=4).transpose(-1, -2)  # (member, batch, task, head, d)
            for every in (self._all_mixed, self._all_mixed_gradient)
        )
        self._by_row = (rows, tokens, -1)
        self._by_task = (members, batch, tasks, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return the features (member, task, batch, width)."""
        module, q = self._module, self._query
        self._x = self._as_tokens(module.tokens.forward_train(module.trunk.forward_train(x)))
        q.copy_(_by_head(module.project_query.forward_train(self._queries), module.n_heads))
        self._key_by_head.copy_(_by_head(self._key, module.n_heads))
        fold = torch.bmm(self._key_by_head.flatten(0, 1), q.flatten(0, 1).transpose(1, 2)).mul_(self._scale)
        self._fold.copy_(fold.view(self._fold_gradient.shape).transpose(1, 2))
        self._softmax = torch.bmm(self._x, self._fold.flatten(2)).view(self._by_row).softmax(1)
        self._value = module.project_value.forward_train(self._x).contiguous().view(self._by_row)
        torch.bmm(self._softmax.transpose(1, 2), self._value, out=self._all_mixed)
        self._mixed.view(self._own_mixed.shape).copy_(self._own_mixed)
        out = module.project_out.forward_train(self._mixed)
        return self._features.copy_(out.reshape(self._by_task).transpose(1, 2))

    def backward(self, gradient: Tensor) -> None:
        """Set the gradient of every parameter, given that of the features."""
        module = self._module
        self._features_gradient.view(self._by_task).copy_(gradient.transpose(1, 2))
        mixed_gradient = _backward(module.project_out, self._features_gradient)
        self._own_mixed_gradient.copy_(mixed_gradient.view(self._own_mixed_gradient.shape))
        torch.bmm(self._softmax, self._all_mixed_gradient, out=self._value_gradient.view(self._by_row))
        torch.bmm(self._value, self._all_mixed_gradient.transpose(1, 2), out=self._score_gradient)
        score_gradient = _softmax_backward(self._score_gradient, self._softmax).view(*self._x.shape[:2], -1)
        self._gradient_of_fold(torch.bmm(self._x.transpose(1, 2), score_gradient))
        x_gradient = _backward(module.project_value, self._value_gradient)
        x_gradient.baddbmm_(score_gradient, self._fold.flatten(2).transpose(1, 2))
        module.trunk.backward(_backward(module.tokens, self._as_outputs(x_gradient)))

    def _gradient_of_fold(self, gradient: Tensor) -> None:
        """Hand the gradient of F, (member, width, head * task), on to the keys and the queries."""
        module, heads = self._module, self._module.n_heads
        self._fold_gradient.copy_(gradient.view(self._fold.shape).transpose(1, 2)).mul_(self._scale)
        fold = self._fold_gradient.flatten(0, 1)
        key = torch.bmm(fold, self._query.flatten(0, 1))
        _by_head(gradient_of(module.key_weight), heads).copy_(key.view(self._key_by_head.shape))
        query = torch.bmm(fold.transpose(1, 2), self._key_by_head.flatten(0, 1))
        _by_head(self._query_gradient, heads).copy_(query.view(self._query.shape))
        gradient_of(module.queries.weight).copy_(_backward(module.project_query, self._query_gradient))


def _backward(stack: DenseStack, gradient: Tensor) -> Tensor:
    """Return the gradient of what a dense layer read."""
    found = stack.backward(gradient, input_gradient=True)
    assert found is not None
    return found


def _by_head(vectors: Tensor, n_heads: int) -> Tensor:
    """Return the view (member, head, n, d) of vectors (member, n, head * d)."""
    return vectors.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def _softmax_backward(gradient: Tensor, softmax: Tensor) -> Tensor:
    """Return the gradient of scores (n, token, column) whose softmax runs over the tokens; overwrites `gradient`."""
    gradient.mul_(softmax)
    return gradient.addcmul_(softmax, gradient.sum(1, keepdim=True), value=-1.0)
