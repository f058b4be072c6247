"""Examples per second of the generated training loop, side by side with two written by hand.

    python benchmarks/training.py                # every task, one thread
    python benchmarks/training.py --threads 2
    python benchmarks/training.py --task text-classification

Each round trains every loop below for one epoch on the same data, one after another in one
process and with the same number of threads, each round beginning with another loop. Given are the
median over the rounds and, in brackets, the lowest and the highest round; a ratio is taken within
a round. Only training is timed: no evaluation, no checkpoint, no import. One thread is timed by the
process's processor time, so that what else runs on the machine counts little; more threads by the
wall clock. All loops train the network of the rendered project at its default size with the same
losses, fused AdamW and clipping. Images to classify and rows of tables are random: 12,800 rows of
24 numbers and 6 categories. The other tasks train on the data and with the batch size that come
with the project.

- project: train.train_epoch of the rendered project with its loader, schedule, seeding of
  every step and look at the stop request, without a progress bar, as it comes.
- unaugmented: the same without random changes of the examples, such as shifts of an image.
- bare: the shortest loop in the same precision: arrays in memory, indexed by a random
  permutation, not augmented. Examples of different lengths, texts and boxes, are padded to the
  longest of all once, before the clock runs, which is the fastest way where they fit into memory.
  It is timed twice a round; "bare again / bare" says how far to trust a ratio.
- per sample, with images to classify and tables: float32, a Dataset that returns one example, and
  a DataLoader that collates them in the training process, as tutorials do. Images are normalised
  there and not in the network, which is in PyTorch's default memory layout.
"""

import argparse
import importlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from common import (
    add_measuring_options,
    begin_run,
    import_project,
    in_own_process,
    machine,
    make_parameters,
    print_speeds,
    read_arrays,
    render,
    take_turns,
    timed,
    write_data,
)


def project_loop(
    folder: Path, data: Path, dataset: Any, parameters: Any, fused: bool = True
) -> Callable[[], object]:
    """Return a function that trains one more epoch as the project's train.py does.

    With `fused`, which is how it comes, one call updates all weights.
    """
    train = importlib.import_module("train")
    backend, device = train.backend, torch.device("cpu")
    run = begin_run(folder, parameters, dataset, data)
    dtype = backend.choose_precision(device, parameters.training.precision)
    model = backend.make_model(parameters, dataset, device)
    optimizer = torch.optim.AdamW(
        train.parameter_groups(model, parameters.training.learning_rate),
        weight_decay=parameters.training.weight_decay,
        fused=fused,
    )
    if parameters.training.compile:
        model.compile()
    state, facts = backend.State(model, optimizer), backend.facts(model, device, dtype)
    run.begin(state, train.objective(dataset), facts)
    split = train.load_split(data, dataset, "train", device)
    batches = train.training_batches(split, parameters, 0, run.total_steps, device)
    parts, scaler = train.BatchParts(model, run), backend.make_scaler(device, dtype)
    tools = (batches, parts, optimizer, scaler, device, dtype)
    return lambda: train.train_epoch(train.Epoch(run), *tools)


def hand_written(
    model: torch.nn.Module,
    batches: Callable[[], Any],
    dataset: Any,
    parameters: Any,
    autocast: Callable[[], Any],
) -> Callable[[], None]:
    """Return a function that trains one epoch over what `batches` yields, with nothing around."""
    net, training = importlib.import_module("model.net"), parameters.training
    optimizer = torch.optim.AdamW(
        model.parameters(), training.learning_rate, weight_decay=training.weight_decay, fused=True
    )

    def epoch() -> None:
        model.train()
        for inputs, targets in batches():
            with autocast():
                outputs = model(inputs)
            loss = net.losses(outputs, targets, dataset, parameters.model).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm)
            optimizer.step()

    return epoch


def read_tensors(data: Path, dataset: Any) -> list[dict[str, torch.Tensor]]:
    """Return inputs and targets of the training examples, in memory."""
    parts = read_arrays(data, dataset)
    return [{name: torch.from_numpy(array) for name, array in part.items()} for part in parts]


def bare_loop(data: Path, dataset: Any, parameters: Any) -> Callable[[], None]:
    """Return a function that trains one epoch in the project's precision, by plain indexing."""
    backend, device = importlib.import_module("backend"), torch.device("cpu")
    parts, count = read_tensors(data, dataset), dataset.examples["train"]
    dtype = backend.choose_precision(device, parameters.training.precision)
    model = backend.make_model(parameters, dataset, device)

    def batches() -> Any:
        for rows in torch.randperm(count).split(parameters.data.batch_size):
            yield [{name: array[rows] for name, array in part.items()} for part in parts]

    return hand_written(
        model, batches, dataset, parameters, lambda: backend.autocast(device, dtype)
    )


