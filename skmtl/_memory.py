"""Tensors that share the memory of numpy arrays, and constants on another device."""

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
    """Return a tensor that shares the memory of an array, or a copy if torch cannot read the array in place.

    Do not write to the tensor. Read-only arrays, such as memory-mapped files, are shared, too. torch would warn about
    them, because it has no read-only tensors; so they are passed to it as writable.
    """
    if array.flags.c_contiguous and array.flags.writeable:
        return torch.from_numpy(array)
    # torch supports neither negative strides nor strides that are no multiple of the element size.
    if any(stride < 0 or stride % array.itemsize for stride in array.strides):
        array = np.ascontiguousarray(array)
    return torch.from_numpy(array if array.flags.writeable else np.asarray(_AsWritable(array)))


class _AsWritable:
    """Exposes the memory of an array to numpy as writable, and keeps the array alive."""

    def __init__(self, array: np.ndarray) -> None:
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}
        self._array = array
