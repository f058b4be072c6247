"""Test accuracy of the default recipe on the handwritten digits, over seeds and over splits.

    python benchmarks/accuracy.py                                  # every combination
    python benchmarks/accuracy.py --template keras-quickstart --choice jax

Trains each rendered project with its default parameters by its own train.train, one thread, in one
process for each combination: with the seeds 0, 1, ... on the split that build_dataset.py makes by
default, and with the same seeds each on a split of its own. Accuracy is what evaluate.py writes for
the best checkpoint (chosen on val) on the 360 test images. Seconds are the processor time of
train.train: the network made and compiled, training, an evaluation on val after each epoch,
checkpoints and metrics. Imports come on top.
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from common import (
    add_combination_options,
    combinations,
    import_project,
    in_own_process,
    machine,
    print_table,
    render,
    spread,
    title,
)

ONE_SPLIT, OWN_SPLITS = "one split", "a split for each seed"


def train_and_evaluate(data: Path, experiment: Path, seed: int, stop: Any) -> tuple[float, float]:
    """Return the test accuracy in % and the processor seconds of one run."""
    train = importlib.import_module("train")  # First: it says what Keras computes with.
    build_dataset, evaluate, parameters, machinery = (
        importlib.import_module(name)
        for name in ("build_dataset", "evaluate", "parameters", "machinery.run")
    )
    dataset = build_dataset.read_dataset(data)
    chosen = parameters.Parameters(seed=seed)
    with machinery.Run(experiment, chosen, dataset, data, stop, "cpu") as run:
        started = time.process_time()
        train.train(run)
        seconds = time.process_time() - started
    command = argparse.Namespace(
        experiment=experiment, data=data, split="test", checkpoint="best", device="cpu"
    )
    with contextlib.redirect_stdout(io.StringIO()):
        evaluate.main(command, chosen)
    metrics = json.loads((experiment / "metrics_test.json").read_text())
    return 100 * metrics["accuracy"], seconds


def measure(combination: Any, kinds: list[str], seeds: int) -> dict[str, list[tuple[float, float]]]:
    """Return the accuracy and the seconds of every seed on each kind of split."""
    results: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as folder:
        project = render(Path(folder, "project"), combination.template, **combination.answers)
        import_project(project)
        stop = importlib.import_module("machinery.stopping").StopRequest()
        build_digits = importlib.import_module("build_dataset").build_digits
        for kind, runs in results.items():
            for seed in range(seeds):
                split = 0 if kind == ONE_SPLIT else seed
                data = Path(folder, f"split_{split}")
                if not data.exists():
                    with contextlib.redirect_stdout(io.StringIO()):
                        build_digits(data, split)
                experiment = Path(folder, "experiments", f"{kind} {seed}")
                runs.append(train_and_evaluate(data, experiment, seed, stop))
    return results


def main() -> None:
    """Train every seed on both kinds of split and print one table and every accuracy."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_combination_options(parser)
    parser.add_argument("--seeds", type=int, default=10, help="runs of each kind [10]")
    arguments = parser.parse_args()
    # Read by PyTorch, TensorFlow and JAX when they are imported.
    os.environ |= {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "NPROC": "1"}
    rows, lists = [], []
    for combination in combinations(arguments.template, arguments.choice):
        kinds = [ONE_SPLIT, OWN_SPLITS]
        results = in_own_process(measure, combination, kinds, arguments.seeds)
        for kind, runs in results.items():
            accuracies, seconds = zip(*runs, strict=True)
            mean, lowest = statistics.mean(accuracies), min(accuracies)
            row = [f"{mean:.2f} ± {statistics.stdev(accuracies):.2f}", f"{lowest:.2f}"]
            rows.append([title(combination), kind, *row, spread(seconds, ".1f")])
            values = ", ".join(f"{accuracy:.2f}" for accuracy in accuracies)
            lists.append(f"{title(combination)}, {kind}: {values}")
    packages = ("torch", "pytorch-lightning", "tensorflow-cpu", "keras", "jax", "scikit-learn")
    print(f"\n{machine(*packages)}; {arguments.seeds} seeds, 1 thread\n")
    head = ["accuracy in %, mean ± standard deviation", "lowest", "CPU seconds a run"]
    print_table(["combination", "splits", *head], rows, text_columns=2)
    print("\n" + "\n\n".join(lists))


if __name__ == "__main__":
    main()
