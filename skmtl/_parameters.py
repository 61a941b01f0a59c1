"""What an estimator's parameters mean: their checks, the network they describe, and the run that trains it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from inspect import signature
from numbers import Integral, Real

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import (
    Interval,
    InvalidParameterError,
    StrOptions,
    validate_parameter_constraints,
)

from skmtl._network import NetworkPlan
from skmtl._validation import check_layer_sizes, check_task_weights
from skmtl.encoders import Encoder, check_encoders
from skmtl.sharing import ACTIVATIONS, STRATEGIES, Sharing
from skmtl.tasks import TaskLayout
from skmtl.training import OPTIMIZERS, SCHEDULES, Members, TrainingRun
from skmtl.weighting import WEIGHTINGS, Weighting

N_MEMBERS = 10
"""Members of an ensemble by default."""

EARLY_STOPPING_ROWS = 100
"""Rows from which training is stopped early by default."""

MAX_EPOCHS, MAX_EPOCHS_BEFORE_STOP = 100, 400
"""Epochs by default, and with early stopping, which seldom leaves so many."""

WEIGHT_DECAY, DECAY_OF_FEW_ROWS = 0.5, 5.0
"""By default, of "adamw" and with the default step size: in general, and in fits of fewer rows than that."""

CONSTRAINTS = {
    "sharing": [StrOptions(set(STRATEGIES)), Sharing],
    "sharing_lambda": [Interval(Real, 0, None, closed="left")],
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "head_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [StrOptions(set(ACTIVATIONS))],
    "dropout": [Interval(Real, 0, 1, closed="left")],
    "n_members": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
    "weighting": [StrOptions(set(WEIGHTINGS)), Weighting],
    "task_weights": ["array-like", dict, None],
    "encoder": [StrOptions({"passthrough"}), Encoder, dict],
    "optimizer": [StrOptions(set(OPTIMIZERS)), callable],
    "lr": [Interval(Real, 0, None, closed="neither")],
    "lr_schedule": [StrOptions(set(SCHEDULES))],
    "weight_decay": [Interval(Real, 0, None, closed="left"), StrOptions({"auto"})],
    "batch_size": [Interval(Integral, 1, None, closed="left")],
    "max_epochs": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
    "early_stopping": ["boolean", StrOptions({"auto"})],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
    "tol": [Interval(Real, 0, None, closed="left")],
    "callbacks": [list, tuple, None],
    "device": [str, torch.device],
    "dtype": [StrOptions({"auto", "float32", "float64"})],
    "warm_start": ["boolean"],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}
"""Of the parameters that all estimators have, as scikit-learn's checks read them."""


def check_parameters(estimator) -> None:
    """Refuse parameters that are not what they must be; nothing may use one before."""
    parameters = estimator.get_params(deep=False)
    for name in ("sharing", "weighting", "encoder"):
        if isinstance(value := getattr(estimator, name), type):
            raise ValueError(f"{name} must be an object, not a class: write {value.__name__}().")
    try:
        _check_constraints(estimator, parameters)
    except InvalidParameterError:  # which is a TypeError, too
        raise
    except (TypeError, OverflowError) as error:  # numbers that scikit-learn's checks cannot compare
        numbers = {name: value for name, value in parameters.items() if isinstance(value, Real)}
        odd = {name: value for name, value in numbers.items() if not _is_plain_number(value)}
        raise ValueError(f"Parameters must be numbers that a float can hold. Found {odd}: {error}.") from error
    if estimator.encoder != "passthrough":
        check_encoders(estimator.encoder, has_own_optimizer=not isinstance(estimator.optimizer, str))
    try:
        torch.empty(0, device=device_of(estimator))
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device must be 'auto' or a device that torch can use here. Found {estimator.device!r}: {error}"
        ) from error


