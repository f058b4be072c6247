"""A version loaded into ONNX Runtime, which serves only after it has tested itself."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pydantic

from machinery.arrays import BaseDataset
from machinery.errors import InputError
from machinery.server.in_service import version_to_serve
from machinery.server.model_versions import FACTS_FILE, check_content, read_facts

TOLERANCE = 1e-3  # An example alone and among others may differ by so much, as sums are rounded.
LOOK_SECONDS = 1.0  # between two looks at which version is in service
RETRY_SECONDS = 60.0  # before a version that failed is tried again

logger = logging.getLogger("serve")


class Specification(NamedTuple):
    """What an array is for ONE example."""

    dtype: str
    shape: tuple[int, ...]


class RefusedError(Exception):
    """The network refuses some inputs: numbers that no training example had, for instance."""


class ServedVersion:
    """A version of the network, ready to compute.

    Args:
        exports: the folder of the versions.
        number: of the version.
        schema: of dataset.json.
        threads: that compute; 0: one for each core.

    Raises:
        InputError: there is no such version, or it is damaged, or gives what it must not.
    """

    def __init__(
        self, exports: Path, number: int, schema: type[BaseDataset], threads: int = 0
    ) -> None:
        self.number, self.facts = number, read_facts(exports, number)
        self.path = check_content(exports, number, self.facts)
        try:
            self.dataset = schema.model_validate(self.facts.dataset)
        except pydantic.ValidationError:
            raise InputError(
                f"{self.path}: was exported by a project of another task or of another time: this "
                "one cannot read what export.json says of its dataset."
            ) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 4  # What fails is answered, and not logged too.
        try:
            self._session = onnxruntime.InferenceSession(
                self.path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime has a type for each kind of failure.
            raise InputError(f"{self.path}: cannot be loaded: {_first_line(error)}") from None
        self.inputs = {each.name: self._specify(each.name) for each in self._session.get_inputs()}
        self.output_names = [each.name for each in self._session.get_outputs()]
        self.outputs: dict[str, Specification] = {}  # Known once it has tested itself.
        self.service: Any = None  # What knows the task: see Service in http_api.py.

    def _specify(self, name: str) -> Specification:
        if name not in self.dataset.inputs:
            raise InputError(f"{self.path}: takes {name!r}, which dataset.json does not know.")
        array = self.dataset.arrays[name]
        return Specification(array.dtype, array.batch_shape)

    def compute(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the outputs for some examples, by name.

        Raises:
            RefusedError: the network cannot compute with these numbers.
        """
        given = {name: inputs[name] for name in self.inputs}
        try:
            outputs: Sequence[Any] = self._session.run(self.output_names, given)
        except Exception as error:
            if "allocat" in str(error).lower():  # The server lacks memory; the request is good.
                raise
            raise RefusedError(_first_line(error)) from None
        return dict(zip(self.output_names, outputs, strict=True))

    def check(self, inputs: Mapping[str, np.ndarray]) -> str:
        """Return what is wrong with the numbers in some inputs, or an empty string."""
        for name, array in inputs.items():
            described = self.dataset.arrays[name]
            if described.shape[:1] == (None,):
                array = array[array != described.fill]
            if array.size and (problem := self.dataset.check(name, array)):
                return f"{name}: {problem}"
        return ""

    def test_itself(self, examples: int) -> None:
        """Compute one example, and some at once: they must agree. This also warms it up.

        Args:
            examples: how many at once.

        Raises:
            InputError: they do not agree, or are no numbers.
        """
        found = []
        for count in (1, max(2, examples)):
            inputs = {
                name: np.ones((count, *shape), dtype)
                for name, (dtype, shape) in self.inputs.items()
            }
            try:
                found.append(self.compute(inputs))
            except RefusedError as error:
                raise InputError(f"{self.path}: fails with {count} examples: {error}") from None
        for name, one in found[0].items():
            some = found[1][name]
            if some.dtype.kind not in "biuf" or some.shape != (count, *one.shape[1:]):
                raise InputError(f"{self.path}: {name} is not an array of numbers, one an example.")
            alone = np.broadcast_to(one, some.shape).astype(np.float64)
            if not np.isfinite(some).all():
                raise InputError(f"{self.path}: {name} holds what is no number.")
            if not np.allclose(alone, some, rtol=TOLERANCE, atol=TOLERANCE):
                raise InputError(f"{self.path}: {name} depends on how many examples there are.")
            self.outputs[name] = Specification(str(one.dtype), one.shape[1:])


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].rpartition(" : ")[2][:300]


class CurrentVersion:
    """The version in service; a thread looks for another one, tests it and swaps it in.

    A request keeps the version that it began with, so a swap loses none.

    Args:
        load: returns a version that has tested itself, given its number.
        exports: the folder of the versions.
        on_swap: is told how it went: "swapped" or "failed".

    Raises:
        InputError: there is no version, or the one in service is damaged.
    """

    def __init__(
        self,
        load: Callable[[int], ServedVersion],
        exports: Path,
        on_swap: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._load, self._exports, self._on_swap = load, exports, on_swap
        self.version = load(version_to_serve(exports))
        self._failed: tuple[Any, float] = None, 0.0  # What failed, and when to try it again.
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="versions", daemon=True)

    def start(self) -> None:
        """Begin to look for other versions."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        """Swap in the version that is in service by now; one that fails its test stays out."""
        asked: Any = "the registry"
        try:
            number = version_to_serve(self._exports)
            if number == self.version.number:
                self._failed = None, 0.0
                return
            stamp = (self._exports / str(number) / FACTS_FILE).stat().st_mtime_ns
            asked = number, stamp
            failed, again = self._failed
            if asked == failed and time.monotonic() < again:  # Loading it takes what requests need.
                return
            self.version = self._load(number)
        except Exception as error:  # Whatever it is: this thread has to go on looking.
            if asked != self._failed[0]:  # Said once.
                self._on_swap("failed")
                logger.error("version %d keeps serving: %s", self.version.number, error)
            self._failed = asked, time.monotonic() + RETRY_SECONDS
        else:
            self._failed = None, 0.0
            self._on_swap("swapped")
            logger.warning("version %d serves", number)
