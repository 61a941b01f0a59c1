"""Where tensors are: over the memory of an array, or on another device."""

from __future__ import annotations

import numpy as np
import torch


def moved(constant: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Return a constant on a device; what prediction moved must still be of use in a gradient."""
    if constant.device == device:
        return constant
    with torch.inference_mode(False):
        return constant.to(device)


def tensor_over(array: np.ndarray) -> torch.Tensor:
    """Return a tensor over the memory of an array, to be read only; a copy where torch cannot read it in place.

    Memory that is read-only, such as that of a file, is not copied: torch warns of it, since tensors know no such
    thing, so it is handed over as if it could be written to.
    """
    if array.flags.c_contiguous and array.flags.writeable:
        return torch.from_numpy(array)
    if any(stride < 0 or stride % array.itemsize for stride in array.strides):
        array = np.ascontiguousarray(array)
    return torch.from_numpy(array if array.flags.writeable else np.asarray(_AsWritable(array)))


class _AsWritable:
    """What numpy takes for writable memory; it holds the array that the memory belongs to."""

    def __init__(self, array: np.ndarray) -> None:
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}
        self._array = array
