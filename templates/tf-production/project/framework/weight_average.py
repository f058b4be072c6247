"""A moving average of the weights, which is evaluated and kept in place of the weights."""

import contextlib
from collections.abc import Generator

import keras
import tensorflow as tf

FIRST = tf.VariableAggregation.ONLY_FIRST_REPLICA


class WeightAverage:
    """The exponential moving average of the trainable weights of a network.

    Its decay warms up, so that a short run does not remember its first weights: at step n, counted
    from 0, it is min(decay, n / (n + 9)), and the average begins as the weights after step 0. This
    is the warm-up of tf.train.ExponentialMovingAverage with num_updates=n - 1
    (https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage). The statistics
    of batch norm are those of the network: they are averages already.

    Args:
        model: the network, with its weights made.
        decay: training.average, above 0 and below 1.
    """

    def __init__(self, model: keras.Model, decay: float) -> None:
        self.model, self.decay = model, decay
        self.variables = [
            # Several devices have the same new weights, so it does not matter whose are taken.
            tf.Variable(each, trainable=False, aggregation=FIRST)
            for each in model.trainable_variables
        ]

    def update(self, step: tf.Tensor) -> None:
        """Take in the weights after an optimizer step; `step` is its number, from 0."""
        step = tf.cast(step, tf.float32)
        share = 1 - tf.minimum(self.decay, step / (step + 9))  # of the new weights
        for average, weights in zip(self.variables, self.model.trainable_variables, strict=True):
            average.assign_add(share * (weights - average))


@contextlib.contextmanager
def averaged(average: WeightAverage | None) -> Generator[None]:
    """Give the network its average weights in the block; None: the block uses the trained ones."""
    if average is None:
        yield
        return
    variables = average.model.trainable_variables
    trained = [each.numpy() for each in variables]
    for variable, value in zip(variables, average.variables, strict=True):
        variable.assign(value)
    try:
        yield
    finally:
        for variable, value in zip(variables, trained, strict=True):
            variable.assign(value)
