"""Held-out rows: as many as asked for, stratified, each row as likely as any other, nothing lost to training."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skmtl._hold_out import hold_out


def draw_codes(rng, n, n_tasks, n_classes, missing):
    codes = rng.integers(0, n_classes, size=(n, n_tasks))
    codes[rng.random(codes.shape) < missing] = -1
    return codes


def labels_of(codes):
    return {(t, c) for t, column in enumerate(codes.T) for c in column[column >= 0].tolist()}


@settings(deadline=None, max_examples=150)
@given(
    n=st.integers(2, 120),
    n_tasks=st.integers(1, 6),
    n_classes=st.integers(1, 30),
    missing=st.sampled_from([0.0, 0.3, 0.9]),
    fraction=st.sampled_from([0.01, 0.1, 0.25, 0.3, 0.5, 0.7, 0.99]),
    seed=st.integers(0, 2**31 - 2),
)
def test_training_keeps_every_label_and_the_number_is_exact_where_rows_can_be_spared(
    n, n_tasks, n_classes, missing, fraction, seed
):
    codes = draw_codes(np.random.default_rng(seed), n, n_tasks, n_classes, missing)
    held_out = hold_out(codes, fraction, seed)
    assert labels_of(codes[~held_out]) == labels_of(codes)
    most = min(max(round(fraction * n), 1), n - 1)
    assert held_out.sum() <= most
    counts = dict.fromkeys(labels_of(codes), 0)
    for row in codes[~held_out]:
        for label in labels_of(row[None]):
            counts[label] += 1
    spare = [all(counts[label] > 1 for label in labels_of(row[None])) for row in codes[~held_out]]
    assert held_out.sum() == most or not any(spare)


@pytest.mark.parametrize("rare", [1, 2, 4, 12])
def test_every_row_is_as_likely_to_be_held_out(rare):
    """Rows of a rare class too, unless there is only one of them: else no member would ever learn from some rows."""
    rng = np.random.default_rng(0)
    codes = draw_codes(rng, 100, 3, 3, 0.2)
    codes[:, 0] = np.arange(100) < rare
    share = np.mean([hold_out(codes, 0.1, seed) for seed in range(800)], axis=0)
    spread = np.sqrt(0.1 * 0.9 / 800)
    assert (np.abs(share - 0.1)[rare == 1 :] < 5 * spread).all()
    assert rare > 1 or share[0] == 0


def test_classes_are_held_out_in_proportion():
    rng = np.random.default_rng(1)
    codes = draw_codes(rng, 1000, 4, 3, 0.3)

    def unevenness(held_out):
        assert held_out.sum() == 200
        tables = [codes == label for label in (-1, 0, 1, 2)]
        return np.mean([np.abs(t[held_out].sum(axis=0) - 0.2 * t.sum(axis=0)) for t in tables])

    ours = [unevenness(hold_out(codes, 0.2, seed)) for seed in range(10)]
    random = [unevenness(rng.permutation(1000) < 200) for _ in range(10)]
    assert np.mean(ours) < 0.5 * np.mean(random)


def test_whole_groups_are_held_out():
    rng = np.random.default_rng(2)
    groups = rng.integers(0, 40, size=400)
    codes = draw_codes(rng, 400, 3, 2, 0.3)
    codes[groups == 7, 0] = 2  # a class of one group alone
    for seed in range(30):
        held_out = hold_out(codes, 0.1, seed, groups)
        assert not set(groups[held_out]) & set(groups[~held_out])
        assert 7 not in groups[held_out]
        assert 20 <= held_out.sum() <= 60


@pytest.mark.parametrize("n_needed", [1, 4, 9])
def test_groups_that_can_be_spared_are_held_out_whichever_is_drawn(n_needed):
    """Groups that alone have a class stay in training; each of the others is held out by some member."""
    groups = np.repeat(np.arange(10), 15)
    codes = np.zeros((150, 2), dtype=int)
    codes[15 * np.arange(n_needed), 0] = 1 + np.arange(n_needed)
    drawn = [set(groups[hold_out(codes, 0.1, seed, groups)]) for seed in range(150)]
    assert {len(held_out) for held_out in drawn} == {1}
    assert set.union(*drawn) == set(range(n_needed, 10))


@settings(deadline=None, max_examples=100)
@given(st.integers(2, 80), st.integers(2, 12), st.sampled_from([0.02, 0.1, 0.4, 0.8]), st.integers(0, 10**6))
def test_training_keeps_every_label_of_groups_and_some_are_held_out_where_any_can_be_spared(n, n_groups, share, seed):
    rng = np.random.default_rng(seed)
    codes, groups = draw_codes(rng, n, 3, int(rng.integers(1, 8)), 0.3), rng.integers(0, n_groups, n)
    held_out = hold_out(codes, share, seed, np.unique(groups, return_inverse=True)[1])
    assert not set(groups[held_out]) & set(groups[~held_out])
    assert labels_of(codes[~held_out]) == labels_of(codes)
    spare = [labels_of(codes[groups != group]) == labels_of(codes) for group in set(groups)]
    assert held_out.any() == (any(spare) and len(spare) > 1) or not labels_of(codes)


@pytest.mark.parametrize("n_groups", [2, 3, 5])
def test_fewer_groups_than_parts_of_the_wanted_size(n_groups):
    groups = np.repeat(np.arange(n_groups), 20)
    codes = np.zeros((len(groups), 1), dtype=int)
    drawn = [set(groups[hold_out(codes, 0.05, seed, groups)]) for seed in range(60)]
    assert set(map(frozenset, drawn)) == {frozenset([group]) for group in range(n_groups)}


def test_one_row_cannot_be_held_out():
    assert hold_out(np.zeros((1, 1), dtype=int), 0.5, 0).tolist() == [False]
