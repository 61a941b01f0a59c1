"""How parameters are shared: a strategy stores its options and builds a module, which computes.

=====================  ====================================================================
`IndependentSharing`   a tower per task, nothing shared: the baseline
`HardSharing`          one trunk for all tasks
`SoftSharing`          a tower per task, pulled together by a penalty
`AttentionSharing`     a query per task attends over tokens of the shared trunk
`Sharing`              the contract of a strategy: subclass it for your own
`SharingModule`        what a strategy builds
`TrunkShape`           what it is told
`StackedModule`        a building block whose parameters are stacked over members and tasks
`DenseStack`           dense layers of such a stack
`Pass`                 a training step's way through a module and back: lists of operations
`AutogradPass`         the same by autograd
`submodule`            a submodule that is found at once
=====================  ====================================================================
"""

from skmtl.sharing._activations import ACTIVATIONS
from skmtl.sharing._attention import AttentionSharing
from skmtl.sharing._base import Sharing, SharingModule, StackedModule, TrunkShape, submodule
from skmtl.sharing._dense import DensePass, DenseStack
from skmtl.sharing._hard import HardSharing
from skmtl.sharing._independent import IndependentSharing
from skmtl.sharing._passes import ALIGNMENT, AutogradPass, Operation, Pass, aligned, is_view, padded
from skmtl.sharing._penalty import centred_penalty, penalty_gradient, proximal_step_
from skmtl.sharing._soft import SoftSharing

STRATEGIES = {
    "independent": IndependentSharing,
    "hard": HardSharing,
    "soft": SoftSharing,
    "attention": AttentionSharing,
}

__all__ = [
    "ACTIVATIONS",
    "ALIGNMENT",
    "STRATEGIES",
    "AttentionSharing",
    "AutogradPass",
    "DensePass",
    "DenseStack",
    "HardSharing",
    "IndependentSharing",
    "Operation",
    "Pass",
    "Sharing",
    "SharingModule",
    "SoftSharing",
    "StackedModule",
    "TrunkShape",
    "aligned",
    "centred_penalty",
    "is_view",
    "padded",
    "penalty_gradient",
    "proximal_step_",
    "submodule",
]
