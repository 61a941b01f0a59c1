"""Ensembles: members trained side by side are what each would be alone, to within rounding; predictions are their mean.

Widths are odd, for there some processors sum a stack in another order than one network.
"""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.model_selection import GridSearchCV, KFold, ParameterGrid
from skorch.callbacks import Callback, EarlyStopping, EpochScoring

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.model_selection import StackedGridSearchCV
from skmtl.sharing import STRATEGIES, Sharing, SharingModule
from tests._asserts import (
    assert_holds_the_members,
    assert_is_the_mean_of_its_members,
    assert_members_agree,
    assert_same_outputs,
    assert_same_weights,
    assert_within_promise,
    fit_members_alone,
)
from tests._cases import KINDS, make_table, outputs, steady_optimizer
from tests._cases import make_odd_estimator as make_estimator
from tests._side_by_side import bytes_of_member, fit_side_by_side

pytestmark = pytest.mark.usefixtures("global_random_state_untouched")

every_strategy = pytest.mark.parametrize("sharing", STRATEGIES)
every_kind = pytest.mark.parametrize("kind", KINDS)


# ---- the law ---------------------------------------------------------------------------------------------------------


@every_strategy
@every_kind
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("dropout", "weighted", "hidden"), [(0.0, False, (33,)), (0.3, True, (17, 5))])
def test_an_ensemble_is_the_mean_of_its_members(sharing, kind, dtype, dropout, weighted, hidden):
    X, y = make_table(kind, dtype=dtype)
    weight = np.random.default_rng(1).uniform(0.5, 2.0, size=y.shape) if weighted else None
    params = {"hidden_layer_sizes": hidden, "dropout": dropout, "optimizer": steady_optimizer(sharing, dtype)}
    ensemble = make_estimator(kind, sharing, n_members=3, **params)
    assert_is_the_mean_of_its_members(ensemble, X, y, sample_weight=weight)


@every_strategy
@pytest.mark.parametrize("optimizer", ["adam", "sgd", torch.optim.Adam])
@pytest.mark.parametrize(("batch_size", "head_layer_sizes"), [(16, ()), (500, ()), (16, (6,))])
def test_whatever_the_optimiser_and_the_batch(sharing, optimizer, batch_size, head_layer_sizes):
    X, y = make_table("regression")
    params = {"head_layer_sizes": head_layer_sizes, "weighting": "uncertainty", "task_weights": [1.0, 2.0, 0.5, 3.0]}
    ensemble = make_estimator(
        sharing=sharing, n_members=3, optimizer=optimizer, batch_size=batch_size, dropout=0.2, **params
    )
    assert_is_the_mean_of_its_members(ensemble, X, y)


@every_kind
def test_the_first_member_is_the_single_network(kind):
    X, y = make_table(kind)
    ensemble = make_estimator(kind, n_members=3, dropout=0.1).fit(X, y)
    single = make_estimator(kind, dropout=0.1).fit(X, y)
    first = {name: weight[:1] for name, weight in ensemble.network_.state_dict().items()}
    assert_within_promise(first, single.network_.state_dict())


@every_strategy
@pytest.mark.parametrize("kind", ["regression", "multiclass"])
def test_each_member_stops_on_its_own(sharing, kind):
    X, y = make_table(kind, n_samples=80)
    params = {"early_stopping": True, "n_iter_no_change": 2, "max_epochs": 40, "lr": 0.05, "tol": 0.0}
    ensemble = make_estimator(kind, sharing, n_members=4, **params)
    held_out = {"X_val": X[50:], "y_val": y[50:]}
    alone = fit_members_alone(ensemble, X[:50], y[:50], **held_out)
    ensemble.fit(X[:50], y[:50], **held_out)
    epochs = [model.n_iter_ for model in alone]
    assert len(set(epochs)) > 1
    assert ensemble.n_iter_ == len(ensemble.history_) == max(epochs)
    assert_holds_the_members(ensemble, alone, X)
    for k, row in enumerate(ensemble.history_):
        running = [model.history_[k] for model in alone if k < model.n_iter_]
        for name in ("train_loss", "valid_loss", "train_task_losses", "valid_task_losses"):
            np.testing.assert_allclose(row[name], np.mean([r[name] for r in running], axis=0), rtol=1e-9)
    valid = [row["valid_loss"] for row in ensemble.history_]
    assert [row["valid_loss_best"] for row in ensemble.history_] == [
        loss < min(valid[:k], default=np.inf) for k, loss in enumerate(valid)
    ]


