"""Images by convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from skmtl.encoders._base import Encoder, check_sizes


class ConvEncoder(Encoder):
    """A convolutional network: each layer a convolution, ReLU and a maximum over 2 by 2 pixels.

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
