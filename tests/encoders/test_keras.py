"""Keras models as encoders: equal to torch's, reproducible, and what is refused with a remedy."""

from __future__ import annotations

import copy
import importlib
import pickle
import random
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from skmtl import MultiTaskRegressor
from skmtl.encoders import KerasEncoder, TorchEncoder
from skmtl.sharing import STRATEGIES, AttentionSharing, TrunkShape

N = 40
SMALL = {"hidden_layer_sizes": (8,), "n_members": 1, "early_stopping": False, "random_state": 0, "max_epochs": 3}


def keras_or_skip():
    return pytest.importorskip("keras", reason="Keras is not installed: pip install skmtl[keras]")


@pytest.fixture
def keras():
    return keras_or_skip()


def table():
    rng = np.random.default_rng(0)
    return rng.normal(size=(N, 6)), rng.normal(size=(N, 2))


# ---- models of functions that can be imported -----------------------------------------------------------------------


def dense(width=4, **options):
    import keras

    return keras.Sequential([keras.Input((6,)), keras.layers.Dense(width, **options)])


def random_layers(seed=None):
    import keras

    layers = keras.layers
    return keras.Sequential([layers.Dropout(0.5, seed=seed), layers.GaussianNoise(0.3, seed=seed), layers.Dense(4)])


def dropout_alone():
    import keras

    return keras.Sequential([keras.layers.Dropout(0.5), keras.layers.Dense(4)])


def with_subclass():
    import keras

    class Sums(keras.Model):  # no `training`, no `build`, no `get_config`
        def __init__(self):
            super().__init__()
            self.inner = [keras.layers.Dense(3, activation="relu"), keras.layers.Dense(2)]
            self.drop = keras.layers.Dropout(0.5)

        def call(self, x):
            return self.inner[1](self.drop(self.inner[0](x)))

    return Sums()


def same_names():
    """Two layers of one name, which Keras' dictionaries of parameters would mix up."""
    import keras

    class Twins(keras.Model):
        def __init__(self):
            super().__init__()
            self.parts = [keras.layers.Dense(6, name="same") for _ in range(2)]

        def call(self, x):
            return self.parts[1](keras.ops.tanh(self.parts[0](x)))

    return Twins()


def batch_norm():
    import keras

    return keras.Sequential([keras.layers.Dense(4), keras.layers.BatchNormalization()])


def half_frozen():
    import keras

    first = keras.layers.Dense(4, trainable=False)
    return keras.Sequential([first, keras.layers.Dense(3)])


def words():
    import keras

    layers = keras.layers
    return keras.Sequential([layers.Embedding(9, 4), layers.GlobalAveragePooling1D()])


def ramp(shape, dtype=None):
    n = int(np.prod(shape))
    return torch.linspace(-0.5, 0.7, n, dtype=torch.float64).sin().reshape(shape).to(getattr(torch, str(dtype)))


def dense_from_ramp():
    return dense(kernel_initializer=ramp)


class TorchFromRamp(nn.Module):
    def __init__(self):
        super().__init__()
        torch.randint(2**31 - 1, ())  # as KerasEncoder draws, so that the heads begin alike
        self.weight = nn.Parameter(ramp((6, 4), "float32"))
        self.bias = nn.Parameter(torch.zeros(4))

    def forward(self, x):
        return x @ self.weight + self.bias


def regularized():
    return dense(kernel_regularizer="l2")


def constrained():
    return dense(kernel_constraint="non_neg")


def wrapping_torch():
    import keras

    return keras.Sequential([keras.layers.TorchModuleWrapper(nn.Linear(6, 3))])


def no_model():
    return 3


def wrong_shape():
    import keras

    return keras.Sequential([keras.Input((7,)), keras.layers.Dense(3)])