@every_strategy
@every_kind
@pytest.mark.parametrize("missing", [0.0, 0.25])
@pytest.mark.parametrize("batch_size", [16, 500])
def test_each_member_holds_out_rows_of_its_own(sharing, kind, missing, batch_size):
    X, y = make_table(kind, n_samples=80, missing=missing)
    params = {"early_stopping": True, "n_iter_no_change": 2, "max_epochs": 20, "lr": 0.05, "tol": 0.0}
    ensemble = make_estimator(kind, sharing, n_members=3, batch_size=batch_size, **params)
    alone = fit_members_alone(ensemble, X, y)
    ensemble.fit(X, y)
    assert_holds_the_members(ensemble, alone, X)
    for k, row in enumerate(ensemble.history_):
        running = [model.history_[k] for model in alone if k < model.n_iter_]
        for name in ("train_task_losses", "valid_task_losses"):
            np.testing.assert_allclose(row[name], np.mean([r[name] for r in running], axis=0), rtol=1e-9)


class Rows(Callback):
    """Note the rows that each member learns from and validates on, {1, ..., n} as the only feature."""

    def on_epoch_begin(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        self.train, self.valid = (
            [set(rows) for rows in t[:][0][..., 0].tolist()] for t in (dataset_train, dataset_valid)
        )


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_the_rows_that_members_hold_out(missing):
    """Equally many for each, drawn apart, so that all but few rows are learned from; the only label of a class too."""
    rng, rows = np.random.default_rng(0), Rows()
    X, y = np.arange(1.0, 201.0)[:, None], rng.integers(0, 2, size=(200, 3)).astype(float)
    y[rng.random(y.shape) < missing] = np.nan
    y[7, 0], y[8:, 2], y[:8, 2] = 2.0, np.nan, np.arange(8) % 2
    params = {"early_stopping": True, "n_members": 5, "max_epochs": 1, "batch_size": 500}
    make_estimator("binary", callbacks=[rows], **params).fit(X, y)
    labelled = set(X[~np.isnan(y).all(axis=1), 0])
    held_out = round(0.1 * len(labelled))
    for train, valid in zip(rows.train, rows.valid, strict=True):
        assert train | valid == labelled
        assert not train & valid
        assert len(valid) == held_out
        assert 8.0 in train
        assert {0.0, 1.0} <= {y[int(row) - 1, 2] for row in train}
    assert len({frozenset(valid) for valid in rows.valid}) == 5
    assert set.union(*rows.train) == labelled


@pytest.mark.gpu
@pytest.mark.parametrize("missing", [0.0, 0.4])
@pytest.mark.parametrize("batch_size", [16, 500])
def test_members_hold_out_the_same_rows_on_a_gpu(missing, batch_size):
    X, y = make_table("regression", n_samples=120, missing=missing, dtype=np.float32)
    params = {"n_members": 4, "early_stopping": True, "n_iter_no_change": 2, "max_epochs": 12, "tol": 0.0}
    ours, theirs = (
        make_estimator(device=device, batch_size=batch_size, **params).fit(X, y) for device in ("cuda", "cpu")
    )
    assert ours.network_.heads.stack.weight_0.is_cuda
    assert ours.n_iter_ == theirs.n_iter_
    np.testing.assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-2, atol=1e-2)


def test_equal_seed_equal_bits():
    X, y = make_table("multiclass")
    one, two, other = (
        make_estimator("multiclass", n_members=3, random_state=s, dropout=0.2).fit(X, y) for s in (0, 0, 1)
    )
    assert_same_weights(one, two)
    assert not np.array_equal(outputs(one, X)[0], outputs(other, X)[0])


