"""What is predicted: labels become numbers and come back, and every task gets its raw columns.

===========================  ===========================================================
`TaskLayout`, `LossGroup`    the places of tasks, their parts and raw columns, grouped by loss
`make_layout`                a layout from the losses of each task's parts
`ClassCodec`, `ScaleCodec`   labels to numbers and back
===========================  ===========================================================
"""

from skmtl._families import publish
from skmtl.tasks._codec import ClassCodec, sorted_classes
from skmtl.tasks._layout import (
    LossGroup,
    TaskLayout,
    average_members,
    classification_layout,
    make_layout,
    regression_layout,
)
from skmtl.tasks._scale import ScaleCodec

__all__ = [
    "ClassCodec",
    "LossGroup",
    "ScaleCodec",
    "TaskLayout",
    "average_members",
    "classification_layout",
    "make_layout",
    "regression_layout",
    "sorted_classes",
]

publish(__name__)
