"""Pictures with boxes become arrays, and nothing is lost, moved or leaked on the way."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from build_dataset import build_pictures, build_scenes, read_dataset, read_unlabelled
from machinery.errors import InputError


def save(path: Path, number: int, width: int = 40, height: int = 20) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def make_coco(folder: Path, images: Path | None = None, first: int = 0, count: int = 30) -> Any:
    """Write pictures of 40 x 20 pixels with a box each; return what annotations.json holds."""
    content: dict[str, Any] = {"images": [], "annotations": []}
    content["categories"] = [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}]
    for number in range(first, first + count):
        save((images or folder / "images") / f"{number:03}.png", number)
        content["images"].append({"id": number, "file_name": f"{number:03}.png"})
        box = {"id": number, "image_id": number, "category_id": (3, 7)[number % 2]}
        content["annotations"].append({**box, "bbox": [10, 4, 20, 8]})
    write(folder, content)
    return content


def write(folder: Path, content: Any, name: str = "annotations.json") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content), "utf-8")


def make_yolo(folder: Path, count: int = 30) -> None:
    for number in range(count):
        save(folder / "images" / f"{number:03}.png", number)
        (folder / "labels").mkdir(exist_ok=True)
        line = f"{number % 2} 0.5 0.4 0.5 0.4\n"
        (folder / "labels" / f"{number:03}.txt").write_text(line, "utf-8")
    (folder / "data.yaml").write_text("names: [cat, dog]\n", "utf-8")


def load(data: Path, split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the images, the boxes (padded) and the ids of a split."""
    dataset = read_dataset(data)
    found, ids = dataset.read_split(data, split), dataset.read_ids(data, split)
    rows = np.arange(len(ids))
    return found["images"].take(rows, axis=0), found["boxes"].take(rows), ids


@pytest.mark.parametrize("form", ["COCO", "YOLO"])
def test_both_forms(tmp_path: Path, form: str, capsys: pytest.CaptureFixture) -> None:
    source, data = tmp_path / "source", tmp_path / "data"
    make_coco(source) if form == "COCO" else make_yolo(source)
    dataset = build_pictures(data, source)
    assert dataset.classes == ["cat", "dog"]
    assert dataset.examples == {"train": 24, "val": 3, "test": 3}
    assert dataset.image_shape == (20, 40, 3)
    printed = capsys.readouterr().out
    assert f"30 colour images with 30 boxes of 2 classes in {source} ({form})" in printed
    assert (data / "boxes_train.png").exists()
    for split in dataset.examples:
        for image, boxes, name in zip(*load(data, split), strict=True):
            assert np.array_equal(image, np.asarray(Image.open(source / name)))
            number = int(Path(name).stem)
            assert boxes.tolist() == pytest.approx(np.array([[number % 2, 10, 4, 30, 12]]))


