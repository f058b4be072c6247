"""Test metrics of the default recipe on the default data, over seeds and over splits.

    python benchmarks/accuracy.py                                  # every combination
    python benchmarks/accuracy.py --template keras-quickstart --choice jax
    python benchmarks/accuracy.py --task tabular

Trains each rendered project with its default parameters by its own train.train, one thread, in one
process for each combination: with the seeds 0, 1, ... on the split that build_dataset.py makes by
default, and with the same seeds each on a split of its own. The metrics are what evaluate.py writes
for the best checkpoint (chosen on val) on the test split. Seconds are the processor time of
train.train: the network made and compiled, training, an evaluation on val after each epoch,
checkpoints and metrics. Imports come on top.

For tables, two baselines stand beside them, fitted on train of the same splits: scikit-learn's
HistGradientBoostingClassifier as it comes, and the most frequent class.
"""

import argparse
import contextlib
import importlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

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
Metrics = dict[str, float]


def build(project: Path, data: Path, seed: int) -> Path:
    """Prepare the default data, split by a seed, where it is not there yet; return the folder."""
    if not data.exists():
        words = [sys.executable, "build_dataset.py", "--data", data, "--seed", str(seed)]
        subprocess.run(words, cwd=project, check=True, capture_output=True)
    return data


def train_and_evaluate(data: Path, experiment: Path, seed: int, stop: Any) -> Metrics:
    """Return the test metrics of one run, and its processor "seconds"."""
    train = importlib.import_module("train")  # First: it says what Keras computes with.
    build_dataset, evaluate, parameters, machinery = (
        importlib.import_module(name)
        for name in ("build_dataset", "evaluate", "parameters", "machinery.run")
    )
    parameter_file = importlib.import_module("machinery.parameter_file")
    dataset = build_dataset.read_dataset(data)
    shipped = Path(str(parameters.__file__)).parent / "experiments" / "baseline" / "params.yaml"
    chosen = parameter_file.load_parameters(parameters.Parameters, shipped, {"seed": str(seed)})
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
    return metrics | {"seconds": seconds}


def measure(combination: Any, seeds: int) -> dict[str, list[Metrics]]:
    """Return the metrics of every seed on each kind of split."""
    results: dict[str, list[Metrics]] = {ONE_SPLIT: [], OWN_SPLITS: []}
    with tempfile.TemporaryDirectory() as folder:
        project = render(Path(folder, "project"), combination.template, **combination.answers)
        import_project(project)
        stop = importlib.import_module("machinery.stopping").StopRequest()
        for kind, runs in results.items():
            for seed in range(seeds):
                split = 0 if kind == ONE_SPLIT else seed
                data = build(project, Path(folder, f"split_{split}"), split)
                experiment = Path(folder, "experiments", f"{kind} {seed}")
                runs.append(train_and_evaluate(data, experiment, seed, stop))
    return results


def measure_baselines(combination: Any, seeds: int) -> dict[str, list[Metrics]]:
    """Return the metrics of gradient boosting and of the most frequent class, on own splits."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    results: dict[str, list[Metrics]] = {"gradient boosting": [], "most frequent class": []}
    with tempfile.TemporaryDirectory() as folder:
        project = render(Path(folder, "project"), combination.template, **combination.answers)
        import_project(project)
        report = importlib.import_module("model.report")
        for seed in range(seeds):
            data = build(project, Path(folder, f"split_{seed}"), seed)
            dataset = importlib.import_module("build_dataset").read_dataset(data)
            train, test = (dataset.read_split(data, split) for split in ("train", "test"))
            labels = np.asarray(test["target"])
            model = HistGradientBoostingClassifier(random_state=seed)
            started = time.process_time()
            model.fit(train["numbers"], train["target"])
            seconds = time.process_time() - started
            found = report.measure_classes(labels, model.predict_proba(test["numbers"]))
            results["gradient boosting"].append(found | {"seconds": seconds})
            shares = np.bincount(train["target"], minlength=len(dataset.classes))
            constant = np.tile(shares / shares.sum(), (len(labels), 1))
            found = report.measure_classes(labels, constant)
            results["most frequent class"].append(found | {"seconds": 0.0})
    return results


def table_rows(name: str, results: dict[str, list[Metrics]]) -> list[list[str]]:
    """Return a row for each kind of split: mean, deviation and lowest of each metric."""
    rows = []
    for kind, runs in results.items():
        cells = []
        for metric in (each for each in runs[0] if each not in ("loss", "seconds")):
            values = [run[metric] for run in runs]
            deviation = statistics.stdev(values)
            cells.append(f"{statistics.mean(values):.4f} ± {deviation:.4f} ({min(values):.4f})")
        rows.append([name, kind, *cells, spread([run["seconds"] for run in runs], ".1f")])
    return rows


def main() -> None:
    """Train every seed on both kinds of split and print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_combination_options(parser)
    parser.add_argument("--task", default="image-classification", help="[image-classification]")
    parser.add_argument("--seeds", type=int, default=10, help="runs of each kind [10]")
    arguments = parser.parse_args()
    # Read by PyTorch, TensorFlow and JAX when they are imported.
    os.environ |= {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "NPROC": "1"}
    rows: list[list[str]] = []
    metrics: list[str] = []
    chosen = combinations(arguments.template, arguments.choice, arguments.task)
    for combination in chosen:
        results = in_own_process(measure, combination, arguments.seeds)
        rows += table_rows(title(combination), results)
        metrics = [name for name in results[ONE_SPLIT][0] if name not in ("loss", "seconds")]
    if arguments.task == "tabular":
        results = in_own_process(measure_baselines, chosen[0], arguments.seeds)
        rows += [[row[1], OWN_SPLITS, *row[2:]] for row in table_rows("", results)]
    packages = ("torch", "pytorch-lightning", "tensorflow-cpu", "keras", "jax", "scikit-learn")
    print(f"\n{machine(*packages)}; {arguments.seeds} seeds, 1 thread\n")
    head = [f"{name}, mean ± standard deviation (lowest)" for name in metrics]
    print_table(["combination", "splits", *head, "CPU seconds a run"], rows, text_columns=2)


if __name__ == "__main__":
    main()
