"""How parameters are shared: a strategy stores its options and builds a module, which computes.

===========================  ====================================================================
`Sharing`                    the contract of a strategy: subclass it for your own
`SharingModule`              what a strategy builds
`TrunkShape`                 the sizes that it builds it from
`StackedModule`              a building block whose parameters are stacked over members and tasks
`DenseStack`                 dense layers of such a stack
`STRATEGIES`                 all strategies by name, which is what estimators take for one
===========================  ====================================================================

For the other packages of skmtl:

===========================  ====================================================================
`Pass`, `AutogradPass`       a training step through a module and back: lists of operations
`submodule`                  a submodule that is found at once
`centred_penalty` and so on  the penalty that pulls towers together, and its proximal step
`aligned` and so on          memory in which every network of a stack computes as it would alone
===========================  ====================================================================
"""

from skmtl._families import class_names, members, publish
from skmtl.sharing._activations import ACTIVATIONS as ACTIVATIONS
from skmtl.sharing._attention import AttentionSharing as AttentionSharing
from skmtl.sharing._base import Sharing as Sharing
from skmtl.sharing._base import SharingModule as SharingModule
from skmtl.sharing._base import StackedModule as StackedModule
from skmtl.sharing._base import TrunkShape as TrunkShape
from skmtl.sharing._base import submodule as submodule
from skmtl.sharing._cross_stitch import CrossStitch as CrossStitch
from skmtl.sharing._dense import DensePass as DensePass
from skmtl.sharing._dense import DenseStack as DenseStack
from skmtl.sharing._hard import HardSharing as HardSharing
from skmtl.sharing._independent import IndependentSharing as IndependentSharing
from skmtl.sharing._passes import ALIGNMENT as ALIGNMENT
from skmtl.sharing._passes import AutogradPass as AutogradPass
from skmtl.sharing._passes import Operation as Operation
from skmtl.sharing._passes import Pass as Pass
from skmtl.sharing._passes import aligned as aligned
from skmtl.sharing._passes import gradient_of as gradient_of
from skmtl.sharing._passes import is_view as is_view
from skmtl.sharing._passes import padded as padded
from skmtl.sharing._penalty import centred_penalty as centred_penalty
from skmtl.sharing._penalty import penalty_gradient as penalty_gradient
from skmtl.sharing._penalty import proximal_step_ as proximal_step_
from skmtl.sharing._place_attention import PlaceAttention as PlaceAttention
from skmtl.sharing._place_attention import PlacesShape as PlacesShape
from skmtl.sharing._soft import SoftSharing as SoftSharing
from skmtl.sharing._trunk import DenseTrunk as DenseTrunk

publish(__name__)
STRATEGIES: dict[str, type[Sharing]] = members(Sharing, __name__)

__all__ = [
    "STRATEGIES",
    "DenseStack",
    "Sharing",
    "SharingModule",
    "StackedModule",
    "TrunkShape",
    *class_names(STRATEGIES.values()),
]
