"""Many images: pictures of them, memory that has a bound, a build that is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from build_dataset import build_images, read_dataset
from machinery.class_overview import count_by_split, say_counts

BUILD = """
import sys
from pathlib import Path
from build_dataset import build_images
build_images(Path(sys.argv[1]), Path(sys.argv[2]), size=int(sys.argv[3]))
"""
LIMIT = """
import re, resource, threading
import matplotlib.figure
from build_dataset import build_images
threading.stack_size(2**18)  # However many cores there are.
used = 1024 * int(re.search(r"VmData:\\s+(\\d+)", open("/proc/self/status").read())[1])
resource.setrlimit(resource.RLIMIT_DATA, (used + 130 * 2**20, -1))
"""


def make_source(folder: Path, count: int, side: int) -> Path:
    """Make grey images of two classes; each has a few levels, so that files are small."""
    for number in range(count):
        path = folder / ("cat" if number % 2 else "dog") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.full((side, side), number % 256, np.uint8)
        pixels[: number // 256 + 1] = 255
        Image.fromarray(pixels).save(path, compress_level=1)
    return folder


def start(code: str, *words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.skipif(sys.platform != "linux", reason="the system has no such limit")
def test_memory_has_a_bound(tmp_path: Path) -> None:
    """210 MB of pixels are prepared with 130 MB."""
    source = make_source(tmp_path / "photos", count=200, side=1024)
    process = start(LIMIT + BUILD, tmp_path / "data", source, 1024)
    output, _ = process.communicate()
    assert process.returncode == 0, output
    assert "could not be drawn" not in output
    assert sum(read_dataset(tmp_path / "data").examples.values()) == 200


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL here")
def test_a_build_that_is_killed_can_be_started_again(tmp_path: Path) -> None:
    source = make_source(tmp_path / "photos", count=400, side=64)
    expected = build_images(tmp_path / "expected", source, size=64).fingerprint
    for seconds in (1.0, 1.5, 2.0):
        process = start(BUILD, tmp_path / "data", source, 64)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    if not (tmp_path / "data" / "dataset.json").exists():
        build_images(tmp_path / "data", source, size=64)
    assert read_dataset(tmp_path / "data").fingerprint == expected
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "expected", "data"}


def test_pictures_belong_to_the_arrays(tmp_path: Path) -> None:
    """A new dataset takes them away with the arrays; yours stay."""
    source, data = make_source(tmp_path / "photos", count=30, side=8), tmp_path / "data"
    dataset = build_images(data, source)
    pictures = [data / dataset.arrays_folder / name for name in ("samples.png", "counts.png")]
    for path in pictures:
        assert Image.open(path).format == "PNG"
    (data / "samples.png").write_text("mine", "utf-8")
    again = build_images(data, source, overwrite=True)
    assert (again.arrays_folder, again.fingerprint) == ("arrays-2", dataset.fingerprint)
    assert not pictures[0].parent.exists()
    assert (data / "samples.png").read_text("utf-8") == "mine"


def test_counts(capsys: pytest.CaptureFixture) -> None:
    """The largest classes have a line each."""
    labels = np.repeat(np.arange(25), np.arange(1, 26))
    splits = {"train": np.arange(0, len(labels), 2), "val": np.arange(1, len(labels), 2)}
    classes = [f"class {number}" for number in range(25)]
    counts = count_by_split(labels, splits, classes)
    say_counts(counts, classes, "images")
    head, first, *_, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["train", "val"]
    assert first.split() == ["class", "24", "13", "12"]
    assert last == "  and 5 more, of 1 to 5 images each"
