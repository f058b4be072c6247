"""Preparing many small images: processor time of each step, cores in use, peak memory.

The script makes JPEGs of random smooth colours in ten class folders and calls build_dataset.py of a
rendered project on them, in a process of its own, which is watched: a core in use is a second of
processor time per second. Where other programs keep the cores busy, it says little; then the mean
number of threads that run or are ready to, while the images are read, says whether all cores would
be used. "Private" is memory that the system cannot take away, without the pages of mapped files,
which it can. The process starts no others, so its memory is all there is. Linux.
"""

import argparse
import contextlib
import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from common import machine, render

# Times the steps, and prints them with the sum as JSON.
CODE = """
import json, resource, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import build_dataset
from machinery import arrays, image_files
if threads := int(sys.argv[4]):
    pool = image_files.ThreadPoolExecutor
    image_files.ThreadPoolExecutor = lambda: pool(threads)
used = lambda: sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
steps, moments = {}, {}
def timed(module, name):
    function = getattr(module, name)
    def call(*arguments, **named):
        began, moments[name] = used(), [time.monotonic()]
        found = function(*arguments, **named)
        steps[name] = used() - began
        moments[name].append(time.monotonic())
        return found
    setattr(module, name, call)
for name in ("find_in_folders", "digests", "split_images", "channel_statistics"):
    timed(build_dataset, name)
timed(arrays, "write_dataset")
wall, began = time.perf_counter(), used()
build_dataset.build_images(Path(sys.argv[2]), Path(sys.argv[3]))
steps["all"], steps["wall"] = used() - began, time.perf_counter() - wall
steps["decode"] = steps["all"] - sum(v for k, v in steps.items() if k not in ("all", "wall"))
steps["reading"] = moments["find_in_folders"][1], moments["digests"][0]
print(json.dumps(steps))
"""


def make_image(folder: Path, side: int, number: int) -> None:
    """Save one image."""
    generator = np.random.default_rng(number)
    small = generator.integers(0, 256, (8, 8, 3), np.uint8)
    path = folder / f"class{number % 10}" / f"{number}.jpg"
    Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC).save(path, quality=85)


def read_status(process: subprocess.Popen[str], name: str) -> float:
    """Return a line of /proc/PID/status, such as VmHWM, in MiB; 0 when the process has ended."""
    try:
        text = Path(f"/proc/{process.pid}/status").read_text()
        return int(text.partition(f"{name}:")[2].split()[0]) / 1024
    except (OSError, IndexError):
        return 0.0


def ready_threads(process: subprocess.Popen[str]) -> int:
    """Return how many threads of a process run or are ready to run."""
    count = 0
    for path in Path(f"/proc/{process.pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # It has ended since.
            count += path.read_text().rpartition(")")[2].split()[0] == "R"
    return count


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50_000, help="images [50000]")
    parser.add_argument("--side", type=int, default=64, help="of an image, in pixels [64]")
    parser.add_argument("--threads", type=int, default=0, help="that decode [as it comes]")
    arguments = parser.parse_args()
    print(machine("numpy", "pillow"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        project, source = render(folder / "project"), folder / "images"
        for number in range(10):
            (source / f"class{number}").mkdir(parents=True)
        with ProcessPoolExecutor() as pool:
            make = functools.partial(make_image, source, arguments.side)
            list(pool.map(make, range(arguments.count), chunksize=500))
        words = [project, folder / "data", source, arguments.threads]
        command = [sys.executable, "-c", CODE, *map(str, words)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        private = peak = 0.0
        ready = {}
        while process.poll() is None:
            ready[time.monotonic()] = ready_threads(process)
            private = max(private, read_status(process, "RssAnon"))
            peak = max(peak, read_status(process, "VmHWM"))
            time.sleep(0.05)
        assert process.stdout
        steps = json.loads(process.stdout.read().splitlines()[-1])
    wall, total, (began, ended) = (steps.pop(name) for name in ("wall", "all", "reading"))
    reading = [count for moment, count in ready.items() if began < moment < ended]
    print("\n| step | CPU seconds |\n| --- | ---: |")
    for step, seconds in steps.items():
        print(f"| {step} | {seconds:.1f} |")
    print(f"| all | {total:.1f} |\n")
    print(
        f"{arguments.count:,} images of {arguments.side} pixels: {wall:.1f} s, {total / wall:.2f} "
        f"cores in use, {statistics.mean(reading):.1f} threads ready while reading, peak memory "
        f"{peak:.0f} MiB, private {private:.0f} MiB."
    )


if __name__ == "__main__":
    main()
