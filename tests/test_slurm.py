"""docs/slurm.md on a real SLURM: one machine, controller and node started by the test."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from combinations import Combination, combinations
from projects import run

PAGE = Path(__file__).resolve().parent.parent / "docs" / "slurm.md"
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol")
pytestmark = [
    pytest.mark.deep,
    pytest.mark.skipif(
        not all(map(shutil.which, PROGRAMS)) or not hasattr(os, "geteuid") or os.geteuid() != 0,
        reason="no SLURM that root could start here (Debian: apt-get install slurm-wlm munge)",
    ),
]
CONFIGURATION = """ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={controller_port}
SlurmdPort={node_port}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES State=UP
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, str]]:
    """A cluster of this machine alone; gives the variables of a person who works on it."""
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    configuration = folder / "slurm.conf"
    configuration.write_text(
        CONFIGURATION.format(
            host=socket.gethostname().partition(".")[0],
            folder=folder,
            cores=os.cpu_count(),
            controller_port=free_port(),
            node_port=free_port(),
        )
    )
    files = [f"--{name}-file={folder}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    own = [f"--socket={folder}/munge.socket", "--force", "--foreground"]
    daemons = [
        subprocess.Popen(["munged", *own, *files], stderr=subprocess.DEVNULL),
        *(
            subprocess.Popen([name, "-D", "-f", configuration], stderr=subprocess.DEVNULL)
            for name in ("slurmctld", "slurmd")
        ),
    ]
    variables = {"SLURM_CONF": str(configuration), "OMP_NUM_THREADS": "1"}
    environment = os.environ | variables
    try:
        until(lambda: "idle" in command(environment, "sinfo", "--noheader"), "an idle machine")
        yield environment
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(30)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def until(is_so: Callable[[], bool], what: str, seconds: float = 120) -> None:
    """Wait until something is so."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, f"{what}: not in {seconds:g} s"
        time.sleep(0.2)


def command(environment: Mapping[str, str], *words: object, cwd: Path | None = None) -> str:
    """Return what a command prints, whether it fails or not."""
    done = subprocess.run(
        [str(word) for word in words], env=environment, cwd=cwd, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def job_file(project: Path) -> None:
    """Write job.sh as the page has it, and an environment to activate."""
    block = re.search(r"```bash\n(#!.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block
    (project / "job.sh").write_text(block[1])
    activate = project / ".venv" / "bin" / "activate"
    activate.parent.mkdir(parents=True)
    activate.write_text(f'export PATH="{Path(sys.executable).parent}:$PATH"\n')


@pytest.mark.parametrize("tasks", [1, 2])
def test_a_job_that_is_told_to_stop_is_queued_again_and_ends_as_if_nobody_had(
    tasks: int, slurm: Mapping[str, str], rendered: Callable[[Combination], Path], tmp_path: Path
) -> None:
    """Of two tasks each computes half of each batch: the bits are those of one process."""
    plain = next(each for each in combinations if each.choice == "plain" and not each.kaggle)
    project = shutil.copytree(rendered(plain), tmp_path / "project")
    job_file(project)
    words = ("--from", "experiments/baseline", "--training.epochs", 6)
    words += ("--training.accumulate", tasks)
    whole = project / "experiments" / "whole"
    result = run(project, "train.py", "--experiment", whole, *words)
    assert result.returncode == 0, result.stderr

    folder = project / "experiments" / "job"
    said = command(
        slurm, "sbatch", f"--ntasks={tasks}", "job.sh", "--experiment", folder, *words, cwd=project
    )
    number = said.split()[-1]

    def shown(name: str) -> str:
        found = re.search(rf"{name}=(\S+)", command(slurm, "scontrol", "show", "job", number))
        return found[1] if found else said

    metrics = folder / "metrics.jsonl"
    until(lambda: metrics.exists() and metrics.stat().st_size > 0, "the first epoch")
    command(slurm, "scancel", "--signal=USR1", number)  # As --signal=USR1@120 does.
    until(lambda: shown("Restarts") == "1", "another turn in the queue")
    assert len(metrics.read_text().splitlines()) < 6
    until(lambda: shown("JobState") == "PENDING", "the queue")
    command(slurm, "scontrol", "update", f"JobId={number}", "StartTime=now")
    until(lambda: shown("JobState") == "COMPLETED", "the end", 300)
    (log,) = project.glob("job.sh-*.log")
    assert "Stopped by SIGUSR1" in log.read_text()
    assert "continuing at step" in log.read_text()
    assert ("; 2 processes" in log.read_text()) == (tasks == 2)
    assert metrics.read_bytes() == (whole / "metrics.jsonl").read_bytes()
