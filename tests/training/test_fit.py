"""How fit trains: early stopping, going on, interruption, divergence, and leaving an earlier fit as it was."""

import pickle
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from sklearn.base import clone
from skorch.callbacks import Callback

from skmtl import MultiTaskClassifier, _base
from skmtl.sharing import STRATEGIES
from tests._asserts import assert_same_outputs, assert_same_weights
from tests._cases import KINDS, make_estimator, make_table, outputs

every_strategy = pytest.mark.parametrize("sharing", STRATEGIES)
every_kind = pytest.mark.parametrize("kind", KINDS)

# ---- early stopping -------------------------------------------------------------------------------------------------


def validation_loss(model, X, y):
    """Return the summed mean losses over observed labels, from public predictions alone."""
    if isinstance(model, MultiTaskClassifier):
        total = 0.0
        for proba, classes, column in zip(model.predict_proba(X), model.classes_, y.T, strict=True):
            seen = ~np.isnan(column)
            code = np.searchsorted(classes, column[seen])
            total -= np.log(proba[seen][np.arange(len(code)), code]).mean()
        return total
    return (0.5 * np.nanmean(((model.predict(X) - y) / model._codec.scale) ** 2, axis=0)).sum()


@every_strategy
@every_kind
def test_early_stopping_restores_the_best_weights(sharing, kind):
    X, y = make_table(kind, n_samples=80)
    model = make_estimator(kind, sharing, early_stopping=True, n_iter_no_change=3, max_epochs=60, lr=0.1, tol=0.0)
    model.fit(X[:50], y[:50], X_val=X[50:], y_val=y[50:])
    losses = [row["valid_loss"] for row in model.history_]
    assert validation_loss(model, X[50:], y[50:]) == pytest.approx(min(losses), rel=1e-6)
    assert model.n_iter_ == len(losses) <= np.argmin(losses) + 4


def test_validation_losses_are_recorded_by_task_in_the_users_order():
    X, y = make_table("multiclass", n_samples=80)
    model = make_estimator("multiclass").fit(X[:50], y[:50], X_val=X[50:], y_val=y[50:])
    by_task = model.history_[-1]["valid_task_losses"]
    for t, column in enumerate(y[50:].T):
        seen = ~np.isnan(column)
        proba = model.predict_proba(X[50:][seen])[t]
        loss = -np.log(proba[np.arange(seen.sum()), np.searchsorted(model.classes_[t], column[seen])]).mean()
        assert by_task[t] == pytest.approx(loss)
    assert model.history_[-1]["valid_loss"] == pytest.approx(by_task.sum())


def test_patience_and_tolerance():
    X, y = make_table("regression")
    model = make_estimator(early_stopping=True, tol=1e9, n_iter_no_change=4, max_epochs=50).fit(X, y)
    assert model.n_iter_ == 5


@pytest.fixture
def split_of(monkeypatch):
    """Return a function that says which rows a fit trains on and which it validates on."""
    seen = {}

    def spy(run, data, valid):
        seen["parts"] = [  # some rows are drawn more than once
            [rows.unique().numpy() for rows in part.index] if part.by_member else part.index.unique().numpy()
            for part in (data, valid)
        ]
        return train(run, data, valid)

    train = _base.train
    monkeypatch.setattr(_base, "train", spy)

    def split(model, X, y, **fit_params):
        model.fit(X, y, **fit_params)
        return seen["parts"]

    return split


def test_the_validation_split_shares_missing_labels_and_rare_classes(split_of):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, size=(200, 3)).astype(float)
    y[rng.choice(200, 6, replace=False), 0] = 2.0  # six labels of a rare class
    y[rng.random(200) < 0.9, 1] = np.nan  # twenty labels or so
    model = make_estimator("binary", early_stopping=True, validation_fraction=0.25)
    train, valid = split_of(model, rng.normal(size=(200, 4)), y)
    rows = np.flatnonzero(~np.isnan(y).all(axis=1))
    assert sorted([*train, *valid]) == rows.tolist()
    assert len(valid) == 50
    for part in (train, valid):
        assert (y[part, 0] == 2.0).any()
        assert {0.0, 1.0} <= set(y[part, 1])
    assert (~np.isnan(y[valid, 1])).sum() == pytest.approx(0.25 * (~np.isnan(y[:, 1])).sum(), abs=2)


def test_rows_without_labels_are_not_split(split_of):
    X, y = make_table("regression")
    y[::4] = np.nan
    train, valid = split_of(make_estimator(early_stopping=True), X, y)
    assert not set(range(0, len(y), 4)) & {*train, *valid}


