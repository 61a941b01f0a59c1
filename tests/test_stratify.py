"""Parts keep the share of every class of every task: counted by hand, against brute force and against chance."""

from itertools import combinations

import numpy as np
import pytest

from skmtl._label_codes import is_continuous, label_codes
from skmtl._stratify import assign_parts


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


# --- large tables: most rows are spread by counting -----------------------------------------------------------------


def _large_codes(seed, n=30_000):
    """Return codes with missing labels, of five common classes a task and of sixty, down to a few rows."""
    return np.hstack([_random_codes(seed, n, 5, 5), _random_codes(seed + 1, n, 2, 60, skew=2.5)])


@pytest.mark.parametrize("proportions", [(1, 1, 1, 1, 1), (0.8, 0.2), (0.9, 0.1), (5, 3, 2)])
def test_a_large_table_keeps_the_share_of_every_class(proportions):  # fault 30
    codes = _large_codes(0)
    share = np.array(proportions) / np.sum(proportions)
    part = assign_parts(codes, proportions, np.random.RandomState(0))
    for counts in _counts(codes, part, len(share)):
        wanted = counts.sum() * share
        assert (abs(counts - wanted) < 1.5 + 0.05 * wanted).all()


@pytest.mark.parametrize("k", [2, 5])
def test_a_large_table_keeps_the_share_of_missing_labels(k):
    codes = _large_codes(1)
    part = assign_parts(codes, np.ones(k), np.random.RandomState(0))
    for t in range(codes.shape[1]):
        counts = np.bincount(part[codes[:, t] < 0], minlength=k)
        assert np.ptp(counts) < 0.03 * counts.mean()


def test_a_large_table_keeps_the_share_of_combinations_of_classes():
    codes = np.random.default_rng(0).integers(0, 3, size=(60_000, 3))
    part = assign_parts(codes, np.ones(5), np.random.RandomState(0))
    table = np.zeros((27, 5), dtype=int)
    np.add.at(table, (codes @ [9, 3, 1], part), 1)
    assert abs(table - table.mean(axis=1, keepdims=True)).mean() < np.sqrt(60_000 / 27 * 0.2 * 0.8) / 2  # half chance


@pytest.mark.parametrize("n", [8_001, 12_345, 30_000])
@pytest.mark.parametrize("proportions", [(1, 1, 1), (0.9, 0.1), (0.999, 0.001), (5, 3, 1, 1), np.ones(400)])
def test_sizes_of_a_large_table_are_exact(n, proportions):
    share = np.array(proportions) / np.sum(proportions)
    part = assign_parts(_random_codes(0, n, 4, 3), proportions, np.random.RandomState(0))
    assert (abs(np.bincount(part, minlength=len(share)) - n * share) < 1).all()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("proportions", [(1, 1, 1, 1, 1), (0.9, 0.1)])
def test_every_class_of_a_large_table_is_in_every_part(seed, proportions):
    codes = _large_codes(10 * seed, n=20_000)
    part = assign_parts(codes, proportions, np.random.RandomState(seed))
    k = len(proportions)
    assert min(counts.min() for counts in _counts(codes, part, k) if counts.sum() >= k) > 0


