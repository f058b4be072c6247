"""Whether a run may continue from a checkpoint: from that of another run, it may not."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from machinery import contents, records
from machinery.checkpoints import Header, Progress
from machinery.errors import InputError
from machinery.parameter_file import differences, flatten, old_names, parameter_fields
from machinery.shards.remote import url_of

if TYPE_CHECKING:
    from machinery.run import Run

logger = logging.getLogger("run")

EPOCHS = "training.epochs"  # The one parameter that a run may change: more of them go on with it.
WAY_OUT = "start a new experiment with --from, or train anew with --overwrite."


def differ_in_epochs(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Return whether two flat parameter sets differ in the number of epochs alone."""
    return [name for name in {**old, **new} if old.get(name) != new.get(name)] == [EPOCHS]


def refuse_to_replace(run: "Run") -> None:
    """Refuse a folder with files that a run would replace, and that no run wrote."""
    if run.overwrite or (run.folder / "params.yaml").exists():
        return
    if found := [name for name in run.outputs if (run.folder / name).exists()]:
        raise InputError(
            f"{run.folder} holds {', '.join(found)} and no params.yaml, so no run wrote them. "
            "A run would replace them: move them, or name another --experiment."
        )


def refuse_another_run(run: "Run", path: Path, header: Header) -> str:
    """Refuse the checkpoint of other parameters, other data, or another optimizer.

    Another number of epochs is no other run, if more of them than are done.

    Args:
        run: with its new network and optimizer.
        path: the checkpoint.
        header: of the checkpoint; its progress may become unfinished again.

    Returns:
        What another number of epochs means; without one, an empty string.

    Raises:
        InputError: naming what differs.
    """
    # A parameter that did not exist when the checkpoint was written had its default.
    schema = type(run.parameters)
    defaults = {name: field.default for name, field in parameter_fields(schema)}
    today = old_names(schema)
    then = defaults | {today.get(name, name): v for name, v in header.parameters.items()}
    now = flatten(run.parameters)
    changed = differences(then, now)
    if changed and not differ_in_epochs(then, now):
        raise InputError(
            f"{run.folder / 'params.yaml'} changed since {path} was written: {changed}. "
            f"Change it back, {WAY_OUT}"
        )
    if header.fingerprint != run.dataset.fingerprint:
        raise InputError(
            f"{path} was trained on other data (fingerprint {header.fingerprint}, now "
            f"{run.dataset.fingerprint}). Bring that data back, name its folder with --data, "
            f"{WAY_OUT}"
        )
    if header.optimizer != run.state.optimizer_name:
        raise InputError(
            f"{path} was trained by {header.optimizer}, and train.py now has "
            f"{run.state.optimizer_name}. Bring it back, {WAY_OUT}"
        )
    if problem := _find_nonsense(run, header.progress, then[EPOCHS]):
        raise InputError(f"{path} {problem}, which cannot be. Bring back a copy, {WAY_OUT}")
    notice = _change_epochs(run, header.progress, changed) if changed else ""
    _refuse_changed_arrays(run)
    return notice


def changed_processes(run: "Run") -> str:
    """Return what it means that a run goes on with another number of processes or devices, if any.

    With training.accumulate above 1, it may mean nothing: the same numbers are added up.
    """
    is_elastic, parts = run.state.is_elastic, run.parameters.training.accumulate
    sessions = records.read_sessions(run.folder)[-1:]
    if not sessions or (is_elastic and parts > 1):
        return ""
    advice = " It is with training.accumulate, set to a multiple of both from the start."
    for one, several in (("process", "processes"), ("device", "devices")):
        then, now = sessions[0].get(several, 1), getattr(run.share, several)
        if then != now:
            return (
                f"{run.folder} was trained by {then} {one if then == 1 else several} until here "
                f"and goes on with {now}: the result is close to that of either number all along, "
                f"but not the same.{advice if is_elastic else ''}"
            )
    return ""


def _change_epochs(run: "Run", progress: Progress, changed: str) -> str:
    """Let a run go on to another number of epochs; return what that means for it.

    Args:
        run: with its new parameters.
        progress: of the checkpoint.
        changed: the two numbers, in words.

    Raises:
        InputError: nothing would be left to do.
    """
    path, training = run.folder / "params.yaml", run.parameters.training
    done = progress.step / run.steps_per_epoch
    if 0 < training.patience <= progress.stale_epochs:
        raise InputError(
            f"{path}: {changed}, but training.patience {training.patience} ended the run after "
            f"{done:g} epochs, as it would have with any number. Change it back, or {WAY_OUT}"
        )
    if run.total_steps <= progress.step:
        raise InputError(
            f"{path}: {changed}, expected more than the {done:.4g} epochs that are trained. "
            f"Change it back, or {WAY_OUT}"
        )
    progress.finished = False
    if training.schedule == "constant":
        return f"{changed}: the run goes on as if this had been asked for at first."
    return (
        f"{changed}: the learning rate goes on where the schedule of {training.epochs} epochs has "
        "it at this step, so the result is not that of a run begun with it (as it would be with "
        "training.schedule constant)."
    )


def _find_nonsense(run: "Run", progress: Progress, epochs: int) -> str:
    """Return what cannot be true of the position of a run of some epochs, or an empty string."""
    total_steps = epochs * run.steps_per_epoch
    if progress.step > total_steps:
        return f"says that the run is at step {progress.step:,} of {total_steps:,}"
    at_the_end_of_an_epoch = progress.step % run.steps_per_epoch == 0
    out_of_patience = 0 < run.parameters.training.patience <= progress.stale_epochs
    finished = progress.step == total_steps or (at_the_end_of_an_epoch and out_of_patience)
    if progress.finished != finished:
        word = "finished" if progress.finished else "not finished"
        return f"says that the run is {word} at step {progress.step:,} of {total_steps:,}"
    if progress.best is not None and run.objective.metric not in progress.best:
        return f"holds no {run.objective.metric} of the best epoch"
    return ""


def _refuse_changed_arrays(run: "Run") -> None:
    """Refuse arrays that were changed in place while the run was not training.

    Their sizes and times tell whether to look, as reading a large dataset takes long.
    """
    if url_of(run.data):  # Which shards are here changes, and each was checked when it came.
        return
    stamps = [session.get("data_stamp") for session in records.read_sessions(run.folder)]
    folder = run.data / run.dataset.arrays_folder
    if not stamps or stamps[-1] in (None, contents.stamp(folder)):
        return
    logger.info(f"{folder}: not as the run left it, by size or time; comparing the content.")
    if changed := contents.changed_files(folder):
        names = ", ".join(path.name for path in changed)
        raise InputError(
            f"{folder}: the content of {names} is not what the build wrote. Bring it back, or "
            f"prepare the data again, and then {WAY_OUT}"
        )
