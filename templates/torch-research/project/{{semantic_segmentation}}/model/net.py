"""The network, its loss and its predictions."""

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from build_dataset import Dataset
    from model.parameters import ModelParameters

IGNORED = 255  # The value of a mask where the class is not known: no loss, no metric.


class Net(nn.Module):
    """A U-Net (Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597), which keeps the size.

    Stages of two convolutions halve the image and double the channels. Then others double the
    image again, each beside the output of the first kind that has its size. Takes images as they
    are stored, uint8, and normalises them on the device.

    Args:
        parameters: the sizes of the layers.
        dataset: the shape and the normalisation of the images, and the classes.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, parameters: "ModelParameters", dataset: "Dataset") -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(dataset.mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(dataset.std).view(-1, 1, 1))
        widths = [parameters.width * 2**stage for stage in range(parameters.stages + 1)]
        channels = [dataset.image_shape[2], *widths]
        self.down, self.up, self.merge = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for stage in range(parameters.stages):
            width = widths[stage]
            self.down.append(two_convolutions(channels[stage], width))
            self.up.append(nn.ConvTranspose2d(2 * width, width, kernel_size=2, stride=2))
            self.merge.append(two_convolutions(2 * width, width))
        self.bottom = two_convolutions(channels[-2], widths[-1])
        self.dropout = nn.Dropout(parameters.dropout)
        self.classifier = nn.Conv2d(parameters.width, len(dataset.classes), kernel_size=1)

    def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return logits.

        Args:
            inputs: "images" (B, height, width, channels) uint8.

        Returns:
            (B, classes, height, width)
        """
        # Images are stored with the channels last, so this view has PyTorch's fast channels_last
        # layout without a copy.
        x = inputs["images"].permute(0, 3, 1, 2)  # (B, C, H, W)
        height, width = x.shape[2:]
        x = (x - self.mean) / self.std
        # Up to a size that can be halved in each stage: with 0, which is the mean.
        divisor = 2 ** len(self.down)
        x = functional.pad(x, (0, -width % divisor, 0, -height % divisor))
        skipped = []
        for stage in self.down:
            x = stage(x)  # (B, width * 2**stage, H / 2**stage, W / 2**stage)
            skipped.append(x)
            x = functional.max_pool2d(x, 2)
        x = self.dropout(self.bottom(x))
        for up, merge in zip(reversed(self.up), reversed(self.merge), strict=True):
            x = merge(torch.cat([skipped.pop(), up(x)], dim=1))
        return self.classifier(x)[:, :, :height, :width]


def two_convolutions(channels: int, width: int) -> nn.Sequential:
    """Return two convolutions of 3 x 3 to `width` channels, each with its norm and a ReLU."""
    layers: list[nn.Module] = []
    for inputs in (channels, width):
        convolution = nn.Conv2d(inputs, width, kernel_size=3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers)


def losses(
    logits: torch.Tensor,
    targets: dict[str, torch.Tensor],
    dataset: "Dataset",
    parameters: "ModelParameters | None" = None,
) -> torch.Tensor:
    """Return the mean cross-entropy over the known pixels of each example, in nats.

    In training, `balance` weighs a pixel by its class: see class_weights.

    Args:
        logits: (B, classes, height, width)
        targets: "masks" (B, height, width) uint8, class numbers, and 255 where it is not known.
        dataset: what is learned.
        parameters: in training. None in evaluation: all pixels weigh the same.

    Returns:
        (B,), 0 for an example without a known pixel
    """
    weights = None
    if parameters and parameters.balance:
        weights = torch.tensor(class_weights(dataset, parameters.balance), device=logits.device)
    masks = targets["masks"].long()
    of_pixels = functional.cross_entropy(
        logits.float(), masks, weights, ignore_index=IGNORED, reduction="none"
    )
    known = (masks != IGNORED).sum(dim=(1, 2))
    return of_pixels.sum(dim=(1, 2)) / known.clamp(min=1)


def class_weights(dataset: "Dataset", balance: float) -> list[float]:
    """Return the weight of each class: a power of its share of the training pixels.

    A share**-balance, such that the mean over the training pixels is 1. With a balance of 1, all
    classes count the same, however rare; 0.5 lies between that and 0, where all pixels do.

    Returns:
        for each class, 0 for one that no training pixel has
    """
    shares = dataset.shares["train"]
    weights = [share**-balance if share else 0.0 for share in shares]
    mean = sum(share * weight for share, weight in zip(shares, weights, strict=True))
    return [weight / mean for weight in weights]


def predict(logits: torch.Tensor, dataset: "Dataset") -> dict[str, torch.Tensor]:
    """Return the predictions for each example.

    The most probable class of each pixel, "masks" (B, height, width) uint8, and the mean of its
    probability over the image, "confidence" (B,) float32.
    """
    del dataset  # Its classes are those of the logits.
    probabilities, masks = logits.float().softmax(dim=1).max(dim=1)
    return {"masks": masks.to(torch.uint8), "confidence": probabilities.mean(dim=(1, 2))}
