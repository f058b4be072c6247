"""best.keras: the best network of a run in one file, which Keras opens without the project.

    network = keras.models.load_model("experiments/baseline/best.keras")

It takes the inputs as the prepared data holds them, and returns what `predict` in model/net.py
returns.
"""

import logging
from pathlib import Path

import keras

import backend
from machinery import checkpoints
from machinery.errors import STORAGE_ERRORS
from machinery.files import replace, sync_file, sync_folder
from machinery.run import Run
from model import net

NAME = "best.keras"
logger = logging.getLogger("run")


def write_best(run: Run, device: str) -> None:
    """Write best.keras with the weights of best.safetensors; call it in backend.scope(device).

    A network that cannot be written like this is a warning: no finished run fails because of it.
    """
    path = run.folder / NAME
    best = run.folder / checkpoints.BEST
    try:
        arrays, _ = checkpoints.read_trained(best, run.dataset.fingerprint)
        # A new one, as what `compile` adds cannot be opened without the project.
        model = backend.make_model(run.parameters, run.dataset, device)
        backend.load_weights(model, arrays, best)
        save(keras.Model(model.input, net.predict(model.output, run.dataset)), path)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
            raise
        logger.warning(f"{path} could not be written: {error}")


def save(network: keras.Model, path: Path) -> None:
    """Write a network so that a kill at any moment leaves the old file or the new one, whole."""
    temporary = path.with_name(f".{path.stem}.tmp.keras")  # Keras asks for this ending.
    network.save(temporary)
    sync_file(temporary)
    replace(temporary, path)
    sync_folder(path.parent)
