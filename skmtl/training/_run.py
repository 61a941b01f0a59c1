"""One training run: from tensors and hyper-parameters to a trained net."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from skorch.callbacks import Callback, EarlyStopping
from skorch.helper import predefined_split

from skmtl._network import NetworkPlan
from skmtl._objective import Objective
from skmtl._seeding import own_generator
from skmtl._threads import threads_for
from skmtl.training._callbacks import BestWeights, EpochProgress
from skmtl.training._data import TensorData
from skmtl.training._members import Members, build_network
from skmtl.training._net import MultiTaskNet
from skmtl.training._optimizers import OPTIMIZERS, FlatOptimizer
from skmtl.training._schedules import SCHEDULES
from skmtl.weighting import Weighting, WeightingState


@dataclass
class TrainingRun:
    """What one run needs beside its data.

    Attributes
    ----------
    plan : NetworkPlan
        Architecture.
    device : torch.device
        Where to train.
    members : Members
        What differs between the networks that are trained side by side, in the precision to train in.
    task_names : list of str
        In the network's task order.
    weighting : Weighting
        How task losses become one update.
    optimizer : str or callable
        A name in `OPTIMIZERS`, or what makes a torch optimiser from parameters.
    batch_size, max_epochs : int
        Rows of a batch; passes over the rows.
    lr_schedule : str
        A name in `SCHEDULES`.
    patience, tol : int or None, float
        Early stopping on the validation loss; None for none.
    callbacks : sequence
        skorch callbacks.
    verbose : int
        1 for a progress bar.
    earlier : MultiTaskNet or MultiTaskNetwork or None
        What to continue from.
    largest : float
        Largest |output| that still decodes to a finite prediction.
    change_of_units : tuple of two arrays of shape (task,) or None
        Factor and shift that convert the earlier network's outputs to the new targets' units.
    """

    plan: NetworkPlan
    device: torch.device
    members: Members
    task_names: list[str]
    weighting: Weighting
    optimizer: object
    batch_size: int
    max_epochs: int
    lr_schedule: str
    patience: int | None
    tol: float
    callbacks: Sequence = field(default_factory=tuple)
    verbose: int = 0
    earlier: object = None
    largest: float = math.inf
    change_of_units: tuple[np.ndarray, np.ndarray] | None = None


def train(run: TrainingRun, data: TensorData, valid: TensorData | None, epochs: int | None = None) -> MultiTaskNet:
    """Return a net trained on `data`; torch's random state, threads and an earlier net stay as they were.

    `epochs`: train this many now; `go_on` does the rest. None for all.
    """
    with own_generator(run.device):  # it draws the initial weights
        net = _make_net(run, valid, resumes=epochs is not None).initialize()
        after = torch.random.get_rng_state()  # a user's module draws on from here in training, as in a plain loop
        _go_on_from(run.earlier, net)
        if run.change_of_units is not None:
            own = net.module_.heads.stack.bias_0
            net.module_.heads.change_units(*(torch.as_tensor(values).to(own) for values in run.change_of_units))
    if not any(part.uses_global_generator for part in (net.module_.trunk, net.weighting)):
        return go_on(net, data, epochs)
    with own_generator(run.device):
        torch.random.set_rng_state(after)
        return go_on(net, data, epochs)


def go_on(net: MultiTaskNet, data: TensorData, epochs: int | None = None) -> MultiTaskNet:
    """Train a net for some epochs more; None for its `max_epochs`."""
    with threads_for(net.work_per_step(min(net.batch_size, len(data)))):
        return net.partial_fit(data, epochs=epochs)


def _make_net(run: TrainingRun, valid: TensorData | None, resumes: bool) -> MultiTaskNet:
    members = run.members
    state = run.weighting.start(len(members), run.plan.layout.n_tasks)
    if not isinstance(state, WeightingState):
        raise TypeError(f"{type(run.weighting).__name__}.start must return a WeightingState. Found {state!r}.")
    own = OPTIMIZERS.get(run.optimizer) if isinstance(run.optimizer, str) else None
    return MultiTaskNet(
        build_network,
        Objective,
        module__plan=run.plan,
        module__seeds=members.seeds,
        criterion__layout=run.plan.layout,
        members=members,
        weighting=state,
        schedule=SCHEDULES[run.lr_schedule],
        task_names=run.task_names,
        largest=run.largest,
        optimizer=own or run.optimizer,
        lr=float(members.lr[0]) if members.lr.unique().numel() == 1 else 1.0,  # of which members have multiples
        **({} if own else _foreign_decay(members)),
        batch_size=run.batch_size,
        max_epochs=run.max_epochs,
        generators=[torch.Generator().manual_seed(seed) for seed in members.distinct_seeds],
        train_split=None if valid is None else predefined_split(valid),
        callbacks=_callbacks(run, resumes),
        device=run.device,
        verbose=0,
    )


def _foreign_decay(members: Members) -> dict[str, float]:
    """Return the weight decay; a user's optimiser that may know none is asked for it only where there is some."""
    weight_decay = float(members.weight_decay[0])
    return {"optimizer__weight_decay": weight_decay} if weight_decay else {}


def _callbacks(run: TrainingRun, resumes: bool) -> list:
    """Return the user's callbacks and ours; those that stop training go last, for the others to see every epoch."""
    callbacks = list(run.callbacks)
    for callback in callbacks:
        if not isinstance(callback[1] if isinstance(callback, tuple) else callback, Callback):
            raise TypeError(f"callbacks must hold skorch callbacks or (name, callback) pairs. Found {callback!r}.")
    if run.verbose:
        callbacks.append(EpochProgress())
    if run.patience is not None:
        # Callbacks may hold on to net and optimiser; those that stopped in one rung of a search are there in the next.
        compact = isinstance(run.optimizer, str) and not run.callbacks and not resumes
        callbacks.append(("best_weights", BestWeights(run.patience, run.tol, compact, resumes)))
    return sorted(callbacks, key=_stops)  # stable: the user's order stays


def _stops(callback) -> bool:
    return isinstance(callback[1] if isinstance(callback, tuple) else callback, (EarlyStopping, BestWeights))


def _go_on_from(earlier, net: MultiTaskNet) -> None:
    """Copy weights, and the optimiser's state where there is one of the same kind, into a new net."""
    if earlier is None:
        return
    network, before = (earlier.module_, earlier.optimizer_) if isinstance(earlier, MultiTaskNet) else (earlier, None)
    net.module_.load_state_dict(network.state_dict())
    if isinstance(before, FlatOptimizer) and type(before) is type(net.optimizer_):
        net.optimizer_.take_over(before, before.state_by_member())  # `state_dict` would import torch._dynamo
        net.optimizer_.param_groups[0]["lr"] = net.lr
