"""Attention over tokens of texts and pixels of images, and gates of tasks over places."""

import numpy as np
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from skmtl import MultiTaskEstimator, MultiTaskRegressor, records
from skmtl.encoders import ConvEncoder, TokenEncoder, TorchEncoder
from skmtl.sharing import AttentionSharing, PlaceAttention, PlacesShape, TrunkShape
from skmtl.tasks import TokenLabels
from tests.test_sites import CASES, SMALL, N, images, make, texts

MEMBERS, TASKS, BATCH, PLACES, WIDTH, ROW = 2, 3, 5, 4, 6, 7


@pytest.fixture
def module():
    torch.manual_seed(0)
    places = {"tokens": PlacesShape(PLACES, WIDTH, 2)}
    shape = TrunkShape(TASKS, ROW, (), "relu", n_members=MEMBERS)
    return PlaceAttention(shape, 2, places, "tokens").double()


@pytest.fixture
def found(module):
    row, places = torch.randn(MEMBERS, BATCH, ROW).double(), torch.randn(MEMBERS, BATCH, PLACES, WIDTH).double()
    is_place = torch.arange(PLACES) < torch.tensor([4, 1, 3, 2, 4]).unsqueeze(1)
    return row, places, is_place.expand(MEMBERS, BATCH, PLACES)


def test_it_is_torchs_attention_joined_with_the_row(module, found):
    row, places, is_place = found
    features = module(row, places, is_place)
    for task in range(TASKS):
        query = module.queries.weight[:, task].unflatten(-1, (2, WIDTH))  # (member, head, width)
        query = query.unsqueeze(1).expand(-1, BATCH, -1, -1)
        keys = places / places.square().mean(-1, keepdim=True).sqrt()
        attended = scaled_dot_product_attention(query, keys, places, is_place.unsqueeze(2))
        torch.testing.assert_close(features[:, task], torch.cat([row, attended.flatten(2)], -1))


def test_a_gate_is_a_share_of_each_feature(module, found):
    row, places, _ = found
    gate = module.gates["tokens"]
    gated = module.gate("tokens", places, row)
    for m in range(MEMBERS):
        for t in range(2):
            logits = places[m] @ gate.place_weight[m, t] + (row[m] @ gate.row_weight[m, t] + gate.bias[m, t])[:, None]
            torch.testing.assert_close(gated[m, t], 2 * torch.sigmoid(logits) * places[m])


def test_places_of_padding_and_texts_without_tokens_count_for_nothing(module, found):
    row, places, is_place = found
    is_place = is_place.clone()
    is_place[:, 1] = False
    weights = module.attend(places, is_place)
    assert (weights.permute(0, 1, 4, 2, 3)[~is_place] == 0).all()
    total = weights.sum(-1)
    torch.testing.assert_close(total, is_place.any(-1)[:, :, None, None].double().expand_as(total))
    other = torch.where(is_place.unsqueeze(-1), places, 99.0)
    torch.testing.assert_close(module(row, other, is_place), module(row, places, is_place))


@pytest.mark.parametrize("name", CASES)
def test_weights_have_the_axes_of_the_places(name):
    X, y, model = make(name, "attention")
    weights = model.fit(X, records(y)).attention_weights(X)
    grid = X.shape[1:]
    assert weights.shape == (N, 3, *grid)
    assert np.isnan(weights[:, 0]).all()  # a task over places has a gate
    np.testing.assert_allclose(weights[:, 1:].reshape(N, 2, -1).sum(-1), 1)


def test_a_task_attends_to_the_token_that_decides():
    rng = np.random.default_rng(0)
    ids, n = rng.integers(5, 30, (600, 8)), np.arange(600)
    where = rng.permuted(np.tile(np.arange(8), (600, 1)), axis=1)[:, :2]  # of each task, the token that it asks for
    answers = rng.integers(0, 2, (600, 2))
    for t in range(2):
        ids[n, where[:, t]] = 1 + 2 * t + answers[:, t]
    options = {"lr": 0.01, "max_epochs": 60, "n_members": 1, "sharing_lambda": 0.0, "random_state": 0}
    model = MultiTaskRegressor("attention", encoder=TokenEncoder(16), **options)
    weights = model.fit(ids, answers * 1.0).attention_weights(ids)
    for t in range(2):
        assert weights[n, t, where[:, t]].mean() > 2 * weights[n, t, where[:, 1 - t]].mean()


def test_large_lambda_ties_queries_and_gates():
    X, y, _, _ = texts()
    y["u"] = y["t"]
    tasks = {"t": TokenLabels(), "u": TokenLabels(), "long": "classification", "sum": "regression"}
    model = MultiTaskEstimator(tasks, "attention", encoder=TokenEncoder(8), sharing_lambda=1e6, **SMALL)
    trunk = model.fit(X, records(y)).network_.trunk.trunk
    for weight in (trunk.queries.weight, trunk.gates["tokens"].place_weight):
        torch.testing.assert_close(weight[:, 0], weight[:, 1], rtol=1e-3, atol=1e-4)


def test_fields_without_places_join_the_row_and_the_first_with_places_is_attended_to():
    ids, y, _, encoder = texts()
    X = records(title=ids[:, :3], body=ids, user=np.arange(N) % 5)
    labels = np.c_[y["sum"], -y["sum"]]
    encoders = {"title": encoder, "body": encoder, "user": "passthrough"}
    model = MultiTaskRegressor("attention", encoder=encoders, **SMALL).fit(X, labels)
    assert model.attention_weights(X).shape == (N, 2, 3)


class Cells(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 4, 3, stride=2, padding=1)

    def forward(self, x):
        cells = self.conv(x.unsqueeze(1)).relu()
        return {"row": cells.mean((2, 3)), "cells": cells}


def test_a_module_of_ones_own_is_attended_to():
    X, y, _, _ = images()
    labels = np.c_[y["sum"], -y["sum"]]
    model = MultiTaskRegressor("attention", encoder=TorchEncoder(Cells), **SMALL).fit(X, labels)
    assert model.attention_weights(X).shape == (N, 2, 4, 3)


def test_options_are_checked():
    X, y, model = make("token_labels", AttentionSharing(n_heads=0))
    with pytest.raises(ValueError, match="n_heads must be at least 1"):
        model.fit(X, records(y))


def test_without_tasks_of_the_row_there_are_no_weights():
    X, y, task, encoder = texts()
    model = MultiTaskEstimator({"t": task}, "attention", encoder=encoder, **SMALL).fit(X, records(t=y["t"]))
    assert not hasattr(model, "attention_weights")


def test_images_of_one_field_without_tasks_over_pixels():
    X, y, _, _ = images()
    model = MultiTaskRegressor("attention", encoder=ConvEncoder((4, 4)), **SMALL).fit(X, np.c_[y["sum"], -y["sum"]])
    assert model.attention_weights(X).shape == (N, 2, 2, 1)  # cells, after two maxima
