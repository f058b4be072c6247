"""Pictures of a run. One that cannot be drawn is a warning: no finished run fails because of it."""

import io
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from machinery.errors import STORAGE_ERRORS
from machinery.files import write_atomically
from machinery.metrics import read_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger("run")


def draw(path: Path, plot: "Callable[[Figure], None]", width: float, height: float) -> None:
    """Draw a picture and write it as PNG.

    Args:
        path: the file.
        plot: draws into an empty figure.
        width: in inches.
        height: in inches.
    """
    import matplotlib
    from matplotlib.figure import Figure  # pyplot would look for a display.

    try:
        # Names are text: a $ in them begins no formula.
        with matplotlib.rc_context({"text.parse_math": False}):
            figure = Figure(figsize=(width, height), layout="constrained")
            plot(figure)
            picture = io.BytesIO()
            figure.savefig(picture, format="png", dpi=120)
        write_atomically(path, picture.getvalue())
    except Exception as error:
        if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
            raise
        logger.warning(f"{path} could not be drawn: {error}")


def draw_learning_curves(folder: Path, best_epoch: float | None) -> None:
    """Draw learning_curves.png from metrics.jsonl: loss and the other metrics by epoch."""
    rows = read_metrics(folder)
    if not rows:
        logger.warning(f"{folder} has no metrics to draw.")
        return
    epochs = [row["epoch"] for row in rows]
    others = [name for name in rows[0] if name.startswith("val_") and name != "val_loss"]
    panels = [["train_loss", "val_loss"], *([name] for name in others)]

    def plot(figure: "Figure") -> None:
        for axes, names in zip(
            figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
        ):
            for name in names:
                label = name.replace("_", " ")
                if name == "train_loss":  # Measured otherwise than val_loss, and often above it.
                    label += " (with augmentation and regularisation)"
                axes.plot(epochs, [row[name] for row in rows], marker=".", label=label)
            if best_epoch is not None:
                axes.axvline(best_epoch, color="grey", linestyle=":", label="best epoch")
            axes.set_xlabel("epoch")
            axes.grid(alpha=0.3)
            # Below the panel, where it covers no curve.
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15))
        figure.suptitle(str(folder))

    draw(folder / "learning_curves.png", plot, 5 * len(panels), 4.5)
