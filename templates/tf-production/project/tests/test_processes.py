"""TF_CONFIG says which of several processes this one is."""

import json
import os
import pickle
from typing import Any

import numpy as np
import pytest

from framework.processes import Place, find_place, read
from machinery.checkpoints import Progress
from machinery.errors import InputError
from machinery.files import remove

WORKERS = {"worker": ["a:1", "b:1"]}


def configuration(cluster: object, kind: str = "worker", index: object = 0) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}})}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"WORLD_SIZE": "1"}, None),
        ({"TF_CONFIG": "{}"}, None),
        (configuration({"worker": ["a:1"]}), None),
        (configuration(WORKERS, index=1), Place(1, 2)),
        (configuration({"chief": ["c:1"], **WORKERS}, "chief"), Place(0, 3)),
        (configuration({**WORKERS, "chief": ["c:1"]}, index="1"), Place(2, 3)),
    ],
)
def test_who_is_who(variables: dict[str, str], expected: Place | None) -> None:
    assert find_place(variables) == expected


@pytest.mark.parametrize(
    "variables",
    [
        {"TF_CONFIG": "worker 0"},
        {"TF_CONFIG": "[]"},
        configuration(WORKERS, index=2),
        configuration(WORKERS, index=None),
        configuration({"ps": ["p:1"], **WORKERS}),
        configuration({"evaluator": ["e:1"], **WORKERS}, "evaluator"),
    ],
)
def test_another_configuration_is_refused(variables: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"TF_CONFIG: got .*, expected chief and workers alone"):
        find_place(variables)


def test_another_launcher_is_refused() -> None:
    with pytest.raises(InputError, match="TF_CONFIG: not set, expected beside WORLD_SIZE 2"):
        find_place({"WORLD_SIZE": "2"})


@pytest.mark.parametrize(
    "value", [np.ones((2, 3), np.float32), np.float64(2), np.ones(3)[::2], {"a": (1, None, "b")}]
)
def test_values_come_as_they_were_sent(value: Any) -> None:
    assert str(read(pickle.dumps(value))) == str(value)


def test_errors_and_positions_come_as_they_were_sent() -> None:
    assert read(pickle.dumps(Progress(step=3))).step == 3
    assert str(read(pickle.dumps(InputError("x: got 1")))) == "x: got 1"


@pytest.mark.parametrize("sent", [os.system, eval, remove, np.save])
def test_nothing_that_runs_is_taken_from_another_process(sent: object) -> None:
    with pytest.raises(pickle.UnpicklingError, match="another process sent"):
        read(pickle.dumps(sent))
