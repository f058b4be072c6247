"""Metrics: which epoch is the best, metrics.jsonl, TensorBoard."""

import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from tensorboard.compat.proto.event_pb2 import Event

from machinery import pictures
from machinery.errors import DivergedError, InputError
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


def test_the_best_of_rows() -> None:
    rows = [row(1, 1.0, math.nan), row(2, math.nan, 0.5), row(3, 2.0, 0.5), row(4, 1.0, 0.5)]
    accuracy = Objective("val_accuracy", True)
    assert accuracy.best([*rows, row(5, 1.0, 0.5), {"epoch": 6}]) == rows[3]
    assert accuracy.best([rows[0], row(2, 1.0, math.inf), {}]) is None
    assert Objective("val_loss", False).best(rows) == rows[0]


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
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1, "step": 1}\n{"epoch": 2')
    log = MetricsLog(tmp_path, 1000)  # The next row begins a line of its own.
    gap: Any = np.float32(0.5)
    log.append({"epoch": 2, "step": 2, "val_gap": gap})
    log.close()
    assert read_metrics(tmp_path)[1:] == [{"epoch": 2, "step": 2, "val_gap": 0.5}]


@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_row_with_a_value_that_is_no_number_is_refused(tmp_path: Path, value: float) -> None:
    log = MetricsLog(tmp_path, 0)
    with pytest.raises(DivergedError, match=r"metrics\.jsonl: val_loss became (nan|-inf)"):
        log.append({"epoch": 1, "step": 1, "val_loss": value})
    log.close()
    assert read_metrics(tmp_path) == []


@pytest.mark.parametrize("damage", ["", '{"epoch": 2', "\0\0", "[1]", '{"epoch": null}', '"a"'])
def test_a_damaged_line_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"epoch": 1, "step": 1}}\n{damage}\n{{"epoch": 3, "step": 3}}\n')
    content = path.read_bytes()
    for read in (read_metrics, lambda folder: MetricsLog(folder, len(content))):
        with pytest.raises(InputError, match=r"metrics\.jsonl:2: damaged.*copy.*--overwrite"):
            read(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]
    assert path.read_bytes() == content
    MetricsLog(tmp_path, 24).close()  # What is not the checkpoint's may be damaged.
    assert read_metrics(tmp_path) == [{"epoch": 1, "step": 1}]


@pytest.mark.parametrize(
    "row", ['{"epoch": 1}', '{"epoch": 1, "step": 1, "val_loss": 1%s}' % ("0" * 400), "[" * 5000]
)
def test_a_row_that_no_run_can_go_on_from_is_refused(tmp_path: Path, row: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(f"{row}\n")
    with pytest.raises(InputError, match=r"metrics\.jsonl:1: damaged"):
        MetricsLog(tmp_path, 10_000)
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_metrics_in_words() -> None:
    assert describe(row(1, 0.13371, 0.9889), ", ") == "val loss 0.1337, val accuracy 0.9889"


def test_pictures_take_names_for_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    name = "val_$5{_to_$10"  # Not even a formula.
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


def test_a_run_ends_well_where_matplotlib_cannot_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As with MPLBACKEND set to what is not there."""
    write_rows(tmp_path, epochs=2, others=0)
    for module in ("matplotlib", "matplotlib.figure", "matplotlib.ticker"):
        monkeypatch.setitem(sys.modules, module, None)
    draw_learning_curves(tmp_path, 1)
    assert "learning_curves.png could not be drawn: import of matplotlib" in caplog.messages[0]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The pictures that were drawn, as figures that are laid out and not written."""
    figures = []

    def draw(path: Path, plot: Callable[[Figure], None], width: float, height: float) -> None:
        figure = Figure(figsize=(width, height), layout="constrained")
        plot(figure)
        FigureCanvasAgg(figure).draw()
        figures.append(figure)

    monkeypatch.setattr(pictures, "draw", draw)
    return figures


def write_rows(folder: Path, epochs: int, others: int) -> None:
    """Write the metrics of some epochs, so many of them beside the loss; the last lacks one."""
    rows = [
        {**row(epoch, 1 / epoch, 0.5), **{f"val_m{i}": i * epoch for i in range(others - 1)}}
        for epoch in range(1, epochs + 1)
    ]
    del rows[0]["val_accuracy"]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))


def test_curves_are_covered_by_nothing(tmp_path: Path, drawn: list[Figure]) -> None:
    write_rows(tmp_path, epochs=2, others=5)
    draw_learning_curves(tmp_path, 1)
    (figure,) = drawn
    panels = [axes.get_window_extent() for axes in figure.axes]
    legends = [legend.get_window_extent() for a in figure.axes if (legend := a.get_legend())]
    assert len(panels) == len(legends) == 6
    for i, box in enumerate([*panels, *legends]):
        assert box.count_overlaps([*panels, *legends][i + 1 :]) == 0
        assert figure.bbox.contains(box.x0, box.y0)


def test_ticks_are_whole_epochs(tmp_path: Path, drawn: list[Figure]) -> None:
    write_rows(tmp_path, epochs=2, others=1)
    draw_learning_curves(tmp_path, 1)
    for axes in drawn[0].axes:
        assert all(tick == int(tick) for tick in axes.get_xticks())


def test_many_metrics_fit_on_a_page(tmp_path: Path, drawn: list[Figure]) -> None:
    write_rows(tmp_path, epochs=3, others=50)
    draw_learning_curves(tmp_path, 1)
    (figure,) = drawn
    assert len(figure.axes) == 12
    assert max(figure.get_size_inches()) <= 20
    assert "39 more metrics" in figure.get_suptitle()


def test_a_metric_that_an_epoch_lacks_is_drawn(tmp_path: Path, drawn: list[Figure]) -> None:
    write_rows(tmp_path, epochs=3, others=1)
    draw_learning_curves(tmp_path, 3)
    line = drawn[0].axes[1].lines[0]
    assert line.get_label() == "val accuracy"
    assert np.array_equal(line.get_xdata(), [2, 3])
