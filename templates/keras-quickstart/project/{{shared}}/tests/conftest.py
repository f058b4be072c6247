"""What several test files share."""

import argparse
import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from build_dataset import Dataset, read_unlabelled
from machinery.data_check import check
from machinery.errors import ShiftError
from machinery.statistics_file import write_description

Check = Callable[[Path], tuple[dict[str, Any], str]]


@pytest.fixture(scope="session")
def check_against() -> Callable[[Dataset, Path], Check]:
    """Return what makes a check of new examples against a dataset, whose folder is given.

    A check returns what check_data.py writes, and what it prints.
    """

    def check_against(dataset: Dataset, data: Path) -> Check:
        experiment = data.with_name("experiment")
        experiment.mkdir()
        write_description(experiment, dataset, data)
        places = {"experiment": experiment, "output": data.with_name("data_check.json")}
        others = {"predictions": None, "expected": None, "skip_bad": False}

        def run(path: Path) -> tuple[dict[str, Any], str]:
            code = 0
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                try:
                    arguments = argparse.Namespace(paths=[path], **places, **others)
                    check(arguments, Dataset, read_unlabelled)
                except ShiftError as error:
                    print(error)
                    code = error.exit_code
            report = json.loads(places["output"].read_text(encoding="utf-8"))
            assert report["exit_code"] == code
            return report, " ".join(printed.getvalue().split())

        return run

    return check_against
