"""What a module costs for a row: the numbers that it keeps for the backward pass, and its multiplications."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from torch import Tensor, nn


def run_counted(module: nn.Module, x: Tensor) -> tuple[Any, int, int]:
    """Return the features of two rows, and for each row the numbers kept and the multiplications beside one per weight.

    They are counted by the layers, or where a module shows none by its operations.
    """
    return _by_layer(module, x) if list(module.children()) else _by_operation(module, x)


def _by_layer(module: nn.Module, x: Tensor) -> tuple[Any, int, int]:
    kept, work = [0], [0]

    def note(layer: nn.Module, _: Any, out: Any) -> None:
        outputs = out if isinstance(out, tuple) else tuple(out.values()) if isinstance(out, dict) else (out,)
        size = sum(value.numel() for value in outputs if isinstance(value, Tensor)) // 2
        kept[0] += size
        weights = [p for p in layer.parameters(recurse=False) if p.ndim > 1]
        if weights and not isinstance(layer, nn.Embedding):
            work[0] += sum(p.numel() for p in weights) * max(0, size // len(weights[0]) - 1)

    leaves = [layer for layer in module.modules() if not list(layer.children())]
    handles = [layer.register_forward_hook(note) for layer in leaves]
    try:
        features = module(x)
    finally:
        for handle in handles:
            handle.remove()
    return features, kept[0], work[0]


def _by_operation(module: nn.Module, x: Tensor) -> tuple[Any, int, int]:
    counter = importlib.import_module("torch.utils.flop_counter").FlopCounterMode(display=False)  # which is heavy
    own = {value.data_ptr() for value in [*module.parameters(), *module.buffers(), x]}
    kept: dict[int, int] = {}

    def note(value: Tensor) -> Tensor:
        if value.data_ptr() not in own:
            kept[value.data_ptr()] = value.numel()
        return value

    with torch.autograd.graph.saved_tensors_hooks(note, lambda value: value), counter:
        features = module(x)
    size = max(sum(kept.values()), features.numel() if isinstance(features, Tensor) else 0)
    n_weights = sum(p.numel() for p in module.parameters() if p.ndim > 1)
    return features, size // 2, max(0, counter.get_total_flops() // 4 - n_weights)
