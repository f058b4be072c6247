"""Train one experiment: a folder with a params.yaml.

    python train.py                                           # trains experiments/baseline
    python train.py --experiment experiments/wide --from experiments/baseline --model.width 64

The second line starts a new experiment from an old one, with changes. A run that was stopped or
killed continues when the same command is given again, and ends in the same weights, bit for bit.

Written to the experiment's folder: last, previous and best.safetensors, metrics.jsonl,
learning_curves.png, train.log, run.json and tensorboard/.
"""

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from machinery import command_line
from parameters import Parameters

command = command_line.training(__name__, __doc__, Parameters)  # Answers --help and bad input.

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.environments import LightningEnvironment
from torch.optim.lr_scheduler import LambdaLR

import backend
from build_dataset import Dataset, open_dataset
from machinery.epoch import Epoch
from machinery.errors import InputError
from machinery.records import versions
from machinery.run import Run
from machinery.sampling import evaluation_batch_size
from model import net
from model.data_loader import Batch, evaluation_batches, load_split, training_batches
from model.report import Evaluation, objective

PRECISIONS = {torch.bfloat16: "bf16-mixed", torch.float32: "32-true"}  # as Lightning names them


def train(run: Run) -> None:
    """Train the experiment of a locked folder to its end, from wherever it stands.

    Raises:
        InputError: the data or the checkpoint cannot be used; nothing was written.
        StoppedError: on request, with everything saved.
        DivergedError: the loss is NaN or infinite; the last good checkpoint is kept.
    """
    parameters: Parameters = run.parameters
    training = parameters.training
    device = backend.choose_device(run.device)
    dtype = backend.choose_precision(device, training.precision)
    backend.prepare(parameters, run.dataset)
    silence_lightning()
    learner = Learner(parameters, run.dataset, device)
    if training.compile:
        learner.network.compile()
    trainer = pl.Trainer(
        accelerator=device.type,
        devices=1,
        precision=PRECISIONS[dtype],
        max_epochs=training.epochs,  # Change it in params.yaml: the schedule goes by it, too.
        gradient_clip_val=training.clip_norm or None,
        deterministic=training.deterministic,
        callbacks=[RunFolder(run, learner)],  # Yours go here, such as EarlyStopping("val_loss").
        logger=False,  # The run folder has TensorBoard's file already.
        default_root_dir=run.folder,  # Where a logger or a profiler of yours writes.
        enable_progress_bar=False,  # The run folder draws one.
        enable_model_summary=False,
        num_sanity_val_steps=0,
        plugins=LightningEnvironment(),  # Under SLURM it would look for `srun` and its signals.
    )
    # SIGTERM asks the run to save and stop; Lightning's own handler would end it unsaved.
    trainer._signal_connector.register_signal_handlers = lambda: None
    trainer.fit(learner, datamodule=RunData(run, device))
    run.finish()


