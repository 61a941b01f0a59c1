"""Tasks over tokens and pixels, behind every strategy."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import f1_score, jaccard_score
from sklearn.model_selection import GridSearchCV, KFold, cross_val_predict
from torch import nn

from skmtl import MultiTaskClassifier, MultiTaskEstimator, records
from skmtl.encoders import ConvEncoder, TokenEncoder, TorchEncoder
from skmtl.metrics import dice, iou, span_f1
from skmtl.model_selection import StackedGridSearchCV
from skmtl.tasks import TASKS, Mask, Sequence, TokenLabels
from tests._cases import STRATEGIES

SMALL = {
    "hidden_layer_sizes": (8,), "max_epochs": 4, "n_members": 1, "early_stopping": False, "random_state": 0, "lr": 0.01,
    "batch_size": 16, "dtype": "float64",
}  # fmt: skip
every_strategy = pytest.mark.parametrize("sharing", STRATEGIES)
N, LENGTH, SIZE = 40, 6, (8, 6)


def texts(seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, 20, (N, LENGTH))
    ids[np.arange(LENGTH) >= rng.integers(2, LENGTH + 1, N)[:, None]] = 0
    labels = np.where(ids == 0, None, np.array(["O", "B-x", "I-x"], dtype=object)[ids % 3])
    y = {"t": labels, "long": np.where((ids > 0).all(1), "yes", "no"), "sum": ids.sum(1) * 1.0}
    return ids, y, TokenLabels(), TokenEncoder(8)


def images(seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(N, *SIZE))
    mask = (X > 0.5) * 1.0
    mask[::2] = np.nan
    y = {"t": mask, "long": np.where(X.mean((1, 2)) > 0, "yes", "no"), "sum": X.sum((1, 2))}
    return X, y, Mask(), ConvEncoder((4, 4))


def sequences(seed=0):
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, 4, (N, 3))
    ids[::3, 2] = 0
    labels = np.where(ids > 0, ids % 3 + 1, 0)
    labels[5:8] = 0
    y = {"t": labels, "long": np.where((ids > 0).all(1), "yes", "no"), "sum": ids.sum(1) * 1.0}
    return ids, y, Sequence(), TokenEncoder(8, "attention")


CASES = {"token_labels": texts, "mask": images, "sequence": sequences}
every_case = pytest.mark.parametrize("name", CASES)
every_label = pytest.mark.parametrize("name", ["token_labels", "mask"])  # whose features are of X alone


def make(name, sharing="hard", **options):
    X, y, task, encoder = CASES[name]()
    tasks = {"t": task, "long": "classification", "sum": "regression"}
    return X, y, MultiTaskEstimator(tasks, sharing, encoder=encoder, **{**SMALL, **options})


def same(one, other, **tolerance):
    for field in one.dtype.names:
        a, b = one[field], other[field]
        if a.dtype.kind == "f" and tolerance:
            np.testing.assert_allclose(a, b, **tolerance)
        else:
            np.testing.assert_array_equal(a, b)


def test_every_member_of_the_family_has_a_case():
    of_places = {name for name, task in TASKS.items() if task.site != "row"}
    assert set(CASES) == of_places


@every_case
@every_strategy
def test_it_is_learned_beside_tasks_of_the_row(name, sharing):
    X, y, model = make(name, sharing, max_epochs=60)
    model.fit(X, records(y))
    found, scores = model.predict(X), model.score_tasks(X, records(y))
    assert found["t"].shape == y["t"].shape
    assert set(found["t"].ravel().tolist()) <= set(model.classes_["t"].tolist())
    assert scores["t"] > 0.1
    proba = model.predict_proba(X)["t"]
    np.testing.assert_allclose(proba.sum(-1), 1)
    same(pickle.loads(pickle.dumps(model)).predict(X), found)
    assert len(model.transform(X)) == N
    similarity = model.task_similarity()
    assert np.isnan(similarity[0, 1:]).all()
    np.testing.assert_allclose(np.diag(similarity), 1)


@every_case
@every_strategy
def test_the_gradient_of_a_step_is_autograds(name, sharing):
    X, y, model = make(name, sharing, n_members=2, head_layer_sizes=(5,))
    network, rows = model.fit(X, records(y)).network_, torch.as_tensor(model._check_X(X))[:7]
    leaves = [p for encoder in network.trunk.encoders for p in encoder.leaves()]
    leaves += [p for decoder in network.trunk.decoders.values() for p in decoder.leaves()]
    parameters = [*leaves, *network.trunk.trunk.parameters(), *network.heads.parameters()]
    raw = network(rows)
    gradient = torch.randn(raw.shape, generator=torch.Generator().manual_seed(0), dtype=raw.dtype)
    expected = torch.autograd.grad(raw, parameters, gradient, allow_unused=True, materialize_grads=True)
    with torch.no_grad():
        bound = network.bind(rows, len(rows))
        for operation in bound.forward:
            operation()
        torch.testing.assert_close(bound.raw, raw.detach())
        bound.raw.copy_(gradient)
        for operation in bound.backward:
            operation()
    for p, own in zip(parameters, expected, strict=True):
        torch.testing.assert_close(torch.zeros_like(p) if p.grad is None else p.grad, own)


@every_label
def test_the_loss_is_the_mean_over_observed_labels(name):
    X, y, model = make(name, lr=1e-12, max_epochs=1)
    model.fit(X, records(y))
    labels, proba = y["t"], model.predict_proba(X)["t"]
    seen = np.array([[v == v and v is not None for v in row] for row in labels.reshape(N, -1).tolist()])
    codes = np.searchsorted(model.classes_["t"].astype(str), labels.reshape(N, -1)[seen].astype(str))
    chosen = proba.reshape(N, -1, proba.shape[-1])[seen]
    expected = -np.log(chosen[np.arange(len(codes)), codes]).mean()
    np.testing.assert_allclose(model.history_[0]["train_task_losses"][0], expected, rtol=1e-7)


@every_case
@every_strategy
def test_missing_labels_and_weights_of_zero_are_absent(name, sharing):
    X, y, model = make(name, sharing)
    weight = np.ones(N)
    weight[30:] = 0.0
    found = model.fit(X, records(y), sample_weight=weight).predict(X)
    other = {key: values.copy() for key, values in y.items()}
    other["t"][30:] = "O" if name == "token_labels" else 1.0
    other["sum"][30:] = 99.0
    same(clone(model).fit(X, records(other), sample_weight=weight).predict(X), found)


@every_case
def test_a_row_of_weight_two_is_the_row_twice(name):
    X, y, model = make(name, batch_size=200)
    weight = np.where(np.arange(N) < 10, 2.0, 1.0)
    one = model.fit(X, records(y), sample_weight=weight).predict_proba(X)["t"]
    twice = np.concatenate([np.arange(N), np.arange(10)])
    both = clone(model).fit(X[twice], records(y)[twice]).predict_proba(X)["t"]
    np.testing.assert_allclose(one, both, atol=1e-8)


@every_case
def test_without_a_penalty_soft_sharing_is_independent(name):
    X, y, model = make(name, "independent")
    found = model.fit(X, records(y)).predict_proba(X)["t"]
    soft = clone(model).set_params(sharing="soft", sharing_lambda=0.0).fit(X, records(y))
    np.testing.assert_allclose(soft.predict_proba(X)["t"], found, atol=1e-9)


@every_label
def test_members_are_averaged_by_probability(name):
    X, y, model = make(name, n_members=3)
    model.fit(X, records(y))
    mean = model.predict_proba(X)["t"]
    raws = [model._raw_by_task([raw])["t"] for raw in model._raw_members(X)[0].reshape(3, N, -1)]
    each = [model.tasks_["t"].probabilities(raw) for raw in raws]
    np.testing.assert_allclose(np.mean(each, axis=0), mean, atol=1e-9)


@every_case
def test_searches_stopping_and_continuing(name):
    X, y, model = make(name)
    table, grid = records(y), {"sharing": ["hard", "independent"], "lr": [0.001, 0.01]}
    found = GridSearchCV(model, grid, cv=KFold(2)).fit(X, table).cv_results_["mean_test_score"]
    stacked = StackedGridSearchCV(model, grid, cv=KFold(2)).fit(X, table).cv_results_["mean_test_score"]
    np.testing.assert_allclose(found, stacked, atol=1e-6)
    assert cross_val_predict(model, X, table, cv=KFold(2))["t"].shape == y["t"].shape
    stopped = clone(model).set_params(early_stopping=True, max_epochs=8).fit(X, table)
    assert np.isfinite([row["valid_task_losses"] for row in stopped.history_]).all()
    assert clone(model).partial_fit(X, table).partial_fit(X, table).predict(X)["t"].shape == y["t"].shape


class Gives(nn.Module):
    """A module of a user's own: features of the row and of its six numbers."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 4)

    def forward(self, x):
        tokens = self.layer(x[:, :, None])
        return {"row": tokens.mean(1), "tokens": tokens}


