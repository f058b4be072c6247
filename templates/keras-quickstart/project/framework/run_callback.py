"""The callback that writes the run folder while Keras trains: checkpoints, metrics, log."""

from collections.abc import Callable, Iterator
from typing import Any

import keras

import backend
from machinery.run import Run
from model.data_loader import TrainingBatches


class RunCallback(keras.callbacks.Callback):
    """Writes the run folder while Keras trains.

    Put it before other callbacks: then they find val_loss and the other metrics on val in the logs
    of an epoch. Checkpoints do not hold the state of other callbacks: in a run that continues,
    EarlyStopping, for one, counts its epochs anew.

    Args:
        run: begun.
        batches: what `fit` trains on.
        schedule: the learning rate by step.
        evaluate: returns the metrics on val.

    Raises:
        StoppedError: through `fit`, on request, with everything saved.
        DivergedError: through `fit`: the loss is NaN or infinite; the last good checkpoint is kept.
    """

    def __init__(
        self,
        run: Run,
        batches: TrainingBatches,
        schedule: Callable[[int], Any],
        evaluate: Callable[[], dict[str, float]],
    ) -> None:
        super().__init__()
        self.run, self.epochs = run, run.epochs()
        self.batches, self.schedule, self.evaluate = batches, schedule, evaluate

    def epochs_to_fit(self) -> Iterator[range]:
        """Yield the epochs of each call of `fit`: one call, or two after a stop within an epoch.

        The rest of that epoch has a call of its own, as it has fewer batches, and `fit` asks for
        their number only once.
        """
        epoch, done = divmod(self.run.progress.step, self.run.steps_per_epoch)
        if done:
            self.batches.start(self.run.progress.step)
            yield range(epoch, epoch + 1)
            if self.model.stop_training:  # The next `fit` would forget it.
                return
            epoch += 1
        if not self.run.progress.finished:
            self.batches.start(epoch * self.run.steps_per_epoch)
            yield range(epoch, self.run.parameters.training.epochs)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Go to the position of the run, and to the loss of the steps that were done before."""
        self.epoch = next(self.epochs)
        self.batches.start(self.epoch.first_step)
        loss = backend.mean_loss(self.model)  # `fit` has just set it to zero.
        loss.total.assign(self.epoch.loss_sum)
        loss.count.assign(self.batches.counted)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count the steps that were taken; look at the loss, save and stop if it is time."""
        # An execution of several batches counts them all, even where the epoch ends before.
        batches, parts = min(batch + 1, len(self.batches)), self.batches.parts
        if batches % parts:
            return  # Only whole steps are counted.
        step = self.epoch.first_step + batches // parts
        self.epoch.advance(step - self.run.progress.step)
        if self.epoch.look_is_due():
            loss = backend.mean_loss(self.model)
            self.epoch.look(float(keras.ops.convert_to_numpy(loss.total)))

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Evaluate, save the metrics and the weights, and stop after the last epoch."""
        metrics = self.evaluate()
        # The callbacks that come after this one read these logs.
        logs.update({f"val_{name}": value for name, value in metrics.items()})
        learning_rate = float(self.schedule(self.epoch.last_step - 1))
        self.epoch.end(logs["loss"], metrics, learning_rate)
        if self.run.progress.finished:
            self.model.stop_training = True
