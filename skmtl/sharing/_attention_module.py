r"""The tasks' attention over tokens: as a differentiable module, and forward and backward by hand.

For one row, with E tokens of width w, h heads of width d = w / h, and T tasks:

    X   (E, w)       tokens                      F   (w, hT)    folded queries of all heads and tasks
    V   (E, w)       values                      P   (E, hT)    attention weights
    S   (E, hT)      scores                      O   (hT, w)    mixed values

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
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from skmtl.sharing._base import SharingModule, StackedModule, TrunkShape
from skmtl.sharing._dense import DensePass, DenseStack, glorot_uniform
from skmtl.sharing._passes import Operation, Pass, gradient_of


class TaskQueries(StackedModule):
    """One query per task: (member, task, width)."""

    def __init__(self, n_members: int, n_tasks: int, width: int) -> None:
        super().__init__()
        self.stack_shape = (n_members, n_tasks)
        self.weight = nn.Parameter(torch.randn(n_members, n_tasks, width))


class AttentionModule(SharingModule):
    """Trunk, tokens and the tasks' attention over them; trained by hand, see `AttentionPass`."""

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

    def bind(self, x: Tensor, shape: Sequence[int]) -> AttentionPass:
        return AttentionPass(self, x)

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
        a query by the same amount and cancels of the softmax.
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


