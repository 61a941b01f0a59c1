"""The contract of an encoder: a spec that builds the torch module that turns what a row holds into features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator
from torch import nn

IS_TOKEN = "is_token"
"""What a module of texts says beside its tokens: which are no padding."""

WHOLE = "iu"
"""Kinds of numpy types that hold whole numbers."""


class Encoder(BaseEstimator, ABC):  # type: ignore[misc]
    """How rows of any shape become features. Subclass it, store the options in `__init__`, and build a module.

    Attributes
    ----------
    name : str
        Of an encoder of the package.
    freeze : bool, default=False
        Whether the module stays as it was built.
    lr : float or None, default=None
        Step size of its own, > 0; None for the `lr` of the estimator.
    sites_ : tuple of str
        What the tasks read: of ``"row"``, ``"tokens"``, ``"pixels"`` and ``"cells"``. A fit sets it before `build`.
    attended : str or None, default=None
        The site that tasks of the row attend to in attention sharing; a fit adds it to `sites_`.
    """

    name: str
    freeze: bool = False
    lr: float | None = None
    sites_: tuple[str, ...] = ("row",)
    attended: str | None = None

    @abstractmethod
    def build(self, shape: tuple[int, ...]) -> nn.Module:
        """Return a new module; it may draw weights from torch's global generator.

        Parameters
        ----------
        shape : tuple of int
            Of one row of X: (28, 28) for an X of shape (n_samples, 28, 28).

        Returns
        -------
        nn.Module
            Takes a tensor (batch, \\*shape) in the network's precision, or int64 where `reads_ids`; returns features
            (batch, width), or a dict of features by site: ``"row"`` (batch, width), ``"tokens"`` (batch, length,
            width), ``"pixels"`` and ``"cells"`` (batch, width, height, width of the grid), and ``"is_token"``, bools
            (batch, length), where rows are of different lengths.
        """

    def learn(self, X: Any) -> Self:
        """Learn from the rows of a fit what `build` and `numbers` need, such as a vocabulary.

        Parameters
        ----------
        X : array-like of n_samples rows
            As the user gave them: X, or a field of it.

        Returns
        -------
        self : Encoder
            This encoder, with what it has learned.
        """
        return self

    def numbers(self, X: Any) -> np.ndarray:
        """Return what the module reads.

        Parameters
        ----------
        X : array-like of n_samples rows
            As the user gave them.

        Returns
        -------
        array of shape (n_samples, \\*shape)
            Numbers, such as codes for ids.
        """
        return np.asarray(X)

    def reads_ids(self, dtype: np.dtype) -> bool:
        """Return whether the module takes whole numbers.

        Parameters
        ----------
        dtype : dtype
            Type of what `numbers` returns.

        Returns
        -------
        bool
            Whether what it reads arrives as int64.
        """
        return False


def check_sizes(values: Any, what: str) -> tuple[int, ...]:
    """Return sizes as a tuple of ints of at least 1; one int means one size."""
    sizes = (values,) if isinstance(values, Integral) else tuple(values) if np.ndim(values) == 1 else ()
    if not sizes or not all(isinstance(size, Integral) and int(size) >= 1 for size in sizes):
        raise ValueError(f"{what} must hold integers of at least 1. Found {values!r}.")
    return tuple(int(size) for size in sizes)