def test_members_differ():
    X, y = make_table("regression")
    said = make_estimator(n_members=3).fit(X, y).predict_members(X)
    assert (np.abs(said[:, None] - said[None]).max(axis=(2, 3))[np.triu_indices(3, 1)] > 1e-3).all()


# ---- what it predicts ------------------------------------------------------------------------------------------------


@every_strategy
@pytest.mark.parametrize("y_ndim", [1, 2])
@pytest.mark.parametrize("n_samples", [48, 5000])  # one chunk, and more than one
def test_predictions_and_spread_of_a_regressor(sharing, y_ndim, n_samples):
    X, y = make_table("regression", missing=0.0)
    y = y[:, 1] if y_ndim == 1 else y
    ensemble = make_estimator(sharing=sharing, n_members=3).fit(X, y)
    rows = np.random.default_rng(2).normal(size=(n_samples, 5))
    each = np.stack([model.predict(rows) for model in fit_members_alone(ensemble, X, y)])
    assert each.shape == (3, n_samples, 4)[: 1 + y_ndim]
    for said, expected in [
        (ensemble.predict_members(rows), each),
        (ensemble.predict(rows), each.mean(axis=0)),
        (ensemble.predict_std(rows), each.std(axis=0, ddof=1)),
    ]:
        assert said.dtype == each.dtype
        assert_within_promise(said, expected)


@every_strategy
@pytest.mark.parametrize("y_ndim", [1, 2])
@pytest.mark.parametrize("n_classes", [(2, 2, 2, 2), (3, 2, 5, 4)])
def test_predictions_of_a_classifier(sharing, y_ndim, n_classes):
    X, codes = make_table("multiclass", missing=0.0, n_classes=n_classes)
    y = np.array(["a", "b", "c", "d", "e"], dtype=object)[codes.astype(int)]
    y = y[:, 0] if y_ndim == 1 else y
    ensemble = make_estimator("multiclass", sharing, n_members=3, lr=0.03).fit(X, y)
    alone = fit_members_alone(ensemble, X, y)
    each = [[p] if y_ndim == 1 else p for p in (model.predict_proba(X) for model in alone)]
    proba, members, labels, classes = (
        [said] if y_ndim == 1 else said
        for said in (
            ensemble.predict_proba(X),
            ensemble.predict_proba_members(X),
            ensemble.predict(X),
            ensemble.classes_,
        )
    )
    labels = labels if y_ndim == 2 else ensemble.predict(X)[:, None]
    for t in range(1 if y_ndim == 1 else 4):
        own = np.stack([p[t] for p in each])  # (member, sample, class)
        assert_within_promise(members[t], own)
        assert_within_promise(proba[t], own.mean(axis=0))
        assert (labels[:, t] == classes[t][own.mean(axis=0).argmax(axis=1)]).all()
    assert (ensemble.predict_members(X) == np.stack([model.predict(X) for model in alone])).all()


def test_two_sure_members_that_differ_are_one_half_each():
    for n_classes in (2, 3):
        y = np.arange(30.0) % n_classes
        model = MultiTaskClassifier(n_members=2, hidden_layer_sizes=(), max_epochs=1, random_state=0)
        model.fit(np.zeros((30, 1)), y)
        with torch.no_grad():
            bias = model.network_.heads.stack.bias_0  # (member, 1, n_outputs)
            bias.zero_()
            bias[..., 0] = torch.tensor([[1000.0], [-1000.0]])
        proba = model.predict_proba([[0.0]])
        expected = [[0.5, 0.5]] if n_classes == 2 else [[0.5, 0.25, 0.25]]
        np.testing.assert_allclose(proba, expected, rtol=1e-12)


