"""trainyard extract: a clean copy of code and experiments, which reruns."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from conftest import git
from projects import experiment, run
from test_adopt import repository
from test_update import append
from trainyard.command_line import main
from trainyard.extraction import clean

LOCATION = "/ho" + "me/ada/signs"  # Whole, `trainyard check` would find it here.
PYPROJECT = """[project]
name = "signs"
description = "Signs of hands"
authors = [{ name = "Ada Lovelace" }]
license = "MIT"
"""
PROJECT = {
    "train.py": "A = 1\n",
    "model/net.py": "B = 1\n",
    "pyproject.toml": PYPROJECT,
    "requirements.txt": "torch\n",
    "constraints.txt": "torch==2.13.0\n",
    ".copier-answers.yml": f"_src_path: {LOCATION}\n",
    "experiments/baseline/params.yaml": "seed: 0\n",
    "experiments/old/params.yaml": "seed: 1\n",
}


def finished(project: Path, name: str = "experiments/a", **facts: Any) -> Path:
    """A run folder as a finished training leaves it."""
    folder = project / name
    folder.mkdir(parents=True, exist_ok=True)
    session = {
        "started": "2030-01-01T00:00:00+00:00",
        "ended": "2030-01-01T01:00:00+00:00",
        "outcome": "finished",
        "command": f"python {LOCATION}/train.py --data {LOCATION}/data",
        "process": 4242,
        "host": "adas-laptop",
        "git_commit": git(project, "rev-parse", "HEAD").strip(),
        "git_changes": None,
        "code": {"train.py": "1", "model/net.py": "2"},
        "data": f"{LOCATION}/data",
        "fingerprint": "0123456789abcdef",
        "device": "cpu, 1 thread",
        "versions": {"torch": "2.13.0"},
    }
    record = {"sessions": [{**session, **facts}]}
    dataset = {"source": f"{LOCATION}/photos", "examples": {"train": 8, "test": 2}}
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "dataset.json").write_text(json.dumps(dataset), encoding="utf-8")
    (folder / "params.yaml").write_text(f"seed: 0\nweights: {LOCATION}/w.safetensors\n")
    (folder / "metrics.jsonl").write_text('{"epoch": 1, "val_accuracy": 0.5}\n')
    (folder / "best.safetensors").write_bytes(b"\0weights")
    (folder / "train.log").write_text(f"on adas-laptop in {LOCATION}\n")
    return folder


@pytest.fixture
def signs(tmp_path: Path) -> Path:
    """A project with a finished run."""
    project = repository(tmp_path / "signs", PROJECT)
    finished(project)
    return project


def extract(*words: object) -> int:
    """The exit code of the command."""
    try:
        return main(["extract", *map(str, words)])
    except SystemExit as ended:
        return int(ended.code or 0)


def test_the_copy_has_the_code_of_the_commit(signs: Path, tmp_path: Path) -> None:
    (signs / "train.py").write_text("A = 2  # changed since\n")
    (signs / "new.py").write_text("")
    assert extract(signs / "experiments/a", "--output", tmp_path / "paper") == 0
    names = {
        path.relative_to(tmp_path / "paper").as_posix()
        for path in (tmp_path / "paper").rglob("*")
        if path.is_file()
    }
    assert names == {
        *("train.py", "model/net.py", "pyproject.toml", "requirements.txt", "constraints.txt"),
        *("experiments/baseline/params.yaml", "experiments/a/params.yaml"),
        *("experiments/a/run.json", "experiments/a/dataset.json", "experiments/a/metrics.jsonl"),
        *("REPRODUCE.md", "CITATION.cff", "ro-crate-metadata.json", "checksums.sha256"),
    }
    assert (tmp_path / "paper/train.py").read_text() == "A = 1\n"
    guide = (tmp_path / "paper/REPRODUCE.md").read_text()
    assert f"commit {git(signs, 'rev-parse', 'HEAD').strip()}, which experiments/a" in guide
    assert "python train.py --rerun experiments/a" in guide
    assert "ends with exit code 0 where all metrics are the same, bit for bit, else 65." in guide
    assert "fingerprint `0123456789abcdef`" in guide


def test_changes_to_the_commit_are_brought_back(signs: Path, tmp_path: Path) -> None:
    (signs / "train.py").write_text("A = 3\n")
    diff = git(signs, "diff", "--relative", "HEAD")
    (signs / "train.py").write_text("A = 4\n")
    folder = finished(signs, git_changes="changes-01234567.diff")
    (folder / "changes-01234567.diff").write_text(diff)
    # Within a repository, git apply would take paths from its top.
    assert extract(folder, "--output", signs / "paper") == 0
    assert (signs / "paper/train.py").read_text() == "A = 3\n"
    assert not (signs / "paper/.git").exists()


def test_a_project_in_a_folder_of_a_repository(tmp_path: Path) -> None:
    files = {f"leaf/{name}": text for name, text in PROJECT.items()}
    top = repository(tmp_path / "top", {**files, "other.py": "C = 1\n"})
    (top / "leaf/train.py").write_text("A = 3\n")
    diff = git(top / "leaf", "diff", "--relative", "HEAD")
    folder = finished(top / "leaf", git_changes="changes-01234567.diff")
    (folder / "changes-01234567.diff").write_text(diff)
    assert extract(folder, "--output", tmp_path / "paper") == 0
    assert (tmp_path / "paper/train.py").read_text() == "A = 3\n"
    assert not (tmp_path / "paper/other.py").exists()


@pytest.mark.parametrize("commit", [None, "0" * 40])
def test_it_says_where_git_has_no_such_commit(
    commit: str | None, signs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finished(signs, git_commit=commit)
    (signs / "train.py").write_text("A = 5\n")
    (signs / "new.py").write_text("")
    assert extract(signs / "experiments/a", "--output", tmp_path / "paper") == 0
    said = capsys.readouterr().out
    assert "The code is that of the working tree, since" in said
    assert "Files that git does not track are in it:" in said
    assert "new.py" in said
    assert (tmp_path / "paper/train.py").read_text() == "A = 5\n"


def test_nothing_of_the_machine_is_in_the_copy(signs: Path, tmp_path: Path) -> None:
    assert extract(signs, "experiments/a", "--output", tmp_path / "paper", "--checkpoint") == 0
    for path in (tmp_path / "paper").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"adas-laptop" not in content, path
            assert LOCATION.encode() not in content, path
            assert str(tmp_path).encode() not in content, path
    session = json.loads((tmp_path / "paper/experiments/a/run.json").read_text())["sessions"][0]
    assert session["command"] == "python train.py --data data"
    assert session["data"] == "data"
    assert "process" not in session
    assert (tmp_path / "paper/experiments/a/best.safetensors").exists()


def test_a_path_is_its_last_name_and_a_url_stays() -> None:
    assert clean(["/a/b/c.csv", "C:\\Users\\ada\\c.csv", "c/d.csv", "cpu / 2"]) == [
        *("c.csv", "c.csv", "c/d.csv", "cpu / 2"),
    ]
    homes = "/ho" + "me"  # This repository holds no path of a machine.
    known = {
        "python C:" + r"\Users\Ada Lovelace\signs\train.py": "python train.py",
        "/Users/Ada Lovelace/x": "x",
        f'--data "{homes}/Ada Lovelace/My signs/x"': '--data "My signs/x"',
        f"--data {LOCATION[:-6]} --epochs 3": "--data . --epochs 3",
        f"server:{LOCATION}/x": "server:/.../signs/x",
        "/mnt/c/Users/Ada Lovelace/x": "x",
        f"file://{LOCATION}": "signs",
        "file:///C:/Users/Ada Lovelace/x": "x",
        str(Path.home()): ".",
        f"{Path.home()}/a/b.csv": "b.csv",
        (page := f"https://example.org{homes}/page/x"): page,
    }
    assert {each: clean(each) for each in known} == known
    project = Path("/data/Ada Lovelace/signs")
    command = "python /data/Ada Lovelace/signs/train.py /data/Ada Lovelace/signs"
    assert clean(command, project) == "python train.py ."
    assert clean({"at": "https://example.org/a/b"}) == {"at": "https://example.org/a/b"}


def test_paths_in_other_records_are_named(
    signs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are what was recorded, so they stay; whoever publishes them knows."""
    (signs / "notes.txt").write_text(f"in {signs}\n")
    git(signs, "add", "notes.txt")
    git(signs, "commit", "--quiet", "--message", "Notes")
    (signs / "train.py").write_text(f"A = 1\nROOT = '{LOCATION}/x'\n")
    diff = git(signs, "diff", "--relative", "HEAD")
    folder = finished(signs, git_changes="changes-01234567.diff")
    (folder / "changes-01234567.diff").write_text(diff)
    about = {"dataset": f"{LOCATION}/photos"}
    save_file({"a": np.zeros(1, np.float32)}, folder / "best.safetensors", about)
    assert extract(folder, "--output", tmp_path / "paper", "--checkpoint") == 0
    said = capsys.readouterr().out
    for name in ("notes.txt:1", "train.py:2", "best.safetensors:1", "changes-01234567.diff:"):
        assert name in said

    about = {"token": "ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8"}
    save_file({"a": np.zeros(1, np.float32)}, folder / "best.safetensors", about)
    assert extract(folder, "--output", tmp_path / "again", "--checkpoint") == 2
    assert "best.safetensors:1 (a token of GitHub)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("source", "stays"),
    [
        ("https://example.org/templates.git", True),
        ("git+https://example.org/templates", True),
        ("git@example.org:templates.git", True),
        ("gh:laboratory/templates", True),
        (f"file://{LOCATION}", False),
        (f"ada@server:{LOCATION}", False),
        ("https://t0ken@example.org/templates.git", False),
    ],
)
def test_the_template_is_named_where_all_may_know_it(
    source: str, stays: bool, signs: Path, tmp_path: Path
) -> None:
    (signs / ".copier-answers.yml").write_text(f"_src_path: {source}\n")
    git(signs, "commit", "--all", "--quiet", "--message", "Elsewhere")
    finished(signs)
    assert extract(signs / "experiments/a", "--output", tmp_path / "paper") == 0
    assert (tmp_path / "paper/.copier-answers.yml").exists() == stays


