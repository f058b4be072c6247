"""What holds for every file of this repository, and what its papers promise."""

import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml

from combinations import combinations
from conftest import git, root, tracked_files

texts = {
    path.relative_to(root).as_posix(): path.read_bytes().decode("utf-8")
    for path in tracked_files(root)
    if path.suffix not in {".png", ".gif", ".npy"}
}


@pytest.mark.parametrize(
    "pattern",
    [
        # In brackets, so that this file does not find itself.
        pytest.param("[/]work/|[/]root/|[/]home/\\w|[/]opt/wheels|C:\\\\Users", id="machine paths"),
        pytest.param("[/]simple/|pythonhosted[.]org", id="package hosts"),
        pytest.param(r"\b[T]ODO\b|\b[F]IXME\b|\b[X]XX\b|Not[I]mplementedError", id="stubs"),
        pytest.param("[@][A-Z]+@", id="placeholders"),
        pytest.param("\r", id="line ends"),
        pytest.param(r"[ \t]+$", id="blanks at line ends"),
    ],
)
def test_no_file_holds(pattern: str) -> None:
    assert [name for name, text in texts.items() if re.search(pattern, text, re.MULTILINE)] == []


def test_every_text_ends_with_one_newline() -> None:
    assert [name for name, text in texts.items() if text and not re.search(r"\S\n\Z", text)] == []


def test_no_lock_files() -> None:
    """They record hosts and folders; exact versions stand in constraints files."""
    assert [name for name in texts if name.endswith(".lock")] == []


def test_nothing_of_the_templates_needs_trust() -> None:
    settings = {name: text for name, text in texts.items() if name.endswith((".yml", ".yaml"))}
    unsafe = "^_(tasks|migrations|jinja_extensions|external_data)"
    assert [n for n, text in settings.items() if re.search(unsafe, text, re.MULTILINE)] == []


def test_every_name_works_on_every_system() -> None:
    """On Windows and macOS, too: no file that a clone there could not hold, and no link."""
    lines = git(root, "ls-files", "--stage", "-z").split("\0")
    assert not [line for line in lines if line.startswith("120000")]
    names = [path.relative_to(root).as_posix() for path in tracked_files(root)]
    devices = r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?"
    for part in {part for name in names for part in name.split("/")}:
        assert not re.search(r'[<>:"|?*\\]|[. ]$', part), part
        assert not re.fullmatch(devices, part, re.IGNORECASE), part
    assert len({name.casefold() for name in names}) == len(names)
    assert max(map(len, names)) < 150
    assert texts[".gitattributes"].startswith("* text=auto eol=lf\n")


def test_no_script_is_for_one_shell() -> None:
    """A person runs Python, or make where there is make."""
    scripts = [name for name, text in texts.items() if re.match("#!.*(ba|z|k)?sh", text)]
    assert scripts == [".ci/run"]
    assert not [name for name in texts if name.endswith((".sh", ".bat", ".cmd", ".ps1"))]


def test_the_readme_gives_the_commands() -> None:
    readme = texts["README.md"]
    for command in ["make demo", "make test", "copier copy templates/torch-research myproj"]:
        assert command in readme
    assert texts[".ci/run"].rstrip().endswith("make test")
    assert git(root, "ls-files", "--stage", ".ci/run").startswith("100755")


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_make_calls_the_bootstrap_script() -> None:
    for target in ("demo", "test", "prove"):
        command = subprocess.run(
            ["make", "--dry-run", "--no-print-directory", target],
            cwd=root,
            env={name: value for name, value in os.environ.items() if "MAKE" not in name},
            capture_output=True,
            encoding="utf-8",
            check=True,
        )
        assert command.stdout == f"python3 tools/bootstrap.py {target}\n"


def test_the_workflow_calls_the_bootstrap_script() -> None:
    workflow = yaml.safe_load(texts[".github/workflows/test.yml"])
    steps = workflow["jobs"]["test"]["steps"]
    commands = [step["run"] for step in steps if "run" in step]
    assert commands == ["python tools/bootstrap.py test", "python tools/bootstrap.py demo"]
    assert workflow["permissions"] == {"contents": "read"}


def test_one_command_lists_the_combinations() -> None:
    table = subprocess.run(
        [sys.executable, "tests/combinations.py"], cwd=root, capture_output=True, text=True
    ).stdout.splitlines()
    for combination, row in zip(combinations, table[2:], strict=False):
        assert row.split()[: len(combination)] == [each or "-" for each in combination]
        assert row.endswith(combination.proofs)
    assert table[len(combinations) + 2] == ""


@pytest.mark.xdist_group("together")
def test_pytest_xdist_groups_tests(request: pytest.FixtureRequest) -> None:
    """Else each of its processes makes every project, and the suite takes half as long again."""
    by_groups = request.config.getoption("loadgroup", default=False)
    assert request.node.nodeid.endswith("@together") == bool(by_groups)
