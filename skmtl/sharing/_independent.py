"""Independent towers: nothing shared, the baseline that sharing is measured against."""

from __future__ import annotations

from skmtl.sharing._base import Sharing, SharingModule, TrunkShape
from skmtl.sharing._trunk import DenseTrunk


class IndependentSharing(Sharing):
    r"""A tower per task and nothing shared: minimise :math:`\sum_t L_t(\theta_t)`.

    Every task learns what it would learn alone from the same seed and batches, in one stacked step. It is the
    baseline that `skmtl.model_selection.transfer_gain` compares with, and has no penalty.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> MultiTaskRegressor(sharing="independent")
    MultiTaskRegressor(sharing='independent')
    """

    name = "independent"

    def build(self, shape: TrunkShape) -> SharingModule:
        """Return towers of shape ``(member, task)``."""
        return DenseTrunk(shape, per_task=True)
