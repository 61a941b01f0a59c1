"""How the losses of the tasks become one update.

================  ================================================================
`Weighting`       the contract: subclass it for your own
`WeightingState`  what a weighting learns during one fit
`WEIGHTINGS`      all weightings by name, which is what estimators take for one
================  ================================================================
"""

from skmtl._families import class_names, members, publish
from skmtl.weighting._base import Weighting as Weighting
from skmtl.weighting._base import WeightingState as WeightingState
from skmtl.weighting._dynamic_weight_average import DynamicWeightAverage as DynamicWeightAverage
from skmtl.weighting._equal import EqualWeighting as EqualWeighting
from skmtl.weighting._uncertainty import UncertaintyWeighting as UncertaintyWeighting

publish(__name__)
WEIGHTINGS: dict[str, type[Weighting]] = members(Weighting, __name__)

__all__ = ["WEIGHTINGS", "Weighting", "WeightingState", *class_names(WEIGHTINGS.values())]
