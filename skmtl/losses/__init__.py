"""Pointwise losses: each computes the losses of all its parts, and their gradient, at once.

================  ===========================================================
`Loss`            the contract
`SquaredError`    half squared error of standardised targets
`Logistic`        two classes: the raw output is a log odds
`Softmax`         any number of classes
================  ===========================================================
"""

from skmtl.losses._base import Loss
from skmtl.losses._logistic import Logistic
from skmtl.losses._softmax import Softmax
from skmtl.losses._squared_error import SquaredError

__all__ = ["Logistic", "Loss", "Softmax", "SquaredError"]
