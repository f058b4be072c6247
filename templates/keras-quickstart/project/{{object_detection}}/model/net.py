"""The network, its loss and its predictions."""

import math
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    from build_dataset import Dataset
    from model.parameters import ModelParameters

Tensors = dict[str, Any]  # Tensors of the backend, by name.

FREQUENCY = 0.01  # of an object of a class in a cell, before anything is learned
CANDIDATES = 100  # boxes of an image, at most
OVERLAP = 0.5  # Of two boxes of a class that share more, the less certain one is left out.


def build_model(parameters: "ModelParameters", dataset: "Dataset", seed: int) -> keras.Model:
    """Return the network: stages of two convolutions, and a grid whose cells each predict a box.

    The cell in which the centre of an object lies predicts its class, the centre and the size, as
    in "Objects as Points" (Zhou et al. 2019, https://arxiv.org/abs/1904.07850).

    Args:
        parameters: the sizes of the layers.
        dataset: the shape and the normalisation of the images, and the classes.
        seed: of the dropout.

    Returns:
        A network that takes {"images": (B, height, width, channels)}, uint8 as they are stored, and
        returns {"boxes": (B, rows, columns, classes + 4)}: of each cell of the grid, which has
        2**stages pixels a side, the logits of the classes; the centre of the box to the right of
        and below that of the cell, and the logarithms of width and height, all in cells.
        An output has the name of its target.
    """
    layers = keras.layers
    images = keras.Input(dataset.image_shape, dtype="uint8", name="images")
    # Normalised in float32, as bfloat16 keeps only three digits.
    variance = np.square(dataset.std)
    x = layers.Normalization(mean=dataset.mean, variance=variance, dtype="float32")(images)
    width = parameters.width
    for stage in range(parameters.stages):
        width = parameters.width * 2**stage
        x = convolution(convolution(x, width), width)
        x = layers.MaxPooling2D(2, padding="same")(x)  # An image of odd size keeps its edge.
    # The cells look further: an object may be larger than what the stages see.
    x = convolution(convolution(x, width), width)
    x = layers.SpatialDropout2D(parameters.dropout, seed=seed)(x)
    frequency = keras.initializers.Constant(math.log(FREQUENCY / (1 - FREQUENCY)))
    classes = layers.Conv2D(
        len(dataset.classes), 1, bias_initializer=frequency, dtype="float32", name="classes"
    )(x)
    places = layers.Conv2D(4, 1, dtype="float32", name="places")(x)
    boxes = layers.Concatenate(dtype="float32", name="boxes")([classes, places])
    return keras.Model({"images": images}, {"boxes": boxes})


def convolution(x: Any, width: int) -> Any:
    """Return a convolution of 3 x 3 with what follows it."""
    x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
    return keras.layers.ReLU()(x)


class BoxLoss(keras.losses.Loss):
    """The loss of an example by object: of the classes, and of the places.

    Of the classes: the cross-entropy of each class in each cell, in nats. Of the places: how far
    the four numbers are from those of the box, in cells. The sum of both is divided by the number
    of boxes, or by 1 where there is none.

    Args:
        image_shape: height, width and channels.
        box_weight: weight of the places.
        options: those of every loss in Keras, such as `reduction`.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], box_weight: float, **options: Any
    ) -> None:
        super().__init__(**options)
        self.image_shape, self.box_weight = image_shape, box_weight

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each example, (B,); calling the object applies the reduction.

        Args:
            y_true: (B, M, 5): class, left, top, right, bottom in pixels; -1: no box.
            y_pred: (B, rows, columns, classes + 4)
        """
        ops = keras.ops
        _, rows, columns, width = y_pred.shape
        stride, count = cell_size(self.image_shape, rows, columns), width - 4
        boxes = ops.cast(y_true, "float32")
        classes, places = y_pred[..., :-4], y_pred[..., -4:]
        is_box = ops.cast(boxes[..., 0] >= 0, "float32")  # (B, M)
        numbers = ops.maximum(ops.cast(boxes[..., 0], "int32"), 0)
        corners = boxes[..., 1:] / stride
        centres = (corners[..., :2] + corners[..., 2:]) / 2  # to the right and down, (B, M, 2)
        sizes = ops.maximum(corners[..., 2:] - corners[..., :2], 1e-3)
        column = ops.clip(ops.cast(centres[..., 0], "int32"), 0, columns - 1)
        row = ops.clip(ops.cast(centres[..., 1], "int32"), 0, rows - 1)
        cell = row * columns + column  # (B, M)

        # Cross-entropy is softplus(logit), less the logit where the answer is yes.
        of_classes = ops.sum(ops.softplus(classes), axis=(1, 2, 3))
        place = cell * count + numbers
        logits = ops.take_along_axis(
            ops.reshape(classes, (-1, rows * columns * count)), place, axis=1
        )
        of_classes = of_classes - ops.sum(logits * is_box * is_first(place), axis=1)

        cells = ops.cast(ops.stack([column, row], axis=2), "float32")
        expected = ops.concatenate([centres - cells - 0.5, ops.log(sizes)], axis=2)  # (B, M, 4)
        found = take_cells(places, cell)
        of_places = ops.sum(ops.sum(ops.abs(found - expected), axis=2) * is_box, axis=1)
        number = ops.maximum(ops.sum(is_box, axis=1), 1.0)
        return (of_classes + self.box_weight * of_places) / number


