"""What a run does where memory is short.

With training.on_out_of_memory split, each part of a batch is cut into pieces, and their number
stays until the end of the run: the checkpoints hold it, so that a run that goes on computes as it
did before.
"""

import logging
from typing import TYPE_CHECKING, Any

from machinery.errors import InputError

if TYPE_CHECKING:
    from machinery.run import Run

logger = logging.getLogger("run")


# What of the training loops the plain one of torch-research can alone, and what the others expect.
OF_THE_PLAIN_LOOP = {"on_out_of_memory": "stop", "sharding": "none"}


def refuse_what_is_for_the_plain_loop(parameters: Any) -> None:
    """Refuse what saves memory in the plain loop alone, for the other training loops.

    Raises:
        InputError: it is asked for.
    """
    for name, expected in OF_THE_PLAIN_LOOP.items():
        if (found := getattr(parameters.training, name)) != expected:
            raise InputError(
                f"training.{name}: got {found}, expected {expected}: of the training loops, only "
                "the plain one of torch-research can do that. Change it with --from; "
                "training.accumulate saves memory in all of them."
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
