"""Install what the clone needs into an environment of its own, then show or test the templates.

    python3 tools/bootstrap.py demo                  # render, train and evaluate in demo/
    python3 tools/bootstrap.py test [pytest's own]   # run the test suite
    python3 tools/bootstrap.py prove                 # run its deeper tier, then plant defects and
                                                     # see which test notices each

Needs Python 3.11 to 3.13 and nothing else; on Windows: `py tools\\bootstrap.py demo`. Everything
is installed into .venv/ beside this repository's README, never into your own Python. Delete .venv/
and demo/ and nothing is left.
"""

from __future__ import annotations  # Lets an old Python read as far as the refusal.

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

oldest_python, newest_python = (3, 11), (3, 13)
# Where PyTorch, TensorFlow and JAX have packages: processors, and the oldest glibc or macOS.
systems = {
    "Linux": (("x86_64", "aarch64"), (2, 28)),
    "Darwin": (("arm64",), (14, 0)),
    "Windows": (("AMD64",), ()),
}
root = Path(__file__).resolve().parent.parent
marker_text = (
    "Made by tools/bootstrap.py, which replaces or removes this folder when it needs to.\n"
)


class Refused(Exception):
    """What the person has to know; said without a traceback, exit code 2."""


# Until the checks, the file keeps to what an old Python can read.


def check_python(version, executable):
    """Refuse a Python that is too old, or so new that it lacks packages."""
    if not oldest_python <= tuple(version[:2]) <= newest_python:
        raise Refused(
            "{} is Python {}.{}, expected {}.{} to {}.{}. Install one from python.org or your "
            "system's packages, and call this script with it, such as: "
            "python3.13 tools/bootstrap.py demo".format(
                executable, *version[:2], *oldest_python, *newest_python
            )
        )


def check_system(system, processor, version):
    """Refuse a system for which PyTorch, TensorFlow or JAX have no packages.

    version: of macOS or of glibc, such as 14.5; of Windows any.
    """
    processors, oldest = systems.get(system, ((), ()))
    found = tuple(int(part) for part in version.split(".") if part.isdigit())
    if processor not in processors or found < oldest:
        raise Refused(
            f"{system} {version} ({processor}): there are no packages of PyTorch, TensorFlow and "
            "JAX for it; expected Linux with glibc 2.28 or newer (x86_64, aarch64), Windows "
            "(AMD64), or macOS 14 or newer on Apple silicon with a Python for arm64, each with "
            "64 bits."
        )


def this_system():
    """Return what check_system takes, for this computer and this Python."""
    version = platform.libc_ver()[1] if sys.platform == "linux" else platform.mac_ver()[0]
    processor = platform.machine() if sys.maxsize > 2**32 else "32 bits"
    return platform.system(), processor, version


def take_folder(folder: Path, marker: str) -> None:
    """Make the folder, empty and marked as ours. Refuse to replace one that is not."""
    if folder.exists():
        if not (folder / marker).is_file():
            raise Refused(
                f"{folder} exists, and this script did not make it; expected no such folder, or "
                "one of its own. Move or rename it, then run this command again."
            )
        shutil.rmtree(folder)
    folder.mkdir()
    (folder / marker).write_text(marker_text, encoding="utf-8")


