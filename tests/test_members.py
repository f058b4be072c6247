"""`trainyard fleet` and `preview` on small repositories: texts, training, answers, folders."""

import json
import site
import sys
from collections.abc import Callable
from pathlib import Path

import copier
import pytest

from conftest import git
from test_change_request import EVALUATE, TRAIN
from test_trainyard import commit, make_behind, refused
from trainyard.command_line import main

Captured = pytest.CaptureFixture[str]
BRANCH = "trainyard/update-v1.1.0"
# Leaves a line for each training, outside of the copy that is trained.
TELL = "open({!r}, 'a').write('trained ' + open('a.txt').read())\n"


@pytest.fixture
def behind(tmp_path: Path) -> Path:
    return make_behind(tmp_path)


def fleet(folder: Path, *options: str, listed: str = "[leaf]") -> int:
    """Return the exit code for a list."""
    (folder / "fleet.yml").write_text(f"repositories: {listed}\n")
    return main(["fleet", str(folder / "fleet.yml"), "--jobs", "1", *options])


def second(project: Path, name: str) -> Path:
    """Return another repository with the same content."""
    other = project.with_name(name)
    git(project.parent, "clone", "--quiet", str(project), str(other))
    git(other, "remote", "remove", "origin")
    return other


def test_a_text_can_be_had_again(behind: Path, tmp_path: Path, capsys: Captured) -> None:
    """A branch is made once, its text as often as it is missing; one that is there stays."""
    requests = tmp_path / "req"
    update = ("--update", "--requests", str(requests))
    assert fleet(tmp_path, *update) == 0
    text = requests / "leaf-v1.1.0.md"
    first = text.read_text()
    text.unlink()
    assert fleet(tmp_path, *update) == 0
    assert "its branch is there already" in capsys.readouterr().out
    assert text.read_text() == first
    text.write_text("With metrics.\n")
    fleet(tmp_path, *update)
    assert text.read_text() == "With metrics.\n"


