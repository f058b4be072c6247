"""The network, its loss and its predictions."""

import functools
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from build_dataset import Dataset
    from model.parameters import ModelParameters

LARGEST = 3.0  # Standard deviations to which a number is bent, however far out it lies.


class Net(nn.Module):
    """Residual layers over the numbers, what is missing of them, and embeddings of the categories.

    Takes numbers as they are stored and normalises them itself, on the device.

    Args:
        parameters: sizes.
        dataset: columns and their normalisation, what is predicted.
    """

    mean: torch.Tensor
    std: torch.Tensor
    starts: torch.Tensor

    def __init__(self, parameters: "ModelParameters", dataset: "Dataset") -> None:
        super().__init__()
        columns = len(dataset.number_columns)
        levels = [len(names) for names in dataset.category_columns.values()]
        if columns:
            self.register_buffer("mean", torch.tensor(dataset.mean))
            self.register_buffer("std", torch.tensor(dataset.std))
        if levels:
            # One table of embeddings for all columns. Its row 0 stays zero: nothing is known.
            starts = [sum(levels[:column]) for column in range(len(levels))]
            self.register_buffer("starts", torch.tensor(starts))
            rows = 1 + sum(levels)
            self.embedding = nn.Embedding(rows, parameters.embedding, padding_idx=0)
        features = 2 * columns + parameters.embedding * len(levels)
        self.first = nn.Linear(features, parameters.width)
        self.layers = nn.Sequential(
            *(Layer(parameters.width, parameters.dropout) for _ in range(parameters.layers))
        )
        self.norm = nn.LayerNorm(parameters.width)
        self.last = nn.Linear(parameters.width, len(dataset.classes) or 1)
        # So it begins by saying the mean, or that every class is as likely as another.
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return logits, or for regression the number in standard deviations from the mean.

        Args:
            inputs: "numbers" (B, columns) float32, NaN where missing; "categories" (B, columns)
                int64, 0 where not known. One of them may be absent, as in the table.

        Returns:
            (B, classes), or for regression (B, 1)
        """
        features = []
        if "numbers" in inputs:
            x = (inputs["numbers"] - self.mean) / self.std
            missing = x.isnan()
            # What is missing is taken for the mean. A number far out is bent back smoothly: one
            # outlier would otherwise drown the other columns.
            x = LARGEST * torch.tanh(x.masked_fill(missing, 0.0) / LARGEST)
            features += [x, missing.to(x.dtype)]
        if "categories" in inputs:
            categories = inputs["categories"]
            embedded = self.embedding((categories + self.starts) * (categories > 0))
            features.append(embedded.flatten(1))  # (B, columns * embedding)
        x = self.first(torch.cat(features, dim=1))  # (B, width)
        return self.last(functional.relu(self.norm(self.layers(x))))


class Layer(nn.Module):
    """Adds to its input what two linear layers make of it, (B, width) to (B, width)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.change = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.change(x)


def losses(
    outputs: torch.Tensor,
    targets: dict[str, torch.Tensor],
    dataset: "Dataset",
    parameters: "ModelParameters | None" = None,
) -> torch.Tensor:
    """Return the loss of each example.

    Regression: the squared error, in variances of the target. Classes: the cross-entropy, in nats;
    labels: the mean over them.

    Args:
        outputs: (B, classes), or for regression (B, 1)
        targets: "target": (B,) float32, (B,) int64, or for labels (B, classes) float32.
        dataset: what is learned.
        parameters: in training: with `balance`, examples of rare classes count for more.

    Returns:
        (B,)
    """
    outputs, target = outputs.float(), targets["target"]
    if dataset.kind == "regression":
        return (outputs[:, 0] - (target - dataset.target_mean) / dataset.target_std) ** 2
    if dataset.kind == "multilabel":
        each = functional.binary_cross_entropy_with_logits(outputs, target, reduction="none")
        return each.mean(dim=1)
    each = functional.cross_entropy(outputs, target, reduction="none")
    if parameters and parameters.balance:
        each = each * to_tensor(dataset.class_weights(parameters.balance), target.device)[target]
    return each


@functools.cache  # Copied to a GPU at every step, they would make Python wait for it.
def to_tensor(weights: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """Return the weights of the classes on a device, (classes,) float32."""
    return torch.tensor(weights, device=device)


def predict(outputs: torch.Tensor, dataset: "Dataset") -> dict[str, torch.Tensor]:
    """Return what the network says of each example.

    Returns:
        For regression "values" (B,) float32, in units of the target; else "probabilities"
        (B, classes) float32.
    """
    outputs = outputs.float()
    if dataset.kind == "regression":
        return {"values": outputs[:, 0] * dataset.target_std + dataset.target_mean}
    if dataset.kind == "multilabel":
        return {"probabilities": outputs.sigmoid()}
    return {"probabilities": outputs.softmax(dim=1)}