class Learner(pl.LightningModule):
    """The network and how it learns.

    Args:
        parameters: of the experiment.
        dataset: what is learned.
        device: where the network is made.
    """

    def __init__(self, parameters: Parameters, dataset: Dataset, device: torch.device) -> None:
        super().__init__()
        self.settings = parameters  # A Module's `parameters` are its weights.
        self.dataset = dataset
        self.network = backend.make_model(parameters, dataset, device)

    def configure_optimizers(self) -> Any:
        training = self.settings.training
        optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=1.0,  # LambdaLR multiplies it by what the schedule says.
            weight_decay=training.weight_decay,
            fused=True,
        )
        steps_per_epoch = int(self.trainer.estimated_stepping_batches) // training.epochs
        schedule = LambdaLR(optimizer, backend.make_schedule(training, steps_per_epoch))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout by the number of the batch, so that a resumed run draws the same."""
        step = self.trainer.current_epoch * int(self.trainer.num_training_batches) + batch_idx
        backend.seed_step(self.settings.seed, step, self.device)

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Return the mean loss of a batch."""
        inputs, targets = batch
        outputs = self.network(inputs)
        return net.losses(outputs, targets, self.dataset, self.settings.model).mean()

    def on_validation_epoch_start(self) -> None:
        self.evaluation = Evaluation(self.dataset)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the evaluation, as evaluate.py does."""
        inputs, targets = batch
        outputs = self.network(inputs)
        losses = net.losses(outputs, targets, self.dataset)
        predictions = backend.to_numpy(net.predict(outputs, self.dataset))
        self.evaluation.add(predictions, backend.to_numpy(targets), losses.cpu().numpy())

    def on_validation_epoch_end(self) -> None:
        """Log the metrics, for callbacks such as EarlyStopping and for loggers."""
        self.log_dict({f"val_{name}": value for name, value in self.evaluation.metrics().items()})


class RunData(pl.LightningDataModule):
    """The splits train and val, in whole batches.

    Args:
        run: says where the data is, and which batch comes next.
        device: where to compute.
    """

    def __init__(self, run: Run, device: torch.device) -> None:
        super().__init__()
        self.run, self.target_device = run, device
        self.batches: Iterator[Batch] | None = None

    def setup(self, stage: str) -> None:
        folder, dataset, device = self.run.data, self.run.dataset, self.target_device
        self.train_split = load_split(folder, dataset, "train", device)
        self.val_split = load_split(folder, dataset, "val", device)

    def train_dataloader(self) -> "Batches":
        return Batches(self.rest_of_epoch, self.run.steps_per_epoch)

    def rest_of_epoch(self) -> Iterator[Batch]:
        """Yield the batches from where the run stands to the end of its epoch."""
        run = self.run
        if self.batches is None:  # One loader for all epochs: its workers start once.
            step, last_step = run.progress.step, run.total_steps
            self.batches = training_batches(
                self.train_split, run.parameters, step, last_step, self.target_device
            )
        for _ in range(run.steps_per_epoch - run.progress.step % run.steps_per_epoch):
            yield next(self.batches)

    def val_dataloader(self) -> "Batches":
        split, positions = self.val_split, self.run.dataset.positions
        length = -(-split.examples // evaluation_batch_size(positions))
        return Batches(lambda: evaluation_batches(split, positions), length)


class Batches:
    """What Lightning needs of a loader: batches to go through again and again, and their number.

    Args:
        iterate: begins a pass over the batches.
        length: how many there are in an epoch.
    """

    def __init__(self, iterate: Callable[[], Iterator[Batch]], length: int) -> None:
        self.iterate, self.length = iterate, length

    def __iter__(self) -> Iterator[Batch]:
        return self.iterate()

    def __len__(self) -> int:
        return self.length


class State(backend.State):
    """What a checkpoint holds: the network, its optimizer, and where Lightning's Trainer stands.

    Args:
        trainer: with the optimizer set up.
        network: what is trained.
    """

    def __init__(self, trainer: pl.Trainer, network: torch.nn.Module) -> None:
        super().__init__(network, trainer.optimizers[0])
        self.trainer = trainer
        self.schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays for a checkpoint; "trainer" is JSON."""
        trainer = self.trainer
        groups = self.optimizer.state_dict()["param_groups"]  # A schedule changes them.
        state = {
            "loop": trainer.fit_loop.state_dict(),
            "should_stop": trainer.should_stop,
            "groups": [{k: v for k, v in group.items() if k != "params"} for group in groups],
            "schedulers": [scheduler.state_dict() for scheduler in self.schedulers],
            "callbacks": {each.state_key: each.state_dict() for each in trainer.callbacks},
            "precision": trainer.precision_plugin.state_dict(),
        }
        text = json.dumps(state, default=lambda tensor: {"tensor": tensor.tolist()})
        return super().to_arrays() | {"trainer": np.frombuffer(text.encode(), np.uint8)}

    def load(self, arrays: dict[str, np.ndarray], path: Path) -> None:
        """Take up the arrays of a checkpoint.

        Raises:
            InputError: naming what is missing, unknown or of another shape.
        """
        if "trainer" not in arrays:
            raise InputError(
                f"{path} was not written with Lightning: it lacks the state of the Trainer. Bring "
                "back the train.py that wrote it, or start a new experiment with --from."
            )
        super().load(arrays, path)
        state = json.loads(
            arrays["trainer"].tobytes(),
            object_hook=lambda each: torch.tensor(each["tensor"]) if "tensor" in each else each,
        )
        self.trainer.fit_loop.load_state_dict(state["loop"])
        self.trainer.should_stop = state["should_stop"]
        for group, values in zip(self.optimizer.param_groups, state["groups"], strict=True):
            group.update(values)
        for scheduler, values in zip(self.schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(values)
        for callback in self.trainer.callbacks:
            if values := state["callbacks"].get(callback.state_key):
                callback.load_state_dict(values)
        if state["precision"]:
            self.trainer.precision_plugin.load_state_dict(state["precision"])


class RunFolder(pl.callbacks.Checkpoint):
    """Keeps the run folder while Lightning trains: checkpoints, metrics, log, progress bar.

    Lightning calls a Checkpoint after the other callbacks, so what they have just done is saved.

    Args:
        run: the experiment's folder, locked.
        learner: what is trained.
    """

    epoch: Epoch

    def __init__(self, run: Run, learner: Learner) -> None:
        self.run, self.learner = run, learner
        self.train_loss = self.learning_rate = 0.0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take up the newest checkpoint, now that there is an optimizer."""
        run, network = self.run, self.learner.network
        check_whole_epochs(trainer, run.parameters.training.epochs)
        dtypes = {name: dtype for dtype, name in PRECISIONS.items()}
        dtype = dtypes.get(trainer.precision, trainer.precision)
        facts = backend.facts(network, self.learner.device, dtype) | {
            "framework": "lightning",
            "versions": versions("torch", "pytorch-lightning", "numpy"),
        }
        run.begin(State(trainer, network), objective(run.dataset), facts)
        self.epochs = run.epochs()
        trainer.should_stop |= run.progress.finished

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.start_epoch()  # Lightning's own hook of that name leaves out an epoch that was cut.

    def start_epoch(self) -> None:
        self.epoch = next(self.epochs)
        # Summed on the device: to read it at every step would make a GPU wait for Python.
        self.loss_sum = torch.tensor(self.epoch.loss_sum, device=self.learner.device)

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Batch, batch_idx: int
    ) -> None:
        self.learning_rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
    ) -> None:
        """Count the batch; look at the loss, save and stop where it is time."""
        epoch, accumulated = self.epoch, trainer.accumulate_grad_batches
        examples = len(next(iter(batch[1].values())))
        # Lightning has divided the loss by the batches whose gradients are added up.
        self.loss_sum += outputs["loss"] * (examples * accumulated)
        epoch.advance(1)
        # A checkpoint holds no gradients: it is written where the optimizer has just used them.
        stepped = (batch_idx + 1) % accumulated == 0 or not epoch.steps_left
        if stepped and epoch.look_is_due():
            loss_sum = self.loss_sum.item()
            epoch.look(loss_sum)
            if not epoch.steps_left:
                self.train_loss = loss_sum / self.run.examples
                pl_module.log("train_loss", self.train_loss, on_step=False, on_epoch=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the epoch: its row has the metrics, and what else was logged as val_..."""
        logged = {
            name.removeprefix("val_"): value.item()
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val_")
        }
        metrics = self.learner.evaluation.metrics()
        self.epoch.end(self.train_loss, metrics | {**logged, **metrics}, self.learning_rate)
        trainer.should_stop |= self.run.progress.finished
        if not trainer.should_stop:
            self.start_epoch()


def check_whole_epochs(trainer: pl.Trainer, epochs: int) -> None:
    """Refuse settings of the Trainer that would make its epochs other ones than the run folder's.

    Raises:
        InputError: naming them.
    """
    expected = {
        "max_epochs": epochs,
        "max_steps": -1,
        "limit_train_batches": 1.0,
        "limit_val_batches": 1.0,
        "overfit_batches": 0.0,
        "check_val_every_n_epoch": 1,
        "val_check_interval": 1.0,
    }
    wrong = [
        f"{name}={getattr(trainer, name)!r}, expected {value!r}"
        for name, value in expected.items()
        if repr(getattr(trainer, name)) != repr(value)  # limit_train_batches=1 is one batch.
    ]
    if wrong:
        raise InputError(
            f"train.py: the Trainer has {'; '.join(wrong)}. The run folder keeps whole epochs, as "
            "many as training.epochs says. For a short run, start a new experiment: --experiment "
            "experiments/NEW --from experiments/baseline --training.epochs 1"
        )


def silence_lightning() -> None:
    """Silence what Lightning says at each training and nobody has to act on."""
    # Which devices there are and are used: the first line of the log says it.
    for package in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(f"{package}.utilities.rank_zero").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", "GPU available but not used")  # --device says so.
    # Lightning calls a function of PyTorch that has a new name.
    warnings.filterwarnings("ignore", category=FutureWarning, module="pytorch_lightning")
    # It does: RunData begins where the run stands.
    warnings.filterwarnings("ignore", ".*your dataloader is not resumable")


command.run(train, open_dataset)
