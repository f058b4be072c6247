"""Fixtures: Copier and git kept apart from the person's own settings, rendered projects, a scratch
repository.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import copier
import jinja2
import pytest
from copier._main import Worker

import combinations
from combinations import Combination, evening_combinations
from evenings import spend_evening
from fork_server import ForkServer
from projects import TASKS, experiment, run

root = Path(__file__).resolve().parent.parent
first_tag = "v0.1.0"  # The one release of the scratch repositories.

# What trains in forked children or sends POSIX signals; Windows has neither.
FORKS = [
    *("across", "bad_data", "bad_input", "devices", "loops", "parameters", "pipeline", "resume"),
    *("doctor", "rooms", "backbones", "backends"),
]
collect_ignore = [] if hasattr(os, "fork") else [f"test_{name}.py" for name in FORKS]


# What runs for minutes begins first, so that at the end no process waits long for another.
LONG = ("test_upkeep", "test_kaggle_evening", "test_notebook", "test_backends")
# What looks at the experiments that other tests leave comes last, or it would make them itself.
LAST = ("test_across",)

# Which combinations a test of a project is for; without a marker, for each.
MARKERS = {
    "deep": "left to the deeper tier, --deep: what it tests is tested in another way, too.",
    "every_way": "for every way with the first task.",
    "in_brief": "for every way with the first task, and one way with each other.",
    "contracts": "the same; at the gate, with the first task, in the ways that it proves in full.",
    "where_proven": "for each way; at the gate, for those alone whose contracts it proves.",
    "in_full": "an expensive proof, for the first task; at the gate not in every way.",
    "once_a_template": "what it tests is the same file whatever loop or backend was chosen.",
    "once_a_task": "what it tests is the same file in every framework.",
    "once": "what it tests is the same file in every framework and task.",
}


def is_for(item: pytest.Item, combination: Combination) -> bool:
    """Say whether a test is to be run with a combination."""
    in_this_tier = combinations.deep or combination.at_the_gate
    wanted = {
        "every_way": combination.in_full,
        "in_brief": combination.has_contracts,
        "contracts": combination.has_contracts and in_this_tier,
        "where_proven": in_this_tier,
        "in_full": combination.in_full and in_this_tier,
        "once_a_template": combination.first_of_template,
        "once_a_task": combination.first_of_task,
        "once": combination.first_of_task and combination.in_full,
    }
    return all(fits for marker, fits in wanted.items() if item.get_closest_marker(marker))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--deep", action="store_true", help="the deeper tier: every way in full")


def pytest_configure(config: pytest.Config) -> None:
    combinations.deep = config.getoption("deep")
    for marker, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{marker}: {meaning}")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test the cases of every task; those of another task than the project's are left out.

    A test asks for them by an argument that names a field of Task, such as `case_of_bad_sources`.
    """
    for name in metafunc.fixturenames:
        if name.startswith("case_of_"):
            cases = [
                pytest.param((task, case), id=f"{task.name} {case}")
                for task in TASKS.values()
                for case in getattr(task, name.removeprefix("case_of_"))
            ]
            metafunc.parametrize(name, cases)