# ---- against torch --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharing", sorted(STRATEGIES))
def test_training_is_that_of_the_same_module_in_torch(keras, sharing):
    X, y = table()
    est = MultiTaskRegressor(sharing, dtype="float32", **{**SMALL, "n_members": 2})
    ours, theirs = (
        clone(est).set_params(encoder=encoder).fit(X, y).predict(X)
        for encoder in (KerasEncoder(dense_from_ramp), TorchEncoder(TorchFromRamp))
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_attention_of_keras_torch_and_ours_agree(keras):
    n_heads, width, n_tasks, n_tokens, n = 4, 16, 3, 6, 5
    d = width // n_heads
    generator = torch.Generator().manual_seed(0)
    shape = TrunkShape(n_tasks=n_tasks, n_features=10, hidden_layer_sizes=(width,))
    ours = AttentionSharing(n_heads=n_heads, n_tokens=n_tokens).build(shape)
    with torch.no_grad():
        for p in ours.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) / 4)
        x = torch.randn(n, 10, generator=generator)
        found = ours(x)[0].transpose(0, 1)  # (batch, task, width)
        tokens = ours.tokens(ours.trunk(x)).unflatten(-1, (n_tokens, width))[0]
        queries = ours.queries.weight.expand(n, -1, -1)
        weights = {name: p[0] for name, p in ours.named_parameters()}
        names = ("project_query.weight_0", "key_weight", "project_value.weight_0", "project_out.weight_0")
        query, key, value, out = (weights[name] for name in names)
        query_bias, value_bias, out_bias = (
            weights[f"{part}.bias_0"].flatten() for part in ("project_query", "project_value", "project_out")
        )
        no_bias = torch.zeros(width)

        of_torch = nn.MultiheadAttention(width, n_heads, batch_first=True)
        of_torch.in_proj_weight.copy_(torch.cat([query.T, key.T, value.T]))
        of_torch.in_proj_bias.copy_(torch.cat([query_bias, no_bias, value_bias]))
        of_torch.out_proj.weight.copy_(out.T)
        of_torch.out_proj.bias.copy_(out_bias)
        in_torch, _ = of_torch(queries, tokens, tokens)

        of_keras = keras.layers.MultiHeadAttention(num_heads=n_heads, key_dim=d)
        of_keras(queries, tokens)
        by_head = [
            (w.reshape(width, n_heads, d), b.reshape(n_heads, d))
            for w, b in ((query, query_bias), (key, no_bias), (value, value_bias))
        ]
        of_keras.set_weights([*[v for pair in by_head for v in pair], out.reshape(n_heads, d, width), out_bias])
        in_keras = of_keras(queries, tokens)
    assert 0.5 < float(found.abs().max()) < 2.0
    torch.testing.assert_close(in_torch, found, rtol=0, atol=1e-6)
    torch.testing.assert_close(in_keras, found, rtol=0, atol=1e-6)


# ---- what layers draw -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [dropout_alone, random_layers, with_subclass])
def test_random_layers_draw_in_training_alone_and_can_be_repeated(keras, make):
    X, y = table()
    est = MultiTaskRegressor(encoder=KerasEncoder(make), **{**SMALL, "n_members": 2}).fit(X, y)
    np.testing.assert_array_equal(est.predict(X), est.predict(X))
    random.seed(7)
    again = clone(est).fit(X, y)
    np.testing.assert_array_equal(again.predict(X), est.predict(X))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(est)).predict(X), est.predict(X))
    other = clone(est).set_params(random_state=1).fit(X, y)
    assert (other.predict(X) != est.predict(X)).any()
    (copies,) = est.network_.trunk.encoders
    first = copies.train().copies[0]
    rows = torch.as_tensor(X, dtype=torch.float32)
    assert not torch.equal(first(rows), first(rows))


def test_seeds_of_layers_do_not_make_members_draw_alike(keras):
    module = KerasEncoder(random_layers, {"seed": 3}).build((6,))
    twin = copy.deepcopy(module)
    x = torch.ones(50, 6)
    assert not torch.equal(module(x), twin(x))
    torch.testing.assert_close(module.eval()(x), twin.eval()(x), rtol=0, atol=0)


@pytest.mark.usefixtures("global_random_state_untouched", "keras")
def test_fits_leave_global_generators_alone():
    before = random.getstate()
    X, y = table()
    MultiTaskRegressor(encoder=KerasEncoder(random_layers), dtype="float64", **SMALL).fit(X, y).predict(X)
    assert random.getstate() == before


# ---- weights --------------------------------------------------------------------------------------------------------


def test_features_are_in_the_networks_precision_and_weights_learn_in_it(keras):
    X, y = table()
    est = MultiTaskRegressor(encoder=KerasEncoder(dense), dtype="float64", **SMALL).fit(X, y)
    (copies,) = est.network_.trunk.encoders
    rows = torch.as_tensor(X)
    found = copies.copies[0](rows)
    kernel, bias = copies.copies[0].parameters()
    assert found.dtype == kernel.dtype == torch.float64
    torch.testing.assert_close(found, rows @ kernel + bias, rtol=0, atol=1e-6)  # Keras multiplies in float32


def test_layers_of_one_name_have_weights_of_their_own(keras):
    module = KerasEncoder(same_names).build((6,))
    assert [name for name, _ in module.named_parameters()] == ["0_kernel", "1_bias", "2_kernel", "3_bias"]
    X, y = table()
    est = MultiTaskRegressor("soft", encoder=KerasEncoder(same_names), **SMALL).fit(X, y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(est)).predict(X), est.predict(X))


