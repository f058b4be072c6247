"""The callback that writes the run folder while Lightning trains, and the state it saves."""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.optim.lr_scheduler import LambdaLR

import backend
from framework.launched import check_strategy
from framework.processes import add_up
from framework.weight_average import WeightAverage
from machinery.epoch import Epoch
from machinery.errors import InputError
from machinery.records import versions
from machinery.run import Run
from model.data_loader import Batch
from model.report import objective

# A batch or a part of one: inputs, targets, and how many examples the whole batch has, divided by
# the number of processes.
Part = tuple[*Batch, float]


class RunCallback(pl.callbacks.Checkpoint):
    """Writes the run folder while Lightning trains: checkpoints, metrics, log, progress bar.

    It is a Checkpoint, which Lightning calls after the other callbacks, so that it saves their
    newest state.

    Args:
        run: the experiment's folder, locked.
        learner: the LightningModule; it has `network` and, after an epoch, its `evaluation`.
    """

    epoch: Epoch

    def __init__(self, run: Run, learner: Any) -> None:
        self.run, self.learner = run, learner
        self.train_loss = self.learning_rate = 0.0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Load the newest checkpoint, now that there is an optimizer."""
        run, network = self.run, self.learner.network
        check_whole_epochs(trainer, run.parameters.training.epochs)
        check_accumulation(trainer, len(run.share.own_parts))
        check_strategy(trainer, run.share)
        precisions = {"bf16-mixed": "bfloat16", "16-mixed": "float16", "32-true": "float32"}
        precision = precisions.get(trainer.precision, trainer.precision)
        facts = backend.facts(network, self.learner.device, precision) | {
            "framework": "lightning",
            "versions": versions("torch", "pytorch-lightning", "numpy"),
        }
        parts = len(run.share.own_parts)
        state = TrainerState(trainer, network, self.learner.average, parts)
        state.trainer_to_json()  # Refuses what no checkpoint can hold, before anything is written.
        run.begin(state, objective(run.dataset), facts)
        self.epochs = run.epochs()
        trainer.should_stop |= run.progress.finished

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Not in on_train_epoch_start, which Lightning does not call for the rest of an epoch.
        self.start_epoch()

    def start_epoch(self) -> None:
        """Go to the next epoch, with the loss of the steps that an earlier process did."""
        self.epoch = next(self.epochs)
        # Summed on the device, as reading it at every step would make Python wait for the GPU.
        self.loss_sum = torch.tensor(self.epoch.loss_sum, device=self.learner.device)

    def on_train_batch_start(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        batch: Part,
        batch_idx: int,
    ) -> None:
        self.learning_rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Part,
        batch_idx: int,
    ) -> None:
        """Count the batch; look at the loss, save and stop if it is time."""
        epoch, accumulated, (_, _, examples) = self.epoch, trainer.accumulate_grad_batches, batch
        parts = len(self.run.share.own_parts)
        # Lightning has divided the loss by the number of batches whose gradients are summed.
        loss = outputs["loss"] * (accumulated * examples / parts)
        if self.run.share.processes > 1:  # Not by trainer.strategy.reduce, which waits for all.
            (loss,) = add_up([loss])
        self.loss_sum += loss
        if (batch_idx + 1) % parts == 0:
            epoch.advance(1)  # Lightning's batches may be parts of ours.
        # A checkpoint holds no gradients, so it is written just after the optimizer has used them.
        stepped = (batch_idx + 1) % accumulated == 0 or not epoch.steps_left
        if stepped and epoch.look_is_due():
            loss_sum = self.loss_sum.item()
            epoch.look(loss_sum)
            if not epoch.steps_left:
                self.train_loss = loss_sum / self.run.examples
                pl_module.log("train_loss", self.train_loss, on_step=False, on_epoch=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the epoch: its row has the metrics and whatever else was logged as val_...

        Raises:
            InputError: a callback ended the epoch before its last step; nothing is saved.
        """
        if left := self.epoch.steps_left:
            raise InputError(
                f"train.py: epoch {self.epoch.number + 1} ended {left:,} steps before its last "
                "one, and the run folder keeps whole epochs. A callback or the Learner may set "
                "trainer.should_stop only on_validation_end or on_train_epoch_end, and may not "
                "skip the rest of an epoch. The checkpoints of the steps before are kept."
            )
        logged = {
            name.removeprefix("val_"): value.item()
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val_")
        }
        # The metrics come from the evaluation, because Lightning's copy of them has lost digits.
        metrics = logged | self.learner.evaluation.metrics()
        self.epoch.end(self.train_loss, metrics, self.learning_rate)
        trainer.should_stop |= self.run.progress.finished
        if not trainer.should_stop:
            self.start_epoch()