def test_scores_are_those_of_the_mean():
    X, y = make_table("regression")
    ensemble = make_estimator(n_members=3, max_epochs=30).fit(X, y)
    mean = np.mean([model.predict(X) for model in fit_members_alone(ensemble, X, y)], axis=0)
    for t, score in enumerate(ensemble.score_tasks(X, y).values()):
        seen = ~np.isnan(y[:, t])
        residual, total = (np.sum((y[seen, t] - other) ** 2) for other in (mean[seen, t], y[seen, t].mean()))
        assert score == pytest.approx(1 - residual / total)
    assert ensemble.score(X, y) == pytest.approx(np.mean(list(ensemble.score_tasks(X, y).values())))
    np.testing.assert_array_equal(ensemble.predict_frame(X).to_numpy(), ensemble.predict(X))


@every_strategy
def test_representations_stand_side_by_side(sharing):
    X, y = make_table("regression")
    ensemble = make_estimator(sharing=sharing, n_members=3).fit(X, y)
    parts = np.hstack([model.transform(X) for model in fit_members_alone(ensemble, X, y)])
    assert_within_promise(ensemble.transform(X), parts)
    assert len(ensemble.get_feature_names_out()) == parts.shape[1]


@every_strategy
def test_similarity_is_the_mean_over_members(sharing):
    X, y = make_table("multiclass")
    ensemble = make_estimator("multiclass", sharing, n_members=3).fit(X, y)
    mean = np.mean([model.task_similarity() for model in fit_members_alone(ensemble, X, y)], axis=0)
    assert_within_promise(ensemble.task_similarity(), mean)


def test_attention_weights_are_the_mean_over_members():
    X, y = make_table("multiclass")
    ensemble = make_estimator("multiclass", "attention", n_members=3).fit(X, y)
    mean = np.mean([model.attention_weights(X) for model in fit_members_alone(ensemble, X, y)], axis=0)
    assert_within_promise(ensemble.attention_weights(X), mean)


@pytest.mark.parametrize("params", [{}, {"n_members": 1}])
def test_the_spread_of_one_network_is_refused(params):
    X, y = make_table("regression")
    with pytest.raises(ValueError, match="at least 2 members. Found one, with n_members=1. Fit with n_members=5"):
        make_estimator(**params).fit(X, y).predict_std(X)


def test_one_member_has_an_axis_too():
    X, y = make_table("multiclass")
    model = make_estimator("multiclass").fit(X, y)
    np.testing.assert_array_equal(model.predict_members(X), model.predict(X)[None])
    for member, single in zip(model.predict_proba_members(X), model.predict_proba(X), strict=True):
        np.testing.assert_array_equal(member, single[None])


# ---- bad input, and members that diverge -----------------------------------------------------------------------------


@pytest.mark.parametrize("n_members", [0, -1, 1.5, "3", None])
def test_n_members_must_be_a_positive_integer(n_members):
    with pytest.raises(ValueError, match="'n_members' parameter .* must be an int in the range"):
        make_estimator(n_members=n_members).fit([[0.0], [1.0]], [[0.0], [1.0]])


class Poison(Callback):
    """Spoil the weights of some members after the first epoch."""

    def __init__(self, members):
        self.members = members

    def on_epoch_end(self, net, **kwargs):
        with torch.no_grad():
            net.module_.heads.stack.bias_0[self.members] = float("nan")


@every_strategy
@pytest.mark.parametrize("way", [lambda m: m, lambda m: pickle.loads(pickle.dumps(m))])
def test_members_that_diverge_are_left_out(sharing, way):
    X, y = make_table("regression")
    ensemble = make_estimator(sharing=sharing, n_members=4, callbacks=[Poison([0, 2])])
    alone = [fit_members_alone(ensemble.set_params(callbacks=None), X, y)[m] for m in (1, 3)]
    with pytest.warns(ConvergenceWarning, match="2 of 4 members of the ensemble diverged .* other 2.*no longer finite"):
        ensemble.set_params(callbacks=[Poison([0, 2])]).fit(X, y)
    ensemble = way(ensemble.set_params(callbacks=None))
    assert_holds_the_members(ensemble, alone, X)
    for row, *own in zip(ensemble.history_, *(model.history_ for model in alone), strict=True):
        np.testing.assert_allclose(row["train_loss"], np.mean([r["train_loss"] for r in own]), rtol=1e-9)
    assert np.isfinite(ensemble.predict_std(X)).all()


