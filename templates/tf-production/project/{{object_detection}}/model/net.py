"""The network, its loss and its predictions."""

import math
from typing import TYPE_CHECKING

import keras
import numpy as np
import tensorflow as tf

if TYPE_CHECKING:
    from build_dataset import Dataset
    from model.parameters import ModelParameters

FREQUENCY = 0.01  # of an object of a class in a cell, before anything is learned
CANDIDATES = 100  # boxes of an image, at most
OVERLAP = 0.5  # Of two boxes of a class that share more, the less certain one is left out.


class Net(keras.Model):
    """Stages of two convolutions, and a grid over the image whose cells each predict a box.

    The cell in which the centre of an object lies predicts its class, the centre and the size, as
    in "Objects as Points" (Zhou et al. 2019, https://arxiv.org/abs/1904.07850).

    Takes images as they are stored, uint8, and normalises them in the graph. Every layer has a name
    of its own, since a checkpoint knows the weights by these names.

    Args:
        parameters: the sizes of the layers.
        dataset: the normalisation of the images, and the classes.
    """

    def __init__(self, parameters: "ModelParameters", dataset: "Dataset") -> None:
        super().__init__(name="net")
        self.mean = np.array(dataset.mean, np.float32)
        self.std = np.array(dataset.std, np.float32)
        self.dropout, self.pools = parameters.dropout, parameters.stages
        self.convolutions, self.norms = [], []
        widths = [parameters.width * 2**stage for stage in range(parameters.stages)]
        names = [f"stage{stage}" for stage in range(parameters.stages)]
        # The cells look further: an object may be larger than what the stages see.
        for stage, width in zip([*names, "neck"], [*widths, widths[-1]], strict=True):
            for name in (f"{stage}_a", f"{stage}_b"):
                self.convolutions.append(
                    keras.layers.Conv2D(
                        filters=width,
                        kernel_size=3,
                        padding="same",
                        use_bias=False,
                        name=f"{name}_convolution",
                    )
                )
                self.norms.append(
                    keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")
                )
        frequency = keras.initializers.Constant(math.log(FREQUENCY / (1 - FREQUENCY)))
        # In float32, so that rounding does not decide between two classes, nor moves a box.
        self.classifier = keras.layers.Conv2D(
            len(dataset.classes),
            kernel_size=1,
            bias_initializer=frequency,
            dtype="float32",
            name="classifier",
        )
        self.places = keras.layers.Conv2D(4, kernel_size=1, dtype="float32", name="places")

    def call(
        self, inputs: dict[str, tf.Tensor], seed: tf.Tensor | None = None
    ) -> dict[str, tf.Tensor]:
        """Return what each cell of the grid predicts; a cell has 2**stages pixels a side.

        Args:
            inputs: "images" (B, height, width, channels) uint8.
            seed: (2,) int64, of dropout in training; None in evaluation.

        Returns:
            "classes" (B, rows, columns, classes) float32: logits;
            "places" (B, rows, columns, 4) float32: the centre of the box to the right of and below
            that of the cell, and the logarithms of width and height, all in cells.
        """
        training = seed is not None
        x = (tf.cast(inputs["images"], tf.float32) - self.mean) / self.std
        x = tf.cast(x, self.compute_dtype)  # (B, H, W, C)
        for number, (convolution, norm) in enumerate(
            zip(self.convolutions, self.norms, strict=True)
        ):
            x = tf.nn.relu(norm(convolution(x), training=training))
            # After the second of a stage. "SAME": an image of odd size keeps its edge.
            if number % 2 and number // 2 < self.pools:
                x = tf.nn.max_pool2d(x, ksize=2, strides=2, padding="SAME")
        if training:  # Whole channels.
            shape = (tf.shape(x)[0], 1, 1, x.shape[3])
            x = tf.nn.experimental.stateless_dropout(x, self.dropout, seed, noise_shape=shape)
        return {"classes": self.classifier(x), "places": self.places(x)}


