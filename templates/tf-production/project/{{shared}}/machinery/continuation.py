"""Whether a run may continue from a checkpoint: from that of another run, it may not."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from machinery import contents, records
from machinery.checkpoints import Header, Progress
from machinery.errors import InputError
from machinery.parameter_file import differences, flatten, old_names, parameter_fields

if TYPE_CHECKING:
    from machinery.run import Run

logger = logging.getLogger("run")

WAY_OUT = "start a new experiment with --from, or train anew with --overwrite."


def refuse_another_run(run: "Run", path: Path, header: Header) -> None:
    """Refuse the checkpoint of other parameters, other data, or another optimizer.

    Args:
        run: with its new network and optimizer.
        path: the checkpoint.
        header: of the checkpoint.

    Raises:
        InputError: naming what differs.
    """
    # A parameter that did not exist when the checkpoint was written had its default.
    schema = type(run.parameters)
    defaults = {name: field.default for name, field in parameter_fields(schema)}
    today = old_names(schema)
    then = defaults | {today.get(name, name): v for name, v in header.parameters.items()}
    if changed := differences(then, flatten(run.parameters)):
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
    if problem := _find_nonsense(run, header.progress):
        raise InputError(f"{path} {problem}, which cannot be. Bring back a copy, {WAY_OUT}")
    _refuse_changed_arrays(run)


def _find_nonsense(run: "Run", progress: Progress) -> str:
    """Return what cannot be true of the position of a run, or an empty string."""
    if progress.step > run.total_steps:
        return f"says that the run is at step {progress.step:,} of {run.total_steps:,}"
    at_the_end_of_an_epoch = progress.step % run.steps_per_epoch == 0
    out_of_patience = 0 < run.parameters.training.patience <= progress.stale_epochs
    finished = progress.step == run.total_steps or (at_the_end_of_an_epoch and out_of_patience)
    if progress.finished != finished:
        word = "finished" if progress.finished else "not finished"
        return f"says that the run is {word} at step {progress.step:,} of {run.total_steps:,}"
    if progress.best is not None and run.objective.metric not in progress.best:
        return f"holds no {run.objective.metric} of the best epoch"
    return ""


def _refuse_changed_arrays(run: "Run") -> None:
    """Refuse arrays that were changed in place while the run was not training.

    Their sizes and times tell whether to look, as reading a large dataset takes long.
    """
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
