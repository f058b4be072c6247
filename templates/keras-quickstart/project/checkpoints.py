"""What a checkpoint holds of Keras: every variable of the network and of the optimizer.

Those of the network count the random numbers that dropout has drawn, and those of the optimizer
count the steps, on which the learning rate depends. (A .weights.h5 file holds neither.)
"""

from collections.abc import Mapping
from pathlib import Path

import keras
import numpy as np

import utils
from run_folder import Progress, Run


def named(**owners: keras.Model | keras.optimizers.Optimizer) -> dict[str, keras.Variable]:
    """Return the variables of the owners, by names such as "model.conv2d/kernel"."""
    return {
        f"{prefix}.{variable.path}": variable
        for prefix, owner in owners.items()
        for variable in owner.variables
    }


def to_arrays(variables: Mapping[str, keras.Variable]) -> dict[str, np.ndarray]:
    """Return the values of variables, by the same names."""
    return {name: keras.ops.convert_to_numpy(variable) for name, variable in variables.items()}


def load_variables(
    variables: Mapping[str, keras.Variable], arrays: Mapping[str, np.ndarray], path: Path
) -> None:
    """Put the arrays of a checkpoint into variables.

    Args:
        variables: of the network, and of the optimizer or not.
        arrays: what the checkpoint holds.
        path: the checkpoint, to name in the message.

    Raises:
        InputError: naming what is missing, unknown or of another shape.
    """
    owners = {name.partition(".")[0] for name in variables}
    found = {name: array for name, array in arrays.items() if name.partition(".")[0] in owners}
    problems = [f"{name} is missing" for name in variables if name not in found]
    problems += [f"{name} is unknown" for name in found if name not in variables]
    problems += [
        f"{name} is {found[name].shape}, expected {tuple(variable.shape)}"
        for name, variable in variables.items()
        if name in found and found[name].shape != tuple(variable.shape)
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise utils.InputError(
            f"{path} does not fit the network in model/net.py: {'; '.join(problems[:5])}{more}. "
            "Bring the network back as it was trained, or train anew."
        )
    for name, variable in variables.items():
        variable.assign(found[name])


def restore(run: Run, model: keras.Model) -> Progress:
    """Take up the last checkpoint of a run where there is one; return where the run stands."""
    model.optimizer.build(model.trainable_variables)
    if not (checkpoint := run.load()):
        return Progress()
    arrays, progress = checkpoint
    state = named(model=model, optimizer=model.optimizer)
    load_variables(state, arrays, run.folder / run.last)
    return progress


def save(run: Run, model: keras.Model, progress: Progress) -> None:
    """Write the last checkpoint of a run."""
    run.save(to_arrays(named(model=model, optimizer=model.optimizer)), progress)
