"""TensorFlow's profiler, as profile_steps.py calls it (https://www.tensorflow.org/guide/profiler).

TensorBoard's plugin for profiles (pip install xprof) shows what it writes below profile/plugins.
"""

import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from machinery.profiling import TRACE, Event, Operation, add_up, write_trace

# What it holds is made when it is imported, so that no type checker finds it.
xplane: Any = importlib.import_module("tensorflow.tsl.profiler.protobuf.xplane_pb2")


class Profiler:
    """Measures what TensorFlow does on the processor and on a GPU.

    Args:
        folder: for the trace.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self) -> None:
        """Begin to measure."""
        tf.profiler.experimental.start(str(self.folder))

    def stop(self) -> list[Operation]:
        """Write the trace; return all operations."""
        tf.profiler.experimental.stop()
        # The name of a profile's folder is its time.
        *_, newest = sorted(self.folder.glob("plugins/profile/*/*.xplane.pb"))
        events = [*read_events(newest)]
        write_trace(self.folder / TRACE, events)
        return add_up(filter(is_operation, events))


def read_events(path: Path) -> Iterator[Event]:
    """Yield the events that TensorFlow's profiler wrote."""
    for plane in xplane.XSpace.FromString(path.read_bytes()).planes:
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                start = line.timestamp_ns / 1e3 + event.offset_ps / 1e6
                place = f"{plane.name} {line.name or line.id}"
                yield Event(place, name, start, event.duration_ps / 1e6)


def is_operation(event: Event) -> bool:
    """Return whether an event computes: others, of TensorFlow's own code, wait for those."""
    return "GPU" in event.place or re.fullmatch(r"[^:]+:\w+", event.name) is not None
