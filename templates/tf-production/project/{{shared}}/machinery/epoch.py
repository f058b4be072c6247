"""One epoch while it trains: progress bar, clock, position, and when to check the loss."""

import logging
import math
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from machinery.errors import DivergedError, InputError

if TYPE_CHECKING:
    from machinery.run import Run

logger = logging.getLogger("run")

LOOK_STEPS = 50  # Steps between looks at the loss, as each look waits for the GPU.


class Epoch:
    """The rest of an epoch: all of it, or the steps after those that an earlier process did.

    A loop asks for the steps:

        for step in epoch.steps():
            ...                                     # one optimizer step
            if epoch.look_is_due():
                epoch.look(loss_sum)
        epoch.end(train_loss, metrics, learning_rate)

    Where a framework has the loop, a hook calls `advance(1)` after each step, then the same.

    Args:
        run: begun.
    """

    def __init__(self, run: "Run") -> None:
        from tqdm import tqdm

        self.run, self.progress = run, run.progress
        self.number = self.progress.step // run.steps_per_epoch  # from 0
        self.first_step = self.progress.step
        self.last_step = (self.number + 1) * run.steps_per_epoch  # the first of the next epoch
        self.loss_sum = self.progress.loss_sum  # of the epoch's steps before first_step
        self._looked = self.first_step
        self._save_is_due = False
        self._bar = tqdm(
            total=run.steps_per_epoch,
            desc=f"epoch {self.number + 1}",
            initial=self.first_step % run.steps_per_epoch,
            leave=False,
            disable=True if run.share.number else None,  # None: drawn only in a terminal.
        )
        self._began, self._ended = time.perf_counter(), 0.0

    def steps(self) -> Iterator[int]:
        """Yield the number of each step to go, counted from the start of the training.

        The position already counts the step that is yielded, since `look` follows on the step.
        """
        while self.steps_left:
            self.advance(1)
            yield self.progress.step - 1

    @property
    def steps_left(self) -> int:
        """Steps to the end of the epoch."""
        return self.last_step - self.progress.step

    def advance(self, steps: int) -> None:
        """Count steps: move the position and the progress bar."""
        self.progress.step += steps
        self._bar.update(steps)
        if not self.steps_left:
            self._bar.close()

    def look_is_due(self) -> bool:
        """Return whether to call `look` now: every 50 steps, at the end, and when to save."""
        self._save_is_due = self.run.save_is_due()
        step = self.progress.step
        # Several steps may be counted at once, and so pass the fiftieth.
        passed = step // LOOK_STEPS > self._looked // LOOK_STEPS
        return self._save_is_due or passed or step == self.last_step

    def look(self, loss_sum: float) -> None:
        """Check that the loss is still a number; save and stop if it is time.

        Args:
            loss_sum: over the examples of the epoch so far, including `self.loss_sum`.

        Raises:
            DivergedError: it is NaN or infinite; the last good checkpoint is kept.
            StoppedError: on request, with everything saved.
        """
        self._check_loss(loss_sum)
        self._looked = self.progress.step
        self.progress.loss_sum = loss_sum
        if not self.steps_left:
            self._ended = time.perf_counter()
        elif self._save_is_due:
            self.run.save_within_epoch()

    def _check_loss(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise DivergedError(
                f"{self.run.folder}: the loss became {loss} before step {self.progress.step:,}; "
                "no checkpoint holds it. Start a new experiment with --from and a lower "
                "training.learning_rate, or a training.clip_norm that clips more."
            )

    def _check_metrics(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Return the metrics that are numbers; warn of the others.

        Raises:
            InputError: the objective is not among them.
        """
        for name in metrics:
            if not math.isfinite(metrics[name]):
                logger.warning(
                    f"val_{name} became {metrics[name]} and is left out of this epoch: "
                    "Evaluation.metrics in model/report.py should leave out what is not defined."
                )
        numbers = {name: float(metrics[name]) for name in metrics if math.isfinite(metrics[name])}
        objective = self.run.objective.metric
        if objective not in {f"val_{name}" for name in numbers}:
            raise InputError(
                f"model/report.py: the objective is {objective!r}, expected one of the metrics of "
                f"val: {', '.join(f'val_{name}' for name in numbers)}. Change `objective`, or "
                "`Evaluation.metrics`, and run the same command again."
            )
        return numbers

    def end(self, train_loss: float, metrics: Mapping[str, float], learning_rate: float) -> None:
        """Save the epoch: its metrics, its weights if they are the best so far, a checkpoint.

        Args:
            train_loss: mean over the examples.
            metrics: on the split val, including "loss".
            learning_rate: of the last step.

        Raises:
            DivergedError: the loss on val is NaN or infinite.
            StoppedError: on request, with everything saved.
        """
        self._check_loss(metrics["loss"])
        if left := self.steps_left:
            raise InputError(
                f"train.py: epoch {self.number + 1} ended {left:,} steps before its last one, so "
                "it is not kept. Stop only at the end of an epoch, as in a callback's "
                "on_epoch_end. The checkpoints of the steps before stay."
            )
        metrics = self._check_metrics(metrics)
        row = {"epoch": self.number + 1, "step": self.progress.step, "train_loss": train_loss}
        row |= {f"val_{name}": value for name, value in metrics.items()}
        row |= {"learning_rate": learning_rate}
        steps = self.progress.step - self.first_step
        examples = min(steps * self.run.parameters.data.batch_size, self.run.examples)
        seconds = max(self._ended - self._began, 1e-9)  # Never 0, whatever the clock.
        self.run.keep_epoch(row, examples / seconds)
