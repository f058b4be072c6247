"""Parts of a network that begin with pretrained weights, and learn at rates of their own.

Such a part is a layer with two attributes: `load_pretrained()` puts the weights into it, and
`own_rate` is the highest learning rate of its weights, in place of training.learning_rate.
"""

from typing import Any

import keras


def parts(model: keras.Model) -> list[Any]:
    """Return the layers of a network that are pretrained."""
    return [layer for layer in model.layers if hasattr(layer, "load_pretrained")]


def load(model: keras.Model) -> None:
    """Put pretrained weights into a new network.

    Raises:
        InputError: they cannot be read.
    """
    for part in parts(model):
        part.load_pretrained()


def at_own_rates(optimizer: Any, model: keras.Model, learning_rate: float) -> type[keras.Optimizer]:
    """Return an optimizer that trains each pretrained part at its own rate.

    A step of AdamW is in proportion to the learning rate, its weight decay included. So where a
    part has a tenth of the rate, it keeps a tenth of the step. (An `update_step` with another rate
    would not do: Keras calls it on TensorFlow and JAX, but not on PyTorch.)

    Args:
        optimizer: its type, such as keras.optimizers.AdamW.
        model: the network.
        learning_rate: training.learning_rate, which the other weights have.
    """
    own = [
        (variable, part.own_rate / learning_rate)
        for part in parts(model)
        for variable in part.trainable_variables
    ]
    if not own:
        return optimizer

    class AtOwnRates(optimizer):
        def apply(self, grads: Any, trainable_variables: Any = None) -> None:
            """Take a step, and keep of the changes of these weights their share."""
            before = [keras.ops.copy(variable) for variable, _ in own]
            super().apply(grads, trainable_variables)
            for (variable, share), start in zip(own, before, strict=True):
                variable.assign(start + share * (variable - start))

    AtOwnRates.__name__ = optimizer.__name__  # A run may go on with it: parameters say the rates.
    return AtOwnRates
