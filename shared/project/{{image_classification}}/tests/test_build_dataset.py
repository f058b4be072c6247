"""Folders of images become arrays, and nothing is lost or leaked on the way."""

import os
from pathlib import Path, PurePath

import numpy as np
import pytest
from PIL import Image

from build_dataset import build_digits, build_images, read_dataset
from machinery.errors import InputError
from model.parameters import ModelParameters


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def noise(number: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, shape, np.uint8)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twenty grey images of each of two classes, 6 x 5 pixels."""
    for number in range(40):
        name = "cat" if number % 2 else "dog"
        save(tmp_path / "photos" / name / f"{number}.png", noise(number, 6, 5))
    return tmp_path / "photos"


def load(data: Path, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the images, the labels and the ids of a split."""
    dataset = read_dataset(data)
    arrays = dataset.read_split(data, split)
    images, labels = np.asarray(arrays["images"]), np.asarray(arrays["labels"])
    return images, labels, dataset.read_ids(data, split)


def test_class_folders(source: Path, tmp_path: Path) -> None:
    dataset = build_images(tmp_path / "data", source)
    assert dataset == read_dataset(tmp_path / "data")
    assert dataset.classes == ["cat", "dog"]
    assert dataset.image_shape == (6, 5, 1)
    assert dataset.examples == {"train": 32, "val": 4, "test": 4}
    seen = []
    for split in dataset.examples:
        images, labels, ids = load(tmp_path / "data", split)
        assert set(labels) == {0, 1}
        for image, label, name in zip(images, labels, ids, strict=True):
            assert name.startswith(dataset.classes[label])
            assert np.array_equal(image[..., 0], np.asarray(Image.open(source / name)))
        seen += list(ids)
    assert len(set(seen)) == 40