def test_a_module_of_your_own_gives_features_by_site():
    X = np.random.default_rng(0).normal(size=(N, 6))
    y = records(t=(X > 0) * 1.0, up=X.sum(1))
    tasks = {"t": TokenLabels(), "up": "regression"}
    model = MultiTaskEstimator(tasks, encoder=TorchEncoder(Gives), **{**SMALL, "max_epochs": 60}).fit(X, y)
    assert model.score_tasks(X, y)["t"] > 0.8


def test_more_than_two_kinds_of_pixels():
    X, y, model = make("mask", max_epochs=60)
    y["t"] = np.digitize(X, [-0.5, 0.5])
    y["t"][:5] = 255
    model.set_params(tasks__t__missing=255).fit(X, records(y))
    assert model.classes_["t"].tolist() == [0, 1, 2]
    assert model.score_tasks(X, records(y))["t"] > 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder": ConvEncoder((4,))}, "Task 't' reads tokens, of which an encoder must give features"),
        ({"encoder": "passthrough"}, "Task 't' reads tokens.*passthrough"),
        ({"y": np.zeros((N, LENGTH + 1))}, r"Task 't': labels must be at most as many as the 6 tokens.*Found 7"),
        ({"y": np.zeros(N)}, "Task 't'.*skmtl.records"),
        ({"y": np.full((N, LENGTH), np.nan)}, "Task 't': every label is missing"),
    ],
    ids=["site", "table", "length", "axes", "empty"],
)
def test_what_cannot_be_read_is_refused(change, message):
    ids, y, model = make("token_labels")
    if "encoder" in change:
        model.set_params(encoder=change["encoder"])
        ids = ids * 1.0 if change["encoder"] == "passthrough" else np.zeros((N, 6, 6))
    with pytest.raises(ValueError, match=message):
        model.fit(ids, records({**y, "t": change.get("y", y["t"])}))


