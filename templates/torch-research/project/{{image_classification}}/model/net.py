"""The network, its loss and its metrics."""

import torch
from torch import nn
from torch.nn import functional

import utils
from build_dataset import Dataset
from model.parameters import ModelParameters


class Net(nn.Module):
    """Stages of two convolutions, an average over the image, and one linear layer.

    Takes images as they are stored, uint8, and normalises them itself, on the device.

    Raises:
        InputError: there are more stages than the images can be halved.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, parameters: ModelParameters, dataset: Dataset) -> None:
        super().__init__()
        side = max(dataset.image_shape[:2])
        if 2 ** (parameters.stages - 1) > side:
            raise utils.InputError(
                f"model.stages: got {parameters.stages}, expected at most {side.bit_length()} for "
                f"images of {side} pixels: each stage halves them. Change it in a new experiment."
            )
        self.register_buffer("mean", torch.tensor(dataset.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(dataset.std).view(-1, 1, 1))
        channels = dataset.image_shape[2]
        stages: list[nn.Module] = []
        for stage in range(parameters.stages):
            width = parameters.width * 2**stage
            for inputs in (channels, width):
                convolution = nn.Conv2d(inputs, width, kernel_size=3, padding=1, bias=False)
                stages += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
            stages.append(nn.MaxPool2d(2, ceil_mode=True))  # An odd image keeps its edge.
            channels = width
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(parameters.dropout)
        self.classifier = nn.Linear(channels, len(dataset.classes))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return logits.

        Args:
            images: (batch, height, width, channels) uint8.

        Returns:
            (batch, classes)
        """
        # Stored channels last: this view is PyTorch's fast channels_last layout, without a copy.
        x = images.permute(0, 3, 1, 2)  # (B, C, H, W)
        x = (x - self.mean) / self.std
        x = self.stages(x)  # (B, width * 2**(stages - 1), H / 2**stages, W / 2**stages)
        x = x.mean(dim=(2, 3))  # (B, width * 2**(stages - 1))
        return self.classifier(self.dropout(x))


def loss(logits: torch.Tensor, labels: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
    """Mean cross-entropy, in nats.

    Args:
        logits: (batch, classes)
        labels: (batch,) int64
        label_smoothing: probability taken off the label and spread over all classes
            (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7).
    """
    return functional.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)


def accuracy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Share of examples whose largest logit is at the label."""
    return (logits.argmax(dim=1) == labels).float().mean()


# What evaluate.py reports beside the loss, computed over all examples of a split at once.
metrics = {"accuracy": accuracy}
