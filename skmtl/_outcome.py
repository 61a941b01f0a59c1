"""What an estimator adopts from a trained net: its network, its history, and warnings of what went wrong."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

from sklearn.exceptions import ConvergenceWarning

from skmtl._network import MultiTaskNetwork, members_of
from skmtl.training import MultiTaskNet, Record


def adopt(estimator, net: MultiTaskNet, anew: bool) -> None:
    """Adopt a net that was trained for this estimator, from its first epoch (`anew`) or after an earlier fit."""
    earlier, ids = ([], range(estimator.n_members_)) if anew else (estimator.history_, estimator._member_ids)
    estimator.net_ = net
    net.train_split = None  # it holds the validation rows, and with them the table
    finite = _adopt_history(estimator, net, range(len(ids)), ids, earlier)
    network = net.module_ if len(finite) == len(ids) else _copy_of(net, finite, estimator._plan)
    estimator.network_ = network.eval()
    if net.interrupted_:
        warnings.warn(
            f"Training was interrupted after {net.record_.n_epochs} full epochs of {net.max_epochs}. "
            f"The estimator keeps what it has learned so far.",
            stacklevel=4,
        )


def adopt_members(estimator, net: MultiTaskNet, members: range, first) -> None:
    """Adopt this estimator's members of a stack, trained on what the estimator `first` has read for all."""
    own = {*estimator.get_params(deep=False), "_seeds"}
    # Names, classes and scales are those that `first` has learned from the same rows.
    vars(estimator).update({name: value for name, value in vars(first).items() if name not in own})
    estimator._plan = replace(first._plan, dropout=float(estimator.dropout))
    finite = _adopt_history(estimator, net, members, range(len(members)), [])
    estimator.network_ = _copy_of(net, finite, estimator._plan).eval()


def _copy_of(net: MultiTaskNet, members: Sequence[int], plan) -> MultiTaskNetwork:
    """Return a network of these members of a stack, of which some may have left."""
    place = {m: k for k, m in enumerate(net.active.tolist())}
    return members_of(net.module_, [place[m] for m in members], plan)


def _adopt_history(estimator, net: MultiTaskNet, members: range, ids: Sequence[int], earlier: list[dict]) -> list[int]:
    """Adopt the history of those of these members that have not diverged, `ids` in the ensemble; return them."""
    record = net.record_
    finite = [m for m in members if m not in record.diverged]
    estimator._member_ids = tuple(ids[m - members.start] for m in finite)
    places = estimator._plan.layout.places
    estimator.history_ = earlier + record.history(net.history, finite, places, len(earlier))
    estimator.n_iter_ = len(estimator.history_)
    _warn_of_divergence(record, members, finite)
    return finite


def _warn_of_divergence(record: Record, members: range, finite: list[int]) -> None:
    """Warn of members that diverged, and of others whose validation loss was not always finite."""
    if len(finite) < len(members):
        reason = next(record.diverged[m] for m in members if m in record.diverged)
        warnings.warn(
            f"{len(members) - len(finite)} of {len(members)} members of the ensemble diverged and are left out; "
            f"predictions average the other {len(finite)}. The first of them: {reason}",
            ConvergenceWarning,
            stacklevel=6,
        )
    undefined = {m: record.undefined[m] for m in finite if m in record.undefined}
    if undefined:
        warnings.warn(
            f"The validation loss is not finite from epoch {min(undefined.values())} on"
            f"{'' if len(finite) == 1 else f', of {len(undefined)} of {len(finite)} members'}: look for extreme "
            f"values in the validation rows, or try a smaller lr. Such epochs count as the worst.",
            ConvergenceWarning,
            stacklevel=6,
        )
