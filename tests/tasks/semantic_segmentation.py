"""What the tests know of semantic segmentation."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tasks import BadSource, BadUnlabelled, Effect, Misfit, OwnData, Task, Trivial


def _save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def _pair(source: Path, name: str, seed: int, size: tuple[int, int] = (9, 7)) -> None:
    """Write an image, and a mask of it that says where it is bright."""
    pixels = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    _save(source / "images" / f"{name}.png", pixels)
    _save(source / "masks" / f"{name}.png", (pixels > 127).astype(np.uint8))


def _good(source: Path) -> None:
    for number in range(8):
        _pair(source, str(number), number)


def _spoiled(spoil: Callable[[Path], object]) -> Callable[[Path], None]:
    """Return what makes eight good images with masks, and then spoils the source."""

    def make(source: Path) -> None:
        _good(source)
        spoil(source)

    return make


def _soft(source: Path) -> None:
    """A mask that was scaled smoothly has values between those of the classes."""
    soft = np.arange(100, dtype=np.uint8).reshape(10, 10)
    _save(source / "images" / "soft.png", soft)
    _save(source / "masks" / "soft.png", soft)


def _blurred(source: Path) -> None:
    (source / "masks" / "1.png").unlink()
    _save(source / "masks" / "1.jpg", np.zeros((9, 7), np.uint8))


def _of_colours(source: Path) -> None:
    _save(source / "masks" / "1.png", np.zeros((9, 7, 3), np.uint8))


def _classes(text: str) -> Callable[[Path], None]:
    return _spoiled(lambda source: (source / "classes.csv").write_text(text))


def _splits(source: Path) -> None:
    """Train without masks."""
    _good(source / "train")
    (source / "train" / "masks").rename(source / "train" / "labels")


bad_sources = {
    "missing folder": BadSource(lambda source: None, ("not a folder", "images/ and masks/")),
    "empty folder": BadSource(Path.mkdir, ("images: not found",)),
    "no masks": BadSource(_splits, ("train/masks: not found",)),
    "no images": BadSource(
        lambda source: [(source / name).mkdir(parents=True) for name in ("images", "masks")],
        ("images: no images",),
    ),
    "nothing to train on": BadSource(
        _spoiled(lambda source: [path.unlink() for path in (source / "masks").iterdir()]),
        ("masks: no mask has the name of an image in",),
    ),
    "no mask for an image": BadSource(
        _spoiled(lambda source: (source / "masks" / "3.png").unlink()),
        ("images/3.png: no mask of this name", "--skip-bad"),
    ),
    "no image for a mask": BadSource(
        _spoiled(lambda source: (source / "images" / "3.png").unlink()),
        ("masks/3.png: no image of this name",),
    ),
    "another size": BadSource(
        _spoiled(lambda source: _save(source / "masks" / "2.png", np.zeros((7, 9), np.uint8))),
        ("masks/2.png", "9 x 7 pixels, the image 7 x 9"),
    ),
    "mask saved as JPEG": BadSource(_spoiled(_blurred), ("masks/1.jpg", "JPEG blurs", "PNG")),
    "mask scaled smoothly": BadSource(
        _spoiled(_soft), ("masks/soft.png: 100 different values", "one for each class")
    ),
    "numbers and colours": BadSource(_spoiled(_of_colours), ("#000000", "one kind")),
    "one class": BadSource(
        lambda source: [
            _save(source / folder / f"{number}.png", np.full((4, 4), value, np.uint8))
            for number in range(4)
            for folder, value in (("images", number), ("masks", 0))
        ],
        ("1 classes: 0", "2 to 255"),
    ),
    "mask cut short": BadSource(
        _spoiled(lambda source: os.truncate(source / "masks" / "1.png", 50)), ("masks/1.png",)
    ),
    "empty mask": BadSource(
        _spoiled(lambda source: os.truncate(source / "masks" / "1.png", 0)), ("masks/1.png",)
    ),
    "text for a mask": BadSource(
        _spoiled(lambda source: (source / "masks" / "1.png").write_text("x")), ("masks/1.png",)
    ),
    "mask in the colours of print": BadSource(
        _spoiled(lambda source: Image.new("CMYK", (7, 9)).save(source / "masks" / "1.png", "TIFF")),
        ("masks/1.png",),
    ),
    "image cut short": BadSource(
        _spoiled(lambda source: os.truncate(source / "images" / "1.png", 50)), ("images/1.png",)
    ),
    "two images of one name": BadSource(
        _spoiled(lambda source: _save(source / "images" / "1.bmp", np.zeros((9, 7), np.uint8))),
        ("images/1.png: has the name of 1.bmp",),
    ),
    "value that is no class": BadSource(
        _classes("value,class\n0,dark\n"), ("masks/0.png: value 1 is not among the listed",)
    ),
    "classes without a title": BadSource(
        _classes("0,dark\n1,bright\n"), ("classes.csv:1", "value,class")
    ),
    "no value": BadSource(
        _classes("value,class\n0,dark\nx,bright\n"), ("classes.csv:3", "x,bright")
    ),
    "value twice": BadSource(
        _classes("value,class\n0,dark\n0,bright\n"), ("classes.csv:3", "value 0", "twice")
    ),
    "nothing known": BadSource(
        _classes("value,class\n0,ignored\n1,ignored\n2,a\n3,b\n"), ("no pixel", "has a class")
    ),
    "too few to split": BadSource(
        lambda source: [_pair(source, str(number), number) for number in range(2)], ("3 or more",)
    ),
    "file that is not UTF-8": BadSource(
        _spoiled(
            lambda source: (source / "images" / "1.png").rename(
                source / "images" / os.fsdecode(b"\xfc.png")
            )
        ),
        ("images/\\xfc.png: this name is not read as UTF-8",),
    ),
}


def _class_out_of_range(data: Path) -> None:
    dataset = json.loads((data / "dataset.json").read_text())
    shape = (dataset["examples"]["train"], *dataset["arrays"]["masks"]["shape"])
    masks = np.full(shape, len(dataset["classes"]), np.uint8)
    np.save(data / dataset["arrays_folder"] / "train_masks.npy", masks)


def make_own_data(folder: Path) -> OwnData:
    """Sixty colour images of many sizes, in which a red and a green rectangle lie on grey noise."""
    generator = np.random.default_rng(0)
    source = folder / "photos"
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8)
    for number in range(60):
        height, width = generator.integers(30, 60, 2)
        pixels = generator.integers(0, 120, (height, width, 3), np.uint8)
        mask = np.zeros((height, width), np.uint8)
        for kind in (1, 2):
            top, left = generator.integers(0, (height // 2, width // 2))
            place = np.s_[top : top + height // 3, left : left + width // 3]
            mask[place] = kind
            pixels[place] //= 2
            pixels[(*place, kind - 1)] += 120
        _save(source / "images" / f"{number}.png", pixels)
        _save(source / "masks" / f"{number}.png", colours[mask])
    (source / "classes.csv").write_text(
        "value,class\n#000000,ground\n#ff0000,red things\n#00ff00,green $5_to_$10\n"
    )
    parameters = {
        **{"model.stages": 2, "model.width": 4, "data.flip": True, "data.shift": 4},
        **{"training.epochs": 10, "data.batch_size": 8},
    }
    return OwnData(
        source,
        ("60 colour images with masks", "masks of 3 classes", "green $5_to_$10"),
        parameters,
        bar=0.8,
        options=("--image-size", "32"),
    )


# ---------------------------------------------------------------------------------------------
# What is predicted.


def write_unlabelled(path: Path, inputs: Mapping[str, np.ndarray], dataset: object) -> None:
    """Write images as PNGs, which lose nothing, and a list of them, whose path is given."""
    del dataset
    lines = ["photo"]
    for number, pixels in enumerate(inputs["images"]):
        _save(path.parent / "unlabelled" / f"{number:04}.png", pixels.squeeze(2))
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


# ---------------------------------------------------------------------------------------------
# What the parameters do.

SHIFT, BALANCE = 2, 1.0
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


def check_balance(plain: Arrays, balanced: Arrays, targets: Arrays) -> None:
    """Each class has the same part in the loss, so no bias is pulled far; else the frequent one is.

    The gradient of a class's bias is the mean of its probability, about the same for all classes
    in an untrained network, less the part of the class.
    """
    counts = np.bincount(targets["masks"].ravel(), minlength=256)[:255]
    classes = int(counts.nonzero()[0].max()) + 1
    (name,) = [name for name, array in plain.items() if array.shape == (classes,)]
    assert plain[name][0] < -0.5  # Of the background, which has most pixels.
    assert (plain[name][1:] > 0).all()
    assert np.abs(balanced[name]).max() < 0.2


def count_weights(parameters: Mapping[str, Any], dataset: Mapping[str, Any]) -> int:
    """Each stage: two convolutions down, one that doubles the image, two up; each of 3 x 3 with a
    norm behind it but the one that doubles. Then two at the bottom, and one of 1 x 1 for classes.
    """

    def two(channels: int, width: int) -> int:
        return 9 * channels * width + 9 * width * width + 4 * width

    *_, channels = dataset["arrays"]["images"]["shape"]
    count = 0
    for stage in range(parameters["model.stages"]):
        width = parameters["model.width"] * 2**stage
        count += two(channels, width) + (4 * 2 * width + 1) * width + two(2 * width, width)
        channels = width
    count += two(channels, parameters["model.width"] * 2 ** parameters["model.stages"])
    return count + (parameters["model.width"] + 1) * len(dataset["classes"])


def predict_most_frequent(train: Mapping[str, np.ndarray], examples: int) -> dict[str, np.ndarray]:
    """Return the same mask for so many images: all pixels are of the most frequent class."""
    masks = train["masks"]
    most = np.bincount(masks[masks < 255]).argmax()
    return {"masks": np.full((examples, *masks.shape[1:]), most, np.uint8)}


task = Task(
    name="semantic-segmentation",
    overlays=("images", "scenes", "folders"),
    words=r"segmentation|\bmasks?\b|\biou\b|u-net|unet|scene",
    tiny={
        "seed": 1,
        **{"data.batch_size": 200, "data.shift": 1, "data.flip": True},
        **{"model.width": 2, "model.stages": 1, "model.dropout": 0.1},
        "training.epochs": 2,
    },
    without_dropout={"model.dropout": 0.0},
    plain={
        **{"data.shift": 0, "data.flip": False},
        **{"model.dropout": 0.0, "model.balance": 0.0},
    },
    normalises_over_batch=True,
    changes_data={"data.shift": Effect(SHIFT, check_shift), "data.flip": Effect(True, check_flip)},
    changes_loss={"model.balance": Effect(BALANCE, check_balance)},
    sizes=("model.width", "model.stages"),
    count_weights=count_weights,
    other_network={"width": 4},
    out_of_memory={"data.batch_size": 1000, "model.width": 30000},
    metric="iou",
    maximize=True,
    bar=0.85,
    metrics=("loss", "iou", "pixel_accuracy"),
    evaluation_files=("masks_{name}.png", "classes_{name}.csv", "images_{name}.csv"),
    pictures={"masks_test.png": 0.48},
    trivial=Trivial("all is the most frequent class", predict_most_frequent),
    prepared="preparing scenes of handwritten digits",
    space="  training.learning_rate: {low: 0.001, high: 0.01, log: true}\n"
    "  model.width: {choices: [2, 4]}\n",
    misfits={
        "more stages than the images can be halved": Misfit(
            {"model.stages": 5}, ("model.stages: got 5", "at most 4", "24 pixels")
        ),
        "more parts than a batch has examples": Misfit(
            {"data.batch_size": 8, "training.accumulate": 9},
            ("training.accumulate: got 9", "at most 8"),
        ),
        "a shift out of the image": Misfit(
            {"data.shift": 24}, ("data.shift: got 24", "less than 24", "24 x 24 pixels")
        ),
    },
    damage={"class out of range": (_class_out_of_range, ("11", "0 to 10"))},
    bad_sources=bad_sources,
    bad_build_options=("--image-size=0", "--image-size=x", "--classes=x.csv"),
    write_unlabelled=write_unlabelled,
    unlabelled_name="list.csv",
    bad_unlabelled=bad_unlabelled,
    make_own_data=make_own_data,
    own_data_shows_more=False,
)
