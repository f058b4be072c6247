"""Runs the commands of one project in forked children of a process that imported it once.

Importing a framework takes seconds and training the test networks takes tenths of one, so this
makes hundreds of runs affordable. It can also stop or crash a run at an exact place, which no
signal from outside can. Started in a project's folder; see `ForkServer` for its use.
"""

import contextlib
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

CRASHED = 137

# The modules of machinery/ that open files to write them,
WRITERS = ("files", "metrics")
# and the operations on files and folders that others ask Python for; shutil.rmtree uses them, too.
OPERATIONS = ("replace", "rename", "unlink", "remove", "mkdir", "rmdir", "truncate", "fsync")


class Result(NamedTuple):
    """How a command ended and what it printed."""

    code: int
    output: str


class ForkServer:
    """A process in `project` that has imported train.py and evaluate.py.

    Use it as a context manager.
    """

    def __init__(self, project: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-P", __file__],  # -P: nothing of the harness is imported.
            cwd=project,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(project), "OMP_NUM_THREADS": "1"},
        )

    def __enter__(self) -> "ForkServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()

    def run(
        self,
        script: str,
        *arguments: object,
        stop_at: int | None = None,
        crash_at: int | None = None,
        kill_after: float | None = None,
        setup: str = "",
    ) -> Result:
        """Run a script with arguments.

        Args:
            script: "train", "evaluate", "predict", "doctor" or "build_dataset".
            arguments: of the command line.
            stop_at: the look at the stop request that finds one, as if by SIGTERM just then.
            crash_at: the file operation at which the process dies: see CrashPoints.
            kill_after: seconds after the next checkpoint, when it is killed from outside.
            setup: Python to run first, to arrange a fault.
        """
        request = {
            "script": script,
            "arguments": [str(argument) for argument in arguments],
            "stop_at": stop_at,
            "crash_at": crash_at,
            "kill_after": kill_after,
            "setup": setup,
        }
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return Result(**json.loads(self.process.stdout.readline()))


class CrashPoints:
    """Counts the file operations of a project and ends the process at the one asked for.

    It dies before each of OPERATIONS, before a file is truncated, and in the middle of a write.
    """

    def __init__(self, crash_at: int) -> None:
        self.left = crash_at

    def tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            os._exit(CRASHED)

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            self.tick()
            return function(*arguments, **options)

        return wrapped

    def open(self, *arguments: Any, **options: Any) -> Any:
        file = open(*arguments, **options)  # noqa: SIM115
        write = file.write

        class HalfWritten:
            """Dies with half of what it was given on disk."""

            def write(_, content: Any) -> None:
                write(content[: len(content) // 2])
                file.flush()
                self.tick()
                write(content[len(content) // 2 :])

            def truncate(_, size: int) -> None:
                self.tick()
                file.truncate(size)

            def __getattr__(_, name: str) -> Any:
                return getattr(file, name)

            def __enter__(self) -> Any:
                return self

            def __exit__(_, *error: object) -> None:
                file.close()

        return HalfWritten()

    def install(self, *modules: Any) -> None:
        for name in OPERATIONS:
            setattr(os, name, self.before(getattr(os, name)))
        for module in modules:
            module.open = self.open


def child(request: dict[str, Any]) -> None:
    """Do what the request asks for, as the command would."""
    from machinery.errors import exit_codes

    script = importlib.import_module(request["script"])
    sys.argv = [f"{request['script']}.py", *request["arguments"]]
    with exit_codes():
        exec(request["setup"], {})
        if request["crash_at"]:
            writers = [importlib.import_module(f"machinery.{name}") for name in WRITERS]
            CrashPoints(request["crash_at"]).install(*writers)
        if request["script"] == "train":
            train(script, request["stop_at"])
        elif request["script"] in ("evaluate", "predict"):
            use_trained(script)
        elif request["script"] == "doctor":
            examine(script)
        else:
            script.main()


def train(script: Any, stop_at: int | None) -> None:
    """Do what `python train.py` does."""
    from build_dataset import open_dataset
    from machinery import command_line
    from parameters import Parameters

    command = command_line.training("__main__", script.__doc__, Parameters)
    if stop_at:
        command.stop = stop_at_look(command.stop, stop_at)
        script.SECONDS_PER_CALL = 0  # TensorFlow's loop looks between calls: one step each.
    command.run(script.train, open_dataset)


def use_trained(script: Any) -> None:
    """Do what `python evaluate.py` or `python predict.py` does."""
    from machinery import command_line
    from parameters import Parameters

    reads = {"evaluate": command_line.evaluation, "predict": command_line.prediction}
    command = reads[script.__name__]("__main__", script.__doc__, Parameters)
    command.run(script.main)


def examine(script: Any) -> None:
    """Do what `python doctor.py` does."""
    from build_dataset import open_dataset
    from machinery import command_line
    from parameters import Parameters

    command = command_line.checkup("__main__", script.__doc__, Parameters)
    command.run(script.describe_machine, open_dataset, script.make_subject)


def stop_at_look(stop: Any, number: int) -> Any:
    """Make a StopRequest find a request at its look of that number."""
    from machinery.errors import StoppedError

    class StopAtLook(type(stop)):
        looks = 0

        def __bool__(self) -> bool:
            self.looks += 1
            if self.looks == number:
                self.error = StoppedError("the test")
            return super().__bool__()

    stop.__class__ = StopAtLook
    return stop


def import_for_all() -> None:
    """Import what every run needs. Nothing is computed here: the threads of TensorFlow and JAX
    would not be forked.
    """
    import matplotlib.backends.backend_agg  # noqa: F401
    import safetensors.numpy  # noqa: F401
    import tensorboard.summary.writer.record_writer  # noqa: F401
    import tqdm  # noqa: F401

    import evaluate  # noqa: F401
    import machinery.pictures
    import machinery.run  # noqa: F401
    import train  # noqa: F401

    backend = vars(sys.modules["backend"])
    if "STEPS_PER_EXECUTION" in backend:  # Keras. An epoch of five steps then has three executions.
        backend["STEPS_PER_EXECUTION"] = min(2, backend["STEPS_PER_EXECUTION"])
    if torch := sys.modules.get("torch"):
        torch.optim.AdamW([torch.zeros(1)])  # Imports what every run would import again.


def kill_later(process: int, arguments: list[str], seconds: float) -> None:
    """Kill a process that trains, once it has saved a checkpoint and some time is over."""
    checkpoint = Path(arguments[arguments.index("--experiment") + 1], "last.safetensors")
    before = version(checkpoint)
    while version(checkpoint) in (before, None):
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return  # It has ended by itself.
        time.sleep(0.005)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)


def version(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from the one that replaces it; None where there is no file."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def main() -> None:
    """Serve requests, a JSON line each, until standard input ends."""
    import_for_all()
    gc.freeze()  # A collection in a child would copy the memory that it shares with this process.
    for line in sys.stdin:
        request = json.loads(line)
        read, write = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(read)
            os.dup2(write, 1)
            os.dup2(write, 2)
            code = 1
            with contextlib.suppress(BaseException):
                try:
                    child(request)
                    code = 0
                except SystemExit as error:
                    code = error.code if isinstance(error.code, int) else 1 if error.code else 0
                except BaseException:
                    traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        os.close(write)
        if request["kill_after"] is not None:
            kill_later(process, request["arguments"], request["kill_after"])
        with open(read, encoding="utf-8", errors="replace") as pipe:
            output = pipe.read()
        _, status = os.waitpid(process, 0)
        print(json.dumps({"code": os.waitstatus_to_exitcode(status), "output": output}), flush=True)


if __name__ == "__main__":
    main()
