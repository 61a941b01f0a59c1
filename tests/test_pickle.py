"""What is in a file, and what comes back from it."""

import copy
import io
import pickle
import subprocess
import sys

import joblib
import numpy as np
import pytest
import torch

from skmtl import MultiTaskClassifier, MultiTaskRegressor
from skmtl.sharing import STRATEGIES, AttentionSharing
from tests._asserts import assert_same_outputs, assert_same_weights
from tests._cases import KINDS, make_estimator, make_table

every_strategy = pytest.mark.parametrize("sharing", STRATEGIES)


def by_joblib(model, **kwargs):
    buffer = io.BytesIO()
    joblib.dump(model, buffer, **kwargs)
    size = buffer.tell()
    buffer.seek(0)
    return joblib.load(buffer), size


@pytest.mark.parametrize(
    "size_of", [lambda m: len(pickle.dumps(m)), lambda m: by_joblib(m)[1]], ids=["pickle", "joblib"]
)
@pytest.mark.parametrize("estimator", [MultiTaskRegressor, MultiTaskClassifier])
def test_a_file_is_little_more_than_its_parameters(estimator, size_of):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(3000, 50)).astype("f4"), rng.integers(0, 3, size=(3000, 4)).astype("f4")
    model = estimator(hidden_layer_sizes=(512, 512), max_epochs=2, random_state=0).fit(X, y, X_val=X, y_val=y)
    parameters = sum(p.numel() * p.element_size() for p in model.network_.parameters())
    assert size_of(model) < 1.2 * parameters


@every_strategy
def test_no_training_data_inside(sharing):
    few, many = (make_estimator(sharing=sharing).fit(*make_table("regression", n)) for n in (40, 4000))
    assert abs(len(pickle.dumps(many)) - len(pickle.dumps(few))) < 200


@every_strategy
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", [lambda m: pickle.loads(pickle.dumps(m)), lambda m: by_joblib(m)[0], copy.deepcopy])
def test_what_comes_back_is_equal(sharing, kind, way):
    X, y = make_table(kind)
    model = make_estimator(kind, sharing).fit(X, y)
    loaded = way(model)
    assert_same_weights(model, loaded)
    assert_same_outputs(model, loaded, X)
    np.testing.assert_array_equal(model.task_similarity(), loaded.task_similarity())
    np.testing.assert_array_equal(model.transform(X), loaded.transform(X))
    assert [row["train_loss"] for row in loaded.history_] == [row["train_loss"] for row in model.history_]
    assert loaded.get_params(deep=False).keys() == model.get_params(deep=False).keys()
    assert not loaded.network_.training


def test_a_pickle_of_a_loaded_model():
    X, y = make_table("regression")
    model = make_estimator(sharing=AttentionSharing(2, 3)).fit(X, y)
    assert_same_outputs(model, pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(model)))), X)


@pytest.mark.usefixtures("global_random_state_untouched")
def test_loading_draws_no_random_numbers():
    X, y = make_table("regression")
    pickle.loads(pickle.dumps(make_estimator().fit(X, y)))


def test_an_unfitted_estimator():
    model = pickle.loads(pickle.dumps(make_estimator(sharing="soft")))
    assert model.sharing == "soft"
    assert not hasattr(model, "network_")


def test_loading_keeps_precision():
    X, y = make_table("regression", dtype=np.float32)
    loaded = pickle.loads(pickle.dumps(make_estimator().fit(X, y)))
    assert {p.dtype for p in loaded.network_.parameters()} == {torch.float32}


def test_another_process_predicts_the_same(tmp_path):
    X, y = make_table("multiclass")
    model = make_estimator("multiclass", "soft").fit(X, y)
    joblib.dump((model, X), tmp_path / "model.joblib")
    script = (
        "import joblib, sys, numpy as np; model, X = joblib.load(sys.argv[1] + '/model.joblib');"
        "np.save(sys.argv[1] + '/said.npy', np.hstack(model.predict_proba(X)))"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=120)
    np.testing.assert_allclose(np.load(tmp_path / "said.npy"), np.hstack(model.predict_proba(X)), rtol=1e-12)


@pytest.mark.gpu
def test_trained_on_a_gpu_loaded_on_a_cpu():
    X, y = make_table("regression")
    model = make_estimator(device="cuda").fit(X, y)
    loaded = pickle.loads(pickle.dumps(model))
    assert {p.device.type for p in loaded.network_.parameters()} == {"cpu"}
    assert_same_outputs(model, loaded, X, rtol=1e-4, atol=1e-4)
