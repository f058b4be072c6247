"""The network, its loss and its predictions."""

import math
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from build_dataset import Dataset
    from model.parameters import ModelParameters

FREQUENCY = 0.01  # of an object of a class in a cell, before anything is learned
CANDIDATES = 100  # boxes of an image, at most
OVERLAP = 0.5  # Of two boxes of a class that share more, the less certain one is left out.


class Net(nn.Module):
    """Stages of two convolutions, and a grid over the image whose cells each predict a box.

    The cell in which the centre of an object lies predicts its class, the centre and the size, as
    in "Objects as Points" (Zhou et al. 2019, https://arxiv.org/abs/1904.07850).

    Takes images as they are stored, uint8, and normalises them on the device.

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
        channels = dataset.image_shape[2]
        stages: list[nn.Module] = []
        for stage in range(parameters.stages):
            width = parameters.width * 2**stage
            stages += [*convolution(channels, width), *convolution(width, width)]
            stages.append(nn.MaxPool2d(2, ceil_mode=True))  # An image of odd size keeps its edge.
            channels = width
        self.stages = nn.Sequential(*stages)
        # The cells look further: an object may be larger than what the stages see.
        further = [*convolution(channels, channels), *convolution(channels, channels)]
        self.neck = nn.Sequential(*further)
        self.dropout = nn.Dropout2d(parameters.dropout)
        self.classifier = nn.Conv2d(channels, len(dataset.classes), kernel_size=1)
        self.places = nn.Conv2d(channels, 4, kernel_size=1)
        with torch.no_grad():
            assert self.classifier.bias is not None
            self.classifier.bias.fill_(math.log(FREQUENCY / (1 - FREQUENCY)))

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return what each cell of the grid predicts; a cell has 2**stages pixels a side.

        Args:
            inputs: "images" (B, height, width, channels) uint8.

        Returns:
            "classes" (B, rows, columns, classes): logits;
            "places" (B, rows, columns, 4): the centre of the box to the right of and below that of
            the cell, and the logarithms of width and height, all in cells.
        """
        # Images are stored with the channels last, so this view has PyTorch's fast channels_last
        # layout without a copy.
        x = inputs["images"].permute(0, 3, 1, 2)  # (B, C, H, W)
        x = (x - self.mean) / self.std
        x = self.dropout(self.neck(self.stages(x)))  # (B, width * 2**(stages - 1), rows, columns)
        classes, places = self.classifier(x), self.places(x)
        return {"classes": classes.permute(0, 2, 3, 1), "places": places.permute(0, 2, 3, 1)}


def convolution(inputs: int, outputs: int) -> list[nn.Module]:
    """Return a convolution of 3 x 3 with what follows it."""
    layer = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)
    return [layer, nn.BatchNorm2d(outputs), nn.ReLU()]


def losses(
    outputs: dict[str, torch.Tensor],
    targets: dict[str, torch.Tensor],
    dataset: "Dataset",
    parameters: "ModelParameters | None" = None,
) -> torch.Tensor:
    """Return the loss of each example, by object: of the classes, and of the places.

    Of the classes: the cross-entropy of each class in each cell, in nats. Of the places: how far
    the four numbers are from those of the box, in cells. The sum of both is divided by the number
    of boxes, or by 1 where there is none.

    Args:
        outputs: of the network.
        targets: "boxes" (B, M, 5) float32: class, left, top, right, bottom in pixels; -1: no box.
        dataset: what is learned.
        parameters: in training: `box_weight` weighs the places. None in evaluation: weight 1.

    Returns:
        (B,)
    """
    classes, places = outputs["classes"].float(), outputs["places"].float()
    examples, rows, columns, count = classes.shape
    stride = cell_size(dataset, rows, columns)
    numbers, corners = targets["boxes"][..., 0].long(), targets["boxes"][..., 1:] / stride
    is_box = (numbers >= 0).float()  # (B, M)
    numbers = numbers.clamp(min=0)
    centres = (corners[..., :2] + corners[..., 2:]) / 2  # to the right and down, (B, M, 2)
    sizes = (corners[..., 2:] - corners[..., :2]).clamp(min=1e-3)
    column = centres[..., 0].long().clamp(0, columns - 1)
    row = centres[..., 1].long().clamp(0, rows - 1)
    cell = row * columns + column  # (B, M)

    # Cross-entropy is softplus(logit), less the logit where the answer is yes.
    of_classes = functional.softplus(classes).sum(dim=(1, 2, 3))
    place = cell * count + numbers
    logits = classes.reshape(examples, -1).gather(1, place)
    of_classes = of_classes - (logits * is_box * is_first(place)).sum(dim=1)

    offsets = centres - torch.stack([column, row], dim=2) - 0.5
    expected = torch.cat([offsets, sizes.log()], dim=2)  # (B, M, 4)
    found = places.reshape(examples, -1, 4).gather(1, cell[..., None].expand(-1, -1, 4))
    of_places = ((found - expected).abs().sum(dim=2) * is_box).sum(dim=1)
    weight = parameters.box_weight if parameters else 1.0
    return (of_classes + weight * of_places) / is_box.sum(dim=1).clamp(min=1)