class PerSample(torch.utils.data.Dataset):
    """One example at a time: inputs and targets. An image is normalised, (C, H, W) float32."""

    def __init__(self, data: Path, dataset: Any) -> None:
        self.inputs, self.targets = read_tensors(data, dataset)
        self.examples = dataset.examples["train"]
        self.mean = torch.tensor(dataset.mean).view(-1, 1, 1)
        self.std = torch.tensor(dataset.std).view(-1, 1, 1)

    def __len__(self) -> int:
        return self.examples

    def __getitem__(self, index: int) -> tuple[dict[str, torch.Tensor], ...]:
        inputs = {name: array[index] for name, array in self.inputs.items()}
        if "images" in inputs:
            image = inputs["images"].permute(2, 0, 1).float()
            inputs["images"] = (image - self.mean) / self.std
        return inputs, {name: array[index] for name, array in self.targets.items()}


def per_sample_model(dataset: Any, parameters: Any) -> torch.nn.Module:
    """Return the project's network, for images that are normalised already."""
    net: Any = importlib.import_module("model.net")

    class Normalised(net.Net):
        """The same layers, without the normalisation."""

        def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
            x = self.stages(inputs["images"]).mean(dim=(2, 3))
            return self.classifier(self.dropout(x))

    kind = Normalised if "images" in dataset.inputs else net.Net
    return kind(parameters.model, dataset)


def per_sample_loader(data: Path, dataset: Any, parameters: Any) -> torch.utils.data.DataLoader:
    """Return a DataLoader that collates single examples."""
    examples = PerSample(data, dataset)
    return torch.utils.data.DataLoader(examples, parameters.data.batch_size, shuffle=True)


def per_sample_loop(data: Path, dataset: Any, parameters: Any) -> Callable[[], None]:
    """Return a function that trains one epoch in float32 from a DataLoader that collates."""
    batches = per_sample_loader(data, dataset, parameters)
    model = per_sample_model(dataset, parameters)
    return hand_written(
        model, lambda: batches, dataset, parameters, lambda: torch.autocast("cpu", enabled=False)
    )


def measure(
    data: Path, dataset: Any, batch: int, rounds: int, threads: int
) -> dict[str, list[float]]:
    """Return the examples per second of each loop in each round."""
    sections = {"data": {"batch_size": batch}, "training": {"epochs": rounds + 1}}
    parameters, unaugmented = make_parameters(sections), make_parameters(sections, augmented=False)
    loops = {"project": project_loop(data / "project", data, dataset, parameters)}
    if unaugmented != parameters:
        loops["unaugmented"] = project_loop(data / "unaugmented", data, dataset, unaugmented)
    loops["bare"] = bare_loop(data, dataset, parameters)
    loops["bare again"] = bare_loop(data, dataset, parameters)
    if dataset.task in ("image-classification", "tabular"):
        loops["per sample"] = per_sample_loop(data, dataset, parameters)
    torch.set_num_threads(threads)  # The project chose for itself when it was set up.
    clock = time.process_time if threads == 1 else time.perf_counter
    count = dataset.examples["train"]
    return take_turns({name: timed(loop, count, clock) for name, loop in loops.items()}, rounds)


def measure_task(
    task: str, images: str, rounds: int, threads: int
) -> dict[str, dict[str, list[float]]]:
    """Return what `measure` does for each kind of data of a task; `images`: see find_cases."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        import_project(render(folder / "project", task=task))
        return {
            name: measure(data, dataset, batch, rounds, threads)
            for name, data, dataset, batch in write_data(folder, task, images)
        }


def main() -> None:
    """Measure every kind of data and print two tables for each task."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1, help="threads to compute with [1]")
    add_measuring_options(parser)
    arguments = parser.parse_args()
    print(f"\n{machine('torch', 'numpy')}; threads: {arguments.threads}")
    for task in arguments.task:
        # A process for each: the modules of their projects have the same names.
        results = in_own_process(
            measure_task, task, arguments.images, arguments.rounds, arguments.threads
        )
        pairs = [(name, "bare") for name in ("project", "unaugmented", "bare again")]
        print_speeds(results, [*pairs, ("project", "per sample"), ("bare", "per sample")])


if __name__ == "__main__":
    main()
