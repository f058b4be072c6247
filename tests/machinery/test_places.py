"""Where the data lie of which nobody says where."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from machinery import contents, places
from machinery.argument_parser import ArgumentParser
from machinery.errors import InputError


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pyproject.toml that says where the data lie."""
    file = tmp_path / "pyproject.toml"
    monkeypatch.setattr(places, "FILE", file)
    return file


def test_in_data_where_nothing_is_said(kept: Path) -> None:
    assert places.usual() == "data"
    kept.write_text('[project]\nname = "leaf"\n')
    assert places.usual() == "data"
    assert places.folder_to_write() == Path("data")


@pytest.mark.parametrize(
    ("place", "to_write"),
    [("/data/leaf", "/data/leaf"), ("s3://bucket/leaf", "data"), ("C:/data/leaf", "C:/data/leaf")],
)
def test_where_pyproject_says(place: str, to_write: str, kept: Path) -> None:
    kept.write_text(f'[tool.trainyard]\ndata = "{place}"\n')
    assert places.usual() == place
    assert places.folder_to_write() == Path(to_write)


def test_a_place_in_the_home_folder_or_with_a_percent_sign(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(kept.parent))
    kept.write_text('[tool.trainyard]\ndata = "~/data"\n')
    assert places.folder_to_write() == kept.parent / "data"
    kept.write_text('[tool.trainyard]\ndata = "/data/100%/leaf"\n')
    parser = ArgumentParser("")
    parser.add_data()
    assert "else /data/100%/leaf]" in " ".join(parser.format_help().split())
    assert "/data/100%/leaf" in parser_of_a_build().format_help()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[tool.trainyard]\ndata = 3\n", "tool.trainyard.data: got 3, expected a folder or a URL"),
        ('[tool.trainyard]\ndata = " "\n', "got ' ', expected a folder"),
        ("[tool]\ntrainyard = 3\n", "tool.trainyard: got 3, expected a table"),
        ("<<<<<<< before updating\n", "pyproject.toml: "),
    ],
)
def test_what_says_nothing_clear_is_refused(text: str, expected: str, kept: Path) -> None:
    """Other data unawares would be worse."""
    kept.write_text(text)
    with pytest.raises(InputError) as refusal:
        places.usual()
    assert expected in str(refusal.value)


def test_what_is_built_of_ones_own_data_goes_there(kept: Path) -> None:
    kept.write_text('[tool.trainyard]\ndata = "/data/leaf"\n')
    parser = ArgumentParser("")
    parser.add_argument("--source", type=Path)
    parser.add_data_to_write()
    assert parser.parse_args([]).data == Path("data")
    assert parser.parse_args(["--source", "raw"]).data == Path("/data/leaf")
    assert parser.parse_args(["--source", "raw", "--data", "here"]).data == Path("here")
    assert "[/data/leaf; without --source, data]" in " ".join(parser.format_help().split())
    kept.unlink()
    assert "where to write [data]" in parser_of_a_build().format_help()


def test_missing_data_are_no_place_for_what_comes_with_the_project(kept: Path) -> None:
    message = str(contents.not_found(Path("/data/leaf")))
    assert "--source YOURS, with the options that TASK.md names (without --source: " in message
    kept.write_text('[tool.trainyard]\ndata = "/data/leaf"\n')
    message = str(contents.not_found(Path("/data/leaf")))
    assert message.endswith("--source YOURS, with the options that TASK.md names.")
    assert "--data data" in message


def parser_of_a_build() -> ArgumentParser:
    parser = ArgumentParser("")
    parser.add_data_to_write()
    return parser


def test_a_url_with_a_password_is_refused_when_it_is_used(kept: Path) -> None:
    """The template refuses it, too; somebody may have written it by hand."""
    kept.write_text('[tool.trainyard]\ndata = "s3://me:secret@bucket/leaf"\n')
    code = (
        "from pathlib import Path\nfrom machinery import places, records\n"
        f"places.FILE = Path({str(kept)!r})\nrecords.data_of(None)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=kept.parent,
        env={**os.environ, "PYTHONPATH": str(Path(places.__file__).parents[1])},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 1
    assert "expected none, as it is recorded with the run" in done.stderr
    assert "secret" not in done.stderr.splitlines()[-1]
