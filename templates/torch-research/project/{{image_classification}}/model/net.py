"""The network, its loss and its predictions."""

import functools
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from build_dataset import Dataset
    from model.parameters import ModelParameters


class Net(nn.Module):
    """Stages of two convolutions, an average over the image, and one linear layer.

    Takes images as they are stored, uint8, and normalises them on the device. A pretrained network
    may take the place of the stages: see model/backbone.py.

    Args:
        parameters: the sizes of the layers, or the pretrained network.
        dataset: the shape and the normalisation of the images, and the classes.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, parameters: "ModelParameters", dataset: "Dataset") -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(dataset.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(dataset.std).view(-1, 1, 1))
        channels = dataset.image_shape[2]
        self.backbone = None
        if parameters.backbone:
            from model import backbone  # Only here, as it imports more than the framework.

            self.backbone = backbone.make(parameters, dataset.image_shape)
        stages: list[nn.Module] = []
        for stage in range(0 if self.backbone else parameters.stages):
            width = parameters.width * 2**stage
            for inputs in (channels, width):
                convolution = nn.Conv2d(inputs, width, kernel_size=3, padding=1, bias=False)
                stages += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
            stages.append(nn.MaxPool2d(2, ceil_mode=True))  # An image of odd size keeps its edge.
            channels = width
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(parameters.dropout)
        features = self.backbone.features if self.backbone else channels
        self.classifier = nn.Linear(features, len(dataset.classes))

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return logits.

        Args:
            inputs: "images" (B, height, width, channels) uint8.

        Returns:
            (B, classes)
        """
        if self.backbone:
            return self.classifier(self.dropout(self.backbone(inputs["images"])))
        # Images are stored with the channels last, so this view has PyTorch's fast channels_last
        # layout without a copy.
        x = inputs["images"].permute(0, 3, 1, 2)  # (B, C, H, W)
        x = (x - self.mean) / self.std
        x = self.stages(x)  # (B, width * 2**(stages - 1), H / 2**stages, W / 2**stages)
        x = x.mean(dim=(2, 3))  # (B, width * 2**(stages - 1))
        return self.classifier(self.dropout(x))


def losses(
    logits: torch.Tensor,
    targets: dict[str, torch.Tensor],
    dataset: "Dataset",
    parameters: "ModelParameters | None" = None,
) -> torch.Tensor:
    """Return the cross-entropy of each example, in nats; of labels, the mean over them.

    Args:
        logits: (B, classes)
        targets: "labels" (B,) int64, or for labels (B, classes) float32.
        dataset: what is learned.
        parameters: in training: `label_smoothing` is the probability taken off the label and
            spread over all classes (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567,
            section 7), or over the two answers of each label; with `balance`, examples of rare
            classes count for more. None in evaluation: neither.

    Returns:
        (B,)
    """
    labels, smoothing = targets["labels"], parameters.label_smoothing if parameters else 0.0
    if dataset.multilabel:
        each = functional.binary_cross_entropy_with_logits(
            logits.float(), labels * (1 - smoothing) + smoothing / 2, reduction="none"
        )
        return each.mean(dim=1)
    each = functional.cross_entropy(
        logits.float(), labels, label_smoothing=smoothing, reduction="none"
    )
    if parameters and parameters.balance:
        each = each * to_tensor(dataset.class_weights(parameters.balance), labels.device)[labels]
    return each


@functools.cache  # Copied to a GPU at every step, they would make Python wait for it.
def to_tensor(weights: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """Return the weights of the classes on a device, (classes,) float32."""
    return torch.tensor(weights, device=device)


def predict(logits: torch.Tensor, dataset: "Dataset") -> dict[str, torch.Tensor]:
    """Return the predictions for each example: "probabilities" (B, classes) float32.

    Those of classes add up to 1; those of labels are independent of each other.
    """
    logits = logits.float()
    return {"probabilities": logits.sigmoid() if dataset.multilabel else logits.softmax(dim=1)}
