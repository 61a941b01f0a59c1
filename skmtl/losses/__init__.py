"""Pointwise losses: each computes the losses of all its parts, and their gradient, at once.

=================  ===========================================================
`Loss`             the contract
`SquaredError`     half squared error of standardised targets
`AbsoluteError`    absolute error, for medians
`Huber`            squared for small errors, absolute for large ones
`Pinball`          one quantile
`Quantiles`        several quantiles, which never cross
`Normal`           mean and variance
`Tobit`            numbers of which only bounds may be known
`Poisson`          counts
`Logistic`         two classes: the raw output is a log odds
`Softmax`          any number of classes
`CumulativeLogit`  ordered classes
`TreeSoftmax`      classes in a tree
`ChainedLogistic`  events of which each follows the one before
`Hazards`          events in intervals of time
`Cox`              event times: who is first among those at risk
`LOSSES`           all of them by name
=================  ===========================================================
"""

from skmtl._families import class_names, members, publish
from skmtl.losses._absolute_error import AbsoluteError as AbsoluteError
from skmtl.losses._base import Loss as Loss
from skmtl.losses._chained_logistic import ChainedLogistic as ChainedLogistic
from skmtl.losses._cox import Cox as Cox
from skmtl.losses._cumulative_logit import CumulativeLogit as CumulativeLogit
from skmtl.losses._hazards import Hazards as Hazards
from skmtl.losses._huber import Huber as Huber
from skmtl.losses._logistic import Logistic as Logistic
from skmtl.losses._normal import Normal as Normal
from skmtl.losses._numerics import Constant as Constant
from skmtl.losses._pinball import Pinball as Pinball
from skmtl.losses._poisson import Poisson as Poisson
from skmtl.losses._quantiles import Quantiles as Quantiles
from skmtl.losses._softmax import Softmax as Softmax
from skmtl.losses._squared_error import SquaredError as SquaredError
from skmtl.losses._tobit import Tobit as Tobit
from skmtl.losses._tree_softmax import TreeSoftmax as TreeSoftmax

publish(__name__)
LOSSES: dict[str, type[Loss]] = members(Loss, __name__)

__all__ = ["LOSSES", "Loss", *class_names(LOSSES.values())]
