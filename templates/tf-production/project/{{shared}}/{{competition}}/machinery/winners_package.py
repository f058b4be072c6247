"""`compete.py package`: what the hosts of a competition ask of its winners.

https://www.kaggle.com/WinningModelDocumentationGuidelines: the code and the weights, a README with
hardware, system, and how to train and predict; SETTINGS.json, directory_structure.txt,
entry_points.md, and the exact versions of all packages.
"""

import importlib.metadata
import json
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from machinery import records
from machinery.competition import read_slug
from machinery.errors import InputError
from machinery.files import write_atomically
from machinery.kaggle_client import refuse_tokens
from machinery.kaggle_training import folds_command
from machinery.notebook_bundle import digest_of, write_json
from machinery.terminal import quote

SHOWN = 5  # files that a message names
LEFT_OUT = shutil.ignore_patterns("tensorboard", ".*")
REQUIREMENTS = ("requirements.txt", "requirements/kaggle.txt")


def make_package(experiment: Path, output: Path) -> None:
    """Write the package into a new folder.

    Args:
        experiment: that won.
        output: the folder to make.

    Raises:
        InputError: a file of the project is not committed, or is a token; the experiment is not
            trained, or the folder is there already.
    """
    if output.exists():
        raise InputError(f"{output}: is there already. Name a new --output.")
    weights = sorted(experiment.rglob("*.safetensors"))
    if not weights:
        raise InputError(f"{experiment}: holds no weights. Train it: python train.py --folds all")
    steps, commit = commands(experiment), read_commit()
    names = git("ls-files", "-z").split("\0")[:-1]
    refuse_tokens([*map(Path, names), *experiment.rglob("*")])
    for name in names:
        copy(Path(name), output / ("PROJECT.md" if name == "README.md" else name))
    shutil.copytree(experiment, output / experiment, dirs_exist_ok=True, ignore=LEFT_OUT)
    submission = Path("submissions") / f"{experiment.name}.csv"
    if submission.exists():
        copy(submission, output / submission)
    write_json(output / "SETTINGS.json", settings(experiment))
    lines = [f"{name}=={version}" for name, version in sorted(exact_versions(read_names()).items())]
    write_text(output / "requirements.txt", "\n".join(lines))
    write_text(output / "entry_points.md", entry_points(steps))
    write_text(output / "README.md", readme(experiment, steps, commit, submission))
    write_text(output / "directory_structure.txt", "\n".join(tree(output)))
    print(f"Wrote {output}. Read its README.md, and say there what you know and it does not.")


def read_commit() -> str:
    """Return the commit of the project.

    Raises:
        InputError: there is none, or a file is not as it was committed.
    """
    try:
        commit = git("rev-parse", "HEAD").strip()
        words = ("status", "--porcelain", "-z", "--untracked-files=normal", "--", ".")
        changed = git(*words).split("\0")[:-1]
    except (OSError, subprocess.CalledProcessError):
        raise InputError(
            "no commit to package. Begin with: git init, then git add --all, then git commit"
        ) from None
    if changed:
        shown = ", ".join(line[3:] for line in changed[:SHOWN])
        more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
        raise InputError(
            f"not committed: {shown}{more}. A package is what a commit holds: git add --all, then "
            "git commit, then repeat this command."
        )
    return commit


def git(*words: str) -> str:
    """Return what git prints."""
    return subprocess.run(["git", *words], capture_output=True, check=True, encoding="utf-8").stdout


def copy(source: Path, target: Path) -> None:
    """Copy a file; make the folders that it needs."""
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(source, target)


def write_text(path: Path, text: str) -> None:
    """Write a text file that ends in a line break."""
    write_atomically(path, f"{text.rstrip()}\n".encode())


def settings(experiment: Path) -> dict[str, str]:
    """Return the folders that the commands read and write."""
    return {
        "RAW_DATA_DIR": "data/raw",
        "CLEAN_DATA_DIR": "data",
        "MODEL_DIR": experiment.as_posix(),
        "SUBMISSION_DIR": "submissions",
        "LOGS_DIR": experiment.as_posix(),
    }