def test_each_text_is_written_when_its_branch_is_made(
    behind: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """Ctrl-C at the second one leaves the text of the first, and names its branch."""
    from trainyard import fleet as module

    def stop_at_bark(entry: module.Entry, wish: module.Wish) -> module.Member:
        if entry.name == "bark":
            raise KeyboardInterrupt
        return look(entry, wish)

    look = module.look
    monkeypatch.setattr(module, "look", stop_at_bark)
    requests = tmp_path / "req"
    with pytest.raises(SystemExit) as ended:
        fleet(tmp_path, "--update", "--requests", str(requests), listed="[leaf, bark]")
    assert ended.value.code == 130
    assert [path.name for path in requests.iterdir()] == ["leaf-v1.1.0.md"]
    assert f"leaf: {BRANCH}: branch made\n" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        fleet(tmp_path, "--update", listed="[leaf, bark]")
    printed = capsys.readouterr().err
    assert f"leaf: {BRANCH}: its branch is there already\n" in printed
    assert "# Update from the template: v1.0.0 to v1.1.0\n" in printed


def test_a_text_that_cannot_be_written_leaves_the_others(
    behind: Path, tmp_path: Path, capsys: Captured
) -> None:
    second(behind, "bark")
    requests = tmp_path / "req"
    (requests / "leaf-v1.1.0.md").mkdir(parents=True)
    assert fleet(tmp_path, "--update", "--requests", str(requests), listed="[leaf, bark]") == 65
    assert (requests / "bark-v1.1.0.md").is_file()
    printed = capsys.readouterr()
    assert "leaf-v1.1.0.md: cannot be written" in printed.err
    assert "branch made" in printed.out


def train_by_stand_ins(project: Path, log: Path) -> None:
    """Give a project commands that say what they see."""
    (project / "train.py").write_text(TRAIN + TELL.format(str(log)))
    (project / "evaluate.py").write_text(EVALUATE)
    commit(project)


def test_training_comes_last(behind: Path, tmp_path: Path, capsys: Captured) -> None:
    """On the commit and on the update of it, and only for a branch that is made."""
    log = tmp_path / "log"
    train_by_stand_ins(behind, log)
    smoke = ("--update", "--smoke", "--python", sys.executable, "--requests", str(tmp_path / "req"))
    (behind / "new.py").write_text("")
    assert fleet(tmp_path, *smoke) == 65
    assert not log.exists()
    (behind / "new.py").unlink()
    assert fleet(tmp_path, *smoke) == 0
    assert log.read_text() == "trained old\ntrained new\n"
    assert "| accuracy | 0.8750 | 0.8750 |" in (tmp_path / "req/leaf-v1.1.0.md").read_text()
    assert fleet(tmp_path, *smoke) == 0
    git(behind, "merge", "--quiet", BRANCH)
    assert fleet(tmp_path, *smoke) == 0
    assert "up to date" in capsys.readouterr().out
    assert log.read_text() == "trained old\ntrained new\n"


def test_training_sees_no_token(
    behind: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    train_by_stand_ins(behind, tmp_path / "unused")
    told = f"import json, os; open({str(log)!r}, 'w').write(json.dumps({{**os.environ}}))\n"
    (behind / "train.py").write_text(TRAIN + told)
    commit(behind)
    monkeypatch.setenv("GH_TOKEN", "s3cret")
    kept = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "ROCR_VISIBLE_DEVICES", "USERNAME")
    for name in kept:
        monkeypatch.setenv(name, f"my {name}")
    fleet(tmp_path, "--update", "--smoke", "--python", sys.executable)
    seen = json.loads(log.read_text())
    assert "s3cret" not in seen.values()
    assert {name: seen[name] for name in kept} == {name: f"my {name}" for name in kept}
    assert seen["HOME"] != str(Path.home())
    assert seen["PYTHONUSERBASE"] == site.getuserbase()


def test_the_persons_hooks_do_not_run(
    behind: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """And a step that fails after the look keeps what was seen."""
    second(behind, "bark")
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-commit", "commit-msg", "pre-push", "post-checkout"):
        (hooks / name).write_text("#!/bin/sh\nexit 1\n")
        (hooks / name).chmod(0o755)
    settings = tmp_path / "gitconfig"
    settings.write_text(f"[core]\nhooksPath = {hooks}\n[user]\nname = Me\nemail = me@example.org\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(settings))
    assert fleet(tmp_path, "--update") == 0
    assert "branch made" in capsys.readouterr().out

    (hooks / "pre-receive").write_text("#!/bin/sh\nexit 1\n")  # That of the host is not ours.
    (hooks / "pre-receive").chmod(0o755)
    assert fleet(tmp_path, "--update", "--json", "--requests", str(tmp_path), listed="[bark]") == 65
    (told,) = json.loads(capsys.readouterr().out)
    assert told["state"].startswith("refused: ")
    assert "git push failed" in told["state"]
    assert (told["version"], told["to"], told["behind"]) == ("v1.0.0", "v1.1.0", "1 release")


def ask(template: Path) -> None:
    """Give a template a question."""
    (template / "copier.yml").write_text(
        "_subdirectory: project\n_envops: {undefined: jinja2.StrictUndefined}\n"
        "rule: {type: str, default: short}\n"
        "wide: {type: bool, default: false}\n"
        "width: {type: int, default: 80, when: '{{ wide }}'}\n"
        "project_title: {type: str, default: leaf}\n"
    )
    (template / "project/b.txt.jinja").write_text("{{ rule }}\n")
    (template / "CHANGELOG.md").write_text("")
    commit(template)
    git(template, "tag", "v1.2.0")


def test_other_answers_for_all(
    behind: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file of the house or of the command line, previewed and then as branches."""
    ask(tmp_path / "template")
    house = tmp_path / "house.yml"
    house.write_text("rule: wide\n")
    data = ("--data-file", str(house))
    preview = ("preview", *data, "--data", "rule=a b")
    assert main([*preview, str(behind)]) == 0
    told = f"copier update --defaults --data-file {house} --data 'rule=a b'"
    assert f"Next: cd {behind} && {told}\n" in capsys.readouterr().out
    monkeypatch.chdir(behind)
    assert main([*preview]) == 0
    assert f"Next: {told}\n" in capsys.readouterr().out
    requests = tmp_path / "req"
    assert fleet(tmp_path, "--update", "--requests", str(requests)) == 0
    assert fleet(tmp_path, "--update", "--requests", str(requests), *data) == 0
    git(behind, "branch", "-D", "trainyard/update-v1.2.0")
    (branch,) = git(
        behind, "branch", "--format", "%(refname:short)", "--list", "trainyard/*"
    ).split()
    assert branch.startswith("trainyard/update-v1.2.0-answers-")
    ends = {"v1.2.0", branch.removeprefix("trainyard/update-")}
    assert {path.name for path in requests.iterdir()} == {f"leaf-{end}.md" for end in ends}
    assert git(behind, "show", f"{branch}:b.txt") == "wide\n"
    git(behind, "merge", "--quiet", branch)
    capsys.readouterr()

    assert fleet(tmp_path, *data) == 0
    assert "up to date" in capsys.readouterr().out
    house.write_text("rule: none\nproject_title: leaf\nwidth: 120\n")
    (behind / ".copier-answers.yml").open("a").write("project_title: leaf\n")
    commit(behind)
    assert fleet(tmp_path, "--update", *data, "--data", "wide=no") == 0
    printed = capsys.readouterr().out
    assert "# Other answers to the template: rule\n" in printed
    assert "Changed answers: `rule`." in printed
    said = refused(capsys, "preview", str(behind), "--data", "rul=wide")
    assert "--data: rul: unknown name; did you mean rule?" in said
    assert "expected NAME=VALUE" in refused(capsys, "preview", str(behind), "--data", "rule")


def break_syntax(template: Path) -> str:
    (template / "project/b.txt.jinja").write_text("\n{{ rule }\n")
    return "b.txt.jinja, line 2: "


def break_name(template: Path) -> str:
    (template / "project/b.txt.jinja").write_text("{{ rul }}\n")
    return "b.txt.jinja, line 1: 'rul' is undefined"


@pytest.mark.parametrize("damage", [break_syntax, break_name])
def test_a_broken_template_is_refused(
    damage: Callable[[Path], str], behind: Path, tmp_path: Path, capsys: Captured
) -> None:
    ask(tmp_path / "template")
    expected = damage(tmp_path / "template")
    commit(tmp_path / "template")
    git(tmp_path / "template", "tag", "v1.3.0")
    assert expected in refused(capsys, "preview", str(behind))


def test_what_was_made_does_not_hang_on_the_persons_settings(
    behind: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an update makes does: `copier update` reads them, too."""
    ask(tmp_path / "template")
    (behind / "b.txt").write_text("short\n")
    answers = behind / ".copier-answers.yml"
    answers.write_text(answers.read_text().replace("v1.0.0", "v1.2.0"))
    (behind / "a.txt").write_text("new\n")
    commit(behind)
    settings = tmp_path / "settings.yml"
    settings.write_text("defaults: {rule: wide}\n")
    monkeypatch.setenv("COPIER_SETTINGS_PATH", str(settings))
    assert main(["drift", str(behind)]) == 0
    assert fleet(tmp_path) == 0
    capsys.readouterr()

    (tmp_path / "template/project/b.txt.jinja").write_text("{{ rule }}!\n")
    commit(tmp_path / "template")
    git(tmp_path / "template", "tag", "v1.3.0")
    main(["preview", str(behind), "--json"])
    files = json.loads(capsys.readouterr().out)["files"]
    copier.run_update(behind, defaults=True, overwrite=True, quiet=True)
    changed = git(behind, "diff", "--name-only").split()
    assert sorted({each["path"] for each in files}) == sorted({*changed})
    assert "wide!" in (behind / "b.txt").read_text()


def test_projects_in_folders_of_a_repository(
    behind: Path, tmp_path: Path, capsys: Captured
) -> None:
    mono = tmp_path / "mono"
    for name in ("a", "b"):
        git(tmp_path, "clone", "--quiet", str(behind), str(mono / name))
        for path in sorted((mono / name / ".git").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (mono / name / ".git").rmdir()
    git(mono, "init", "--quiet", "--initial-branch", "main")
    commit(mono)
    assert fleet(tmp_path, listed="[mono/a]") == 65
    assert f"List it as {{repository: {mono}, folder: a}}." in capsys.readouterr().out
    (mono / "b/new.py").write_text("")  # In the way of b alone.
    listed = "[{repository: mono, folder: a}, {repository: mono, folder: b}]"
    requests = tmp_path / "req"
    assert fleet(tmp_path, "--update", "--requests", str(requests), listed=listed) == 65
    assert "mono/b      v1.0.0" in capsys.readouterr().out
    assert [path.name for path in requests.iterdir()] == ["a-v1.1.0-a.md"]
    assert git(mono, "diff", "--name-only", "main", f"{BRANCH}-a").split() == [
        *("a/.copier-answers.yml", "a/a.txt")
    ]


def test_a_check_with_a_number_for_a_name_is_refused(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / ".trainyard.yml").write_text("check: {ignore: {1: why}}\n")
    git(tmp_path, "init", "--quiet")
    assert "1 is no check" in refused(capsys, "check", str(tmp_path))
