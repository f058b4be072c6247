"""TY1: the repository."""

import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from trainyard.checks.definition import Finding, check
from trainyard.checks.repository import Repository, is_test
from trainyard.checks.sources import notebook_cells

ARRAYS_AND_WEIGHTS = {
    *(".pt", ".pth", ".ckpt", ".safetensors", ".h5", ".hdf5", ".keras", ".onnx", ".tflite"),
    *(".pkl", ".pickle", ".joblib", ".npy", ".npz", ".gguf", ".tfrecord", ".tfrecords"),
    *(".parquet", ".feather", ".arrow", ".lmdb", ".mat"),
}
SMALL = 100_000  # Bytes; tests may keep examples of this size.
LARGE = 5_000_000  # Bytes.
WORKFLOWS = (".github/workflows/*.yml", ".github/workflows/*.yaml", "action.yml", "action.yaml")
OTHER_CI = (
    *(".gitlab-ci.yml", "azure-pipelines*.yml", ".azure/*.yml", ".circleci/config.yml"),
    *(".travis.yml", "jenkinsfile", "bitbucket-pipelines.yml", ".woodpecker*", ".buildkite/*"),
)
RUNS = r"(python[\d.]*|torchrun|uv run|accelerate launch|deepspeed|make|bash|sh|srun|sbatch|\./)"


def has_training(repository: Repository) -> bool:
    """Return whether something in the repository trains a network."""
    return bool(repository.training)


@check(
    "TY101",
    "Conflict markers",
    why="A merge or an update was committed half done: the file holds two versions of its lines.",
    mend="Choose between the lines, and delete the markers.",
    doubt="A text about merging may show such lines on purpose.",
)
def conflict_markers(repository: Repository) -> Iterator[Finding]:
    for name in repository.names:
        text = repository.text(name)
        if not ("<<<<<<< " in text and re.search(r"^>>>>>>> ", text, re.MULTILINE)):
            continue
        for number, line in repository.lines(name):
            if line.startswith("<<<<<<< "):
                yield Finding(name, number, "a conflict begins here")


@check(
    "TY102",
    "Rejected hunks",
    why="A patch or an update left out what did not fit, so a change is missing without a word.",
    mend="Bring the change into the file by hand, then delete the .rej or .orig file.",
    doubt="A data format of your own may use these endings.",
)
def rejected_hunks(repository: Repository) -> Iterator[Finding]:
    for name in repository.find("*.rej", "*.orig"):
        if name.endswith(".rej") or name.removesuffix(".orig") in repository.names:
            yield Finding(name, 0, f"left over from {PurePosixPath(name).stem}")


@check(
    "TY103",
    "Data or weights in git",
    why="Git keeps each version for ever, so every clone grows, and nobody sees what changed.",
    mend="Take the file out (git rm --cached), ignore its kind, and say in the README how to get "
    "it; or track it with Git LFS or DVC.",
    doubt=f"Small examples of tests are left alone (under {SMALL // 1000} kB, below tests/). Where "
    "the array is itself the source, ignore it with this as the reason.",
)
def data_in_git(repository: Repository) -> Iterator[Finding]:
    for name in repository.names:
        if PurePosixPath(name).suffix.lower() not in ARRAYS_AND_WEIGHTS:
            continue
        size = repository.size(name)
        if (is_test(name) and size < SMALL) or repository.is_in_lfs(name):
            continue
        yield Finding(name, 0, f"{size / 1000:,.0f} kB")


@check(
    "TY104",
    "Large file in git",
    why="It slows down every clone and every checkout of the continuous integration, for ever.",
    mend="Keep it elsewhere and say how to get it, or track it with Git LFS or DVC.",
    doubt=f"The line is {LARGE // 1_000_000} MB. Arrays and weights are left to TY103.",
)
def large_files(repository: Repository) -> Iterator[Finding]:
    for name in repository.names:
        kind = PurePosixPath(name).suffix.lower()
        if kind in ARRAYS_AND_WEIGHTS or repository.size(name) < LARGE:
            continue
        if not repository.is_in_lfs(name):
            yield Finding(name, 0, f"{repository.size(name) / 1_000_000:,.0f} MB")


@check(
    "TY105",
    "Nothing keeps data and results out of git",
    why="The first `git add .` after a training commits checkpoints and prepared data.",
    mend="Add the folders of data and results, and the endings of checkpoints, to .gitignore.",
    doubt="It looks for usual names of such folders and endings; yours may have others.",
    applies=has_training,
)
def no_ignore_file(repository: Repository) -> Iterator[Finding]:
    usual = r"data|experiment|output|\bout\b|runs|checkpoint|ckpt|logs?\b|wandb|mlruns|results"
    endings = r"\*\.(pt|pth|safetensors|h5|keras|npy|npz)\b"
    names = repository.find(".gitignore", "*/.gitignore")
    if not any(re.search(f"{usual}|{endings}", repository.text(name)) for name in names):
        yield Finding("", 0, ".gitignore names no folder of data or results" if names else "none")


