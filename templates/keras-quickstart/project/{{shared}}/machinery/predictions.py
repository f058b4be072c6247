"""Predictions for examples whose targets nobody knows: read in blocks, written row by row.

However many examples there are, only a few batches of them are in memory at a time.
"""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from machinery import arrays
from machinery.errors import InputError
from machinery.files import refuse_to_overwrite
from machinery.spreadsheets import write_csv

Predictions = Mapping[str, np.ndarray]  # What net.predict returns: (N, ...) by name.
# Returns the inputs of some examples by name, (rows, ...), given their numbers (rows,).
ReadInputs = Callable[[np.ndarray], Mapping[str, np.ndarray]]

PRINTED = 5  # Examples whose predictions the terminal shows,
DRAWN = 16  # and those in the picture.


class Unlabelled(NamedTuple):
    """Examples without targets."""

    ids: np.ndarray  # (N,) str: where each example came from
    inputs: dict[str, np.ndarray]  # of the network, (N, ...), ragged ones padded to the longest
    originals: np.ndarray | None = None  # (N, ...), what the task's PredictionWriter needs beside

    def part(self, first: int, last: int) -> "Unlabelled":
        """Return the examples from `first` up to, without, `last`."""
        inputs = {name: array[first:last] for name, array in self.inputs.items()}
        originals = None if self.originals is None else self.originals[first:last]
        return Unlabelled(self.ids[first:last], inputs, originals)


def read_ahead(blocks: Iterator[Unlabelled]) -> Iterator[Unlabelled]:
    """Return the same blocks, of which the first is read now: bad input is said before all else."""
    return itertools.chain([*itertools.islice(blocks, 1)], blocks)


def regroup(blocks: Iterable[Unlabelled], size: int) -> Iterator[Unlabelled]:
    """Yield the examples of all blocks in their order, `size` at a time; the last may be fewer."""
    waiting: list[Unlabelled] = []
    count = 0
    for block in blocks:
        waiting.append(block)
        count += len(block.ids)
        if count < size:
            continue
        examples, whole = concatenate(waiting), count - count % size
        for first in range(0, whole, size):
            yield examples.part(first, first + size)
        waiting, count = [examples.part(whole, count)], count - whole
    if count:
        yield concatenate(waiting)


def concatenate(blocks: Sequence[Unlabelled]) -> Unlabelled:
    """Return the examples of some blocks as one."""
    originals = [block.originals for block in blocks if block.originals is not None]
    return Unlabelled(
        np.concatenate([block.ids for block in blocks]),
        concatenate_arrays([block.inputs for block in blocks]),
        np.concatenate(originals) if originals else None,
    )


def concatenate_arrays(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Return the arrays of each name, one after the other."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def read_dataset(experiment: Path, schema: type[arrays.BaseDataset]) -> Any:
    """Read dataset.json in the folder of an experiment: what it was trained on.

    Raises:
        InputError: it is missing, or does not fit the task's schema.
    """
    advice = (
        f"It says what {experiment} was trained on, and this project cannot use it. Name another "
        "--experiment, or train a new one."
    )
    return arrays.read_dataset(experiment, schema, advice)


class PredictionWriter(ABC):
    """Writes predictions as a CSV file while they are computed, whole or not at all.

    What a task writes is said in model/report.py, under the same name: there are `titles` and
    `rows`, and there may be `describe` and `draw`.

    Args:
        dataset: what the network was trained on.
        path: the CSV file.
        overwrite: replace what is there.

    Raises:
        InputError: the file, or the picture beside it, is there already.
    """

    draws: ClassVar[bool] = False  # Whether `draw` draws a picture.

    def __init__(self, dataset: Any, path: Path, overwrite: bool = False) -> None:
        self.dataset, self.path = dataset, path
        self.picture = path.with_suffix(".png") if self.draws else None
        for each in (self.path, self.picture):
            if each and not overwrite:
                refuse_to_overwrite(each)

    @abstractmethod
    def titles(self) -> list[str]:
        """Return the names of the columns; the first is "id"."""

    @abstractmethod
    def rows(self, examples: Unlabelled, predictions: Predictions) -> Iterator[Sequence[object]]:
        """Yield the cells of each row; an example may have one, several or none."""

    def describe(self, examples: Unlabelled, predictions: Predictions) -> Iterator[str]:
        """Yield the lines in which the terminal shows some examples: the start of each row."""
        titles = self.titles()[1:5]
        for name, *cells in self.rows(examples, predictions):
            shown = zip(titles, cells, strict=False)
            yield f"{name}: " + ", ".join(f"{title} {cell}" for title, cell in shown)

    def draw(self, examples: Unlabelled, predictions: Predictions, path: Path) -> None:  # noqa: B027
        """Draw the first examples, at most 16, with their predictions as PNG."""

    def write(self, network: str, results: Iterable[tuple[Unlabelled, Predictions]]) -> None:
        """Write the rows of each example; print and draw the first ones.

        Args:
            network: what predicted them, in words.
            results: batches of examples, and the predictions for each.

        Raises:
            InputError: there is no example.
        """
        count, first = 0, list[tuple[Unlabelled, Predictions]]()

        def rows() -> Iterator[Sequence[object]]:
            nonlocal count
            for examples, predictions in results:
                if count < DRAWN:
                    first.append((examples, predictions))
                count += len(examples.ids)
                yield from self.rows(examples, predictions)
            if not count:
                raise InputError("no example is left to predict; nothing was written.")

        write_csv(self.path, self.titles(), rows())
        examples = concatenate([examples for examples, _ in first])
        predictions = concatenate_arrays([predictions for _, predictions in first])

        def head(number: int) -> tuple[Unlabelled, dict[str, np.ndarray]]:
            return examples.part(0, number), {n: a[:number] for n, a in predictions.items()}

        print(f"{network}, {count:,} {'example' if count == 1 else 'examples'}:")
        for line in self.describe(*head(PRINTED)):
            print(f"  {line}")
        if count > PRINTED:
            print(f"  and {count - PRINTED:,} more")
        if self.picture:
            self.draw(*head(DRAWN), self.picture)
            print(f"Wrote {self.path}, and a picture of the first ones: {self.picture}")
        else:
            print(f"Wrote {self.path}.")