def test_whole_groups_are_held_out(split_of):
    X, y = make_table("regression", n_samples=80)
    y[:8] = np.nan
    groups = np.repeat([f"user {k}" for k in range(20)], 4)
    model = make_estimator(early_stopping=True, n_members=3, validation_fraction=0.2)
    train, valid = split_of(model, X, y, groups=groups)
    assert len(train) == len(valid) == 3
    for own_train, own_valid in zip(train, valid, strict=True):
        assert not set(groups[own_train]) & set(groups[own_valid])
        assert {*own_train, *own_valid} == set(range(8, 80))


@pytest.mark.parametrize(
    ("groups", "message"),
    [(np.arange(7), r"shape \(48,\).*Found \(7,\)"), (np.zeros(48), "at least two.*Found only 0")],
)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_groups_that_are_none(groups, message, early_stopping):
    X, y = make_table("regression")
    with pytest.raises(ValueError, match=message):
        make_estimator(early_stopping=early_stopping).fit(X, y, groups=groups)


def test_early_stopping_with_a_task_of_a_single_label():
    X, y = make_table("regression")
    y[1:, 0] = np.nan
    y[0, 0] = 1.0
    model = make_estimator(early_stopping=True).fit(X, y)
    assert np.isfinite(model.predict(X)).all()


def test_a_validation_set_without_early_stopping_only_reports():
    X, y = make_table("regression")
    reported, plain = make_estimator(), make_estimator()
    reported.fit(X, y, X_val=X, y_val=y)
    plain.fit(X, y)
    assert_same_weights(reported, plain)
    assert "valid_loss" not in plain.history_[-1]
    assert reported.history_[-1]["valid_loss"] == pytest.approx(validation_loss(reported, X, y))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_validation_set_of_another_precision(dtype):
    X, y = make_table("regression")
    model = make_estimator().fit(X.astype(np.float32), y, X_val=X.astype(dtype), y_val=y)
    assert np.isfinite(model.history_[-1]["valid_loss"])


# ---- the recorded losses --------------------------------------------------------------------------------------------


@every_kind
def test_the_recorded_training_loss_is_that_of_the_weights_before_the_step(kind):
    X, y = make_table(kind)
    one, two = (make_estimator(kind, batch_size=1000, max_epochs=n).fit(X, y) for n in (1, 2))
    assert two.history_[1]["train_loss"] == pytest.approx(validation_loss(one, X, y), rel=1e-6)


# ---- going on -------------------------------------------------------------------------------------------------------


@every_strategy
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_warm_start_is_one_long_fit_of_full_batches(sharing, optimizer):
    X, y = make_table("regression")
    params = {"batch_size": 1000, "optimizer": optimizer, "sharing_lambda": 0.0}
    whole = make_estimator(sharing=sharing, max_epochs=7, **params).fit(X, y)
    halves = make_estimator(sharing=sharing, max_epochs=3, warm_start=True, **params).fit(X, y)
    halves.set_params(max_epochs=4).fit(X, y)
    assert_same_outputs(whole, halves, X, rtol=1e-9, atol=1e-9)
    assert halves.n_iter_ == 7
    assert [row["epoch"] for row in halves.history_] == [1, 2, 3, 4, 5, 6, 7]


def test_without_warm_start_fit_begins_anew():
    X, y = make_table("regression")
    model = make_estimator().fit(X, y)
    once = clone(model).fit(X, y)
    assert_same_weights(model.fit(X, y), once)
    assert model.n_iter_ == 4


def test_warm_start_goes_on_after_a_pickle():
    X, y = make_table("regression")
    model = pickle.loads(pickle.dumps(make_estimator(warm_start=True).fit(X, y)))
    before = model.history_[-1]["train_loss"]
    model.set_params(max_epochs=30).fit(X, y)
    assert model.n_iter_ == 34
    assert model.history_[-1]["train_loss"] < before


def test_warm_start_draws_other_batches_than_the_first_fit():
    X, y = make_table("regression")
    model = make_estimator(warm_start=True, max_epochs=1, dropout=0.5, lr=1e-12).fit(X, y)
    first = model.history_[0]["train_loss"]
    assert model.fit(X, y).history_[1]["train_loss"] != pytest.approx(first, rel=1e-6)


