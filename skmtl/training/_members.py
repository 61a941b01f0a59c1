"""The members of a stack: what differs between its networks, and how all of them are drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skmtl._network import MultiTaskNetwork, NetworkPlan, stack_networks


@dataclass(frozen=True)
class Members:
    """What differs between the members of a stack.

    Attributes
    ----------
    seeds : tuple of int
        Seeds of the initial weights, the batches and dropout.
    sharing_lambda, lr, weight_decay, dropout : Tensor of shape (member,)
        Strength of the sharing penalty, step size, L2 penalty, share of units dropped.
    task_weights : Tensor of shape (member, task) or None
        Fixed weights.
    """

    seeds: tuple[int, ...]
    sharing_lambda: Tensor
    lr: Tensor
    weight_decay: Tensor
    dropout: Tensor
    task_weights: Tensor | None

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def distinct_seeds(self) -> list[int]:
        """The seeds without repetition."""
        return list(dict.fromkeys(self.seeds))

    @property
    def seed_owners(self) -> Tensor | None:
        """Place among the distinct seeds of each member's seed, (member,); None where there is but one."""
        place = {seed: k for k, seed in enumerate(self.distinct_seeds)}
        return None if len(place) == 1 else torch.tensor([place[seed] for seed in self.seeds])

    def take(self, index: Tensor) -> Members:
        """Return some members."""
        tensors = {name: value[index] for name, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, seeds=tuple(self.seeds[m] for m in index.tolist()), **tensors)


def build_network(plan: NetworkPlan, seeds: tuple[int, ...]) -> MultiTaskNetwork:
    """Return a new network with a member for each seed, in float32: what the net calls its module."""
    drawn = {}
    for seed in set(seeds):
        _seed(seed)
        drawn[seed] = plan.build()
    network = drawn[seeds[0]] if len(seeds) == 1 else stack_networks([drawn[seed] for seed in seeds], plan)
    _seed(seeds[0])
    return network


def _seed(seed: int) -> None:
    """Seed torch's global generators; `torch.manual_seed` prepares all kinds of devices, which takes a millisecond."""
    seed_all = torch.manual_seed if torch.accelerator.is_available() else torch.default_generator.manual_seed
    seed_all(seed)
