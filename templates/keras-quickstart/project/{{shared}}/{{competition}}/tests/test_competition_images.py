"""Images are found by the ids that mean them, and by no others."""

from pathlib import Path

import pandas as pd
import pytest

from machinery import hidden_test
from machinery.competition_images import find_image_folders, find_images
from machinery.fold_datasets import link_images


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder in which two images have the same name."""
    for name in ("a/1.png", "b/1.png", "b/2.v1.JPG", "3.png", "3.gif", "notes.txt"):
        path = tmp_path / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    return tmp_path / "train"


def test_a_bare_name_counts_where_it_is_unique(images: Path) -> None:
    found = {
        name: path.relative_to(images).as_posix() for name, path in find_images(images).items()
    }
    second = ("2.v1", "2.v1.JPG", "b/2.v1", "b/2.v1.JPG")
    assert found == {
        **{"a/1": "a/1.png", "a/1.png": "a/1.png", "b/1": "b/1.png", "b/1.png": "b/1.png"},
        **dict.fromkeys(second, "b/2.v1.JPG"),
        **{"3.png": "3.png", "3.gif": "3.gif"},
    }


def test_each_id_gets_its_own_picture(images: Path, tmp_path: Path) -> None:
    ids = pd.Series(["a/1.png", "b/1", "2.v1", "val-a/1.png", "test-2.v1"])
    link_images(images, ids, tmp_path / "links")
    links = sorted(path for path in (tmp_path / "links").rglob("*.*") if path.is_file())
    assert {
        path.relative_to(tmp_path / "links").as_posix(): path.read_text(encoding="utf-8")
        for path in links
    } == {
        **{"a/1.png": "a/1.png", "b/1.png": "b/1.png", "2.v1.JPG": "b/2.v1.JPG"},
        **{"val-a/1.png": "a/1.png", "test-2.v1.JPG": "b/2.v1.JPG"},
    }


def test_a_hidden_test_set_has_copies_of_each(images: Path, tmp_path: Path) -> None:
    ids = {"a/1.png", "b/1.png"}
    rename = hidden_test.renaming(pd.Series(sorted(ids)))
    hidden_test.copy_images(images, tmp_path / "hidden", ids, rename)
    found = find_images(tmp_path / "hidden")
    assert found["b/1-2.png"].read_text(encoding="utf-8") == "b/1.png"
    assert found["a/1-1"].read_text(encoding="utf-8") == "a/1.png"


def test_the_folder_of_the_images_is_where_the_ids_begin(images: Path) -> None:
    raw, test_ids = images.parent, pd.Series(["4", "5"])
    for name in test_ids:
        (raw / f"test/in/{name}.png").parent.mkdir(parents=True, exist_ok=True)
        (raw / f"test/in/{name}.png").write_text(name, encoding="utf-8")
    for ids in (["a/1.png", "b/1.png"], ["b/1", "a/1"], ["3.png", "2.v1"]):
        assert find_image_folders(raw, pd.Series(ids), test_ids) == ("train", "test/in")
