"""The network, its loss and its predictions."""

from typing import TYPE_CHECKING, Any

import keras
import numpy as np

if TYPE_CHECKING:
    from build_dataset import Dataset
    from model.parameters import ModelParameters

Tensors = dict[str, Any]  # Tensors of the backend, by name.

IGNORED = 255  # The value of a mask where the class is not known: no loss, no metric.


def build_model(parameters: "ModelParameters", dataset: "Dataset", seed: int) -> keras.Model:
    """Return a U-Net (Ronneberger et al. 2015, https://arxiv.org/abs/1505.04597), keeping the size.

    Stages of two convolutions halve the image and double the channels. Then others double the
    image again, each beside the output of the first kind that has its size.

    Args:
        parameters: the sizes of the layers.
        dataset: the shape and the normalisation of the images, and the classes.
        seed: of the dropout.

    Returns:
        A network that takes {"images": (B, height, width, channels)}, uint8 as they are stored, and
        returns the logits {"masks": (B, height, width, classes)}. An output has the name of its
        target.
    """
    layers = keras.layers
    height, width, _ = dataset.image_shape
    images = keras.Input(dataset.image_shape, dtype="uint8", name="images")
    # Normalised in float32, as bfloat16 keeps only three digits.
    variance = np.square(dataset.std)
    x = layers.Normalization(mean=dataset.mean, variance=variance, dtype="float32")(images)
    # Up to a size that can be halved in each stage: with 0, which is the mean.
    divisor = 2**parameters.stages
    below, right = -height % divisor, -width % divisor
    x = layers.ZeroPadding2D(((0, below), (0, right)))(x)
    skipped = []
    for stage in range(parameters.stages):
        x = two_convolutions(x, parameters.width * 2**stage)
        skipped.append(x)  # (B, H / 2**stage, W / 2**stage, width * 2**stage)
        x = layers.MaxPooling2D(2)(x)
    x = two_convolutions(x, parameters.width * 2**parameters.stages)
    x = layers.Dropout(parameters.dropout, seed=seed)(x)
    for stage in reversed(range(parameters.stages)):
        x = layers.Conv2DTranspose(parameters.width * 2**stage, 2, strides=2)(x)
        x = two_convolutions(layers.Concatenate()([skipped[stage], x]), x.shape[-1])
    x = layers.Conv2D(len(dataset.classes), 1, dtype="float32")(x)
    logits = layers.Cropping2D(((0, below), (0, right)), dtype="float32", name="masks")(x)
    return keras.Model({"images": images}, {"masks": logits})


def two_convolutions(x: Any, width: int) -> Any:
    """Return the output of two convolutions of 3 x 3 to `width` channels, with norms and ReLU."""
    for _ in range(2):
        x = keras.layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
        x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
        x = keras.layers.ReLU()(x)
    return x


class PixelCrossEntropy(keras.losses.Loss):
    """Mean cross-entropy over the known pixels of an example, in nats.

    Of masks (B, height, width), class numbers and 255 where the class is not known, and logits
    (B, height, width, classes).

    Args:
        weights: of each class, see class_weights.
        options: those of every loss in Keras, such as `reduction`.
    """

    def __init__(self, weights: list[float], **options: Any) -> None:
        super().__init__(**options)
        self.weights = weights

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each example, (B,), 0 for one without a known pixel."""
        ops = keras.ops
        masks = ops.cast(y_true, "int32")
        # A row of zeros stands for each pixel of which the class is not known.
        known = ops.cast(masks != IGNORED, "float32")
        shares = ops.one_hot(ops.where(masks == IGNORED, 0, masks), y_pred.shape[-1])
        log_probabilities = ops.log_softmax(ops.cast(y_pred, "float32"), axis=-1)
        weighted = shares * np.array(self.weights, np.float32) * log_probabilities
        of_pixels = -known * ops.sum(weighted, axis=-1)
        count = ops.maximum(ops.sum(known, axis=(1, 2)), 1.0)
        return ops.sum(of_pixels, axis=(1, 2)) / count


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


def loss(
    dataset: "Dataset", parameters: "ModelParameters | None" = None, **options: Any
) -> dict[str, keras.losses.Loss]:
    """Return the loss of each output as `compile` takes it: the mean over a batch.

    Args:
        dataset: what is learned.
        parameters: in training. None in evaluation: all pixels weigh the same.
        options: those of every loss in Keras, such as `reduction`.
    """
    weights = [1.0] * len(dataset.classes)
    if parameters and parameters.balance:
        weights = class_weights(dataset, parameters.balance)
    return {"masks": PixelCrossEntropy(weights, **options)}


def losses(
    outputs: Tensors,
    targets: Tensors,
    dataset: "Dataset",
    parameters: "ModelParameters | None" = None,
) -> Any:
    """Return the loss of each example, (B,).

    Args:
        outputs: of the network, "masks" (B, height, width, classes).
        targets: "masks" (B, height, width) uint8, class numbers, and 255 where it is not known.
        dataset: what is learned.
        parameters: in training. None in evaluation: all pixels weigh the same.
    """
    cross_entropy = loss(dataset, parameters, reduction=None)["masks"]
    return cross_entropy(targets["masks"], outputs["masks"])


def predict(outputs: Tensors, dataset: "Dataset") -> Tensors:
    """Return the predictions for each example.

    The most probable class of each pixel, "masks" (B, height, width) uint8, and the mean of its
    probability over the image, "confidence" (B,) float32.
    """
    del dataset  # Its classes are those of the logits.
    ops = keras.ops
    logits = ops.cast(outputs["masks"], "float32")
    probabilities = ops.max(ops.softmax(logits), axis=-1)
    masks = ops.cast(ops.argmax(logits, axis=-1), "uint8")
    return {"masks": masks, "confidence": ops.mean(probabilities, axis=(1, 2))}
