"""What users bring: sharing modules, callbacks and subclasses of their own."""

import gc
import pickle
import types

import numpy as np
import pytest
import torch
from sklearn.compose import TransformedTargetRegressor
from sklearn.utils._param_validation import InvalidParameterError
from skorch.callbacks import BatchScoring, Callback, Checkpoint, LoadInitState

from skmtl import MultiTaskRegressor
from skmtl.model_selection import StackedGridSearchCV
from skmtl.sharing import Sharing, SharingModule
from skmtl.training import DivergedError
from skmtl.weighting import Weighting, WeightingState

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 4))
Y = X[:, :2].copy()


ONE = {"n_members": 1, "early_stopping": False}


def regressor(**params):
    return MultiTaskRegressor(**{"random_state": 0, **ONE, **params})


LEAVING = {"early_stopping": True, "n_iter_no_change": 2, "max_epochs": 40, "tol": 0.0, "lr": 0.05, "batch_size": 50}


@pytest.mark.parametrize("assigns", [False, True])
def test_buffers_of_a_users_module_belong_to_the_members(assigns):
    """Early stopping restores them, and members that leave take them along."""
    features = 3 * X + 5
    alone = regressor(sharing=Centred(assigns), **LEAVING).fit(features, Y)
    stack = regressor(sharing=Centred(assigns), n_members=4, **LEAVING).fit(features, Y)
    np.testing.assert_allclose(stack.predict_members(features)[0], alone.predict(features), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("assigns", [False, True])
def test_early_stopping_restores_buffers(assigns):
    features = 3 * X + 5
    model = regressor(sharing=Centred(assigns), **LEAVING).fit(features, Y, X_val=features[:40], y_val=Y[:40])
    losses = 0.5 * np.square((model.predict(features[:40]) - Y[:40]) / model._codec.scale).mean(0)
    assert losses.sum() == pytest.approx(min(row["valid_loss"] for row in model.history_), rel=1e-6)


class Centred(Sharing):
    """A layer on features less their running mean, as batch normalisation keeps it."""

    def __init__(self, assigns=False):
        self.assigns = assigns

    def build(self, shape):
        return CentredModule(shape, self.assigns)


class CentredModule(SharingModule):
    per_task = False

    def __init__(self, shape, assigns):
        super().__init__()
        self.n_features_out, self.assigns = 4, assigns
        self.register_buffer("mean", torch.zeros(shape.n_members, 1, shape.n_features))
        self.weight = torch.nn.Parameter(torch.randn(shape.n_members, shape.n_features, 4))

    def forward(self, x):
        x = x if x.ndim == 3 else x.expand(len(self.mean), -1, -1)
        if self.training:
            mean = x.mean(1, keepdim=True).detach()
            if self.assigns:
                self.mean = self.mean.lerp(mean, 0.5)
            else:
                self.mean.lerp_(mean, 0.5)
        return torch.tanh((x - self.mean) @ self.weight)


def test_frozen_parameters_are_those_of_the_member():
    alone = regressor(sharing=Frozen(), **LEAVING).fit(X, Y)
    stack = regressor(sharing=Frozen(), n_members=4, **LEAVING).fit(X, Y)
    np.testing.assert_allclose(stack.predict_members(X)[0], alone.predict(X), rtol=1e-4, atol=1e-4)


class Frozen(Sharing):
    """Random features that are not trained."""

    def build(self, shape):
        return FrozenModule(shape)


class FrozenModule(SharingModule):
    per_task = False

    def __init__(self, shape):
        super().__init__()
        self.n_features_out = 6
        self.random = torch.nn.Parameter(torch.randn(shape.n_members, shape.n_features, 6), requires_grad=False)
        self.scale = torch.nn.Parameter(torch.ones(shape.n_members, 1, 6))

    def forward(self, x):
        return torch.tanh(x @ self.random) * self.scale


@pytest.mark.parametrize("sharing", ["hard", "soft", "attention", "cross_stitch"])
@pytest.mark.parametrize("optimizer", ["adamw", torch.optim.Adam], ids=str)
def test_gradients_that_a_callback_lets_go_of_are_taken_up_again(sharing, optimizer):
    class Zero(Callback):
        def on_batch_begin(self, net, **kwargs):
            net.module_.zero_grad()
            net.optimizer_.zero_grad()

    params = {"sharing": sharing, "optimizer": optimizer, "max_epochs": 4, "lr": 0.01}
    zeroed = regressor(callbacks=[Zero()], **params).fit(X, Y)
    np.testing.assert_allclose(zeroed.predict(X), regressor(**params).fit(X, Y).predict(X), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fit", [{"early_stopping": True}, {}], ids=["early_stopping", "X_val"])
def test_a_fitted_estimator_does_not_hold_the_table(fit):
    features, targets = np.random.default_rng(0).normal(size=(2000, 50)), np.ones((2000, 2))
    own = {} if fit else {"X_val": features, "y_val": targets}
    model = regressor(max_epochs=1, hidden_layer_sizes=(4,), **fit).fit(features, targets, **own)
    held = [value for value in reachable(model) if isinstance(value, torch.Tensor) and value.numel() >= features.size]
    assert held == []


def reachable(root):
    """Yield all objects that can be reached from an estimator, other than modules, classes and functions."""
    seen, waiting = set(), [root]
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, (type, types.ModuleType, types.FunctionType)):
            continue
        seen.add(id(value))
        waiting += gc.get_referents(value)
        yield value


def test_a_search_does_not_score_what_ctrl_c_left_half_trained():
    class Interrupt(Callback):
        def on_batch_end(self, net, training=None, **kwargs):
            if len(net.history) == 3:
                raise KeyboardInterrupt

    model = TransformedTargetRegressor(regressor(max_epochs=5, callbacks=[Interrupt()]))
    with pytest.raises(KeyboardInterrupt):
        StackedGridSearchCV(model, {"regressor__lr": [0.01]}, cv=2).fit(X, Y)


def test_a_loaded_history_does_not_move_the_schedule(tmp_path):
    checkpoint = Checkpoint(dirname=str(tmp_path), monitor=None)
    regressor(max_epochs=4, callbacks=[checkpoint]).fit(X, Y)
    seen = []

    class Look(Callback):
        def on_epoch_end(self, net, **kwargs):
            seen.append(net.optimizer_.schedule)

    load = LoadInitState(Checkpoint(dirname=str(tmp_path), monitor=None))
    regressor(max_epochs=4, lr_schedule="linear", callbacks=[load, Look()]).fit(X, Y)
    assert seen == pytest.approx([1.0, 0.75, 0.5, 0.25])


def test_members_that_all_diverge_raise_whoever_left_before():
    with pytest.raises(DivergedError):
        regressor(sharing=Exploding(), n_members=4, **{**LEAVING, "n_iter_no_change": 1}).fit(X, Y)


class Exploding(Sharing):
    """A network whose outputs are no longer finite after some steps of training."""

    def build(self, shape):
        return ExplodingModule(shape)


class ExplodingModule(SharingModule):
    per_task = False

    def __init__(self, shape):
        super().__init__()
        self.n_features_out = 3
        self.weight = torch.nn.Parameter(torch.randn(shape.n_members, shape.n_features, 3))
        self.steps = 0

    def forward(self, x):
        self.steps += self.training
        return (x @ self.weight) * (float("nan") if self.steps > 2 else 1.0)


def test_going_on_in_another_precision_is_refused():
    model = regressor(max_epochs=1, dtype="float32", warm_start=True).fit(X, Y)
    with pytest.raises(ValueError, match="the same dtype. It was float32, now dtype='float64'"):
        model.set_params(dtype="float64").fit(X, Y)


def test_a_weighting_that_draws_is_seeded_and_leaves_the_generator():
    before = torch.get_rng_state()
    one, other = (regressor(weighting=Drawing(), max_epochs=3).fit(X, Y).predict(X) for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


class Drawing(Weighting):
    def start(self, n_members, n_tasks):
        return DrawingState()


class DrawingState(WeightingState):
    def weights(self, losses):
        return torch.rand_like(losses)


class PlainLinear(Sharing):
    """A layer of torch, whose parameters know of no members."""

    def build(self, shape):
        return PlainLinearModule(shape)


class PlainLinearModule(SharingModule):
    per_task = False

    def __init__(self, shape):
        super().__init__()
        self.n_features_out = 7
        self.layer = torch.nn.Linear(shape.n_features, 7)
        self.norm = torch.nn.BatchNorm1d(7)

    def forward(self, x):
        return torch.tanh(self.norm(self.layer(x))).unsqueeze(0)


@pytest.mark.parametrize("params", [{}, {"early_stopping": True}, {"warm_start": True}], ids=str)
def test_a_single_networks_module_needs_no_member_axis(params):
    model = regressor(sharing=PlainLinear(), max_epochs=3, **params).fit(X, Y)
    again = model.predict(X)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), again)
    model.set_params(early_stopping=False)
    before = mean_squared(model)
    for _ in range(5):
        model.partial_fit(X, Y)
    assert mean_squared(model) < before
    regressor(sharing=PlainLinear(), max_epochs=2).fit(X, Y * 1e10)  # looks at the weights of each member


