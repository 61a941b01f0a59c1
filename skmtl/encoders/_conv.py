"""Images by convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from skmtl.encoders._base import Encoder, check_sizes


class ConvEncoder(Encoder):
    """A convolutional network: each layer a convolution, ReLU and a maximum over 2 by 2 pixels.

    Tasks over cells read the last layer. For tasks over pixels, all layers before their maxima are brought to the size
    of the image, side by side, and a convolution of one pixel with ReLU makes features of them. Attention sharing
    attends to pixels where tasks read them, else to cells, at a fraction of the cost.

    Parameters
    ----------
    channels : sequence of int, default=(16, 32)
        Channels of each layer.
    kernel_size : int, default=3
        Height and width of the kernels, odd.
    pool : {"flatten", "mean"}, default="flatten"
        Features of an image: all places of the last layer side by side, or their mean.
    freeze : bool, default=False
        Whether the weights stay as they were drawn.
    lr : float, default=None
        Step size of its own, > 0; None for the `lr` of the estimator.

    References
    ----------
    .. [1] Y. LeCun et al., "Gradient-Based Learning Applied to Document Recognition", Proceedings of the IEEE 86, 1998.

    Examples
    --------
    >>> from skmtl.encoders import ConvEncoder
    >>> module = ConvEncoder(channels=(4, 8)).build((28, 28))
    """

    name = "conv"
    attended = "cells"

    def __init__(
        self,
        channels: Sequence[int] = (16, 32),
        kernel_size: int = 3,
        pool: str = "flatten",
        freeze: bool = False,
        lr: float | None = None,
    ) -> None:
        self.channels = channels
        self.kernel_size = kernel_size
        self.pool = pool
        self.freeze = freeze
        self.lr = lr

    def build(self, shape: tuple[int, ...]) -> nn.Module:
        """Return the network for images (height, width) or (channels, height, width)."""
        if len(shape) not in (2, 3):
            raise ValueError(
                f"ConvEncoder reads X of shape (n_samples, height, width) or (n_samples, channels, height, width). "
                f"Found rows of shape {shape}."
            )
        if self.pool not in ("flatten", "mean"):
            raise ValueError(f"ConvEncoder: pool must be 'flatten' or 'mean'. Found {self.pool!r}.")
        (kernel_size,) = check_sizes(self.kernel_size, "ConvEncoder: kernel_size")
        if kernel_size % 2 != 1:
            raise ValueError(f"ConvEncoder: kernel_size must be odd. Found {self.kernel_size!r}.")
        before, height, width = shape if len(shape) == 3 else (1, *shape)
        if set(self.sites_) - {"row"}:
            return _Image(
                check_sizes(self.channels, "ConvEncoder: channels"), kernel_size, self.pool, before, self.sites_
            )
        layers: list[nn.Module] = [] if len(shape) == 3 else [nn.Unflatten(1, (1, height))]
        for channels in check_sizes(self.channels, "ConvEncoder: channels"):
            layers += [nn.Conv2d(before, channels, kernel_size, padding=kernel_size // 2), nn.ReLU()]
            if min(height, width) > 1:
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            before = channels
        if self.pool == "mean":
            layers.append(nn.AdaptiveAvgPool2d(1))
        return nn.Sequential(*layers, nn.Flatten(1))


class _Image(nn.Module):
    """The same layers, of which tasks over cells and pixels read, too."""

    def __init__(
        self, channels: tuple[int, ...], kernel_size: int, pool: str, before: int, sites: tuple[str, ...]
    ) -> None:
        super().__init__()
        self._pool, self._sites = pool, sites
        widths = (before, *channels)
        self.layers = nn.ModuleList(
            [nn.Conv2d(a, b, kernel_size, padding=kernel_size // 2) for a, b in pairwise(widths)]
        )
        if "pixels" in sites:
            self.pixels = nn.Conv2d(sum(channels), max(channels), 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        h = x.unsqueeze(1) if x.ndim == 3 else x
        size, levels = h.shape[-2:], []
        for layer in self.layers:
            h = layer(h).relu()
            levels.append(h)
            if min(h.shape[-2:]) > 1:
                h = functional.max_pool2d(h, 2)
        found = {"row": h.mean((2, 3)) if self._pool == "mean" else h.flatten(1)}
        if "cells" in self._sites:
            found["cells"] = h
        if "pixels" in self._sites:
            whole = [level if level.shape[-2:] == size else functional.interpolate(level, size) for level in levels]
            found["pixels"] = self.pixels(torch.cat(whole, 1)).relu()
        return found
