"""What tasks check that draw items which users have not been seen with: their number, and which class these get."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np

from skmtl.tasks._codec import ClassCodec


def check_negatives(negatives: Any) -> None:
    """Refuse what is no number of items."""
    if not isinstance(negatives, Integral) or isinstance(negatives, (bool, np.bool_)) or negatives < 0:
        raise ValueError(f"negatives must be a whole number >= 0. Found {negatives!r}.")


def with_negative_class(codec: ClassCodec) -> ClassCodec:
    """Return the classes of a task that draws negatives: the two that were found, or the one and its negative."""
    classes = codec.classes
    if len(classes) == 2:
        return codec
    if len(classes) > 2:
        raise ValueError(f"negatives are drawn for a task of two classes. Found {len(classes)}: set negatives=0.")
    (label,) = classes.tolist()
    if not isinstance(label, (int, float)):
        raise ValueError(
            f"negatives get the negative class, which is not known: all labels are {label!r}. Write 1 or True for what "
            f"is positive, or give a row with the other label, smaller in sorting."
        )
    if not label > 0:
        raise ValueError(f"negatives are drawn for positive labels, such as 1 or True. Found only {label!r}.")
    return ClassCodec(np.array([type(label)(0), label], dtype=classes.dtype))
