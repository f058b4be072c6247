"""What kills, stops and damaged files do, here and in stock Lightning, Keras and Accelerate.

    python benchmarks/reliability.py
    python benchmarks/reliability.py --kills 5 --only trainyard keras

A small network learns the digits for twelve epochs. The peers do it as their documentation shows
(benchmarks/peers/), saving every ten steps; torch-research as it comes, saving when asked to each
0.001 minutes. Each case begins in a new folder and is compared with a run that nobody disturbed:

- killed: SIGKILL at a random moment, the same command again; are the last weights the same bits?
- stopped: SIGTERM at a random moment; its exit code; the same command again.
- cut: killed, then the newest checkpoint file is cut to half its length.
- flipped: killed, then one bit in the middle of that file is flipped.
- diverged: a learning rate of 1e30; its exit code, and are the weights that it leaves numbers?
- twice: the command is started again while it runs; exit code of the second.

Needs Linux or macOS, and Accelerate (`pip install accelerate`) for its column.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from common import machine, print_table, render

PEERS = Path(__file__).resolve().parent / "peers"
EPOCHS = 12
RUN = "run"
WILD = "1e30"  # a learning rate


class Candidate:
    """A way to train the digits: its command, its checkpoints, its last weights.

    Args:
        name: in the table.
        project: the folder of torch-research, or None for a peer.
    """

    def __init__(self, name: str, project: Path | None) -> None:
        self.name, self.project = name, project

    def command(self, folder: Path, wild: bool = False) -> list[str]:
        """Return what a person types to train in a folder, and to go on there."""
        if self.project is None:
            return [sys.executable, str(PEERS / f"with_{self.name}.py"), str(folder)]
        words = ["--experiment", str(folder / RUN), "--from", "experiments/baseline"]
        settings = {
            "model.width": "8",
            "training.epochs": str(EPOCHS),
            "training.checkpoint_minutes": "0.001",
            "training.precision": "float32",
        }
        words += [word for key, value in settings.items() for word in (f"--{key}", value)]
        if wild:
            words += ["--training.learning_rate", WILD]
        return [sys.executable, "train.py", *words]

    def start(self, folder: Path, wild: bool = False) -> subprocess.Popen[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        if wild:
            environment["LEARNING_RATE"] = WILD
        return subprocess.Popen(
            self.command(folder, wild),
            cwd=self.project or PEERS,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )

    def weights(self, folder: Path) -> list[np.ndarray] | None:
        """Return the last weights, or None if there are none."""
        if self.project is None:
            file = folder / "weights.npz"
            if not file.exists():
                return None
            with np.load(file) as arrays:
                return [arrays[name] for name in arrays.files]
        file = folder / RUN / "last.safetensors"
        if not file.exists():
            return None
        return [array for name, array in sorted(load_file(file).items())]

    def is_unfinished(self, folder: Path) -> bool:
        """Return whether the training has not come to its end."""
        if self.project is None:
            return not (folder / "weights.npz").exists()
        metrics = folder / RUN / "metrics.jsonl"
        return len(metrics.read_text().splitlines()) < EPOCHS

    def newest(self, folder: Path) -> Path:
        """Return the file of weights that the next start reads first."""
        if self.project is not None:
            return folder / RUN / "last.safetensors"
        if self.name == "lightning":
            return folder / "last.ckpt"
        if self.name == "accelerate":
            found = (folder / "checkpoints").glob("checkpoint_*/model.safetensors")
            return max(found, key=lambda path: int(path.parent.name[11:]))
        return max((folder / "backup").rglob("*"), key=lambda path: path.stat().st_size)


def wait_for(process: subprocess.Popen[str], epoch: int) -> None:
    """Read what a training prints until an epoch is over."""
    assert process.stdout
    for line in process.stdout:
        words = line.split()
        if words[:1] == ["epoch"] and int(words[1].partition("/")[0]) >= epoch:
            return
    raise SystemExit(f"{process.args} ended with {process.wait()} before epoch {epoch}.")


def disturb(candidate: Candidate, folder: Path, how: signal.Signals, chance: random.Random) -> int:
    """Start a training and send it a signal at a random moment; return its exit code.

    A training that was over before the signal is begun anew in the same folder.
    """
    while True:
        process = candidate.start(folder)
        wait_for(process, chance.randint(2, EPOCHS - 4))
        time.sleep(chance.uniform(0, 0.1))
        if process.poll() is None:
            process.send_signal(how)
            process.communicate()
            if candidate.is_unfinished(folder):
                return process.returncode
        process.communicate()
        shutil.rmtree(folder)
        folder.mkdir()


def finish(candidate: Candidate, folder: Path) -> int:
    """Train to the end; return the exit code."""
    process = candidate.start(folder)
    process.communicate()
    return process.returncode


def outcome(candidate: Candidate, folder: Path, expected: list[np.ndarray], code: int) -> str:
    """Return how a run that went on has ended."""
    found = candidate.weights(folder)
    if code or found is None:
        return f"exit {code}"
    same = all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True))
    return "the same bits" if same else "other weights"


def damage(how: str) -> Callable[[Path], None]:
    """Return what damages a file: cuts it, or flips a bit."""

    def cut(file: Path) -> None:
        os.truncate(file, file.stat().st_size // 2)

    def flip(file: Path) -> None:
        content = bytearray(file.read_bytes())
        content[len(content) // 2] ^= 0b100
        file.write_bytes(content)

    return {"cut": cut, "flipped": flip}[how]


def measure(candidate: Candidate, folder: Path, kills: int) -> dict[str, str]:
    """Return what became of each case, in words."""
    chance = random.Random(0)
    places = iter(folder / str(number) for number in range(1000))

    def place() -> Path:
        new = next(places)
        new.mkdir(parents=True)
        return new

    undisturbed = place()
    assert finish(candidate, undisturbed) == 0, candidate.name
    expected = candidate.weights(undisturbed)
    assert expected is not None
    result = {}
    same = 0
    for _ in range(kills):
        killed = place()
        disturb(candidate, killed, signal.SIGKILL, chance)
        code = finish(candidate, killed)
        same += outcome(candidate, killed, expected, code) == "the same bits"
    result["killed"] = f"the same bits: {same} of {kills}"
    stopped = place()
    first = disturb(candidate, stopped, signal.SIGTERM, chance)
    result["stopped"] = (
        f"exit {first}; {outcome(candidate, stopped, expected, finish(candidate, stopped))}"
    )
    for how in ("cut", "flipped"):
        damaged = place()
        disturb(candidate, damaged, signal.SIGKILL, chance)
        damage(how)(candidate.newest(damaged))
        result[how] = outcome(candidate, damaged, expected, finish(candidate, damaged))
    diverged = place()
    process = candidate.start(diverged, wild=True)
    process.communicate()
    found = candidate.weights(diverged)
    numbers = found is not None and all(np.isfinite(array).all() for array in found)
    kept = (
        "no weights" if found is None else "weights are numbers" if numbers else "weights are NaN"
    )
    result["diverged"] = f"exit {process.returncode}; {kept}"
    twice = place()
    process = candidate.start(twice)
    wait_for(process, 1)
    process.send_signal(signal.SIGSTOP)  # So that it still runs, however busy the machine is.
    second = candidate.start(twice)
    second.communicate()
    process.send_signal(signal.SIGCONT)
    process.communicate()
    result["twice"] = f"exit {second.returncode}"
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ["trainyard", "lightning", "keras", "accelerate"]
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--kills", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        results = {}
        for name in options.only:
            project = render(folder / "project") if name == "trainyard" else None
            results[name] = measure(Candidate(name, project), folder / name, options.kills)
        print(machine("torch", "pytorch-lightning", "keras", "accelerate"))
        cases = [*next(iter(results.values()))]
        rows = [[case, *(results[name][case] for name in results)] for case in cases]
        print_table(["case", *results], rows)


if __name__ == "__main__":
    main()
