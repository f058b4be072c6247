"""trainyard check: each check names a defect that is planted, and leaves a clean project alone."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from combinations import Combination, combinations
from conftest import git, root
from planted import CLEAN, PLANTED, RANDOM
from trainyard.checks.definition import all_checks
from trainyard.checks.of_secrets import secrets_in
from trainyard.checks.report import check_folder, score, to_lines, to_page
from trainyard.command_line import main

one_of_each_template = [
    next(each for each in combinations if each.template == name)
    for name in ("torch-research", "tf-production", "keras-quickstart")
]


def write(folder: Path, files: Mapping[str, str | None]) -> Path:
    """Write files into a folder; None deletes one."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.unlink(missing_ok=True)
        else:
            path.write_text(text, encoding="utf-8")
    return folder


def outcomes(folder: Path) -> dict[str, list[str]]:
    """The places that each check names."""
    results = check_folder(folder)
    return {
        each.check.identifier: [finding.place for finding in each.findings]
        for each in results
        if each.findings
    }


def test_a_clean_project_passes_and_every_check_applies(tmp_path: Path) -> None:
    results = check_folder(write(tmp_path, CLEAN))
    assert [each.check.identifier for each in results if each.outcome != "passed"] == []
    assert score(results) == (len(all_checks()), len(all_checks()))


def test_every_check_has_a_planted_defect() -> None:
    assert {identifier for identifier, *_ in PLANTED} == {each.identifier for each in all_checks()}
    assert len(all_checks()) >= 25


@pytest.mark.parametrize(
    ("identifier", "files", "place"), PLANTED, ids=[f"{each[0]}-{each[2]}" for each in PLANTED]
)
def test_a_planted_defect_is_named(
    identifier: str, files: Mapping[str, str | None], place: str, tmp_path: Path
) -> None:
    assert outcomes(write(tmp_path, {**CLEAN, **files})) == {identifier: [place]}


NO_GRADIENTS = "import torch\n@torch.no_grad()\ndef look(x):\n    return {}\n"
LOAD = "import torch\ntorch.load('a')\n"
NO_TORCH = {"requirements.txt": "numpy\n", "constraints.txt": "numpy==2.3.0\n"}
BINARY = "import torch\nloss = torch.nn.functional.binary_cross_entropy(torch.softmax(x, 1), y)\n"


@pytest.mark.parametrize(
    "files",
    [
        {"a.py": "def test(best_checkpoint):\n    if best_checkpoint is not None:\n        pass\n"},
        {"a.py": NO_GRADIENTS.format("Net(x)")},
        {"a.py": NO_GRADIENTS.format("load_model(x)")},
        {"a.py": "import torch\ndef validate_config(config):\n    return model_names(config)\n"},
        {"a.py": "import torch\ndef test():\n    return model(torch.ones(1))\n"},
        {"a.py": BINARY},
        {"a.py": "tokenizer = 'bert-base-uncased-2'\npad_token = '[unused_token_99999999]'\n"},
        {"a.yml": "password: /run/secrets/db-password-1\nsecret: leaf-12-of-my-forest\n"},
        {"a.yml": "token: ${{ secrets.A1B2C3D4E5F6G7H8 }}\npassword: $A1B2C3D4E5\n"},
        {"a.py": "NAMES = ['user_password',\n  'ssh2_auth_password', 'password', 'sha256_sums']\n"},
        {"a.py": "token = make(password, 'sha256_sums')\nget('API_TOKEN', '')\n"},
        {"a.yml": "password_hash: pbkdf2_sha256\nsecret_name: leaf2forest3tree4\n"},
        {"docs/use.md": "    token=read_environment1(x)\nThe token leaf12forest34tree\n"},
        {".env.example": "API_TOKEN=your-Zx9kQ2mW7pL4vT8\n"},
        {"a.yml": "image: /ho" + "me/vscode/data\nother: /ho" + "me/jovyan/work\n"},
        {"a.py": LOAD, **NO_TORCH, "environment.yml": "dependencies:\n  - pytorch=2.6\n"},
        {"a.py": LOAD, **NO_TORCH, "environment.yml": "dependencies:\n  - pytorch>=2.6\n"},
        {"a.py": LOAD, **NO_TORCH, "setup.cfg": 'torch = "^2.6"\n'},
        {"a.py": LOAD, **NO_TORCH, "uv.lock": '[[package]]\nname = "torch"\nversion = "2.6.0"\n'},
    ],
    ids=lambda files: repr(files)[-50:],
)
def test_what_only_looks_like_a_defect_is_left_alone(
    files: Mapping[str, str], tmp_path: Path
) -> None:
    assert outcomes(write(tmp_path, {**CLEAN, **files})) == {}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
