"""skorch's callbacks do their work around our training step."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score
from skorch.callbacks import (
    Callback,
    Checkpoint,
    EarlyStopping,
    EpochScoring,
    GradientNormClipping,
    LRScheduler,
    PassthroughScoring,
    ProgressBar,
)

from skmtl.sharing import STRATEGIES, HardSharing
from tests._cases import WIDTHS, fit_heads, make_estimator, make_table

every_strategy = pytest.mark.parametrize("sharing", STRATEGIES)


class Recorder(Callback):
    """Note every hook and what it was given."""

    def __init__(self):
        self.calls, self.shown, self.norms, self.rates = [], [], [], []

    def on_train_begin(self, net, **kwargs):
        self.calls.append("train_begin")

    def on_train_end(self, net, **kwargs):
        self.calls.append("train_end")

    def on_epoch_begin(self, net, **kwargs):
        self.calls.append("epoch_begin")

    def on_epoch_end(self, net, **kwargs):
        self.calls.append("epoch_end")

    def on_batch_begin(self, net, batch=None, training=None, **kwargs):
        self.calls.append("batch_begin" if training else "valid_begin")
        self.shown.append([part.clone() for part in batch])

    def on_grad_computed(self, net, named_parameters, **kwargs):
        self.calls.append("grad_computed")
        grads = [p.grad.flatten() for _, p in named_parameters]
        self.norms.append(float(torch.cat(grads).norm()))

    def on_batch_end(self, net, batch=None, training=None, loss=None, y_pred=None, **kwargs):
        self.calls.append("batch_end" if training else "valid_end")
        self.rates.append(net.optimizer_.param_groups[0]["lr"])
        assert len(y_pred) == len(batch[0])
        assert torch.isfinite(loss)


def fit(callbacks, sharing="hard", kind="regression", missing=0.25, X_val=None, y_val=None, **params):
    X, y = make_table(kind, missing=missing)
    return make_estimator(kind, sharing, callbacks=callbacks, **params).fit(X, y, X_val=X_val, y_val=y_val)


def held_out(kind="regression", missing=0.25):
    X, y = make_table(kind, missing=missing, n_samples=30)
    return {"X_val": X, "y_val": y}


@every_strategy
def test_hooks_come_in_skorchs_order(sharing):
    recorder = Recorder()
    fit([recorder], sharing, max_epochs=2, **held_out())
    step = ["batch_begin", "grad_computed", "batch_end"]
    epoch = ["epoch_begin", *step * 3, "valid_begin", "valid_end", "epoch_end"]
    assert recorder.calls == ["train_begin", *epoch * 2, "train_end"]


@every_strategy
@pytest.mark.parametrize("optimizer", ["adam", "sgd", torch.optim.SGD])
def test_listening_changes_nothing(sharing, optimizer):
    X, _ = make_table("regression")
    hidden = WIDTHS[0]  # odd, for there the order of sums depends on shapes the most
    params = {"sharing": fit_heads(sharing, hidden), "hidden_layer_sizes": hidden, "optimizer": optimizer}
    heard, unheard = (fit(c, dropout=0.1, **params) for c in ([Recorder()], None))
    assert np.array_equal(heard.predict(X), unheard.predict(X))
    for a, b in zip(heard.history_, unheard.history_, strict=True):
        assert a["train_loss"] == pytest.approx(b["train_loss"], rel=1e-12)


def test_callbacks_see_missing_labels_as_nan():
    recorder = Recorder()
    model = fit([recorder], max_epochs=1, batch_size=1000)
    X, y = make_table("regression")
    x, target = recorder.shown[0]
    rows = ~np.isnan(y).all(axis=1)
    np.testing.assert_array_equal(x, X[rows])
    np.testing.assert_allclose(model._codec.decode(target.numpy()), y[rows])


def test_early_stopping_stops():
    model = fit([EarlyStopping(patience=2, threshold=10.0)], max_epochs=50, **held_out())
    assert model.n_iter_ == 3


def test_early_stopping_lets_callbacks_behind_it_see_the_last_epoch():
    recorder = Recorder()
    model = fit([EarlyStopping(patience=2, threshold=10.0), recorder], max_epochs=50, **held_out())
    assert recorder.calls.count("epoch_end") == model.n_iter_ == 3


def test_scheduler_by_epoch():
    recorder = Recorder()
    fit([recorder, LRScheduler("StepLR", step_size=1, gamma=0.5)], max_epochs=3, batch_size=1000, lr=0.4)
    assert recorder.rates == pytest.approx([0.4, 0.2, 0.1])


def test_scheduler_by_batch():
    recorder = Recorder()
    schedule = LRScheduler("StepLR", step_size=1, gamma=0.5, step_every="batch")
    fit([recorder, schedule], max_epochs=1, lr=0.4)
    assert recorder.rates == pytest.approx([0.4, 0.2, 0.1])


def test_scheduler_on_a_plateau_of_the_validation_loss():
    schedule = LRScheduler("ReduceLROnPlateau", monitor="valid_loss", patience=0, threshold=10.0)
    recorder = Recorder()
    fit([recorder, schedule], max_epochs=4, batch_size=1000, lr=0.4, **held_out())
    assert recorder.rates[-1] < 0.4


@every_strategy
def test_checkpoint_writes_the_best_weights(sharing, tmp_path):
    checkpoint = Checkpoint(monitor="valid_loss_best", dirname=tmp_path)
    model = fit([checkpoint], sharing, max_epochs=6, lr=0.3, **held_out())
    saved = torch.load(tmp_path / "params.pt", weights_only=True)
    best = int(np.argmin([row["valid_loss"] for row in model.history_]))
    again = fit(None, sharing, max_epochs=best + 1, lr=0.3, **held_out())
    for name, weight in again.network_.state_dict().items():
        torch.testing.assert_close(saved[name], weight, rtol=1e-9, atol=1e-12)


def test_checkpoint_loads_the_best_weights_at_the_end(tmp_path):
    checkpoint = Checkpoint(monitor="valid_loss_best", dirname=tmp_path, load_best=True)
    X_val = held_out()["X_val"]
    losses = [row["valid_loss"] for row in fit(None, max_epochs=12, lr=0.3, **held_out()).history_]
    best = int(np.argmin(losses)) + 1
    assert best < 12
    model = fit([checkpoint], max_epochs=12, lr=0.3, **held_out())
    np.testing.assert_allclose(
        model.predict(X_val), fit(None, max_epochs=best, lr=0.3, **held_out()).predict(X_val), rtol=1e-9
    )
    assert model.n_iter_ == len(model.history_) == best  # skorch goes back to the history of that epoch, too


def test_gradient_norm_clipping_clips():
    free, clipped = Recorder(), Recorder()
    fit([free], max_epochs=1)
    fit([GradientNormClipping(1e-3), clipped], max_epochs=1)
    assert min(free.norms) > 1e-2
    assert clipped.norms == pytest.approx([1e-3] * 3, rel=1e-2)


def test_gradient_norm_clipping_reaches_the_step():
    X, _ = make_table("regression")
    models = [fit([GradientNormClipping(limit)], max_epochs=1, optimizer="sgd", lr=1.0) for limit in (1e-9, 1e9)]
    start = fit(None, max_epochs=1, optimizer="sgd", lr=1e-12)
    np.testing.assert_allclose(models[0].predict(X), start.predict(X), atol=1e-4)
    assert np.abs(models[1].predict(X) - start.predict(X)).max() > 1e-2


class SkorchsLosses(Callback):
    """Note what skorch's own callback would record of each epoch."""

    def __init__(self, names):
        self.names, self.seen = names, []

    def on_epoch_end(self, net, **kwargs):
        scorings = [PassthroughScoring(name, on_train=name == "train_loss") for name in self.names]
        self.seen.append({scoring.name: scoring.get_avg_score(net.history) for scoring in scorings})


