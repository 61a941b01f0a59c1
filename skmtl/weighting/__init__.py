"""How the losses of the tasks become one update.

========================  ==================================================
`EqualWeighting`          their sum: the default
`UncertaintyWeighting`    a learned noise level per task
`Weighting`               the contract: subclass it for your own
`WeightingState`          what a weighting learns during one fit
========================  ==================================================
"""

from skmtl.weighting._base import Weighting, WeightingState
from skmtl.weighting._equal import EqualWeighting
from skmtl.weighting._uncertainty import UncertaintyWeighting

WEIGHTINGS = {"equal": EqualWeighting, "uncertainty": UncertaintyWeighting}

__all__ = ["WEIGHTINGS", "EqualWeighting", "UncertaintyWeighting", "Weighting", "WeightingState"]