def test_warm_start_standardises_anew():
    X, y = make_table("regression")
    model = make_estimator(warm_start=True).fit(X, y)
    before = model.predict(X)
    model.set_params(lr=1e-15, max_epochs=1).fit(X, y * 1000)
    np.testing.assert_allclose(model.predict(X), before * 1000, rtol=1e-6, atol=1e-3)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"hidden_layer_sizes": (9,)}, "same architecture.*warm_start=False"),
        ({"sharing": "soft"}, "same architecture.*warm_start=False"),
        ({"activation": "tanh"}, "same architecture.*warm_start=False"),
    ],
)
def test_warm_start_of_another_architecture_raises(params, message):
    X, y = make_table("regression")
    model = make_estimator(warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=message):
        model.set_params(**params).fit(X, y)


def test_warm_start_with_other_tasks_raises():
    X, y = make_table("regression")
    model = make_estimator(warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=r"y must have one column for each of the 4 tasks .* Found 3"):
        model.fit(X, y[:, :3])


@every_strategy
@every_kind
def test_partial_fit_is_fit_epoch_by_epoch(sharing, kind):
    X, y = make_table(kind)
    model = make_estimator(kind, sharing, batch_size=1000, sharing_lambda=0.0)
    whole = clone(model).fit(X, y)
    for _ in range(4):
        model.partial_fit(X, y)
    assert_same_outputs(whole, model, X, rtol=1e-9, atol=1e-9)
    assert model.n_iter_ == len(model.history_) == 4


def test_partial_fit_knows_the_classes_it_was_given():
    model = MultiTaskClassifier(random_state=0)
    model.partial_fit([[0.0], [1.0]], [["a", "x"], ["b", None]], classes=[["a", "b", "c"], ["x", "y"]])
    assert [list(c) for c in model.classes_] == [["a", "b", "c"], ["x", "y"]]
    model.partial_fit([[2.0]], [["c", "y"]])
    assert [p.shape for p in model.predict_proba([[0.0]])] == [(1, 3), (1, 2)]


def test_partial_fit_refuses_an_unseen_label_by_task():
    model = MultiTaskClassifier(random_state=0).partial_fit([[0.0], [1.0]], [["a", "x"], ["b", "y"]])
    with pytest.raises(ValueError, match=r"Task '1': unknown labels 'z'. The classes are 'x', 'y'"):
        model.partial_fit([[2.0]], [["a", "z"]])


@pytest.mark.parametrize("classes", [[["a"]], [["a", "b"], ["x"], ["z"]]])
def test_partial_fit_wants_classes_for_each_task(classes):
    with pytest.raises(ValueError, match=f"classes must hold one array for each of the 2 tasks. Found {len(classes)}"):
        MultiTaskClassifier().partial_fit([[0.0], [1.0]], [["a", "x"], ["b", "x"]], classes=classes)


def test_partial_fit_refuses_labels_outside_the_classes_given():
    with pytest.raises(ValueError, match="Task '0': unknown labels 'b'"):
        MultiTaskClassifier().partial_fit([[0.0], [1.0]], [["a"], ["b"]], classes=[["a", "c"]])


def test_partial_fit_weighs_classes_that_its_rows_do_not_hold():
    X, y = np.zeros((2, 1)), ["a", "b"]
    for class_weight in ("balanced", {"c": 2.0, "a": 0.5}):
        model = MultiTaskClassifier(class_weight=class_weight, random_state=0).partial_fit(
            X, y, classes=["a", "b", "c"]
        )
        model.partial_fit(X, ["c", "c"]).partial_fit(X[:1], ["a"])
        assert model.n_iter_ == 3


def test_partial_fit_has_no_early_stopping():
    X, y = make_table("regression")
    with pytest.raises(ValueError, match="early_stopping=False"):
        make_estimator(early_stopping=True).partial_fit(X, y)


def test_partial_fit_takes_a_batch_in_which_a_task_has_no_label():
    X, y = make_table("regression")
    model = make_estimator(sharing="independent").partial_fit(X, y)
    before = model.predict(X)
    model.optimizer = "sgd"  # whose steps are zero where the gradient is, without Adam's memory
    y_next = y.copy()
    y_next[:, 1] = np.nan
    after = model.partial_fit(X, y_next).predict(X)
    np.testing.assert_array_equal(after[:, 1], before[:, 1])
    assert (after[:, 0] != before[:, 0]).all()
    with pytest.raises(ValueError, match="every label is missing"):
        model.partial_fit(X, np.full_like(y, np.nan))


# ---- optimisers of torch --------------------------------------------------------------------------------------------


