"""Train one experiment: a folder with a params.yaml.

    python train.py                                           # trains experiments/baseline
    python train.py --experiment experiments/wide --from experiments/baseline --model.width 64

The second line starts a new experiment from an old one, with changes. A run that was stopped or
killed continues when the same command is given again, and ends in the same weights, bit for bit.

Written to the experiment's folder: last, previous and best.safetensors, metrics.jsonl,
learning_curves.png, train.log, run.json and tensorboard/.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any

from machinery import command_line
from parameters import Parameters

command = command_line.training(__name__, __doc__, Parameters)  # Answers --help and bad input.

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy
from torch.optim.lr_scheduler import LambdaLR

import backend
from build_dataset import open_dataset
from framework.buffer_means import BufferMeans
from framework.launched import Launched
from framework.pretrained import parameter_groups
from framework.processes import add_up, join
from framework.run_callback import Part, RunCallback, silence_lightning
from framework.weight_average import WeightAverage
from machinery.errors import InputError
from machinery.memory import refuse_what_is_for_the_plain_loop
from machinery.run import Run
from machinery.sampling import evaluation_batch_size, examples_of_batch
from model import net
from model.data_loader import Batch, evaluation_batches, load_split, training_batches
from model.report import Evaluation

# In float16 the Trainer scales the loss, as backend.make_scaler does elsewhere.
PRECISIONS: dict[torch.dtype, Any] = {
    torch.bfloat16: "bf16-mixed",
    torch.float16: "16-mixed",
    torch.float32: "32-true",
}


def train(run: Run) -> None:
    """Train the experiment of a locked folder to its end, from a checkpoint if there is one.

    Raises:
        InputError: the data or the checkpoint cannot be used; nothing was written.
        StoppedError: on request, with everything saved.
        DivergedError: the loss is NaN or infinite; the last good checkpoint is kept.
    """
    parameters: Parameters = run.parameters
    training = parameters.training
    refuse_what_is_for_the_plain_loop(parameters)
    device = backend.choose_device(run.device)
    dtype = backend.choose_precision(device, training.precision)
    if dtype == torch.float16 and device.type == "cpu":
        raise InputError(
            f"{run.folder / 'params.yaml'}: training.precision: Lightning computes in float16 on a "
            "GPU alone, expected auto, bfloat16 or float32. Change it with --from."
        )
    backend.prepare(parameters, run.dataset)
    silence_lightning()
    learner = Learner(run, device)
    if training.compile:
        learner.network.compile()
    launched, several = Launched(run.share), run.share.processes > 1
    ddp = DDPStrategy(find_unused_parameters=True, broadcast_buffers=False)
    trainer = pl.Trainer(
        accelerator=device.type,
        devices=launched.devices,  # As many as `python launch.py 2 train.py` has started here.
        num_nodes=launched.machines,
        strategy=ddp if several else "auto",
        use_distributed_sampler=False,  # RunData gives each process its own examples.
        precision=PRECISIONS[dtype],
        max_epochs=training.epochs,  # Change it in params.yaml, as the schedule needs it, too.
        gradient_clip_val=training.clip_norm or None,
        accumulate_grad_batches=len(run.share.own_parts),  # A batch comes in so many parts.
        deterministic=training.deterministic,
        callbacks=[RunCallback(run, learner)],  # Yours go here, such as EarlyStopping("val_loss").
        logger=False,  # RunCallback writes TensorBoard's file already.
        default_root_dir=run.folder,  # Where a logger or a profiler of yours writes.
        enable_progress_bar=False,  # RunCallback draws one.
        enable_model_summary=False,
        num_sanity_val_steps=0,
        plugins=launched,
    )
    # SIGTERM asks the run to save and stop; Lightning's own handler would end it without saving.
    trainer._signal_connector.register_signal_handlers = lambda: None
    with closing(RunData(run, device)) as data:
        trainer.fit(learner, datamodule=data)
    run.finish()


class Learner(pl.LightningModule):
    """The network and how it learns.

    Args:
        run: says what is learned, how, and which parts of each batch this process computes.
        device: where the network is made.
    """

    def __init__(self, run: Run, device: torch.device) -> None:
        super().__init__()
        self.run, self.share, self.dataset = run, run.share, run.dataset
        self.settings: Parameters = run.parameters  # `parameters` of a Module are its weights.
        self.network = backend.make_model(self.settings, self.dataset, device)
        decay = self.settings.training.average
        self.average = WeightAverage(self.network, decay) if decay else None
        self.buffer_means, self.part = BufferMeans(self.network), 0
        self.changes: list[torch.Tensor] = []  # of the buffers, by the parts so far

    def configure_optimizers(self) -> Any:
        training = self.settings.training
        # In mixed precision, Lightning refuses to clip gradients for a fused optimizer.
        clips_mixed = training.clip_norm > 0 and self.trainer.precision != "32-true"
        optimizer = torch.optim.AdamW(
            parameter_groups(self.network, training.learning_rate),  # For LambdaLR to multiply.
            weight_decay=training.weight_decay,
            fused=not clips_mixed,
        )
        steps_per_epoch = int(self.trainer.estimated_stepping_batches) // training.epochs
        schedule = LambdaLR(optimizer, backend.make_schedule(training, steps_per_epoch))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_train_batch_start(self, batch: Part, batch_idx: int) -> None:
        """Seed dropout by the number of the part, so that a resumed run draws the same."""
        own, parts = self.share.own_parts, self.share.parts
        batch_of_epoch, part = divmod(batch_idx, len(own))
        self.part = own[part]
        if parts > 1:
            self.buffer_means.start(is_first=part == 0)
        step = self.trainer.current_epoch * self.run.steps_per_epoch + batch_of_epoch
        backend.seed_step(self.settings.seed, step * parts + self.part, self.device)

    def training_step(self, batch: Part, batch_idx: int) -> torch.Tensor:
        """Return the mean loss over a batch.

        `batch` may be a part of one. Lightning divides what this returns by the number of parts of
        this process and adds up their gradients; DDPStrategy takes the mean over the processes. So
        they are those of the mean over the whole batch.
        """
        inputs, targets, examples = batch
        outputs = self.network(inputs)
        losses = net.losses(outputs, targets, self.dataset, self.settings.model)  # (B,)
        return len(self.share.own_parts) * losses.sum() / examples

    def on_after_backward(self) -> None:
        """Add up what the parts of a batch change in the buffers, such as those of batch norm."""
        own, parts = self.share.own_parts, self.share.parts
        if parts == 1:
            return
        changes = self.buffer_means.changes()
        if self.part > own[0] and changes:
            torch._foreach_add_(changes, self.changes)
        self.changes = changes
        if self.part == own[-1]:
            sums = add_up(changes) if self.share.processes > 1 else changes
            self.buffer_means.finish(sums, parts)

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Take a step, and take the new weights into their average, if one is kept."""
        step = self.trainer.global_step
        super().optimizer_step(*arguments, **named)
        if self.average:
            self.average.update(step)

    def on_validation_epoch_start(self) -> None:
        evaluation, examples = Evaluation(self.dataset), self.dataset.examples["val"]
        self.evaluation = self.run.gather(evaluation, examples)  # Counts each example once.

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the evaluation, as evaluate.py does."""
        inputs, targets = batch
        outputs = (self.average.model if self.average else self.network)(inputs)
        losses = net.losses(outputs, targets, self.dataset)
        predictions = backend.to_numpy(net.predict(outputs, self.dataset))
        self.evaluation.add(predictions, backend.to_numpy(targets), losses.cpu().numpy())

    def on_validation_epoch_end(self) -> None:
        """Log the metrics, for callbacks such as EarlyStopping and for loggers."""
        self.log_dict({f"val_{name}": value for name, value in self.evaluation.metrics().items()})


class RunData(pl.LightningDataModule):
    """The splits train and val, in whole batches, or in parts where gradients accumulate.

    A batch of training is what one optimizer step takes. With training.accumulate, Lightning gets
    its parts one after the other; of several processes, each gets its own.

    Args:
        run: says where the data is and which batch comes next.
        device: where to compute.
    """

    def __init__(self, run: Run, device: torch.device) -> None:
        super().__init__()
        self.run, self.target_device = run, device
        self.batches: Generator[Batch] | None = None

    def setup(self, stage: str) -> None:
        folder, dataset, device = self.run.data, self.run.dataset, self.target_device
        self.train_split = load_split(folder, dataset, "train", device)
        self.val_split = load_split(folder, dataset, "val", device)

    def train_dataloader(self) -> "Batches":
        parts = len(self.run.share.own_parts)
        return Batches(self.rest_of_epoch, self.run.steps_per_epoch * parts)

    def rest_of_epoch(self) -> Iterator[Part]:
        """Yield the batches from where the run stands to the end of its epoch, or their parts."""
        run, parts = self.run, len(self.run.share.own_parts)
        if self.batches is None:  # One loader for all epochs, so that its workers start only once.
            step, last_step = run.progress.step, run.total_steps
            self.batches = training_batches(
                self.train_split, run.parameters, step, last_step, self.target_device, run.share
            )
        for step in range(run.progress.step % run.steps_per_epoch, run.steps_per_epoch):
            whole = examples_of_batch(run.examples, run.steps_per_epoch, step)
            for inputs, targets, examples in backend.split_batch(next(self.batches), parts):
                # Several processes have a share of the batch each.
                several = run.share.processes > 1
                yield inputs, targets, whole / run.share.processes if several else examples

    def close(self) -> None:
        """End the processes that load batches."""
        if self.batches:
            self.batches.close()

    def val_dataloader(self) -> "Batches":
        split, share = self.val_split, self.run.share
        batches = -(-split.examples // evaluation_batch_size(split.dataset.positions))
        turns = -(-batches // share.processes)  # of this process
        return Batches(lambda: evaluation_batches(split, share), turns)


class Batches:
    """A loader for Lightning: batches to iterate over more than once, and their number.

    Args:
        iterate: returns a new iterator over the batches.
        length: how many batches an epoch has.
    """

    def __init__(self, iterate: Callable[[], Iterator[Any]], length: int) -> None:
        self.iterate, self.length = iterate, length

    def __iter__(self) -> Iterator[Any]:
        return self.iterate()

    def __len__(self) -> int:
        return self.length


command.run(train, open_dataset, join)