def test_those_that_are_left_go_on():
    X, y = make_table("regression")
    ensemble = make_estimator(n_members=3, warm_start=True, batch_size=500, optimizer="sgd", callbacks=[Poison([1])])
    with pytest.warns(ConvergenceWarning, match="1 of 3"):
        ensemble.fit(X, y)
    alone = [
        pickle.loads(pickle.dumps(m)) for m in fit_members_alone(clone(ensemble).set_params(callbacks=None), X, y)[::2]
    ]
    ensemble.set_params(callbacks=None).fit(X, y)
    assert ensemble.n_iter_ == 8
    assert_holds_the_members(ensemble, [model.fit(X, y) for model in alone], X)


def test_one_that_is_left_has_no_spread():
    X, y = make_table("regression")
    with pytest.warns(ConvergenceWarning):
        model = make_estimator(n_members=2, callbacks=[Poison([1])]).fit(X, y)
    with pytest.raises(ValueError, match="Found one, with n_members=2.*the others diverged"):
        model.predict_std(X)


def test_all_members_diverge():
    X, y = make_table("regression", dtype=np.float32)
    with pytest.raises(ValueError, match="no longer finite"):
        make_estimator(n_members=3, lr=1e30).fit(X, y)


class NoMemberAxis(Sharing):
    """A strategy that knows of one member only."""

    def build(self, shape):
        return _NoMemberAxis(shape)


class _NoMemberAxis(SharingModule):
    per_task = False

    def __init__(self, shape):
        super().__init__()
        self.n_features_out = shape.n_features
        self.scale = torch.nn.Parameter(torch.ones(1, 1, shape.n_features))

    def forward(self, x):
        return x * self.scale


def test_a_strategy_without_the_member_axis_is_refused():
    X, y = make_table("regression")
    make_estimator(sharing=NoMemberAxis()).fit(X, y)
    with pytest.raises(ValueError, match=r"(?s)sharing=NoMemberAxis\(\) cannot train several .* or set n_members=1"):
        make_estimator(sharing=NoMemberAxis(), n_members=2).fit(X, y)


# ---- going on, files, callbacks --------------------------------------------------------------------------------------


@every_strategy
def test_warm_start_goes_on_for_all_members(sharing):
    X, y = make_table("regression")
    params = {"batch_size": 1000, "sharing_lambda": 0.0, "n_members": 3}
    whole = make_estimator(sharing=sharing, max_epochs=7, **params).fit(X, y)
    halves = make_estimator(sharing=sharing, max_epochs=3, warm_start=True, **params).fit(X, y)
    halves.set_params(max_epochs=4).fit(X, y)
    assert_same_outputs(whole, halves, X, rtol=1e-9, atol=1e-9)
    pieces = make_estimator(sharing=sharing, **params)
    for _ in range(7):
        pieces.partial_fit(X, y)
    assert_same_outputs(whole, pieces, X, rtol=1e-9, atol=1e-9)
    assert halves.n_iter_ == pieces.n_iter_ == 7


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (3, 4)])
def test_another_number_of_members_is_refused(before, after):
    X, y = make_table("regression")
    model = make_estimator(n_members=before, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match=f"n_members was {before} and is {after}"):
        model.set_params(n_members=after).fit(X, y)


@every_strategy
@every_kind
def test_pickles_keep_every_member(sharing, kind):
    X, y = make_table(kind, dtype=np.float32)
    model = make_estimator(kind, sharing, n_members=3).fit(X, y)
    loaded = pickle.loads(pickle.dumps(model))
    assert_same_weights(model, loaded)
    assert_same_outputs(model, loaded, X)
    np.testing.assert_array_equal(loaded.predict_members(X), model.predict_members(X))
    np.testing.assert_array_equal(loaded.transform(X), model.transform(X))