@every_strategy
def test_a_torch_class_as_optimizer_equals_ours(sharing):
    X, y = make_table("regression")
    theirs, ours = (
        make_estimator(sharing=sharing, optimizer=o, sharing_lambda=0.0) for o in (torch.optim.Adam, "adam")
    )
    assert_same_outputs(theirs.fit(X, y), ours.fit(X, y), X, rtol=1e-6, atol=1e-8)


def test_any_torch_optimiser_learns():
    X, y = make_table("regression")
    for optimizer in (torch.optim.RMSprop, torch.optim.Adagrad, torch.optim.NAdam):
        model = make_estimator(sharing="soft", sharing_lambda=0.01, optimizer=optimizer, max_epochs=30).fit(X, y)
        assert model.history_[-1]["train_loss"] < 0.9 * model.history_[0]["train_loss"]


def test_an_optimiser_that_calls_its_closure_many_times():
    X, y = make_table("regression")
    model = make_estimator(optimizer=torch.optim.LBFGS, lr=0.5, batch_size=1000)
    model.set_params(max_epochs=5).fit(X, y)
    assert model.history_[-1]["train_loss"] < 0.5 * model.history_[0]["train_loss"]


# ---- interruption ---------------------------------------------------------------------------------------------------


class InBatch(Callback):
    """Press Ctrl-C after so many training steps."""

    def __init__(self, after):
        self.left = after

    def on_batch_end(self, net, training=None, **kwargs):
        self.left -= training
        if self.left == 0:
            raise KeyboardInterrupt


@every_strategy
@every_kind
def test_an_interrupted_fit_is_usable_and_warns(sharing, kind):
    X, y = make_table(kind)
    model = make_estimator(kind, sharing, callbacks=[InBatch(after=7)])  # in the third epoch of three steps each
    with pytest.warns(UserWarning, match="interrupted after 2 full epochs of 4"):
        model.fit(X, y)
    assert model.n_iter_ == len(model.history_) == 2
    assert all(np.isfinite(part).all() for part in outputs(model, X))
    assert 0 <= model.score(X, y) <= 1 or kind == "regression"


@pytest.mark.parametrize("warm_start", [False, True])
def test_an_interrupt_in_the_first_epoch_keeps_the_earlier_fit(warm_start):
    X, y = make_table("regression")
    model = make_estimator(warm_start=warm_start).fit(X, y)
    before = model.predict(X)
    with pytest.raises(KeyboardInterrupt):
        model.set_params(callbacks=[InBatch(after=1)]).fit(X, y)
    np.testing.assert_array_equal(model.predict(X), before)
    new = make_estimator(callbacks=[InBatch(after=1)])
    with pytest.raises(KeyboardInterrupt):
        new.fit(X, y)
    assert not hasattr(new, "network_")


def test_an_interrupted_early_stopping_restores_the_best_weights():
    X, y = make_table("regression")
    model = make_estimator(early_stopping=True, lr=0.3, max_epochs=50, callbacks=[InBatch(after=31)])
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(X, y, X_val=X, y_val=y)
    losses = [row["valid_loss"] for row in model.history_]
    assert validation_loss(model, X, y) == pytest.approx(min(losses), abs=1e-4)


