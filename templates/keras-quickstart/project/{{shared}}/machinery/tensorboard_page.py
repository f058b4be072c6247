"""What a run shows on TensorBoard's page beside its curves: pictures, test metrics, parameters."""

import io
import struct
from typing import Any

from machinery.files import write_atomically
from machinery.publishing import PublishedRun

FILE = "events.out.tfevents.1"  # Beside that of the training, which ends in 0.


class TensorBoardPage:
    """The folder tensorboard/ of each run, as a tracker.

    Args:
        project: of no use here.
    """

    def __init__(self, project: str) -> None:
        self.place = "tensorboard"

    def send(self, run: PublishedRun, first_row: int, rest: bool) -> None:
        """Write the file anew; the rows are in that of the training already."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.summary.writer.record_writer import RecordWriter

        step = int(run.rows[-1]["step"]) if run.rows else 0
        values = [
            Summary.Value(tag=name.replace("_", "/", 1), simple_value=value)
            for name, value in run.evaluations.items()
        ]
        values += [
            _picture(path.stem, path.read_bytes()) for path in run.files if path.suffix == ".png"
        ]
        lines = [f"| {name} | {value} |" for name, value in {**run.parameters, **run.facts}.items()]
        values.append(_text("parameters", "\n".join(["| name | value |", "| --- | --- |", *lines])))
        content = io.BytesIO()
        writer = RecordWriter(content)
        writer.write(Event(file_version="brain.Event:2").SerializeToString())
        for value in values:
            event = Event(wall_time=run.started / 1000, step=step, summary=Summary(value=[value]))
            writer.write(event.SerializeToString())
        folder = run.folder / "tensorboard"
        folder.mkdir(exist_ok=True)
        write_atomically(folder / FILE, content.getvalue())


def _picture(name: str, content: bytes) -> Any:
    """Return a picture in PNG as a value for TensorBoard."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    width, height = struct.unpack(">II", content[16:24])  # https://www.w3.org/TR/png/#11IHDR
    picture = Summary.Image(encoded_image_string=content, width=width, height=height, colorspace=3)
    return Summary.Value(tag=name, image=picture)


def _text(name: str, text: str) -> Any:
    """Return a text in Markdown as a value for TensorBoard."""
    from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    plugin = SummaryMetadata.PluginData(plugin_name="text")
    shape = TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])
    tensor = TensorProto(dtype=DT_STRING, string_val=[text.encode()], tensor_shape=shape)
    metadata = SummaryMetadata(plugin_data=plugin)
    return Summary.Value(tag=name, tensor=tensor, metadata=metadata)
