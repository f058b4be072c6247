"""The network, its loss and its metrics."""

import keras
import numpy as np

import utils
from build_dataset import Dataset
from model.parameters import ModelParameters


def build_model(parameters: ModelParameters, dataset: Dataset, seed: int) -> keras.Model:
    """Stages of two convolutions, an average over the image, and one linear layer.

    Args:
        parameters: sizes.
        dataset: shape and normalisation of the images, number of classes.
        seed: of the dropout.

    Returns:
        From images (batch, height, width, channels) as they are stored, uint8, to logits
        (batch, classes).

    Raises:
        InputError: there are more stages than the images can be halved.
    """
    side = max(dataset.image_shape[:2])
    if 2 ** (parameters.stages - 1) > side:
        raise utils.InputError(
            f"model.stages: got {parameters.stages}, expected at most {side.bit_length()} for "
            f"images of {side} pixels: each stage halves them. Change it in a new experiment."
        )
    layers = keras.layers
    images = keras.Input(dataset.image_shape, dtype="uint8")
    # Normalised and averaged in float32, of which bfloat16 would keep three digits.
    variance = np.square(dataset.std)
    x = layers.Normalization(mean=dataset.mean, variance=variance, dtype="float32")(images)
    for stage in range(parameters.stages):
        for _ in range(2):
            width = parameters.width * 2**stage
            x = layers.Conv2D(width, 3, padding="same", use_bias=False)(x)
            x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)
            x = layers.ReLU()(x)
        x = layers.MaxPooling2D(2, padding="same")(x)  # "same": an odd image keeps its edge.
    x = layers.GlobalAveragePooling2D(dtype="float32")(x)  # (batch, width * 2**(stages - 1))
    x = layers.Dropout(parameters.dropout, seed=seed, dtype="float32")(x)
    logits = layers.Dense(len(dataset.classes), dtype="float32")(x)
    return keras.Model(images, logits)


def loss(label_smoothing: float = 0.0) -> keras.losses.Loss:
    """Mean cross-entropy, in nats, of one-hot targets and logits, both (batch, classes).

    Args:
        label_smoothing: probability taken off the label and spread over all classes
            (Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7).
    """
    return keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=label_smoothing)


# What evaluate.py reports beside the loss: the mean over the examples of a split.
metrics = {"accuracy": keras.metrics.categorical_accuracy}
