"""What users bring: sharing modules, callbacks and subclasses of their own."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.utils._param_validation import InvalidParameterError
from skorch.callbacks import BatchScoring, Callback, Checkpoint, LoadInitState

from skmtl import MultiTaskRegressor
from skmtl.sharing import Sharing, SharingModule
from skmtl.training._hooks import Hooks
from skmtl.weighting import Weighting, WeightingState

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 4))
Y = X[:, :2].copy()


def regressor(**params):
    return MultiTaskRegressor(**{"random_state": 0, **params})


def test_buffers_of_a_users_module_belong_to_the_members():
    """Early stopping restores them, and members that leave keep theirs."""
    params = {"early_stopping": True, "n_iter_no_change": 2, "max_epochs": 40, "tol": 0.0, "lr": 0.05, "batch_size": 50}
    features, y = 3 * X + 5, Y
    alone = regressor(sharing=Centred(), **params).fit(features, y)
    stack = regressor(sharing=Centred(), n_members=4, **params).fit(features, y)
    np.testing.assert_allclose(stack.predict_members(features)[0], alone.predict(features), rtol=1e-4, atol=1e-4)
    best = min(row["valid_loss"] for row in alone.history_)
    net = alone.net_
    batches = net.get_iterator(net.train_split(None)[1])
    net.engine_.set_training(False)
    net._row = {"batches": [], "epoch": 0}
    net._valid_epoch(batches, Hooks.of([]))
    assert float(net.valid_loss_) == pytest.approx(best, rel=1e-5)


class Centred(Sharing):
    """A layer on features less their running mean, as batch normalisation keeps it."""

    def build(self, shape):
        return CentredModule(shape)


class CentredModule(SharingModule):
    per_task = False

    def __init__(self, shape):
        super().__init__()
        self.n_features_out = 4
        self.register_buffer("mean", torch.zeros(shape.n_members, 1, shape.n_features))
        self.weight = torch.nn.Parameter(torch.randn(shape.n_members, shape.n_features, 4))

    def forward(self, x):
        x = x if x.ndim == 3 else x.expand(len(self.mean), -1, -1)
        if self.training:
            self.mean.lerp_(x.mean(1, keepdim=True).detach(), 0.5)
        return torch.tanh((x - self.mean) @ self.weight)


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