def test_what_git_does_not_give_is_said(signs: Path, tmp_path: Path) -> None:
    (signs / ".gitattributes").write_text("secret.txt export-ignore\n")
    (signs / "secret.txt").write_text("")
    (signs / "a.npy").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    git(signs, "add", ".gitattributes", "secret.txt", "a.npy")
    commit = git(signs, "rev-parse", "HEAD").strip()
    git(signs, "update-index", "--add", "--cacheinfo", f"160000,{commit},library")
    git(signs, "commit", "--quiet", "--message", "More")
    finished(signs)
    assert extract(signs / "experiments/a", "--output", tmp_path / "paper") == 0
    guide = (tmp_path / "paper/REPRODUCE.md").read_text()
    assert "(submodules) are empty in it: library." in guide
    assert "(export-ignore): secret.txt." in guide
    assert "the pointers alone: a.npy." in guide


def test_links_in_the_project_and_to_another_disk(signs: Path, tmp_path: Path) -> None:
    (signs / "same.py").symlink_to("train.py")
    (signs / "gone").symlink_to("nowhere")
    git(signs, "add", "same.py", "gone")
    git(signs, "commit", "--quiet", "--message", "Links")
    finished(signs)
    (signs / "experiments").rename(tmp_path / "scratch")
    (signs / "experiments").symlink_to(tmp_path / "scratch")
    (tmp_path / ".paper.part").mkdir()
    assert extract(signs / "experiments/a", "--output", tmp_path / "paper") == 0
    assert (tmp_path / "paper/experiments/a/run.json").exists()
    assert (tmp_path / "paper/gone").is_symlink()
    assert (tmp_path / "paper/same.py").read_text() == "A = 1\n"
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"signs", "scratch", "paper", ".paper.part"}


