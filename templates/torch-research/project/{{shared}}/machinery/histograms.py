"""train.py --histograms: how weights and gradients are spread, epoch by epoch, for TensorBoard.

They are read from the arrays of each checkpoint. So every framework has them, a training step costs
nothing more, and no number of the training changes. Of the gradients it is the running mean that
the optimizer keeps, over about the last ten steps: AdamW's first moment, or the momentum of SGD.

    tensorboard --logdir experiments        # the run ends in tensorboard/histograms
"""

import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from machinery import checkpoints
from machinery.argument_parser import ArgumentParser
from machinery.files import remove

if TYPE_CHECKING:
    import numpy as np

FOLDER = "tensorboard/histograms"  # A run of its own for TensorBoard, which follows one file a run.
FILE = "events.out.tfevents."
# The running means of the gradients, as PyTorch and Keras name them.
MEANS = re.compile(r"optimizer\.(.+)\.(?:exp_avg|momentum_buffer)|(?:.*/)?(.+)_momentum")


class Histograms:
    """Writes a histogram of each array, once an epoch.

    Args:
        folder: of the experiment.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_first = False
        self.path: Path | None = None  # of this session; the first epoch opens it

    def write(self, row: Mapping[str, float]) -> None:
        """Write the histograms of an epoch, once it is saved."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.histogram.summary_v2 import histogram_pb
        from tensorboard.summary.writer.record_writer import RecordWriter

        newest = checkpoints.read_newest(self.folder)
        assert newest  # It was saved just now.
        arrays, step = newest[0], newest[1].progress.step
        self.is_first = row["epoch"] == 1  # What is there is of a run before this one.
        begins = self.path is None
        path = self.path = self.path or self._clear(step)
        values = [
            value
            for name, array in sorted(select(arrays))
            for value in histogram_pb(name, array).value
        ]
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=values))
        with open(path, "ab") as file:
            writer = RecordWriter(file)
            if begins:
                writer.write(Event(file_version="brain.Event:2").SerializeToString())
            writer.write(event.SerializeToString())

    def _clear(self, step: int) -> Path:
        """Delete what a run that is trained anew has written; return the file of this session."""
        folder = self.folder / FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"{FILE}*"):
            number = old.name.removeprefix(FILE)
            if number.isdecimal() and (self.is_first or int(number) >= step):
                remove(old)
        return folder / f"{FILE}{step:012}"


def add_option(parser: ArgumentParser) -> None:
    """Add --histograms to the options of train.py."""
    meaning = "weights and gradients, epoch by epoch, for TensorBoard"
    parser.add_argument("--histograms", action="store_true", help=meaning)


def select(arrays: "Mapping[str, np.ndarray]") -> "Iterator[tuple[str, np.ndarray]]":
    """Yield weights and running means of gradients by the names that TensorBoard shows."""
    for name, array in arrays.items():
        if array.dtype.kind != "f" or array.size < 2:
            continue
        if name.startswith(checkpoints.WEIGHTS):
            yield f"weights/{name.removeprefix(checkpoints.WEIGHTS)}", array
        elif found := MEANS.fullmatch(name):
            yield f"gradients/{found[1] or found[2]}", array
