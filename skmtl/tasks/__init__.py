"""What is predicted: encode y, the loss of all tasks of a kind, decode.

========================  ===========================================================
`Task`                    the contract of a kind
`Regression`              half squared error of standardised targets
`Binary`, `Multiclass`    logistic loss, cross entropy
`TaskLayout`              where each task and its raw columns stand
`ClassCodec`, `ScaleCodec`  labels to numbers and back
========================  ===========================================================
"""

from skmtl.tasks._base import Task
from skmtl.tasks._classification import Binary, Multiclass
from skmtl.tasks._codec import ClassCodec, sorted_classes
from skmtl.tasks._layout import TaskGroup, TaskLayout, average_members, classification_layout, regression_layout
from skmtl.tasks._regression import Regression
from skmtl.tasks._scale import ScaleCodec

__all__ = [
    "Binary",
    "ClassCodec",
    "Multiclass",
    "Regression",
    "ScaleCodec",
    "Task",
    "TaskGroup",
    "TaskLayout",
    "average_members",
    "classification_layout",
    "regression_layout",
    "sorted_classes",
]