def test_a_source_beside_the_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The way to the source may go up; the name of a picture in it may not."""
    content = make_coco(tmp_path / "source")
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    assert sum(build_pictures(Path("data"), Path("../source")).examples.values()) == 30
    content["images"][4]["file_name"] = "../images/004.png"
    write(tmp_path / "source", content)
    with pytest.raises(InputError, match=r"image 4: \.\./images/004\.png is not there"):
        build_pictures(Path("other"), Path("../source"))


def test_letterbox(tmp_path: Path) -> None:
    """A picture is scaled to fit and its boxes with it; the rest is black."""
    make_coco(tmp_path / "source")
    dataset = build_pictures(tmp_path / "data", tmp_path / "source", size=60)
    assert dataset.image_shape == (60, 60, 3)
    images, boxes, _ = load(tmp_path / "data", "train")
    assert boxes[0, 0, 1:].tolist() == [15, 6, 45, 18]
    assert (images[:, 30:] == 0).all()
    assert images[:, :30].mean() > 100


def test_splits_of_folders_and_of_files(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "valid", "test")):
        content = make_coco(tmp_path / "a" / split, first=20 * number, count=10 - number)
        content["images"] = [
            {**image, "file_name": f"images/{image['file_name']}"} for image in content["images"]
        ]
        write(tmp_path / "a" / split, content)
        name = split.replace("valid", "val") + "2017"
        content = make_coco(
            tmp_path / "b", tmp_path / "b" / "images" / name, first=20 * number, count=10 - number
        )
        (tmp_path / "b" / "annotations.json").unlink()
        write(tmp_path / "b" / "annotations", content, f"instances_{name}.json")
        write(tmp_path / "b" / "annotations", {}, f"captions_{name}.json")
    a = build_pictures(tmp_path / "of-a", tmp_path / "a")
    b = build_pictures(tmp_path / "of-b", tmp_path / "b")
    assert a.examples == b.examples == {"train": 10, "val": 9, "test": 8}
    for split in a.examples:
        for these, those in zip(
            load(tmp_path / "of-a", split)[:2], load(tmp_path / "of-b", split)[:2], strict=True
        ):
            assert np.array_equal(these, those)


@pytest.mark.parametrize("form", ["images/{split}", "{split}/images"])
def test_split_folders_of_yolo(tmp_path: Path, form: str) -> None:
    for number, split in enumerate(("train", "val", "test")):
        folder = tmp_path / "source" / form.format(split=split)
        labels = tmp_path / "source" / form.format(split=split).replace("images", "labels")
        labels.mkdir(parents=True)
        for i in range(4 - number):
            save(folder / f"{i}.png", 10 * number + i)
            (labels / f"{i}.txt").write_text("0 0.5 0.5 0.5 0.5\n", "utf-8")
    (tmp_path / "source" / "classes.txt").write_text("thing\n", "utf-8")
    dataset = build_pictures(tmp_path / "data", tmp_path / "source")
    assert dataset.examples == {"train": 4, "val": 3, "test": 2}


def test_pictures_without_boxes_stay(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    source = tmp_path / "source"
    make_yolo(source, count=40)
    for number in range(10):
        (source / "labels" / f"{number:03}.txt").unlink()
    (source / "labels" / "010.txt").write_text("", "utf-8")
    dataset = build_pictures(tmp_path / "data", source)
    assert sum(dataset.examples.values()) == 40
    printed = capsys.readouterr().out
    assert "10 pictures have no text file" in printed
    assert "11 images have none" in printed


def spoil(content: Any, case: str) -> None:
    """Put a mistake into the annotations of the first picture."""
    first = content["annotations"][0]
    if case == "outside":
        first["bbox"] = [100, 4, 20, 8]
    elif case == "reaches out":
        first["bbox"] = [30, 4, 20, 8]
    elif case == "no area":
        first["bbox"] = [10, 4, 0, 8]
    elif case == "not a number":
        first["bbox"] = [10, float("nan"), 20, 8]
    elif case == "three numbers":
        first["bbox"] = [10, 4, 20]
    elif case == "unknown category":
        first["category_id"] = 99
    elif case == "unknown image":
        first["image_id"] = 99
    elif case == "id twice":
        content["annotations"].append(content["annotations"][1])
    elif case == "missing file":
        content["images"].append({"id": "x", "file_name": "gone.png"})
    elif case == "image twice":
        content["images"].append(content["images"][1])


CASES = {
    "outside": ("annotation 0", "outside the picture of 40 x 20"),
    "reaches out": ("annotation 0", "reaches out"),
    "no area": ("annotation 0", "no area"),
    "not a number": ("annotation 0", "no number"),
    "three numbers": ("annotation 0", "expected [left, top, width, height]"),
    "unknown category": ("annotation 0", "category 99"),
    "unknown image": ("annotation 0", "image 99"),
    "id twice": ("annotation 1", "twice"),
    "missing file": ("image 'x'", "gone.png is not there"),
    "image twice": ("image 1", "twice"),
}


@pytest.mark.parametrize("case", CASES)
def test_mistakes_are_named_or_left_out(
    tmp_path: Path, case: str, capsys: pytest.CaptureFixture
) -> None:
    source = tmp_path / "source"
    content = make_coco(source)
    spoil(content, case)
    write(source, content)
    with pytest.raises(InputError) as error:
        build_pictures(tmp_path / "data", source)
    for word in CASES[case]:
        assert word in str(error.value)
    assert not (tmp_path / "data").exists()
    dataset = build_pictures(tmp_path / "data", source, skip_bad=True)
    assert sum(dataset.examples.values()) == 30
    said = "clipped: " if case == "reaches out" else "left out: "
    assert said in capsys.readouterr().out
    boxes = np.concatenate([load(tmp_path / "data", split)[1] for split in dataset.examples])
    kept = 30 if case in ("reaches out", "id twice", "missing file", "image twice") else 29
    assert (boxes[..., 0] >= 0).sum() == kept
    assert boxes[..., 3].max() <= 40


def test_a_category_without_boxes_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = make_coco(tmp_path / "source")
    content["categories"].append({"id": 9, "name": "cow"})
    write(tmp_path / "source", content)
    build_pictures(tmp_path / "data", tmp_path / "source")
    lines = [line for line in capsys.readouterr().out.splitlines() if "no box of" in line]
    assert [line for line in lines if "cow" in line] == [
        "warning: the source has no box of classes (1): cow"
    ]


def test_equal_pictures_stay_together(tmp_path: Path) -> None:
    source = tmp_path / "source"
    content = make_coco(source, count=40)
    for number in range(40):
        save(source / "images" / f"{number:03}.png", number % 10)
    write(source, content)
    build_pictures(tmp_path / "data", source)
    contents = [
        {image.tobytes() for image in load(tmp_path / "data", split)[0]}
        for split in ("train", "val", "test")
    ]
    assert sum(map(len, contents)) == len(set.union(*contents)) == 10


def test_scenes(tmp_path: Path) -> None:
    dataset = build_scenes(tmp_path / "data")
    assert dataset.image_shape == (48, 48, 1)
    for split in dataset.examples:
        boxes = load(tmp_path / "data", split)[1]
        numbers = boxes[..., 0][boxes[..., 0] >= 0]
        assert set(numbers) == set(range(10))
    assert build_scenes(tmp_path / "again").fingerprint == dataset.fingerprint
    assert build_scenes(tmp_path / "other", seed=1).fingerprint != dataset.fingerprint


def test_pictures_to_predict_keep_their_sizes(tmp_path: Path) -> None:
    dataset = build_scenes(tmp_path / "data")
    save(tmp_path / "a.png", 0, width=96, height=48)
    save(tmp_path / "b.png", 1, width=10, height=30)
    (block,) = read_unlabelled([tmp_path / "a.png", tmp_path / "b.png"], dataset)
    assert block.inputs["images"].shape == (2, 48, 48, 1)
    assert (block.inputs["images"][0, 24:] == 0).all()
    assert block.originals is not None
    assert block.originals.tolist() == [[96, 48], [10, 30]]
