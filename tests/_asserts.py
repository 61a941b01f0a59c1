"""The laws that every strategy, loss and weighting obeys: one assert helper each."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback

from skmtl._heads import SharedHeads
from skmtl._network import MultiTaskNetwork
from skmtl._objective import Objective
from skmtl.losses import Logistic, Softmax
from skmtl.sharing import TrunkShape
from skmtl.training import OPTIMIZERS, Members, MultiTaskNet, TensorData
from tests._cases import outputs


def assert_same_outputs(one, other, X, rtol=0.0, atol=0.0):
    """Two models say the same of X; to the last bit unless a tolerance is given."""
    for a, b in zip(outputs(one, X), outputs(other, X), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


def assert_same_weights(one, other, atol=0.0):
    """Two fitted models have equal weights; to the last bit unless a tolerance is given."""
    ours, theirs = one.network_.state_dict(), other.network_.state_dict()
    assert ours.keys() == theirs.keys()
    for name, weight in ours.items():
        np.testing.assert_allclose(weight.numpy(), theirs[name].numpy(), rtol=0.0, atol=atol, err_msg=name)


# ---- stacks against each member alone --------------------------------------------------------------------------------

PROMISE = {"float32": 1e-6, "float64": 1e-12}
"""How far a stack may be from each of its members alone: parts of the largest weight, prediction or score.

Bits differ on some processors (reliability 7).
"""


def assert_within_promise(one, other, dtype=None):
    """Arrays, or dicts of them, agree to 1e-6 (trained in float32) or 1e-12 (float64) of the largest value of all.

    Scores are in float64 whatever the training was in: give them its `dtype`.
    """
    one, other = (
        {name: np.asarray(values) for name, values in (v.items() if isinstance(v, dict) else [("values", v)])}
        for v in (one, other)
    )
    assert one.keys() == other.keys()
    bound = PROMISE[str(np.dtype(dtype or np.result_type(*other.values())))]
    largest = max(np.abs(values[~np.isnan(values)]).max(initial=0.0) for values in other.values())
    for name, values in one.items():
        np.testing.assert_allclose(values, other[name], rtol=0.0, atol=bound * largest, err_msg=name)


def assert_members_agree(stacked, alone, X):
    """An estimator from a stack has the weights and gives the outputs of its own fit, within the promise."""
    assert_within_promise(stacked.network_.state_dict(), alone.network_.state_dict())
    for ours, theirs in zip(outputs(stacked, X), outputs(alone, X), strict=True):
        assert_within_promise(ours, theirs, alone._numpy_dtype)


def assert_same_scores(ours, theirs, dtype=np.float64, exact=False):
    """Scores of two ``cv_results_`` agree within the promise, or to the last bit, and give equal ranks.

    Candidates must not be equal by construction: where ranks are tied, rounding may break the tie.
    """
    ranks, scores = (
        [key for key in theirs if re.match(pattern, key)]
        for pattern in ("rank_test_", r"(split\d+|mean|std)_(test|train)_")
    )
    assert len(scores) >= 3
    for key in ranks:
        np.testing.assert_array_equal(ours[key], theirs[key], err_msg=key)
    if exact:
        for key in scores:
            np.testing.assert_array_equal(ours[key], theirs[key], err_msg=key)
    else:
        assert_within_promise({key: ours[key] for key in scores}, {key: theirs[key] for key in scores}, dtype)


def assert_same_choice(one, other):
    """Two fitted searches chose the same candidate, or none."""
    for name in ("best_index_", "best_params_"):
        assert repr(getattr(one, name, None)) == repr(getattr(other, name, None))


# ---- permuting tasks ----------------------------------------------------------------------------------------------


def assert_permuting_tasks_permutes_outputs(estimator, X, y, order):
    """Training on permuted columns of y, from permuted initial weights, gives permuted outputs."""
    start = clone(estimator).set_params(max_epochs=1, warm_start=True)
    model = _without_optimiser_state(clone(start).fit(X, y))
    permuted = _without_optimiser_state(clone(start).fit(X, y[:, order]))
    _load_permuted(permuted, model, order)
    for m, targets in ((model, y), (permuted, y[:, order])):
        m.set_params(max_epochs=estimator.max_epochs).fit(X, targets)
    before, after = outputs(model, X), outputs(permuted, X)
    for place, task in enumerate(order):
        np.testing.assert_allclose(after[place], before[task], rtol=1e-7, atol=1e-9)


def assert_permuting_kinds_permutes_outputs(estimator, X, y, order):
    """The same of tasks of several kinds: named in another order, and with the columns of y in another one."""
    names = list(estimator.tasks)
    other = clone(estimator).set_params(tasks={names[k]: estimator.tasks[names[k]] for k in order})
    pair = [(estimator, y), (other, y[y.columns[::-1]])]
    models = [clone(e).set_params(max_epochs=1, warm_start=True).fit(X, targets) for e, targets in pair]
    models = [_without_optimiser_state(model) for model in models]
    _load_permuted(models[1], models[0], order)
    before, after = (
        model.set_params(max_epochs=estimator.max_epochs).fit(X, targets).predict_frame(X)
        for model, (_, targets) in zip(models, pair, strict=True)
    )
    assert sorted(before) == sorted(after)
    for name in before:
        np.testing.assert_array_equal(after[name].isna(), before[name].isna())
        if before[name].dtype.kind == "f":
            np.testing.assert_allclose(after[name], before[name], rtol=1e-6, atol=1e-8)
        else:
            assert (after[name] == before[name]).all()


def _load_permuted(target, source, order):
    """Give `target`, whose task p is the source's task order[p], the weights of `source`."""
    here, there = source._plan.layout, target._plan.layout
    origin = here.places[np.asarray(order)[there.order]]  # where the task at each place comes from
    with torch.no_grad():
        for axes, ours, theirs in zip(
            task_axes(target.network_, target._plan),
            target.network_.trunk.parameters(),
            source.network_.trunk.parameters(),
            strict=True,
        ):
            ours.copy_(taken(theirs, origin, axes))
        pairs = zip(target.network_.heads.parameters(), source.network_.heads.parameters(), strict=True)
        if isinstance(target.network_.heads, SharedHeads):
            places = {key: column for column, key in enumerate(_columns(here))}
            given = [places[order[task], slot] for task, slot in _columns(there)]
            for ours, theirs in pairs:
                ours.copy_(theirs[..., given])
        else:
            for ours, theirs in pairs:
                ours.copy_(taken(theirs, origin, [1]))