@pytest.hookimpl(tryfirst=True)  # pytest-xdist looks for the groups after this.
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run each test with the projects that it is for.

    The tests with one project stay in one process where several run tests: each would otherwise
    make the project and start a fork server for itself.
    """
    left_out = set()
    for item in items:
        if item.get_closest_marker("deep") and not combinations.deep:
            left_out.add(item)
        given = callspec.params if (callspec := getattr(item, "callspec", None)) else {}
        combination = given.get("project")
        if not isinstance(combination, Combination):
            continue
        item.add_marker(pytest.mark.xdist_group(str(combination)))
        tasks = {value[0].name for name, value in given.items() if name.startswith("case_of_")}
        if not is_for(item, combination) or not tasks <= {combination.task}:
            left_out.add(item)
    items[:] = [item for item in items if item not in left_out]
    items.sort(key=lambda item: (item.path.stem in LAST, item.path.stem not in LONG))
    config.hook.pytest_deselected(items=[*left_out])


@pytest.fixture(scope="session", autouse=True)
def isolated_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No settings, caches or identity of the person's own; small networks on one thread each."""
    folder = tmp_path_factory.mktemp("environment")
    (folder / "settings.yml").write_text("{}\n")
    (folder / "gitconfig").write_text(
        "[user]\nname = Tester\nemail = tester@example.org\n"
        "[core]\nfsync = none\n"  # The disk need not have what is gone in a minute.
    )
    with pytest.MonkeyPatch.context() as patch:
        for variable in [name for name in os.environ if name.startswith("GIT_")]:
            patch.delenv(variable)
        patch.setenv("COPIER_SETTINGS_PATH", str(folder / "settings.yml"))
        patch.setenv("COPIER_CACHE_DIR", str(folder / "cache"))
        patch.setenv("GIT_CONFIG_GLOBAL", str(folder / "gitconfig"))
        patch.setenv("GIT_CONFIG_NOSYSTEM", "1")
        patch.setenv("OMP_NUM_THREADS", "1")
        # Folders are compared before and after a command that imports from them.
        patch.setenv("PYTHONDONTWRITEBYTECODE", "1")
        # JAX compiles for seconds what is the same in most of the runs.
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(folder / "jax"))
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        yield


@pytest.fixture(scope="session", autouse=True)
def quick_copier() -> Iterator[None]:
    """Copier in this process without what takes most of its time and is the same each time."""
    compiled: dict[tuple[object, ...], Any] = {}
    compile_source = jinja2.Environment.compile

    def compile_once(environment: jinja2.Environment, source: str, *others: Any) -> Any:
        # Each setting of the syntax has a lexer of its own.
        key = (environment.lexer, environment.undefined, source, *others)
        if key not in compiled:
            compiled[key] = compile_source(environment, source, *others)
        return compiled[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jinja2.Environment, "compile", compile_once)
        # It asks git, for each file, whether git sees by itself which files are programs.
        patch.setattr(Worker, "_sync_git_index_executable_bit", lambda *_: None)
        yield


def git(folder: Path, *arguments: str) -> str:
    """What git prints, run in the folder."""
    return subprocess.run(
        ["git", *arguments], cwd=folder, check=True, capture_output=True, encoding="utf-8"
    ).stdout


def tracked_files(repository: Path) -> list[Path]:
    """The files that git tracks or would track, so that a test can run before a commit."""
    listing = git(repository, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    paths = [repository / name for name in listing.split("\0") if name]
    return [path for path in paths if path.is_file()]


def render(source: Path | str, target: Path, **answers: str) -> Path:
    """Render without a question and without trusting the template, as --defaults does."""
    copier.run_copy(str(source), target, data=answers, defaults=True, quiet=True)
    return target


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Combination], Path]:
    """The project of a combination, rendered once from its folder. Look, do not write."""
    made: dict[Combination, Path] = {}

    def project(combination: Combination) -> Path:
        if combination not in made:
            target = tmp_path_factory.mktemp("rendered") / "leaf-classifier"
            template = root / "templates" / combination.template
            made[combination] = render(template, target, **combination.answers)
        return made[combination]

    return project


