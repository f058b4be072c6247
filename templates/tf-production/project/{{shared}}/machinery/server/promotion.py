"""promote.py: decides which version serves, and says so."""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pydantic

from machinery import intervals
from machinery.argument_parser import ArgumentParser
from machinery.command_line import Command
from machinery.errors import InputError, exit_codes
from machinery.intervals import Interval, Measure
from machinery.metrics import Objective
from machinery.server import acceptance
from machinery.server.in_service import Decisions, Registry, read_registry, version_to_serve
from machinery.server.model_versions import DEFAULT_EXPORTS, find_versions, read_facts

ACTIONS = ("accept", "rollback", "pin", "unpin", "status")
SHOWN = 10  # decisions of the history


class Judge(NamedTuple):
    """What says which of two versions is better."""

    objective: Objective  # which metric decides
    measure: Measure  # evaluates what the versions predicted of test


class PromoteCommand(Command):
    """The command line of promote.py."""

    def run(
        self,
        schema: type[Any],
        choose_objective: Callable[[Any], Objective],
        new_evaluation: Callable[[Any], Any],
    ) -> None:
        """Do what the command line says; end with the exit code of what happened.

        Args:
            schema: of dataset.json.
            choose_objective: says which metric decides, given the dataset of a version.
            new_evaluation: returns an Evaluation of it.
        """
        if (words := self.arguments) is None:
            return

        def choose(described: dict[str, Any]) -> Judge:
            try:
                dataset = schema.model_validate(described)
            except pydantic.ValidationError:
                raise InputError(
                    f"{words.exports / str(words.version)}: was exported by a project of another "
                    "task or of another time: this one cannot read what export.json says of its "
                    "dataset."
                ) from None
            measure = intervals.measuring(lambda: new_evaluation(dataset))
            return Judge(choose_objective(dataset), measure)

        with exit_codes():
            decide(words, choose)


def command_line(name: str, description: str | None) -> PromoteCommand:
    """Read the command line of promote.py; end the process if it is wrong.

    Args:
        name: __name__ of the script.
        description: its docstring.
    """
    if name != "__main__":
        return PromoteCommand()
    with exit_codes():
        parser = ArgumentParser(description)
        parser.add_argument("action", choices=ACTIONS, help="what to do")
        parser.add_argument("version", nargs="?", type=int, help="of accept and pin")
        add_exports(parser)
        margin = "how much worse on test is accepted, in units of the metric [0.01 of 1, or 1 %]"
        parser.add_argument("--margin", type=float, help=margin)
        parser.add_argument("--anyway", action="store_true", help="accept what is worse, too")
        arguments = parser.parse_args()
        takes = arguments.action in ("accept", "pin")
        if takes and arguments.version is None:
            parser.error(f"{arguments.action}: expected the number of a version")
        if not takes and arguments.version is not None:
            parser.error(f"{arguments.action}: takes no version, got {arguments.version}")
        if arguments.margin is not None:
            parser.check_range("--margin", arguments.margin, 0, float("inf"))
        return PromoteCommand(arguments)


def add_exports(parser: ArgumentParser) -> None:
    """Add the option that names the folder of the versions."""
    where = f"folder of the versions [{DEFAULT_EXPORTS.as_posix()}]"
    parser.add_argument("--exports", type=Path, default=DEFAULT_EXPORTS, help=where)


def decide(arguments: argparse.Namespace, choose: Callable[[dict[str, Any]], Judge]) -> None:
    """Accept, roll back, pin or unpin, and say what serves then.

    Args:
        arguments: of the command line.
        choose: says how to judge versions, given what dataset.json said.

    Raises:
        InputError: that is refused; nothing has changed.
    """
    exports = arguments.exports
    if arguments.action == "status":
        for line in describe(exports):
            print(line)
        return
    # Comparing takes time, for which a rollback must not wait.
    known = read_registry(exports)
    why = check(arguments, known, choose) if arguments.action == "accept" else ""
    with Decisions(exports) as decisions:
        if arguments.action == "accept":
            if decisions.registry.accepted != known.accepted:
                raise InputError(
                    "somebody accepted or rolled back a version meanwhile; run the command again."
                )
            registry = decisions.accept(arguments.version, why)
        elif arguments.action == "pin":
            registry = decisions.pin(arguments.version)
        else:
            registry = (
                decisions.roll_back() if arguments.action == "rollback" else decisions.unpin()
            )
    serves = registry.in_service
    if arguments.action == "accept" and serves != arguments.version:
        print(f"Version {arguments.version} is accepted.", end=" ")
    print("The newest version serves." if serves is None else f"Version {serves} serves.")
    if registry.pinned is not None:
        print("It is pinned: python promote.py unpin lets the newest accepted version serve.")


def check(
    arguments: argparse.Namespace, registry: Registry, choose: Callable[[dict[str, Any]], Judge]
) -> str:
    """Return why a version is accepted, in words.

    Raises:
        InputError: it is worse than the one in service by more than --margin, or cannot be
            compared with it.
    """
    exports, number = arguments.exports, arguments.version
    facts = read_facts(exports, number)
    if arguments.anyway:
        return "with --anyway"
    if number in registry.accepted[-1:]:
        raise InputError(f"version {number} is the newest accepted one already.")
    objective, measure = choose(facts.dataset)
    old = next(reversed(registry.accepted), None) or version_to_serve(exports)
    if old == number:
        value = acceptance.test_value(facts, objective, number)
        shown = acceptance.describe(value, facts, objective)
        why = f"the first one; {acceptance.metric_name(objective)} on test {shown}"
        if none := acceptance.no_interval(facts):
            why += f"; {none}"
    else:
        pairs = (number, facts), (old, read_facts(exports, old))

        def difference() -> Interval | None:
            paths = (exports / str(each) / intervals.FILE for each in (number, old))
            metric = acceptance.metric_name(objective)
            kept = (intervals.read_examples(path) for path in paths)
            return intervals.difference_interval(measure, *kept, metric)

        refused, why, margin = acceptance.compare(*pairs, objective, arguments.margin, difference)
        if refused:
            raise InputError(
                f"version {number} is refused, with --margin {margin:g}: {why} "
                f"{acceptance.NOT_BETTER}"
            )
    print(why)
    return why


def describe(exports: Path) -> Iterator[str]:
    """Yield the lines that say which version serves, which there are, and what was decided."""
    registry, serves = read_registry(exports), version_to_serve(exports)
    pinned = ", pinned" if registry.pinned is not None else ""
    since = f"since {registry.since}" if registry.in_service else "as the newest; none is accepted"
    yield f"Version {serves} serves {since}{pinned}."
    for number in find_versions(exports):
        try:
            facts = read_facts(exports, number)
        except InputError as error:  # The others are of interest none the less.
            yield f"  {number}: damaged. {error}"
            continue
        metrics = facts.test_metrics or {}
        shown = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        accepted = ", accepted" if number in registry.accepted else ""
        yield (
            f"  {number}: {facts.experiment}, step {facts.step:,}{accepted}; test: "
            f"{shown or 'not evaluated'}"
        )
    for decision in registry.history[-SHOWN:]:
        why = f" ({decision.why})" if decision.why else ""
        yield f"{decision.at} {decision.by}: {decision.action} {decision.version}{why}"
