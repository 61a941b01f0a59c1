r"""The tasks' attention over places of a row: tokens of a text, pixels or cells of an image.

For one row, with P places of width w, h heads, T tasks that read the row and a query :math:`q_{t,k}` of each head:

.. math:: a_t(x) = \mathrm{join}_k \sum_p \mathrm{softmax}_p\big(q_{t,k} \cdot \hat f_p(x) / \sqrt w\big) f_p(x)

Keys are the features divided by their root mean square: how sharply a task looks does not depend on their scale.

A task over places has a gate instead: it reads :math:`2 \, \sigma(f_p G_t + r R_t + b_t) \odot f_p` of features
:math:`f_p` and of those of the row, r.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm

from skmtl.sharing._attention_module import TaskQueries
from skmtl.sharing._base import SharingModule, StackedModule, TrunkShape
from skmtl.sharing._dense import DenseStack, glorot_uniform


class PlacesShape(NamedTuple):
    """Places of a row: how many, the width of their features, and the number of tasks that read them one by one."""

    n_places: int
    width: int
    n_tasks: int


class Gate(StackedModule):
    """A gate of each task over the features of each place.

    Parameters
    ----------
    n_members, n_tasks : int
        Sizes of the axes of all weights.
    width, row_width : int
        Of the features of a place and of the row.
    """

    def __init__(self, n_members: int, n_tasks: int, width: int, row_width: int) -> None:
        super().__init__()
        self.stack_shape = (n_members, n_tasks)
        self.place_weight = nn.Parameter(glorot_uniform((*self.stack_shape, width, width)))
        self.row_weight = nn.Parameter(glorot_uniform((*self.stack_shape, row_width, width)))
        self.bias = nn.Parameter(torch.zeros(*self.stack_shape, width))

    def forward(self, places: Tensor, row: Tensor) -> Tensor:
        """Return (member, task, batch, place, width) for (member, batch, place, width) and (member, batch, n)."""
        of_row = torch.einsum("mbr,mtrw->mtbw", row, self.row_weight) + self.bias.unsqueeze(2)
        of_place = torch.einsum("mbpv,mtvw->mtbpw", places, self.place_weight)
        return 2.0 * (of_place + of_row.unsqueeze(3)).sigmoid() * places.unsqueeze(1)


class PlaceAttention(SharingModule):
    """Each task's attention over the places of a row, joined with the row into a trunk; a gate per task over places.

    Parameters
    ----------
    shape : TrunkShape
        Its `n_tasks` read the row, and its `n_features` are the row's.
    n_heads : int
        Attention heads.
    places : dict of PlacesShape
        By site.
    attended : str
        The site that tasks of the row attend to.
    """

    per_task = True
    uses_global_generator = False

    def __init__(self, shape: TrunkShape, n_heads: int, places: Mapping[str, PlacesShape], attended: str) -> None:
        super().__init__()
        members, tasks, of_row = shape.n_members, shape.n_tasks, shape.n_features
        n_places, width, _ = places[attended]
        sizes = (of_row + n_heads * width, *shape.hidden_layer_sizes)
        self.n_heads, self.n_features_out = n_heads, sizes[-1]
        self.queries = TaskQueries(members, tasks, n_heads * width)
        self.trunk = DenseStack((members,), sizes, shape.activation, shape.dropout)
        gated = {site: own for site, own in places.items() if own.n_tasks}
        self.gates = nn.ModuleDict({site: Gate(members, own.n_tasks, own.width, of_row) for site, own in gated.items()})
        of_trunk = sum(a * b for a, b in pairwise(sizes))
        self.n_buffered = 2 * tasks * (2 * n_heads * n_places + sum(sizes)) + 2 * n_places * width
        self.n_buffered += sum(4 * own.n_tasks * own.n_places * own.width for own in gated.values())
        self.n_operations = 2 * tasks * n_heads * n_places * width + (tasks - 1) * of_trunk
        self.n_operations += sum(own.n_tasks * own.n_places * own.width**2 for own in gated.values())

    def tied(self) -> tuple[StackedModule, ...]:
        return (self.queries, *self.gates.values())  # type: ignore[arg-type]

    def task_vectors(self) -> Tensor:
        return self.queries.weight

    def shared(self, x: Tensor) -> Tensor:
        return x

    def forward(self, row: Tensor, places: Tensor, is_place: Tensor | None) -> Tensor:  # type: ignore[override]
        """Return the features of each task that reads the row.

        Parameters
        ----------
        row : Tensor of shape (member, batch, n_features)
            Features of the row.
        places : Tensor of shape (member, batch, place, width)
            Features of the places.
        is_place : bool Tensor of shape (member, batch, place) or None
            False for padding; None for none.

        Returns
        -------
        Tensor of shape (member, task, batch, n_features_out)
        """
        weights = self.attend(places, is_place)  # (member, batch, head, task, place)
        attended = (weights.flatten(2, 3) @ places).unflatten(2, (self.n_heads, -1)).transpose(2, 3).flatten(3)
        joined = torch.cat([row.unsqueeze(2).expand(*attended.shape[:3], -1), attended], -1)
        out: Tensor = self.trunk(joined.flatten(1, 2))
        return out.unflatten(1, attended.shape[1:3]).transpose(1, 2)

    def attend(self, places: Tensor, is_place: Tensor | None) -> Tensor:
        """Return the attention weights (member, batch, head, task, place), 0 for padding."""
        query = self.queries.weight.unflatten(-1, (self.n_heads, -1)).transpose(1, 2).flatten(1, 2)
        fold = query.transpose(1, 2) / math.sqrt(places.shape[-1])  # (member, width, head * task)
        keys = rms_norm(places, places.shape[-1:])
        scores = (keys.flatten(1, 2) @ fold).unflatten(1, places.shape[1:3]).transpose(2, 3)
        if is_place is None:
            weights = scores.softmax(-1)
        else:
            padding = ~is_place.unsqueeze(2)
            weights = scores.masked_fill(padding, torch.finfo(scores.dtype).min).softmax(-1).masked_fill(padding, 0.0)
        return weights.unflatten(2, (self.n_heads, -1))

    def gate(self, site: str, places: Tensor, row: Tensor | None) -> Tensor:
        """Return what each task over the places of a site reads: (member, task, batch, place, width)."""
        gated: Tensor = self.gates[site](places, places.new_zeros(*places.shape[:2], 0) if row is None else row)
        return gated
