"""Examples per second of the generated training loop, side by side with two written by hand.

    python benchmarks/training.py                # one thread
    python benchmarks/training.py --threads 2

Each round trains every loop below for one epoch on the same images, one after another in one
process and with the same number of threads, each round beginning with another loop. Given are the
median over the rounds and, in brackets, the lowest and the highest round; a ratio is taken within
a round. Only training is timed: no evaluation, no checkpoint, no import. One thread is timed by the
process's processor time, so that what else runs on the machine counts little; more threads by the
wall clock. All loops train the network of the rendered project at its default size on random uint8
images, with the same fused AdamW, clipping and label smoothing:

- project: train.train_epoch of the rendered project with its loader, schedule, seeding of
  every step and look at the stop request, without a progress bar; once as it comes, with random
  shifts, and once without.
- bare: the shortest loop in the same precision: images in memory, indexed by a random
  permutation. It is timed twice a round; "bare again / bare" says how far to trust a ratio.
- per sample: float32, a Dataset that returns one normalised image, and a DataLoader that collates
  them in the training process, as tutorials do. The normalisation is done there and not in the
  network.
"""

import argparse
import importlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from common import (
    CASES,
    begin_run,
    import_project,
    machine,
    name_of,
    print_speeds,
    read_images,
    render,
    take_turns,
    timed,
    write_images,
)


def project_loop(data: Path, dataset: Any, parameters: Any) -> Callable[[], object]:
    """Return a function that trains one more epoch as the project's train.py does."""
    train = importlib.import_module("train")
    backend, device = train.backend, torch.device("cpu")
    run = begin_run(data / f"shift_{parameters.data.shift}", parameters, dataset, data)
    dtype = backend.choose_precision(device, parameters.training.precision)
    model = backend.make_model(parameters, dataset, device)
    optimizer = torch.optim.AdamW(
        model.parameters(), weight_decay=parameters.training.weight_decay, fused=True
    )
    state, facts = backend.State(model, optimizer), backend.facts(model, device, dtype)
    run.begin(state, train.objective(dataset), facts)
    split = train.load_split(data, dataset, "train", device)
    batches = train.training_batches(split, parameters, 0, run.total_steps, device)
    return lambda: train.train_epoch(train.Epoch(run), batches, model, optimizer, device, dtype)


def hand_written(
    model: torch.nn.Module,
    batches: Callable[[], Any],
    parameters: Any,
    autocast: Callable[[], Any],
) -> Callable[[], None]:
    """Return a function that trains one epoch over what `batches` yields, with nothing around."""
    training = parameters.training
    optimizer = torch.optim.AdamW(
        model.parameters(), training.learning_rate, weight_decay=training.weight_decay, fused=True
    )

    def epoch() -> None:
        model.train()
        for images, labels in batches():
            with autocast():
                logits = model(images)
            loss = functional.cross_entropy(
                logits.float(), labels, label_smoothing=parameters.model.label_smoothing
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), training.clip_norm)
            optimizer.step()

    return epoch


def bare_loop(data: Path, dataset: Any, parameters: Any) -> Callable[[], None]:
    """Return a function that trains one epoch in the project's precision, by plain indexing."""
    backend, device = importlib.import_module("backend"), torch.device("cpu")
    images, labels = map(torch.from_numpy, read_images(data, dataset))
    dtype = backend.choose_precision(device, parameters.training.precision)
    model = backend.make_model(parameters, dataset, device)

    def batches() -> Any:
        for rows in torch.randperm(len(labels)).split(parameters.data.batch_size):
            yield {"images": images[rows]}, labels[rows]

    return hand_written(model, batches, parameters, lambda: backend.autocast(device, dtype))


class PerSample(torch.utils.data.Dataset):
    """One normalised image (C, H, W) float32 and its label at a time."""

    def __init__(self, data: Path, dataset: Any) -> None:
        self.images, self.labels = read_images(data, dataset)
        self.mean = torch.tensor(dataset.mean).view(-1, 1, 1)
        self.std = torch.tensor(dataset.std).view(-1, 1, 1)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        image = torch.from_numpy(self.images[index]).permute(2, 0, 1).float()
        return (image - self.mean) / self.std, int(self.labels[index])


def per_sample_loop(data: Path, dataset: Any, parameters: Any) -> Callable[[], None]:
    """Return a function that trains one epoch in float32 from a DataLoader that collates."""
    net = importlib.import_module("model.net")

    class Normalised(net.Net):
        """The same layers, for images that are normalised already."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.classifier(self.dropout(self.stages(images).mean(dim=(2, 3))))

    batches = torch.utils.data.DataLoader(
        PerSample(data, dataset), batch_size=parameters.data.batch_size, shuffle=True
    )
    model = Normalised(parameters.model, dataset)
    return hand_written(
        model, lambda: batches, parameters, lambda: torch.autocast("cpu", enabled=False)
    )


def measure(
    folder: Path, side: int, channels: int, batch: int, count: int, rounds: int, threads: int
) -> dict[str, list[float]]:
    """Return the examples per second of each loop in each round."""
    data = folder / f"{side}x{side} {batch}"
    dataset = write_images(data, side, channels, count)
    schema = importlib.import_module("parameters").Parameters
    values = {"data": {"batch_size": batch}, "training": {"epochs": rounds + 1}}
    parameters = schema.model_validate(values)
    values["data"]["shift"] = 0
    without_shift = schema.model_validate(values)
    loops = {
        "project": project_loop(data, dataset, parameters),
        "without shift": project_loop(data, dataset, without_shift),
        "bare": bare_loop(data, dataset, parameters),
        "bare again": bare_loop(data, dataset, parameters),
        "per sample": per_sample_loop(data, dataset, parameters),
    }
    torch.set_num_threads(threads)  # The project chose for itself when it was set up.
    clock = time.process_time if threads == 1 else time.perf_counter
    return take_turns({name: timed(loop, count, clock) for name, loop in loops.items()}, rounds)


def main() -> None:
    """Measure every size and print two tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=1, help="threads to compute with [1]")
    parser.add_argument("--rounds", type=int, default=11, help="rounds to time [11]")
    arguments = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        import_project(render(Path(folder, "project")))
        for case in CASES:
            results[name_of(case)] = measure(
                Path(folder), *case, arguments.rounds, arguments.threads
            )
    print(f"\n{machine('torch', 'numpy')}; threads: {arguments.threads}")
    pairs = [
        ("project", "bare"),
        ("without shift", "bare"),
        ("bare again", "bare"),
        ("project", "per sample"),
    ]
    print_speeds(results, pairs)


if __name__ == "__main__":
    main()
