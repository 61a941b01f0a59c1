"""What the generators promise: the relation of the teachers, the share of missing labels, equal seeds equal data."""

import numpy as np
import pytest

from skmtl.datasets import make_related_classification, make_related_regression

MAKERS = [make_related_regression, make_related_classification]


@pytest.mark.parametrize("make", MAKERS)
def test_shapes(make):
    X, y = make(n_samples=30, n_features=4, n_tasks=5, random_state=0)
    assert X.shape == (30, 4)
    assert y.shape == (30, 5)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("nonlinear", [True, False])
def test_equal_seed_equal_data(make, nonlinear, global_random_state_untouched):
    first, second = (make(missing=0.3, nonlinear=nonlinear, random_state=7) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


@pytest.mark.parametrize("make", MAKERS)
def test_teacher_does_not_change_the_data(make):
    X, y = make(random_state=3)
    X_too, y_too, _ = make(return_teacher=True, random_state=3)
    np.testing.assert_array_equal(X, X_too)
    np.testing.assert_array_equal(y, y_too)


@pytest.mark.parametrize("relatedness", [0.0, 0.5, 0.9])
def test_coefficients_correlate_as_the_relation_says(relatedness):
    *_, teacher = make_related_regression(
        n_samples=2,
        n_tasks=4,
        n_clusters=2,
        n_components=20_000,
        relatedness=relatedness,
        return_teacher=True,
        random_state=0,
    )
    r = relatedness
    relation = [[1, 0, r, 0], [0, 1, 0, r], [r, 0, 1, 0], [0, r, 0, 1]]  # clusters 0, 1, 0, 1
    np.testing.assert_array_equal(teacher.clusters, [0, 1, 0, 1])
    np.testing.assert_allclose(teacher.relation, relation)
    np.testing.assert_allclose(np.corrcoef(teacher.coef.T), relation, atol=4 / np.sqrt(20_000))


def test_class_coefficients_correlate_class_by_class():
    *_, teacher = make_related_classification(
        n_samples=2, n_tasks=2, n_classes=[3, 2], n_components=20_000, return_teacher=True, random_state=0
    )
    wide, narrow = teacher.coef
    assert (wide.shape, narrow.shape) == ((20_000, 3), (20_000, 2))
    expected = [[0.8, 0], [0, 0.8], [0, 0]]  # relatedness 0.8 between equal classes, none between others
    np.testing.assert_allclose(np.corrcoef(wide.T, narrow.T)[:3, 3:], expected, atol=4 / np.sqrt(20_000))


def test_wholly_related_tasks_are_one_task():
    *_, teacher = make_related_regression(relatedness=1.0, n_clusters=2, return_teacher=True, random_state=0)
    np.testing.assert_allclose(teacher.signal[:, 0], teacher.signal[:, 2])
    assert not np.allclose(teacher.signal[:, 0], teacher.signal[:, 1])


def test_linear_labels_are_the_formula():
    X, y, teacher = make_related_regression(
        n_features=9, nonlinear=False, noise=0.0, return_teacher=True, random_state=0
    )
    assert teacher.coef.shape == (9, 4)
    np.testing.assert_allclose(y, X @ teacher.coef / 3)  # sqrt(9)


def test_noise_is_the_standard_deviation_around_the_signal():
    _, y, teacher = make_related_regression(n_samples=20_000, noise=0.5, return_teacher=True, random_state=0)
    np.testing.assert_allclose((y - teacher.signal).std(axis=0), 0.5, rtol=0.03)


def test_signal_has_second_moment_one():
    *_, teacher = make_related_regression(n_tasks=500, relatedness=0.0, return_teacher=True, random_state=0)
    assert abs((teacher.signal**2).mean() - 1) < 0.05


def test_class_labels_are_the_largest_signal():
    X, y, teacher = make_related_classification(
        n_classes=3, nonlinear=False, noise=0.0, return_teacher=True, random_state=0
    )
    np.testing.assert_array_equal(y[:, 1], (X @ teacher.coef[1]).argmax(axis=1))
    np.testing.assert_array_equal(y, teacher.signal)


def test_noise_replaces_labels_by_any_class():
    _, y, teacher = make_related_classification(
        n_samples=20_000, n_classes=4, noise=0.4, return_teacher=True, random_state=0
    )
    assert abs((y != teacher.signal).mean() - 0.3) < 0.01  # a quarter of the replaced labels stay what they were


@pytest.mark.parametrize(("n_classes", "expected"), [(3, [3, 3, 3]), ([2, 5, 3], [2, 5, 3])])
def test_every_class_occurs(n_classes, expected):
    _, y = make_related_classification(n_samples=2000, n_tasks=3, n_classes=n_classes, random_state=0)
    assert y.dtype.kind == "i"
    assert [np.unique(y[:, t]).tolist() for t in range(3)] == [list(range(c)) for c in expected]


@pytest.mark.parametrize("make", MAKERS)
def test_missing_is_the_share_of_each_task(make):
    _, y = make(n_samples=50, n_tasks=3, missing=[0.0, 0.3, 0.999], random_state=0)
    assert np.isnan(y).sum(axis=0).tolist() == [0, 15, 49]


@pytest.mark.parametrize("make", MAKERS)
def test_missing_labels_hide_what_is_there_otherwise(make):
    _, whole = make(random_state=5)
    _, part = make(missing=0.4, random_state=5)
    seen = ~np.isnan(part)
    assert seen.sum(axis=0).tolist() == [120] * 4
    np.testing.assert_array_equal(part[seen], whole[seen])


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"n_samples": 0}, "n_samples must be an integer of at least 1. Found 0."),
        ({"n_tasks": 2.0}, "n_tasks must be an integer"),
        ({"n_features": -1}, "n_features must be an integer"),
        ({"n_clusters": 0}, "n_clusters must be an integer"),
        ({"n_components": 0}, "n_components must be an integer"),
        ({"relatedness": 1.1}, r"relatedness must be in \[0, 1\]. Found 1.1."),
        ({"relatedness": float("nan")}, "relatedness must be in"),
        ({"missing": 1.0}, "missing must be in"),
        ({"missing": [0.1, 0.2]}, "missing must be one number or one for each of the 4 tasks"),
        ({"noise": -0.1}, "noise must be"),
    ],
)
def test_bad_arguments_are_named(make, bad, message):
    with pytest.raises(ValueError, match=message):
        make(**bad)


@pytest.mark.parametrize("n_classes", [1, 2.5, [2, 2, 2, 1]])
def test_classes_are_at_least_two(n_classes):
    with pytest.raises(ValueError, match="n_classes must be integers of at least 2"):
        make_related_classification(n_classes=n_classes)


def test_class_noise_is_a_probability():
    with pytest.raises(ValueError, match=r"noise must be in \[0, 1\]"):
        make_related_classification(noise=1.5)
