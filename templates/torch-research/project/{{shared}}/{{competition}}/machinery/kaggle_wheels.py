"""The wheels of the packages that Kaggle's image lacks, for a notebook without internet.

competition/wheels.txt   yours: the packages
competition/wheels/      their wheels: `compete.py notebook` downloads those that are not there
"""

import re
import subprocess
import sys
from pathlib import Path

from machinery.competition import FOLDER
from machinery.errors import InputError
from machinery.terminal import quote

WHEELS = FOLDER / "wheels"
WHEEL_LIST = FOLDER / "wheels.txt"
CONSTRAINTS = Path("constraints.txt")
# Kaggle's image, whatever this machine is.
MACHINE = ("--platform", "manylinux2014_x86_64", "--python-version", "3.12")


def read_packages() -> list[str]:
    """Return the packages that wheels.txt names."""
    lines = WHEEL_LIST.read_text(encoding="utf-8").splitlines() if WHEEL_LIST.exists() else []
    return [found[0] for line in lines if (found := re.match(r"[A-Za-z0-9][\w.-]*", line))]


def missing_wheels() -> list[str]:
    """Return the packages that wheels.txt names and of which there is no wheel.

    One of another version than constraints.txt has counts as none.
    """
    parts = [path.name.split("-") for path in WHEELS.glob("*.whl")]
    there = {(normal(name), version) for name, version, *_ in parts}
    pins = {normal(name): version for name, version in read_pins()}
    missing = []
    for name in read_packages():
        versions = {version for package, version in there if package == normal(name)}
        if not versions or pins.get(normal(name)) not in (None, *versions):
            missing.append(name)
    return missing


def read_pins() -> list[tuple[str, str]]:
    """Return the packages and their versions in constraints.txt."""
    text = CONSTRAINTS.read_text(encoding="utf-8") if CONSTRAINTS.exists() else ""
    return re.findall(r"^([A-Za-z0-9][\w.-]*)==([\w.!+-]+)", text, re.MULTILINE)


def download_wheels() -> None:
    """Download the wheels that are missing; where that fails, say how to get them."""
    if not (missing := missing_wheels()):
        return
    words = ["-m", "pip", "download", "--dest", str(WHEELS), "--no-deps", "--only-binary=:all:"]
    words += [*MACHINE, "-c", str(CONSTRAINTS), "-r", str(WHEEL_LIST)]
    said = f"Kaggle's image lacks {', '.join(missing)} ({WHEEL_LIST} says so)."
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        print(
            f"{said} Downloading its wheel failed: {last}\nRepeat it where there is a network, "
            f"then make the notebook anew:\n  {quote('python', *words)}"
        )
    else:
        print(f"{said} The wheels are in {WHEELS}.")


def refuse_missing_wheels() -> None:
    """Raise InputError where the notebook would fail on Kaggle for a package."""
    if missing := missing_wheels():
        raise InputError(
            f"would not score: Kaggle's image lacks {', '.join(missing)} ({WHEEL_LIST} says so), "
            f"and {WHEELS} has no wheel. Download it: python compete.py notebook --experiment ..."
        )


def normal(name: str) -> str:
    """Return the name of a package with one kind of separator, as pip compares it."""
    return name.lower().replace("_", "-").replace(".", "-")