def distance(net, data, y=None):
    targets = torch.stack([target for _, target in data]).numpy() if y is None else np.asarray(y)
    return float(np.nanmean(np.abs(net.predict(data) - targets)))


@pytest.mark.parametrize("use_caching", [False, True])
@every_kind
def test_a_scoring_callback_sees_the_mean(kind, use_caching):
    X, y = make_table(kind)
    scoring = EpochScoring(distance, name="distance", use_caching=use_caching)
    model = make_estimator(kind, n_members=3, callbacks=[scoring]).fit(X, y, X_val=X, y_val=y)
    coded, said = y, model.predict(X)
    if kind == "regression":
        coded, said = ((values - model._codec.mean) / model._codec.scale for values in (coded, said))
    assert model.history_[-1]["distance"] == pytest.approx(np.nanmean(np.abs(coded - said)))


@pytest.mark.parametrize("batch_size", [16, 1000])
def test_callbacks_see_the_rows_of_all_members(batch_size):
    X, y = make_table("regression", missing=0.0)
    sizes = []

    class Note(Callback):
        def on_batch_end(self, net, batch=None, y_pred=None, training=None, **kwargs):
            sizes.append((training, *(part.shape for part in batch), y_pred.shape))

    train_score = EpochScoring(distance, name="distance", on_train=True)
    params = {"n_members": 3, "batch_size": batch_size, "max_epochs": 1, "callbacks": [Note(), train_score]}
    model = make_estimator(**params).fit(X, y, X_val=X, y_val=y)
    rows = 3 * 16 if batch_size == 16 else 48
    assert sizes[0] == (True, (rows, 5), (rows, 4), (rows, 4))
    assert sizes[-1] == (False, (48, 5), (48, 4), (48, 4))
    assert 0 < model.history_[0]["distance"] < 2


def test_skorchs_early_stopping_reads_the_mean_loss():
    X, y = make_table("regression")
    alone = fit_members_alone(make_estimator(n_members=3, max_epochs=6), X, y, X_val=X, y_val=y)
    mean = np.mean([[row["valid_loss"] for row in model.history_] for model in alone], axis=0)
    shown = []

    class Note(Callback):
        def on_epoch_end(self, net, **kwargs):
            shown.append(net.history[-1, "valid_loss"])

    stop = EarlyStopping(patience=2, threshold=10.0)
    model = make_estimator(n_members=3, max_epochs=6, callbacks=[Note(), stop]).fit(X, y, X_val=X, y_val=y)
    assert model.n_iter_ == 3
    np.testing.assert_allclose(shown, mean[:3], rtol=1e-9)


class InBatch(Callback):
    """Press Ctrl-C after so many training steps."""

    def __init__(self, after):
        self.left = after

    def on_batch_end(self, net, training=None, **kwargs):
        self.left -= training
        if self.left == 0:
            raise KeyboardInterrupt


@every_kind
@pytest.mark.parametrize("epochs", [1, 2])
def test_an_interrupted_ensemble_is_usable(kind, epochs):
    X, y = make_table(kind)
    model = make_estimator(kind, n_members=3, callbacks=[InBatch(after=3 * epochs + 1)])
    with pytest.warns(UserWarning, match=f"interrupted after {epochs} full epochs? of 4"):
        model.fit(X, y)
    assert model.n_iter_ == len(model.history_) == epochs
    assert all(np.isfinite(part).all() for part in outputs(model, X))


def test_a_progress_bar(capsys):
    X, y = make_table("regression")
    make_estimator(n_members=2, verbose=1).fit(X, y)
    assert "4/4" in capsys.readouterr().err


# ---- searches --------------------------------------------------------------------------------------------------------

some_scores_are_nan = pytest.mark.filterwarnings("ignore:One or more of the:UserWarning")


