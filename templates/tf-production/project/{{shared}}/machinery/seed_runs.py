"""train.py --seeds: an experiment trained once with each of several seeds.

experiments/NAME/seed-0, ...    a run with each, otherwise the same
"""

import argparse
import re
from pathlib import Path

from machinery import records
from machinery.argument_parser import LARGEST_SEED
from machinery.errors import InputError
from machinery.part_runs import Part

MOST_SEEDS = 1000


def plan_seeds(arguments: argparse.Namespace) -> list[Part]:
    """Return the runs with the seeds that --seeds names.

    Args:
        arguments: of train.py.

    Raises:
        InputError: --seeds names no seeds, --seed is given, or nothing says what to train.
    """
    experiment: Path = arguments.experiment
    seeds = choose_seeds(arguments.seeds)
    if "seed" in arguments:
        raise InputError("--seed: --seeds sets it. Leave it out, or name the seeds: --seeds 0,3,7")
    trained = sorted(path.parent for path in experiment.glob("seed-*/params.yaml"))
    source = arguments.source or (experiment if (experiment / "params.yaml").exists() else None)
    if source is None and not trained:
        raise InputError(
            f"{experiment / 'params.yaml'}: not found. To start a new experiment, say from which "
            f"one: --experiment {experiment} --from experiments/baseline --seeds {arguments.seeds}"
        )
    # One that was trained with several seeds has its parameters in their folders.
    in_source = sorted(source.glob("seed-*/params.yaml")) if source else []
    if source is not None and in_source and not (source / "params.yaml").exists():
        source = in_source[0].parent
    data = arguments.data or records.data_of(*trained, source, *(path.parent for path in in_source))
    parts = []
    for seed in seeds:
        folder = experiment / f"seed-{seed}"
        if source is None and folder in trained:  # It goes on, or grows by more epochs.
            parts.append(Part(folder, data, None))
        else:
            parts.append(Part(folder, data, source or trained[0], seed))
    return parts


def choose_seeds(text: str) -> list[int]:
    """Return the seeds of --seeds: 5 means 0 to 4; 0,3,7 and 3..6 name them.

    Raises:
        InputError: it is none of these.
    """
    if re.fullmatch(r"\d{1,10}", text):
        seeds = range(int(text))
    elif found := re.fullmatch(r"(\d{1,10})\.\.(\d{1,10})", text):
        seeds = range(int(found[1]), int(found[2]) + 1)
    elif re.fullmatch(r"\d{1,10}(,\d{1,10})*,?", text):
        seeds = sorted({int(word) for word in text.split(",") if word})
    else:
        seeds = []
    if not seeds or len(seeds) > MOST_SEEDS or seeds[-1] > LARGEST_SEED:
        raise InputError(
            f"--seeds: got {text!r}, expected how many (5 means 0 to 4, at most {MOST_SEEDS:,}), "
            f"or which, up to {LARGEST_SEED}: 0,3,7 or 3..6."
        )
    return [*seeds]
