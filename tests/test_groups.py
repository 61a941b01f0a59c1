"""Groups of rows stay together and parts keep the shares: by hand, against brute force and StratifiedGroupKFold."""

import warnings
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold

from skmtl._groups import assign_groups

SHARES = [(1, 1), (0.9, 0.1), (1, 1, 1), np.ones(5), (5, 3, 1, 1)]


def _table(seed, n, n_groups, n_tasks, n_classes, missing=0.2):
    """Return codes whose classes are rarer the higher they are and differ between groups, which differ in size."""
    rng = np.random.default_rng(seed)
    groups = rng.choice(n_groups, n, p=rng.dirichlet(np.ones(n_groups)))
    logits = 0.7 * rng.normal(size=(n_groups, n_tasks, n_classes)) - 1.5 * np.log(np.arange(1, n_classes + 1))
    codes = (logits[groups] + rng.gumbel(size=(n, n_tasks, n_classes))).argmax(axis=-1)
    codes[rng.random(codes.shape) < missing] = -1
    return codes, np.unique(groups, return_inverse=True)[1]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 60),
    st.integers(1, 20),
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from(SHARES),
    st.integers(0, 10**6),
    st.booleans(),
)
def test_groups_stay_together_and_no_part_is_empty(n, n_groups, n_tasks, n_classes, shares, seed, shuffle):
    codes, groups = _table(seed, n, n_groups, n_tasks, n_classes)
    order = np.random.default_rng(seed).permutation(n)
    part = assign_groups(codes[order], groups[order], shares, np.random.RandomState(seed) if shuffle else None)
    pairs = set(zip(groups[order].tolist(), part.tolist(), strict=True))
    assert len(pairs) == groups.max() + 1
    assert set(part) <= set(range(len(shares)))
    assert len(set(part)) == min(len(shares), groups.max() + 1)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(1, 30), min_size=5, max_size=40), st.integers(2, 5), st.integers(0, 10))
def test_sizes_are_off_by_less_than_the_largest_group(sizes, k, seed):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    part = assign_groups(np.zeros((len(groups), 1), dtype=int), groups, np.ones(k), np.random.RandomState(seed))
    assert (abs(np.bincount(part, minlength=k) - len(groups) / k) < max(sizes)).all()


@pytest.mark.parametrize("seed", range(5))
def test_a_division_without_remainder_is_found(seed):
    """Each of three groups of four rows has a mirror image, with which it has all classes of both tasks equally."""
    half = np.random.default_rng(seed).integers(0, 2, size=(3, 4, 2))
    codes = np.concatenate([half, 1 - half]).reshape(-1, 2)
    part = assign_groups(codes, np.repeat(np.arange(6), 4), np.ones(3), np.random.RandomState(seed))
    np.testing.assert_array_equal(np.bincount(part), [8, 8, 8])
    for t in range(2):
        np.testing.assert_array_equal(np.bincount(part[codes[:, t] == 0]), [4, 4, 4])


def _deviation(codes, part, shares):
    """Return the mean deviation of the parts' shares of each class and of all rows, and that of all rows."""
    share = np.array(shares) / np.sum(shares)
    members = [codes[:, t] == c for t in range(codes.shape[1]) for c in range(codes[:, t].max() + 1)]
    deviations = [
        abs(np.bincount(part[rows], minlength=len(share)) / rows.sum() - share).mean()
        for rows in [*members, np.ones(len(part), dtype=bool)]
        if rows.any()
    ]
    return np.mean(deviations), deviations[-1]


@pytest.mark.parametrize(("n", "n_groups", "n_classes"), [(300, 40, 5), (1500, 200, 4), (120, 15, 2)])
def test_shares_and_sizes_are_closer_than_those_of_stratified_group_k_fold(n, n_groups, n_classes):
    ours, theirs = [], []
    for seed in range(10):
        codes, groups = _table(seed, n, n_groups, 1, n_classes, missing=0)
        ours.append(
            _deviation(codes, assign_groups(codes, groups, np.ones(5), np.random.RandomState(seed)), np.ones(5))
        )
        part = np.empty(n, dtype=int)
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # classes of fewer rows than folds
            for fold, (_, test) in enumerate(splitter.split(codes, codes[:, 0], groups)):
                part[test] = fold
        theirs.append(_deviation(codes, part, np.ones(5)))
    assert (np.mean(ours, axis=0) < 0.95 * np.mean(theirs, axis=0)).all()


@pytest.mark.parametrize("shares", [(1, 1), (1, 1, 1), (3, 1)])
def test_shares_are_nearly_the_best_that_brute_force_finds(shares):
    found, best = [], []
    for seed in range(8):
        codes, groups = _table(seed, 80, 7, 3, 3)
        found.append(_deviation(codes, assign_groups(codes, groups, shares, np.random.RandomState(seed)), shares)[0])
        choices = product(range(len(shares)), repeat=int(groups.max()) + 1)
        best.append(min(_deviation(codes, np.array(choice)[groups], shares)[0] for choice in choices))
    assert np.mean(found) < 1.15 * np.mean(best)


@pytest.mark.parametrize("shares", SHARES)
def test_many_groups_are_divided_almost_exactly(shares):
    codes, groups = _table(0, 20_000, 4_000, 10, 4)
    part = assign_groups(codes, groups, shares, np.random.RandomState(0))
    share = np.array(shares) / np.sum(shares)
    for column in codes.T:
        for rows in (np.ones(20_000, dtype=bool), column >= 0, *(column == c for c in range(4))):
            assert (abs(np.bincount(part[rows], minlength=len(share)) - rows.sum() * share) <= 20).all()


def test_equal_seeds_equal_parts():
    codes, groups = _table(1, 900, 400, 4, 3)  # fewer groups may have one best division
    for state in (np.random.RandomState, np.random.default_rng):
        first, second, other = (assign_groups(codes, groups, (3, 1), state(seed)) for seed in (7, 7, 8))
        np.testing.assert_array_equal(first, second)
        assert (first != other).any()
    np.testing.assert_array_equal(assign_groups(codes, groups, (3, 1)), assign_groups(codes, groups, (3, 1)))