def taken(values, index, axes):
    """Return values in another order along some axes."""
    for axis in axes:
        values = values.index_select(axis, torch.as_tensor(index))
    return values


def task_axes(network, plan):
    """Return the task axes of each parameter of the trunk: those that grow by one with one task more."""
    n_tasks = plan.layout.n_tasks
    shape = TrunkShape(
        n_tasks + 1, plan.n_features, plan.hidden_layer_sizes, plan.activation, plan.dropout, plan.n_members
    )
    with torch.random.fork_rng(devices=[]):
        wider = plan.sharing.build(shape)
    found = []
    for (name, own), other in zip(network.trunk.named_parameters(), wider.parameters(), strict=True):
        found.append([axis for axis, size in enumerate(own.shape) if other.shape[axis] != size])
        grown = [(own.shape[axis], other.shape[axis]) for axis in found[-1]]
        assert all(sizes == (n_tasks, n_tasks + 1) for sizes in grown), (
            f"Parameter {name!r} of {plan.sharing!r}: give tasks an axis of their own, for the laws to permute them."
        )
    return found


def _columns(layout):
    """Return the user's task of each raw column, and the place of the column among those of its task."""
    return list(zip(layout.order[layout.column_owners].tolist(), layout.column_slots.tolist(), strict=True))


# ---- missing labels and weights -----------------------------------------------------------------------------------


def assert_masked_label_changes_nothing(estimator, X, y, values):
    """A label of weight zero, whatever its value, is as good as a missing one: equal bits."""
    missing = np.isnan(y)
    weight = np.where(missing, 0.0, 1.0)
    model = clone(estimator).fit(X, y)
    for value in values:
        other = clone(estimator).fit(X, np.where(missing, value, y), sample_weight=weight)
        assert_same_outputs(model, other, X)


