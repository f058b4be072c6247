"""Parts of a network that begin with pretrained weights, and learn at rates of their own.

Such a part is a module among the network's children. It has `load_pretrained()`, which puts the
weights into it, and `own_rate`: the highest learning rate of its weights, in place of
training.learning_rate.
"""

from typing import Any

import torch


def parts(model: torch.nn.Module) -> list[Any]:
    """Return the modules of a network that are pretrained."""
    return [module for module in model.children() if hasattr(module, "own_rate")]


def load(model: torch.nn.Module) -> None:
    """Put pretrained weights into a new network.

    Raises:
        InputError: they cannot be read.
    """
    for part in parts(model):
        part.load_pretrained()


def parameter_groups(model: torch.nn.Module, learning_rate: float) -> list[dict[str, Any]]:
    """Return the weights that are trained, in groups that the optimizer takes.

    Each has an `initial_lr`, as PyTorch calls what schedules multiply: the share of the learning
    rate that its weights get. The first group has all of it.

    Args:
        model: the network.
        learning_rate: training.learning_rate.
    """
    shares = {
        weight: part.own_rate / learning_rate
        for part in parts(model)
        for weight in part.parameters()
    }
    groups: dict[float, list[torch.nn.Parameter]] = {1.0: []}
    for weight in model.parameters():
        if weight.requires_grad:
            groups.setdefault(shares.get(weight, 1.0), []).append(weight)
    return [
        {"params": weights, "lr": share, "initial_lr": share} for share, weights in groups.items()
    ]