def mean_squared(model):
    return float(np.square(model.predict(X) - Y).mean())


@pytest.mark.parametrize(
    "bad", [{"lr": -1.0}, {"max_epochs": -3}, {"early_stopping": "no"}, {"sharing": "hrd"}], ids=str
)
def test_invalid_defaults_of_a_subclass_are_refused(bad):
    ((name, value),) = bad.items()
    subclass = subclass_with_default(name, value)
    with pytest.raises(InvalidParameterError, match=name):
        subclass().fit(X, Y)


def subclass_with_default(name, value):
    code = f"def __init__(self, {name}={value!r}):\n    MultiTaskRegressor.__init__(self, {name}={name}, max_epochs=2)"
    code = code.replace(", max_epochs=2", "") if name == "max_epochs" else code
    names = {"MultiTaskRegressor": MultiTaskRegressor}
    exec(code, names)
    return type("Subclass", (MultiTaskRegressor,), {"__init__": names["__init__"]})


def test_what_a_callback_writes_to_the_estimator_stays():
    class Notes(Callback):
        def on_epoch_end(self, net, **kwargs):
            model.best_seen = net.history[-1]["train_loss"]

        def on_train_end(self, net, **kwargs):
            model.set_params(lr=0.5)

    model = regressor(max_epochs=2)
    model.set_params(callbacks=[Notes()]).fit(X, Y)
    assert model.best_seen == model.history_[-1]["train_loss"]
    assert model.lr == 0.5


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", torch.optim.RMSprop], ids=str)
@pytest.mark.parametrize("name", ["lr", "optimizer__lr"])
def test_a_callback_sets_the_step_size_of_the_net(name, optimizer):
    class Halve(Callback):
        def on_epoch_end(self, net, **kwargs):
            net.set_params(**{name: net.optimizer_.param_groups[0]["lr"] / 2})

    model = regressor(max_epochs=3, lr=0.08, optimizer=optimizer, callbacks=[Halve()]).fit(X, Y)
    assert model.net_.optimizer_.param_groups[0]["lr"] == pytest.approx(0.01)


