"""What a notebook does on Kaggle to train: it goes on where its version before was stopped.

The run folders lie in /kaggle/working, so they are the notebook's output, whatever ends it. What
trains is a process of its own, for several GPUs cannot be used from within a notebook.
"""

import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from machinery import kaggle_parts
from machinery.competition import FOLDER
from machinery.errors import StoppedError
from machinery.frozen_folds import read_description
from machinery.kaggle_session import RESERVE, WORKING


def run(settings: dict[str, Any], weights: Path, started: float) -> None:
    """Prepare the datasets, and train until it is done or the time is over.

    Args:
        settings: as `compete.py notebook` wrote them.
        weights: the dataset that came along: the folds.
        started: when the notebook began, by time.monotonic().

    Raises:
        RuntimeError: training failed.
    """
    for path in weights.glob("folds.*"):
        shutil.copyfile(path, FOLDER / path.name)
    continue_from_inputs(settings["experiment"])
    call(*folds_command())
    minutes = settings["minutes"] * (1 - RESERVE) - (time.monotonic() - started) / 60
    code = call(
        "train.py",
        *("--experiment", f"experiments/{settings['experiment']}"),
        *shlex.split(settings["train"]),
        *("--max-minutes", f"{max(minutes, 0):.2f}"),
        may_stop=True,
    )
    if code == StoppedError.exit_code:
        print("The time is over. To go on: compete.py notebook with --resume, then compete.py push")


def folds_command() -> list[str]:
    """Return the words of the command that prepares the datasets of the folds as they are.

    Raises:
        InputError: folds.json is missing.
    """
    folds = read_description()
    options = [str(option) for option in folds.get("options", [])]  # of build_dataset.py
    numbers = [f"--{name}={folds[name]}" for name in ("count", "seed")]
    return ["compete.py", "folds", *numbers, *(["--", *options] if options else [])]


def continue_from_inputs(name: str) -> None:
    """Let an experiment's folder lie in the output; copy there what the version before wrote."""
    place, output = Path("experiments") / name, WORKING / "experiments" / name
    output.mkdir(parents=True, exist_ok=True)
    for source in [place, *kaggle_parts.find_inputs(f"experiments/{name}")]:
        if source.is_dir():
            print(f"{name}: goes on from {source}")
            shutil.copytree(source, output, dirs_exist_ok=True, copy_function=shutil.copyfile)
    shutil.rmtree(place, ignore_errors=True)
    place.symlink_to(output, target_is_directory=True)


def call(*words: str, may_stop: bool = False) -> int:
    """Run a script of the project, and show what it prints.

    Args:
        words: of its command line.
        may_stop: whether it may end because its time is over.

    Raises:
        RuntimeError: it failed.
    """
    code = subprocess.run([sys.executable, *words], check=False).returncode
    if code and not (may_stop and code == StoppedError.exit_code):
        raise RuntimeError(f"{' '.join(words)}: exit code {code}; what it said is above")
    return code
