"""Labels to numbers and back."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from skmtl.tasks import ClassCodec, ScaleCodec, sorted_classes

LABELS = {
    "strings": (np.array(["b", "a", "b"]), ["a", "b"], [1, 0, 1]),
    "bools": (np.array([True, False]), [False, True], [1, 0]),
    "ints": (np.array([7, -3, 7]), [-3, 7], [1, 0, 1]),
    "floats": (np.array([2.0, 0.0]), [0.0, 2.0], [1, 0]),
    "mixed": (np.array(["b", 2, "a", 1], dtype=object), [1, 2, "a", "b"], [3, 1, 2, 0]),
}


@pytest.mark.parametrize(("labels", "classes", "codes"), LABELS.values(), ids=LABELS)
def test_classes_are_sorted_and_codes_their_positions(labels, classes, codes):
    codec = ClassCodec.fit(labels, "t")
    assert codec.classes.tolist() == classes
    assert codec.encode(labels, "t").tolist() == codes
    assert codec.decode(codec.encode(labels, "t")).tolist() == labels.tolist()
    assert codec.decode(np.array(codes, dtype=float)).dtype == labels.dtype


@pytest.mark.parametrize(
    ("known", "seen", "found"),
    [
        (np.array(["a", "b"]), np.array(["a", "z"]), "unknown labels 'z'"),
        (np.array([1, 2]), np.array([2, 3]), "unknown labels 3"),
        (np.array([1, 2]), np.array([0]), "unknown labels 0"),
        (np.array(["1", "2"]), np.array([1, 2]), "unknown labels 1, 2"),
        (np.array([1, "a"], dtype=object), np.array([2, "a"], dtype=object), "unknown labels 2"),
    ],
)
def test_unknown_labels_are_named_with_their_task(known, seen, found):
    with pytest.raises(ValueError, match=f"Task 'sex': {found}. The classes are"):
        ClassCodec.fit(known, "sex").encode(seen, "sex")


def test_fractions_are_no_classes():
    with pytest.raises(ValueError, match=r"Task 'age': .*[Cc]ontinuous"):
        ClassCodec.fit(np.array([0.5, 1.7, 2.2]), "age")


def test_numbers_come_before_strings():
    assert sorted_classes(np.array(["x", 10, 9, "a", True], dtype=object)).tolist() == [True, 9, 10, "a", "x"]


def test_scale_is_the_weighted_mean_and_deviation():
    y, weight = np.array([[1.0, 5.0], [3.0, 5.0], [8.0, 5.0]]), np.array([[1.0, 1.0], [2.0, 1.0], [0.0, 0.0]])
    codec = ScaleCodec.fit(y, weight)
    mean = (1 + 2 * 3) / 3
    deviation = np.sqrt(((1 - mean) ** 2 + 2 * (3 - mean) ** 2) / 3)
    np.testing.assert_allclose(codec.mean, [mean, 5.0])
    np.testing.assert_allclose(codec.scale, [deviation, 0.0])  # of a constant target nothing but the mean is said
    np.testing.assert_allclose(codec.decode(codec.encode(y)), y)


@pytest.mark.parametrize("value", [0.1, 1e9 + 0.1, -1e-9, 0.0])
def test_a_constant_target_has_scale_zero(value):
    y = np.full((7, 1), value)
    codec = ScaleCodec.fit(y, np.ones((7, 1)))
    assert codec.scale == [0.0]
    assert codec.encode(y + 1.0).tolist() == [[0.0]] * 7
    assert codec.decode(np.array([[3.0]])) == value


@pytest.mark.parametrize(("size", "offset"), [(1, 0), (1e300, 0), (1e-300, 0), (1, 1e9), (1, 1e12), (1e-3, -1e6)])
def test_scale_of_extremes_and_offsets(size, offset):
    z = np.random.default_rng(0).normal(size=(200, 2))
    y = size * z + offset
    codec = ScaleCodec.fit(y)
    exact = (y - offset) / size  # what rounding has left of z
    np.testing.assert_allclose(codec.mean, offset + size * exact.mean(axis=0), rtol=1e-12, atol=1e-12 * size)
    np.testing.assert_allclose(codec.scale, size * exact.std(axis=0), rtol=1e-10)
    np.testing.assert_allclose(codec.decode(codec.encode(y)), y, rtol=1e-14)


def test_the_bound_of_a_constant_is_that_of_scikit_learn():
    """The variance that n labels m and m (1 + d) in turn have is (m d / 2)^2, the bound (n m eps)^2."""
    n, m, eps = 100, 3.0, np.finfo(float).eps
    for d, is_constant in ((150 * eps, True), (250 * eps, False)):
        y = np.tile([[m], [m * (1 + d)]], (n // 2, 1))
        assert (ScaleCodec.fit(y).scale == 0) == is_constant
        assert (StandardScaler().fit(y).scale_ == 1.0) == is_constant


@pytest.mark.parametrize("weighted", [False, True])
def test_moments_of_chunks_are_those_of_all_rows(weighted):
    rng = np.random.default_rng(0)
    y = rng.normal(size=(90, 3)) * [1, 1e200, 1e-200] + [1e6, 0, 0]
    weight = rng.integers(0, 4, y.shape).astype(float) if weighted else None
    whole = ScaleCodec.fit(y, weight)
    parts = [
        ScaleCodec.fit(y[rows], None if weight is None else weight[rows]) for rows in np.split(np.arange(90), [1, 40])
    ]
    merged = parts[0].merge(parts[1]).merge(parts[2])
    for name, value in vars(whole).items():
        np.testing.assert_allclose(getattr(merged, name), value, rtol=1e-9, err_msg=name)


def test_a_change_of_units_keeps_what_is_said():
    y = np.random.default_rng(0).normal(size=(50, 2))
    old, new = ScaleCodec.fit(y), ScaleCodec.fit(1e3 * y + 7.0)
    said = np.random.default_rng(1).normal(size=(5, 2))
    factor, shift = old.change(new)
    np.testing.assert_allclose(new.decode(factor * said + shift), old.decode(said))


def test_classes_and_labels_are_compared_exactly():
    """2**53 + 1 is no float: beside one it was taken for 2**53."""
    codec = ClassCodec.fit(np.array([float(2**53), 1.0]), "id")
    with pytest.raises(ValueError, match="Task 'id': unknown labels 9007199254740993"):
        codec.encode(np.array([2**53 + 1]), "id")
    assert codec.encode(np.array([2**53, 1]), "id").tolist() == [1, 0]


@pytest.mark.parametrize("label", [{"a": 1}, [1, 2], {1}])
def test_what_cannot_be_a_label_is_refused(label):
    labels = np.empty(2, dtype=object)
    labels[:] = [label, label]
    with pytest.raises(ValueError, match="Task 'odd': labels must be single values"):
        ClassCodec.fit(labels, "odd")


def test_tuples_are_labels():
    labels = np.fromiter([(2, 1), (1, 2), (2, 1)], dtype=object, count=3)
    codec = ClassCodec.fit(labels, "pair")
    assert codec.classes.tolist() == [(1, 2), (2, 1)]
    assert codec.encode(labels, "pair").tolist() == [1, 0, 1]