def take_cells(places: Any, cell: Any) -> Any:
    """Return what some cells say of places.

    Args:
        places: (B, rows, columns, 4)
        cell: (B, M) int, numbers of cells.

    Returns:
        (B, M, 4)
    """
    _, rows, columns, _ = places.shape
    flat = keras.ops.reshape(places, (-1, rows * columns, 4))
    return keras.ops.take_along_axis(flat, keras.ops.repeat(cell[..., None], 4, axis=2), axis=1)


def is_first(places: Any) -> Any:
    """Return 1 where a place is the first of its kind in an example, else 0: (B, M) float32.

    Two boxes of a class in one cell are one answer.
    """
    same = places[:, :, None] == places[:, None, :]  # (B, M, M)
    return keras.ops.cast(keras.ops.logical_not(any_before(same)), "float32")


def any_before(pairs: Any) -> Any:
    """Return whether a box is paired with one before it, (B, M), given pairs (B, M, M) bool."""
    before = np.tril(np.ones(pairs.shape[1:], np.float32), -1)
    return keras.ops.sum(keras.ops.cast(pairs, "float32") * before, axis=2) > 0


def cell_size(image_shape: tuple[int, int, int], rows: int, columns: int) -> int:
    """Return the pixels of a side of a cell, a power of 2, given the size of the grid."""
    return 2 ** math.ceil(math.log2(max(image_shape[:2]) / max(rows, columns)))


def loss(
    dataset: "Dataset", parameters: "ModelParameters | None" = None, **options: Any
) -> dict[str, keras.losses.Loss]:
    """Return the loss of each output as `compile` takes it: the mean over a batch.

    Args:
        dataset: what is learned.
        parameters: in training: `box_weight` weighs the places. None in evaluation: weight 1.
        options: those of every loss in Keras, such as `reduction`.
    """
    weight = parameters.box_weight if parameters else 1.0
    return {"boxes": BoxLoss(dataset.image_shape, weight, **options)}


def losses(
    outputs: Tensors,
    targets: Tensors,
    dataset: "Dataset",
    parameters: "ModelParameters | None" = None,
) -> Any:
    """Return the loss of each example, (B,).

    Args:
        outputs: of the network, "boxes" (B, rows, columns, classes + 4).
        targets: "boxes" (B, M, 5) float32: class, left, top, right, bottom in pixels; -1: no box.
        dataset: what is learned.
        parameters: in training. None in evaluation: weight 1 of the places.
    """
    of_boxes = loss(dataset, parameters, reduction=None)["boxes"]
    return of_boxes(targets["boxes"], outputs["boxes"])


def predict(outputs: Tensors, dataset: "Dataset") -> Tensors:
    """Return the predicted boxes of each example.

    A box has the score 0 if one of the same class with a higher score covers it: matrix operations
    as in YOLACT's Fast NMS (Bolya et al. 2019, https://arxiv.org/abs/1904.02689, section 4.3).

    Returns:
        "boxes" (B, K, 4) float32: left, top, right, bottom in pixels of the stored image;
        "scores" (B, K) float32, probabilities; "classes" (B, K) int32
    """
    ops = keras.ops
    output = ops.cast(outputs["boxes"], "float32")
    _, rows, columns, width = output.shape
    count, stride = width - 4, cell_size(dataset.image_shape, rows, columns)
    logits = ops.reshape(output[..., :-4], (-1, rows * columns * count))
    scores, place = ops.top_k(ops.sigmoid(logits), min(CANDIDATES, rows * columns * count))
    place = ops.cast(place, "int32")
    cell, numbers = place // count, place % count
    found = take_cells(output[..., -4:], cell)
    cells = ops.cast(ops.stack([cell % columns, cell // columns], axis=2), "float32")
    centres = cells + 0.5 + found[..., :2]
    sizes = ops.exp(ops.clip(found[..., 2:], -10, 10))
    boxes = ops.concatenate([centres - sizes / 2, centres + sizes / 2], axis=2) * stride
    height, length, _ = dataset.image_shape
    limits = np.array([length, height, length, height], np.float32)
    boxes = ops.minimum(ops.maximum(boxes, 0.0), limits)
    same = numbers[:, :, None] == numbers[:, None, :]
    covered = any_before(ops.logical_and(overlaps(boxes) > OVERLAP, same))
    scores = ops.where(covered, ops.zeros_like(scores), scores)
    return {"boxes": boxes, "scores": scores, "classes": numbers}


def overlaps(boxes: Any) -> Any:
    """Return the intersection over union of the boxes of each example: (B, K, K)."""
    ops = keras.ops
    a, b = boxes[:, :, None], boxes[:, None, :]
    corners = ops.minimum(a[..., 2:], b[..., 2:]) - ops.maximum(a[..., :2], b[..., :2])
    intersection = ops.prod(ops.maximum(corners, 0), axis=3)
    areas = ops.prod(boxes[..., 2:] - boxes[..., :2], axis=2)
    union = areas[:, :, None] + areas[:, None, :] - intersection
    return intersection / ops.maximum(union, 1e-9)
