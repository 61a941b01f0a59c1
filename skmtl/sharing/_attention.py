"""Attention sharing: every task asks the shared trunk its own question."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral

from skmtl.sharing._attention_module import AttentionModule
from skmtl.sharing._base import Sharing, SharingModule, TrunkShape
from skmtl.sharing._place_attention import PlaceAttention, PlacesShape


class AttentionSharing(Sharing):
    r"""A learned query per task attends over feature tokens made from the shared trunk.

    The trunk's last layer is followed by a dense layer that gives `n_tokens` **tokens** of the trunk's width: learned
    views of one row, the same for all tasks. Task t has a learned query :math:`q_t`; with keys :math:`k_e` and values
    :math:`v_e` projected from token e, each of `n_heads` attention heads computes

    .. math:: f_t(x) = \sum_e \mathrm{softmax}_e\big(q_t \cdot k_e(x) / \sqrt{d}\big) \, v_e(x)

    and these are joined by an output projection. Rows of a table have no sequence to attend over; tokens made by
    the trunk give the tasks something to choose between, and because keys depend on the row, a task may choose
    differently for each row.

    Behind an encoder that has features of places, such as `TokenEncoder` and `ConvEncoder`, the tasks attend to these
    instead, :math:`e` being the tokens of a text or the pixels or cells of an image: each head has a query of its own
    as wide as their features, which are values as they are and, divided by their root mean square, keys [3]_; padding
    has weight 0, and what a task finds joins the features of the row in front of the trunk. A
    task over places, such as `TokenLabels`, has a **gate** instead of a query: it reads
    :math:`2 \sigma(W_t f_p + R_t r + b_t) \odot f_p` of the features :math:`f_p` of a place and r of the row [2]_.

    The penalty that `sharing_lambda` scales is :math:`\sum_{i,j} \|q_i - q_j\|^2`: at 0 the tasks attend
    independently; for large values all attend to the same tokens and differ only in their task heads, as in hard
    sharing.

    Parameters
    ----------
    n_heads : int, default=4
        Attention heads. The width of the trunk must be a multiple of it, save where the tasks attend to places.
    n_tokens : int, default=8
        Tokens made from each row, where the tasks do not attend to places.

    Notes
    -----
    As in [1]_, with one query per task instead of one per position, and no feed-forward block, residual or
    normalisation after the attention: the task heads read its output directly.

    References
    ----------
    .. [1] A. Vaswani et al., "Attention Is All You Need", NeurIPS 2017.
    .. [2] S. Liu, E. Johns and A. J. Davison, "End-to-End Multi-Task Learning with Attention", CVPR 2019.
    .. [3] A. Henry et al., "Query-Key Normalization for Transformers", Findings of EMNLP 2020.

    Examples
    --------
    >>> from skmtl import MultiTaskRegressor
    >>> from skmtl.sharing import AttentionSharing
    >>> model = MultiTaskRegressor(sharing=AttentionSharing(n_heads=2))
    >>> model.get_params()["sharing__n_tokens"]
    8
    """

    name = "attention"

    def __init__(self, n_heads: int = 4, n_tokens: int = 8) -> None:
        self.n_heads = n_heads
        self.n_tokens = n_tokens

    def build(self, shape: TrunkShape) -> SharingModule:
        """Return the trunk, its tokens and the tasks' attention over them."""
        self._check()
        width = (shape.n_features, *shape.hidden_layer_sizes)[-1]
        if width % self.n_heads:
            raise ValueError(
                f"The width of the trunk must be a multiple of n_heads. Found width {width} and n_heads="
                f"{self.n_heads}. Change the last hidden layer, or sharing=AttentionSharing(n_heads=...)."
            )
        return AttentionModule(shape, width, self.n_heads, self.n_tokens)

    def build_over_places(self, shape: TrunkShape, places: Mapping[str, PlacesShape], attended: str) -> PlaceAttention:
        """Return the attention over places that an encoder has features of.

        Parameters
        ----------
        shape : TrunkShape
            Of the tasks and features of the row.
        places : dict of PlacesShape
            By site.
        attended : str
            The site that tasks of the row attend to.

        Returns
        -------
        PlaceAttention
            With random initial weights.
        """
        self._check()
        return PlaceAttention(shape, self.n_heads, places, attended)

    def _check(self) -> None:
        for name, value in (("n_heads", self.n_heads), ("n_tokens", self.n_tokens)):
            if not isinstance(value, Integral):
                raise TypeError(f"{name} must be an integer. Found {value!r}.")
            if value < 1:
                raise ValueError(f"{name} must be at least 1. Found {value!r}.")
