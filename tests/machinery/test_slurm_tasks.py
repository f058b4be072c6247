"""What srun's variables say of the processes of a training."""

import pytest

from machinery.errors import InputError
from machinery.slurm import adopt_tasks, expand_counts, first_host

STEP = {
    "SLURM_STEP_NUM_TASKS": "5",
    "SLURM_PROCID": "4",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "2",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),1",
    "SLURM_STEP_NODELIST": "gpu[07-09]",
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "3",
}


def test_tasks_are_called_as_torchrun_calls_them() -> None:
    variables = dict(STEP)
    adopt_tasks(variables)
    assert {name: variables[name] for name in variables.keys() - STEP.keys()} == {
        **{"WORLD_SIZE": "5", "RANK": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"},
        **{"MASTER_ADDR": "gpu07", "MASTER_PORT": "27113"},
    }


@pytest.mark.parametrize(
    "variables",
    [
        *({}, STEP | {"SLURM_STEP_NUM_TASKS": "1"}, STEP | {"WORLD_SIZE": "2"}),
        STEP | {"SLURM_PTY_PORT": "4242"},
    ],
)
def test_one_task_and_other_launchers_are_left_alone(variables: dict[str, str]) -> None:
    before = dict(variables)
    adopt_tasks(variables)
    assert variables == before


@pytest.mark.parametrize("name", ["SLURM_NODEID", "SLURM_STEP_TASKS_PER_NODE", "SLURM_JOB_ID"])
def test_what_is_missing_or_strange_is_said(name: str) -> None:
    for wrong in ({}, {name: "strange"}):
        variables = {key: value for key, value in STEP.items() if key != name} | wrong
        before = dict(variables)
        with pytest.raises(InputError, match="SLURM_STEP_NUM_TASKS: got 5"):
            adopt_tasks(variables)
        assert variables == before


def test_lists_of_slurm() -> None:
    with pytest.raises(ValueError, match="machines"):
        first_host("rack[1-2]node[3-4]")
    assert expand_counts("2(x3),1") == [2, 2, 2, 1]
    assert expand_counts("8") == [8]
    assert [first_host(text) for text in ("a", "a,b", "n[01-03,07]", "n[1,3]x,b", "a1,n[1-2]")] == [
        *("a", "a", "n01", "n1x", "a1")
    ]
