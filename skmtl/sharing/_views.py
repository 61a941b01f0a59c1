"""Where buffers begin, and views of them that are made once: both are the same in every training step."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

ALIGNMENT = 64
"""Bytes: what begins on such a boundary is computed with as it would be alone, wherever in a stack it lies."""


def padded(n: int, element_size: int) -> int:
    """Return the smallest number of elements, at least n, that end on a boundary."""
    step = ALIGNMENT // element_size
    return -(-n // step) * step


class ViewOf:
    """Give the view of a tensor, made anew only where another tensor is given.

    Making a view costs a microsecond or two, as much as the arithmetic of a small layer.

    Parameters
    ----------
    make : callable
        Returns the view. If it returns a copy it is called every time, for the contents may have changed.
    """

    def __init__(self, make: Callable[[Tensor], Tensor]) -> None:
        self._make = make
        self._given: Tensor | None = None
        self._view: Tensor | None = None

    def __call__(self, given: Tensor) -> Tensor:
        if given is self._given and self._view is not None:
            return self._view
        view = self._make(given)
        self._given = self._view = None
        if view.untyped_storage().data_ptr() == given.untyped_storage().data_ptr():
            self._given, self._view = given, view
        return view

    def __getstate__(self) -> dict[str, object]:
        return {"_make": self._make, "_given": None, "_view": None}
