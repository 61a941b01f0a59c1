"""Softmax over the leaves of a tree, of which labels may name any node."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor

from skmtl._memory import moved
from skmtl.losses._base import Loss, Step

Nodes = tuple[tuple[int, ...], ...]
"""The leaves below each node of a tree."""


class TreeSoftmax(Loss):
    r"""Cross entropy over the leaves of a tree; the probability of an inner node is the sum of its leaves'.

    The loss is :math:`\log \sum_c e^{f_c} - \log \sum_{c \in y} e^{f_c}` in nats, where the label y is a node and c
    runs over leaves. So a label that names an inner node teaches all that it says, and predictions at several depths
    never contradict each other.

    Parameters
    ----------
    trees : sequence of sequences of sequences of int
        For each part the leaves below each of its nodes, numbered from 0.

    References
    ----------
    .. [1] J. Deng et al., "Large-Scale Object Classification Using Label Relation Graphs", ECCV 2014.
    """

    name = "tree_softmax"
    needs_autograd = False

    def __init__(self, trees: Sequence[Sequence[Sequence[int]]]) -> None:
        super().__init__(len(trees))
        self.trees: tuple[Nodes, ...] = tuple(tuple(tuple(map(int, node)) for node in tree) for tree in trees)
        self.n_leaves = tuple(1 + max(max(node) for node in tree) for tree in self.trees)
        self.width = max(self.n_leaves)
        outside = torch.ones(max(map(len, self.trees)), self.n_parts, self.width, dtype=torch.bool)
        for part, tree in enumerate(self.trees):
            for number, node in enumerate(tree):
                outside[number, part, list(node)] = False
        self._outside, self._part = outside, torch.arange(self.n_parts)  # (node, part, leaf)
        self._unused = torch.arange(self.width)[:, None] >= torch.tensor(self.n_leaves)[None, :]

    def __repr__(self) -> str:
        return f"TreeSoftmax({[list(map(list, tree)) for tree in self.trees]})"

    @classmethod
    def examples(cls) -> list[Self]:
        flat = ((0,), (1,), (2,))
        return [cls([flat, (*flat, (0, 1)), (*flat, (3,), (0, 1), (2, 3), (0, 1, 2, 3))])]

    def group_key(self) -> tuple[float, ...]:
        """Return the power of two that holds the number of leaves, as for `Softmax`."""
        return ((self.width - 1).bit_length(),)

    @classmethod
    def join(cls, losses: Sequence[Self]) -> Self:
        return cls([tree for loss in losses for tree in loss.trees])

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        return -self._below_node(self.log_probabilities(raw), target).logsumexp(-2)

    def bind(self, raw: Tensor, losses: Tensor) -> Step:
        raw = self.by_class(raw)

        def step(target: Tensor) -> None:
            log_p = self.log_probabilities(raw)
            own = self._below_node(log_p, target)
            log_node = own.logsumexp(-2, keepdim=True)
            torch.neg(log_node.squeeze(-2), out=losses)
            torch.sub(log_p.exp_(), own.sub_(log_node).exp_(), out=raw)

        return step

    def _below_node(self, log_p: Tensor, target: Tensor) -> Tensor:
        """Return the log probabilities of the leaves below each label's node, -inf of all others."""
        self._outside, self._part = moved(self._outside, log_p.device), moved(self._part, log_p.device)
        outside = self._outside[target.long(), self._part].transpose(-1, -2)  # (..., batch, width, part)
        return log_p.masked_fill(outside, float("-inf"))

    def log_probabilities(self, raw: Tensor) -> Tensor:
        """Return the log probability of each leaf: (..., width, part); -inf for leaves that a part lacks."""
        self._unused = moved(self._unused, raw.device)
        return raw.masked_fill(self._unused, float("-inf")).log_softmax(-2)

    def probabilities(self, raw: Tensor) -> Tensor:
        """Return the probability of each leaf: (..., width, part)."""
        return self.log_probabilities(raw).exp()

    def decode(self, raw: Tensor) -> Tensor:
        """Return the most likely leaf."""
        return self.log_probabilities(raw).argmax(-2).to(raw.dtype)

    def distribution(self, raw: Tensor) -> Tensor:
        return self.probabilities(raw)

    def average(self, raw: Tensor) -> Tensor:
        """Return the logarithms of the mean probabilities."""
        return self.log_probabilities(raw).logsumexp(0) - math.log(len(raw))