@every_case
def test_a_frame_whose_cells_hold_arrays_is_read(name):
    X, y, model = make(name)
    frame = pd.DataFrame({key: list(values) if values.ndim > 1 else values for key, values in y.items()})
    same(clone(model).fit(X, frame).predict(X), model.fit(X, records(y)).predict(X))
    assert model.score_tasks(X, frame) == model.score_tasks(X, records(y))
    with pytest.raises(ValueError, match="Task 't' must have one label in each row.*MultiTaskEstimator reads them"):
        MultiTaskClassifier(encoder=model.encoder).fit(X, frame)
    frame.at[3, "t"] = np.zeros(2)
    with pytest.raises(ValueError, match="Task 't': the arrays in its cells must have one shape"):
        model.fit(X, frame)


def test_masks_of_another_size_are_refused():
    X, y, model = make("mask")
    with pytest.raises(
        ValueError, match=r"Task 't': masks must have the shape of the images, \(8, 6\). Found \(4, 6\)"
    ):
        model.fit(X, records({**y, "t": y["t"][:, :4]}))


def test_overlap_is_scikit_learns():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 2, (2, 5, 4, 3))
    np.testing.assert_allclose(iou(one, other), jaccard_score(one.ravel(), other.ravel()))
    np.testing.assert_allclose(dice(one, other), f1_score(one.ravel(), other.ravel()))
    partly = one.astype(float)
    partly[0] = np.nan
    np.testing.assert_allclose(iou(partly, other), jaccard_score(one[1:].ravel(), other[1:].ravel()))
    with pytest.raises(ValueError, match="one shape"):
        iou(one, other[:2])


def test_spans_are_seqevals():
    seqeval = pytest.importorskip("seqeval.metrics")
    rng = np.random.default_rng(0)
    names = np.array(["O", "B-x", "I-x", "B-y", "I-y"])
    true, predicted = names[rng.integers(0, 5, (2, 60, 9))]
    np.testing.assert_allclose(span_f1(true, predicted), seqeval.f1_score(true.tolist(), predicted.tolist()))


def test_spans_by_hand():
    true = [["B-x", "I-x", "O", "B-y"], ["B-x", "B-x", "O", None]]
    found = [["B-x", "I-x", "O", "I-y"], ["B-x", "I-x", "O", "B-y"]]
    assert span_f1(true, true) == 1.0
    np.testing.assert_allclose(span_f1(true, found), 2 * 2 / (4 + 3))  # x 0-1 and y 3; in the second text none
