"""A moving average of the weights, which is evaluated and kept in place of the weights."""

import copy

import torch


class WeightAverage:
    """The exponential moving average of the weights of a network, as a network of its own.

    Its decay warms up, so that a short run does not remember its first weights: at step n, counted
    from 0, it is min(decay, n / (n + 9)), and the average begins as the weights after step 0. This
    is the warm-up of tf.train.ExponentialMovingAverage with num_updates=n - 1
    (https://www.tensorflow.org/api_docs/python/tf/train/ExponentialMovingAverage). Buffers, such
    as the statistics of batch norm, are copied: they are averages already.

    torch.optim.swa_utils.AveragedModel makes Python wait for the GPU at each update.

    Args:
        model: the network, before it is compiled.
        decay: training.average, above 0 and below 1.
    """

    def __init__(self, model: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._weights: list[torch.Tensor] = [*model.parameters()]
        self._averages: list[torch.Tensor] = [*self.model.parameters()]
        self._buffers = [*zip(self.model.buffers(), model.buffers(), strict=True)]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after an optimizer step; `step` is its number, from 0."""
        share = 1 - min(self.decay, step / (step + 9))  # of the new weights
        torch._foreach_lerp_(self._averages, self._weights, share)
        for mine, theirs in self._buffers:
            mine.copy_(theirs)
