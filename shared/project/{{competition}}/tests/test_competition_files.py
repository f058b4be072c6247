"""Unpacking the competition's files, and what Kaggle's client says when it fails."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from machinery import competition_files, kaggle_client
from machinery.competition import find_raw
from machinery.errors import InputError


def zip_of(files: Mapping[str, str | bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the client would write the archive that it downloads; the test does."""
    monkeypatch.chdir(tmp_path)
    Path("competition").mkdir()
    Path("competition/competition.yaml").write_text("slug: some-competition\n", encoding="utf-8")
    monkeypatch.setattr(competition_files, "call", lambda *_: "")
    competition_files.DOWNLOAD.mkdir(parents=True)
    return competition_files.DOWNLOAD / "some-competition.zip"


def test_archives_in_the_archive_are_unpacked_too(archive: Path) -> None:
    inner = {
        "train.csv.zip": zip_of({"train.csv": "id\n1\n"}),
        "photos.zip": zip_of({"a.png": "a", "b.zip": zip_of({"b/c.png": "c"})}),
        "kept.zip": b"no archive",
        "taken.zip": zip_of({"x": "x", "y": "y"}),
        "taken/z": "z",
    }
    archive.write_bytes(zip_of(inner))
    competition_files.download("", overwrite=False)
    raw = competition_files.RAW
    found = {path.relative_to(raw).as_posix() for path in raw.rglob("*") if path.is_file()}
    photos = {"photos/a.png", "photos/b/c.png"}
    assert found == {"train.csv", *photos, "kept.zip", "taken.zip", "taken/z", ".competition"}
    assert not competition_files.DOWNLOAD.exists()


def test_files_of_another_competition_are_not_taken(archive: Path) -> None:
    archive.write_bytes(zip_of({"train.csv": "id\n1\n"}))
    competition_files.download("", overwrite=False)
    Path("competition/competition.yaml").write_text("slug: another\n", encoding="utf-8")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="holds the files of some-competition"):
            competition_files.download("", overwrite)
    with pytest.raises(InputError, match=r"competition\.yaml names another"):
        find_raw()


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out", "C:/out", "..\\out"])
def test_what_leads_out_of_the_folder_is_refused(archive: Path, name: str) -> None:
    archive.write_bytes(zip_of({"train.csv": "id\n", name: "x"}))
    with pytest.raises(InputError, match="leads out of the folder"):
        competition_files.download("", overwrite=False)
    assert not competition_files.RAW.exists()


@pytest.mark.parametrize("damage", ["cut off", "another byte"])
def test_a_damaged_archive_is_named_and_downloaded_anew(archive: Path, damage: str) -> None:
    whole = zip_of({"train.csv": "id\n1\n"})
    archive.write_bytes(whole[:40] if damage == "cut off" else whole.replace(b"id\n1", b"id\n2"))
    with pytest.raises(InputError, match=r"some-competition\.zip: cannot be unpacked"):
        competition_files.download("", overwrite=False)
    assert not archive.exists()
    assert not competition_files.RAW.exists()


def test_files_of_the_persons_own_are_not_lost(archive: Path) -> None:
    archive.write_bytes(zip_of({"train.csv": "new"}))
    competition_files.RAW.mkdir()
    (competition_files.RAW / "train.csv").write_text("old", encoding="utf-8")
    own = competition_files.RAW / "own.csv"
    own.write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=r"not in the download: own\.csv"):
        competition_files.download("", overwrite=True)
    own.unlink()
    competition_files.download("", overwrite=True)
    assert (competition_files.RAW / "train.csv").read_text(encoding="utf-8") == "new"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("titanic", "titanic"),
        ("https://www.kaggle.com/competitions/titanic/overview", "titanic"),
        ("kaggle.com/c/titanic?rvi=1", "titanic"),
    ],
)
def test_an_address_names_a_competition(address: str, name: str) -> None:
    assert competition_files.competition_of(address) == name
    with pytest.raises(InputError, match="no competition's address"):
        competition_files.competition_of("https://www.kaggle.com/datasets/ada/titanic")


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("No module named 'six'", "requirements/kaggle.txt"),
        ("kaggle: error: argument command: invalid choice: 'quota'", "--upgrade"),
        ("403 Client Error: Forbidden for url: https://x?token=secret", "competition/rules"),
        ("404 Client Error: Not Found for url: https://x", "is misspelled"),
        ("429 Client Error: Too Many Requests for url: https://x", "Wait some minutes"),
        ("500 Server Error: Internal Server Error for url: https://x", "repeat it later"),
        ("HTTPSConnectionPool: Max retries exceeded with url: /v1", "a network"),
        ("Your team has used its daily allowance (5).", "daily allowance (5). Mend"),
    ],
)
@pytest.mark.usefixtures("archive")
def test_each_failure_of_the_client_has_a_next_step(said: str, advice: str) -> None:
    error = kaggle_client.explain(("competitions", "download"), f"some noise\n{said}\n")
    assert advice in str(error)
    assert "secret" not in str(error)


def test_without_a_token_it_is_said_where_it_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOME", "USERPROFILE", "KAGGLE_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY"):
        monkeypatch.delenv(name, raising=False)
    said = str(kaggle_client.explain(("quota",), "Authentication required"))
    assert "there is none in KAGGLE_API_TOKEN, " in said
    monkeypatch.setenv("KAGGLE_API_TOKEN", "a-secret")
    said = str(kaggle_client.explain(("quota",), "401 Client Error: Unauthorized"))
    assert "takes no token from KAGGLE_API_TOKEN: wrong" in said
    assert "a-secret" not in said
