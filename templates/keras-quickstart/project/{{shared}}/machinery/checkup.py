"""What doctor.py prints: a line for each check, and at the end a verdict.

The checks follow A. Karpathy's recipe (https://karpathy.github.io/2019/04/25/recipe/). They run in
stages: the machine, the data, the batches, the network, how it learns. A stage in which something
is wrong is the last one, as what comes after it would only show the same again.
"""

import contextlib
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from machinery.errors import CommandError, InputError, is_out_of_memory

Arrays = dict[str, np.ndarray]
Batch = tuple[Arrays, Arrays]  # inputs and targets, by name


class Network(Protocol):
    """A network as train.py makes and trains it, which takes and returns arrays of NumPy.

    Weights have the names that they have in a checkpoint, without "model." in front.
    """

    def outputs(self, inputs: Arrays) -> list[np.ndarray]:
        """Return the outputs in evaluation, each (B, ...)."""
        ...

    def losses(self, batch: Batch) -> np.ndarray:
        """Return the loss of each example in evaluation, (B,)."""
        ...

    def predictions(self, inputs: Arrays) -> Arrays:
        """Return what net.predict makes of the outputs, by name."""
        ...

    def gradients(self, batch: Batch) -> dict[str, np.ndarray | None]:
        """Return the gradient in training of each weight that is trained; None: there is none."""
        ...

    def step(self, batch: Batch, rate: float) -> float:
        """Take an optimizer step with a learning rate; return the loss in training before it."""
        ...

    def arrays(self) -> Arrays:
        """Return what a checkpoint would hold, as State.to_arrays does."""
        ...

    def load(self, arrays: Arrays) -> None:
        """Put what `arrays` returned into this network."""
        ...


class Subject(ABC):
    """The experiment, and how the framework trains it: doctor.py says how.

    Args:
        parameters: of the experiment.
        dataset: what is learned.
        data: the folder of the dataset.
        device: as --device gives it.
        report: the module model/report.py.
    """

    def __init__(self, parameters: Any, dataset: Any, data: Path, device: str, report: Any) -> None:
        self.parameters, self.dataset, self.data = parameters, dataset, data
        self.device, self.report = device, report

    @abstractmethod
    def new_network(self, seed: int, dataset: Any) -> Network:
        """Return a network with the initial weights of a seed, which computes in float32."""

    @abstractmethod
    def training_batches(self, steps: range, augmented: bool) -> Iterator[Batch]:
        """Return the batches of some steps of the training."""

    @abstractmethod
    def evaluation_batches(self, split: str) -> Iterator[Batch]:
        """Return the batches of a split in its own order."""

    def measure(self, predictions: Arrays, targets: Arrays, losses: np.ndarray) -> float | None:
        """Return the metric of a batch that says how good an epoch is; None: it is not defined."""
        evaluation = self.report.Evaluation(self.dataset)
        evaluation.add(predictions, targets, losses)
        metric = self.report.objective(self.dataset).metric
        return evaluation.metrics().get(metric.removeprefix("val_"))


class EndError(Exception):
    """A stage cannot go on: what it found is printed already."""


class Checkup:
    """Prints what the checks find, and counts it."""

    def __init__(self) -> None:
        self.wrong: list[str] = []  # the files to look at
        self.warnings = 0

    def ok(self, check: str, found: str) -> None:
        """Print that a check found nothing."""
        print(f"ok       {check}: {found}")

    def warn(self, check: str, message: str) -> None:
        """Print what is not wrong, but may surprise."""
        print(f"warning  {check}: {message}")
        self.warnings += 1

    def fail(self, check: str, message: str, place: str) -> None:
        """Print what is wrong.

        Args:
            check: its name.
            message: what was found and what was expected, as sentences.
            place: the file to look at, such as "model/net.py: losses".
        """
        print(f"WRONG    {check}: {message} Look at {place}.")
        self.wrong.append(place)

    def judge(self, check: str, problem: str, found: str, place: str) -> None:
        """Print `problem` as wrong; if it is empty, that nothing was found."""
        if problem:
            self.fail(check, problem, place)
        else:
            self.ok(check, found)

    @contextlib.contextmanager
    def checking(self, check: str, place: str) -> Generator[None]:
        """Turn an error of the person's code into a finding that ends the stage.

        Args:
            check: its name.
            place: the file to look at where no line of the project raised the error.
        """
        try:
            yield
        except EndError:
            raise
        except InputError as error:
            self.fail(check, str(error), place)
            raise EndError from None
        except Exception as error:
            if isinstance(error, CommandError) or is_out_of_memory(error):
                raise
            said = " ".join(str(error).split())[:300]
            self.fail(check, f"{type(error).__name__}: {said}.", find_line(error) or place)
            raise EndError from None

    def run(self, *stages: Callable[[], object]) -> None:
        """Run stages until something is wrong; print the verdict, and end the process.

        Raises:
            SystemExit: with 0, nothing is wrong; with 2, something is.
        """
        done = 0
        for stage in stages:
            with contextlib.suppress(EndError):
                stage()
            done += 1
            if self.wrong:
                break
        self.end(done == len(stages))

    def end(self, complete: bool) -> None:
        """Print the verdict, and end the process with its exit code."""
        if self.wrong:
            places = ", ".join(dict.fromkeys(self.wrong))
            rest = "" if complete else " What comes after this was not checked: run it again then."
            print(f"Something is wrong. Look at {places}.{rest}")
            raise SystemExit(InputError.exit_code)
        warnings = {0: "", 1: ", with a warning"}.get(self.warnings, f", {self.warnings} warnings")
        print(f"Nothing is wrong{warnings}.")
        raise SystemExit(0)


def find_line(error: BaseException) -> str:
    """Return the last line of the person's own code that an error went through, or nothing."""
    root = Path(__file__).resolve().parent.parent
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        inside = path.is_relative_to(root) and ".venv" not in path.parts
        if inside and path.parent.name != "machinery" and path.name != "doctor.py":
            return f"{path.relative_to(root).as_posix()}:{frame.lineno} ({frame.name})"
    return ""