@pytest.mark.parametrize("names", [["train_loss"], ["train_loss", "valid_loss"]])
def test_losses_of_an_epoch_are_those_that_skorch_would_record(names):
    skorchs = SkorchsLosses(names)
    model = fit([skorchs], max_epochs=4, lr=0.05, batch_size=16, **(held_out() if len(names) == 2 else {}))
    assert len(skorchs.seen) == 4
    for k, (row, seen) in enumerate(zip(model.history_, skorchs.seen, strict=True)):
        found = {name: row[name] for name in ("train_loss", "valid_loss") if name in row}
        assert found == pytest.approx(seen, rel=1e-12)  # summed in another order
        for name in names:
            assert row[f"{name}_best"] == all(row[name] < earlier[name] for earlier in model.history_[:k])


def mean_distance(net, data, y=None):
    """Return the mean absolute distance to the observed targets: a scorer that skips missing labels."""
    targets = torch.stack([target for _, target in data]) if y is None else torch.as_tensor(y)
    return float(np.nanmean(np.abs(net.predict(data) - targets.numpy())))


@pytest.mark.parametrize("on_train", [True, False])
def test_epoch_scoring_with_a_function(on_train):
    scoring = EpochScoring(mean_distance, name="distance", on_train=on_train, lower_is_better=True, use_caching=False)
    model = fit([scoring], max_epochs=5, lr=0.05, **held_out())
    table = make_table("regression") if on_train else held_out().values()
    X, y = table
    expected = np.nanmean(np.abs(model.predict(X) - y) / model._codec.scale)
    assert model.history_[-1]["distance"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("on_train", [True, False])
def test_epoch_scoring_by_name_on_complete_labels(on_train):
    scoring = EpochScoring("r2", name="fit", on_train=on_train, lower_is_better=False)
    val = held_out(missing=0.0)
    model = fit([scoring], missing=0.0, max_epochs=3, lr=0.05, **val)
    assert all(np.isfinite(row["fit"]) for row in model.history_)
    if not on_train:
        assert model.history_[-1]["fit"] == pytest.approx(r2_score(val["y_val"], model.predict(val["X_val"])), rel=1e-5)


def test_progress_bar_of_skorch(capsys):
    fit([ProgressBar(detect_notebook=False)], max_epochs=2)
    assert "%" in capsys.readouterr().err


def test_verbose_draws_a_bar_over_epochs(capsys):
    fit(None, max_epochs=3, verbose=1, **held_out())
    shown = capsys.readouterr()
    assert "3/3" in shown.err
    assert "valid_loss" in shown.err
    assert shown.out == ""


def test_silence_by_default(capsys):
    fit(None, max_epochs=2, **held_out())
    assert capsys.readouterr() == ("", "")


def test_callbacks_with_names():
    recorder = Recorder()
    fit([("recorder", recorder)], max_epochs=1)
    assert recorder.calls[-1] == "train_end"


@pytest.mark.parametrize("callbacks", [["EarlyStopping"], [3], [Recorder]])
def test_what_is_no_callback_raises(callbacks):
    with pytest.raises((TypeError, ValueError), match="callback"):
        fit(callbacks, max_epochs=1)


class Fails(Callback):
    def on_epoch_end(self, net, **kwargs):
        raise OSError("disk full")


def test_an_error_in_a_callback_comes_through():
    with pytest.raises(OSError, match="disk full"):
        fit([Fails()])


class _DrawsInTraining(HardSharing):
    """A strategy that may draw from torch's global generator while it trains, as a user's own does."""

    def build(self, shape):
        module = super().build(shape)
        module.uses_global_generator = True
        return module


class _FitsAnother(Callback):
    def on_epoch_end(self, net, **kwargs):
        make_estimator(max_epochs=1).fit(*make_table("regression"))


def test_a_callback_may_fit_another_estimator():
    X, y = make_table("regression")
    model = make_estimator(sharing=_DrawsInTraining(), callbacks=[_FitsAnother()], max_epochs=2).fit(X, y)
    assert model.n_iter_ == 2


@every_strategy
def test_a_net_pickled_by_a_callback_predicts(sharing, tmp_path):
    checkpoint = Checkpoint(
        monitor=None,
        dirname=tmp_path,
        f_params=None,
        f_optimizer=None,
        f_criterion=None,
        f_history=None,
        f_pickle="net.pkl",
    )
    X, _ = make_table("regression")
    model = fit([checkpoint], sharing)
    with (tmp_path / "net.pkl").open("rb") as file:
        net = pickle.load(file)
    np.testing.assert_array_equal(net.predict(X), model.net_.predict(X))
