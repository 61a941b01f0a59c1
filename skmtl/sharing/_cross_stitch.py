"""Cross-stitch sharing: a tower per task, and after each layer every tower reads a learned mix of all towers."""

from __future__ import annotations

from itertools import pairwise
from numbers import Real

import torch
from torch import Tensor, nn

from skmtl.sharing._base import Sharing, SharingModule, TrunkShape
from skmtl.sharing._dense import DenseStack


class CrossStitch(Sharing):
    r"""A tower per task; after each layer every tower reads a learned mix of all of them.

    After hidden layer :math:`l` task :math:`s` continues with :math:`\sum_t A^l_{st} h^l_t`, where :math:`h^l_t` are
    the activations of tower t and the **stitches** :math:`A^l` are learned: how much to share, and with whom, is found
    layer by layer. The towers start from different weights. There is no penalty, so `sharing_lambda` does not act on
    it.

    Parameters
    ----------
    self_weight : float, default=0.9
        :math:`A_{tt}` at the start, in [0, 1]; the other tasks share the rest equally. 1 starts from independent
        towers.

    Notes
    -----
    As in [1]_, with one stitch for all units of a layer. Every hidden layer is stitched; the paper stitches only some.
    What is learned is the difference of the stitches from their start, so that weight decay pulls them back there and
    not to zero.

    References
    ----------
    .. [1] I. Misra, A. Shrivastava, A. Gupta, M. Hebert, "Cross-stitch Networks for Multi-task Learning", CVPR 2016.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.sharing import CrossStitch
    >>> model = MultiTaskRegressor(sharing=CrossStitch(self_weight=0.5))
    >>> model.get_params()["sharing__self_weight"]
    0.5
    """

    name = "cross_stitch"

    def __init__(self, self_weight: float = 0.9) -> None:
        self.self_weight = self_weight

    def build(self, shape: TrunkShape) -> SharingModule:
        """Return towers of shape ``(member, task)`` and the stitches between them."""
        if not isinstance(self.self_weight, Real) or not 0 <= self.self_weight <= 1:
            raise ValueError(f"CrossStitch: self_weight must be in [0, 1]. Found {self.self_weight!r}.")
        if not shape.hidden_layer_sizes:
            raise ValueError(
                "Cross-stitch sharing mixes the towers after each hidden layer, but hidden_layer_sizes=() leaves none. "
                "Give at least one hidden layer, or use sharing='independent'."
            )
        return _CrossStitchModule(shape, float(self.self_weight))


class _CrossStitchModule(SharingModule):
    per_task = True
    uses_global_generator = False

    def __init__(self, shape: TrunkShape, self_weight: float) -> None:
        super().__init__()
        members, tasks, hidden = shape.n_members, shape.n_tasks, shape.hidden_layer_sizes
        self.n_features_out = hidden[-1]
        self.n_buffered = 2 * tasks * sum(hidden)
        self.layers = nn.ModuleList(
            DenseStack((members, tasks), sizes, shape.activation, shape.dropout)
            for sizes in pairwise((shape.n_features, *hidden))
        )
        self.stitches = nn.ParameterList(torch.zeros(members, tasks, tasks) for _ in hidden)  # less their start
        start = torch.full((tasks, tasks), (1.0 - self_weight) / max(tasks - 1, 1)).fill_diagonal_(self_weight)
        self.register_buffer("_start", start if tasks > 1 else torch.ones(1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for layer, stitch in zip(self.layers, self._mixes(), strict=True):
            h = torch.einsum("mst,mtbf->msbf", stitch, layer(h))  # (member, task, batch, hidden)
        return h

    def task_vectors(self) -> Tensor:
        """Return what each task reads of every tower, layer by layer: tasks that read the same towers are similar."""
        return torch.cat(self._mixes(), dim=-1)

    def _mixes(self) -> list[Tensor]:
        """Return the stitches of each layer: (member, reading task, tower)."""
        return [self._start + stitch for stitch in self.stitches]
