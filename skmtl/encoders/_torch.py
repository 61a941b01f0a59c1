"""Any torch module as an encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from skmtl.encoders._called import CalledEncoder


class TorchEncoder(CalledEncoder):
    """A torch module of your own, from what a row of X holds to features.

    Parameters
    ----------
    module : type or callable
        An `nn.Module` class, or a function that returns a module; importable, so that fits can be pickled.
    params : dict, default=None
        What it is called with. A search reaches keywords of the module by their names, as ``encoder__width``.
    freeze : bool, default=False
        Whether the weights stay as they were built, as those of a pretrained module may.
    lr : float, default=None
        Step size of its own, > 0; None for the `lr` of the estimator.

    Notes
    -----
    The module takes (batch, \\*shape), with shape that of a row of X, and returns (batch, width). Whole numbers in X
    arrive as int64, other numbers in the network's precision. Modules may not keep statistics of batches, as BatchNorm
    does: use GroupNorm or LayerNorm.

    Examples
    --------
    >>> from torch import nn
    >>> from skmtl.encoders import TorchEncoder
    >>> encoder = TorchEncoder(nn.Linear, {"in_features": 3, "out_features": 8})
    """

    name = "torch"
    holds = "module"

    def __init__(
        self,
        module: Callable[..., nn.Module],
        params: Mapping[str, Any] | None = None,
        freeze: bool = False,
        lr: float | None = None,
    ) -> None:
        self.module = module
        self.params = params
        self.freeze = freeze
        self.lr = lr

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        """Return the module."""
        if isinstance(self.module, nn.Module) or not callable(self.module):
            raise TypeError(
                f"TorchEncoder: module must be an nn.Module class or a function that returns one, and not a module "
                f"itself. Found {type(self.module).__name__}."
            )
        name = self._importable()
        module = self._call()
        if not isinstance(module, nn.Module):
            raise TypeError(f"TorchEncoder: {name} must return an nn.Module. Found {type(module).__name__}.")
        return module
