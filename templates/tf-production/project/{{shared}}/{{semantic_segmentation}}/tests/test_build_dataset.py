"""Images and masks become arrays, pixel beside pixel, and nothing is lost or leaked on the way."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from build_dataset import build_masks, build_scenes, read_dataset, read_unlabelled
from machinery.errors import InputError
from machinery.mask_files import COLOUR, Uses, number_classes
from machinery.mask_pairs import find_pairs
from machinery.mask_report import class_ious, confusion_matrix, mean_iou
from machinery.predicted_masks import to_original_size, write_mask


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def noise(number: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, shape, np.uint8)


def add(folder: Path, number: int, mask: np.ndarray | None = None, name: str = "") -> None:
    """Write an image of 6 x 5 pixels and its mask: 0, 1 or 2, by how bright a pixel is."""
    pixels = noise(number, 6, 5)
    save(folder / "images" / f"{name or number}.png", pixels)
    save(folder / "masks" / f"{name or number}.png", pixels // 86 if mask is None else mask)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for number in range(40):
        add(tmp_path / "photos", number)
    return tmp_path / "photos"


def load(data: Path, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the images, the masks and the ids of a split."""
    dataset = read_dataset(data)
    arrays = dataset.read_split(data, split)
    images, masks = np.asarray(arrays["images"]), np.asarray(arrays["masks"])
    return images, masks, dataset.read_ids(data, split)


def masks_of(data: Path) -> np.ndarray:
    """Return the masks of all splits."""
    return np.concatenate([load(data, split)[1] for split in ("train", "val", "test")])


