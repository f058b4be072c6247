"""What the tests know of object detection."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tasks import BadSource, BadUnlabelled, Effect, Misfit, OwnData, Task, Trivial

Change = Callable[[Path], object]


def _pictures(folder: Path, count: int = 6) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def _coco(source: Path, change: Callable[[Any], object] = lambda content: None) -> None:
    """Six pictures with a box each, whose annotations are changed."""
    _pictures(source / "images")
    content: dict[str, Any] = {"categories": [{"id": 1, "name": "cat"}]}
    content["images"] = [{"id": i, "file_name": f"{i}.png"} for i in range(6)]
    box = {"category_id": 1, "bbox": [2, 3, 10, 12]}
    content["annotations"] = [{**box, "id": i, "image_id": i} for i in range(6)]
    change(content)
    (source / "annotations.json").write_text(json.dumps(content))


def _spoiled(**fields: Any) -> Change:
    """Return what makes a source whose third annotation has other fields."""
    return lambda source: _coco(source, lambda content: content["annotations"][2].update(fields))


def _yolo(change: Change) -> Change:
    """Return what makes six pictures with a text file each, and changes something."""

    def make(source: Path) -> None:
        _pictures(source / "images")
        (source / "labels").mkdir()
        for number in range(6):
            (source / "labels" / f"{number}.txt").write_text("0 0.5 0.5 0.2 0.4\n")
        (source / "data.yaml").write_text("names: [cat]\n")
        change(source)

    return make


def _line(text: str) -> Change:
    """Return what makes a source where a text file has this as its second line."""
    good = "0 0.5 0.5 0.2 0.4\n"
    return _yolo(lambda source: (source / "labels" / "2.txt").write_text(f"{good}{text}\n"))


bad_sources = {
    "missing folder": BadSource(lambda source: None, ("not a folder",)),
    "empty folder": BadSource(Path.mkdir, ("annotations.json", "labels", "train/")),
    "not JSON": BadSource(
        lambda source: (_coco(source), (source / "annotations.json").write_text("{")),
        ("annotations.json", "not JSON"),
    ),
    "no list of images": BadSource(
        lambda source: _coco(source, lambda content: content.pop("images")), ("images is missing",)
    ),
    "outside": BadSource(_spoiled(bbox=[40, 3, 5, 5]), ("annotation 2", "outside", "--skip-bad")),
    "no area": BadSource(_spoiled(bbox=[2, 3, 0, 12]), ("annotation 2", "no area")),
    "not a number": BadSource(_spoiled(bbox=[2, float("nan"), 5, 5]), ("annotation 2", "number")),
    "no box": BadSource(_spoiled(bbox="2 3 10 12"), ("annotation 2", "[left, top, width, height]")),
    "unknown category": BadSource(_spoiled(category_id=9), ("annotation 2", "category 9")),
    "unknown image": BadSource(_spoiled(image_id=9), ("annotation 2", "image 9")),
    "id twice": BadSource(_spoiled(id=1), ("annotation 1", "twice")),
    "picture gone": BadSource(
        lambda source: (_coco(source), (source / "images" / "3.png").unlink()), ("3.png", "there")
    ),
    "cut short": BadSource(
        lambda source: (_coco(source), os.truncate(source / "images" / "3.png", 100)), ("3.png",)
    ),
    "empty picture": BadSource(
        lambda source: (_coco(source), os.truncate(source / "images" / "3.png", 0)), ("3.png",)
    ),
    "picture twice": BadSource(
        lambda source: _coco(
            source, lambda content: content["images"][2].update(file_name="1.png")
        ),
        ("image 2", "1.png is there twice"),
    ),
    "picture without a name": BadSource(
        lambda source: _coco(source, lambda content: content["images"][2].pop("file_name")),
        ("images[2]", "file_name"),
    ),
    "category without a name": BadSource(
        lambda source: _coco(source, lambda content: content["categories"][0].pop("name")),
        ("categories[0]", "name"),
    ),
    "five numbers": BadSource(_spoiled(bbox=[2, 3, 5, 5, 5]), ("annotation 2", "[left, top")),
    "left of the picture": BadSource(_spoiled(bbox=[-9, 3, 5, 5]), ("annotation 2", "outside")),
    "no picture": BadSource(
        lambda source: _coco(
            source, lambda content: [content[name].clear() for name in ("images", "annotations")]
        ),
        ("train",),
    ),
    "no names": BadSource(
        _yolo(lambda source: (source / "data.yaml").unlink()), ("data.yaml", "classes.txt")
    ),
    "four numbers": BadSource(_line("0 0.5 0.5 0.2"), ("2.txt:2", "five numbers")),
    "letters": BadSource(_line("cat 0.5 0.5 0.2 0.2"), ("2.txt:2", "cat")),
    "half a class": BadSource(_line("0.5 0.5 0.5 0.2 0.2"), ("2.txt:2", "0.5")),
    "NaN": BadSource(_line("0 nan 0.5 0.2 0.2"), ("2.txt:2", "nan")),
    "negative size": BadSource(_line("0 0.5 0.5 -0.2 0.2"), ("2.txt:2",)),
    "text that is not UTF-8": BadSource(
        _yolo(lambda source: (source / "labels" / "2.txt").write_bytes(b"\xf6")), ("2.txt",)
    ),
    "names that are no list": BadSource(
        _yolo(lambda source: (source / "data.yaml").write_text("names: cat\n")), ("data.yaml",)
    ),
    "not YAML": BadSource(
        _yolo(lambda source: (source / "data.yaml").write_text("names: [cat\n")), ("data.yaml:",)
    ),
    "unknown class": BadSource(_line("1 0.5 0.5 0.2 0.2"), ("2.txt:2", "class 1", "0 to 0")),
    "pixels for shares": BadSource(_line("0 15 10 6 8"), ("2.txt:2", "outside")),
    "text file without a picture": BadSource(
        _yolo(lambda source: (source / "images" / "4.png").unlink()), ("4.txt", "no picture")
    ),
}


def _damage(value: int) -> Change:
    """Return what gives every training box a column of this value: the class, or the left edge."""

    def damage(data: Path) -> None:
        dataset = json.loads((data / "dataset.json").read_text())
        path = data / dataset["arrays_folder"] / "train_boxes.npy"
        boxes = np.array(np.load(path))
        boxes[:, 0 if value < 100 else 1] = value
        np.save(path, boxes)

    return damage


def make_own_data(folder: Path) -> OwnData:
    """Pictures of many sizes with bright squares and dark ones on grey, annotated as COCO does."""
    generator = np.random.default_rng(0)
    source = folder / "street"
    (source / "images").mkdir(parents=True)
    content: dict[str, Any] = {"images": [], "annotations": []}
    content["categories"] = [{"id": 4, "name": "bright $5_to_$10"}, {"id": 2, "name": "dark Öl"}]
    for number in range(120):
        height, width = generator.integers(40, 60, 2)
        pixels = generator.integers(100, 150, (height, width, 3), np.uint8)
        for category, value in ((4, 250), (2, 5))[number % 2 :]:
            side = int(generator.integers(8, 14))
            left, top = (int(generator.integers(0, length - side)) for length in (width, height))
            pixels[top : top + side, left : left + side] = value
            box = {"id": len(content["annotations"]), "image_id": number, "category_id": category}
            content["annotations"].append({**box, "bbox": [left, top, side, side]})
        Image.fromarray(pixels).save(source / "images" / f"{number}.png")
        content["images"].append({"id": number, "file_name": f"{number}.png"})
    (source / "annotations.json").write_text(json.dumps(content))
    parameters = {
        **{"model.stages": 2, "model.width": 8, "data.flip": True, "data.shift": 4},
        **{"training.epochs": 20, "data.batch_size": 8},
    }
    printed = ("120 colour images with 180 boxes of 2 classes", "COCO")
    return OwnData(source, printed, parameters, bar=0.5, options=("--image-size", "48"))


# ---------------------------------------------------------------------------------------------
# What the parameters do.

SHIFT, WEIGHT = 2, 3.0
Arrays = Mapping[str, np.ndarray]


def check_shift(before: Arrays, after: Arrays) -> None:
    """Each image moved by some pixels, up to SHIFT in each direction, and its edge is black."""
    images, found = before["images"], after["images"]
    count, height, width, _ = images.shape
    padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)))
    fits = np.zeros(count, bool)
    for top in range(2 * SHIFT + 1):
        for left in range(2 * SHIFT + 1):
            moved = padded[:, top : top + height, left : left + width]
            same = (moved == found).all((1, 2, 3))
            assert same.any(), "no image moved so"
            fits |= same
    assert fits.all()


def check_flip(before: Arrays, after: Arrays) -> None:
    """Half of the images are mirrored left to right."""
    images, found = before["images"], after["images"]
    mirrored = (images[:, :, ::-1] == found).all((1, 2, 3))
    assert (mirrored | (images == found).all((1, 2, 3))).all()
    assert 0.4 < mirrored.mean() < 0.6


def check_box_weight(plain: Arrays, weighted: Arrays, targets: Arrays) -> None:
    """The gradients of what predicts places grow by the weight, those of the classes stay."""
    del targets
    (places,) = [name for name in plain if "places" in name and plain[name].shape == (4,)]
    assert np.abs(plain[places]).max() > 1e-4  # Rounding cannot hide it.
    np.testing.assert_allclose(weighted[places], WEIGHT * plain[places], rtol=1e-3, atol=1e-5)
    (classes,) = [name for name, array in plain.items() if array.shape == (10,)]
    np.testing.assert_allclose(weighted[classes], plain[classes], rtol=1e-3, atol=1e-5)


def count_weights(parameters: Mapping[str, Any], dataset: Mapping[str, Any]) -> int:
    """Each stage: two convolutions of 3 x 3, and a scale and an offset of each channel after them.

    Two such after the stages, and two convolutions of 1 x 1.
    """
    *_, channels = dataset["arrays"]["images"]["shape"]
    count = 0
    for stage in range(parameters["model.stages"]):
        width = parameters["model.width"] * 2**stage
        count += 9 * channels * width + 9 * width * width + 4 * width
        channels = width
    count += 18 * channels * channels + 4 * channels
    return count + (channels + 1) * (len(dataset["classes"]) + 4)


def write_unlabelled(path: Path, inputs: Mapping[str, np.ndarray], dataset: object) -> None:
    """Write images as PNGs, which lose nothing, and a list of them, whose path is given."""
    del dataset
    lines = ["photo"]
    for number, pixels in enumerate(inputs["images"]):
        file = path.parent / "unlabelled" / f"{number:04}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels.squeeze(2)).save(file)
        lines.append(f"unlabelled/{number:04}.png")
    path.write_text("\n".join(lines) + "\n")


def _spoil_image(spoil: Callable[[Path], object]) -> Callable[[Path], object]:
    """Return what spoils one of the images that a list names."""
    return lambda path: spoil(path.parent / "unlabelled" / "0002.png")


bad_unlabelled = {
    "not there": BadUnlabelled(Path.unlink, ("list.csv", "not found")),
    "empty list": BadUnlabelled(lambda path: os.truncate(path, 0), ("no column names files",)),
    "not an image": BadUnlabelled(
        _spoil_image(lambda path: path.write_text("x")),
        ("0002.png: not an image", "--skip-bad", "nothing was written"),
        left_out=1,
    ),
    "cut short": BadUnlabelled(
        _spoil_image(lambda path: os.truncate(path, 60)), ("0002.png", "--skip-bad"), left_out=1
    ),
}


def predict_mean_boxes(train: Mapping[str, np.ndarray], examples: int) -> dict[str, np.ndarray]:
    """Return the same boxes for so many images: the mean of each class, as certain as frequent."""
    boxes = train["boxes"].reshape(-1, 5)
    numbers = boxes[:, 0].astype(np.int64)  # -1 where it is padding.
    classes, counts = np.unique(numbers[numbers >= 0], return_counts=True)
    means = np.array([boxes[numbers == number, 1:].mean(axis=0) for number in classes])
    same = {"boxes": means, "scores": counts / counts.sum(), "classes": classes}
    return {name: np.stack([array] * examples) for name, array in same.items()}


task = Task(
    name="object-detection",
    overlays=("images", "scenes", "folders"),
    words=r"object.detection|\bbox(es)?\b|coco|yolo|letterbox|average.precision|(?<![a-z0-9])ap50"
    r"|\bscenes?\b|annotation_file|overlap",
    tiny={
        "seed": 1,
        **{"data.batch_size": 160, "data.shift": 1, "data.flip": True},
        **{"model.width": 4, "model.stages": 2, "model.dropout": 0.1},
        "training.epochs": 2,
    },
    without_dropout={"model.dropout": 0.0},
    plain={
        **{"data.shift": 0, "data.flip": False},
        **{"model.dropout": 0.0, "model.box_weight": 1.0},
    },
    normalises_over_batch=True,
    changes_data={"data.shift": Effect(SHIFT, check_shift), "data.flip": Effect(True, check_flip)},
    changes_loss={"model.box_weight": Effect(WEIGHT, check_box_weight)},
    sizes=("model.width", "model.stages"),
    count_weights=count_weights,
    other_network={"width": 8},
    out_of_memory={"data.batch_size": 1000, "model.width": 30000},
    metric="ap50",
    maximize=True,
    bar=0.9,
    metrics=("loss", "ap50", "ap"),
    evaluation_files=("boxes_{name}.png", "images_{name}.csv"),
    pictures={"boxes_test.png": 1},
    trivial=Trivial("in each image a box of each class, the mean of all boxes", predict_mean_boxes),
    prepared="preparing scenes of scattered digits",
    space="  training.learning_rate: {low: 0.001, high: 0.01, log: true}\n"
    "  model.width: {choices: [4, 8]}\n",
    misfits={
        "more stages than the images can be halved": Misfit(
            {"model.stages": 8}, ("model.stages: got 8", "at most 5", "48 pixels")
        ),
        "more parts than a batch has examples": Misfit(
            {"data.batch_size": 8, "training.accumulate": 9},
            ("training.accumulate: got 9", "at most 8"),
        ),
        "a shift out of the image": Misfit(
            {"data.shift": 48}, ("data.shift: got 48", "less than 48", "48 x 48 pixels")
        ),
    },
    damage={
        "class out of range": (_damage(10), ("10", "0 to 9")),
        "box outside": (_damage(100), ("outside the 48 x 48",)),
    },
    bad_sources=bad_sources,
    bad_build_options=("--image-size=0", "--image-size=x"),
    write_unlabelled=write_unlabelled,
    unlabelled_name="list.csv",
    bad_unlabelled=bad_unlabelled,
    make_own_data=make_own_data,
    own_data_shows_more=False,
)
