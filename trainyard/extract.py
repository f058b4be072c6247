"""Take experiments and their code out of a project, as a clean copy for a paper.

    trainyard extract experiments/wide experiments/narrow --output ../paper
    trainyard extract ../leaf experiments/wide --output paper --checkpoint

The copy holds the code that the runs recorded (their commit and their changes to it, not what lies
here now), of each experiment params.yaml, run.json and the metrics, and what others need to repeat
it: REPRODUCE.md, CITATION.cff, ro-crate-metadata.json and checksums.sha256. In it,

    python train.py --rerun experiments/wide

trains again, and compares the metrics. Names of machines and their paths are taken out of the
records; where `trainyard check` would find a secret in any file (TY106), nothing is written.

exit codes: 0 done; 2 refused (no finished run, other code in each, a secret): nothing was written
"""

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from trainyard.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    meaning = "folders of finished runs; before them, the project's [the one they lie in]"
    parser.add_argument("words", nargs="+", metavar="EXPERIMENT", help=meaning)
    parser.add_argument("--output", required=True, type=Path, help="a new folder")
    parser.add_argument("--checkpoint", action="store_true", help="best.safetensors, too")
    parser.add_argument("--title", help="of the paper or the code [the project's description]")
    meaning = "who is to be cited; again for more [the project's authors]"
    parser.add_argument("--author", action="append", default=[], metavar="NAME", help=meaning)
    meaning = "a place that only looks like a secret, as the refusal names it; again for more"
    parser.add_argument(
        "--not-secret", action="append", default=[], metavar="FILE[:LINE]", help=meaning
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the copy; return the exit code."""
    from trainyard.extraction import copy_run, read_runs, refuse_secrets
    from trainyard.extraction_code import restore_code, same_code
    from trainyard.extraction_papers import describe_project, write_papers
    from trainyard.progress import say

    output = arguments.output.absolute()
    if output.exists():
        raise InputError(f"{arguments.output}: is there already. Name another --output.")
    if not output.parent.is_dir():
        raise InputError(f"{output.parent}: no such folder. Make it, or name another --output.")
    project, folders = find_project(arguments.words)
    runs = read_runs(project, folders)
    newest = same_code(runs)
    with tempfile.TemporaryDirectory() as temporary:
        staging = Path(temporary, "copy")
        say("bringing back the code")
        origin = restore_code(project, newest, staging)
        for each in runs:
            copy_run(each, staging, arguments.checkpoint)
        about = describe_project(staging, project, arguments.title, arguments.author)
        say("describing")
        notes = [origin, *refuse_secrets(staging, project, arguments.not_secret)]
        write_papers(staging, about, runs, notes)
        move(staging, output)
    files = sum(path.is_file() for path in output.rglob("*"))
    print(f"{arguments.output}: {files} files. " + "\n".join(notes))
    print(f"Next: cd {arguments.output} && python train.py --rerun {runs[0].name}")
    return 0


def find_project(words: list[str]) -> tuple[Path, list[Path]]:
    """Return the project and the folders of the experiments that a command line names.

    Raises:
        InputError: there is no project around them, or they are not in it.
    """
    first = Path(words[0])
    if (first / "train.py").is_file():
        if len(words) == 1:
            raise InputError(f"{first}: is a project; name its experiments, too.")
        return first, [first / word for word in words[1:]]
    folders = [Path(word) for word in words]
    above = Path(os.path.abspath(first)).parents
    around = [folder for folder in above if (folder / "train.py").is_file()]
    if not around:
        raise InputError(f"{first}: lies in no project: no folder above it has a train.py.")
    return around[0], folders


def move(staging: Path, output: Path) -> None:
    """Move a folder to its place, which it reaches whole or not at all."""
    try:
        part = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
        try:
            shutil.copytree(staging, part / "copy", symlinks=True)
            (part / "copy").replace(output)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {error.strerror or error}.") from None
