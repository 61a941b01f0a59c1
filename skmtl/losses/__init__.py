"""Pointwise losses: each computes the losses of all its parts, and their gradient, at once.

================  ===========================================================
`Loss`            the contract
`SquaredError`    half squared error of standardised targets
`Logistic`        two classes: the raw output is a log odds
`Softmax`         any number of classes
`LOSSES`          all of them by name
================  ===========================================================
"""

from skmtl._families import class_names, members, publish
from skmtl.losses._base import Loss as Loss
from skmtl.losses._logistic import Logistic as Logistic
from skmtl.losses._softmax import Softmax as Softmax
from skmtl.losses._squared_error import SquaredError as SquaredError

publish(__name__)
LOSSES: dict[str, type[Loss]] = members(Loss, __name__)

__all__ = ["LOSSES", "Loss", *class_names(LOSSES.values())]
