"""tools/bootstrap.py without the long installation: what it refuses, skips and falls back to."""

import ast
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import bootstrap
from conftest import files_of, root

script = root / "tools" / "bootstrap.py"


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bootstrap.Environment:
    """An environment that does not exist yet; no package index is asked for anything."""
    for variable in ("PIP_FIND_LINKS", "UV_FIND_LINKS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("UV_OFFLINE", "1")
    return bootstrap.Environment(tmp_path / ".venv")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A requirement file that asks for a package lying beside it, as a wheel made by hand."""
    wheel = tmp_path / "leaf-1.0-py3-none-any.whl"
    information = "leaf-1.0.dist-info"
    write_zip(
        wheel,
        {
            "leaf.py": "name = 'leaf'\n",
            f"{information}/METADATA": "Metadata-Version: 2.1\nName: leaf\nVersion: 1.0\n",
            f"{information}/WHEEL": "Wheel-Version: 1.0\nTag: py3-none-any\n",
            f"{information}/RECORD": "leaf.py,,\n",
        },
    )
    path = tmp_path / "demo.txt"
    path.write_text(f"{wheel.as_posix()}\n")
    return path


def write_zip(path: Path, files: dict[str, str]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)


def has_leaf(environment: bootstrap.Environment) -> bool:
    return subprocess.run([environment.python, "-c", "import leaf"], check=False).returncode == 0


def test_an_old_python_can_read_the_script_and_is_refused() -> None:
    source = script.read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 7))
    with pytest.raises(bootstrap.Refused, match=r"/usr/bin/python is Python 3\.10, expected 3\.11"):
        bootstrap.check_python((3, 10, 12), "/usr/bin/python")
    for version in ((3, 11, 0), (3, 13, 9)):
        bootstrap.check_python(version, "python3")


def test_a_python_or_a_system_without_packages_is_refused() -> None:
    """TensorFlow 2.21 has none for Python 3.14, and PyTorch 2.13 none for older systems of Macs."""
    with pytest.raises(bootstrap.Refused, match=r"Python 3\.14, expected 3\.11 to 3\.13"):
        bootstrap.check_python((3, 14, 0), "python3")
    for system in (
        ("Darwin", "x86_64", "15.1"),
        ("Darwin", "arm64", "13.7.1"),
        ("Linux", "x86_64", "2.17"),
        ("Linux", "x86_64", ""),  # Not glibc.
        ("Linux", "riscv64", "2.39"),
        ("Windows", "ARM64", ""),
        ("Windows", "32 bits", ""),
        ("FreeBSD", "amd64", ""),
    ):
        with pytest.raises(bootstrap.Refused, match=f"^{system[0]} .*there are no packages"):
            bootstrap.check_system(*system)
    for system in (
        ("Linux", "x86_64", "2.28"),
        ("Linux", "aarch64", "2.39"),
        ("Darwin", "arm64", "14.0"),
        ("Darwin", "arm64", "26.1"),
        ("Windows", "AMD64", ""),
    ):
        bootstrap.check_system(*system)
    bootstrap.check_system(*bootstrap.this_system())


def test_a_wrong_command_is_refused_without_a_traceback() -> None:
    result = subprocess.run(
        [sys.executable, str(script), "dmeo"], capture_output=True, encoding="utf-8", check=False
    )
    assert result.returncode == 2
    assert result.stderr == "error: got dmeo, expected demo, test or prove.\n"


def test_pip_installs_where_uv_cannot_be_had(
    environment: bootstrap.Environment, package: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    environment.prepare(package, [package])
    assert has_leaf(environment)
    assert not environment.uv.exists()
    assert "using pip" in capfd.readouterr().out


@pytest.mark.skipif(os.name == "nt", reason="the broken program is a shell script")
def test_pip_installs_where_uv_does_not_start(
    environment: bootstrap.Environment, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = environment._create

    def create_with_broken_uv() -> None:
        create()
        environment.uv.write_text("not a program")
        environment.uv.chmod(0o755)

    monkeypatch.setattr(environment, "_create", create_with_broken_uv)
    environment.prepare(package, [package])
    assert has_leaf(environment)


def test_only_what_changed_is_installed_again(
    environment: bootstrap.Environment, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[object]] = []

    def run(command: list[object], *arguments: object, **options: object) -> int:
        commands.append(command)
        return original(command, *arguments, **options)  # ty: ignore[invalid-argument-type]

    original = bootstrap.run
    monkeypatch.setattr(bootstrap, "run", run)

    environment.prepare(package, [package])
    assert commands
    commands.clear()
    environment.prepare(package, [package])
    assert commands == [], "a second call has nothing to do"

    package.write_text(package.read_text() + "# changed\n")
    environment.prepare(package, [package])
    assert [sys.executable, "-m", "venv", environment.folder] not in commands
    assert any("install" in command for command in commands)

    stamps = json.loads(environment.stamps.read_text())
    environment.stamps.write_text(json.dumps(stamps | {"base": "another Python"}))
    litter = environment.folder / "litter"
    litter.write_text("of the other Python")
    environment.prepare(package, [package])
    assert [sys.executable, "-m", "venv", environment.folder] in commands
    assert not litter.exists()


def test_a_failed_installation_is_said_and_tried_again(
    environment: bootstrap.Environment, package: Path
) -> None:
    good = package.read_text()
    package.write_text("no-such-package-anywhere\n")
    with pytest.raises(bootstrap.Refused, match="Check the network"):
        environment.prepare(package, [package])
    package.write_text(good)
    environment.prepare(package, [package])
    assert has_leaf(environment)


def test_folders_of_other_people_are_left_alone(
    environment: bootstrap.Environment, package: Path, tmp_path: Path
) -> None:
    for folder in (environment.folder, tmp_path / "demo"):
        folder.mkdir()
        (folder / "mine.txt").write_text("mine")
    before = files_of(tmp_path)
    with pytest.raises(bootstrap.Refused, match="did not make it"):
        environment.prepare(package, [package])
    with pytest.raises(bootstrap.Refused, match="did not make it"):
        bootstrap.demo(Path(sys.executable), tmp_path / "demo")
    assert files_of(tmp_path) == before


def test_uv_is_told_where_pip_finds_wheels() -> None:
    variables = bootstrap.uv_variables({"PIP_FIND_LINKS": "/wheels https://example.org/wheels"})
    assert variables["UV_FIND_LINKS"] == "/wheels,https://example.org/wheels"
    assert "UV_FIND_LINKS" not in bootstrap.uv_variables({})
    own = {"PIP_FIND_LINKS": "/wheels", "UV_FIND_LINKS": "/other"}
    assert bootstrap.uv_variables(own)["UV_FIND_LINKS"] == "/other"
