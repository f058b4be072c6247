"""What the tests that know no task have to know of this one."""

from pathlib import Path

import numpy as np
from PIL import Image

from build_dataset import Dataset

# Options of an experiment that trains in a second.
SMALL = (
    *("--model.width", "4", "--model.stages", "1"),
    *("--data.batch_size", "256", "--training.epochs", "2"),
)
METRIC = "accuracy"  # One that evaluate.py reports beside the loss.
FILES = (
    "confusion_matrix_test.png",
    "worst_test.png",
    "predictions_test.csv",
)  # What it writes beside metrics.
UNLABELLED = 3  # How many examples the next function makes.


def make_unlabelled(folder: Path, dataset: Dataset) -> Path:
    """Make UNLABELLED images of a size that none has been; return what to give to predict.py."""
    del dataset
    images = folder / "images"
    images.mkdir()
    generator = np.random.default_rng(0)
    for number in range(UNLABELLED):
        pixels = generator.integers(0, 256, (11, 9, 3), np.uint8)
        Image.fromarray(pixels).save(images / f"{number}.png")
    return images