class Environment:
    """A virtual environment that is built again when the interpreter or its folder changes, and
    brought up to date when a requirement file does.
    """

    marker = "made-by-bootstrap.txt"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.programs = folder / ("Scripts" if os.name == "nt" else "bin")
        self.python = self.programs / ("python.exe" if os.name == "nt" else "python")
        self.uv = self.programs / ("uv.exe" if os.name == "nt" else "uv")
        self.stamps = folder / "installed.json"

    def prepare(self, requirements: Path, inputs: list[Path]) -> None:
        """Install the requirement file, unless the same one is installed already.

        inputs: every file that decides what gets installed.
        """
        base = f"{sys.version} {sys.base_prefix} {self.folder}"
        digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in inputs)).hexdigest()
        stamps = json.loads(self.stamps.read_text("utf-8")) if self.stamps.is_file() else {}
        if stamps.get("base") != base:
            take_folder(self.folder, self.marker)
            self._create()
            stamps = {"base": base}
        if stamps.get(requirements.name) == digest:
            return
        self._install(requirements)
        stamps[requirements.name] = digest
        self.stamps.write_text(json.dumps(stamps, indent=2), encoding="utf-8")

    def _create(self) -> None:
        say(f"creating {self.folder}")
        if run([sys.executable, "-m", "venv", self.folder]) == 0:
            return
        # Debian ships venv without ensurepip; there the system's pip installs one from outside.
        say("trying again with the pip of your Python")
        outside = [sys.executable, "-m", "pip", "--python", self.python, "install", "pip"]
        bare = [sys.executable, "-m", "venv", "--clear", "--without-pip", self.folder]
        made = run(bare) == 0
        (self.folder / self.marker).write_text(marker_text, encoding="utf-8")
        if not (made and run(outside) == 0):
            raise Refused(
                f"{sys.executable} cannot create a virtual environment with pip in {self.folder}. "
                "On Debian and Ubuntu: sudo apt install python3-venv. Then run this command again."
            )

    def _install(self, requirements: Path) -> None:
        say(f"installing {requirements.name}; the first time takes minutes")
        if self._uv_starts():
            # Compiled now, or each first import would pay for it.
            command = [self.uv, "pip", "install", "--python", self.python, "--compile-bytecode"]
            if run([*command, "-r", requirements], environment=uv_variables(os.environ)) == 0:
                return
        say("uv did not do it; using pip, which takes longer")
        pip = [self.python, "-m", "pip", "install", "--disable-pip-version-check"]
        if run([*pip, "-r", requirements]) != 0:
            raise Refused(
                f"{requirements} could not be installed into {self.folder}: see pip's message "
                "above. Check the network, then run this command again; it goes on from here."
            )

    def _uv_starts(self) -> bool:
        """Whether uv is, or can be put, in the environment, and starts on this machine."""
        constraints = root / "requirements" / "constraints.txt"
        pip = [self.python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
        if not self.uv.is_file() and run([*pip, "-c", constraints, "uv"]) != 0:
            return False
        return run([self.uv, "--version"]) == 0


def uv_variables(variables) -> dict:
    """The environment variables for uv, which does not read pip's: a folder of wheels that pip was
    told of by PIP_FIND_LINKS goes by UV_FIND_LINKS to uv, with commas for blanks.
    """
    result = dict(variables)
    if variables.get("PIP_FIND_LINKS"):
        result.setdefault("UV_FIND_LINKS", ",".join(variables["PIP_FIND_LINKS"].split()))
    return result


def say(message: str) -> None:
    print(f"bootstrap: {message}", flush=True)


def run(command: list, folder: Path = root, environment=None) -> int:
    """The exit code of the command; 127, as a shell says, if it cannot be started."""
    try:
        return subprocess.run(
            [str(part) for part in command], cwd=folder, env=environment, check=False
        ).returncode
    except OSError as error:
        say(f"{command[0]} does not start: {error}")
        return 127


def demo(python: Path, folder: Path) -> int:
    """Render the template into the folder, train, evaluate, and say what to look at."""
    take_folder(folder, ".made-by-bootstrap")
    template = root / "templates" / "torch-research"
    steps = [
        ([python, "-m", "copier", "copy", "--defaults", "--quiet", template, folder], root),
        ([python, "train.py"], folder),
        ([python, "evaluate.py"], folder),
    ]
    for command, where in steps:
        say(" ".join(str(part) for part in ["python", *command[1:]]))
        code = run(command, where)
        if code != 0:
            return code
    experiment = folder / "experiments" / "baseline"
    metrics = json.loads((experiment / "metrics_test.json").read_text(encoding="utf-8"))
    print(f"\nThe project is in {folder}, trained and evaluated. On the test examples:\n")
    for name, value in metrics.items():
        if isinstance(value, (int, float)):
            print(f"  {name}: {value:.4g}")
    print("\nLook at:\n")
    for picture in ("learning_curves.png", "confusion_matrix_test.png"):
        if not (experiment / picture).is_file():
            raise Refused(f"{experiment / picture} is missing; expected evaluate.py to draw it.")
        print(f"  {experiment / picture}")
    copier = python.with_name("copier").relative_to(root)
    print(f"\nA project of your own:\n\n  {copier} copy templates/torch-research myproj")
    return 0


def main(arguments: list) -> int:
    check_python(sys.version_info, sys.executable)
    check_system(*this_system())
    if arguments in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    if arguments != ["demo"] and arguments[:1] not in (["test"], ["prove"]):
        raise Refused(f"got {' '.join(arguments) or 'nothing'}, expected demo, test or prove.")
    environment = Environment(root / ".venv")
    folder = root / "requirements"
    inputs = [*folder.glob("*.txt"), *root.glob("templates/*/project/**/*.txt")]
    name = "demo.txt" if arguments[0] == "demo" else "test.txt"
    environment.prepare(folder / name, sorted(inputs))
    if arguments[0] == "demo":
        return demo(environment.python, root / "demo")
    # As many processes as there are cores, eight at most: each holds a framework in memory.
    processes = str(min(os.cpu_count() or 1, 8))
    tests = [environment.python, "-m", "pytest", "-n", processes, "--dist", "loadgroup"]
    if arguments[0] == "test":
        return run([*tests, *arguments[1:]])
    if arguments == ["prove"]:
        code = run([*tests, "--deep"])
        if code != 0:
            return code
    return run([environment.python, root / "tools" / "prove.py", *arguments[1:]])


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except Refused as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