def _check_constraints(estimator, parameters: dict) -> None:
    """Run scikit-learn's checks on values that have not passed before; they take as long as a tenth of a small fit."""
    cls, valid = type(estimator), _own_defaults(type(estimator))
    unknown = {name: value for name, value in parameters.items() if name not in valid or value is not valid[name]}
    plain = {name: value for name, value in unknown.items() if type(value) in (bool, int, float, str)}
    for name, value in plain.items():
        _check_plain(cls, name, type(value), value)
    others = {name: value for name, value in unknown.items() if name not in plain}
    if others:
        validate_parameter_constraints(estimator._parameter_constraints, others, caller_name=cls.__name__)


@lru_cache(maxsize=4096)
def _check_plain(cls: type, name: str, kind: type, value) -> None:
    """Run scikit-learn's checks on a number or a string; `kind` tells True from 1."""
    validate_parameter_constraints(cls._parameter_constraints, {name: value}, caller_name=cls.__name__)


@cache
def _own_defaults(cls: type) -> dict[str, object]:
    """Return the defaults of an estimator of ours; none of a subclass, which may have others."""
    if cls.__module__.partition(".")[0] != __name__.partition(".")[0]:
        return {}
    return {name: parameter.default for name, parameter in signature(cls.__init__).parameters.items()}


def _is_plain_number(value) -> bool:
    return isinstance(value, (int, float, np.number)) and abs(value) <= np.finfo(np.float64).max


def device_of(estimator) -> torch.device:
    """Return where the network is trained."""
    if estimator.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(estimator.device)


def input_dtypes(estimator):
    """Return the numpy types that X may have: what is not among them becomes the first."""
    if estimator.dtype != "auto":
        return np.dtype(estimator.dtype)
    return np.float32 if device_of(estimator).type != "cpu" else (np.float64, np.float32)


def strategy_of(estimator) -> Sharing:
    """Return the estimator's sharing strategy."""
    sharing = estimator.sharing
    return STRATEGIES[sharing]() if isinstance(sharing, str) else clone(sharing)


def network_plan(estimator, layout: TaskLayout) -> NetworkPlan:
    """Return what the estimator's network is built from."""
    return NetworkPlan(
        sharing=strategy_of(estimator),
        layout=layout,
        n_features=estimator.n_features_in_ if estimator._entry is None else estimator._entry.n_numbers,
        hidden_layer_sizes=check_layer_sizes(estimator.hidden_layer_sizes, "hidden_layer_sizes"),
        head_layer_sizes=check_layer_sizes(estimator.head_layer_sizes, "head_layer_sizes"),
        activation=estimator.activation,
        dropout=float(estimator.dropout),
        n_members=estimator.n_members_,
        inputs=estimator._inputs,
        entry=estimator._entry,
    )


def settle(estimator, start, n_rows: int, has_validation: bool) -> None:
    """Decide what "auto" is in this fit.

    Where training goes on, now or later, a fit is neither stopped early nor an ensemble. A strategy of the user's is
    trained once: it may know of no members, and goes through autograd.
    """
    goes_on = start.adds_rows or estimator.warm_start
    stops, n_members = estimator.early_stopping, estimator.n_members
    has_few_rows = stops == "auto" and not goes_on and not has_validation and n_rows < EARLY_STOPPING_ROWS
    if stops == "auto":
        stops = not goes_on and not has_few_rows
    if n_members == "auto":
        is_ours = type(strategy_of(estimator)) in STRATEGIES.values()
        n_members = N_MEMBERS if is_ours and not goes_on else 1
        if not start.is_anew:
            n_members = estimator.n_members_
    estimator.early_stopping_, estimator.n_members_ = bool(stops), int(n_members)
    estimator.max_epochs_ = epochs_of(estimator, bool(stops))
    estimator._usual_decay = DECAY_OF_FEW_ROWS if has_few_rows else WEIGHT_DECAY


def epochs_of(estimator, stops: bool) -> int:
    """Return the most epochs of a fit that is stopped early or not."""
    if estimator.max_epochs != "auto":
        return int(estimator.max_epochs)
    return MAX_EPOCHS_BEFORE_STOP if stops else MAX_EPOCHS