@pytest.mark.parametrize("proportions", [(1, 1, 1, 1, 1), (3, 1), (1, 3)])
def test_more_rare_classes_than_rows_are_placed_one_by_one(proportions):
    """3,000 classes of six rows are 18,000 rows; spread by counting, some miss a part and have to be taken back."""
    rng = np.random.default_rng(0)
    codes = np.column_stack([rng.permutation(18_000) // 6, rng.integers(0, 4, size=(18_000, 2))])
    part = assign_parts(codes, proportions, np.random.RandomState(0))
    assert min(counts.min() for counts in _counts(codes, part, len(proportions))) > 0


def test_room_is_made_for_the_rare_classes_that_a_part_lacks():
    """5,000 classes of four rows, a tenth of them in a part of 6,000 rows: more than 2,000 classes have none there."""
    rng = np.random.default_rng(0)
    codes = np.minimum(rng.permutation(60_000) // 4, 5_000)[:, None]  # the last class has the other 40,000 rows
    part = assign_parts(codes, (9, 1), np.random.RandomState(0))
    assert min(counts.min() for counts in _counts(codes, part, 2)) > 0
    np.testing.assert_array_equal(np.bincount(part), [54_000, 6_000])


def test_the_first_of_two_parts_of_a_large_table_has_every_class_of_two_rows():
    codes = np.random.default_rng(0).permutation(np.arange(10_000) // 2)[:, None]
    part = assign_parts(codes, (0.5, 0.5), np.random.RandomState(0))
    assert all(counts[0] > 0 for counts in _counts(codes, part, 2))


def test_a_tiny_part_of_a_large_table_has_every_class():
    codes = _random_codes(0, 30_000, 30, 5)
    part = assign_parts(codes, (0.998, 0.002), np.random.RandomState(0))  # 60 rows; about 2 have the rarest class
    assert min(counts.min() for counts in _counts(codes, part, 2)) > 0


class _CountingState(np.random.RandomState):
    draws = 0

    def permutation(self, x):
        self.draws += 1
        return super().permutation(x)


def test_rows_placed_one_by_one_do_not_grow_with_the_table():
    """Placing draws an order for each batch of rows: its draws count the rows placed."""
    draws = []
    for n in (16_000, 96_000):
        rng = _CountingState(0)
        assign_parts(_random_codes(0, n, 3, 3), np.ones(5), rng)
        draws.append(rng.draws)
    assert 50 < draws[1] < 1.5 * draws[0]


def test_equal_seeds_equal_parts_of_a_large_table():
    codes = _large_codes(2, n=10_000)
    for state in (np.random.RandomState, np.random.default_rng):
        first, second, other = (assign_parts(codes, (3, 1), state(seed)) for seed in (7, 7, 8))
        np.testing.assert_array_equal(first, second)
        assert (first != other).any()
    np.testing.assert_array_equal(assign_parts(codes, (3, 1)), assign_parts(codes, (3, 1)))


@pytest.mark.parametrize("rng", [None, np.random.RandomState(0)])
@pytest.mark.parametrize("proportions", [np.ones(10), np.ones(5), (0.9, 0.1)])
def test_classes_that_recur_in_step_with_the_parts_are_not_drained(rng, proportions):
    """Every combination of ten classes of five tasks once: in their order every tenth row has the same class."""
    codes = np.stack(np.meshgrid(*[np.arange(10)] * 5, indexing="ij"), axis=-1).reshape(-1, 5)
    share = np.array(proportions) / np.sum(proportions)
    part = assign_parts(codes, proportions, rng)
    for counts in _counts(codes, part, len(share)):
        assert (abs(counts / counts.sum() - share) < 0.2 * share).all()


@pytest.mark.parametrize("rng", [None, np.random.RandomState(0)])
@pytest.mark.parametrize(
    "codes",
    [
        np.zeros((9_000, 0), dtype=int),
        np.full((9_000, 2), -1),
        np.zeros((9_000, 2), dtype=int),
        np.arange(9_000)[:, None],
        np.column_stack([np.full(9_000, -1), np.arange(9_000) % 3]),
        np.column_stack([np.arange(9_000) % 3, np.full(9_000, -1)]),
        (np.arange(9_000)[:, None] % 3).astype(np.int8),
    ],
    ids=["no task", "no label", "one class", "all different", "first task empty", "last task empty", "small type"],
)
def test_extreme_large_tables(codes, rng):
    for proportions, sizes in (((2, 1), [6000, 3000]), ((1, 1, 1), [3000] * 3)):
        part = assign_parts(codes, proportions, rng)
        np.testing.assert_array_equal(np.bincount(part), sizes)
        for counts in _counts(codes, part, len(sizes)):
            assert counts.sum() < 2 or (abs(counts - counts.sum() * np.array(sizes) / 9000) <= 1).all()


@pytest.mark.parametrize("seed", range(5))
def test_the_first_of_two_parts_has_a_label_of_every_task_of_two_labels(seed, monkeypatch):
    """Even where each label is a class of one row, of which the first part needs none."""
    monkeypatch.setattr("skmtl._stratify._EXACT", 100)  # or thousands of tasks were needed
    rng = np.random.default_rng(seed)
    codes = np.full((300, 150), -1)
    codes[rng.permutation(300), np.arange(300) // 2] = np.arange(300) % 2
    part = assign_parts(codes, (1, 9), np.random.RandomState(seed))
    assert (codes[part == 0] >= 0).any(axis=0).all()


def test_six_hundred_tasks_of_few_labels():
    rng = np.random.default_rng(0)
    codes = np.full((9_000, 600), -1)
    codes[np.arange(9_000), rng.permutation(9_000) % 600] = rng.integers(0, 6, 9_000)  # 15 labels, 6 classes
    part = assign_parts(codes, np.ones(5), np.random.RandomState(0))
    frequent = [counts for counts in _counts(codes, part, 5) if counts.sum() >= 5]
    assert min(counts.min() for counts in frequent) > 0
    assert min(counts.min() for counts in _counts(np.minimum(codes, 0), part, 5)) > 0  # each task's labels
    np.testing.assert_array_equal(np.bincount(part), [1800] * 5)


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


@pytest.mark.parametrize(
    "labels",
    [
        np.array([-128, 127, 5, 127], dtype=np.int8),
        np.array([2**64 - 1, 2**64 - 2, 0, 2**64 - 1], dtype=np.uint64),
        np.array([2**62 + 1, 2**62, 2**62 + 1]),
        np.array([3.0, -2.0, -0.0, 0.0, 3.0, 1.0, 1.0]),
        np.array([np.inf, -np.inf, 0.0, 0.0, 0.0]),
        np.array([0.5, 1.0, 0.5, 2.5]),
        np.array([True, False, True]),
        np.array([], dtype=int),
    ],
)
def test_codes_of_classes_are_their_ranks(labels):
    codes = label_codes([labels], np.ones((len(labels), 1), bool), continuous=[False])[:, 0]
    in_order = sorted(set(labels.tolist()))
    assert codes.tolist() == [in_order.index(v) for v in labels.tolist()]


def test_numbers_far_apart_are_continuous_if_most_differ():
    ids = np.array([10**15, -(10**15), 3, 10**12])
    assert is_continuous(ids)
    assert is_continuous(np.r_[ids.astype(float), np.inf])
    assert not is_continuous(np.repeat(ids, 2))
