"""TF_CONFIG says which of several processes this one is."""

import json
import os
import pickle
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from framework import processes
from framework.processes import Place, find_place, read, refuse_unequal_gpus, wait_for_leader, write
from machinery.checkpoints import Progress
from machinery.errors import InputError, LostProcessError, StoppedError
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
        (configuration(WORKERS, index=1), Place(1, 2, "a:1")),
        (configuration({"chief": ["c:1"], **WORKERS}, "chief"), Place(0, 3, "c:1")),
        (configuration({**WORKERS, "chief": ["c:1"]}, index="1"), Place(2, 3, "c:1")),
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


def test_a_leading_process_that_listens_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        wait_for_leader(f"127.0.0.1:{server.getsockname()[1]}", lambda: None)


def test_nobody_waits_for_a_leading_process_that_is_done_or_never_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    asked = []

    def refuse_to_wait() -> None:
        asked.append(None)
        if len(asked) == 3:
            raise StoppedError

    monkeypatch.setattr(processes, "WAIT_MINUTES", 0.1)
    with pytest.raises(StoppedError):
        wait_for_leader(address, refuse_to_wait)
    monkeypatch.setattr(processes, "WAIT_MINUTES", 0)
    with pytest.raises(LostProcessError, match=f"nobody listened at {address}"):
        wait_for_leader(address, lambda: None)


def test_processes_with_different_numbers_of_gpus_are_refused() -> None:
    refuse_unequal_gpus([2, 2, 2])
    with pytest.raises(InputError, match=r"GPUs: the processes have 2, 2, 1, .* as many in each"):
        refuse_unequal_gpus([2, 2, 1])


@pytest.mark.parametrize(
    "value", [np.ones((2, 3), np.float32), np.float64(2), np.ones(3)[::2], {"a": (1, None, "b")}]
)
def test_values_come_as_they_were_sent(value: Any) -> None:
    assert str(read(write(value))) == str(value)


def test_arrays_that_are_mapped_into_memory_come_as_arrays(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", np.arange(6))
    mapped = np.load(tmp_path / "array.npy", mmap_mode="r")
    (found,) = read(write([mapped.take([1, 3])]))
    assert type(found) is np.ndarray
    assert found.tolist() == [1, 3]


def test_errors_and_positions_come_as_they_were_sent() -> None:
    assert read(write(Progress(step=3))).step == 3
    assert str(read(write(InputError("x: got 1")))) == "x: got 1"


@pytest.mark.parametrize("sent", [os.system, eval, remove, np.save])
def test_nothing_that_runs_is_taken_from_another_process(sent: object) -> None:
    with pytest.raises(pickle.UnpicklingError, match="another process sent"):
        read(pickle.dumps(sent))
