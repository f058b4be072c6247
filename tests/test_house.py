"""A team's answers land in every project, and a misspelled one is noticed."""

import json
import re
import shlex
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import copier
import pytest
import yaml

from build_cookiecutter import house_rules
from combinations import Combination, checked_combinations
from conftest import git, render, root
from projects import task
from test_update import append, commit, publish_next_version, replace_line
from test_upkeep import bash, commands, jobs, quick_python

house = root / "docs" / "house.yml"
answers = yaml.safe_load(house.read_text(encoding="utf-8"))


def check_answers(*paths: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, root / "tools" / "check_answers.py", *paths],
        capture_output=True,
        encoding="utf-8",
    )


def assert_in_its_place(project: Path) -> None:
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert metadata["authors"] == [{"name": answers["author"]}]
    assert metadata["license"] == answers["licence"]
    assert metadata["requires-python"] == answers["python_range"]
    assert f"Copyright (c) {answers['author']}\n" in (project / "LICENSE").read_text("utf-8")
    record = yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))
    assert record["_src_path"] == answers["template_source"]
    assert {"author", "licence", "python_range", "ci", "code_owners"} < {*answers}
    assert house_rules().keys() < answers.keys()
    for name in answers.keys() - {"template_source"}:
        assert record[name] == answers[name]
    assert "template_source" not in record
    assert_rules_in_their_places(project)
    assert (project / "CODEOWNERS").read_text("utf-8").endswith(f"* {answers['code_owners']}\n")
    files = {".gitlab-ci.yml", ".devcontainer/devcontainer.json", "AGENTS.md"}
    assert all((project / name).is_file() for name in files)
    assert not (project / ".github").exists()


def assert_rules_in_their_places(project: Path) -> None:
    """Those that nobody is asked for."""
    index, url = answers["package_index"], answers["tracker_url"]
    docker = (project / "Dockerfile").read_text("utf-8")
    assert re.findall("^FROM (.*)", docker, re.MULTILINE) == [answers["container_image"]]
    assert docker.index(f"\nARG PIP_INDEX_URL={index}\n") < docker.index("pip install")
    pipeline = yaml.safe_load((project / ".gitlab-ci.yml").read_text("utf-8"))
    assert pipeline["default"]["image"] == answers["ci_image"]
    assert pipeline["variables"]["PIP_INDEX_URL"] == index
    container = json.loads((project / ".devcontainer" / "devcontainer.json").read_text("utf-8"))
    assert {*container["containerEnv"].values()} == {index}
    for page in ("README.md", "AGENTS.md"):
        text = (project / page).read_text("utf-8")
        assert text.index(f"export PIP_INDEX_URL={index} UV_DEFAULT_INDEX={index}\n") < text.index(
            "pip install"
        )
        assert f"MLFLOW_TRACKING_URI={url}" in text
        assert "--to mlflow\n" in text
    trackers = (project / "requirements" / "trackers.txt").read_text("utf-8")
    assert re.findall("^[a-z-]+", trackers, re.MULTILINE) == ["mlflow-skinny"]
    assert_backstage_takes_it(project, answers["backstage_owner"])
    tools = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["tool"]
    assert tools["trainyard"] == {"data": f"{answers['data_root']}/{metadata_name(project)}"}


def metadata_name(project: Path) -> str:
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))
    return metadata["project"]["name"]


def assert_backstage_takes_it(project: Path, owner: str) -> None:
    """The required fields of a Component and the patterns of Backstage's catalogue."""
    entity = yaml.safe_load((project / "catalog-info.yaml").read_text("utf-8"))
    assert (entity["apiVersion"], entity["kind"]) == ("backstage.io/v1alpha1", "Component")
    metadata, spec = entity["metadata"], entity["spec"]
    assert re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", metadata["name"])
    assert isinstance(metadata["description"], str)
    for tag in metadata["tags"]:
        assert re.fullmatch(r"[a-z0-9:+#]+(-[a-z0-9:+#]+)*", tag)
        assert len(tag) <= 63
    assert spec["owner"] == owner
    assert spec["type"]
    assert spec["lifecycle"] in ("experimental", "production", "deprecated")


