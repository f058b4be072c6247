"""Metrics: which epoch is the best, metrics.jsonl, TensorBoard."""

from pathlib import Path

import pytest
from tensorboard.compat.proto.event_pb2 import Event

from machinery.metrics import MetricsLog, Objective, describe, read_metrics
from machinery.pictures import draw, draw_learning_curves


def row(epoch: int, loss: float, accuracy: float) -> dict[str, float]:
    names = {"train_loss": loss, "val_loss": loss, "val_accuracy": accuracy, "learning_rate": 0.1}
    return {"epoch": epoch, "step": 10 * epoch, **names}


def test_the_best_epoch() -> None:
    accuracy, loss = Objective("val_accuracy", True), Objective("val_loss", False)
    assert accuracy.is_better(row(1, 1.0, 0.5), None)
    assert accuracy.is_better(row(2, 2.0, 0.6), row(1, 1.0, 0.5))
    assert not accuracy.is_better(row(2, 1.0, 0.5), row(1, 1.0, 0.5))  # The first of equals.
    assert accuracy.is_better(row(2, 0.9, 0.5), row(1, 1.0, 0.5))  # Of equals, the lower loss.
    assert loss.is_better(row(2, 0.9, 0.1), row(1, 1.0, 0.5))
    assert not loss.is_better(row(2, 1.1, 0.9), row(1, 1.0, 0.5))


def read_events(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """Read TensorBoard's file: each record has its length, a checksum, an event, a checksum."""
    (path,) = (folder / "tensorboard").iterdir()
    content, events = path.read_bytes(), []
    while content:
        end = 12 + int.from_bytes(content[:8], "little")
        event = Event.FromString(content[12:end])
        if values := {value.tag: value.simple_value for value in event.summary.value}:
            events.append((event.step, values))
        content = content[end + 4 :]
    return events


def test_rows_go_to_the_file_and_to_tensorboard(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path, 0)
    lengths = [log.append(row(epoch, 1.0, 0.5)) for epoch in (1, 2, 3)]
    log.close()
    assert read_metrics(tmp_path) == [row(epoch, 1.0, 0.5) for epoch in (1, 2, 3)]
    assert lengths[-1] == (tmp_path / "metrics.jsonl").stat().st_size

    log = MetricsLog(tmp_path, lengths[1])  # The checkpoint knows of two.
    log.append(row(3, 0.5, 0.75))
    log.close()
    assert read_metrics(tmp_path)[2] == row(3, 0.5, 0.75)
    events = read_events(tmp_path)
    assert [step for step, _ in events] == [10, 20, 30]
    tags = {"train/loss": 0.5, "val/loss": 0.5, "val/accuracy": 0.75}
    assert events[-1][1] == pytest.approx({**tags, "learning_rate": 0.1})


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    assert read_metrics(tmp_path) == []
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1}\n{"epoch": 2')
    assert read_metrics(tmp_path) == [{"epoch": 1}]
    with pytest.raises(ValueError, match="not JSON compliant"):
        MetricsLog(tmp_path, 0).append({"epoch": 1, "step": 1, "val_loss": float("nan")})


def test_metrics_in_words() -> None:
    assert describe(row(1, 0.13371, 0.9889), ", ") == "val loss 0.1337, val accuracy 0.9889"


def test_pictures_take_names_for_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    name = "val_$5_to_$10"
    log = MetricsLog(tmp_path, 0)
    for epoch in (1, 2):
        log.append({**row(epoch, 1.0, 0.5), name: 0.5})
    log.close()
    draw_learning_curves(tmp_path, 1)
    assert (tmp_path / "learning_curves.png").read_bytes()[1:4] == b"PNG"
    assert caplog.messages == []

    def plot(figure: object) -> None:
        raise ValueError("nothing to draw")

    draw(tmp_path / "x.png", plot, 1, 1)
    assert caplog.messages == [f"{tmp_path}/x.png could not be drawn: nothing to draw"]
