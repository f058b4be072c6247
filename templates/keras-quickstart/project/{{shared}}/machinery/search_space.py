"""What a search varies: ranges and choices, some of them only beside other values, and grids."""

import decimal
import graphlib
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Self

import pydantic
from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from machinery.parameter_file import Section

LARGEST_GRID = 100_000  # points; all are listed before the first is trained.

Value = bool | int | float | str


def _as_list(values: object) -> object:
    return values if isinstance(values, list) else [values]


class Dimension(Section):
    """The values to try of one parameter: from low to high, or one of the choices."""

    low: int | float | None = None
    high: int | float | None = None
    log: bool = Field(False, description="spread evenly over orders of magnitude")
    step: int | float | None = Field(None, gt=0)
    choices: list[Value] | None = Field(None, min_length=1)
    when: dict[str, Annotated[list[Value], BeforeValidator(_as_list)]] = Field(
        {}, description="search it only where each of these parameters has one of the values"
    )

    @pydantic.model_validator(mode="after")
    def check(self) -> Self:
        """Refuse anything but a range or a list of choices."""
        if self.choices is not None and self.model_fields_set - {"when"} == {"choices"}:
            return self
        if self.choices is not None or self.low is None or self.high is None:
            raise PydanticCustomError("form", "expected {low, high} or {choices: [...]}")
        if self.low > self.high:
            raise PydanticCustomError("order", "expected low to be at most high")
        if self.log and (self.low <= 0 or self.step):
            raise PydanticCustomError("log", "expected low above 0 and no step, because of log")
        if self.step and self.step > self.high - self.low:
            raise PydanticCustomError("step", "expected step to be at most high - low")
        return self

    def limits(self) -> list[tuple[str, Any]]:
        """Return the values to check, each with its key: every choice, or low and high."""
        if self.choices is not None:
            return [("choices", value) for value in self.choices]
        return [("low", self.low), ("high", self.high)]

    def values(self, fractions: bool) -> Sequence[Any] | None:
        """Return all values to try, each once; None if a range holds too many.

        Args:
            fractions: the parameter takes any number, not only whole ones.
        """
        if self.choices is not None:
            return [*dict.fromkeys(self.choices)]
        assert self.low is not None
        assert self.high is not None
        if not fractions:
            return range(int(self.low), int(self.high) + 1, int(self.step or 1))
        if self.low == self.high:
            return [float(self.low)]
        if not self.step:
            return None
        # As Optuna computes them: with Decimal 3 * 0.1 is 0.3, which it is not with float.
        low, high, step = (decimal.Decimal(str(x)) for x in (self.low, self.high, self.step))
        count = int((high - low) / step) + 1
        return [float(low + i * step) for i in range(count)] if count <= LARGEST_GRID else None


class Space:
    """The dimensions of a search, those first on which others depend.

    Args:
        dimensions: by the name of their parameter.
        base: the value of each parameter where it is not searched.
        fractions: the names of the parameters that take any number.

    Raises:
        ValueError: dimensions depend on each other in a circle.
    """

    def __init__(
        self,
        dimensions: Mapping[str, Dimension],
        base: Mapping[str, Any],
        fractions: frozenset[str] = frozenset(),
    ) -> None:
        self.base, self.fractions = base, fractions
        graph = {name: dimension.when for name, dimension in dimensions.items()}
        try:
            order = [*graphlib.TopologicalSorter(graph).static_order()]
        except graphlib.CycleError as error:
            raise ValueError(" <- ".join(error.args[1])) from None
        self.dimensions = {name: dimensions[name] for name in order if name in dimensions}

    def is_searched(self, name: str, values: Mapping[str, Any]) -> bool:
        """Return whether a parameter is searched beside the values of those before it."""
        return all(
            values.get(other, self.base[other]) in wanted
            for other, wanted in self.dimensions[name].when.items()
        )

    def all_values(self, name: str) -> Sequence[Any] | None:
        """Return all values to try of a parameter; None if there are too many."""
        return self.dimensions[name].values(name in self.fractions)

    def settle(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of some values that are searched beside the others."""
        settled: dict[str, Any] = {}
        for name in self.dimensions:
            if name in values and self.is_searched(name, settled):
                settled[name] = values[name]
        return settled

    def where_searched(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the values of other parameters beside which a parameter is searched."""
        when = self.dimensions[name].when
        for wanted in itertools.product(*when.values()):
            chosen = dict(zip(when, wanted, strict=True))
            for above in itertools.product(*(self.where_searched(other) for other in when)):
                yield {key: value for each in (*above, chosen) for key, value in each.items()}

    def grid_size(self) -> float:
        """Return a number that the grid has at most as many points as; inf if it has no end."""
        counts = [self.all_values(name) for name in self.dimensions]
        return math.inf if None in counts else math.prod(len(found or ()) for found in counts)

    def grid(self) -> Iterator[dict[str, Any]]:
        """Yield every point of the grid once: the values of the parameters that are searched."""
        names = [*self.dimensions]

        def extend(point: dict[str, Any], index: int) -> Iterator[dict[str, Any]]:
            if index == len(names):
                yield point
            elif not self.is_searched(name := names[index], point):
                yield from extend(point, index + 1)
            else:
                for value in self.all_values(name) or ():
                    yield from extend({**point, name: value}, index + 1)

        return extend({}, 0)
