"""Parts keep the share of every class of every task: counted by hand, against brute force and against chance."""

from itertools import combinations

import numpy as np
import pytest

from skmtl._stratify import assign_parts, is_continuous, label_codes


def _random_codes(seed, n, n_tasks, n_classes, missing=0.2, skew=1.5):
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, n_classes + 1) ** skew
    codes = rng.choice(n_classes, size=(n, n_tasks), p=share / share.sum())
    codes[rng.random(codes.shape) < missing] = -1
    return codes


def _counts(codes, part, n_parts):
    """Yield, for each class of each task, its rows in each part."""
    for t in range(codes.shape[1]):
        for c in range(codes[:, t].max() + 1):
            yield np.bincount(part[codes[:, t] == c], minlength=n_parts)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_one_task_is_divided_exactly(k):
    codes = np.repeat([0, 1, 2], [30, 60, 300])[:, None]
    part = assign_parts(codes, np.ones(k), np.random.RandomState(0))
    for counts in _counts(codes, part, k):
        assert np.ptp(counts) == 0


def test_a_hold_out_of_a_tenth_is_divided_exactly():
    codes = np.repeat([0, 1, 2], [10, 40, 150])[:, None]
    part = assign_parts(codes, (0.9, 0.1), np.random.RandomState(0))
    np.testing.assert_array_equal([part[codes[:, 0] == c].sum() for c in range(3)], [1, 4, 15])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n", "k"), [(103, 5), (40, 7), (11, 11), (7, 2)])
def test_sizes_differ_by_at_most_one(seed, n, k):
    part = assign_parts(_random_codes(seed, n, 6, 3), np.ones(k), np.random.RandomState(seed))
    sizes = np.bincount(part, minlength=k)
    assert sizes.sum() == n
    if k > 2:  # of two parts the first may take a row that holds the last of a class
        assert np.ptp(sizes) <= 1


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize(("n", "n_tasks", "k"), [(300, 10, 5), (1000, 20, 5), (100, 3, 10)])
def test_a_class_with_as_many_rows_as_parts_is_in_every_part(seed, n, n_tasks, k):
    codes = _random_codes(seed, n, n_tasks, 4, skew=2.5)
    part = assign_parts(codes, np.ones(k), np.random.RandomState(seed))
    frequent = [counts for counts in _counts(codes, part, k) if counts.sum() >= k]
    assert min(counts.min() for counts in frequent) > 0


def test_chance_alone_leaves_classes_out():
    codes = _random_codes(1, 300, 10, 4, skew=2.5)
    by_chance = _counts(codes, np.random.RandomState(1).permutation(300) % 5, 5)
    assert min(counts.min() for counts in by_chance if counts.sum() >= 5) == 0


def _skew(codes, part, k):
    return np.mean(
        [np.abs(counts - counts.mean()).mean() / max(counts.mean(), 1) for counts in _counts(codes, part, k)]
    )


def test_shares_are_far_closer_than_by_chance():
    codes = _random_codes(0, 20_000, 20, 5)
    part = assign_parts(codes, np.ones(5), np.random.RandomState(0))
    assert _skew(codes, part, 5) < _skew(codes, np.random.RandomState(0).permutation(20_000) % 5, 5) / 10


@pytest.mark.parametrize("seed", range(40))
def test_the_first_of_two_parts_has_every_class_of_two_rows(seed):
    rng = np.random.default_rng(seed)
    codes = rng.integers(-1, 6, size=(rng.integers(4, 14), 6))
    fraction = rng.choice([0.1, 0.3, 0.5, 0.7])
    part = assign_parts(codes, (1 - fraction, fraction), np.random.RandomState(seed))
    assert set(part) == {0, 1}
    for t in range(codes.shape[1]):
        for c in range(6):
            rows = codes[:, t] == c
            assert rows.sum() < 2 or (part[rows] == 0).any()


def _best_coverage(codes, n_second):
    """Return the most classes of two or more rows that any second part of this size can have beside the first."""
    n = len(codes)
    best = 0
    for chosen in combinations(range(n), n_second):
        part = np.isin(np.arange(n), chosen).astype(int)
        tables = [c for t in range(codes.shape[1]) for c in _counts(codes[:, [t]], part, 2) if c.sum() > 1]
        if all(c[0] > 0 for c in tables):
            best = max(best, sum(c[1] > 0 for c in tables))
    return best


def test_the_second_part_has_nearly_all_classes_that_brute_force_finds_room_for():
    found = most = 0
    for seed in range(12):
        codes = np.random.default_rng(seed).integers(0, 3, size=(9, 3))
        part = assign_parts(codes, (2, 1), np.random.RandomState(seed))
        tables = [c for t in range(3) for c in _counts(codes[:, [t]], part, 2) if c.sum() > 1]
        found += sum(c[1] > 0 for c in tables)
        most += _best_coverage(codes, 3)
    assert found >= 0.97 * most


def test_three_classes_of_two_rows_that_cannot_all_be_halved():
    codes = np.array([[0, -1, 0], [0, 0, -1], [-1, 0, 0]])  # each pair of rows shares a class
    part = assign_parts(codes, (0.5, 0.5), np.random.RandomState(0))
    assert sorted(part) == [0, 0, 1]  # with two rows in the second part their class would be lost to the first