def test_images_and_masks(source: Path, tmp_path: Path) -> None:
    dataset = build_masks(tmp_path / "data", source)
    assert dataset == read_dataset(tmp_path / "data")
    assert dataset.classes == dataset.values == ["0", "1", "2"]
    assert dataset.image_shape == (6, 5, 1)
    assert dataset.examples == {"train": 32, "val": 4, "test": 4}
    seen = []
    for split in dataset.examples:
        images, masks, ids = load(tmp_path / "data", split)
        for image, mask, name in zip(images, masks, ids, strict=True):
            assert np.array_equal(image[..., 0], np.asarray(Image.open(source / name)))
            assert np.array_equal(mask, image[..., 0] // 86)
        share = [(masks == number).mean() for number in range(3)]
        assert dataset.shares[split] == pytest.approx(share)
        seen += list(ids)
    assert len(set(seen)) == 40


@pytest.mark.parametrize("below", [False, True])
def test_split_folders(tmp_path: Path, below: bool, capsys: pytest.CaptureFixture) -> None:
    root = tmp_path / "split"
    for number in range(12):
        split = ("train", "train", "train", "train", "valid", "test")[number // 2]
        add(root / split, number)
    add(root / "test", 1, name="leak")
    if below:
        for split in ("train", "valid", "test"):
            for kind in ("images", "masks"):
                (root / kind).mkdir(exist_ok=True)
                (root / split / kind).rename(root / kind / split)
            (root / split).rmdir()
    dataset = build_masks(tmp_path / "data", root)
    assert dataset.examples == {"train": 8, "val": 2, "test": 3}
    assert "warning: 1 images of test are in train too" in capsys.readouterr().out


def test_classes_are_named_and_put_together(source: Path, tmp_path: Path) -> None:
    table = "value,class\n2,bright\n1,ignored\n0,dark\n7,bright\n"
    (source / "classes.csv").write_text(table, "utf-8")
    dataset = build_masks(tmp_path / "data", source)
    assert dataset.classes == ["bright", "dark"]
    assert dataset.values == ["2/7", "0"]
    images, masks, _ = load(tmp_path / "data", "train")
    assert np.array_equal(masks, np.array([1, 255, 0])[images[..., 0] // 86])


def test_colours(tmp_path: Path) -> None:
    colours = np.array([[0, 0, 255], [0, 0, 0], [255, 128, 0]], np.uint8)
    for number in range(8):
        add(tmp_path / "photos", number, colours[noise(number, 6, 5) // 86])
    dataset = build_masks(tmp_path / "data", tmp_path / "photos")
    assert dataset.classes == ["#000000", "#0000ff", "#ff8000"]
    images, masks, _ = load(tmp_path / "data", "train")
    assert np.array_equal(masks, np.array([1, 0, 2])[images[..., 0] // 86])


def test_255_is_not_known_but_where_there_are_only_two_values(tmp_path: Path) -> None:
    for number in range(8):
        dark = noise(number, 6, 5) < 128
        add(tmp_path / "two", number, np.where(dark, 0, 255).astype(np.uint8))
        add(tmp_path / "three", number, (noise(number, 6, 5) // 86).astype(np.uint8) * 127 + 1)
    two = build_masks(tmp_path / "data-2", tmp_path / "two")
    assert two.classes == ["0", "255"]
    assert set(masks_of(tmp_path / "data-2").ravel()) == {0, 1}
    three = build_masks(tmp_path / "data-3", tmp_path / "three")
    assert three.classes == ["1", "128"]
    assert set(masks_of(tmp_path / "data-3").ravel()) == {0, 1, 255}


def test_masks_are_cropped_and_scaled_as_their_images(tmp_path: Path) -> None:
    """A block of a class lies on the same pixels as the bright block of the image."""
    for number in range(8):
        pixels = np.zeros((60 + 2 * number, 90), np.uint8)
        pixels[16 + number : 40, 37:53] = 255
        save(tmp_path / "photos" / "images" / f"{number}.jpg", pixels)
        save(tmp_path / "photos" / "masks" / f"{number}.png", pixels // 255 * 7)
    dataset = build_masks(tmp_path / "data", tmp_path / "photos", size=20)
    assert dataset.image_shape == (20, 20, 1)
    for split in dataset.examples:
        images, masks, _ = load(tmp_path / "data", split)
        assert set(masks.ravel()) == {0, 1}  # No value between the two.
        wrong = (images[..., 0] > 127) != masks
        assert wrong.mean() < 0.02


def test_equal_images_stay_together(tmp_path: Path) -> None:
    for number in range(60):
        add(tmp_path / "photos", number % 12, name=str(number))
    build_masks(tmp_path / "data", tmp_path / "photos")
    contents = [
        {image.tobytes() for image in load(tmp_path / "data", split)[0]}
        for split in ("train", "val", "test")
    ]
    assert sum(map(len, contents)) == len(set.union(*contents)) == 12


def test_a_class_that_a_split_lacks(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for number in range(8):
        add(tmp_path / "photos" / "train", number)
    add(tmp_path / "photos" / "test", 8, np.zeros((6, 5), np.uint8))
    build_masks(tmp_path / "data", tmp_path / "photos")
    assert "warning: no pixel of test is of class 1, 2." in capsys.readouterr().out


def test_skip_bad(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (source / "images" / "1.png").write_bytes(b"broken")
    (source / "masks" / "2.png").unlink()
    save(source / "masks" / "3.png", np.zeros((5, 6), np.uint8))
    with pytest.raises(InputError, match=r"3 of 79 images and masks cannot be used"):
        build_masks(tmp_path / "data", source)
    assert not (tmp_path / "data").exists()
    dataset = build_masks(tmp_path / "data", source, skip_bad=True)
    assert sum(dataset.examples.values()) == 37
    left_out = [line for line in capsys.readouterr().out.splitlines() if "left out" in line]
    assert len(left_out) == 3


@pytest.mark.parametrize("name", ["{}_mask", "mask-{}", "{}_seg_1"])
def test_names_with_an_addition(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(12):
        add(tmp_path / "photos", number, name=f"a/{number}")
        mask = tmp_path / "photos" / "masks" / "a" / f"{number}.png"
        mask.rename(mask.with_name(f"{name.format(number)}.png"))
    (tmp_path / "photos" / "images" / "a" / "3.png").unlink()
    pairs = find_pairs(tmp_path / "photos")
    assert f"named {name.format('NAME')}, as" in capsys.readouterr().out
    assert [pair.mask.stem for pair in pairs.good] == [
        name.format(pair.image.stem) for pair in pairs.good
    ]
    assert len(pairs.good) == 11
    assert list(pairs.bad.values()) == [f"no image of this name in {tmp_path / 'photos/images'}"]


def test_names_that_have_nothing_in_common(tmp_path: Path) -> None:
    for number in range(3):
        add(tmp_path / "photos", number)
    for number, path in enumerate(sorted((tmp_path / "photos" / "masks").iterdir())):
        path.rename(path.with_name(f"{'xyz'[number]}.png"))
    with pytest.raises(
        InputError, match=r"expected 0\.png, .*_mask\.png; got x\.png, y.*"
    ) as error:
        find_pairs(tmp_path / "photos")
    assert "--skip-bad" not in str(error.value)


def test_stray_colours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uses = {
        COLOUR + 0xFF0000: Uses(9, 900_000),
        COLOUR: Uses(9, 100_000),
        COLOUR + 0xFE0001: Uses(1, 9),
    }
    number_classes(None, uses, tmp_path)
    printed = capsys.readouterr().out
    assert "#fe0001 is in 9 of 1,000,009 pixels; the nearest common colour is #ff0000" in printed
    assert "classes.csv: #fe0001,ignored" in printed


def test_scenes(tmp_path: Path) -> None:
    dataset = build_scenes(tmp_path / "data")
    assert dataset.examples == {"train": 1000, "val": 200, "test": 300}
    for split in dataset.examples:
        assert min(dataset.shares[split]) > 0.003  # Every digit is there.
    images, masks, _ = load(tmp_path / "data", "train")
    assert images[masks > 0].min() > images[masks == 0].mean()
    assert build_scenes(tmp_path / "again").fingerprint == dataset.fingerprint
    assert build_scenes(tmp_path / "other", seed=1).fingerprint != dataset.fingerprint


def test_unlabelled_images(source: Path, tmp_path: Path) -> None:
    dataset = build_masks(tmp_path / "data", source)
    wide = noise(0, 12, 30)
    save(tmp_path / "new" / "wide.png", wide)
    paths = [tmp_path / "new", source / "images" / "7.png"]
    (block,) = read_unlabelled(paths, dataset)
    assert block.originals is not None
    assert block.originals.tolist() == [[12, 30], [6, 5]]
    assert np.array_equal(block.inputs["images"][1, ..., 0], noise(7, 6, 5))


def test_a_predicted_mask_in_the_size_of_its_image(tmp_path: Path) -> None:
    mask = np.arange(30, dtype=np.uint8).reshape(6, 5)
    assert np.array_equal(to_original_size(mask, np.array([6, 5])), mask)
    wide = to_original_size(mask, np.array([12, 30]))
    assert np.array_equal(wide[:, 10:20], mask.repeat(2, 0).repeat(2, 1))
    assert (wide[:, :10] == 255).all()
    assert (wide[:, 20:] == 255).all()
    write_mask(tmp_path / "mask.png", wide, classes=30)
    with Image.open(tmp_path / "mask.png") as image:
        assert image.mode == "P"
        assert np.array_equal(np.asarray(image), wide)


def test_intersection_over_union() -> None:
    masks = np.array([0, 0, 0, 1, 1, 255], np.uint8)
    predicted = np.array([0, 0, 1, 1, 0, 2], np.uint8)
    matrix = confusion_matrix(masks, predicted, classes=3)
    assert matrix.tolist() == [[2, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert class_ious(matrix)[:2].tolist() == pytest.approx([2 / 4, 1 / 3])
    assert np.isnan(class_ious(matrix)[2])
    assert mean_iou(matrix) == pytest.approx(5 / 12)
