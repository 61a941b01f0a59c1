"""Every encoder, in every sharing strategy: laws of members, towers and searches, and what is refused."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict
from torch import nn

from skmtl import MultiTaskClassifier, MultiTaskEstimator, MultiTaskRegressor, TaskView, records
from skmtl.encoders import ENCODERS, ConvEncoder, Embeddings, Encoder, KerasEncoder, TokenEncoder, TorchEncoder
from skmtl.model_selection import StackedGridSearchCV
from skmtl.sharing import STRATEGIES

N = 60
SMALL = {"hidden_layer_sizes": (8,), "n_members": 1, "early_stopping": False, "random_state": 0, "max_epochs": 3}


class Flat(nn.Module):
    """A linear map of all numbers of a row."""

    def __init__(self, n: int, width: int) -> None:
        super().__init__()
        self.layer = nn.Linear(n, width)

    def forward(self, x):
        return self.layer(x.flatten(1))


class Wide(Flat):
    """The same, with a default."""

    def __init__(self, n: int, width: int = 5) -> None:
        super().__init__(n, width)


class Parity(nn.Module):
    """A vector for odd ids and one for even ones."""

    def __init__(self) -> None:
        super().__init__()
        self.vectors = nn.Embedding(2, 4)

    def forward(self, ids):
        assert ids.dtype == torch.int64
        return self.vectors(ids[:, 0] % 2)


def small_keras(width=4):
    import keras

    inputs = keras.Input((6, 6))
    features = keras.layers.Conv1D(2, 3, activation="tanh")(inputs)
    return keras.Model(inputs, keras.layers.Dense(width)(keras.layers.Flatten()(features)))


def example(name: str):
    """Return an encoder of this name and rows that it reads."""
    if name == "keras":
        pytest.importorskip("keras", reason="Keras is not installed: pip install skmtl[keras]")
    rng = np.random.default_rng(0)
    images = rng.normal(size=(N, 6, 6))
    if name == "tokens":
        tokens = rng.integers(1, 12, size=(N, 5))
        tokens[:, 3:] = 0
        return TokenEncoder(8), tokens
    ids = np.stack([rng.integers(0, 5, size=N), rng.integers(100, 110, size=N)], axis=1)
    known = {
        "conv": (ConvEncoder((2, 3)), images),
        "embeddings": (Embeddings(dim=3), ids),
        "keras": (KerasEncoder(small_keras), images),
        "torch": (TorchEncoder(Flat, {"n": 36, "width": 5}), images),
    }
    return known[name]


def targets(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(N, 2))


@pytest.fixture(params=sorted(ENCODERS))
def case(request):
    return example(request.param)


# ---- laws -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", sorted(STRATEGIES))
def test_fits_predicts_copies_and_pickles(case, sharing):
    encoder, X = case
    est = MultiTaskRegressor(sharing, encoder=encoder, **{**SMALL, "n_members": 2}).fit(X, targets())
    for twin in (pickle.loads(pickle.dumps(est)), copy.deepcopy(est)):
        np.testing.assert_array_equal(twin.predict(X), est.predict(X))
    assert est.transform(X).shape == (N, len(est.get_feature_names_out()))
    assert clone(est).get_params().keys() == est.get_params().keys()


def test_towers_without_a_penalty_are_independent_and_those_of_single_tasks(case):
    encoder, X = case
    est = MultiTaskRegressor("independent", encoder=encoder, dtype="float64", **SMALL)
    together = clone(est).fit(X, targets()).predict(X)
    free = clone(est).set_params(sharing="soft", sharing_lambda=0.0).fit(X, targets()).predict(X)
    np.testing.assert_allclose(free, together, rtol=1e-10)
    for task in range(2):
        alone = clone(est).fit(X, targets()[:, task]).predict(X)
        np.testing.assert_allclose(alone, together[:, task], rtol=1e-9, atol=1e-12)


def test_a_large_penalty_makes_the_encoders_of_all_tasks_one(case):
    encoder, X = case
    est = MultiTaskRegressor("soft", sharing_lambda=1e6, encoder=encoder, **SMALL).fit(X, targets())
    for copies in est.network_.trunk.encoders:
        for p in copies.parameters():
            torch.testing.assert_close(p[:, 0], p[:, 1], rtol=1e-4, atol=1e-5)


def test_members_are_the_networks_of_their_seeds(case):
    encoder, X = case
    est = MultiTaskRegressor(encoder=encoder, dtype="float64", **SMALL)
    members = clone(est).set_params(n_members=3).fit(X, targets()).predict_members(X)
    state = np.random.RandomState(0)
    for own in members:
        alone = clone(est).set_params(random_state=state).fit(X, targets()).predict(X)
        np.testing.assert_allclose(own, alone, rtol=1e-9, atol=1e-12)


def test_stacked_search_agrees_with_grid_search(case):
    encoder, X = case
    est = MultiTaskRegressor("soft", encoder=encoder, **{**SMALL, "dtype": "float64"})
    grid = {"lr": [1e-3, 1e-2], "sharing_lambda": [0.0, 1.0], "encoder__freeze": [False, True]}
    one, other = (
        search(est, grid, cv=KFold(2), refit=False).fit(X, targets()).cv_results_["mean_test_score"]
        for search in (GridSearchCV, StackedGridSearchCV)
    )
    np.testing.assert_allclose(other, one, rtol=1e-7)


def test_early_stopping_warm_start_and_partial_fit(case):
    encoder, X = case
    est = MultiTaskRegressor(encoder=encoder, **{**SMALL, "early_stopping": True, "max_epochs": 30})
    assert est.fit(X, targets()).n_iter_ <= 30
    twice = MultiTaskRegressor(encoder=encoder, warm_start=True, **SMALL).fit(X, targets()).fit(X, targets())
    assert twice.n_iter_ == 6
    grown = MultiTaskRegressor(encoder=encoder, **SMALL).partial_fit(X[:40], targets()[:40])
    assert grown.partial_fit(X[40:], targets()[40:]).predict(X).shape == (N, 2)


@pytest.mark.parametrize("option", ["freeze", "lr"])
def test_an_encoder_may_be_frozen_or_have_a_step_size_of_its_own(case, option):
    encoder, X = case
    encoder.set_params(**{option: {"freeze": True, "lr": 1e-9}[option]})
    est = MultiTaskRegressor("soft", encoder=encoder, **SMALL).partial_fit(X, targets())
    before = copy.deepcopy(est.network_.state_dict())
    after = est.partial_fit(X, targets()).network_.state_dict()
    for name, values in before.items():
        moved = float((after[name] - values).abs().max())
        assert (moved < 1e-6) if name.startswith("trunk.encoders") else moved > 1e-5, name


def test_an_encoder_learns_with_its_own_step_size(case):
    encoder, X = case
    usual = MultiTaskRegressor("soft", encoder=encoder, lr=0.01, **SMALL)
    own = clone(usual).set_params(encoder__lr=0.01)
    np.testing.assert_allclose(own.fit(X, targets()).predict(X), usual.fit(X, targets()).predict(X), rtol=1e-5)


def test_prediction_in_chunks_is_that_of_all_rows(case):
    encoder, X = case
    est = MultiTaskRegressor(encoder=encoder, **SMALL).fit(X, targets())
    whole = est.predict(X)
    est.network_.trunk.max_rows = 7
    np.testing.assert_allclose(est.predict(X), whole, rtol=1e-5)


def test_tools_of_scikit_learn_split_rows_of_any_shape(case):
    encoder, X = case
    y = (targets() > 0).astype(str)
    found = cross_val_predict(MultiTaskClassifier(encoder=encoder, **SMALL), X, y, cv=KFold(3))
    assert found.shape == y.shape


# ---- against something else -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", sorted(STRATEGIES))
def test_a_field_that_passes_through_is_a_table(sharing):
    table = np.random.default_rng(0).normal(size=(N, 4))
    plain = MultiTaskRegressor(sharing, **SMALL).fit(table, targets()).predict(table)
    fields = records(table=table)
    encoded = MultiTaskRegressor(sharing, encoder={"table": "passthrough"}, **SMALL).fit(fields, targets())
    np.testing.assert_allclose(encoded.predict(fields), plain, rtol=1e-6, atol=1e-9)


def test_a_step_is_that_of_plain_torch():
    encoder, X = example("conv")
    y = targets()
    common = {**SMALL, "hidden_layer_sizes": (), "dtype": "float64", "optimizer": "sgd", "lr": 0.05, "batch_size": N}
    est = MultiTaskRegressor(encoder=encoder, **{**common, "weight_decay": 0.0, "max_epochs": 1})
    start = clone(est).set_params(lr=1e-30).fit(X, y).network_
    module, head = start.trunk.encoders[0].copies[0], start.heads.stack
    loss = 0.0
    x, z = torch.as_tensor(X), torch.as_tensor((y - y.mean(0)) / y.std(0))
    raw = module(x) @ head.weight_0[0] + head.bias_0[0]
    loss = 0.5 * (raw - z).square().mean(0).sum()
    gradients = torch.autograd.grad(loss, list(module.parameters()))
    after = est.fit(X, y).network_.trunk.encoders[0].copies[0]
    for p, q, g in zip(module.parameters(), after.parameters(), gradients, strict=True):
        torch.testing.assert_close((p - q) / (0.05 * 1.9), g, rtol=1e-6, atol=1e-9)  # Nesterov's first step: 1 + 0.9


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("sharing", sorted(STRATEGIES))
def test_on_a_gpu_as_on_a_cpu(case, sharing):
    encoder, X = case
    est = MultiTaskRegressor(sharing, encoder=encoder, dtype="float64", **{**SMALL, "n_members": 2})
    on_cpu, on_gpu = (clone(est).set_params(device=device).fit(X, targets()) for device in ("cpu", "cuda"))
    close = {"rtol": 1e-4, "atol": 1e-5} if isinstance(encoder, KerasEncoder) else {"rtol": 1e-6, "atol": 1e-8}
    np.testing.assert_allclose(on_gpu.predict(X), on_cpu.predict(X), **close)  # Keras multiplies in float32
    again = pickle.loads(pickle.dumps(on_gpu))
    np.testing.assert_allclose(again.predict(X), on_gpu.predict(X), rtol=1e-6, atol=1e-8)


# ---- functions ------------------------------------------------------------------------------------------------------


def test_keywords_of_a_function_are_parameters():
    encoder = TorchEncoder(Wide, {"n": 36})
    assert encoder.get_params() == {
        "module": Wide,
        "params": {"n": 36},
        "freeze": False,
        "lr": None,
        "n": 36,
        "width": 5,
    }
    assert clone(encoder).set_params(width=7, lr=0.1).get_params(deep=False) == {
        **{"module": Wide, "params": {"n": 36, "width": 7}, "freeze": False, "lr": 0.1}
    }
    assert encoder.params == {"n": 36}
    with pytest.raises(ValueError, match=r"Invalid parameter 'depth' for TorchEncoder.*\['n', 'width'\]"):
        encoder.set_params(depth=3)
    assert TorchEncoder(None).get_params()["module"] is None


@pytest.mark.parametrize("name", ["keras", "torch"])
def test_a_search_reaches_keywords_of_a_function(name):
    encoder, X = example(name)
    est = MultiTaskRegressor(encoder=encoder, **SMALL)
    search = StackedGridSearchCV(est, {"encoder__width": [2, 3]}, cv=KFold(2)).fit(X, targets())
    plain = GridSearchCV(est, {"encoder__width": [2, 3]}, cv=KFold(2)).fit(X, targets())
    np.testing.assert_allclose(*(s.cv_results_["mean_test_score"] for s in (search, plain)), rtol=1e-5)
    assert search.best_estimator_.network_.trunk.encoders[0](torch.as_tensor(X[:1]), False).shape[-1] in (2, 3)


# ---- ids ------------------------------------------------------------------------------------------------------------


def test_whole_numbers_stay_whole():
    ids = 2**24 + np.arange(N)[:, None]  # of which float32 knows every second one
    y = np.column_stack([ids[:, 0] % 2, ids[:, 0] % 2]).astype(float)
    est = MultiTaskRegressor(encoder=TorchEncoder(Parity), **{**SMALL, "max_epochs": 150, "lr": 0.03})
    assert est.fit(ids, y, X_val=ids, y_val=y).score(ids, y) > 0.9


def test_ids_are_numbers_or_text_and_unknown_ones_share_a_row():
    rng = np.random.default_rng(0)
    X = pd.DataFrame(
        {"user": rng.choice(["ann", "bob", "cy"], N), "item": rng.integers(0, 9, N), "price": rng.random(N)}
    )
    est = MultiTaskRegressor(encoder=Embeddings(["user", "item"], dim=4), **SMALL).fit(X, targets())
    unknown = pd.DataFrame({"user": ["dee", "eve", "dee"], "item": [77, 99, 77], "price": [0.5, 0.5, 0.1]})
    one, other, cheaper = est.predict(unknown)
    np.testing.assert_array_equal(one, other)
    assert (one != cheaper).all()
    np.testing.assert_array_equal(est.predict(X[["price", "item", "user"]]), est.predict(X))
    with pytest.raises(ValueError, match=r"columns \['user', 'item', 'price'\], as in fit. Found \['user'"):
        est.predict(X[["user", "item"]])


def test_padding_after_a_text_changes_nothing():
    encoder, X = example("tokens")
    X[0, 2:] = 0
    for kind in ("conv", "gru", "attention"):
        est = MultiTaskRegressor(encoder=clone(encoder).set_params(kind=kind), **SMALL).fit(X, targets())
        assert np.isfinite(est.predict(np.zeros_like(X))).all()
        np.testing.assert_allclose(est.predict(X[:1]), est.predict(X)[:1], rtol=1e-5)


# ---- several fields -------------------------------------------------------------------------------------------------


def test_fields_are_joined_and_searched():
    _, scans = example("conv")
    _, texts = example("tokens")
    X = records(scan=scans.astype(np.float32), note=texts, table=np.random.default_rng(2).normal(size=(N, 3)))
    encoder = {"scan": ConvEncoder((2,)), "note": TokenEncoder(4), "table": "passthrough"}
    y = pd.DataFrame({"sick": np.where(targets()[:, 0] > 0, "yes", "no"), "dose": targets()[:, 1]})
    est = MultiTaskEstimator(encoder=encoder, **SMALL)
    search = GridSearchCV(est, {"encoder__scan__channels": [(2,), (3, 4)]}, cv=KFold(2)).fit(X, y)
    assert search.best_estimator_.n_features_in_ == 3
    view = TaskView(pickle.loads(pickle.dumps(search)), "sick")
    assert view.predict_proba(X).shape == (N, 2)


def test_the_module_of_a_task_reads_what_the_encoder_does():
    encoder, X = example("conv")
    est = MultiTaskRegressor(encoder=encoder, **SMALL).fit(X, targets())
    found = est.task("0").module()(torch.as_tensor(X)).numpy()
    np.testing.assert_allclose(found, est.predict(X)[:, 0], rtol=1e-6)


# ---- what is refused ------------------------------------------------------------------------------------------------


class WithBatchNorm(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(36, 4), nn.BatchNorm1d(4))


class Idle(Flat):
    def __init__(self) -> None:
        super().__init__(36, 4)
        self.unused = nn.Linear(2, 2)


class Halves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x):
        return x[: len(x) // 2].flatten(1) * self.scale


class Nothing(Halves):
    def forward(self, x):
        return x.flatten(1)[:, :0] * self.scale


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (TorchEncoder(WithBatchNorm), "statistics of batches.*GroupNorm"),
        (TorchEncoder(Idle), "no gradient for .*unused.weight"),
        (TorchEncoder(Halves), r"\(batch, width\).*Found \(1, 36\)"),
        (TorchEncoder(Nothing), r"width of at least 1. Found \(2, 0\)"),
        (TorchEncoder(lambda: Flat(36, 4)), "must be importable"),
        (TorchEncoder(Flat, {"n": 35, "width": 4}), r"failed on two rows of shape \(2, 6, 6\)"),
        (ConvEncoder(kernel_size=2), "kernel_size must be odd"),
        (ConvEncoder(channels=(4, 0)), r"channels must hold integers of at least 1. Found \(4, 0\)"),
        (ConvEncoder(lr=-1.0), "lr must be a number above 0"),
        (Embeddings(dim=0), "dim must hold integers|reads X of shape"),
        (ConvEncoder(pool="max"), "pool must be 'flatten' or 'mean'"),
        (TokenEncoder(), "reads X of shape"),
        (Embeddings(["user"]), "reads X of shape"),
    ],
)
def test_an_encoder_that_cannot_be_trained_is_refused(encoder, message):
    _, X = example("conv")
    with pytest.raises(ValueError, match=message):
        MultiTaskRegressor(encoder=encoder, **SMALL).fit(X, targets())


def test_rows_of_another_shape_are_refused_in_predict(case):
    encoder, X = case
    est = MultiTaskRegressor(encoder=encoder, **SMALL).fit(X, targets())
    with pytest.raises(ValueError, match="rows of shape|columns|failed"):
        est.predict(X[:, :-1])


def test_ids_beyond_the_table_are_refused():
    X = np.full((N, 3), 7)
    with pytest.raises(ValueError, match="ids must be below 5, the rows of embedding. Found 7"):
        MultiTaskRegressor(encoder=TokenEncoder(4, embedding=np.ones((5, 4))), **SMALL).fit(X, targets())
    with pytest.raises(ValueError, match="whole numbers"):
        MultiTaskRegressor(encoder=TokenEncoder(4), **SMALL).fit(X + 0.5, targets())
    with pytest.raises(ValueError, match="padding"):
        MultiTaskRegressor(encoder=TokenEncoder(4), **SMALL).fit(-X, targets())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value):
    encoder, X = example("conv")
    X[3, 2, 1] = value
    with pytest.raises(ValueError, match="finite"):
        MultiTaskRegressor(encoder=encoder, **SMALL).fit(X, targets())


def test_large_numbers_are_finite_and_no_rows_are_refused():
    encoder, X = example("conv")
    X[:, 0, 0] = 1e307
    est = MultiTaskRegressor(encoder=encoder, **SMALL)
    with pytest.raises(ValueError, match="no longer finite"):
        est.fit(X, targets())
    with pytest.raises(ValueError, match="at least one row"):
        est.fit(X[:0], targets()[:0])


def test_fields_are_checked():
    _, scans = example("conv")
    est = MultiTaskRegressor(encoder={"scan": ConvEncoder((2,))}, **SMALL)
    with pytest.raises(TypeError, match=r"skmtl.records"):
        est.fit({"scan": scans}, targets())
    with pytest.raises(ValueError, match="names the fields"):
        est.fit(records(image=scans), targets())
    with pytest.raises(TypeError, match=r"structured array.*encoder=\{'scan': 'passthrough'\}"):
        MultiTaskRegressor().fit(records(scan=scans), targets())
    with pytest.raises(ValueError, match="names the fields"):
        est.fit(records(scan=scans, table=scans), targets())
    with pytest.raises(ValueError, match=r"Fields must have one length. Found {'a': 3, 'b': 2}"):
        records(a=[1, 2, 3], b=[1, 2])
    with pytest.raises(ValueError, match=r"Found array with dim 3.*encoder=ConvEncoder\(\)"):
        MultiTaskRegressor().fit(scans, targets())
    with pytest.raises(ValueError, match="at least one field"):
        clone(est).set_params(encoder={}).fit(records(scan=scans), targets())
    with pytest.raises(TypeError, match=r"encoder\['scan'\] must be an Encoder.*Found 'conv'"):
        clone(est).set_params(encoder={"scan": "conv"}).fit(records(scan=scans), targets())
    with pytest.raises(TypeError, match="freeze must be True or False"):
        MultiTaskRegressor(encoder=ConvEncoder(freeze="no"), **SMALL).fit(scans, targets())
    with pytest.raises(ValueError, match="lr needs an optimizer given by name"):
        MultiTaskRegressor(encoder=ConvEncoder(lr=0.1), optimizer=torch.optim.Adam, **SMALL).fit(scans, targets())
    with pytest.raises(ValueError, match="at least one row"):
        MultiTaskRegressor(encoder=ConvEncoder(), **SMALL).fit(scans, targets()).predict(scans[:0])
    with pytest.raises(ValueError, match="must be an object, not a class"):
        MultiTaskRegressor(encoder=ConvEncoder, **SMALL).fit(scans, targets())


# ---- a user's own ---------------------------------------------------------------------------------------------------


class Sums(Encoder):
    """Row and column sums of images, scaled."""

    name = "sums"

    def build(self, shape):
        return Flat(shape[0] * shape[1], 3)


def test_a_users_own_encoder_needs_build_alone():
    _, X = example("conv")
    est = MultiTaskRegressor("soft", encoder=Sums(), **SMALL).fit(X, targets())
    assert est.predict(X).shape == (N, 2)