@pytest.mark.parametrize(
    "combination", [c for c in checked_combinations if c.first_of_template and c.in_full], ids=str
)
@pytest.mark.parametrize("entry", ["folder", "root"])
def test_each_answer_of_a_data_file_lands(
    combination: Combination, entry: str, tmp_path: Path
) -> None:
    own = f"template={combination.template}"
    source = root if entry == "root" else root / "templates" / combination.template
    command = ["copy", "--defaults", "--quiet", "--data-file", house, "--data", own, source, "leaf"]
    subprocess.run([sys.executable, "-m", "copier", *command], cwd=tmp_path, check=True)
    assert_in_its_place(tmp_path / "leaf")


def test_each_answer_of_a_settings_file_lands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "settings.yml"
    settings.write_text(yaml.safe_dump({"defaults": answers}))
    monkeypatch.setenv("COPIER_SETTINGS_PATH", str(settings))
    assert check_answers(settings).returncode == 0
    template = root / "templates" / "torch-research"
    copier.run_copy(str(template), tmp_path / "leaf", defaults=True, quiet=True)
    assert_in_its_place(tmp_path / "leaf")


def test_the_example_and_every_answers_file_pass(tmp_path: Path) -> None:
    project = render(root / "templates" / "keras-quickstart", tmp_path / "leaf", backend="jax")
    result = check_answers(house, project / ".copier-answers.yml")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("licens: MIT", ["licens", "did you mean licence?"]),
        ("holder: me", ["holder", "There are:", "author"]),
        ("licence: GPL", ["licence", "'GPL'", "BSD-3-Clause"]),
        ("project_name: Bad Name", ["project_name", "leaf-classifier"]),
        ('python_range: ">=3.13,<3.12"', ["python_range", "expected a range from 3.11 on"]),
        ('python_range: ">=3.9"', ["python_range", "expected a range from 3.11 on"]),
        ("author: 3", ["author", "3", "quotes"]),
        ("defaults: {lop: plain}", ["lop", "did you mean loop?"]),
        ("mit: .", ["mit"]),  # Computed, not asked.
        ("- author", ["expected `name: answer` lines"]),
        ("a: [", ["cannot be read"]),
    ],
)
def test_what_copier_would_ignore_is_said(text: str, expected: list[str], tmp_path: Path) -> None:
    path = tmp_path / "house.yml"
    path.write_text(text)
    result = check_answers(path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1
    for part in [str(path), *expected]:
        assert part in result.stderr


def test_all_problems_are_said_in_one_run(tmp_path: Path) -> None:
    path = tmp_path / "house.yml"
    path.write_text('licens: MIT\ndata_root: data\npython_range: ">=3.9"\nauthor: 3\n')
    said = check_answers(path).stderr
    assert len(said.splitlines()) == 4
    for name in ("licens", "data_root", "python_range", "author"):
        assert name in said


# --- continuous integration and what else a team may want

TEMPLATES = ("torch-research", "tf-production", "keras-quickstart")


def render_for(folder: Path, template: str = TEMPLATES[0], **changes: str) -> Path:
    """Render a project of a team with other answers."""
    return render(root / "templates" / template, folder, **changes)


def test_each_provider_runs_the_same_commands(tmp_path: Path) -> None:
    """So those of GitHub, which test_upkeep.py runs to the letter, stand for all."""
    gitlab = render_for(tmp_path / "gitlab", ci="gitlab", python_range=">=3.12,<3.14")
    pipeline = yaml.safe_load((gitlab / ".gitlab-ci.yml").read_text("utf-8"))
    assert pipeline["default"]["image"] == "python:3.12"
    azure = render_for(tmp_path / "azure", ci="azure", python_range=">=3.12,<3.14")
    (job,) = yaml.safe_load((azure / "azure-pipelines.yml").read_text("utf-8"))["jobs"]
    version, *steps = job["steps"]
    assert version["inputs"] == {"versionSpec": "3.12"}
    github = render_for(tmp_path / "github", python_range=">=3.12,<3.14")
    for workflow in ("test", "update"):
        steps_of = [
            job["steps"] for job in jobs(github / f".github/workflows/{workflow}.yml").values()
        ]
        found = [step["with"] for each in steps_of for step in each if "setup-python" in str(step)]
        assert found
        assert {each["python-version"] for each in found} == {"3.12"}
    expected = commands(github, "test")
    assert len(expected) == 8
    assert pipeline["test"]["script"] == expected == [step["script"] for step in steps]
    nowhere = render_for(tmp_path / "nowhere", ci="none")
    files = {path.name for path in nowhere.iterdir()}
    assert not files & {".github", ".gitlab-ci.yml", "azure-pipelines.yml", "AGENTS.md"}
    assert not files & {".devcontainer", "CODEOWNERS", "catalog-info.yaml"}


class MergeRequests(BaseHTTPRequestHandler):
    """A stand-in for GitLab's merge requests, with one that is open."""

    def do_GET(self) -> None:
        assert self.path == "/projects/7/merge_requests?state=opened&source_branch=template-update"
        self.answer([{"iid": 3}])

    def do_PUT(self) -> None:
        assert self.path == "/projects/7/merge_requests/3"
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        told.append((self.headers["PRIVATE-TOKEN"], json.loads(sent)["description"]))
        self.answer({})

    def answer(self, found: object) -> None:
        if self.headers["PRIVATE-TOKEN"] == "old":
            self.send_error(403)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet."""


told: list[tuple[str, str]] = []  # The token and the text of each change of a merge request.


@pytest.fixture
def gitlab_address() -> Iterator[str]:
    told.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), MergeRequests) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


WEEKLY = ["update from the template", "train the update", "tell the metrics"]


def test_the_update_on_gitlab(
    tmp_path: Path, scratch_repository: Path, gitlab_address: str
) -> None:
    """It proposes a release once, as a draft and with a failing job where that conflicts.

    Each job has a clone of its own, of one commit, and what the job before it left as an artifact.
    """
    project = render(f"git+{scratch_repository.as_uri()}", tmp_path / "leaf", ci="gitlab")
    git(project, "init", "--quiet", "--initial-branch", "main")
    append(project / "utils.py", "MINE = 1")
    commit(project)
    git(tmp_path, "init", "--quiet", "--bare", "origin.git")
    origin = tmp_path / "origin.git"
    git(origin, "config", "receive.advertisePushOptions", "true")
    options = tmp_path / "options"
    hook = origin / "hooks" / "pre-receive"
    hook.write_text(f'#!/bin/sh\nenv | grep ^GIT_PUSH_OPTION_ > "{options}"\ntrue\n')
    hook.chmod(0o755)
    git(project, "remote", "add", "origin", str(origin))
    git(project, "push", "--quiet", "origin", "main")
    pipeline = yaml.safe_load((project / ".gitlab-ci.yml").read_text("utf-8"))
    programs = quick_python(tmp_path / "programs")
    # New code sees its parent's environment, too.
    look = (
        f'case "$1" in *.py) cat /proc/$PPID/environ /proc/self/environ >> "{programs}/seen";; esac'
    )
    python = (programs / "python").read_text()
    (programs / "python").write_text(python.replace("#!/bin/sh\n", f"#!/bin/sh\n{look}\n"))
    variables = {"TEMPLATE_REMOTE": str(origin), "CI_PROJECT_ID": "7"}
    variables["CI_API_V4_URL"] = gitlab_address
    before = pipeline["default"]["before_script"]

    def run_job(name: str, artifacts: Path, expected: int = 0) -> str:
        job = pipeline[name]
        clone = tmp_path / f"clone{len([*tmp_path.iterdir()])}"
        git(tmp_path, "clone", "--quiet", "--depth", "1", "-b", "main", origin.as_uri(), clone.name)
        for path in artifacts.iterdir():
            path.rename(clone / path.name)
        token = {"TEMPLATE_TOKEN": "secret"} if "environment" in job else {}
        script = "\n".join([*job.get("before_script", before), *job["script"]])
        printed = bash(script, clone, programs, expected=expected, variables=variables | token)
        for name in job.get("artifacts", {"paths": []})["paths"]:
            if (clone / name).exists():
                (clone / name).rename(artifacts / name)
        return printed

    def update() -> str:
        artifacts = tmp_path / f"artifacts{len([*tmp_path.iterdir()])}"
        artifacts.mkdir()
        return "".join(run_job(name, artifacts) for name in WEEKLY)

    said = update()
    assert "Up to date" in said
    assert said.count("Nothing is proposed") == 2
    publish_next_version(scratch_repository)
    update()
    assert "merge_request.title=Update from the template\n" in options.read_text()
    assert "merge_request.description=Nothing of yours conflicts.\n" in options.read_text()
    metrics = "before: loss 0.5, score 0.9; after: loss 0.5, score 0.9."
    text = f"Nothing of yours conflicts. Two epochs of training give on test, {metrics}"
    assert told == [("secret", text)]
    assert "secret" not in (programs / "seen").read_text()
    assert "CI_PROJECT_ID=7" in (programs / "seen").read_text()  # It has looked.
    trained = (programs / "trained").read_text().splitlines()
    assert [line.split()[-1] for line in trained] == ["v0.1.0", "v9.0.0"]
    assert "is there: merge it" in update()
    git(origin, "branch", "--quiet", "-D", "template-update")
    replace_line(project / "requirements.txt", "tqdm", "tqdm==4.68")
    commit(project)
    git(project, "push", "--quiet", "origin", "main")
    (tmp_path / "none").mkdir()
    said = run_job(WEEKLY[0], tmp_path / "none", expected=1)
    assert "conflicts with your changes: requirements.txt" in said
    assert not [*(tmp_path / "none").iterdir()]
    sent = options.read_text()
    assert "merge_request.title=Draft: Update from the template: conflicts\n" in sent
    assert "Conflicts: requirements.txt\n" in sent


def test_a_token_that_may_not_tell_is_named(tmp_path: Path, gitlab_address: str) -> None:
    project = render_for(tmp_path / "leaf", ci="gitlab")
    (project / "metrics.txt").write_text("Two epochs give 0.9.\n", encoding="utf-8")
    pipeline = yaml.safe_load((project / ".gitlab-ci.yml").read_text("utf-8"))
    variables = {"CI_API_V4_URL": gitlab_address, "CI_PROJECT_ID": "7", "TEMPLATE_TOKEN": "old"}
    script = "\n".join(pipeline["tell the metrics"]["script"])
    said = bash(script, project, expected=1, variables=variables)
    assert said.startswith("Two epochs give 0.9.")
    assert "403: Forbidden; TEMPLATE_TOKEN needs the scope api." in said
    assert "Traceback" not in said


def test_no_job_on_gitlab_runs_new_code_with_the_token(tmp_path: Path) -> None:
    """Where the variable is not for the environment alone, all jobs have it; these refuse."""
    project = render_for(tmp_path / "leaf", ci="gitlab")
    pipeline = yaml.safe_load((project / ".gitlab-ci.yml").read_text("utf-8"))
    found = {name: job for name, job in pipeline.items() if "script" in job}
    assert [*found] == ["test", *WEEKLY]
    (refuse,) = pipeline["default"]["before_script"]
    for name, job in found.items():
        runs_code = "train.py" in str(job["script"])
        assert runs_code == (name in ("test", "train the update"))
        assert runs_code == ("environment" not in job) == ("before_script" not in job)
    assert bash(refuse, tmp_path) == ""
    said = bash(refuse, tmp_path, expected=1, variables={"TEMPLATE_TOKEN": "secret"})
    assert "template-update" in said
    assert "secret" not in said


def test_the_metrics_bring_no_secret_into_the_merge_request(
    tmp_path: Path, gitlab_address: str
) -> None:
    """Training code writes them: a link elsewhere is not followed, and text is only text."""
    project = render_for(tmp_path / "leaf", ci="gitlab")
    pipeline = yaml.safe_load((project / ".gitlab-ci.yml").read_text("utf-8"))
    (tell,) = pipeline["tell the metrics"]["script"]
    variables = {"CI_API_V4_URL": gitlab_address, "CI_PROJECT_ID": "7", "TEMPLATE_TOKEN": "secret"}
    (project / "json.py").write_text("raise SystemExit('new code ran')\n")
    (project / "metrics.txt").symlink_to("/proc/self/environ")
    assert "Nothing is proposed" in bash(tell, project, variables=variables)
    assert told == []
    (project / "metrics.txt").unlink()
    (project / "metrics.txt").write_text("loss 0.5, [x](https://example.org) <img> @all\n/merge")
    bash(tell, project, variables=variables)
    said = "Nothing of yours conflicts. loss 0.5, xhttps:example.org img allmerge"
    assert told == [("secret", said)]


@pytest.mark.parametrize("ci", ["github", "gitlab", "azure", "none"])
def test_owners_stand_where_the_provider_reads_them(ci: str, tmp_path: Path) -> None:
    project = render_for(tmp_path / "leaf", code_owners="@mina", ci=ci)
    assert (project / "CODEOWNERS").is_file() == (ci in ("github", "gitlab"))
    record = yaml.safe_load((project / ".copier-answers.yml").read_text("utf-8"))
    assert ("code_owners" in record) == (ci in ("github", "gitlab"))


@pytest.mark.parametrize("owners", ["leaf", "@a @", "@a,@b", "@a\n* @b", "@a * @b", "#@a"])
def test_owners_that_are_no_names_are_refused(owners: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="code_owners"):
        render_for(tmp_path / "leaf", code_owners=owners)


def test_a_container_to_work_in(tmp_path: Path) -> None:
    project = render_for(tmp_path / "leaf", development_container="with", project_name="leaf")
    text = (project / ".devcontainer" / "devcontainer.json").read_text("utf-8")
    assert json.loads(text)["name"] == "leaf"
    assert json.loads(text)["image"].endswith("/python:3.11")
    # The install command is the one that the checks begin with.
    assert json.loads(text)["postCreateCommand"] in commands(project, "test")


@pytest.mark.parametrize(
    "template",
    [TEMPLATES[0], *(pytest.param(each, marks=pytest.mark.deep) for each in TEMPLATES[1:])],
)
def test_agents_md_word_for_word(template: str, tmp_path: Path) -> None:
    """From a new project to its metrics; the packages are here, and the tests run elsewhere."""
    project = render_for(tmp_path / "leaf", template, coding_assistants="with", task="tabular")
    text = (project / "AGENTS.md").read_text("utf-8")
    assert len(text.splitlines()) <= 60
    lines = re.findall(r"^    (.+)$", text, re.MULTILINE)
    installs = [line for line in lines if "venv" in line or "pip install" in line]
    assert installs[-1] in commands(project, "test")
    for line in [line for line in lines if line not in (*installs, "python -m pytest")]:
        bash(line, project)
    found = json.loads((project / "experiments/try/metrics_val.json").read_text("utf-8"))
    assert found["accuracy"] > 0.5
    for name in re.findall(r"`([\w/.]+\.py|\w+/)`", text):
        assert (project / name).exists() or name == "data/", name


# --- what a house sets, and nobody is asked

WITH_A_SECRET = ["https://me:secret@packages.example.org/simple", "https://token@example.org"]
FREE_RULES = [
    name for name, each in house_rules().items() if "_pattern" in each.get("validator", "")
]
HOSTILE = ["$(id)", "https://a b", "https://a/`id`", "https://a\nb", "file:///etc", "{{ 1 }}"]


@pytest.mark.parametrize("text", [*WITH_A_SECRET, *HOSTILE])
@pytest.mark.parametrize("name", FREE_RULES)
def test_no_secret_and_nothing_for_a_shell_lands(name: str, text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"question '{name}'"):
        render_for(tmp_path / "leaf", **{name: text})
    assert not (tmp_path / "leaf").exists()


@pytest.mark.parametrize("scheme", ["http", "https", "git+https", "ssh", "git+ssh", "ftp"])
def test_no_password_lands_in_the_source(scheme: str, tmp_path: Path) -> None:
    """By whatever scheme: each project would record it. The user of ssh is no secret."""
    for secret in ("me:secret", ":secret"):
        source = f"{scheme}://{secret}@git.example.org:22/t.git"
        with pytest.raises(ValueError, match="question 'template_source'"):
            render_for(tmp_path / "leaf", template_source=source)
    assert not (tmp_path / "leaf").exists()
    source = "ssh://git@git.example.org:22/t.git"
    assert render_for(tmp_path / "leaf", template_source=source)


def test_each_entry_refuses_the_same_sources() -> None:
    entries = [root / "copier.yml", *root.glob("templates/*/copier.yml")]
    rules = {
        line for path in entries for line in path.read_text("utf-8").splitlines() if "@" in line
    }
    assert len(entries) == 4
    assert len(rules) == 1


@pytest.mark.parametrize("name", [*FREE_RULES, "tracker", "template_source"])
def test_rules_of_a_settings_file_are_checked_too(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tmp_path / "settings.yml"
    settings.write_text(yaml.safe_dump({"defaults": {name: WITH_A_SECRET[0]}}))
    monkeypatch.setenv("COPIER_SETTINGS_PATH", str(settings))
    with pytest.raises(ValueError, match=name if name != "tracker" else "Invalid choice"):
        render_for(tmp_path / "leaf")
    assert not (tmp_path / "leaf").exists()


@pytest.mark.parametrize(
    "text", ["vision", "user:mina", "group:default/vision", "a/b.c_d-e", "null", "123"]
)
def test_owners_as_backstage_writes_them(text: str, tmp_path: Path) -> None:
    project = render_for(tmp_path / "leaf", backstage_owner=text, description='Say: "# {a}"')
    assert_backstage_takes_it(project, text)


def test_each_tracker(tmp_path: Path) -> None:
    expected = {"none": {"mlflow-skinny", "wandb"}, "mlflow": {"mlflow-skinny"}, "wandb": {"wandb"}}
    assert {*house_rules()["tracker"]["choices"].values()} == {*expected}
    for tracker, packages in expected.items():
        project = render_for(tmp_path / tracker, tracker=tracker, coding_assistants="with")
        text = (project / "requirements" / "trackers.txt").read_text("utf-8")
        assert {*re.findall("^[a-z-]+", text, re.MULTILINE)} == packages
        for page in ("README.md", "AGENTS.md"):
            text = (project / page).read_text("utf-8")
            assert re.findall(r"publish\.py.* --to (\w+)", text) == [tracker] * (tracker != "none")


def test_the_other_providers_take_the_index(tmp_path: Path) -> None:
    index = answers["package_index"]
    github = render_for(tmp_path / "github", package_index=index)
    for name in ("test", "update"):
        workflow = yaml.safe_load((github / f".github/workflows/{name}.yml").read_text("utf-8"))
        assert workflow["env"] == {"PIP_INDEX_URL": index}
    azure = render_for(tmp_path / "azure", package_index=index, ci="azure")
    pipeline = yaml.safe_load((azure / "azure-pipelines.yml").read_text("utf-8"))
    assert pipeline["variables"] == {"PIP_INDEX_URL": index}


def tag_a_change(repository: Path) -> None:
    """The next version of the templates, with another line in a file."""
    for path in repository.glob("templates/*/project/{{shared}}/utils.py"):
        append(path, "THEIRS = 1")
    commit(repository)
    git(repository, "tag", "v9.0.0")


def test_an_update_keeps_the_rules_of_the_house(tmp_path: Path, scratch_repository: Path) -> None:
    """Copier forgets what it did not ask; the answers file does not."""
    rules = {name: answers[name] for name in house_rules().keys() - {"template_source"}}
    project = render(f"git+{scratch_repository.as_uri()}", tmp_path / "leaf", ci="gitlab", **rules)
    git(project, "init", "--quiet", "--initial-branch", "main")
    commit(project)
    before = (project / ".gitlab-ci.yml").read_text("utf-8")
    tag_a_change(scratch_repository)
    copier.run_update(project, defaults=True, quiet=True, overwrite=True)
    record = yaml.safe_load((project / ".copier-answers.yml").read_text("utf-8"))
    assert {name: record[name] for name in rules} == rules
    assert "THEIRS = 1" in (project / "utils.py").read_text("utf-8")
    assert (project / ".gitlab-ci.yml").read_text("utf-8") == before
    assert_backstage_takes_it(project, rules["backstage_owner"])
    commit(project)
    other = {"package_index": "https://other.example.org/simple", "backstage_owner": ""}
    copier.run_update(project, data=other, defaults=True, quiet=True, overwrite=True)
    record = yaml.safe_load((project / ".copier-answers.yml").read_text("utf-8"))
    rules = {name: each for name, each in {**rules, **other}.items() if each}
    assert {name: record.get(name) for name in house_rules() if name in record} == rules
    assert "other.example.org" in (project / ".gitlab-ci.yml").read_text("utf-8")
    # At the same version, too, Copier takes away what an answer took away.
    assert not (project / "catalog-info.yaml").exists()
    # Not in README.md, which is the project's: docs/team.md says so.
    assert answers["package_index"] in (project / "README.md").read_text("utf-8")
    commit(project)
    told = {each: answer for each, answer in answers.items() if each != "template_source"}
    file = tmp_path / "house.yml"
    file.write_text(yaml.safe_dump(told))
    command = ["update", "--defaults", "--quiet", "--data-file", file]
    subprocess.run([sys.executable, "-m", "copier", *command], cwd=project, check=True)
    record = yaml.safe_load((project / ".copier-answers.yml").read_text("utf-8"))
    assert {name: record[name] for name in told} == told  # Also what the project had changed.


def test_an_update_finds_rules_where_they_stood_before(
    tmp_path: Path, scratch_repository: Path
) -> None:
    """Under `house` in the answers file."""
    rules = {"ci_image": "registry.example.org/python:3.12", "backstage_owner": "vision"}
    project = render(f"git+{scratch_repository.as_uri()}", tmp_path / "leaf", ci="gitlab", **rules)
    path = project / ".copier-answers.yml"
    record = yaml.safe_load(path.read_text("utf-8"))
    record["house"] = {name: record.pop(name) for name in rules}
    path.write_text(yaml.safe_dump(record), encoding="utf-8")
    git(project, "init", "--quiet", "--initial-branch", "main")
    commit(project)
    before = (project / ".gitlab-ci.yml").read_text("utf-8")
    assert rules["ci_image"] in before
    tag_a_change(scratch_repository)
    copier.run_update(project, defaults=True, quiet=True, overwrite=True)
    record = yaml.safe_load(path.read_text("utf-8"))
    assert {name: record[name] for name in rules} == rules
    assert "house" not in record
    assert (project / ".gitlab-ci.yml").read_text("utf-8") == before
    assert (project / "catalog-info.yaml").exists()


def test_a_rule_that_is_the_default_follows_the_default(
    tmp_path: Path, scratch_repository: Path
) -> None:
    """So a house changes a default in its templates, and its projects get it."""
    project = render(f"git+{scratch_repository.as_uri()}", tmp_path / "leaf", tracker="none")
    git(project, "init", "--quiet", "--initial-branch", "main")
    commit(project)
    assert "tracker" not in yaml.safe_load((project / ".copier-answers.yml").read_text("utf-8"))
    for path in (
        *scratch_repository.glob("shared/questions.yml"),
        *scratch_repository.glob("templates/*/_shared/questions.yml"),
    ):
        path.write_text(
            path.read_text("utf-8").replace("    tracker: none\n", "    tracker: wandb\n"),
            encoding="utf-8",
        )
    tag_a_change(scratch_repository)
    copier.run_update(project, defaults=True, quiet=True, overwrite=True)
    assert "wandb" in (project / "requirements" / "trackers.txt").read_text("utf-8")
    assert "mlflow" not in (project / "requirements" / "trackers.txt").read_text("utf-8")


# --- the root of the data


@pytest.mark.parametrize("root_of_data", ["/data/", "s3://bucket/vision", "D:/data", "gs://bucket"])
def test_roots_of_data(root_of_data: str, tmp_path: Path) -> None:
    project = render_for(tmp_path / "leaf", data_root=root_of_data)
    metadata = tomllib.loads((project / "pyproject.toml").read_text("utf-8"))
    assert metadata["tool"]["trainyard"]["data"] == f"{root_of_data.rstrip('/')}/leaf"


@pytest.mark.parametrize(
    "text", ["data", "../data", "~/data", "/my data", "s3://a:b@c/d", "s3:/a", "/"]
)
def test_what_is_no_root_of_data_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a whole path"):
        render_for(tmp_path / "leaf", data_root=text)


def test_the_data_of_a_competition_stay_where_compete_puts_them(tmp_path: Path) -> None:
    project = render_for(tmp_path / "leaf", data_root="/data", kaggle="titanic")
    assert "trainyard" not in tomllib.loads((project / "pyproject.toml").read_text("utf-8"))["tool"]


def test_each_command_looks_where_the_house_keeps_data(tmp_path: Path) -> None:
    """What comes with the project stays in data/, and what is read is recorded."""
    kept = tmp_path / "kept"
    project = render_for(
        tmp_path / "leaf", data_root=str(kept), task="tabular", coding_assistants="with"
    )
    for name in ("train", "evaluate", "search_hyperparams", "doctor", "profile_steps"):
        shown = bash(f"python {name}.py --help", project)
        assert f"else{kept}/leaf]" in "".join(shown.split())
    shown = bash("python build_dataset.py --help", project)
    assert f"{kept}/leaf;without--source,data]" in "".join(shown.split())
    said = bash("python train.py", project, expected=2)
    assert f"{kept}/leaf/dataset.json: not found. pyproject.toml says" in said
    assert "--data data" in said
    assert not (project / "data" / "dataset.json").exists()
    short = "--from experiments/baseline --training.epochs 1"
    bash(f"python train.py --experiment experiments/sample {short} --data data", project)
    assert (project / "data" / "dataset.json").is_file()
    (tmp_path / "raw").mkdir()
    own = task(project).make_own_data(tmp_path / "raw")
    bash(
        shlex.join(["python", "build_dataset.py", "--source", str(own.source), *own.options]),
        project,
    )
    bash(f"python train.py --experiment experiments/own {short}", project)
    (session,) = json.loads((project / "experiments/own/run.json").read_text("utf-8"))["sessions"]
    assert session["data"] == f"{kept}/leaf"
    # CI has none of the house's data.
    texts = [*commands(project, "test"), (project / "AGENTS.md").read_text("utf-8")]
    trains = [line for text in texts for line in text.splitlines() if "python train.py" in line]
    assert len(trains) == 2
    assert all(line.endswith("--data data") for line in trains)