def read_names() -> list[str]:
    """Return the packages that the project's requirements name."""
    lines = [
        line
        for file in REQUIREMENTS
        if Path(file).exists()
        for line in Path(file).read_text(encoding="utf-8").splitlines()
    ]
    return [found[0] for line in lines if (found := re.match(r"[A-Za-z0-9][\w.-]*", line))]


def exact_versions(names: Iterable[str]) -> dict[str, str]:
    """Return the installed versions of packages and of all that they need, by their names.

    PyPI has none of the local versions, such as 2.13.0+cpu of another index, but that without.
    """
    found: dict[str, str] = {}
    waiting = [*names]
    while waiting:
        try:
            about = importlib.metadata.distribution(waiting.pop())
        except importlib.metadata.PackageNotFoundError:  # For another system than this.
            continue
        if about.name in found:
            continue
        found[about.name] = about.version.partition("+")[0]
        needed = [line for line in about.requires or [] if "extra ==" not in line]
        waiting += [each[0] for line in needed if (each := re.match(r"[A-Za-z0-9][\w.-]*", line))]
    return found


def commands(experiment: Path) -> dict[str, str]:
    """Return the commands of each step, which replace what is in the package already.

    Raises:
        InputError: folds.json is missing.
    """
    where = ("--experiment", experiment.as_posix())
    steps: dict[str, Sequence[str]] = {
        "Prepare the data": folds_command(),
        "Train": ("train.py", *where, "--folds", "all", "--overwrite"),
        "Predict": ("compete.py", "predict", *where, "--overwrite"),
    }
    if (experiment / "all").is_dir():
        fit = ("compete.py", "fit-all", *where, "--", "--overwrite")
        predict = (*steps.pop("Predict"), "--with", "all")
        steps |= {"Train on all rows": fit, "Predict": predict}
    return {title: quote("python", *words) for title, words in steps.items()}


def entry_points(steps: Mapping[str, str]) -> str:
    """Return the text of entry_points.md, from the commands of each step."""
    return "\n".join(f"# {title}\n\n    {line}\n" for title, line in steps.items())


def readme(experiment: Path, steps: Mapping[str, str], commit: str, submission: Path) -> str:
    """Return the text of README.md, from what the runs recorded.

    Args:
        experiment: that won.
        steps: the commands of each step.
        commit: of the project.
        submission: the file that was sent, if it is there.
    """
    sessions = [
        session
        for path in sorted(experiment.rglob(records.FILE))
        for session in records.read_sessions(path.parent)[-1:]
    ]
    facts = [
        f"{session['system']}, {session['cores']} cores, {session.get('device', 'CPU')}, "
        f"Python {session['python']}"
        for session in sessions
    ]
    score = experiment / "score.json"
    lines = [
        f"# {read_slug()}: {experiment.name}",
        f"The code is that of commit {commit}.",
        "## Hardware and system",
        "Trained on:\n\n" + "\n".join(f"- {each}" for each in dict.fromkeys(facts)),
        f"Packaged on: {platform.platform()}, Python {platform.python_version()}.",
        "## Install",
        "    python -m pip install -r requirements.txt",
        "## Data",
        "Put the competition's files into `data/raw`: `python compete.py get` downloads them. "
        "`SETTINGS.json` names this folder and those that are written; to keep one elsewhere, put "
        "a link in its place. `competition/folds.csv` says which row is in which fold.",
    ]
    for title, line in steps.items():
        lines += [f"## {title}", f"    {line}"]
    lines += [
        f"The weights that won are in `{experiment.as_posix()}`, so that predicting needs no "
        "training. What training wrote there it replaces.",
    ]
    if score.exists():
        found = json.loads(score.read_text(encoding="utf-8"))
        lines.append(f"Score over all out-of-fold predictions: {found['score']}.")
    if submission.exists():
        lines.append(f"`{submission.as_posix()}` has the SHA-256 {digest_of(submission)}.")
    lines.append("PROJECT.md is the README of the project.")
    return "\n\n".join(lines)


def tree(folder: Path) -> Iterable[str]:
    """Yield the paths below a folder, a line each."""
    for path in sorted(folder.rglob("*")):
        yield path.relative_to(folder).as_posix() + ("/" if path.is_dir() else "")