def draw_seeds(estimator, ids: Sequence[int]) -> None:
    """Draw the seeds of these members: the first is that of a single network, the others are drawn after it."""
    random_state = check_random_state(estimator.random_state)
    seeds = [int(random_state.randint(2**31 - 1)) for _ in range(estimator.n_members_)]
    estimator._seeds = [seeds[k] for k in ids]


def training_run(first, estimators: Sequence, earlier, max_epochs: int, change_of_units=None) -> TrainingRun:
    """Return the run that trains estimators side by side, of which `first` has read the data for all."""
    return TrainingRun(
        plan=first._plan,
        device=device_of(first),
        members=_members(first, estimators, earlier),
        task_names=[first.task_names_[t] for t in first._plan.layout.order],
        weighting=WEIGHTINGS[first.weighting]() if isinstance(first.weighting, str) else first.weighting,
        optimizer=first.optimizer,
        batch_size=int(first.batch_size),
        max_epochs=max_epochs,
        lr_schedule=first.lr_schedule,
        # More patience than epochs is no different, and might not fit in a tensor.
        patience=min(int(first.n_iter_no_change), max_epochs) if first.early_stopping_ else None,
        tol=float(first.tol),
        callbacks=first.callbacks or (),
        verbose=first.verbose,
        earlier=earlier,
        largest=first._largest_output(),
        change_of_units=change_of_units,
    )


def _members(first, estimators: Sequence, earlier) -> Members:
    """Return what differs between the members of these estimators."""
    place = {"dtype": first._torch_dtype, "device": device_of(first)}
    seeds = [seed for estimator in estimators for seed in estimator._seeds]
    estimators = [estimator for estimator in estimators for _ in estimator._seeds]
    largest_lambda = 1e30 if first._torch_dtype == torch.float32 else 1e250  # towers are one long before

    def each(name: str, values: Sequence[float]) -> torch.Tensor:
        return _in_precision(name, values, **place)

    return Members(
        seeds=tuple(seed if earlier is None else seed + first.n_iter_ for seed in seeds),  # else equal batches again
        task_weights=_task_weights(first, estimators, place),
        sharing_lambda=each("sharing_lambda", [min(e.sharing_lambda, largest_lambda) for e in estimators]),
        lr=each("lr", [e.lr for e in estimators]),
        weight_decay=each("weight_decay", [_weight_decay(e, first._usual_decay) for e in estimators]),
        dropout=each("dropout", [e.dropout for e in estimators]),
    )


def _task_weights(first, estimators: Sequence, place: dict) -> torch.Tensor | None:
    """Return the fixed weights of the tasks in the network's order, (member, task), or None for all 1."""
    weights = [check_task_weights(estimator.task_weights, first.task_names_) for estimator in estimators]
    if all(w is None for w in weights):
        return None
    rows = [np.ones(first.n_tasks_) if w is None else w for w in weights]
    rows = np.stack(rows)[:, first._plan.layout.order]
    return _in_precision("task_weights", rows.ravel().tolist(), **place).view(rows.shape)


def _weight_decay(estimator, usual: float) -> float:
    if estimator.weight_decay != "auto":
        return estimator.weight_decay
    return usual if estimator.optimizer == "adamw" else 0.0


def _in_precision(name: str, values: Sequence[float], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return a parameter of each member in the network's precision, if it still is a legal value there."""
    numbers = np.float32 if dtype == torch.float32 else np.float64
    try:
        exact = np.array(values, dtype=np.float64)
    except OverflowError:
        raise ValueError(f"{name} must be a number that a float can hold. Found {values!r}.") from None
    with np.errstate(all="ignore"):
        rounded = exact.astype(numbers)
    lost = ~np.isfinite(rounded)
    if name in ("lr", "task_weights"):
        lost |= (rounded == 0) & (exact > 0)
    elif name == "dropout":
        lost |= rounded >= 1
    if lost.any():
        raise ValueError(
            f"{name}={float(exact[lost][0])!r} is {rounded[lost][0]:g} in {np.dtype(numbers)}, in which the network "
            f"computes. Choose another value, or dtype='float64'."
        )
    return torch.from_numpy(rounded).to(device)
