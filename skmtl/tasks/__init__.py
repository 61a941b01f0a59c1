"""What is predicted: labels become numbers and come back, and every task gets its raw columns.

===========================  ===========================================================
`TaskLayout`, `LossGroup`    the places of tasks and their raw columns, grouped by loss
`ClassCodec`, `ScaleCodec`   labels to numbers and back
===========================  ===========================================================
"""

from skmtl.tasks._codec import ClassCodec, sorted_classes
from skmtl.tasks._layout import LossGroup, TaskLayout, average_members, classification_layout, regression_layout
from skmtl.tasks._scale import ScaleCodec

__all__ = [
    "ClassCodec",
    "LossGroup",
    "ScaleCodec",
    "TaskLayout",
    "average_members",
    "classification_layout",
    "regression_layout",
    "sorted_classes",
]