class TrainerState(backend.State):
    """What a checkpoint holds: the network, its optimizer, and the state of Lightning's Trainer.

    Args:
        trainer: with its optimizer set up.
        network: that the optimizer changes.
        average: of the network's weights, if it is kept.
        parts: in how many Lightning gets a batch, each of which it counts.
    """

    is_elastic = False  # DDPStrategy adds up process by process.

    def __init__(
        self,
        trainer: pl.Trainer,
        network: torch.nn.Module,
        average: WeightAverage | None = None,
        parts: int = 1,
    ) -> None:
        super().__init__(network, trainer.optimizers[0], average)
        self.parts = parts
        self.trainer: Any = trainer  # Any, as its type lacks `callbacks`.
        self.schedulers = [config.scheduler for config in trainer.lr_scheduler_configs]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the arrays for a checkpoint; "trainer" is JSON.

        Raises:
            InputError: see trainer_to_json.
        """
        text = self.trainer_to_json()
        return super().to_arrays() | {"trainer": np.frombuffer(text.encode(), np.uint8)}

    def trainer_to_json(self) -> str:
        """Return the state of the Trainer, its schedulers and its callbacks.

        Raises:
            InputError: the state of a scheduler or a callback has what JSON cannot hold.
        """
        trainer = self.trainer
        groups = self.optimizer.state_dict()["param_groups"]  # Schedules change their values.
        state = {
            "loop": trainer.fit_loop.state_dict(),
            "parts": self.parts,
            "should_stop": trainer.should_stop,
            "groups": [{k: v for k, v in group.items() if k != "params"} for group in groups],
            "schedulers": [state_of(scheduler) for scheduler in self.schedulers],
            "callbacks": {each.state_key: state_of(each) for each in trainer.callbacks},
            "precision": trainer.precision_plugin.state_dict(),
        }
        return json.dumps(state, default=tensor_to_json)

    def load(self, arrays: dict[str, np.ndarray], path: Path) -> None:
        """Load the arrays of a checkpoint.

        Raises:
            InputError: naming what is missing, unknown or of another shape.
        """
        if "trainer" not in arrays:
            raise InputError(
                f"{path} was not written with Lightning: it lacks the state of the Trainer. Bring "
                "back the train.py that wrote it, or start a new experiment with --from."
            )
        before = self.trainer_to_json()
        try:
            self._load_trainer(arrays["trainer"].tobytes())
            super().load(arrays, path)  # Where it fails, it changes nothing.
        except InputError:
            self._load_trainer(before)
            raise
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            self._load_trainer(before)
            raise InputError(
                f"{path}: the state of the Trainer cannot be used ({error!r}). Bring back a copy, "
                "or train anew with --overwrite."
            ) from None

    def _load_trainer(self, text: str | bytes) -> None:
        """Take what trainer_to_json returned."""
        state = json.loads(text, object_hook=tensor_from_json)
        then = state.get("parts", self.parts)  # Another number with another one of processes.
        batches = state["loop"]["epoch_loop.batch_progress"]
        for counts in (batches["total"], batches["current"]):
            more = counts["ready"] // then * (self.parts - then)
            counts.update({name: count + more for name, count in counts.items()})
        self.trainer.fit_loop.load_state_dict(state["loop"])
        self.trainer.should_stop = state["should_stop"]
        for group, values in zip(self.optimizer.param_groups, state["groups"], strict=True):
            group.update(values)
        for scheduler, values in zip(self.schedulers, state["schedulers"], strict=True):
            scheduler.load_state_dict(values)
            if isinstance(scheduler, LambdaLR):  # With more epochs it has another rate here.
                rates = zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
                for group, (base, factor) in zip(self.optimizer.param_groups, rates, strict=True):
                    group["lr"] = base * factor(scheduler.last_epoch)
        for callback in self.trainer.callbacks:
            if values := state["callbacks"].get(callback.state_key):
                callback.load_state_dict(values)
        if state["precision"]:
            self.trainer.precision_plugin.load_state_dict(state["precision"])


def state_of(part: Any) -> dict[str, Any]:
    """Return the state of a scheduler or a callback as what JSON can hold.

    Raises:
        InputError: it cannot.
    """
    try:
        return json.loads(json.dumps(part.state_dict(), default=tensor_to_json))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"train.py: no checkpoint can hold the state of {type(part).__name__}: {error}. Its "
            "state_dict() may have numbers, strings, lists, dictionaries and tensors."
        ) from error


def tensor_to_json(tensor: Any) -> dict[str, Any]:
    """Return a tensor, such as one in the state of a callback, as what JSON can hold.

    Raises:
        TypeError: it is no tensor.
    """
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"got {tensor!r}, a {type(tensor).__name__}")
    return {"tensor": tensor.tolist(), "dtype": str(tensor.dtype).removeprefix("torch.")}


def tensor_from_json(value: dict[str, Any]) -> Any:
    """Return the tensor of tensor_to_json again, and any other value as it is."""
    if value.keys() != {"tensor", "dtype"}:
        return value
    return torch.tensor(value["tensor"], dtype=getattr(torch, value["dtype"]))


def check_whole_epochs(trainer: Any, epochs: int) -> None:
    """Refuse settings of the Trainer by which its epochs would differ from the run folder's.

    Args:
        trainer: a pl.Trainer, whose type lacks `callbacks`.
        epochs: how many the run has.

    Raises:
        InputError: naming these settings.
    """
    expected = {
        "max_epochs": epochs,
        "max_steps": -1,
        "min_epochs": 0,  # Lightning would go on after EarlyStopping ended the run.
        "min_steps": None,
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
    timers = [each for each in trainer.callbacks if isinstance(each, pl.callbacks.Timer)]
    if any(timer.time_remaining() is not None for timer in timers):
        wrong.append("a time limit (max_time), expected --max-minutes on the command line")
    if wrong:
        raise InputError(
            f"train.py: the Trainer has {'; '.join(wrong)}. The run folder keeps whole epochs, as "
            "many as training.epochs says. For a short run, start a new experiment: --experiment "
            "experiments/NEW --from experiments/baseline --training.epochs 1"
        )


def check_accumulation(trainer: pl.Trainer, parts: int) -> None:
    """Refuse a Trainer whose steps would end within a batch.

    Args:
        trainer: its accumulate_grad_batches counts parts of batches.
        parts: in how many RunData gives a batch, or this process's share of it.

    Raises:
        InputError: naming both numbers.
    """
    if trainer.accumulate_grad_batches % parts:
        raise InputError(
            f"train.py: the Trainer has accumulate_grad_batches={trainer.accumulate_grad_batches}, "
            f"expected {parts}, the training.accumulate of params.yaml divided among the "
            "processes, or a multiple of it: each batch of data.batch_size examples comes in so "
            "many parts."
        )


def silence_lightning() -> None:
    """Silence messages of Lightning that nobody has to act on."""
    # The list of devices, which the first line of the log names.
    for package in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(f"{package}.utilities.rank_zero").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", "GPU available but not used")  # As --device asked for.
    # Lightning calls a function of PyTorch by its old name.
    warnings.filterwarnings("ignore", category=FutureWarning, module="pytorch_lightning")
    # Where SLURM is installed, it says so in each training, be it one of a single process.
    warnings.filterwarnings("ignore", "The `srun` command is available")
    # self.log looks for the size in each element of a batch. Only `examples` has none.
    warnings.filterwarnings("ignore", "Trying to infer the `batch_size`")
    # A frozen part of a network is so on purpose.
    warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode")
    # The evaluation is that of all processes already.
    warnings.filterwarnings("ignore", "It is recommended to use .*sync_dist=True")
    # It is resumable: RunData begins where the run stands.
    warnings.filterwarnings("ignore", ".*your dataloader is not resumable")
