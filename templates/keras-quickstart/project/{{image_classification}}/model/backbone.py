"""A network of keras.applications, pretrained on ImageNet, in place of the stages of net.py.

https://keras.io/api/applications/ lists them.
"""

import functools
import sys
import warnings
from pathlib import Path
from typing import Any

import keras

from machinery.errors import InputError
from machinery.parameter_file import nearest
from model.parameters import ModelParameters

Shape = tuple[int, int, int]


def make(parameters: ModelParameters, image_shape: Shape) -> keras.Model:
    """Return the backbone with random weights, for which it needs neither a file nor a download.

    With model.backbone_learning_rate 0 it is frozen: nothing in it changes, batch norm uses its
    own statistics, and dropout is off.

    Args:
        parameters: name, weights and learning rate of the backbone.
        image_shape: height, width, channels.

    Returns:
        A network that takes images (B, height, width, channels) uint8 and returns features (B,
        rows, columns, K). It has what framework/pretrained.py asks for.

    Raises:
        InputError: there is no such network, or the images are too small for it.
    """
    try:
        network = build(parameters.backbone, image_shape)
    except ValueError as error:
        raise InputError(
            f"model.backbone: {parameters.backbone} takes no images of {image_shape[1]} x "
            f"{image_shape[0]} pixels: {error} Prepare larger ones: build_dataset.py --image-size."
        ) from None
    network.trainable = parameters.backbone_learning_rate > 0
    for layer in network.layers:
        if isinstance(layer, keras.layers.Dropout) and not network.trainable:
            layer.rate = 0.0  # Keras would call it in training, whatever the backbone is told.
    images = keras.Input(image_shape, dtype="uint8")
    x = keras.ops.cast(images, "float32")
    if image_shape[2] == 1:
        x = keras.ops.repeat(x, 3, axis=-1)  # Grey, as red, green and blue.
    # Each family has its own, in the module of its networks; some normalise in the network.
    x = sys.modules[type_of(parameters.backbone).__module__].preprocess_input(x)
    backbone: Any = keras.Model(images, network(x), name="backbone")
    backbone.own_rate = parameters.backbone_learning_rate
    backbone.load_pretrained = functools.partial(load, network, parameters, image_shape)
    return backbone


def type_of(name: str) -> Any:
    """Return the function of keras.applications that makes a network.

    Raises:
        InputError: there is none of this name.
    """
    # Of EfficientNet's first version, the pretrained networks have a layer more than others.
    found = [each for each in dir(keras.applications) if each[0].isupper()]
    names = [each for each in found if not each.startswith("EfficientNetB")]
    if name not in names:
        raise InputError(
            f"model.backbone: got {name!r}, expected a network of keras.applications"
            f"{nearest(name, names)}: {', '.join(names)}."
        )
    return getattr(keras.applications, name)


def build(name: str, image_shape: Shape, weights: str | None = None) -> keras.Model:
    """Return a network without its classifier, for colour images."""
    shape = (*image_shape[:2], 3)
    return type_of(name)(include_top=False, weights=weights, input_shape=shape)


def load(network: keras.Model, parameters: ModelParameters, image_shape: Shape) -> None:
    """Put pretrained weights into a network: those of a file, or those that Keras downloads.

    Raises:
        InputError: the file cannot be used, or there is nothing to download it from.
    """
    name, path = parameters.backbone, parameters.backbone_weights
    try:
        if path and not Path(path).is_file():
            raise FileNotFoundError("not found")
        with warnings.catch_warnings(action="ignore"):  # Of other sizes of images.
            trained = build(name, image_shape, path or "imagenet")
    except Exception as error:  # Keras raises just that where a download fails.
        said = " ".join(str(error).split())[:300].rstrip(".")
        if path:
            raise InputError(
                f"model.backbone_weights: {path}: {said}. Expected weights of {name} without its "
                "classifier, such as Keras's own file ..._notop.h5."
            ) from None
        raise InputError(
            f"model.backbone: the weights of {name} cannot be downloaded: {said}. Bring the file "
            "of this address here, and name it with --model.backbone_weights."
        ) from None
    network.set_weights(trained.get_weights())
