"""Sequences that a decoder writes: against enumeration, step by step, and by what may not be seen."""

import itertools

import numpy as np
import pytest
import torch

from skmtl import MultiTaskEstimator, records
from skmtl._decoder import DecoderCopies
from skmtl.encoders import TokenEncoder
from skmtl.tasks import Decoding, Sequence

N, LENGTH, N_IDS = 60, 3, 3


def data():
    rng = np.random.default_rng(0)
    X = rng.integers(1, N_IDS + 1, (N, LENGTH))
    X[::3, 2] = 0
    y = np.where(X > 0, (X + rng.integers(0, 2, X.shape)) % N_IDS + 1, 0)  # half of it is chance
    return X, records(t=y)


def fitted(X=None, y=None, **options):
    X, y = data() if X is None else (X, y)
    own = {"kind": options.pop("kind", "conv")}
    task = Sequence(beam_size=options.pop("beam_size", 1))
    known = {"max_epochs": 15, "lr": 0.01, "n_members": 1, "early_stopping": False, "random_state": 0}
    encoder = TokenEncoder(8, **own)
    return MultiTaskEstimator({"t": task}, encoder=encoder, dtype="float64", **{**known, **options}).fit(X, y)


def log_probability(model, X, ids):
    """Return the log probability of whole sequences, by the network with these ids in its rows."""
    rows = np.concatenate([model._check_X(X), ids], axis=1)
    with torch.inference_mode():
        raw = model.network_(torch.as_tensor(rows)).mean(0)
    log_p = model._raw_by_task([raw.numpy()])["t"][0].log_softmax(1).numpy()
    after, total = np.pad(ids, [(0, 0), (0, 1)]), 0.0
    for place in range(LENGTH + 1):
        counts = (after[:, :place] > 0).all(axis=1)
        total = total + np.where(counts, log_p[np.arange(len(ids)), after[:, place], place], 0.0)
    return total


def test_a_place_does_not_see_later_ids_nor_padding():
    torch.manual_seed(0)
    decoder = DecoderCopies(Decoding(5, 6, 2, 2), 8, 2).double()
    ids, memory = torch.randint(1, 6, (2, 4, 6)), torch.randn(2, 4, 5, 8, dtype=torch.float64)
    is_token = torch.arange(5).expand(2, 4, 5) < 3
    before = decoder.decode(ids, memory, is_token)
    ids[:, :, 3:] = 1 + ids[:, :, 3:] % 5
    memory[:, :, 3:] = 99.0
    after = decoder.decode(ids, memory, is_token)
    torch.testing.assert_close(after[:, :, :4], before[:, :, :4])
    assert ((after - before)[:, :, 4:].abs().amax(-1) > 1e-6).all()


def test_greedy_is_the_most_probable_id_step_by_step():
    model, (X, _) = fitted(), data()
    ids, is_over = np.zeros((N, LENGTH), dtype=int), np.zeros(N, dtype=bool)
    for place in range(LENGTH):
        rows = np.concatenate([model._check_X(X), ids], axis=1)
        with torch.inference_mode():
            raw = model.network_(torch.as_tensor(rows))[0].numpy()
        best = model._raw_by_task([raw])["t"][0][:, :, place].argmax(1).numpy()
        is_over |= best == 0
        ids[:, place] = np.where(is_over, 0, best)
    np.testing.assert_array_equal(model.predict(X)["t"], ids)


def test_a_wide_beam_finds_the_most_probable_of_all_sequences():
    model, (X, _) = fitted(beam_size=200), data()
    every = [s + (0,) * (LENGTH - n) for n in range(LENGTH + 1) for s in itertools.product((1, 2, 3), repeat=n)]
    totals = np.stack([log_probability(model, X, np.tile(s, (N, 1))) for s in every], axis=1)
    np.testing.assert_allclose(np.exp(totals).sum(1) <= 1 + 1e-9, True)
    np.testing.assert_array_equal(model.predict(X)["t"], np.array(every)[totals.argmax(1)])
    greedy = fitted().predict(X)["t"]
    found = log_probability(model, X, model.predict(X)["t"])
    assert (found >= log_probability(model, X, greedy) - 1e-9).all()


def test_the_loss_is_that_of_teacher_forcing():
    X, y = data()
    model = fitted(lr=1e-12, max_epochs=1)
    n = (y["t"] > 0).sum() + N
    np.testing.assert_allclose(
        model.history_[0]["train_task_losses"][0], -log_probability(model, X, y["t"]).sum() / n, rtol=1e-7
    )


def test_members_write_together_and_apart():
    model, (X, _) = fitted(n_members=3), data()
    each = model.predict_members(X)["t"]
    assert each.shape == (3, N, LENGTH)
    for k in range(3):
        alone = fitted(n_members=3)
        alone.network_ = _member(alone, k)
        alone._member_ids = (k,)
        np.testing.assert_array_equal(alone.predict(X)["t"], each[k])
    proba = model.predict_proba(X)["t"]
    np.testing.assert_array_equal(proba[:, 0].argmax(1), model.predict(X)["t"][:, 0])


def _member(model, k):
    from skmtl._network import members_of

    return members_of(model.network_, [k], model._plan).eval()


def test_padding_of_the_source_changes_nothing():
    X, y = data()
    wide = np.pad(X, [(0, 0), (0, 4)])
    one, other = fitted(X, y), fitted(wide, y)
    np.testing.assert_allclose(one.predict_proba(X)["t"][:, 0], other.predict_proba(wide)["t"][:, 0], atol=1e-6)


@pytest.mark.parametrize(
    ("t", "message"),
    [
        (np.array([[0, 2]] * N), "padding must follow"),
        (np.array([[1.5, 2.0]] * N), "whole numbers"),
        (np.zeros((N, 2)), "every label is missing"),
    ],
)
def test_what_is_no_sequence_is_refused(t, message):
    with pytest.raises(ValueError, match=f"Task 't'.*{message}"):
        fitted(data()[0], records(t=t))


@pytest.mark.parametrize(
    "option", [{"n_layers": 0}, {"n_heads": 2.0}, {"beam_size": True}, {"beam_size": 1.5}, {"max_length": 0}]
)
def test_sizes_that_are_none_are_refused(option):
    X = data()[0]
    model = MultiTaskEstimator({"t": Sequence(**option)}, encoder=TokenEncoder(8))
    with pytest.raises(ValueError, match=f"Task 't'.*{next(iter(option))} must be an integer of at least 1"):
        model.fit(X, records(t=np.ones((len(X), 2), dtype=int)))


def test_unknown_ids_are_never_right():
    model, (X, y) = fitted(), data()
    y["t"][0, 0] = 99
    assert model.score_tasks(X, y)["t"] <= model.score_tasks(X, data()[1])["t"] + 1e-9
    assert model.predict(X)["t"].max() <= N_IDS
