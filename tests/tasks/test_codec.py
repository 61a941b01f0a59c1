"""Labels to numbers and back."""

import numpy as np
import pytest

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
    np.testing.assert_allclose(codec.scale, [deviation, 1.0])  # a constant target keeps its units
    np.testing.assert_allclose(codec.decode(codec.encode(y)), y)


@pytest.mark.parametrize("value", [0.1, 1e9 + 0.1, -1e-9, 0.0])
def test_a_constant_target_has_scale_one(value):
    y = np.full((7, 1), value)
    assert ScaleCodec.fit(y, np.ones((7, 1))).scale == [1.0]