def test_exchange_finds_the_only_division():
    # Four rows, classes shared by 0-1, 1-2, 2-3: only {0, 2} against {1, 3} halves all of them.
    codes = np.array([[0, -1, -1], [0, 0, -1], [-1, 0, 0], [-1, -1, 0]])
    for seed in range(20):
        part = assign_parts(codes, (1, 1), np.random.RandomState(seed))
        assert part.tolist() in ([0, 1, 0, 1], [1, 0, 1, 0])


@pytest.mark.parametrize("n", [1000, 1003])
def test_rows_of_one_task_each_are_shared_out_task_by_task(n):
    """As in schools: a row has one label. Every task and class must be divided to within a row or two."""
    rng = np.random.default_rng(0)
    task = np.sort(rng.integers(0, 20, n))
    codes = np.full((n, 20), -1)
    codes[np.arange(n), task] = rng.integers(0, 12, n)  # about four rows a class: fewer than parts
    part = assign_parts(codes, np.ones(5), np.random.RandomState(0))
    for t in range(20):
        counts = np.bincount(part[task == t], minlength=5)
        assert abs(counts - counts.mean()).max() < 2.5
    assert max(np.ptp(counts) for counts in _counts(codes, part, 5)) <= 1


def test_missing_labels_are_shared_out():
    codes = np.zeros((100, 2), dtype=int)
    codes[:20, 0], codes[10:50, 1] = -1, -1
    part = assign_parts(codes, np.ones(5), np.random.RandomState(3))
    np.testing.assert_array_equal(np.bincount(part[:20]), [4] * 5)
    np.testing.assert_array_equal(np.bincount(part[10:50]), [8] * 5)


def test_rows_without_any_label_fill_up():
    codes = np.full((10, 3), -1)
    np.testing.assert_array_equal(np.bincount(assign_parts(codes, (0.8, 0.2), np.random.RandomState(0))), [8, 2])
    codes[0, 1] = 0
    np.testing.assert_array_equal(np.bincount(assign_parts(codes, (0.8, 0.2), np.random.RandomState(0))), [8, 2])


def test_equal_seeds_equal_parts_and_order_without_a_seed():
    codes = _random_codes(1, 200, 5, 4)
    first, second = (assign_parts(codes, np.ones(4), np.random.RandomState(7)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (first != assign_parts(codes, np.ones(4), np.random.RandomState(8))).any()
    np.testing.assert_array_equal(assign_parts(codes, np.ones(4)), assign_parts(codes, np.ones(4)))
    assert assign_parts(np.zeros((6, 1), dtype=int), np.ones(3)).tolist() == [0, 1, 2, 0, 1, 2]


def test_renaming_tasks_does_not_matter_for_balance():
    codes = _random_codes(2, 400, 6, 3)
    for order in (np.arange(6), np.arange(6)[::-1]):
        part = assign_parts(codes[:, order], np.ones(5), np.random.RandomState(0))
        assert min(c.min() for c in _counts(codes, part, 5) if c.sum() >= 5) > 0


# --- codes -------------------------------------------------------------------------------------------------------


def test_classes_keep_their_identity_and_missing_is_minus_one():
    columns = [
        np.array(["b", "a", "", "b"]),
        np.array([1, "x", None, 1], dtype=object),
        np.array([True, False, True, True]),
    ]
    observed = np.array([[1, 1, 1], [1, 1, 1], [0, 0, 1], [1, 1, 1]], dtype=bool)
    codes = label_codes(columns, observed)
    assert codes.tolist() == [[1, 0, 1], [0, 1, 0], [-1, -1, 1], [1, 0, 1]]


def test_numbers_are_binned_at_their_quantiles():
    values = np.r_[np.arange(10) + 0.5, 99.0]
    observed = np.r_[[True] * 10, False][:, None]
    assert label_codes([values], observed, n_bins=5)[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, -1]
    assert label_codes([values], observed, n_bins=2)[:, 0].tolist() == [0] * 5 + [1] * 5 + [-1]


def test_bins_of_few_labels_and_of_repeated_values():
    assert label_codes([np.array([0.5, 1.5, 2.5])], np.ones((3, 1), bool))[:, 0].tolist() == [0, 0, 0]
    zeros = np.r_[np.zeros(80), np.arange(1, 21) + 0.5]
    codes = label_codes([zeros], np.ones((100, 1), bool), n_bins=5)[:, 0]
    assert len(set(codes[:80])) == 1
    assert codes[-1] != codes[0]


def test_a_column_can_be_declared_continuous():
    years = np.repeat([1990, 1991, 1992, 1993], 5)
    observed = np.ones((20, 1), dtype=bool)
    assert len(np.unique(label_codes([years], observed, n_bins=2))) == 4
    assert len(np.unique(label_codes([years], observed, n_bins=2, continuous=[True]))) == 2


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([0.5, 1.0]), True),
        (np.array([0.0, 1.0, 1.0]), False),
        (np.arange(100), True),
        (np.arange(100) % 10, False),
        (np.array(["1.5", "2.5"]), False),
        (np.array([True, False]), False),
        (np.array([0, 1]), False),
        (np.array([], dtype=float), False),
    ],
)
def test_what_is_continuous(labels, expected):
    assert is_continuous(labels) is expected