@pytest.fixture(
    scope="session", params=evening_combinations, ids=[str(each) for each in evening_combinations]
)
def project(
    request: pytest.FixtureRequest,
    rendered: Callable[[Combination], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A rendered project to train in, committed, with the default data prepared.

    All tests with it use the same one, each with experiments of its own.
    """
    folder = shutil.copytree(rendered(request.param), tmp_path_factory.mktemp("project") / "leaf")
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "As it came")
    built = run(folder, "build_dataset.py")
    assert built.returncode == 0, built.stderr
    return folder


@pytest.fixture(scope="session")
def server(project: Path) -> Iterator[ForkServer]:
    """Runs the commands of the project."""
    with ForkServer(project) as server:
        yield server


@pytest.fixture(scope="session")
def reference(project: Path, server: ForkServer) -> Path:
    """The folder of a tiny run that nothing interrupted."""
    folder = experiment(project, "reference")
    result = server.run("train", "--experiment", folder)
    assert result.code == 0, result.output
    return project / folder


@pytest.fixture(scope="session")
def evenings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the evening of each combination, the same in all processes that run tests."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    (folder / "evenings").mkdir(exist_ok=True)
    return folder / "evenings"


@pytest.fixture(scope="session")
def evening(project: Path, server: ForkServer, evenings: Path) -> Path:
    """The folder of a tiny run that was evaluated; test_across.py compares those of all ways."""
    return spend_evening(project, server, evenings)


@pytest.fixture(scope="session")
def untagged_repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working tree as a repository of its own, without a tag. Look, do not write."""
    repository = tmp_path_factory.mktemp("untagged") / "trainyard"
    for source in tracked_files(root):
        target = repository / source.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
    git(repository, "init", "--quiet", "--initial-branch", "main")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "The working tree")
    record_version(repository)
    git(repository, "repack", "-a", "-d", "--quiet")  # Each test copies it, and Copier clones it.
    return repository


@pytest.fixture(scope="session")
def tagged_repository(untagged_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a first release. Look, do not write."""
    repository = tmp_path_factory.mktemp("tagged") / "trainyard"
    shutil.copytree(untagged_repository, repository)
    name = version_recorded(repository)
    for path in [repository / "shared", *repository.glob("templates/*/_shared")]:
        text = (path / "version.yml").read_text(encoding="utf-8")
        (path / "version.yml").write_text(text.replace(name, first_tag), encoding="utf-8")
    git(repository, "commit", "--all", "--quiet", "--message", "The first release")
    git(repository, "tag", first_tag)
    git(repository, "repack", "-a", "-d", "--quiet")
    return repository


@pytest.fixture
def scratch_repository(tagged_repository: Path, tmp_path: Path) -> Path:
    """A copy of the tagged repository to change at will."""
    return shutil.copytree(tagged_repository, tmp_path / "trainyard")


@pytest.fixture
def untagged_scratch_repository(untagged_repository: Path, tmp_path: Path) -> Path:
    """A copy of the repository without a tag to change at will."""
    return shutil.copytree(untagged_repository, tmp_path / "trainyard")


def record_version(repository: Path) -> None:
    """What maintainers do after a change of the templates was committed."""
    subprocess.run([sys.executable, repository / "tools/record_version.py"], check=True)
    git(repository, "commit", "--all", "--quiet", "--message", "Record the templates' commit")


def version_recorded(repository: Path) -> str:
    """The commit or the tag that a project copied from a folder is updated from."""
    text = (repository / "shared" / "version.yml").read_text(encoding="utf-8")
    return text.split('default: "')[1].split('"')[0]


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file under the folder, git's own aside, by its relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".git" not in path.relative_to(folder).parts
    }


def overlay_files(combination: Combination, repository: Path = root) -> dict[str, Path]:
    """The files that the combination's overlays give, found without Copier: by target path."""
    project = repository / "templates" / combination.template / "project"
    active = {
        "shared",
        "github_actions",
        "any_tracker",
        *(re.sub(r"\W", "_", answer).lower() for answer in combination[1:]),
    }
    active |= {*TASKS[combination.task].overlays, *(["competition"] if combination.kaggle else [])}
    active |= {"launched"} if combination.template != "keras-quickstart" else set()
    files: dict[str, Path] = {}
    for name in git(repository, "ls-files", "-z", "-co", "--exclude-standard", str(project)).split(
        "\0"
    ):
        source = repository / name
        if not name or source.name == "_GENERATED.md" or not source.is_file():
            continue
        *folders, file = source.relative_to(project).parts
        overlays = {folder.strip("{}") for folder in folders if folder.startswith("{{")}
        if overlays <= active:
            plain = [folder for folder in folders if not folder.startswith("{{")]
            file = file.replace("{{_copier_conf.answers_file}}", ".copier-answers.yml")
            target = "/".join([*plain, file.removesuffix(".jinja")])
            assert target not in files, f"two active overlays give {target}"
            files[target] = source
    return files