def is_first(places: torch.Tensor) -> torch.Tensor:
    """Return 1 where a place is the first of its kind in an example, else 0: (B, M) float32.

    Two boxes of a class in one cell are one answer.
    """
    same = places[:, :, None] == places[:, None, :]  # (B, M, M)
    return (~same.tril(diagonal=-1).any(dim=2)).float()


def cell_size(dataset: "Dataset", rows: int, columns: int) -> int:
    """Return the pixels of a side of a cell, a power of 2, given the size of the grid."""
    return 2 ** math.ceil(math.log2(max(dataset.image_shape[:2]) / max(rows, columns)))


def predict(outputs: dict[str, torch.Tensor], dataset: "Dataset") -> dict[str, torch.Tensor]:
    """Return the predicted boxes of each example, the most certain first.

    A box has the score 0 if one of the same class with a higher score covers it: matrix operations
    as in YOLACT's Fast NMS (Bolya et al. 2019, https://arxiv.org/abs/1904.02689, section 4.3).

    Returns:
        "boxes" (B, K, 4) float32: left, top, right, bottom in pixels of the stored image;
        "scores" (B, K) float32, probabilities; "classes" (B, K) int64
    """
    classes, places = outputs["classes"].float(), outputs["places"].float()
    examples, rows, columns, count = classes.shape
    height, width, _ = dataset.image_shape
    stride = cell_size(dataset, rows, columns)
    probabilities = classes.reshape(examples, -1).sigmoid()
    scores, place = probabilities.topk(min(CANDIDATES, probabilities.shape[1]))
    cell, numbers = place // count, place % count
    found = places.reshape(examples, -1, 4).gather(1, cell[..., None].expand(-1, -1, 4))
    cells = torch.stack([cell % columns, cell // columns], dim=2)
    centres = cells + 0.5 + found[..., :2]
    sizes = found[..., 2:].clamp(-10, 10).exp()
    boxes = torch.cat([centres - sizes / 2, centres + sizes / 2], dim=2) * stride
    limits = torch.tensor([width, height, width, height], device=boxes.device)
    boxes = boxes.clamp(min=torch.zeros_like(limits), max=limits)
    same = numbers[:, :, None] == numbers[:, None, :]
    covered = ((overlaps(boxes) > OVERLAP) & same).tril(diagonal=-1).any(dim=2)
    return {"boxes": boxes, "scores": scores * ~covered, "classes": numbers}


def overlaps(boxes: torch.Tensor) -> torch.Tensor:
    """Return the intersection over union of the boxes of each example: (B, K, K)."""
    a, b = boxes[:, :, None], boxes[:, None, :]
    corners = torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])
    intersection = corners.clamp(min=0).prod(dim=3)
    areas = (boxes[..., 2:] - boxes[..., :2]).prod(dim=2)
    union = areas[:, :, None] + areas[:, None, :] - intersection
    return intersection / union.clamp(min=1e-9)
