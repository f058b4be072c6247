"""A moving average of the weights, which is evaluated and kept in place of the weights."""

from typing import Any

import keras
from keras import ops


def averaging(optimizer: Any, decay: float) -> type[keras.Optimizer]:
    """Return an optimizer that also keeps the exponential moving average of the weights.

    Its decay warms up, so that a short run does not remember its first weights: at step n, counted
    from 0, it is min(decay, n / (n + 9)), and the average begins as the weights after step 0. This
    is the warm-up of tf.train.ExponentialMovingAverage with num_updates=n - 1
    (https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage). The statistics
    of batch norm are those of the network: they are averages already.

    Keras's own use_ema has no warm-up, counts the parts of a batch as steps, and gives the network
    its average at the end of each `fit`, so that the rest of an epoch could not be continued.

    Args:
        optimizer: its type, such as keras.optimizers.AdamW.
        decay: training.average, below 1; 0: return the type as it is.
    """
    if not decay:
        return optimizer

    class Averaging(optimizer):
        """Has `averages`, one for each variable that it was built with."""

        def build(self, variables: list[keras.Variable]) -> None:
            """Make the variables of the optimizer and the averages."""
            super().build(variables)
            self.averages = [
                self.add_variable_from_reference(each, name="average") for each in variables
            ]

        def apply(self, grads: Any, trainable_variables: Any = None) -> None:
            """Change the weights, and take the new ones into the averages."""
            super().apply(grads, trainable_variables)
            parts = self.gradient_accumulation_steps or 1
            step = ops.cast(self.iterations - 1, "float32")
            share = 1 - ops.minimum(decay, step / (step + 9))  # of the new weights
            # `iterations` counts whole steps. Within one, no weight has changed.
            within_batch = self._iterations % parts > 0
            share = ops.where(within_batch, 0.0, share)
            for average, weights in zip(self.averages, self._trainable_variables, strict=True):
                average.assign(average + share * (weights - average))

    Averaging.__name__ = f"Averaging{optimizer.__name__}"
    return Averaging


def pairs(model: keras.Model) -> list[tuple[keras.Variable, keras.Variable]]:
    """Return each trainable variable of a network with its average; none where none is kept."""
    # In float16 Keras wraps the optimizer in one that scales the loss.
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    averages = getattr(optimizer, "averages", [])
    return [*zip(model.trainable_variables, averages, strict=True)] if averages else []