def losses(
    outputs: dict[str, tf.Tensor],
    targets: dict[str, tf.Tensor],
    dataset: "Dataset",
    parameters: "ModelParameters | None" = None,
) -> tf.Tensor:
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
    classes, places = outputs["classes"], outputs["places"]
    _, rows, columns, count = classes.shape
    boxes = tf.cast(targets["boxes"], tf.float32)
    is_box = tf.cast(boxes[..., 0] >= 0, tf.float32)  # (B, M)
    numbers = tf.maximum(tf.cast(boxes[..., 0], tf.int32), 0)
    corners = boxes[..., 1:] / cell_size(dataset, rows, columns)
    centres = (corners[..., :2] + corners[..., 2:]) / 2  # to the right and down, (B, M, 2)
    sizes = tf.maximum(corners[..., 2:] - corners[..., :2], 1e-3)
    column = tf.clip_by_value(tf.cast(centres[..., 0], tf.int32), 0, columns - 1)
    row = tf.clip_by_value(tf.cast(centres[..., 1], tf.int32), 0, rows - 1)
    cell = row * columns + column  # (B, M)

    # Cross-entropy is softplus(logit), less the logit where the answer is yes.
    of_classes = tf.reduce_sum(tf.math.softplus(classes), axis=(1, 2, 3))
    place = cell * count + numbers
    flat = tf.reshape(classes, (-1, rows * columns * count))
    logits = tf.gather(flat, place, batch_dims=1)
    of_classes -= tf.reduce_sum(logits * is_box * is_first(place), axis=1)

    cells = tf.cast(tf.stack([column, row], axis=2), tf.float32)
    expected = tf.concat([centres - cells - 0.5, tf.math.log(sizes)], axis=2)  # (B, M, 4)
    found = tf.gather(tf.reshape(places, (-1, rows * columns, 4)), cell, batch_dims=1)
    of_places = tf.reduce_sum(tf.reduce_sum(tf.abs(found - expected), axis=2) * is_box, axis=1)
    weight = parameters.box_weight if parameters else 1.0
    return (of_classes + weight * of_places) / tf.maximum(tf.reduce_sum(is_box, axis=1), 1.0)


def is_first(places: tf.Tensor) -> tf.Tensor:
    """Return 1 where a place is the first of its kind in an example, else 0: (B, M) float32.

    Two boxes of a class in one cell are one answer.
    """
    same = places[:, :, None] == places[:, None, :]  # (B, M, M)
    return 1.0 - tf.cast(any_before(same), tf.float32)


def any_before(pairs: tf.Tensor) -> tf.Tensor:
    """Return whether a box is paired with one before it, (B, M), given pairs (B, M, M) bool."""
    before = tf.linalg.band_part(tf.cast(pairs, tf.float32), -1, 0)
    before = tf.linalg.set_diag(before, tf.zeros_like(before[..., 0]))
    return tf.reduce_sum(before, axis=2) > 0


def cell_size(dataset: "Dataset", rows: int, columns: int) -> int:
    """Return the pixels of a side of a cell, a power of 2, given the size of the grid."""
    return 2 ** math.ceil(math.log2(max(dataset.image_shape[:2]) / max(rows, columns)))


def predict(outputs: dict[str, tf.Tensor], dataset: "Dataset") -> dict[str, tf.Tensor]:
    """Return the predicted boxes of each example.

    A box has the score 0 if one of the same class with a higher score covers it: matrix operations
    as in YOLACT's Fast NMS (Bolya et al. 2019, https://arxiv.org/abs/1904.02689, section 4.3).

    Returns:
        "boxes" (B, K, 4) float32: left, top, right, bottom in pixels of the stored image;
        "scores" (B, K) float32, probabilities; "classes" (B, K) int32
    """
    classes, places = outputs["classes"], outputs["places"]
    _, rows, columns, count = classes.shape
    cells_of_image = rows * columns
    probabilities = tf.sigmoid(tf.reshape(classes, (-1, cells_of_image * count)))
    scores, place = tf.math.top_k(probabilities, min(CANDIDATES, cells_of_image * count))
    cell, numbers = place // count, place % count
    found = tf.gather(tf.reshape(places, (-1, cells_of_image, 4)), cell, batch_dims=1)
    cells = tf.cast(tf.stack([cell % columns, cell // columns], axis=2), tf.float32)
    centres = cells + 0.5 + found[..., :2]
    sizes = tf.exp(tf.clip_by_value(found[..., 2:], -10, 10))
    boxes = tf.concat([centres - sizes / 2, centres + sizes / 2], axis=2)
    boxes *= cell_size(dataset, rows, columns)
    height, width, _ = dataset.image_shape
    limits = np.array([width, height, width, height], np.float32)
    boxes = tf.minimum(tf.maximum(boxes, 0.0), limits)
    same = numbers[:, :, None] == numbers[:, None, :]
    covered = any_before((overlaps(boxes) > OVERLAP) & same)
    return {
        "boxes": boxes,
        "scores": tf.where(covered, tf.zeros_like(scores), scores),
        "classes": numbers,
    }


def overlaps(boxes: tf.Tensor) -> tf.Tensor:
    """Return the intersection over union of the boxes of each example: (B, K, K)."""
    a, b = boxes[:, :, None], boxes[:, None, :]
    corners = tf.minimum(a[..., 2:], b[..., 2:]) - tf.maximum(a[..., :2], b[..., :2])
    intersection = tf.reduce_prod(tf.maximum(corners, 0.0), axis=3)
    areas = tf.reduce_prod(boxes[..., 2:] - boxes[..., :2], axis=2)
    union = areas[:, :, None] + areas[:, None, :] - intersection
    return intersection / tf.maximum(union, 1e-9)