def assert_rows_without_labels_change_nothing(estimator, X, y):
    """Rows whose labels are all missing may be there or not: equal bits, whatever the batches."""
    some = np.arange(0, len(X), 3)
    X_more = np.insert(X, some, X[some] + 1.0, axis=0)
    y_more = np.insert(y, some, np.nan, axis=0)
    assert_same_outputs(clone(estimator).fit(X, y), clone(estimator).fit(X_more, y_more), X)


def assert_weight_zero_is_absent(estimator, X, y, values):
    """Labels of weight zero may as well be missing, and rows of weight zero not be there: equal bits.

    They still name their classes, so there must be others of each.
    """
    rng = np.random.default_rng(0)
    weight = rng.exponential(size=y.shape) * (rng.random(y.shape) > 0.2)
    weight[::5] = 0.0
    absent = np.where(weight > 0, y, np.nan)
    there = np.where(weight > 0, y, rng.choice(values, size=y.shape))
    model = clone(estimator).fit(X, there, sample_weight=weight)
    assert_same_outputs(model, clone(estimator).fit(X, absent, sample_weight=weight), X)
    rows = (weight > 0).any(axis=1)
    assert not rows.all()
    assert_same_outputs(model, clone(estimator).fit(X[rows], absent[rows], sample_weight=weight[rows]), X)
    assert model.score_tasks(X, there, sample_weight=weight) == model.score_tasks(X, absent, sample_weight=weight)


def assert_weight_two_is_the_row_twice(estimator, X, y):
    """With one full batch in float64, a row of weight 2 counts as the row twice."""
    estimator = clone(estimator).set_params(batch_size=10 * len(X))
    twice = np.arange(0, len(X), 2)
    weight = np.ones(len(X))
    weight[twice] = 2.0
    weighted = clone(estimator).fit(X, y, sample_weight=weight)
    repeated = clone(estimator).fit(np.vstack([X, X[twice]]), np.vstack([y, y[twice]]))
    assert_same_outputs(weighted, repeated, X, rtol=1e-7, atol=1e-9)
    scores = weighted.score_tasks(X, y, sample_weight=weight)
    assert scores == pytest.approx(weighted.score_tasks(np.vstack([X, X[twice]]), np.vstack([y, y[twice]])), rel=1e-12)


class _Gradients(Callback):
    """Note the gradient of each step."""

    def __init__(self):
        self.seen = []

    def on_grad_computed(self, net, named_parameters, **kwargs):
        self.seen.append(torch.cat([p.grad.flatten() for _, p in named_parameters]).clone())


def gradients(estimator, X, y, sample_weight=None, **params):
    """Return the gradient of each step of an epoch in which nothing moves: (step, parameter)."""
    still = {"lr": 1e-300, "weight_decay": 0.0, "max_epochs": 1, "callbacks": [notes := _Gradients()]}
    clone(estimator).set_params(**still, **params).fit(X, y, sample_weight=sample_weight)
    return torch.stack(notes.seen)


def assert_batches_minimise_the_objective(estimator, X, y, sample_weight=None):
    """The gradients of an epoch's batches are, on average, that of all rows at once: the objective's, exactly.

    So are the losses that are recorded.
    """
    batches, (whole,) = (
        gradients(estimator, X, y, sample_weight),
        gradients(estimator, X, y, sample_weight, batch_size=10**6),
    )
    assert len(batches) > 1
    torch.testing.assert_close(batches.mean(0), whole, rtol=1e-9, atol=1e-12 * float(whole.abs().max()))
    still = {"lr": 1e-300, "weight_decay": 0.0, "max_epochs": 1}
    rows = [
        clone(estimator).set_params(**still, batch_size=size).fit(X, y, sample_weight=sample_weight).history_[0]
        for size in (estimator.batch_size, 10**6)
    ]
    for name in ("train_loss", "train_task_losses"):
        np.testing.assert_allclose(rows[0][name], rows[1][name], rtol=1e-9)


# ---- seeds and files ----------------------------------------------------------------------------------------------


