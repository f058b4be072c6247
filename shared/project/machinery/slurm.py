"""Who is who of the processes that SLURM's srun starts, said as torchrun says it.

SLURM's variables: https://slurm.schedmd.com/srun.html, "Output environment variables".
"""

import os
import re
from collections.abc import MutableMapping

from machinery.errors import InputError

FIRST_PORT, PORTS = 20_000, 10_000  # Each step of a job takes one of these.


def adopt_tasks(variables: MutableMapping[str, str] = os.environ) -> None:
    """Set the variables of torchrun where srun has started several tasks, and nothing else has.

    Args:
        variables: of the environment.

    Raises:
        InputError: variables of SLURM are missing or of another form.
    """
    tasks = variables.get("SLURM_STEP_NUM_TASKS", "1")
    # SLURM_PTY_PORT: a person types in a shell that `srun --pty` has started once for all tasks.
    if "WORLD_SIZE" in variables or "SLURM_PTY_PORT" in variables or tasks == "1":
        return
    try:
        step = int(variables["SLURM_JOB_ID"]) * 10 + int(variables["SLURM_STEP_ID"])
        counts = expand_counts(variables["SLURM_STEP_TASKS_PER_NODE"])
        variables.update(
            RANK=variables["SLURM_PROCID"],
            LOCAL_RANK=variables["SLURM_LOCALID"],
            LOCAL_WORLD_SIZE=str(counts[int(variables["SLURM_NODEID"])]),
            MASTER_ADDR=first_host(variables["SLURM_STEP_NODELIST"]),
            MASTER_PORT=str(FIRST_PORT + step % PORTS),
        )
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(
            f"SLURM_STEP_NUM_TASKS: got {tasks}, and another variable of srun is missing or has a "
            f"form of its own ({error}). Start one task for each machine, with torchrun in it."
        ) from None
    variables["WORLD_SIZE"] = tasks


def expand_counts(text: str) -> list[int]:
    """Return how many tasks each machine has: "2(x3),1" is 2, 2, 2, 1."""
    counts = []
    for part in text.split(","):
        if not (found := re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)):
            raise ValueError(f"tasks per machine: {text!r}")
        counts += [int(found[1])] * int(found[2] or 1)
    return counts


def first_host(text: str) -> str:
    """Return the first machine of a list: "node[01-03,07]x,other" begins with node01x."""
    found = re.match(r"([^,\[\]]+)(?:\[(\d+)[^\]]*\])?([^,\[\]]*)(?:,|$)", text)
    if not found:
        raise ValueError(f"machines: {text!r}")
    return "".join(part or "" for part in found.groups())
