"""Attention sharing: every task asks the shared trunk its own question."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral

import torch
from torch import Tensor, nn

from skmtl.sharing._attention_step import AttentionStep
from skmtl.sharing._base import Sharing, SharingModule, StackedModule, TrunkShape
from skmtl.sharing._dense import DenseStack, glorot_uniform


class AttentionSharing(Sharing):
    r"""A learned query per task attends over feature tokens made from the shared trunk.

    The trunk's last layer is followed by a dense layer that gives `n_tokens` **tokens** of the trunk's width: learned
    views of one row, the same for all tasks. Task t has a learned query :math:`q_t`; with keys :math:`k_e` and values
    :math:`v_e` projected from token e, each of `n_heads` heads computes

    .. math:: f_t(x) = \sum_e \mathrm{softmax}_e\big(q_t \cdot k_e(x) / \sqrt{d}\big) \, v_e(x)

    and the heads are joined by an output projection. Rows of a table have no sequence to attend over; tokens made by
    the trunk give the tasks something to choose between, and because keys depend on the row, a task may choose
    differently for each row.

    The penalty that `sharing_lambda` scales is :math:`\sum_{i,j} \|q_i - q_j\|^2`: at 0 the tasks attend as they like,
    for large values all attend alike and differ by their heads only, as in hard sharing.

    Parameters
    ----------
    n_heads : int, default=4
        Attention heads. The width of the trunk must be a multiple of it.
    n_tokens : int, default=8
        Tokens made from each row.

    Notes
    -----
    As in [1]_, with one query per task instead of one per position, and no feed-forward block, residual or
    normalisation after the attention: the heads follow at once.

    References
    ----------
    .. [1] A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.sharing import AttentionSharing
    >>> MultiTaskRegressor(sharing=AttentionSharing(n_heads=2)).get_params()["sharing__n_tokens"]
    8
    """

    def __init__(self, n_heads: int = 4, n_tokens: int = 8) -> None:
        self.n_heads = n_heads
        self.n_tokens = n_tokens

    def build(self, shape: TrunkShape) -> SharingModule:
        """Return the trunk, its tokens and the tasks' attention over them."""
        for name, value in (("n_heads", self.n_heads), ("n_tokens", self.n_tokens)):
            if not isinstance(value, Integral):
                raise TypeError(f"{name} must be an integer. Found {value!r}.")
            if value < 1:
                raise ValueError(f"{name} must be at least 1. Found {value!r}.")
        width = (shape.n_features, *shape.hidden_layer_sizes)[-1]
        if width % self.n_heads:
            raise ValueError(
                f"The width of the trunk must be a multiple of n_heads. Found width {width} and n_heads="
                f"{self.n_heads}. Change the last hidden layer, or sharing=AttentionSharing(n_heads=...)."
            )
        return AttentionModule(shape, width, self.n_heads, self.n_tokens)


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

    def _by_head(self, vectors: Tensor) -> Tensor:
        """Return (member, n, head * d) as (member * head, n, d)."""
        return vectors.unflatten(-1, (self.n_heads, -1)).transpose(1, 2).flatten(0, 1).contiguous()

    def _attend(self, tokens: Tensor) -> Tensor:
        """Return the attention weights (member, batch, head, task, token).

        The query is folded into the key projection, so that no key is ever formed; the keys' bias shifts all scores of
        a query alike and drops out of the softmax.
        """
        d = self.n_features_out // self.n_heads
        query = self._by_head(self.project_query(self.queries.weight))  # (member * head, task, d)
        key = self._by_head(self.key_weight)  # (member * head, width, d)
        fold = torch.bmm(key, query.transpose(1, 2) / math.sqrt(d))  # (member * head, width, task)
        fold = fold.unflatten(0, (-1, self.n_heads)).transpose(1, 2).flatten(2)  # (member, width, head * task)
        scores = torch.bmm(tokens, fold).unflatten(1, (-1, self.n_tokens))  # (member, batch, token, head * task)
        return scores.softmax(2).unflatten(-1, (self.n_heads, -1)).permute(0, 1, 3, 4, 2)
