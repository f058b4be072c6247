"""The tiny project's data: points in the plane, of two classes."""

import argparse
from pathlib import Path
from typing import ClassVar

import numpy as np

from machinery import arrays
from machinery.errors import exit_codes

EXAMPLES = 96


class Dataset(arrays.BaseDataset):
    """What the tiny project's dataset.json says."""

    inputs: tuple[str, ...] = ("points",)
    targets: tuple[str, ...] = ("labels",)

    classes: int

    default_source: ClassVar[str] = "drawn"

    def check(self, name: str, array: np.ndarray) -> str:
        """Say where a label is no class."""
        wrong = name == "labels" and array.size and array.max() >= self.classes
        return f"labels up to {array.max()}, expected {self.classes} classes" if wrong else ""


def build(folder: Path, overwrite: bool = False, seed: int = 0) -> Dataset:
    """Write the data; raise ExistsError where there is some."""
    generator = np.random.default_rng(seed)
    labels = np.arange(EXAMPLES) % 2
    points = generator.normal(size=(EXAMPLES, 2)) + 2 * labels[:, None]
    rows = np.arange(EXAMPLES)
    splits = {"train": rows[:64], "val": rows[64:80], "test": rows[80:]}
    return arrays.write_dataset(
        folder,
        Dataset,
        {"points": points.astype(np.float32), "labels": labels},
        np.array([f"point {row}" for row in rows]),
        splits,
        overwrite,
        task="points",
        source=Dataset.default_source,
        classes=2,
    )


def open_dataset(folder: Path) -> Dataset:
    """Read dataset.json; in an empty default folder, write the data first."""
    return arrays.open_dataset(folder, Dataset, build)


if __name__ == "__main__":
    with exit_codes():
        parser = argparse.ArgumentParser()
        parser.add_argument("--data", type=Path, default=arrays.DEFAULT_FOLDER)
        parser.add_argument("--overwrite", action="store_true")
        arguments = parser.parse_args()
        build(arguments.data, arguments.overwrite)
