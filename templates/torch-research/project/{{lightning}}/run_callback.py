"""What keeps the run folder while Lightning trains, and what a checkpoint holds of Lightning."""

import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

import backend
from machinery.epoch import Epoch
from machinery.errors import InputError
from machinery.records import versions
from machinery.run import Run
from model.data_loader import Batch
from model.report import objective


class RunCallback(pl.callbacks.Checkpoint):
    """Keeps the run folder while Lightning trains: checkpoints, metrics, log, progress bar.

    Lightning calls a Checkpoint after the other callbacks, so what they have just done is saved.

    Args:
        run: the experiment's folder, locked.
        learner: what is trained: it has `network`, and `evaluation` after each epoch.
    """

    epoch: Epoch

    def __init__(self, run: Run, learner: Any) -> None:
        self.run, self.learner = run, learner
        self.train_loss = self.learning_rate = 0.0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take up the newest checkpoint, now that there is an optimizer."""
        run, network = self.run, self.learner.network
        check_whole_epochs(trainer, run.parameters.training.epochs)
        precisions = {"bf16-mixed": "bfloat16", "32-true": "float32"}
        precision = precisions.get(trainer.precision, trainer.precision)
        facts = backend.facts(network, self.learner.device, precision) | {
            "framework": "lightning",
            "versions": versions("torch", "pytorch-lightning", "numpy"),
        }
        run.begin(TrainerState(trainer, network), objective(run.dataset), facts)
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
        self.loss_sum.add_(outputs["loss"], alpha=examples * accumulated)
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
        """Keep the epoch: its row has the metrics, and whatever else was logged as val_..."""
        logged = {
            name.removeprefix("val_"): value.item()
            for name, value in trainer.callback_metrics.items()
            if name.startswith("val_")
        }
        # From the evaluation itself: what is logged has lost digits.
        metrics = logged | self.learner.evaluation.metrics()
        self.epoch.end(self.train_loss, metrics, self.learning_rate)
        trainer.should_stop |= self.run.progress.finished
        if not trainer.should_stop:
            self.start_epoch()


class TrainerState(backend.State):
    """What a checkpoint holds: the network, its optimizer, and where Lightning's Trainer stands.

    Args:
        trainer: with the optimizer set up.
        network: what is trained.
    """

    def __init__(self, trainer: pl.Trainer, network: torch.nn.Module) -> None:
        super().__init__(network, trainer.optimizers[0])
        self.trainer: Any = trainer  # Its type does not tell that it has `callbacks`.
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
        text = json.dumps(state, default=tensor_to_json)
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
        state = json.loads(arrays["trainer"].tobytes(), object_hook=tensor_from_json)
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


def tensor_to_json(tensor: torch.Tensor) -> dict[str, Any]:
    """Write a tensor in the state of a callback as JSON."""
    return {"tensor": tensor.tolist(), "dtype": str(tensor.dtype).removeprefix("torch.")}


def tensor_from_json(value: dict[str, Any]) -> Any:
    """Read it again; what is no tensor stays as it is."""
    if value.keys() != {"tensor", "dtype"}:
        return value
    return torch.tensor(value["tensor"], dtype=getattr(torch, value["dtype"]))


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
