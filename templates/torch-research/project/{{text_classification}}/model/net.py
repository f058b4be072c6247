"""The network, its loss and its predictions."""

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from build_dataset import Dataset
    from model.parameters import ModelParameters


class Net(nn.Module):
    """Embeddings of the words, residual convolutions over them, mean and maximum, a linear layer.

    What stands where a text is padded changes nothing: it is zero before each convolution, and
    neither mean nor maximum takes it in. So a text has the same output in any batch. A pretrained
    network may take the place of all but the linear layer: see model/backbone.py.

    Args:
        parameters: the sizes of the layers, or the pretrained network.
        dataset: the vocabulary and the classes.
    """

    def __init__(self, parameters: "ModelParameters", dataset: "Dataset") -> None:
        super().__init__()
        width, features = parameters.width, 2 * parameters.width
        self.backbone = None
        if parameters.backbone:
            from model import backbone  # Only here, as it imports more than the framework.

            self.backbone = backbone.Backbone(parameters, dataset)
            features = self.backbone.features
        else:
            # Row 0 is not used: a text is padded there. Row 1 stands for every unknown word.
            self.embedding = nn.Embedding(len(dataset.vocabulary) + 2, width)
            nn.init.normal_(self.embedding.weight, std=0.1)
            self.blocks = nn.ModuleList(
                Block(width, parameters.dropout) for _ in range(parameters.blocks)
            )
        self.norm = nn.LayerNorm(features)
        self.dropout = nn.Dropout(parameters.dropout)
        self.classifier = nn.Linear(features, len(dataset.classes))
        # So it begins by saying that every class is as likely as another.
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return logits.

        Args:
            inputs: "tokens" (B, words) int32, 0 where a text is padded.

        Returns:
            (B, classes)
        """
        tokens = inputs["tokens"]
        if self.backbone:
            return self.classifier(self.dropout(self.norm(self.backbone(tokens))))
        there = (tokens > 0)[..., None]  # (B, words, 1)
        x = self.dropout(self.embedding(tokens))  # (B, words, width)
        for block in self.blocks:
            x = block(x, there)
        mean = (x * there).sum(dim=1) / there.sum(dim=1).clamp(min=1)
        most = x.masked_fill(~there, LOWEST).amax(dim=1)
        x = self.norm(torch.cat([mean, most], dim=1))  # (B, 2 * width)
        return self.classifier(self.dropout(x))


LOWEST = -1e4  # No feature comes near it, and bfloat16 and float16 hold it.


class Block(nn.Module):
    """Adds to its input what two convolutions over three words each make of it.

    Args:
        width: features of a word.
        dropout: probability of dropping one between the convolutions.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.first = nn.Conv1d(width, width, kernel_size=3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.second = nn.Conv1d(width, width, kernel_size=3, padding=1)

    def forward(self, x: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """Return (B, words, width).

        Args:
            x: (B, words, width)
            there: (B, words, 1) bool, false where a text is padded.
        """
        change = (self.norm(x) * there).mT  # (B, width, words)
        change = self.dropout(functional.relu(self.first(change)))
        change = self.second(change * there.mT)
        return x + change.mT


def losses(
    logits: torch.Tensor,
    targets: dict[str, torch.Tensor],
    dataset: "Dataset",
    parameters: "ModelParameters | None" = None,
) -> torch.Tensor:
    """Return the cross-entropy of each example, in nats.

    Args:
        logits: (B, classes)
        targets: "labels" (B,) int64.
        dataset: what is learned.
        parameters: in training: `label_smoothing` is the probability taken off the label and
            spread over all classes (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567,
            section 7). None in evaluation: no smoothing.

    Returns:
        (B,)
    """
    del dataset  # Its classes are those of the logits.
    return functional.cross_entropy(
        logits.float(),
        targets["labels"],
        label_smoothing=parameters.label_smoothing if parameters else 0.0,
        reduction="none",
    )


def predict(logits: torch.Tensor, dataset: "Dataset") -> dict[str, torch.Tensor]:
    """Return the predictions for each example: "probabilities" (B, classes) float32."""
    del dataset  # Its classes are those of the logits.
    return {"probabilities": logits.float().softmax(dim=1)}
