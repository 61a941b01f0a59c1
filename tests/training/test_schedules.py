"""Learning rate schedules against torch's own, and where a schedule begins and ends."""

import math

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import LRScheduler
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR

from skmtl.sharing import STRATEGIES
from skmtl.training import OPTIMIZERS, SCHEDULES
from tests._asserts import assert_members_agree
from tests._cases import make_estimator, make_odd_estimator, make_table, steady_optimizer
from tests._side_by_side import fit_side_by_side

EPOCHS = 5
TORCHS_OWN = {
    "constant": lambda: LRScheduler(LambdaLR, lr_lambda=lambda epoch: 1.0),
    "linear": lambda: LRScheduler(LambdaLR, lr_lambda=lambda epoch: 1.0 - epoch / EPOCHS),
    "cosine": lambda: LRScheduler(CosineAnnealingLR, T_max=EPOCHS),
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", [1.0, 1.0, 1.0, 1.0]),
        ("linear", [1.0, 0.75, 0.5, 0.25]),
        ("cosine", [1.0, 0.5 + 0.5 * math.sqrt(0.5), 0.5, 0.5 - 0.5 * math.sqrt(0.5)]),
    ],
)
def test_factors_of_four_epochs(name, expected):
    assert [SCHEDULES[name](epoch / 4) for epoch in range(4)] == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("name", SCHEDULES)
def test_no_epoch_has_a_step_size_of_zero(name):
    assert SCHEDULES[name](9999 / 10000) > 0


@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, torch.optim.AdamW])
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("sharing", STRATEGIES)
def test_it_is_what_torchs_scheduler_does(sharing, name, optimizer):
    X, y = make_table("regression")
    params = {"max_epochs": EPOCHS, "optimizer": optimizer, "weight_decay": 0.1}
    model = make_estimator("regression", sharing, lr_schedule=name, **params).fit(X, y)
    reference = make_estimator("regression", sharing, callbacks=[TORCHS_OWN[name]()], **params).fit(X, y)
    np.testing.assert_allclose(model.predict(X), reference.predict(X), rtol=1e-11)
    constant = make_estimator("regression", sharing, **params).fit(X, y)
    moved = np.abs(model.predict(X) - constant.predict(X)).max()
    assert moved == 0 if name == "constant" else moved > 1e-3


@pytest.mark.parametrize(
    ("sharing", "optimizer", "dtype", "hidden"),
    [
        (sharing, optimizer, dtype, hidden)
        for sharing in STRATEGIES
        for optimizer in OPTIMIZERS
        for dtype, hidden in [(np.float32, (33,)), (np.float64, (17, 5))]
        if optimizer == "sgd" or steady_optimizer(sharing, dtype) != "sgd"
    ],
)
def test_a_stack_is_its_members(sharing, optimizer, dtype, hidden):
    X, y = make_table("regression", dtype=dtype)
    shared = {"optimizer": optimizer, "lr_schedule": "cosine", "hidden_layer_sizes": hidden}
    members = [
        make_odd_estimator("regression", sharing, lr=lr, weight_decay=decay, **shared)
        for lr, decay in [(1e-3, 0.0), (3e-3, 0.1), (7e-3, 0.3)]
    ]
    fitted, search = fit_side_by_side(members, X, y)
    assert search.n_stacks_ == 1
    for model, (member,) in zip(members, fitted, strict=True):
        assert_members_agree(member, clone(model).fit(X, y), X)


class Recorder(torch.optim.SGD):
    """Note the step size of every step."""

    seen: list

    def step(self, closure=None):
        self.seen.append(self.param_groups[0]["lr"])
        return super().step(closure)


@pytest.fixture
def model():
    Recorder.seen = []
    return make_estimator(
        optimizer=Recorder, lr=0.1, lr_schedule="linear", max_epochs=4, batch_size=48, weight_decay=0.0
    )


def test_a_second_fit_starts_again(model):
    X, y = make_table("regression")
    model.set_params(warm_start=True).fit(X, y).set_params(max_epochs=2).fit(X, y)
    assert Recorder.seen == pytest.approx([0.1, 0.075, 0.05, 0.025, 0.1, 0.05])


def test_partial_fit_keeps_to_lr(model):
    X, y = make_table("regression")
    model.partial_fit(X, y).partial_fit(X, y)
    assert Recorder.seen == [0.1, 0.1]


def test_every_batch_of_an_epoch_has_the_same(model):
    X, y = make_table("regression")
    model.set_params(batch_size=16, max_epochs=2).fit(X, y)
    assert Recorder.seen == pytest.approx([0.1] * 3 + [0.05] * 3)


def test_a_callbacks_change_stays(model):
    X, y = make_table("regression")
    halve = LRScheduler(LambdaLR, lr_lambda=lambda epoch: 0.5)
    model.set_params(optimizer="sgd", lr=0.1, callbacks=[halve]).fit(X, y)
    alone = make_estimator(optimizer="sgd", lr=0.05, lr_schedule="linear", max_epochs=4, batch_size=48).fit(X, y)
    np.testing.assert_allclose(model.predict(X), alone.predict(X), rtol=1e-11)


def test_early_stopping_cuts_the_schedule_of_all_epochs_short():
    X, y = make_table("regression", n_samples=80)
    params = {"lr": 0.1, "max_epochs": 40, "lr_schedule": "cosine", "n_iter_no_change": 3}
    held_out = {"X_val": X[50:], "y_val": y[50:]}
    stopped = make_estimator(early_stopping=True, **params).fit(X[:50], y[:50], **held_out)
    through = make_estimator(**params).fit(X[:50], y[:50], **held_out)
    assert 3 < stopped.n_iter_ < 40
    losses = [[row["valid_loss"] for row in m.history_[: stopped.n_iter_]] for m in (stopped, through)]
    assert losses[0] == losses[1]