def test_checksums_citation_and_crate(signs: Path, tmp_path: Path) -> None:
    paper = tmp_path / "paper"
    words = ("--author", "Ada Lovelace", "--author", "Grace Hopper", "--title", "Hands: signs")
    assert extract(signs, "experiments/a", "--output", paper, *words) == 0
    lines = (paper / "checksums.sha256").read_text().splitlines()
    sums = {line[66:]: line[:64] for line in lines}
    files = {p.relative_to(paper).as_posix(): p for p in paper.rglob("*") if p.is_file()}
    assert {*files} - {*sums} == {"checksums.sha256"}
    for name, digest in sums.items():
        assert hashlib.sha256(files[name].read_bytes()).hexdigest() == digest

    citation = yaml.safe_load((paper / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= {*citation}
    assert citation["authors"] == [{"name": "Ada Lovelace"}, {"name": "Grace Hopper"}]
    assert (citation["title"], citation["license"]) == ("Hands: signs", "MIT")

    crate = json.loads((paper / "ro-crate-metadata.json").read_text())
    assert crate["@context"] == "https://w3id.org/ro/crate/1.1/context"
    entities = {each["@id"]: each for each in crate["@graph"]}
    assert len(entities) == len(crate["@graph"])
    descriptor, top = entities["ro-crate-metadata.json"], entities["./"]
    assert descriptor["@type"] == "CreativeWork"
    assert descriptor["about"] == {"@id": "./"}
    assert descriptor["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    assert top["@type"] == "Dataset"
    assert {"name", "description", "datePublished", "license"} <= {*top}
    parts = {each["@id"] for each in top["hasPart"]}
    assert parts == {*files} - {"ro-crate-metadata.json", "checksums.sha256"}
    referred = _references(crate["@graph"])
    assert referred - {*entities} == {"https://w3id.org/ro/crate/1.1"}


def _references(value: Any) -> set[str]:
    """The identifiers that entities refer to."""
    if isinstance(value, list):
        return {name for each in value for name in _references(each)}
    if not isinstance(value, dict):
        return set()
    if {*value} == {"@id"}:
        return {value["@id"]}
    return {name for each in value.values() for name in _references(each)}


def test_seeds_are_runs_of_their_own_and_an_own_citation_stays(signs: Path, tmp_path: Path) -> None:
    (signs / "CITATION.cff").write_text("mine")
    git(signs, "add", "CITATION.cff")
    git(signs, "commit", "--quiet", "--message", "Cite me")
    for seed in (0, 1):
        finished(signs, f"experiments/seeds/seed-{seed}")
    finished(signs, "experiments/baseline")
    words = ("experiments/seeds", "experiments/baseline")
    assert extract(signs, *words, "--output", tmp_path / "paper") == 0
    for name in ("seeds/seed-0", "seeds/seed-1", "baseline"):
        assert (tmp_path / "paper/experiments" / name / "run.json").exists()
    assert (tmp_path / "paper/CITATION.cff").read_text() == "mine"


def other_code(project: Path) -> list[object]:
    finished(project, "experiments/b", code={"train.py": "9", "model/net.py": "2"})
    return [project, "experiments/a", "experiments/b"]


def unfinished(project: Path) -> list[object]:
    finished(project, outcome="stopped")
    return [project, "experiments/a"]


def damaged(project: Path) -> list[object]:
    (project / "experiments/a/run.json").write_text("{")
    return [project, "experiments/a"]


def secret(project: Path) -> list[object]:
    reason = "  # trainyard: ignore[TY106] revoked long ago"  # It counts for the check alone.
    append(project / "train.py", "KEY = 'ghp_" + "a1B2c3D4e5" * 3 + f"f6G7h8'{reason}")
    git(project, "commit", "--all", "--quiet", "--message", "A key")
    finished(project)
    return [project, "experiments/a"]


def password(project: Path) -> list[object]:
    (project / "my.cnf").write_text("[client]\npassword = " + "S3cr3t!Pass\n")
    git(project, "add", "my.cnf")
    git(project, "commit", "--quiet", "--message", "A password")
    finished(project)
    return [project, "experiments/a"]


def environment(project: Path) -> list[object]:
    (project / ".env").write_text("TOKEN=abc\n", encoding="utf-16")
    git(project, "add", "--force", ".env")
    git(project, "commit", "--quiet", "--message", "An environment")
    finished(project)
    return [project, "experiments/a"]


def other_encoding(project: Path) -> list[object]:
    token = "ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8"
    (project / "log.txt").write_text(f"Started\r\nwith {token}\r\n", encoding="utf-16")
    git(project, "add", "log.txt")
    git(project, "commit", "--quiet", "--message", "A log of PowerShell")
    finished(project)
    return [project, "experiments/a"]


def link(project: Path) -> list[object]:
    (project / "data").symlink_to("/etc")
    git(project, "add", "data")
    git(project, "commit", "--quiet", "--message", "A link out")
    finished(project)
    return [project, "experiments/a"]


def no_diff(project: Path) -> list[object]:
    finished(project, git_changes="changes-01234567.diff")
    return [project, "experiments/a"]


def no_checkpoint(project: Path) -> list[object]:
    (project / "experiments/a/best.safetensors").unlink()
    return [project, "experiments/a", "--checkpoint"]


def outside(project: Path) -> list[object]:
    return [project, "model"]


def none_named(project: Path) -> list[object]:
    return [project]


def no_project(project: Path) -> list[object]:
    return [project.parent]


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (other_code, "trained with different code: train.py"),
        (unfinished, "its run is not finished"),
        (damaged, "not found, or damaged"),
        (secret, "train.py:2 (a token of GitHub)"),
        (password, "my.cnf:2 (a secret in a text)"),
        (environment, "secrets would leave with the copy: .env"),
        (other_encoding, "log.txt:2 (a token of GitHub)"),
        (link, "holds a link out of it"),
        (no_diff, "cannot be brought back"),
        (no_checkpoint, "Leave out --checkpoint"),
        (outside, "expected a folder below"),
        (none_named, "name its experiments, too"),
        (no_project, "lies in no project"),
    ],
)
def test_a_refusal_writes_nothing(
    prepare: Any, said: str, signs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = prepare(signs)
    assert extract(*words, "--output", tmp_path / "paper") == 2
    assert said in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"signs"}


def test_a_line_that_only_looks_like_a_secret_is_named(signs: Path, tmp_path: Path) -> None:
    words = [*secret(signs), "--output", tmp_path / "paper", "--not-secret"]
    assert extract(*words, "train.py:3") == 2
    assert extract(*words, "train.py:2") == 0


def test_a_file_that_is_refused_by_its_name_is_named(signs: Path, tmp_path: Path) -> None:
    words = [*environment(signs), "--output", tmp_path / "paper", "--not-secret"]
    assert extract(*words, ".env:1") == 2
    assert extract(*words, ".env") == 0


def test_an_exception_that_names_nothing_is_refused(
    signs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [signs, "experiments/a", "--output", tmp_path / "paper"]
    assert extract(*words, "--not-secret", "train.py:1") == 2
    assert "--not-secret train.py:1: nothing there looks like" in capsys.readouterr().err
    assert not (tmp_path / "paper").exists()


def test_all_secrets_of_a_line_are_named(
    signs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "KEYS = 'ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8', 'AKIA" + "Q7W8E9R5T4Y6U2I3'"
    append(signs / "train.py", f"{line}; password = '" + "hunter22xyz9'")
    git(signs, "commit", "--all", "--quiet", "--message", "Keys")
    finished(signs)
    assert extract(signs, "experiments/a", "--output", tmp_path / "paper") == 2
    said = capsys.readouterr().err
    assert "train.py:2 (a token of GitHub, a key of AWS, a secret in a text)" in said
    assert "say --not-secret and the place, such as --not-secret train.py:2" in said


@pytest.mark.parametrize("output", ["signs", "none/paper"])
def test_an_output_that_cannot_be_is_refused(output: str, signs: Path, tmp_path: Path) -> None:
    assert extract(signs, "experiments/a", "--output", tmp_path / output) == 2


def rerun(project: Path, folder: Path, tmp_path: Path) -> None:
    """Extract a finished run, without what git ignores, and train it again there."""
    assert extract(project, folder, "--output", tmp_path / "paper") == 0
    result = run(tmp_path / "paper", "train.py", "--rerun", folder)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "has the same metrics" in result.stdout


@pytest.mark.once
def test_the_copy_reruns(project: Path, reference: Path, tmp_path: Path) -> None:
    rerun(project, reference.relative_to(project), tmp_path)


@pytest.mark.deep
@pytest.mark.every_way
def test_the_copy_of_a_command_reruns_in_every_way(project: Path, tmp_path: Path) -> None:
    folder = experiment(project, "extracted")
    assert run(project, "train.py", "--experiment", folder).returncode == 0
    rerun(project, folder, tmp_path)