def test_layers_that_are_not_trainable_stay(keras):
    X, y = table()
    est = MultiTaskRegressor("soft", encoder=KerasEncoder(half_frozen), **SMALL).partial_fit(X, y)
    before = copy.deepcopy(est.network_.trunk.encoders[0].state_dict())
    after = est.partial_fit(X, y).network_.trunk.encoders[0].state_dict()
    assert {name: torch.equal(before[name], after[name]) for name in before} == {
        **{"bias_1": False, "weight_0": False, "constant_0": True, "constant_1": True}
    }


def test_copies_of_a_module_have_weights_of_their_own(keras):
    module = KerasEncoder(dense).build((6,))
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        x = torch.ones(2, 6)
        torch.testing.assert_close(twin(x), module(x), rtol=0, atol=0)
        with torch.no_grad():
            next(twin.parameters()).add_(1.0)
        assert not torch.equal(twin(x), module(x))


def test_whole_numbers_reach_embeddings(keras):
    _, y = table()
    ids = np.random.default_rng(1).integers(0, 9, size=(N, 5))
    est = MultiTaskRegressor("attention", encoder=KerasEncoder(words), **SMALL).fit(ids, y)
    assert np.isfinite(est.predict(ids)).all()


def test_a_file_loads_in_another_process(keras, tmp_path):
    source = "def make_model():\n    import keras\n    return keras.Sequential([keras.layers.Dense(4)])\n"
    (tmp_path / "models_of_mine.py").write_text(source, encoding="utf-8")
    code = """
import pickle, sys
import numpy as np
rows, path, found = np.load(sys.argv[1]), sys.argv[2], sys.argv[3]
np.save(found, pickle.loads(open(path, "rb").read()).predict(rows))
"""
    sys.path.insert(0, str(tmp_path))
    try:
        make_model = importlib.import_module("models_of_mine").make_model
        X, y = table()
        est = MultiTaskRegressor("soft", encoder=KerasEncoder(make_model), **SMALL).fit(X, y)
        (tmp_path / "est.pickle").write_bytes(pickle.dumps(est))
        np.save(tmp_path / "rows.npy", X)
        files = [str(tmp_path / name) for name in ("rows.npy", "est.pickle", "found.npy")]
        import_path = f"import sys; sys.path[:0] = {sys.path!r}\n"
        subprocess.run([sys.executable, "-c", import_path + code, *files], check=True, cwd=tmp_path)
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("models_of_mine", None)
    np.testing.assert_array_equal(np.load(tmp_path / "found.npy"), est.predict(X))


# ---- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (batch_norm, ValueError, "statistics of batches.*GroupNorm"),
        (regularized, ValueError, "must not have regularizers.*weight_decay"),
        (constrained, ValueError, r"must not have constraints. Found them on \['.*kernel'\]"),
        (wrapping_torch, ValueError, "must not hold torch modules.*use TorchEncoder"),
        (no_model, TypeError, "must return a Keras model. Found int"),
        (wrong_shape, ValueError, r"failed on a row of shape \(6,\)"),
        (lambda: dense(), ValueError, "make_model must be importable.*Found .*<lambda>"),
        (None, TypeError, "must be a function that returns a Keras model, and not a model itself. Found NoneType"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused(keras, make, error, message):
    X, y = table()
    with pytest.raises(error, match=message):
        MultiTaskRegressor(encoder=KerasEncoder(make), **SMALL).fit(X, y)


def test_a_model_itself_is_refused(keras):
    with pytest.raises(TypeError, match="not a model itself. Found Sequential"):
        KerasEncoder(dense()).build((6,))


def test_a_frozen_batch_normalization_uses_its_stored_statistics(keras):
    X, y = table()
    est = MultiTaskRegressor(encoder=KerasEncoder(batch_norm, freeze=True), **SMALL).fit(X, y)
    np.testing.assert_allclose(est.predict(X[:1]), est.predict(X)[:1], rtol=1e-5)


def test_without_keras_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)
    with pytest.raises(ImportError, match=r'pip install "skmtl\[keras\]"'):
        KerasEncoder(dense).build((6,))


def test_another_backend_is_refused_with_the_remedy(monkeypatch):
    other = ModuleType("keras")
    other.config = SimpleNamespace(backend=lambda: "jax")
    monkeypatch.setitem(sys.modules, "keras", other)
    with pytest.raises(RuntimeError, match="KERAS_BACKEND=torch before keras is first imported.*Found backend 'jax'"):
        KerasEncoder(dense).build((6,))


def test_a_backend_that_is_not_installed_is_refused_with_the_remedy(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")

    monkeypatch.setattr("skmtl.encoders._keras.importlib", SimpleNamespace(import_module=missing))
    with pytest.raises(ImportError, match="KERAS_BACKEND=torch before keras is first.*No module named 'tensorflow'"):
        KerasEncoder(dense).build((6,))