def assert_equal_seed_equal_bits(estimator, X, y):
    """Two fits with one seed are equal to the last bit; another seed is not."""
    model, again = clone(estimator).fit(X, y), clone(estimator).fit(X, y)
    assert_same_weights(model, again)
    assert_same_outputs(model, again, X)
    other = clone(estimator).set_params(random_state=estimator.random_state + 1).fit(X, y)
    assert not all(np.array_equal(a, b) for a, b in zip(outputs(model, X), outputs(other, X), strict=True))


def assert_pickle_keeps_predictions(model, X):
    """A model from a pickle gives equal predictions, also on another number of threads."""
    loaded = pickle.loads(pickle.dumps(model))
    assert_same_outputs(model, loaded, X)
    expected = outputs(model, X)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for a, b in zip(expected, outputs(loaded, X), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
    finally:
        torch.set_num_threads(threads)


def assert_decode_inverts_encode(model, table):
    """Raw outputs that say exactly the encoded targets are decoded to the targets."""
    layout, codes = model._plan.layout, model._encode(table)[0][:, model._plan.layout.order]
    raw = np.zeros((len(codes), layout.n_outputs))
    for group in layout.groups:
        raw[:, group.columns] = _certain(group.loss, codes[:, group.parts]).reshape(len(codes), -1)
    predicted = model._decode([raw]).reshape(len(codes), -1)
    for t, (labels, seen) in enumerate(zip(table.columns, table.observed.T, strict=True)):
        if labels.dtype.kind == "f":
            np.testing.assert_allclose(predicted[seen, t].astype(float), labels[seen], rtol=1e-12, atol=1e-12)
        else:
            assert predicted[seen, t].tolist() == labels[seen].tolist()


def _certain(loss, codes):
    """Return raw outputs (batch, width, task) that leave no doubt about the encoded targets."""
    if isinstance(loss, Logistic):
        return (2.0 * codes - 1.0)[:, None]
    if isinstance(loss, Softmax):
        return (np.arange(loss.width)[:, None] == codes[:, None]).astype(float)
    return codes[:, None]


# ---- stacks of members --------------------------------------------------------------------------------------------


def make_net(network, plan, sharing_lambda, weighting, optimizer="adam", seed=0, **kwargs):
    """Return an uninitialised training net around a network of any number of members."""
    n_members = len(sharing_lambda)
    own = torch.zeros(n_members, dtype=next(network.parameters()).dtype)
    members = Members(
        seeds=(seed,) * n_members,
        sharing_lambda=own + torch.as_tensor(sharing_lambda, dtype=own.dtype),
        lr=own + kwargs.get("lr", 0.01),
        weight_decay=own,
        dropout=own,
        task_weights=None,
    )
    return MultiTaskNet(
        lambda plan: network,
        Objective,
        members,
        module__plan=plan,
        criterion__layout=plan.layout,
        weighting=weighting.start(n_members, plan.layout.n_tasks),
        task_names=[str(t) for t in range(plan.layout.n_tasks)],
        optimizer=OPTIMIZERS.get(optimizer, optimizer),
        generators=[torch.Generator().manual_seed(seed)],
        train_split=None,
        verbose=0,
        **{"lr": 0.01, "batch_size": 16, "max_epochs": 3, **kwargs},
    )


def train_members(plan, data: TensorData, lambdas, weighting, optimizer="adam", **kwargs):
    """Return each member's network trained alone, and the network of all of them trained as one stack."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        alone = [plan.build().to(data.X.dtype) for _ in lambdas]
        stack = plan.build(len(lambdas)).to(data.X.dtype)
    _concatenate(stack, alone)
    start = {name: weight.clone() for name, weight in stack.state_dict().items()}
    for network, one in zip(alone, lambdas, strict=True):
        make_net(network, plan, [one], weighting, optimizer, **kwargs).fit(data)
    make_net(stack, plan, lambdas, weighting, optimizer, **kwargs).fit(data)
    moved = [not torch.equal(weight, start[name]) for name, weight in stack.state_dict().items()]
    assert any(moved), "training moved nothing"
    return alone, stack


def _concatenate(stack: MultiTaskNetwork, alone: list[MultiTaskNetwork]) -> None:
    states = [network.state_dict() for network in alone]
    stack.load_state_dict({name: torch.cat([state[name] for state in states]) for name in states[0]})


def assert_stack_is_its_members(plan, data, lambdas, weighting, optimizer="adam", **kwargs):
    """A stack of members learns what each member learns alone from equal weights and batches, within the promise."""
    alone, stack = train_members(plan, data, lambdas, weighting, optimizer, **kwargs)
    for k, network in enumerate(alone):
        member = {name: weight[k : k + 1] for name, weight in stack.state_dict().items()}
        assert_within_promise(member, network.state_dict())


# ---- ensembles ----------------------------------------------------------------------------------------------------


def fit_members_alone(ensemble, X, y, **fit_params):
    """Return the members of an ensemble, each fitted alone: one random state gives one seed after the other."""
    random_state = np.random.RandomState(ensemble.random_state)
    alone = [clone(ensemble).set_params(n_members=1) for _ in range(ensemble.n_members)]
    return [model.set_params(random_state=random_state).fit(X, y, **fit_params) for model in alone]


def assert_is_the_mean_of_its_members(ensemble, X, y, **fit_params):
    """An ensemble trains the networks that single fits would, and predicts their mean."""
    alone = fit_members_alone(ensemble, X, y, **fit_params)
    assert_holds_the_members(clone(ensemble).fit(X, y, **fit_params), alone, X)


def assert_holds_the_members(ensemble, alone, X):
    """A fitted ensemble holds the weights of these members and predicts their mean, within the promise."""
    weights = ensemble.network_.state_dict()
    assert {len(weight) for weight in weights.values()} == {len(alone)}
    for m, model in enumerate(alone):
        member = {name: weight[m : m + 1] for name, weight in weights.items()}
        assert_within_promise(member, model.network_.state_dict())
    each = [outputs(model, X) for model in alone]
    for t, predicted in enumerate(outputs(ensemble, X)):
        mean = np.mean([member[t].astype(np.float64) for member in each], axis=0)
        assert_within_promise(predicted, mean, alone[0]._numpy_dtype)


# ---- the ends of λ ------------------------------------------------------------------------------------------------


def assert_lambda_zero_is_independent(soft, X, y):
    """Soft sharing without a penalty is independent towers, bit for bit."""
    soft = clone(soft).set_params(sharing_lambda=0.0)
    model, baseline = soft.fit(X, y), clone(soft).set_params(sharing="independent").fit(X, y)
    assert_same_weights(model, baseline)
    assert_same_outputs(model, baseline, X)


def tower_spread(model):
    """Return the largest distance of a tower's parameter from the mean tower, relative to the largest parameter."""
    towers = model.network_.trunk.stack.flat_parameters()[0]  # (task, parameter)
    return float((towers - towers.mean(0)).abs().max() / towers.abs().max())


def assert_task_without_labels_raises(estimator, X, y, name):
    """A task that nobody labelled is refused by name, before any training."""
    with pytest.raises(ValueError, match=f"Task '{name}': every label is missing"):
        clone(estimator).fit(X, y)


def assert_independent_is_single_tasks(estimator, X, y, rtol):
    """Independent towers learn what each task would learn alone from equal weights and batches."""
    start = clone(estimator).set_params(max_epochs=1, warm_start=True)
    model = _without_optimiser_state(clone(start).fit(X, y))
    singles = [_without_optimiser_state(clone(start).fit(X, column)) for column in y.T]
    for t, single in enumerate(singles):
        _load_task(single, model, t)
        single.set_params(max_epochs=estimator.max_epochs).fit(X, y[:, t])
    together = outputs(model.set_params(max_epochs=estimator.max_epochs).fit(X, y), X)
    for t, single in enumerate(singles):
        np.testing.assert_allclose(outputs(single, X)[0], together[t], rtol=rtol, atol=rtol)


def _load_task(single, model, t):
    """Give the network of one task what task t has in the network of all; its head may be narrower."""
    place = model._plan.layout.places[t]
    with torch.no_grad():
        for ours, all_tasks in zip(single.network_.parameters(), model.network_.parameters(), strict=True):
            ours.copy_(all_tasks[:, place : place + 1, ..., : ours.shape[-1]])


def _without_optimiser_state(model):
    """Return the model from a pickle, which has its network but no optimiser state."""
    return pickle.loads(pickle.dumps(model))
