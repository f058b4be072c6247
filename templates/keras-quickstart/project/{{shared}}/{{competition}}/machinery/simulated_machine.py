"""A machine like Kaggle's: inputs that cannot be written, no network, an end to time and memory.

Linux lends it to everyone as a user, mount and network namespace, in which / is as here, with a
/kaggle of its own and without the project's files. Elsewhere the inputs are copies, the paths come
from environment variables, and Python's sockets are blocked.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

POLL = 0.1  # seconds
NOT_MADE = 97  # Exit code of the shell that could not make the namespace.
HIDDEN = ("data", "experiments", "competition", "framework", "machinery", "model", "submissions")
LOOPBACK_UP = (
    "import fcntl, socket, struct; "
    "fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sH22x', b'lo', 1))"
)


class Outcome(NamedTuple):
    """How a process ended."""

    exit_code: int
    seconds: float
    memory: float  # GB, the most that was seen; 0 where it cannot be seen
    stopped: str  # why it was ended, or nothing


class Machine:
    """Runs a script as Kaggle would.

    Args:
        tree: an empty folder for inputs and outputs.
        inputs: the folder or file of each place below /kaggle/input; a later one may lie inside an
            earlier one, and takes the place of what is there.
    """

    def __init__(self, tree: Path, inputs: Mapping[str, Path]) -> None:
        self.tree, self.inputs = tree, {name: path.resolve() for name, path in inputs.items()}
        self.working = tree / "kaggle" / "working"
        self.working.mkdir(parents=True)
        (tree / "kaggle" / "input").mkdir()
        self.is_namespace = self._try_namespace()
        if not self.is_namespace:
            self._copy_inputs()

    def describe(self) -> str:
        """Return how the machine is made."""
        if self.is_namespace:
            return "/kaggle is mounted in a namespace: read-only inputs, no network"
        return "no namespaces here: the inputs are copies, and only Python's sockets are blocked"

    def run(
        self, script: Path, minutes: float, memory: float, environment: Mapping[str, str], log: Path
    ) -> Outcome:
        """Run a script until it ends, or until its time or memory is over.

        Args:
            script: of Python.
            minutes: after which to end it.
            memory: GB of all its processes, above which to end it; not seen without /proc.
            environment: variables to add to those of this process.
            log: takes what it prints.
        """
        command = [sys.executable, str(script)]
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        variables |= {"PYTHONUNBUFFERED": "1", **environment}
        if self.is_namespace:
            command = self._in_namespace(command)
        else:
            variables |= self._imitation()
        began, most, stopped = time.monotonic(), 0.0, ""
        with open(log, "wb") as file:
            process = subprocess.Popen(
                command,
                cwd=self.working,
                env=variables,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                while process.poll() is None and not stopped:
                    time.sleep(POLL)
                    most = max(most, used_memory(process.pid))
                    if time.monotonic() - began > 60 * minutes:
                        stopped = f"took longer than {minutes:g} minutes"
                    elif most > memory:
                        stopped = f"took {most:.2f} GB of memory, more than {memory:g}"
            finally:
                end_session(process)
        return Outcome(process.wait(), time.monotonic() - began, most, stopped)

    def _try_namespace(self) -> bool:
        try:
            command = self._in_namespace(["true"])
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:  # No unshare: another system than Linux.
            return False

    def _in_namespace(self, command: list[str]) -> list[str]:
        """Return the command line that runs another in a namespace with /kaggle."""
        root, kaggle = self.tree / "root", self.tree / "kaggle"
        root.mkdir(exist_ok=True)
        # chroot lies where the PATH of people other than root may not look.
        lines = ["set -e", 'PATH="$PATH:/usr/sbin:/sbin"']
        for name, source in self.inputs.items():
            place = kaggle / "input" / name
            make = f"mkdir -p {quote(place)}" if source.is_dir() else f"[ -e {quote(place)} ]"
            lines += [make, f"mount --bind {quote(source)} {quote(place)}"]
        for name in self.inputs:
            place = quote(kaggle / "input" / name)
            lines.append(f"mount -o remount,bind,ro,nosuid,nodev {place}")
        lines += [
            f"mount -t tmpfs none {quote(root)}",
            f"cd {quote(root)}",
            "for each in /*; do name=${each#/}",
            'if [ "$name" = kaggle ]; then continue; fi',
            'if [ -L "$each" ]; then cp -P "$each" .',
            'elif [ -d "$each" ]; then mkdir "$name"; mount --rbind "$each" "$name"; fi; done',
            f"mkdir kaggle; mount --rbind {quote(kaggle)} kaggle",
        ]
        for name in HIDDEN:
            if Path(name).is_dir():
                lines.append(f"mount -t tmpfs none .{quote(Path(name).resolve())}")
        lines += [
            f"{quote(sys.executable)} -c {shlex.quote(LOOPBACK_UP)}",
            "set +e",
            f"exec chroot . env -C /kaggle/working {shlex.join(command)}",
        ]
        script = f"trap 'exit {NOT_MADE}' EXIT; " + "\n".join(lines)
        return ["unshare", "--map-root-user", "--mount", "--net", "sh", "-c", script]

    def _copy_inputs(self) -> None:
        for name, source in self.inputs.items():
            place = self.tree / "kaggle" / "input" / name
            if source.is_dir():
                shutil.copytree(source, place, dirs_exist_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, place)
        for path in (self.tree / "kaggle" / "input").rglob("*"):
            path.chmod(0o555 if path.is_dir() else 0o444)

    def _imitation(self) -> dict[str, str]:
        """Return the variables that say where the inputs are, and block Python's sockets."""
        folder = self.tree / "blocked"
        folder.mkdir(exist_ok=True)
        shutil.copyfile(Path(__file__).with_name("blocked_network.py"), folder / "sitecustomize.py")
        return {
            "KAGGLE_INPUT_FOLDER": str(self.tree / "kaggle" / "input"),
            "KAGGLE_WORKING_FOLDER": str(self.working),
            "PYTHONPATH": str(folder),
        }

    def remove(self) -> None:
        """Delete the folder of inputs and outputs."""
        for path in self.tree.rglob("*"):
            if not path.is_symlink():  # Windows deletes no file that cannot be written.
                path.chmod(0o755 if path.is_dir() else 0o644)
        shutil.rmtree(self.tree)


def quote(path: Path | str) -> str:
    """Return a path as a word of the shell."""
    return shlex.quote(str(path))


def used_memory(session: int) -> float:
    """Return GB of memory that the processes of a session hold, without files that are mapped.

    Args:
        session: the number of its first process.
    """
    kilobytes = 0
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            if int(fields[3]) == session:
                lines = (path / "status").read_text(encoding="utf-8").splitlines()
                found = [line for line in lines if line.startswith(("RssAnon", "RssShmem"))]
                kilobytes += sum(int(line.split()[1]) for line in found)
        except (OSError, IndexError, ValueError):  # It has ended meanwhile.
            continue
    return kilobytes / 1e6


def end_session(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    if os.name == "posix":
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
    else:
        process.kill()