def test_files_that_are_no_images_are_counted(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("1.heic", "2.HEIC", "note.txt", ".hidden.txt"):
        (source / "cat" / name).write_bytes(b"x")
    build_images(tmp_path / "data", source)
    assert "left out: 3 files that are no images: 2 .heic, 1 .txt" in capsys.readouterr().out


def test_the_order_is_the_same_on_each_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows compares paths without their case: A, b where others have b after A and Z."""
    for number in range(24):
        name = ("Zebra", "ant", "Bee")[number % 3]
        file = f"{'a' if number % 2 else 'B'}{number:02}.png"
        save(tmp_path / "photos" / name / file, noise(number, 6, 5))
    dataset = build_images(tmp_path / "data", tmp_path / "photos")
    assert dataset.classes == ["Bee", "Zebra", "ant"]
    monkeypatch.setattr(PurePath, "__lt__", lambda a, b: str(a).lower() < str(b).lower())
    assert sorted([Path("Z"), Path("a")]) == [Path("a"), Path("Z")]
    again = build_images(tmp_path / "again", tmp_path / "photos")
    assert again == dataset


def test_what_the_system_puts_beside_images_is_no_class(source: Path, tmp_path: Path) -> None:
    expected = build_images(tmp_path / "expected", source)
    for name in ("__MACOSX/cat/._0.png", ".ipynb_checkpoints/0.png", "cat/._1.png"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(b"no image")
    save(source / "dog" / ".ipynb_checkpoints" / "0-checkpoint.png", noise(0, 6, 5))
    assert build_images(tmp_path / "data", source) == expected


def test_statistics_are_of_the_training_images(source: Path, tmp_path: Path) -> None:
    dataset = build_images(tmp_path / "data", source)
    images = load(tmp_path / "data", "train")[0]
    assert dataset.mean == pytest.approx([images.mean()])
    assert dataset.std == pytest.approx([images.std()])


def test_split_folders(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = tmp_path / "split"
    for number in range(12):
        name = "cat" if number % 2 else "dog"
        split = ("train", "train", "train", "train", "valid", "test")[number // 2]
        save(root / split / name / f"{number}.png", noise(number, 6, 5, 3))
    save(root / "test" / "cat" / "leak.png", noise(1, 6, 5, 3))
    dataset = build_images(tmp_path / "data", root)
    assert dataset.examples == {"train": 8, "val": 2, "test": 3}
    assert dataset.image_shape == (6, 5, 3)
    assert "warning: 1 images of test are in train too" in capsys.readouterr().out


def test_equal_images_stay_together(tmp_path: Path) -> None:
    for number in range(60):
        name = "cat" if number % 2 else "dog"
        save(tmp_path / "photos" / name / f"{number}.png", noise(number % 12, 4, 4))
    build_images(tmp_path / "data", tmp_path / "photos")
    contents = [
        {image.tobytes() for image in load(tmp_path / "data", split)[0]}
        for split in ("train", "val", "test")
    ]
    assert sum(map(len, contents)) == len(set.union(*contents)) == 12


def test_sizes_modes_and_turns(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Images of all kinds come out upright, in colour and of one size."""
    for number in range(6):
        folder = tmp_path / "photos" / ("cat" if number % 2 else "dog")
        save(folder / f"{number}.png", noise(number, 70 + number, 90, 3))
        save(folder / f"{number}-deep.png", noise(number, 80, 80).astype(np.uint16) * 256)
        Image.fromarray(noise(number, 80, 80, 4)).convert("P").save(folder / f"{number}.gif")
    turned = Image.fromarray(np.repeat(np.array([[0], [255]], np.uint8), 90, 1).repeat(45, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # Turn by 90 degrees clockwise to look at it.
    turned.save(tmp_path / "photos" / "cat" / "turned.jpg", exif=exif)
    dataset = build_images(tmp_path / "data", tmp_path / "photos", size=32)
    assert dataset.image_shape == (32, 32, 3)
    assert "stored as 32 x 32 pixels" in capsys.readouterr().out
    images, _, ids = map(
        np.concatenate, zip(*[load(tmp_path / "data", s) for s in dataset.examples], strict=True)
    )
    (upright,) = images[ids == "cat/turned.jpg"]
    assert upright[:, :8].mean() > 200  # Bright left of dark.
    assert upright[:, -8:].mean() < 50
    (deep,) = images[ids == "dog/0-deep.png"]
    assert 100 < deep.mean() < 155


def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    for number in range(8):
        pixels = noise(number, 6, 5, 4)
        pixels[..., 3] = [255, 255, 255, 0, 0]  # Columns.
        save(tmp_path / "photos" / ("cat" if number % 2 else "dog") / f"{number}.png", pixels)
    build_images(tmp_path / "data", tmp_path / "photos")
    for image, name in zip(*load(tmp_path / "data", "train")[::2], strict=True):
        colours = np.asarray(Image.open(tmp_path / "photos" / name))[..., :3]
        assert np.array_equal(image[:, :3], colours[:, :3])
        assert (image[:, 3:] == 255).all()


def test_skip_bad(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (source / "cat" / "broken.png").write_bytes(b"broken")
    with pytest.raises(InputError, match="broken"):
        build_images(tmp_path / "data", source)
    assert not (tmp_path / "data").exists()
    dataset = build_images(tmp_path / "data", source, skip_bad=True)
    assert sum(dataset.examples.values()) == 40
    assert "left out" in capsys.readouterr().out


def test_digits(tmp_path: Path) -> None:
    dataset = build_digits(tmp_path / "data")
    assert dataset.examples == {"train": 1257, "val": 180, "test": 360}
    for split, count in dataset.examples.items():
        counts = np.bincount(load(tmp_path / "data", split)[1])
        assert counts.min() >= 0.9 * count / 10  # Every digit has its share.
    assert build_digits(tmp_path / "again").fingerprint == dataset.fingerprint
    assert build_digits(tmp_path / "other", seed=1).fingerprint != dataset.fingerprint
    assert dataset.counts == tuple(np.bincount(load(tmp_path / "data", "train")[1]))


def test_balance_needs_the_counts_of_the_classes(tmp_path: Path) -> None:
    dataset = build_digits(tmp_path / "data")
    ModelParameters(balance=1.0).check_data(dataset)
    weights = np.array(dataset.class_weights(1.0))
    assert (weights * dataset.counts).sum() == pytest.approx(sum(dataset.counts))
    assert np.ptp(weights * dataset.counts) == pytest.approx(0)
    assert dataset.class_weights(0.0) == (1.0,) * 10
    older = dataset.model_copy(update={"counts": ()})
    ModelParameters().check_data(older)
    with pytest.raises(InputError, match="Prepare the data again"):
        ModelParameters(balance=0.5).check_data(older)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_only_regular_files_are_read(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """To read a named pipe or a device would never end."""
    (source / "cat" / "folder.png").mkdir()
    os.mkfifo(source / "cat" / "pipe.png")
    (source / "cat" / "device.png").symlink_to("/dev/zero")
    (source / "dog" / "gone.png").symlink_to(source / "nowhere.png")
    dataset = build_images(tmp_path / "data", source)
    assert sum(dataset.examples.values()) == 40
    said = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    names = ("cat/device.png", "cat/pipe.png", "dog/gone.png")
    assert said == [f"left out: {source / name}: not a regular file" for name in names]
