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
        # Numbers of which there is a mean, unlike infinity, and the others.
        self.buffers: list[torch.Tensor] = []
        self.others: list[torch.Tensor] = []
        for buffer in model.buffers():
            has_mean = buffer.is_floating_point() and bool(buffer.isfinite().all())
            (self.buffers if has_mean else self.others).append(buffer)
        # As they were before the step.
        self.before = [buffer.clone() for buffer in self.buffers]
        self.others_before = [buffer.clone() for buffer in self.others]

    def start(self, is_first: bool) -> None:
        """Begin a part: the first remembers the buffers, the others get them back."""
        for now, before in ((self.buffers, self.before), (self.others, self.others_before)):
            if now:
                torch._foreach_copy_(*((before, now) if is_first else (now, before)))

    def changes(self) -> list[torch.Tensor]:
        """Return what the part has changed."""
        return [*torch._foreach_sub(self.buffers, self.before)] if self.buffers else []

    def finish(self, sums: list[torch.Tensor], parts: int) -> None:
        """End a step, given the sums of the changes over its parts."""
        if self.buffers:
            means = torch._foreach_div(sums, parts)
            torch._foreach_copy_(self.buffers, torch._foreach_add(self.before, means))