class AttentionPass(Pass):
    """A training step through trunk, tokens and attention.

    Parameters
    ----------
    module : AttentionModule
        Its parameters are used.
    x : Tensor
        The buffer that will hold the batches.
    """

    def __init__(self, module: AttentionModule, x: Tensor) -> None:
        super().__init__()
        self._key, self._queries = module.key_weight.detach(), module.queries.weight.detach()
        self._key_gradient, self._queries_gradient = gradient_of(module.key_weight), gradient_of(module.queries.weight)
        members, tasks, width = self._queries.shape
        batch, self._n_heads, tokens = x.shape[-2], module.n_heads, module.n_tokens
        self._allocate(batch, tokens)
        self._trunk = module.trunk.bind(x)
        self._tokens = module.tokens.bind(self._trunk.out)
        self._tokens_out, copy_tokens = _viewed(self._tokens.out, (members, batch * tokens, width))  # X
        self._query = module.project_query.bind(self._queries)
        self._value = module.project_value.bind(self._tokens_out)
        self._value_out, copy_value = _viewed(self._value.out, (members * batch, tokens, width))  # V
        self._project_out = module.project_out.bind(self._mixed)
        self._by_task = (members, batch, tasks, width)
        self.forward = [
            *self._trunk.forward,
            *self._tokens.forward,
            *copy_tokens,
            *self._query.forward,
            self._fold_queries,
            *self._value.forward,
            *copy_value,
            self._attend,
            *self._project_out.forward,
            partial(self.out.copy_, self._project_out.out.unflatten(1, (batch, tasks)).transpose(1, 2)),
        ]

    def _allocate(self, batch: int, tokens: int) -> None:
        """Create the buffers of the attention itself."""
        (members, tasks, width), heads, new = self._queries.shape, self._n_heads, self._key.new_empty
        rows, d = members * batch, width // heads
        self._scale = 1.0 / math.sqrt(d)
        self._q = new(members, heads, tasks, d)
        self._key_by_head = new(members, heads, width, d)  # K
        self._fold = new(members, width, heads, tasks)  # F
        self._fold_gradient = new(members, heads, width, tasks)
        self._softmax = new(rows, tokens, heads * tasks)  # P
        self._all_mixed = new(rows, heads * tasks, width)  # O
        self._all_mixed_gradient = self._key.new_zeros(rows, heads * tasks, width)
        self._own_mixed, self._own_mixed_gradient = (  # of each head its own columns: (member, batch, task, head, d)
            every.view(members, batch, heads, tasks, heads, d).diagonal(dim1=2, dim2=4).transpose(-1, -2)
            for every in (self._all_mixed, self._all_mixed_gradient)
        )
        self._mixed = new(members, batch * tasks, width)
        self.out = new(members, tasks, batch, width)

    def receive(self, gradient: Tensor) -> None:
        new = self._key.new_empty
        out_gradient = new(self._mixed.shape)
        self._value_gradient, self._query_gradient = new(self._value_out.shape), new(self._queries.shape)
        self._score_gradient = new(self._softmax.shape)
        mixed_gradient = _receive(self._project_out, out_gradient)
        queries_gradient = _receive(self._query, self._query_gradient)
        self._tokens_gradient = _receive(self._value, self._value_gradient.view(self._tokens_out.shape))
        trunk_gradient = _receive(self._tokens, self._tokens_gradient.view(self._tokens.out.shape))
        self._trunk.receive(trunk_gradient)
        self.backward = [
            partial(out_gradient.view(self._by_task).copy_, gradient.transpose(1, 2)),
            *self._project_out.backward,
            partial(self._own_mixed_gradient.copy_, mixed_gradient.view(self._own_mixed_gradient.shape)),
            self._attend_backward,
            self._fold_backward,
            *self._query.backward,
            partial(self._queries_gradient.copy_, queries_gradient),
            *self._value.backward,
            self._add_tokens_gradient,
            *self._tokens.backward,
            *self._trunk.backward,
        ]

    def _fold_queries(self) -> None:
        """Compute F."""
        self._q.copy_(_by_head(self._query.out, self._n_heads))
        self._key_by_head.copy_(_by_head(self._key, self._n_heads))
        fold = torch.bmm(self._key_by_head.flatten(0, 1), self._q.flatten(0, 1).transpose(1, 2)).mul_(self._scale)
        self._fold.copy_(fold.view(self._fold_gradient.shape).transpose(1, 2))

    def _attend(self) -> None:
        """Compute P and O."""
        scores = torch.bmm(self._tokens_out, self._fold.flatten(2)).view(self._softmax.shape)
        torch.softmax(scores, 1, out=self._softmax)
        torch.bmm(self._softmax.transpose(1, 2), self._value_out, out=self._all_mixed)
        self._mixed.view(self._own_mixed.shape).copy_(self._own_mixed)

    def _attend_backward(self) -> None:
        """Compute dV and dS."""
        torch.bmm(self._softmax, self._all_mixed_gradient, out=self._value_gradient)
        torch.bmm(self._value_out, self._all_mixed_gradient.transpose(1, 2), out=self._score_gradient)
        _softmax_backward(self._score_gradient, self._softmax)

    def _fold_backward(self) -> None:
        """Compute dF, dK and dq."""
        of_fold = torch.bmm(self._tokens_out.transpose(1, 2), self._by_token(self._score_gradient))
        self._fold_gradient.copy_(of_fold.view(self._fold.shape).transpose(1, 2)).mul_(self._scale)
        fold = self._fold_gradient.flatten(0, 1)
        key = torch.bmm(fold, self._q.flatten(0, 1))
        _by_head(self._key_gradient, self._n_heads).copy_(key.view(self._key_by_head.shape))
        query = torch.bmm(fold.transpose(1, 2), self._key_by_head.flatten(0, 1))
        _by_head(self._query_gradient, self._n_heads).copy_(query.view(self._q.shape))

    def _add_tokens_gradient(self) -> None:
        """Add the scores' part to dX, which so far holds the part of V."""
        self._tokens_gradient.baddbmm_(self._by_token(self._score_gradient), self._fold.flatten(2).transpose(1, 2))

    def _by_token(self, scores: Tensor) -> Tensor:
        """Return (member * batch, token, column) as (member, batch * token, column)."""
        return scores.view(*self._tokens_out.shape[:2], -1)


def _viewed(out: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, list[Operation]]:
    """Return a view of `out` with other axes, or a copy and what fills it if its memory is not contiguous."""
    if out.is_contiguous():
        return out.view(shape), []
    copy = out.new_empty(shape)
    return copy, [partial(copy.view(out.shape).copy_, out)]


def _receive(pass_: DensePass, gradient: Tensor) -> Tensor:
    """Return the buffer for the gradient of a dense layer's input."""
    found = pass_.receive(gradient, input_gradient=True)
    assert found is not None
    return found


def _by_head(vectors: Tensor, n_heads: int) -> Tensor:
    """Return the view (member, head, n, d) of vectors (member, n, head * d)."""
    return vectors.unflatten(-1, (n_heads, -1)).transpose(1, 2)


def _softmax_backward(gradient: Tensor, softmax: Tensor) -> None:
    """Make the gradient of a softmax over tokens that of the scores (n, token, column)."""
    gradient.mul_(softmax)
    gradient.addcmul_(softmax, gradient.sum(1, keepdim=True), value=-1.0)
