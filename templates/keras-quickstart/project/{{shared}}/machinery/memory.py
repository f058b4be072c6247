"""What a run does where memory is short, with training.on_out_of_memory split.

Each part of a batch is cut into pieces, and their number stays until the end of the run: the
checkpoints hold it, so that a run that goes on computes as it did before.
"""

import logging
from typing import TYPE_CHECKING, Any

from machinery.errors import InputError

if TYPE_CHECKING:
    from machinery.run import Run

logger = logging.getLogger("run")


def refuse_to_split(parameters: Any) -> None:
    """Refuse training.on_out_of_memory split, for a training loop that cannot do it.

    Raises:
        InputError: it is asked for.
    """
    if parameters.training.on_out_of_memory != "stop":
        raise InputError(
            f"training.on_out_of_memory: got {parameters.training.on_out_of_memory}, expected "
            "stop: of the training loops, only the plain one of torch-research splits batches "
            "while it trains. Change it with --from, and choose training.accumulate yourself."
        )


def keep_pieces(run: "Run", pieces: int) -> None:
    """Compute each part of a batch in so many pieces from now on; say it, save it and record it.

    Args:
        run: at the step that was computed in so many pieces first.
        pieces: of each part.
    """
    progress, parts = run.progress, run.share.parts * pieces
    progress.pieces = pieces
    if run.share.number == 0:  # Of several processes, the leading one saves.
        run.saved = float("-inf")  # Otherwise a kill might bring back steps in fewer pieces.
    most = -(-run.parameters.data.batch_size // parts)
    logger.warning(
        f"{run.folder}: memory was short in step {progress.step:,}. From this step on, batches "
        f"are computed in {parts} parts of at most {most} examples, one after the other."
    )
    record_pieces(run)


def record_pieces(run: "Run") -> None:
    """Record in run.json into how many pieces each part is cut, if it is."""
    if run.record and run.progress.pieces > 1:
        run.record.update(pieces=run.progress.pieces)
