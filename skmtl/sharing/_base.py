"""The contract of a sharing strategy: options, and the module built from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sklearn.base import BaseEstimator
from torch import Tensor, nn

from skmtl.sharing._passes import AutogradPass, Pass


@dataclass(frozen=True)
class TrunkShape:
    """The sizes that a strategy builds its module from.

    Attributes
    ----------
    n_tasks : int
        Number of tasks.
    n_features : int
        Columns of X.
    hidden_layer_sizes : tuple of int
        Widths of the trunk's layers; may be empty.
    activation : str, default="relu"
        Name of the activation function.
    dropout : float, default=0.0
        Share of hidden units dropped in training, in [0, 1).
    n_members : int, default=1
        Networks of this shape trained side by side.
    """

    n_tasks: int
    n_features: int
    hidden_layer_sizes: tuple[int, ...]
    activation: str = "relu"
    dropout: float = 0.0
    n_members: int = 1


class StackedModule(nn.Module):
    """A module whose parameters all begin with the axes `stack_shape`: (member,) or (member, task).

    The training buffer lays such a module's parameters out as one block (\\*stack_shape, parameter).

    Attributes
    ----------
    stack_shape : tuple of int
        These axes.
    lr : float or None, default=None
        Step size of its own; None for that of its member.
    """

    stack_shape: tuple[int, ...]
    lr: float | None = None


class SharingModule(nn.Module, ABC):
    """Compute the features that the heads read, for all tasks at once.

    A subclass defines `forward` with ordinary differentiable torch operations; training then goes through autograd.
    Parameters begin with the member axis.

    Attributes
    ----------
    per_task : bool
        Whether the features have a task axis.
    n_features_out : int
        Width of the features.
    uses_global_generator : bool, default=True
        Whether training may draw from torch's global generator, for dropout other than that of a `DenseStack`. Where it
        does not, several networks can be trained in parallel threads.
    needs_autograd : bool, default=True
        Whether a training step goes through autograd. Where nothing in a step does, torch is spared its bookkeeping.
    n_buffered : int, default=0
        Numbers that a training step keeps for each row beside the outputs of hidden layers and heads: searches bound
        the memory of a stack by it.
    n_operations : int, default=0
        Multiplications of a row beside one per parameter: what a convolution does at all places but one.
    max_rows : int or None, default=None
        Rows of one forward pass at most, for the memory they take; None for no bound.
    """

    per_task: bool
    n_features_out: int
    uses_global_generator = True
    needs_autograd = True
    n_buffered = 0
    n_operations = 0
    max_rows: int | None = None

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Return the features.

        Parameters
        ----------
        x : Tensor of shape (batch, n_features) or (member, batch, n_features)
            Rows that all members read, or each member's own.

        Returns
        -------
        Tensor of shape (member, batch, n_features_out) or, if `per_task`, (member, task, batch, n_features_out)
        """

    def shared(self, x: Tensor) -> Tensor:
        """Return the shared representation, what `transform` gives: (member, batch, n) or (member, task, batch, n)."""
        features: Tensor = self(x)
        return features

    def tied(self) -> Sequence[StackedModule]:
        """Return the modules, stacked (member, task), that the penalty pulls together; none by default."""
        return ()

    @property
    def ties_heads(self) -> bool:
        """Whether the penalty covers the heads too."""
        return False

    def task_vectors(self) -> Tensor | None:
        """Return what describes each task, (member, task, k), or None where only the heads differ by task."""
        return None

    def bind(self, x: Tensor, shape: Sequence[int]) -> Pass:
        """Return a training step through the module: by autograd, unless a subclass differentiates by hand.

        Parameters
        ----------
        x : Tensor
            The buffer that will hold the batches, shaped as for `forward`.
        shape : sequence of int
            Of the features.
        """
        return AutogradPass(self, x, shape)


class Sharing(BaseEstimator, ABC):  # type: ignore[misc]
    """How tasks share parameters. Subclass it, store the options in `__init__`, and build a `SharingModule`.

    Attributes
    ----------
    name : str
        What estimators take for the strategy with its defaults. Only strategies of the package have one.
    """

    name: str

    @abstractmethod
    def build(self, shape: TrunkShape) -> SharingModule:
        """Return a new module with random initial weights drawn from torch's global generator."""


def submodule(name: str) -> Any:
    """Return a property that reads a submodule: `nn.Module.__getattr__` takes as long as a small matrix product."""
    return property(lambda module: module._modules[name])
