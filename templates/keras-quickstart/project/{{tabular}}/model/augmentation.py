"""What is changed at random in the training rows: drawn by `draw`, done by `augment`."""

from collections.abc import Mapping

import numpy as np

from model.parameters import DataParameters

DRAWN = 64  # Draws a row. Columns that lie so far apart are hidden together.


def draw(examples: int, parameters: DataParameters, seed: int, epoch: int) -> dict[str, np.ndarray]:
    """Draw what happens to every training example in an epoch.

    Returns:
        What is switched on of: hidden (examples, 64) bool, which columns to hide as missing,
        counted through the numbers and then the categories.
    """
    if not parameters.hide:
        return {}
    generator = np.random.default_rng((seed, epoch, 1))
    return {"hidden": generator.random((examples, DRAWN), np.float32) < parameters.hide}


def augment(
    inputs: dict[str, np.ndarray],
    targets: dict[str, np.ndarray],
    drawn: Mapping[str, np.ndarray],
    parameters: DataParameters,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return a batch as it was drawn for its examples.

    Args:
        inputs: "numbers" (B, columns) float32, "categories" (B, columns) int64, or one of them.
        targets: "target".
        drawn: the rows of these examples of what `draw` returned.
        parameters: of the data.
    """
    del parameters  # What they say was drawn.
    if "hidden" not in drawn:
        return inputs, targets
    changed, first = dict(inputs), 0
    for name, missing in (("numbers", np.float32(np.nan)), ("categories", np.int64(0))):
        if name in inputs:
            columns = (first + np.arange(inputs[name].shape[1])) % DRAWN
            changed[name] = np.where(drawn["hidden"][:, columns], missing, inputs[name])
            first += inputs[name].shape[1]
    return changed, targets
