"""Hard sharing: one trunk for all tasks."""

from __future__ import annotations

from skmtl.sharing._base import Sharing, SharingModule, TrunkShape
from skmtl.sharing._trunk import DenseTrunk


class HardSharing(Sharing):
    r"""One trunk for all tasks, and a head for each: minimise :math:`\sum_t L_t(\theta)`.

    The strongest and cheapest sharing. It has no penalty, so `sharing_lambda` does not act on it.

    References
    ----------
    .. [1] R. Caruana, "Multitask Learning", Machine Learning 28, 1997.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.sharing import HardSharing
    >>> MultiTaskRegressor(sharing=HardSharing())  # the same as sharing="hard"
    MultiTaskRegressor(sharing=HardSharing())
    """

    name = "hard"

    def build(self, shape: TrunkShape) -> SharingModule:
        """Return a trunk of shape ``(member,)``."""
        return DenseTrunk(shape, per_task=False)
