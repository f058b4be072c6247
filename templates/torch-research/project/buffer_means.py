"""The buffers of a network, such as the statistics of batch norm, where a batch comes in parts."""

import torch


class BufferMeans:
    """Changes each buffer once a step: by the mean of what the parts of the batch change.

    Each part begins with the buffers as they were before the step, so that it does not matter which
    process computes it. Changed part by part, batch norm would forget sooner the more parts there
    are. Whole numbers, such as the count of steps, end as one part leaves them.

        for part in range(parts):
            buffers.start(is_first=part == 0)
            ...                                     # forward and backward pass
            changes = buffers.changes()
        buffers.finish(sums of the changes, parts)

    Args:
        model: the network, with the buffers that it begins with.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.buffers: list[torch.Tensor] = [*model.buffers()]
        self.before: list[torch.Tensor] = []
        self.means = [  # Infinity has no mean; it stays.
            number
            for number, buffer in enumerate(self.buffers)
            if buffer.is_floating_point() and bool(buffer.isfinite().all())
        ]

    def start(self, is_first: bool) -> None:
        """Begin a part: the first remembers the buffers, the others get them back."""
        if is_first:
            self.before = [buffer.clone() for buffer in self.buffers]
        else:
            for buffer, before in zip(self.buffers, self.before, strict=True):
                buffer.copy_(before)

    def changes(self) -> list[torch.Tensor]:
        """Return what the part has changed."""
        return [self.buffers[number] - self.before[number] for number in self.means]

    def finish(self, sums: list[torch.Tensor], parts: int) -> None:
        """End a step, given the sums of the changes over its parts."""
        for number, change in zip(self.means, sums, strict=True):
            self.buffers[number].copy_(self.before[number] + change / parts)
