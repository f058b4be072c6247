"""Pictures of a run. One that cannot be drawn is a warning: no finished run fails because of it."""

import io
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from machinery.errors import STORAGE_ERRORS
from machinery.files import write_atomically
from machinery.metrics import read_metrics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

logger = logging.getLogger("run")

PANELS_A_LINE = 4
PANELS_SHOWN = 12


def draw(path: Path, plot: "Callable[[Figure], None]", width: float, height: float) -> None:
    """Draw a picture and write it as PNG.

    Args:
        path: the file.
        plot: draws into an empty figure.
        width: in inches.
        height: in inches.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure  # pyplot would look for a display.

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
    found = {name: None for row in rows for name in row if name.startswith("val_")}
    panels = [["train_loss", "val_loss"], *([name] for name in found if name != "val_loss")]
    shown, left_out = panels[:PANELS_SHOWN], len(panels[PANELS_SHOWN:])
    columns = min(len(shown), PANELS_A_LINE)
    lines = math.ceil(len(shown) / columns)

    def plot(figure: "Figure") -> None:
        from matplotlib.ticker import MaxNLocator

        for place, names in enumerate(shown, start=1):
            axes = figure.add_subplot(lines, columns, place)
            for name in names:
                label = name.replace("_", " ")
                if name == "train_loss":  # Measured otherwise than val_loss, and often above it.
                    label += " (with augmentation and regularisation)"
                known = [row for row in rows if name in row]  # It may be undefined in an epoch.
                epochs, values = [row["epoch"] for row in known], [row[name] for row in known]
                axes.plot(epochs, values, marker=".", label=label)
            if best_epoch is not None:
                axes.axvline(best_epoch, color="grey", linestyle=":", label="best epoch")
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
            axes.grid(alpha=0.3)
            # Below the panel, where it covers no curve.
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.15))
        more = f" ({left_out} more metrics: metrics.jsonl)" if left_out else ""
        figure.suptitle(f"{folder}{more}")

    draw(folder / "learning_curves.png", plot, 5 * columns, 4.5 * lines)