def test_a_loaded_history_is_not_mixed_with_that_of_the_fit(tmp_path):
    regressor(max_epochs=6, callbacks=[Checkpoint(dirname=str(tmp_path), monitor=None)]).fit(X, Y)
    load = LoadInitState(Checkpoint(dirname=str(tmp_path), monitor=None))
    model = regressor(max_epochs=3, callbacks=[load]).fit(X, Y)
    assert [row["epoch"] for row in model.history_] == [1, 2, 3]
    for row in model.history_:
        assert row["train_loss"] == pytest.approx(row["train_task_losses"].sum(), rel=1e-6)


def test_batch_scoring_on_validation_rows():
    scoring = BatchScoring("neg_mean_squared_error", name="error", lower_is_better=False)
    y = Y
    model = regressor(max_epochs=2, early_stopping=True, callbacks=[scoring]).fit(X, y)
    assert model.history_[-1]["error"] == pytest.approx(-2 * model.history_[-1]["valid_loss"] / y.shape[1], rel=1e-4)


def test_rows_of_the_data_that_callbacks_see():
    seen = []

    class Look(Callback):
        def on_epoch_begin(self, net, dataset_train=None, **kwargs):
            seen.extend([dataset_train[3][0], dataset_train[:5][0], dataset_train[[1, 2]][0]])

    regressor(max_epochs=1, callbacks=[Look()]).fit(X, Y)
    assert [tuple(x.shape) for x in seen] == [(X.shape[1],), (5, X.shape[1]), (2, X.shape[1])]


# ---- messages of what a user's class lacks --------------------------------------------------------------------------


class Nothing(Sharing):
    def build(self, shape):
        return torch.nn.Linear(shape.n_features, 2)


class Unsure(Weighting):
    def start(self, n_members, n_tasks):
        return None


class TooMany(Weighting):
    def start(self, n_members, n_tasks):
        return TooManyState()


class TooManyState(WeightingState):
    def weights(self, losses):
        return torch.ones(3)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ({"sharing": Nothing()}, TypeError, "Nothing.build must return a SharingModule.*Found Linear without per_task"),
        ({"sharing": Nothing}, ValueError, r"sharing must be an object, not a class: write Nothing\(\)"),
        ({"weighting": Unsure()}, TypeError, "Unsure.start must return a WeightingState. Found None"),
        ({"weighting": TooMany()}, ValueError, r"weights must return a tensor of shape \(1, 2\), \(member, task\)"),
    ],
)
def test_what_a_class_of_the_user_lacks_is_named(params, error, message):
    with pytest.raises(error, match=message):
        regressor(**params).fit(X, Y)
