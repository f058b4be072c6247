"""Checking new examples against those of the training: the command check_data.py."""

import argparse
import json
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from machinery.argument_parser import ArgumentParser
from machinery.errors import InputError, ShiftError, exit_codes
from machinery.files import write_atomically
from machinery.terminal import quote
from machinery.trained import check_places


class DataCheck:
    """The command line of check_data.py, once it is read.

    Args:
        arguments: as argparse gives them; None: the script is only imported.
    """

    def __init__(self, arguments: argparse.Namespace | None = None) -> None:
        self.arguments = arguments

    def run(self, schema: type[Any], read_unlabelled: Any) -> None:
        """Check the examples; end with exit code 0, or with 65 where they are not as in training.

        Args:
            schema: of dataset.json.
            read_unlabelled: of build_dataset.py.
        """
        if self.arguments is not None:
            with exit_codes():
                check(self.arguments, schema, read_unlabelled)


def command_line(name: str, description: str | None) -> DataCheck:
    """Read the command line of check_data.py; end the process if it is wrong.

    Args:
        name: __name__ of the script.
        description: its docstring.
    """
    if name != "__main__":
        return DataCheck()
    with exit_codes():
        parser = ArgumentParser(description)
        parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="what to check")
        parser.add_experiment()
        meaning = "what predict.py wrote of them: check it, too"
        parser.add_argument("--predictions", type=Path, metavar="FILE", help=meaning)
        meaning = "usual predictions of predict.py [those for val, by evaluate.py --split val]"
        parser.add_argument("--expected", type=Path, metavar="FILE", help=meaning)
        output = Path("data_check.json")
        parser.add_argument("--output", type=Path, default=output, help=f"JSON file [{output}]")
        parser.add_argument("--skip-bad", action="store_true", help="leave out what is of no use")
        parser.add_argument("--overwrite", action="store_true", help="replace --output")
        arguments = parser.parse_args()
        if arguments.expected and not arguments.predictions:
            parser.error("--expected: goes with --predictions, the file to compare with it")
        check_places(arguments, ".json")
        return DataCheck(arguments)


def check(arguments: argparse.Namespace, schema: type[Any], read_unlabelled: Any) -> None:
    """Compare new examples with the statistics of an experiment; print and write what was found.

    Raises:
        InputError: something cannot be read; nothing was written.
        ShiftError: the examples are not as in training.
    """
    from machinery.features import concatenate_features
    from machinery.predictions import read_dataset
    from machinery.shifts import compare
    from machinery.statistics_file import read_statistics
    from machinery.usual_predictions import compare_with

    folder = arguments.experiment
    dataset = read_dataset(folder, schema)
    expected: dict[str, Any] = {**read_statistics(folder, dataset).features}
    if not expected:
        raise InputError(
            f"{folder}: its dataset describes no features, so nothing can be compared. Write "
            "`describe` of the Dataset in build_dataset.py: see machinery/features.py."
        )
    parts = [*dataset.read_features(arguments.paths, arguments.skip_bad, read_unlabelled)]
    if not parts:
        raise InputError("no example is left to check; nothing was written.")
    found = concatenate_features(parts)
    examples = sum(len(next(iter(part.values()))) for part in parts)
    if arguments.predictions:
        usual, predicted = compare_with(arguments.predictions, arguments.expected, folder)
        expected |= usual
        found |= predicted
    findings, tests = compare(expected, found, dataset.has_units)
    alarms = [finding for finding in findings if finding.counts]
    verdict = "clean"
    if alarms:
        verdict = "mend the data" if any(each.broken for each in alarms) else "train anew"
    report = {
        "experiment": folder.as_posix(),
        "paths": [path.as_posix() for path in arguments.paths],
        "examples": examples,
        "features": len(expected),
        "tests": tests,
        "verdict": verdict,
        "exit_code": ShiftError.exit_code if alarms else 0,
        "findings": [finding._asdict() for finding in findings],
    }
    write_atomically(arguments.output, json.dumps(report, indent=2, ensure_ascii=False).encode())
    print(
        f"{examples:,} examples against the training of {folder}: {len(expected)} features, "
        f"{tests} tests."
    )
    for line in to_lines(findings):
        print(line)
    print(f"Wrote {arguments.output}.")
    if alarms:
        raise ShiftError(advise(verdict, len({each.feature for each in alarms}), folder))
    print("Nothing has shifted.")


def to_lines(findings: Sequence[Any], width: int | None = None) -> list[str]:
    """Return a table of findings, with the next step below each.

    Args:
        findings: the worst first.
        width: in characters; None: that of the terminal.
    """
    import shutil

    from machinery.results_table import Column
    from machinery.results_terminal import IN_A_FILE, fit

    if not findings:
        return []
    width = width or shutil.get_terminal_size(IN_A_FILE).columns
    names = ("feature", "problem", "expected", "found")
    rows = [
        [each.feature, each.problem if each.counts else f"({each.problem})", *each[2:4]]
        for each in findings
    ]
    columns = [
        Column(name, [" ".join(cell.split()) for cell in cells], is_number=False)
        for name, cells in zip(names, zip(*rows, strict=True), strict=True)
    ]
    shown, _ = fit(columns, width)
    lines = zip(*([column.title, *column.cells] for column in shown), strict=True)
    head, *rest = [" | ".join(line).rstrip() for line in lines]
    indent = "    "
    found = [head]
    for line, each in zip(rest, findings, strict=True):
        wrapped = textwrap.wrap(
            f"next: {each.next_step}", width, initial_indent=indent, subsequent_indent=indent
        )
        found += [line, *wrapped]
    if any(not each.counts for each in findings):
        found.append(
            "What is in brackets is no alarm: it may be chance, or is too little to matter."
        )
    return found


def advise(verdict: str, features: int, folder: Path) -> str:
    """Return what to do where features have shifted."""
    what = f"{features} {'feature is' if features == 1 else 'features are'} not as in training."
    if verdict == "mend the data":
        return f"{what} Mend what writes the data, then check again, before anything is predicted."
    words = ("python", "train.py", "--experiment", "experiments/NEW", "--from", folder)
    return (
        f"{what} If this is how things are from now on, it is time to train anew: gather such "
        "examples with their targets, prepare them (build_dataset.py --data NEW_DATA), then "
        f"{quote(*words, '--data', 'NEW_DATA')}"
    )
