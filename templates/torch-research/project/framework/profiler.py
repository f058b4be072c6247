"""PyTorch's profiler, as profile_steps.py calls it (https://docs.pytorch.org/docs/stable/profiler)."""

from pathlib import Path

import torch
from torch.profiler import ProfilerActivity

from machinery.profiling import TRACE, Operation


class Profiler:
    """Measures what PyTorch does on the processor, and on a GPU of NVIDIA.

    Args:
        folder: for the trace.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.on_gpu = folder, torch.cuda.is_available()
        gpu = [ProfilerActivity.CUDA] if self.on_gpu else []
        self.profile = torch.profiler.profile(activities=[ProfilerActivity.CPU, *gpu])

    def start(self) -> None:
        """Begin to measure."""
        self.profile.start()

    def stop(self) -> list[Operation]:
        """Write the trace; return all operations: those of the GPU alone, if it computes."""
        self.profile.stop()
        self.profile.export_chrome_trace(str(self.folder / TRACE))
        averages = self.profile.key_averages()
        on_gpu = [
            Operation(each.key, each.count, each.self_device_time_total)
            for each in averages
            if each.device_type.name == "CUDA"
        ]
        return on_gpu or [
            Operation(each.key, each.count, each.self_cpu_time_total) for each in averages
        ]
