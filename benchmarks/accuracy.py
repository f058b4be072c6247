"""Test accuracy of the default recipe on the handwritten digits, over seeds and over splits.

    python benchmarks/accuracy.py

Trains the rendered project with its default parameters by its own train.train, one thread, in this
process: with the seeds 0, 1, ... on the split that build_dataset.py makes by default, and with the
same seeds each on a split of its own. Accuracy is what evaluate.py writes for the best checkpoint
(chosen on val) on the 360 test images. Seconds are the processor time of train.train: training,
an evaluation on val after each epoch, checkpoints and metrics. Imports come on top.
"""

import argparse
import contextlib
import importlib
import io
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from common import import_project, machine, print_table, render, spread


def train_and_evaluate(data: Path, experiment: Path, seed: int, stop: Any) -> tuple[float, float]:
    """Return the test accuracy in % and the processor seconds of one run."""
    build_dataset, evaluate, parameters, run_folder, train = (
        importlib.import_module(name)
        for name in ("build_dataset", "evaluate", "parameters", "run_folder", "train")
    )
    dataset = build_dataset.read_dataset(data)
    chosen = parameters.Parameters(seed=seed)
    with run_folder.Run(experiment, chosen, dataset.fingerprint) as run:
        started = time.process_time()
        train.train(run, dataset, data, torch.device("cpu"), stop)
        seconds = time.process_time() - started
    command = argparse.Namespace(
        experiment=experiment, data=data, split="test", checkpoint="best", device="cpu"
    )
    with contextlib.redirect_stdout(io.StringIO()):
        evaluate.main(command, chosen)
    metrics = json.loads((experiment / "metrics_test.json").read_text())
    return 100 * metrics["accuracy"], seconds


def main() -> None:
    """Train every seed on both kinds of split and print one table and every accuracy."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=10, help="runs of each kind [10]")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows, lists = [], []
    with tempfile.TemporaryDirectory() as folder:
        import_project(render(Path(folder, "project")))
        stop = importlib.import_module("utils").StopRequest()
        build_digits = importlib.import_module("build_dataset").build_digits
        for kind in ("one split", "a split for each seed"):
            results = []
            for seed in range(arguments.seeds):
                split = 0 if kind == "one split" else seed
                data = Path(folder, f"split_{split}")
                if not data.exists():
                    build_digits(data, split)
                experiment = Path(folder, "experiments", f"{kind} {seed}")
                results.append(train_and_evaluate(data, experiment, seed, stop))
            accuracies, seconds = zip(*results, strict=True)
            mean, lowest = statistics.mean(accuracies), min(accuracies)
            row = [f"{mean:.2f} ± {statistics.stdev(accuracies):.2f}", f"{lowest:.2f}"]
            rows.append([kind, *row, spread(seconds, ".1f")])
            lists.append(f"{kind}: {', '.join(f'{accuracy:.2f}' for accuracy in accuracies)}")
    print(f"\n{machine('torch', 'scikit-learn')}; {arguments.seeds} seeds, 1 thread\n")
    head = ["splits", "accuracy in %, mean ± standard deviation", "lowest", "CPU seconds a run"]
    print_table(head, rows)
    print("\n" + "\n\n".join(lists))


if __name__ == "__main__":
    main()