def test_a_text_of_another_encoding_is_read(encoding: str, tmp_path: Path) -> None:
    write(tmp_path, CLEAN)
    text = f"Started\r\nexport API_TOKEN={RANDOM}\r\n"
    (tmp_path / "log.txt").write_text(text, encoding=encoding)
    assert outcomes(tmp_path) == {"TY106": ["log.txt:2"]}


@pytest.mark.parametrize("name", ["a.py", "a.md", "a.yml", "Dockerfile"])
@pytest.mark.parametrize("part", ["token=", "token_", "sk-", "a+", "f('token',", "password: a "])
def test_no_long_line_takes_long(part: str, name: str) -> None:
    """What grows with the square of a line took minutes for these."""
    start = time.process_time()
    assert not [*secrets_in(part * (300_000 // len(part)) + "(", name)]
    assert time.process_time() - start < 10


@pytest.mark.parametrize("line", ["pytorch=2.5", "pytorch-lightning>=2.6", "pytorch>=1.13"])
def test_an_old_or_another_package_does_not_load_safely(line: str, tmp_path: Path) -> None:
    files = {"a.py": LOAD, **NO_TORCH, "environment.yml": f"dependencies:\n  - {line}\n"}
    assert outcomes(write(tmp_path, {**CLEAN, **files})) == {"TY301": ["a.py:2"]}


@pytest.mark.parametrize("combination", one_of_each_template, ids=str)
def test_our_projects_score_full(
    combination: Combination, rendered: Callable[[Combination], Path]
) -> None:
    results = check_folder(rendered(combination))
    assert [each for each in results if each.findings or each.ignored] == []
    passed, applicable = score(results)
    page = (root / "docs" / "check.md").read_text(encoding="utf-8")
    assert f"{combination.template} {passed} of {applicable}" in page


@pytest.mark.deep
@pytest.mark.parametrize("combination", combinations, ids=str)
def test_all_our_projects_score_full(
    combination: Combination, rendered: Callable[[Combination], Path]
) -> None:
    assert outcomes(rendered(combination)) == {}


def test_the_settings_and_a_comment_leave_out_with_a_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planted = (
        "import pickle\npickle.load(open('x', 'rb'))  # trainyard: ignore[TY302] we wrote it\n"
    )
    settings = """
[tool.trainyard.check]
exclude = ["third_party/**"]
[tool.trainyard.check.ignore]
TY107 = "not decided yet"
"TY203:old/*" = "goes away in May"
"""
    write(tmp_path, CLEAN)
    write(tmp_path, {"mine.py": planted, "old/a.py": "from os import *\n"})
    write(tmp_path, {"third_party/b.py": "from os import *\n", "LICENSE": None})
    write(tmp_path, {"pyproject.toml": f"{CLEAN['pyproject.toml']}{settings}"})
    assert main(["check", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "left out: TY302 (we wrote it)" in said
    assert "TY107 (not decided yet)" in said
    assert "TY203 (goes away in May)" in said
    write(tmp_path, {"new.py": "from os import *\n"})
    assert main(["check", str(tmp_path)]) == 65


@pytest.mark.parametrize("reason", ["", " ", " - 1", " -->"])
def test_a_comment_without_a_reason_leaves_out_nothing(reason: str, tmp_path: Path) -> None:
    line = f"KEY = 'ghp_{'a1B2c3D4e5' * 3}f6G7h8'  # trainyard: ignore[TY106]{reason}\n"
    write(tmp_path, {**CLEAN, "mine.py": line})
    assert outcomes(tmp_path) == {"TY106": ["mine.py:1"]}
    assert "gives no reason, so it counts" in "\n".join(to_lines(check_folder(tmp_path)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('ignore = ["TY104"]', "gives each check a reason"),
        ('ignore = {TY999 = "x"}', "'TY999' is no check"),
        ('ignore = {TY104 = " "}', "expected a reason in words"),
        ('exclude = "old"', "expected a list"),
        ("ignored = {}", "takes exclude and ignore alone"),
        ("ignore = ", "cannot be read as TOML"),
    ],
)
def test_bad_settings_are_refused(
    settings: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, {"pyproject.toml": f"[tool.trainyard.check]\n{settings}\n"})
    with pytest.raises(SystemExit) as ended:
        main(["check", str(tmp_path)])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_project_without_pyproject_has_its_settings_elsewhere(tmp_path: Path) -> None:
    settings = 'check:\n  ignore:\n    "TY203:old/*": goes away in May\n'
    write(tmp_path, {**CLEAN, "pyproject.toml": None, ".python-version": "3.12"})
    write(tmp_path, {"old/a.py": "from os import *\n", ".trainyard.yml": settings})
    assert outcomes(tmp_path) == {}


def test_colours_are_for_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = check_folder(write(tmp_path, {**CLEAN, "mine.py": "from os import *\n"}))
    plain = [*to_lines(results)]
    assert "\033" not in "".join(plain)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    painted = [*to_lines(results)]
    assert any("\033[31mTY203\033[0m" in line for line in painted)
    assert painted[-1].startswith("\033[31m")
    assert [re.sub(r"\033\[\d+m", "", line) for line in painted] == plain
    monkeypatch.setenv("NO_COLOR", "1")
    assert [*to_lines(results)] == plain


@pytest.mark.parametrize("name", ["none", "empty", "file"])
def test_what_is_no_project_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("text")
    with pytest.raises(SystemExit) as ended:
        main(["check", str(tmp_path / name)])
    assert ended.value.code == 2


def test_what_git_ignores_is_not_looked_at_with_git_and_without(tmp_path: Path) -> None:
    write(tmp_path, {**CLEAN, "data/raw.npy": "x", "experiments/a/last.pt": "x"})
    assert outcomes(tmp_path) == {}
    git(tmp_path, "init", "--quiet")
    assert outcomes(tmp_path) == {}
    git(tmp_path, "add", "--force", "data/raw.npy")
    assert outcomes(tmp_path) == {"TY103": ["data/raw.npy"]}


def test_arrays_in_lfs_are_no_data_in_git(tmp_path: Path) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"
    write(tmp_path, {**CLEAN, "a.npy": pointer, "b.pt": "x"})
    write(tmp_path, {".gitattributes": "*.pt filter=lfs diff=lfs merge=lfs -text\n"})
    assert outcomes(tmp_path) == {}


def test_notebooks_are_read_and_named_by_cell(tmp_path: Path) -> None:
    cells = ["%matplotlib inline\nimport torch", "!ls\nx = 1\nmodel = torch.load('a.pt')", "2 +"]
    code = [{"cell_type": "code", "outputs": [], "source": each} for each in cells]
    text = {"cell_type": "markdown", "source": ["torch.load('a.pt')"]}
    notebook = json.dumps({"cells": [text, *code]})
    write(
        tmp_path, {**CLEAN, "look.ipynb": notebook, "requirements.txt": "", "constraints.txt": ""}
    )
    assert outcomes(tmp_path) == {"TY301": ["look.ipynb:cell 3:3"]}


def test_json_holds_all_and_secrets_are_not_repeated(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = "ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8"
    many = "".join(f"except_{i} = '{secret}'\n" for i in range(9))
    write(tmp_path, {**CLEAN, "mine.py": many})
    assert main(["check", str(tmp_path), "--json"]) == 65
    printed = capsys.readouterr().out
    found = json.loads(printed)
    assert found["passed"] == found["applicable"] - 1
    assert [each["line"] for each in found["checks"]["TY106"]["findings"]] == [*range(1, 10)]
    table = "\n".join(to_lines(check_folder(tmp_path)))
    assert "and 4 more: --json lists them" in table
    assert secret not in printed + table


def test_files_that_are_no_text_are_no_bug(tmp_path: Path) -> None:
    """Broken notebooks, Latin-1, paths that are no text, links, folders that git knows."""
    write(tmp_path, {**CLEAN, "broken.ipynb": "[1, 2", "list.ipynb": "[]", "unended.py": "if 1:\n"})
    (tmp_path / "latin.py").write_bytes("# gr\xfc\xdfe\n".encode("latin-1"))
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "inner").mkdir()
    git(tmp_path / "inner", "init", "--quiet")
    name = os.fsencode(tmp_path) + b"/\xff.npy"
    if sys.platform == "linux":
        with open(name, "wb") as file:
            file.write(b"x")
    command = [sys.executable, "-m", "trainyard", "check", str(tmp_path)]
    result = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8")
    assert (result.returncode, result.stderr) == (65, "")
    assert "unended.py:1" in result.stdout
    assert ("\\udcff.npy" in result.stdout) == (sys.platform == "linux")


def test_nothing_of_the_project_is_run(tmp_path: Path) -> None:
    code = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\n"
    names = ("train2.py", "conftest.py", "setup.py", "sitecustomize.py")
    write(tmp_path, {**CLEAN, **{name: code for name in names}})
    check_folder(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_the_list_names_all_checks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--list"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {each.identifier}  {each.title}\n" in printed for each in all_checks())
    assert main(["check", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [each["identifier"] for each in listed] == [each.identifier for each in all_checks()]


def test_the_page_lists_all_checks() -> None:
    """`python tools/list_checks.py` writes the list."""
    page = (root / "docs" / "check.md").read_text(encoding="utf-8")
    assert "\n".join(to_page()) in page


def test_the_program_runs_as_a_module(tmp_path: Path) -> None:
    write(tmp_path, CLEAN)
    command = [sys.executable, "-m", "trainyard", "check", str(tmp_path)]
    result = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith(f"{len(all_checks())} of {len(all_checks())} checks passed.\n")