def test_the_users_ctrl_c():
    """A real SIGINT, sent from inside a hook-free fit by a timer in another process."""
    script = """
        import os, signal, threading, warnings
        import numpy as np
        from skmtl import MultiTaskRegressor

        X = np.random.default_rng(0).normal(size=(2000, 5))
        model = MultiTaskRegressor(max_epochs=10**6, batch_size=32, early_stopping=False)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(X, X[:, :2])
        assert any("interrupted after" in str(w.message) for w in caught), caught
        assert np.isfinite(model.predict(X)).all()
        assert model.n_iter_ == len(model.history_) < 10**6
        print("usable", model.n_iter_)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.startswith("usable"), done.stderr


# ---- divergence -----------------------------------------------------------------------------------------------------


@every_strategy
@every_kind
@pytest.mark.filterwarnings("ignore:overflow")
def test_a_loss_gone_nan_names_a_task_and_says_what_to_try(sharing, kind):
    X, y = make_table(kind, dtype=np.float32)
    message = r"Task '\d': the training loss is no longer finite in epoch \d+.*smaller lr \(now 1e\+30\).*clipping"
    with pytest.raises(ValueError, match=message):
        make_estimator(kind, sharing, lr=1e30, optimizer="sgd", max_epochs=20).fit(X, y)


def test_the_task_whose_loss_diverged_is_the_one_named():
    X, y = make_table("regression", dtype=np.float32)
    model = make_estimator(sharing="independent", task_weights=[1, 1, 1e30, 1], optimizer="sgd", max_epochs=20)
    with pytest.raises(ValueError, match="Task '2'"):
        model.fit(X, y)


# ---- all or nothing -------------------------------------------------------------------------------------------------


def break_parameter(model, X, y):
    model.set_params(lr=-1.0).fit(X, y)


def break_labels(model, X, y):
    model.fit(X, np.full_like(y, np.nan))


def break_training(model, X, y):
    model.set_params(callbacks=[Fails()]).fit(X[:, :3], y[:, :2])


def break_divergence(model, X, y):
    model.set_params(lr=1e200, optimizer="sgd").fit(X, y)


def break_warm_start(model, X, y):
    model.set_params(warm_start=True, callbacks=[Fails()]).fit(X, y)


def break_warm_start_by_divergence(model, X, y):
    model.set_params(warm_start=True, lr=1e200, optimizer="sgd").fit(X, y)


def break_partial_fit(model, X, y):
    model.set_params(callbacks=[Fails()]).partial_fit(X, y)


def break_partial_fit_by_width(model, X, y):
    model.partial_fit(X[:, :3], y)


class Fails(Callback):
    def on_batch_end(self, net, **kwargs):
        raise RuntimeError("the callback's own")


BREAKS = [value for name, value in sorted(globals().items()) if name.startswith("break_")]


@every_strategy
@every_kind
@pytest.mark.parametrize("fail", BREAKS, ids=lambda f: f.__name__)
@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_a_failed_fit_leaves_the_earlier_one_as_it_was(sharing, kind, fail):
    X, y = make_table(kind)
    model = make_estimator(kind, sharing).fit(X, y)
    before = {k: v for k, v in vars(model).items() if k not in model.get_params()}
    said = outputs(model, X)
    history = [dict(row) for row in model.history_]
    with pytest.raises((ValueError, RuntimeError)):
        fail(model, X, y)
    after = {k: v for k, v in vars(model).items() if k not in model.get_params()}
    assert after.keys() == before.keys()
    assert all(after[k] is before[k] for k in before)
    assert len(history) == len(model.history_)
    assert [row["train_loss"] for row in history] == [row["train_loss"] for row in model.history_]
    for a, b in zip(said, outputs(model, X), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_failed_first_fit_leaves_nothing():
    X, y = make_table("regression")
    model = make_estimator(callbacks=[Fails()])
    with pytest.raises(RuntimeError):
        model.fit(X, y)
    assert vars(model).keys() == model.get_params(deep=False).keys()


# ---- device, precision ----------------------------------------------------------------------------------------------


@every_strategy
@pytest.mark.parametrize(
    ("given", "dtype", "expected"),
    [
        (np.float32, "auto", torch.float32),
        (np.float64, "auto", torch.float64),
        (np.int64, "auto", torch.float64),
        (np.float16, "auto", torch.float64),
        (np.float64, "float32", torch.float32),
        (np.float32, "float64", torch.float64),
    ],
)
def test_precision(sharing, given, dtype, expected):
    X, y = make_table("regression")
    model = make_estimator(sharing=sharing, dtype=dtype, max_epochs=1).fit(X.astype(given), y)
    assert {p.dtype for p in model.network_.parameters()} == {expected}
    assert model.transform(X.astype(given)).dtype == str(expected).removeprefix("torch.")


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), "auto"])
def test_device(device):
    X, y = make_table("regression")
    model = make_estimator(device=device, max_epochs=1).fit(X, y)
    assert model.predict(X).shape == y.shape


def test_neither_x_nor_y_nor_weights_are_changed():
    X, y = make_table("regression")
    weight = np.ones(len(X))
    copies = X.copy(), y.copy(), weight.copy()
    make_estimator().fit(X, y, sample_weight=weight).predict(X)
    for array, copy in zip((X, y, weight), copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_no_fit_imports_dynamo():
    """It takes most of a second, and Ctrl-C in the middle of it leaves torch half imported."""
    code = """
import sys
import numpy as np
from skmtl import MultiTaskRegressor
X = np.random.default_rng(0).normal(size=(50, 3))
model = MultiTaskRegressor(warm_start=True, max_epochs=1).fit(X, X).fit(X, X).partial_fit(X, X)
model.set_params(early_stopping=True, n_members=2, warm_start=False).fit(X, X).predict(X)
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
