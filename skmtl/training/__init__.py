"""Training: skorch's frame around a step of our own. The only importer of skorch.

====================  ======================================================
`train`               from tensors and hyper-parameters to a trained net
`go_on`               the same for some epochs more
`TrainingRun`         the hyper-parameters of one run
`Members`             what differs between the networks of a stack
`build_network`       a network with a member for each seed
`MultiTaskNet`        the skorch net: callbacks and history around the engine
`Engine`              a stack of networks and the step that trains it
`Record`              what happened to each member, and the history
`DivergedError`       no member has a finite loss any more
`FlatBuffer`          all parameters in one storage
`OPTIMIZERS`          Adam, AdamW and SGD over that storage
`SCHEDULES`           how step sizes fall over the epochs
`TensorData`          the training table as tensors
`make_tables`         rows, targets and weights as such tables
`join_tables`         several tables as one, each member reading its own
`BestWeights`         early stopping that restores the best weights
`EpochProgress`       a progress bar over epochs
`whole_fits_only`     a block in which Ctrl-C leaves no partial fit
`threads_for`         one torch thread for small steps
`short_turns`         how long the Python threads of a search hold the interpreter
====================  ======================================================
"""

from skmtl._threads import short_turns, threads_for
from skmtl.training._buffer import FlatBuffer
from skmtl.training._callbacks import BestWeights, EpochProgress, whole_fits_only
from skmtl.training._data import TensorData, join_tables, make_tables
from skmtl.training._engine import Engine
from skmtl.training._members import Members, build_network
from skmtl.training._net import MultiTaskNet
from skmtl.training._optimizers import OPTIMIZERS, FlatOptimizer
from skmtl.training._record import DivergedError, Record
from skmtl.training._run import TrainingRun, go_on, train
from skmtl.training._schedules import SCHEDULES

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "BestWeights",
    "DivergedError",
    "Engine",
    "EpochProgress",
    "FlatBuffer",
    "FlatOptimizer",
    "Members",
    "MultiTaskNet",
    "Record",
    "TensorData",
    "TrainingRun",
    "build_network",
    "go_on",
    "join_tables",
    "make_tables",
    "short_turns",
    "threads_for",
    "train",
    "whole_fits_only",
]
