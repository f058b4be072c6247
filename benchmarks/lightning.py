"""Examples per second of the Lightning loop, beside the plain one, a bare one and stock Lightning.

    python benchmarks/lightning.py

Measured as in training.py, in processor time on one thread. Of Lightning an epoch is timed from its
start to the end of its last step, without what Trainer.fit prepares once.

- lightning: the rendered project with `loop: lightning`: its Learner, Bookkeeper and loader.
- plain: train.Trainer.train_epoch of the project with `loop: plain`.
- bare: see training.py.
- stock: Trainer() as it comes, with its logger, checkpoints and progress bar; a LightningModule of
  the same network that logs its loss at every step, as tutorials do, in float32; and the per-sample
  DataLoader of training.py.
"""

import argparse
import contextlib
import importlib
import io
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.nn import functional

import training
from common import (
    CASES,
    import_project,
    machine,
    name_of,
    print_speeds,
    render,
    take_turns,
    timed,
    write_images,
)


def lightning_loop(train: Any, data: Path, dataset: Any, parameters: Any) -> Callable[[], float]:
    """Return a function that trains one more epoch as the project does; it returns the speed."""
    utils, run_folder = importlib.import_module("utils"), importlib.import_module("run_folder")
    device = torch.device("cpu")

    def end(row: dict[str, float]) -> None:
        raise utils.CommandError

    folder, stop = data / "lightning", utils.StopRequest()
    run = run_folder.Run(folder, parameters, dataset, data, stop)
    run.on_epoch = end
    learner = train.Learner(run.__enter__(), device)
    run.begin(learner.progress)
    split, val_split = (train.load_split(data, dataset, name, device) for name in ("train", "val"))

    def epoch() -> float:
        keeper = train.Bookkeeper(run, learner, val_split)
        trainer = train.make_trainer(learner, device, keeper)
        timer = Timer()
        trainer.callbacks.append(timer)
        with contextlib.suppress(utils.CommandError):
            trainer.fit(learner.train(), train.Epochs(split, learner, device))
        return dataset.examples["train"] / timer.seconds

    return epoch


class Stock(pl.LightningModule):
    """A LightningModule as in the tutorials."""

    def __init__(self, network: torch.nn.Module, parameters: Any) -> None:
        super().__init__()
        self.network, self.settings = network, parameters

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        images, labels = batch
        logits = self.network(images)
        smoothing = self.settings.model.label_smoothing
        loss = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        settings = self.settings.training
        return torch.optim.AdamW(
            self.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )


class Timer(pl.Callback):
    """Times an epoch up to the end of its last step."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = time.process_time()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self.seconds = time.process_time() - self.started


def stock_loop(data: Path, dataset: Any, parameters: Any) -> Callable[[], float]:
    """Return a function that trains one epoch by Trainer(); it returns the speed."""
    net = importlib.import_module("model.net")

    class Normalised(net.Net):
        """The same layers, for images that are normalised already."""

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.classifier(self.dropout(self.stages(images).mean(dim=(2, 3))))

    module = Stock(Normalised(parameters.model, dataset), parameters)
    batches = torch.utils.data.DataLoader(
        training.PerSample(data, dataset), batch_size=parameters.data.batch_size, shuffle=True
    )

    def epoch() -> float:
        timer = Timer()
        trainer = pl.Trainer(
            max_epochs=1, default_root_dir=data, callbacks=timer, accelerator="cpu"
        )
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            trainer.fit(module.train(), batches)
        return dataset.examples["train"] / timer.seconds

    return epoch


def measure(
    folder: Path, trains: dict[str, Any], case: tuple[int, int, int, int], rounds: int
) -> dict[str, list[float]]:
    """Return the examples per second of each loop in each round."""
    side, channels, batch, count = case
    data = folder / f"{side}x{side}-{batch}"
    dataset = write_images(data, side, channels, count)
    schema = importlib.import_module("parameters").Parameters
    values = {"data": {"batch_size": batch}, "training": {"epochs": rounds + 2}}
    parameters = schema.model_validate(values)
    sys.modules["train"] = trains["plain"]
    loops = {
        "lightning": lightning_loop(trains["lightning"], data, dataset, parameters),
        "plain": timed(training.project_loop(data, dataset, parameters), count),
        "bare": timed(training.bare_loop(data, dataset, parameters), count),
        "bare again": timed(training.bare_loop(data, dataset, parameters), count),
        "stock": stock_loop(data, dataset, parameters),
    }
    torch.set_num_threads(1)
    return take_turns(loops, rounds)


def main() -> None:
    """Measure every size and print two tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=11, help="rounds to time [11]")
    arguments = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        trains = {}
        for loop in ("plain", "lightning"):
            project = Path(folder, loop)
            render(project, loop=loop)
            import_project(project)
            sys.modules.pop("train", None)  # Of the modules only this one differs.
            trains[loop] = importlib.import_module("train")
        for case in CASES:
            results[name_of(case)] = measure(Path(folder), trains, case, arguments.rounds)
    print(f"\n{machine('torch', 'pytorch-lightning')}; threads: 1")
    pairs = [
        ("lightning", "bare"),
        ("lightning", "plain"),
        ("bare again", "bare"),
        ("lightning", "stock"),
    ]
    print_speeds(results, pairs)


if __name__ == "__main__":
    main()
