r"""Forward and backward of attention by hand, between buffers that are allocated once per batch size.

For one row, with tokens X, folded queries F of all heads and tasks, values V and mixed values O:

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
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from skmtl.sharing._base import gradient_of
from skmtl.sharing._dense import DenseStack
from skmtl.sharing._views import ViewOf

if TYPE_CHECKING:
    from skmtl.sharing._attention import AttentionModule


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