@every_strategy
@pytest.mark.parametrize("early_stopping", [False, True])
def test_ensembles_in_a_stack_are_what_they_are_alone(sharing, early_stopping):
    X, y = make_table("regression", n_samples=80)
    params = {"n_members": 3, "dropout": 0.2, "early_stopping": early_stopping, "n_iter_no_change": 2, "max_epochs": 8}
    models = [make_estimator(sharing=sharing, lr=lr, **params) for lr in (1e-3, 1e-2, 5e-2)]
    fitted, search = fit_side_by_side(models, X, y, max_bytes=2.5 * bytes_of_member(models[0], X, y))
    assert search.n_stacks_ == 2  # of two ensembles, and of one
    for model, (member,) in zip(models, fitted, strict=True):
        alone = clone(model).fit(X, y)
        assert_members_agree(member, alone, X)
        for ours, theirs in zip(member.history_, alone.history_, strict=True):
            assert ours.keys() == theirs.keys()
            for name in ("train_loss", "train_loss_best", "train_task_losses", "epoch"):
                np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-9)


def test_an_ensemble_of_more_members_than_a_stack_has_is_one_stack():
    X, y = make_table("regression")
    models = [make_estimator(n_members=65, lr=lr, max_epochs=2) for lr in (1e-3, 1e-2)]
    fitted, search = fit_side_by_side(models, X, y)
    assert search.n_stacks_ == 2
    for model, (member,) in zip(models, fitted, strict=True):
        assert_members_agree(member, clone(model).fit(X, y), X)


@some_scores_are_nan
def test_divergence_of_one_ensemble_in_a_stack():
    X, y = make_table("regression", dtype=np.float32)
    models = [make_estimator(n_members=2, lr=lr) for lr in (1e30, 1e-2)]
    with pytest.warns(FitFailedWarning, match="(?s)1 fits failed out of a total of 2.*no longer finite"):
        ((first,), (second,)), search = fit_side_by_side(models, X, y)
    assert search.n_stacks_ == 1
    assert first is None
    assert_members_agree(second, clone(models[1]).fit(X, y), X)


@some_scores_are_nan
@pytest.mark.parametrize("batch_size", [16, 500])
def test_divergence_while_others_stop_early_and_leave(batch_size):
    X, y = make_table("regression", n_samples=80, dtype=np.float32)
    params = {"n_members": 2, "early_stopping": True, "n_iter_no_change": 2, "max_epochs": 30, "tol": 0.0}
    models = [make_estimator(lr=lr, batch_size=batch_size, **params) for lr in (1e30, 1e-3, 0.02, 0.05)]
    with pytest.warns(FitFailedWarning, match="(?s)1 fits failed out of a total of 4.*no longer finite"):
        fitted, search = fit_side_by_side(models, X, y)
    assert search.n_stacks_ == 1
    assert fitted[0] == [None]
    for model, (member,) in zip(models[1:], fitted[1:], strict=True):
        alone = clone(model).fit(X, y)
        assert member.n_iter_ == alone.n_iter_
        assert_members_agree(member, alone, X)


def test_ensembles_of_another_size_are_another_stack():
    X, y = make_table("regression")
    models = [make_estimator(n_members=n, max_epochs=1) for n in (1, 2)]
    assert fit_side_by_side(models, X, y)[1].n_stacks_ == 2


def test_the_memory_of_a_stack_counts_every_member():
    X, y = make_table("regression")
    with pytest.raises(ValueError, match="A stack of 1000 members takes about .* more than max_bytes=1000000"):
        fit_side_by_side([make_estimator(n_members=1000)], X, y, max_bytes=1e6)
    assert fit_side_by_side([make_estimator(n_members=2)], X, y, max_bytes=1e6)[1].n_stacks_ == 1


def test_a_stacked_search_over_the_number_of_members():
    X, y = make_table("regression", missing=0.0)
    grid = {"n_members": [1, 3], "lr": [1e-3, 1e-2]}
    found, expected = (
        search(MultiTaskRegressor(batch_size=16, max_epochs=3, random_state=0), grid, cv=KFold(3)).fit(X, y)
        for search in (StackedGridSearchCV, GridSearchCV)
    )
    assert len(ParameterGrid(grid)) == 4
    assert_within_promise(found.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"])
    assert found.best_params_ == expected.best_params_