@check(
    "TY107",
    "No licence",
    why="Without one nobody may use, change or pass on the code, whoever can read it.",
    mend="Add a file LICENSE: choosealicense.com compares them.",
    doubt="In a private repository this may be meant so. In a folder of a larger repository, the "
    "licence at its top is not seen.",
)
def no_licence(repository: Repository) -> Iterator[Finding]:
    readmes = [repository.text(name) for name in repository.find("readme*")]
    granted = any("permission is hereby granted" in text.lower() for text in readmes)
    if not granted and not repository.find("licen[cs]e*", "copying*", "unlicense*", "licenses/*"):
        yield Finding("", 0, "no LICENSE, LICENCE or COPYING at the top")


@check(
    "TY108",
    "The README does not say how to train",
    why="It is the first thing that anybody wants to know, and you in a year.",
    mend="Write the command into the README: python train.py ...",
    doubt="It looks in every README for a command with train, main, run or fit in it, or for the "
    "name of a file that trains.",
    applies=has_training,
)
def no_command(repository: Repository) -> Iterator[Finding]:
    readmes = repository.find("readme*", "*/readme*")
    if not readmes:
        yield Finding("", 0, "no README")
        return
    text = "\n".join(repository.text(name) for name in readmes)
    named = any(PurePosixPath(source.path).name in text for source in repository.training)
    if not named and not re.search(rf"{RUNS}\s?.*(train|main|run|fit)", text):
        yield Finding(readmes[0], 0, "names no command that trains")


@check(
    "TY109",
    "Notebook with outputs",
    why="Outputs hold data and pictures, make each difference unreadable, and may not be those of "
    "the code above them.",
    mend="Clear them before you commit: nbstripout --install does it each time.",
    doubt="A notebook that is a report shows its outputs on purpose.",
    applies=lambda repository: bool(repository.find("*.ipynb")),
)
def notebook_outputs(repository: Repository) -> Iterator[Finding]:
    for name in repository.find("*.ipynb"):
        cells = notebook_cells(repository.text(name))
        with_outputs = [number for number, cell in enumerate(cells, 1) if cell.get("outputs")]
        if with_outputs:
            message = f"{len(with_outputs)} of its cells have outputs"
            yield Finding(name, 0, message, with_outputs[0])
        elif repository.size(name) > LARGE:
            yield Finding(name, 0, f"{repository.size(name) / 1_000_000:,.0f} MB, not read")


@check(
    "TY110",
    "GitHub action that is not pinned",
    why="A tag can be moved to other code, which then runs with the secrets of the repository.",
    mend="Name the action by its commit: uses: actions/checkout@<40 digits> # v7. Renovate and "
    "Dependabot keep it up to date.",
    doubt="Actions of this same repository (./...) need none.",
    applies=lambda repository: bool(repository.find(*WORKFLOWS)),
)
def unpinned_actions(repository: Repository) -> Iterator[Finding]:
    for name in repository.find(*WORKFLOWS):
        for number, line in repository.lines(name):
            found = re.match(r"\s*(?:-\s+)?uses:\s*[\"']?([^\s\"'#]+)", line)
            if not found or found[1].startswith("./"):
                continue
            if not re.search(r"@([0-9a-f]{40}|sha256:[0-9a-f]{64})$", found[1]):
                yield Finding(name, number, found[1])


@check(
    "TY111",
    "No continuous integration",
    why="Nobody runs the tests on each machine and each change by hand for long.",
    mend="Add a workflow that installs the project, runs its tests and trains for a minute.",
    doubt="One that is configured elsewhere, or at the top of a larger repository, is not seen.",
)
def no_continuous_integration(repository: Repository) -> Iterator[Finding]:
    if not repository.find(*WORKFLOWS[:2], *OTHER_CI):
        yield Finding("", 0, "no workflow of GitHub, GitLab, Azure, CircleCI or others")


@check(
    "TY112",
    "No tests",
    why="A network that is wrong still trains, so errors of shapes, losses and data stay unseen.",
    mend="Begin with three: the shape of the outputs, the loss at the start, overfitting one "
    "batch.",
    doubt="It looks for functions whose names begin with test_, as pytest and unittest do.",
    applies=lambda repository: bool(repository.sources),
)
def no_tests(repository: Repository) -> Iterator[Finding]:
    for source in repository.sources:
        if any(re.match("test_|test[A-Z]", node.name) for node in source.functions):
            return
    yield Finding("", 0, "no function whose name begins with test_")
