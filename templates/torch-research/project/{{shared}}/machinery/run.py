"""One experiment while it trains: its folder, locked, and where it stands."""

import contextlib
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from machinery import checkpoints, contents, records, rerun, schemas
from machinery.checkpoints import Header, Progress, State
from machinery.continuation import changed_processes, refuse_another_run, refuse_to_replace
from machinery.epoch import Epoch
from machinery.errors import CommandError, InputError, is_out_of_memory, out_of_memory
from machinery.files import remove
from machinery.metrics import MetricsLog, Objective, describe, read_metrics
from machinery.parameter_file import flatten
from machinery.run_processes import ONE_OF_SEVERAL
from machinery.shards import remote
from machinery.share import Share
from machinery.stopping import StopRequest
from machinery.terminal import describe_load, quote

if TYPE_CHECKING:  # NumPy takes longer to import than --help takes to answer.
    import numpy as np

logger = logging.getLogger("run")
logger.setLevel(logging.INFO)  # train.log gets every line, even if the terminal shows none.


class Run:
    """One experiment folder: it reads params.yaml and writes checkpoints, metrics and log.

    As a context manager it holds the folder's lock, so that only one process writes there. Inside:

        run.begin(state, objective, facts)      # continues where the folder stands
        for epoch in run.epochs(): ...          # see Epoch
        run.finish()

    Args:
        folder: of the experiment.
        parameters: what it is trained with.
        dataset: what it is trained on, as dataset.json describes it.
        data: the folder of the dataset.
        stop: says when to save and stop.
        device: the name of the device that was asked for.
        overwrite: replace the run in the folder.

    `on_epoch`, if set, is called with each row of metrics once the epoch is saved.

    Raises:
        InputError: another process holds the lock, or the run in the folder cannot be continued.
    """

    # What `overwrite` deletes; the record first, so that a kill leaves no run called finished.
    outputs: tuple[str, ...] = (
        *("run.json", checkpoints.LAST, checkpoints.PREVIOUS, checkpoints.BEST, "metrics.jsonl"),
        *("dataset.json", "statistics.json", "train.log", "learning_curves.png"),
    )

    def __init__(
        self,
        folder: Path,
        parameters: Any,
        dataset: Any,
        data: Path,
        stop: StopRequest,
        device: str = "auto",
        overwrite: bool = False,
    ) -> None:
        self.folder, self.parameters, self.dataset, self.data = folder, parameters, dataset, data
        self.stop, self.device, self.overwrite = stop, device, overwrite
        self.examples: int = dataset.examples["train"]
        self.steps_per_epoch = math.ceil(self.examples / parameters.data.batch_size)
        self.total_steps: int = parameters.training.epochs * self.steps_per_epoch
        self.share = Share(parts=parameters.training.accumulate)  # of this process: all parts
        self.group: Any = None  # The processes that train it together, if there are several.
        self.progress = Progress()
        self.on_epoch: Callable[[dict[str, float]], None] | None = None
        self.record: records.Record | None = None  # begin() makes it.
        self.rerun_of: Path | None = None  # The run that this one is to repeat.
        self.changed_epochs = ""  # What it means if the epochs are others than before, in words.
        self._log: logging.FileHandler | None = None
        self._lock = FileLock(folder / ".lock", timeout=1)  # is_running() takes it for a moment.
        self._made_lock, self._made_folders = False, list[Path]()

    def __enter__(self) -> "Run":
        self._made_lock = not (self.folder / ".lock").exists()
        folders = (self.folder, *self.folder.parents)
        self._made_folders = [path for path in folders if not path.exists()]
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            holder = records.read_sessions(self.folder)[-1:] or [{}]
            who = f"process {holder[0].get('process')} on {holder[0].get('host')}"
            raise InputError(f"{self.folder} is in use by {who}. Wait, or stop it.") from None
        return self

    def __exit__(self, kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is None or not is_out_of_memory(error):
            self._leave(error)
            return
        # A message that says what to try next, instead of the framework's traceback.
        parts = self.share.parts * self.progress.pieces
        advice = out_of_memory(self.folder, self.examples // self.steps_per_epoch, parts)
        self._leave(advice)
        raise advice from None

    def _leave(self, error: BaseException | None) -> None:
        """Record how the session ended, close the files and free the folder."""
        if self.record:
            outcome = getattr(error, "outcome", "failed") if error else "finished"
            seconds = round(time.perf_counter() - self._began, 3)
            self.record.update(ended=records.now(), outcome=outcome, seconds=seconds)
            self._metrics.close()
        elif self._made_lock:  # Refused before it began: what __enter__ made is removed.
            with contextlib.suppress(OSError):  # Windows removes it when it is released.
                (self.folder / ".lock").unlink()
        if self._log:
            if isinstance(error, CommandError):  # The terminal gets it at the end of the command.
                words = (logger.name, logging.INFO, "", 0, str(error), (), None)
                self._log.handle(logger.makeRecord(*words))
            logger.removeHandler(self._log)
            self._log.close()
        self._lock.release()
        with contextlib.suppress(OSError):  # No folder is removed that holds anything.
            for path in self._made_folders:
                path.rmdir()

    # -- the beginning

    def begin(self, state: State, objective: Objective, facts: Mapping[str, Any]) -> None:
        """Load the newest checkpoint, or start without one; then begin to write into the folder.

        Args:
            state: the network and its optimizer, newly made.
            objective: says which epoch is the best.
            facts: what to record about this process: framework, device, precision, weights, ...

        Raises:
            InputError: the checkpoints are damaged, or belong to other parameters, other data, or
                another network or optimizer, or pretrained weights cannot be read; nothing was
                written.
        """
        self.state, self.objective = state, objective
        refuse_to_replace(self)
        notices = self._load_checkpoint()
        if self.progress.step:
            notices.append(records.changed_code(self.folder))
        else:
            state.start()
        self._began = self.saved = time.perf_counter()
        self._seconds_before = self.progress.seconds
        self._prepare_folder()
        self._metrics = MetricsLog(self.folder, self.progress.metrics_bytes)
        self.record = records.Record(
            self.folder,
            {
                "overwrite": self._anew or self._continues_overwriting,
                "from_step": self.progress.step,
                "changed_epochs": self.changed_epochs,
                "rerun_of": self.rerun_of.as_posix() if self.rerun_of else None,
                "parameters": flatten(self.parameters),
                "optimizer": state.optimizer_name,
                "task": self.dataset.task,
                "objective": objective._asdict(),
                **self.share.facts,
                "fingerprint": self.dataset.fingerprint,
                "data": remote.shown(self.data),
                "data_stamp": contents.stamp(self.data / self.dataset.arrays_folder),
                **facts,
            },
        )
        if self.rerun_of:
            notices += rerun.compare_conditions(self.rerun_of, self.record.session)
        for notice in filter(None, notices):
            logger.warning(notice)
        self._announce(facts)

    def _load_checkpoint(self) -> list[str]:
        """Load the newest checkpoint; return the warnings about it."""
        # A run begun with --overwrite and stopped continues, like any other.
        sessions = records.read_sessions(self.folder)
        overwrote = bool(sessions and sessions[-1].get("overwrite"))
        self._continues_overwriting = overwrote and not records.is_finished(self.folder)
        self._anew = self.overwrite and not self._continues_overwriting
        if self._anew:
            return []
        try:
            found = checkpoints.read_newest(self.folder)
            if found:
                arrays, header, path, notice = found
                self.changed_epochs = refuse_another_run(self, path, header)
                read_metrics(self.folder, header.progress.metrics_bytes)  # Refuses a damaged file.
                self.state.load(arrays, path)
                self.progress = header.progress
                return [notice, self.changed_epochs, changed_processes(self)]
            if len(read_metrics(self.folder)) > 1:  # A kill may leave one row and no checkpoint.
                raise InputError(
                    f"{self.folder / checkpoints.LAST}: not found, and {self.folder} holds "
                    "metrics of several epochs. Bring the checkpoint back, or train anew with "
                    "--overwrite."
                )
        except InputError as error:
            if not self.overwrite:
                raise InputError(f"{error}\n{records.changed_code(self.folder)}".strip()) from None
            self._anew = True
        return []

    def _prepare_folder(self) -> None:
        """Delete what is out of date; write params.yaml and what the data is; open train.log."""
        from machinery.statistics_file import write_description

        if deleted := records.delete_evaluations(self.folder):
            logger.info(f"{self.folder}: deleted, as training goes on: {', '.join(deleted)}")
        if self._anew:
            # The record names the diffs, so they go first.
            for name in (*records.diffs(self.folder), *self.outputs):
                remove(self.folder / name)
        schemas.write_parameters(self.folder / "params.yaml", self.parameters, self._anew)
        write_description(self.folder, self.dataset, self.data)
        self._log = logging.FileHandler(self.folder / "train.log", encoding="utf-8")
        self._log.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        logger.addHandler(self._log)

    def _announce(self, facts: Mapping[str, Any]) -> None:
        """Log the first line: whether training starts or continues, and where."""
        how = "continuing at" if self.progress.step else "starting,"
        words = [
            f"{self.folder}: {how} step {self.progress.step:,} of {self.total_steps:,}",
            f"{self.steps_per_epoch:,} {'step' if self.steps_per_epoch == 1 else 'steps'} an epoch",
            f"{facts['weights']:,} weights",
            f"{facts['device']}, {facts['precision']}{self.share.words}",
        ]
        logger.info("; ".join(words))
        if advice := describe_load(facts["device"]):
            logger.warning(advice)

    # -- the epochs

    def epochs(self) -> Iterator[Epoch]:
        """Yield the epochs to go; the first may be the rest of one that was interrupted."""
        while not self.progress.finished:
            yield Epoch(self)

    def save_is_due(self) -> bool:
        """Return whether a stop was asked for or training.checkpoint_minutes have passed."""
        minutes = self.parameters.training.checkpoint_minutes
        return bool(self.stop) or time.perf_counter() > self.saved + 60 * minutes

    def save(self, arrays: "Mapping[str, np.ndarray]") -> None:
        """Write last.safetensors; the file that had this name becomes previous.safetensors.

        Raises:
            DivergedError: a number of the state is NaN or infinite; nothing is written.
        """
        self.saved = time.perf_counter()
        self.progress.seconds = self._seconds_before + self.saved - self._began
        self._write(checkpoints.LAST, arrays, checkpoints.PREVIOUS)

    def save_within_epoch(self) -> None:
        """Save the state within an epoch; raise StoppedError where a stop was asked for."""
        self.save(self.arrays())
        if self.stop:
            raise self.stop.stopped(self.folder, self.progress.step)

    def arrays(self) -> "Mapping[str, np.ndarray]":
        """Return the arrays of the state."""
        return self.state.to_arrays()

    def keep_epoch(self, row: dict[str, float], examples_per_second: float) -> None:
        """Save an epoch: its metrics, its weights if they are the best so far, a checkpoint.

        Args:
            row: epoch, step, train_loss, the metrics on val, learning_rate.
            examples_per_second: of the training.

        Raises:
            DivergedError: a weight is NaN or infinite.
            StoppedError: on request, with everything saved.
        """
        progress, training = self.progress, self.parameters.training
        is_best = self.objective.is_better(row, progress.best)
        progress.best = row if is_best else progress.best
        progress.stale_epochs = 0 if is_best else progress.stale_epochs + 1
        out_of_patience = 0 < training.patience <= progress.stale_epochs
        progress.finished = progress.step == self.total_steps or out_of_patience
        progress.loss_sum = 0.0
        arrays = self.arrays()
        self.write_row(row, arrays if is_best else None)
        self.save(arrays)
        self.say_epoch(row, examples_per_second)
        if self.stop and not progress.finished:
            raise self.stop.stopped(self.folder, progress.step)

    def write_row(self, row: dict[str, float], best: "Mapping[str, np.ndarray] | None") -> None:
        """Write the metrics of an epoch, and best.safetensors where it is the best so far."""
        self.progress.metrics_bytes = self._metrics.append(row)
        if best is not None:
            weights = checkpoints.trained_weights(best)
            named = {checkpoints.WEIGHTS + name: weights[name] for name in weights}
            self._write(checkpoints.BEST, named)

    def say_epoch(self, row: dict[str, float], examples_per_second: float) -> None:
        """Log an epoch that is saved, and tell who asked for it."""
        assert self.record
        self.record.session["examples_per_second"] = round(examples_per_second)
        logger.info(
            f"epoch {row['epoch']:3}/{self.parameters.training.epochs}  "
            f"train loss {row['train_loss']:.4f}  {describe(row, '  ')}  "
            f"{examples_per_second:,.0f} examples/s"
        )
        if self.on_epoch:
            self.on_epoch(row)

    def _write(
        self, name: str, arrays: "Mapping[str, np.ndarray]", keep: str | None = None
    ) -> None:
        header = Header(
            progress=self.progress,
            parameters=flatten(self.parameters),
            fingerprint=self.dataset.fingerprint,
            optimizer=self.state.optimizer_name if keep else "no optimizer: the weights alone",
            arrays=checkpoints.describe(arrays),
        )
        kept = self.folder / keep if keep else None
        checkpoints.write_checkpoint(self.folder / name, arrays, header, kept)

    def gather(self, evaluation: Any, examples: int) -> Any:
        """Return an evaluation of some examples to which all processes add."""
        return evaluation

    # -- the end

    def finish(self) -> None:
        """Draw the learning curves, and say which epoch was best and what to do next."""
        from machinery.pictures import draw_learning_curves

        draw_learning_curves(self.folder, (best := self.progress.best or {}).get("epoch"))
        words = ["python", "evaluate.py", "--experiment", self.folder]
        words += ["--data", remote.shown(self.data)] if self.data != Path("data") else []
        next_step = "" if ONE_OF_SEVERAL in os.environ else f"; next: {quote(*words)}"
        logger.info(f"best epoch {best.get('epoch', 0):.0f}: {describe(best, ', ')}{next_step}")
