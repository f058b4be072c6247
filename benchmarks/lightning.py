"""Examples per second of the Lightning loop, beside stock Lightning, the plain loop and a bare one.

    python benchmarks/lightning.py

Measured as in training.py, in processor time on one thread. With Lightning a round is a fit of two
epochs. The second one is timed, from its start to the end of its last step, without validation and
what the Trainer prepares once.

- lightning: train.train of the rendered project with `loop: lightning`.
- quiet: a LightningModule and a Trainer without logger, checkpoints and progress bar, in the
  project's precision: the same network, optimizer, schedule and clipping, the batches of the same
  loader.
- stock, with images to classify and tables: Trainer() as it comes, with its logger, checkpoints
  and progress bar; a LightningModule that logs its loss at every step, as tutorials do, in float32;
  the per-sample DataLoader and the network of training.py, in PyTorch's default memory layout.
- plain: train.train_epoch of the project with `loop: plain`.
- bare: see training.py, which also says what the data are.
"""

import argparse
import contextlib
import importlib
import io
import itertools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytorch_lightning as pl
import torch

import training
from common import (
    add_measuring_options,
    begin_run,
    import_project,
    in_own_process,
    machine,
    make_parameters,
    print_speeds,
    render,
    take_turns,
    timed,
    write_data,
)

EPOCHS = 2  # A round: one fit.
CPU = torch.device("cpu")


class Timer(pl.Callback):
    """Times each epoch up to the end of its last step; `seconds` are those of the last epoch."""

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
        # Not at every step: to read this clock may take longer than what Lightning does in one.
        if batch_idx + 1 == trainer.num_training_batches:
            self.seconds = time.process_time() - self.started


class Hand(pl.LightningModule):
    """A LightningModule as in the tutorials, which learns as the project does.

    Args:
        network: what is trained.
        dataset: what it learns.
        parameters: of the experiment.
        steps_per_epoch: for the project's schedule, with a fused optimizer. None: neither of them.
        log_loss: at every step.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        dataset: Any,
        parameters: Any,
        steps_per_epoch: int | None = None,
        log_loss: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.dataset, self.settings = network, dataset, parameters
        self.steps_per_epoch, self.log_loss = steps_per_epoch, log_loss
        self.losses = importlib.import_module("model.net").losses

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        inputs, targets = batch
        outputs = self.network(inputs)
        loss = self.losses(outputs, targets, self.dataset, self.settings.model).mean()
        if self.log_loss:
            self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> Any:
        settings = self.settings.training
        weights, decay = self.network.parameters(), settings.weight_decay
        if self.steps_per_epoch is None:
            return torch.optim.AdamW(weights, settings.learning_rate, weight_decay=decay)
        optimizer = torch.optim.AdamW(weights, 1.0, weight_decay=decay, fused=True)
        rate = importlib.import_module("backend").make_schedule(settings, self.steps_per_epoch)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def lightning_loop(train: Any, data: Path, dataset: Any, parameters: Any) -> Callable[[], float]:
    """Return a function that trains as the project does, anew; it returns the speed."""

    def fit() -> float:
        timer, folder = Timer(), Path(tempfile.mkdtemp(dir=data))
        run = begin_run(folder, parameters, dataset, data)
        try:
            with mock.patch.object(train.Learner, "configure_callbacks", return_value=[timer]):
                train.train(run)
        finally:
            run.__exit__(None, None, None)
        return dataset.examples["train"] / timer.seconds

    return fit


def quiet_loop(train: Any, data: Path, dataset: Any, parameters: Any) -> Callable[[], float]:
    """Return a function that trains by a quiet Trainer, anew; it returns the speed."""
    backend, settings = importlib.import_module("backend"), parameters.training
    dtype = backend.choose_precision(CPU, settings.precision)
    split = train.load_split(data, dataset, "train", CPU)
    steps = -(-split.examples // parameters.data.batch_size)

    def fit() -> float:
        timer = Timer()
        trainer = pl.Trainer(
            accelerator="cpu",
            precision="bf16-mixed" if dtype == torch.bfloat16 else "32-true",
            max_epochs=EPOCHS,
            gradient_clip_val=settings.clip_norm,
            callbacks=timer,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        network = backend.make_model(parameters, dataset, CPU)
        batches = train.training_batches(split, parameters, 0, EPOCHS * steps, CPU)
        loader = train.Batches(lambda: itertools.islice(batches, steps), steps)
        trainer.fit(Hand(network, dataset, parameters, steps_per_epoch=steps), loader)
        return split.examples / timer.seconds

    return fit


def stock_loop(data: Path, dataset: Any, parameters: Any) -> Callable[[], float]:
    """Return a function that trains by Trainer(), anew; it returns the speed."""
    batches = training.per_sample_loader(data, dataset, parameters)

    def fit() -> float:
        timer, network = Timer(), training.per_sample_model(dataset, parameters)
        trainer = pl.Trainer(
            max_epochs=EPOCHS, default_root_dir=data, callbacks=timer, accelerator="cpu"
        )
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            trainer.fit(Hand(network, dataset, parameters, log_loss=True), batches)
        return dataset.examples["train"] / timer.seconds

    return fit


def measure(
    data: Path, dataset: Any, batch: int, trains: dict[str, Any], rounds: int
) -> dict[str, list[float]]:
    """Return the examples per second of each loop in each round."""
    count, data_section = dataset.examples["train"], {"batch_size": batch}
    fit_section = {"epochs": EPOCHS, "warmup_epochs": 0}
    parameters = make_parameters({"data": data_section, "training": {"epochs": rounds + 1}})
    fitted = make_parameters({"data": data_section, "training": fit_section})
    sys.modules["train"] = trains["plain"]
    hand = (data, dataset, parameters)
    loops = {
        "lightning": lightning_loop(trains["lightning"], data, dataset, fitted),
        "quiet": quiet_loop(trains["lightning"], data, dataset, fitted),
        "plain": timed(training.project_loop(data / "plain", *hand), count),
        "bare": timed(training.bare_loop(*hand), count),
        "bare again": timed(training.bare_loop(*hand), count),
    }
    if dataset.task in ("image-classification", "tabular"):
        loops["stock"] = stock_loop(data, dataset, fitted)
    return take_turns(loops, rounds)


def measure_task(task: str, images: str, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return what `measure` does for each kind of data of a task; `images`: see find_cases."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder, trains = Path(name), {}
        for loop in ("plain", "lightning"):
            import_project(render(folder / loop, loop=loop, task=task))
            sys.modules.pop("train", None)  # Of the modules only this one differs.
            trains[loop] = importlib.import_module("train")
        trains["lightning"].silence_lightning()
        return {
            kind: measure(data, dataset, batch, trains, rounds)
            for kind, data, dataset, batch in write_data(folder, task, images)
        }


def main() -> None:
    """Measure every kind of data and print two tables for each task."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_measuring_options(parser)
    arguments = parser.parse_args()
    print(f"\n{machine('torch', 'pytorch-lightning')}; threads: 1")
    pairs = [("lightning", other) for other in ("quiet", "stock", "plain", "bare")]
    pairs += [("quiet", "bare"), ("bare again", "bare")]
    for task in arguments.task:
        # A process for each: the modules of their projects have the same names.
        results = in_own_process(measure_task, task, arguments.images, arguments.rounds)
        print_speeds(results, pairs)


if __name__ == "__main__":
    main()
