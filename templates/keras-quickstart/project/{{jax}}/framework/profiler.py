"""JAX's profiler, as profile_steps.py calls it (https://docs.jax.dev/en/latest/profiling.html).

TensorBoard's plugin for profiles (pip install xprof) shows what it writes below profile/plugins.
"""

from collections.abc import Iterator
from pathlib import Path

import jax
from jax.profiler import ProfileData

from machinery.profiling import TRACE, Event, Operation, add_up, write_trace


class Profiler:
    """Measures what JAX does on the processor and on a GPU.

    Args:
        folder: for the trace.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self) -> None:
        """Begin to measure."""
        options = jax.profiler.ProfileOptions()
        options.python_tracer_level = 0  # Otherwise each call of Python is an event.
        jax.profiler.start_trace(self.folder, profiler_options=options)

    def stop(self) -> list[Operation]:
        """Write the trace; return all operations."""
        jax.profiler.stop_trace()
        # The name of a profile's folder is its time.
        *_, newest = sorted(self.folder.glob("plugins/profile/*/*.xplane.pb"))
        events = [*read_events(newest)]
        write_trace(self.folder / TRACE, events)
        return add_up(filter(is_operation, events))


def read_events(path: Path) -> Iterator[Event]:
    """Yield the events that JAX's profiler wrote."""
    for plane in ProfileData.from_file(str(path)).planes:
        for line in plane.lines:
            for event in line.events:
                place = f"{plane.name} {line.name}"
                yield Event(place, event.name, event.start_ns / 1e3, event.duration_ns / 1e3)


def is_operation(event: Event) -> bool:
    """Return whether an event computes: others, of XLA's own code, wait for those."""
    return "GPU" in event.place or ("::" not in event.name and not event.name.startswith("$"))
