"""Copies of shared/ are up to date, and everything that gets installed has one pinned version."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from conftest import files_of, render, root

projects = sorted(root.glob("templates/*/project"))


def sync(repository: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = repository / "tools" / "sync_shared.py"
    return subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, encoding="utf-8"
    )


def test_copies_are_up_to_date() -> None:
    result = sync(root, "--check")
    assert result.returncode == 0, result.stdout + result.stderr


def test_sync_names_and_mends_what_differs(scratch_repository: Path) -> None:
    before = files_of(scratch_repository)
    project = scratch_repository / "templates/torch-research/project"
    changed = project / "{{shared}}" / ".gitignore.jinja"
    changed.write_text("changed\n")
    stale = project / "{{shared}}" / "{{gone}}" / "stale.py"
    stale.parent.mkdir()
    stale.write_text("")
    missing = scratch_repository / "templates/torch-research/_shared/settings.yml"
    missing.unlink()
    cache = scratch_repository / "shared/project/__pycache__/utils.pyc"
    cache.parent.mkdir()
    cache.write_text("litter")

    check = sync(scratch_repository, "--check")
    assert check.returncode == 1
    named = {line.removeprefix("differs: ") for line in check.stdout.splitlines()}
    expected = {
        path.relative_to(scratch_repository).as_posix() for path in (changed, stale, missing)
    }
    assert named == expected

    assert sync(scratch_repository).returncode == 0
    cache.unlink()
    assert files_of(scratch_repository) == before
    assert not stale.parent.exists()
    assert sync(scratch_repository, "--check").returncode == 0


def pins(path: Path) -> dict[str, str]:
    """The versions that a constraints file fixes, by the packages' normal names."""
    result: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, version = re.fullmatch(r"([\w.-]+)==([\w.!]+)", line).groups()  # type: ignore
            assert canonicalize_name(name) not in result, f"{path}: {name} twice"
            result[canonicalize_name(name)] = version
    return result


def requirements(path: Path) -> Iterator[Requirement]:
    """What a requirement file asks for, those that it includes too."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            included = path.parent / line.removeprefix("-r ")
            # In a template it lies beside the overlays, or each choice's overlay has its own.
            project = path.parent.parent
            overlays = [project / included.name, *project.glob(f"{{{{*}}}}/{included.name}")]
            for each in [included] if included.exists() else filter(Path.exists, overlays):
                yield from requirements(each)
        elif line and not line.startswith(("#", "-c ")):
            yield Requirement(line)


def installed_with(wanted: Iterator[Requirement]) -> dict[str, str]:
    """The packages that the requirements bring in, as they are installed here."""
    result: dict[str, str] = {}
    to_visit = [need for need in wanted if need.marker is None or need.marker.evaluate()]
    while to_visit:
        requirement = to_visit.pop()
        name = canonicalize_name(requirement.name)
        if name.startswith(("cuda-", "nvidia-", "triton")):
            continue  # What torch brings for one maker's devices, it fixes itself.
        if name in result and not requirement.extras:
            continue
        distribution = importlib.metadata.distribution(name)
        result[name] = distribution.version.split("+")[0]
        for line in distribution.requires or []:
            needed = Requirement(line)
            extras = requirement.extras or {""}
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in extras
            ):
                to_visit.append(needed)
    return result


@pytest.mark.parametrize("project", projects, ids=lambda project: project.parent.name)
def test_every_package_of_a_project_is_pinned(project: Path) -> None:
    constraints = pins(project / "constraints.txt")
    installed = installed_with(requirements(project / "{{shared}}" / "requirements/dev.txt"))
    assert {name: constraints.get(name) for name in installed} == installed


def test_every_package_of_the_harness_is_pinned() -> None:
    constraints = pins(root / "requirements" / "constraints.txt")
    for project in projects:
        constraints |= pins(project / "constraints.txt")
    installed = installed_with(requirements(root / "requirements" / "test.txt"))
    assert {name: constraints.get(name) for name in installed} == installed
    assert "uv" in constraints


def test_constraints_agree() -> None:
    """Two templates may be tested in one environment, so a package has one version in all."""
    files = [root / "requirements" / "constraints.txt"]
    files += [project / "constraints.txt" for project in projects]
    versions: dict[str, set[str]] = {}
    for path in files:
        for name, version in pins(path).items():
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_constraints_leave_room_for_what_people_add() -> None:
    """boto3, for data in the cloud, takes no python-dateutil from 3 on."""
    for project in projects:
        version = pins(project / "constraints.txt")["python-dateutil"]
        assert version in Requirement("python-dateutil<3").specifier


@pytest.mark.parametrize("project", projects, ids=lambda project: project.parent.name)
def test_tested_versions_are_within_the_bounds(project: Path) -> None:
    constraints = pins(project / "constraints.txt")
    files = [*project.rglob("requirements/*.txt")]
    assert len(files) > 5
    for path in files:
        for requirement in requirements(path):
            assert constraints[canonicalize_name(requirement.name)] in requirement.specifier, path


def test_what_gets_installed_names_no_place() -> None:
    """Neither a folder nor a host: the person's own pip or uv knows where packages are."""
    for path in [*root.glob("requirements/*.txt"), *root.glob("templates/*/project/**/*.txt")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"://|--(extra-)?index|--find-links|@ ", text), path


@pytest.mark.parametrize("project", projects, ids=lambda path: path.parent.name)
def test_the_groups_are_what_the_requirement_files_ask_for(project: Path, tmp_path: Path) -> None:
    """Of each file in requirements/ that every project has; a tracker is the house's choice."""
    leaf = render(project.parent, tmp_path / "leaf")
    groups = tomllib.loads((leaf / "pyproject.toml").read_text("utf-8"))["dependency-groups"]
    shared = root / "shared" / "project" / "requirements"
    assert {*groups} == {path.stem for path in shared.glob("*.txt")}
    for name, group in groups.items():
        lines = (shared / f"{name}.txt").read_text(encoding="utf-8").splitlines()
        asked = [line for line in lines if not line.startswith(("#", "-r "))]
        assert [Requirement(each) for each in group] == [Requirement(each) for each in asked]
