"""What the tests know of image classification."""

import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tasks import BadSource, BadUnlabelled, Effect, Misfit, OwnData, Task, always_most_frequent


def _image(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 256, (9, 7, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def _images(folder: Path, *classes: str, count: int = 4) -> None:
    for number, name in enumerate(classes):
        for i in range(count):
            _image(folder / name / f"{i}.png", value=100 * number + i)


def _spoiled(spoil: Callable[[Path], object], name: str) -> Callable[[Path], None]:
    """Return what makes two good classes and spoils one of the files."""

    def make(source: Path) -> None:
        _images(source, "cat", "dog")
        spoil(source / name)

    return make


def _splits(*classes: str, **others: tuple[str, ...]) -> Callable[[Path], None]:
    """Return what makes train/ of some classes, and other splits."""

    def make(source: Path) -> None:
        _images(source / "train", *classes)
        for split, found in others.items():
            (source / split).mkdir()
            _images(source / split, *found)

    return make


def _labelled(
    *lines: str, header: str = "image,label", images: tuple[str, ...] = ()
) -> Callable[[Path], None]:
    """Return what makes ten images without class folders, and a table of them and more lines."""

    def make(source: Path) -> None:
        for number in range(10):
            _image(source / f"{number}.png", value=number)
        for number, name in enumerate(images, start=10):
            _image(source / name, value=number)
        labels = [f"{number}.png,{('cat', 'dog')[number % 2]}" for number in range(10)]
        labels = [] if header != "image,label" else labels
        (source / "train.csv").write_text("\n".join([header, *labels, *lines]))

    return make


def _marked(*marks: str) -> Callable[[Path], None]:
    """Return the same with columns of 0 and 1, the last of which are told."""
    rows = [f"{number},0,1" for number in range(10 - len(marks))]
    rows += [f"{number},{cells}" for number, cells in enumerate(marks, start=10 - len(marks))]
    return _labelled(*rows, header="image,cat,dog")


def _table(text: str) -> Callable[[Path], None]:
    """Return what makes an image, and a table with this content beside it."""

    def make(source: Path) -> None:
        _image(source / "0.png")
        (source / "train.csv").write_text(text)

    return make


def _tree(*files: str) -> Callable[[Path], None]:
    """Return what makes files, of which those that end in .png are images."""

    def make(source: Path) -> None:
        for number, name in enumerate(files):
            if name.endswith(".png"):
                _image(source / name, value=number)
            else:
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                (source / name).write_text("x")

    return make


def _archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cat/1.png", "x")


LABELS = ("--labels", "{source}/train.csv")

# Folders that look like something else.
other_layouts = {
    "an archive": BadSource(_archive, ("an archive", "Unpack it")),
    "Kaggle's folders": BadSource(
        _tree("train_images/1.png", "test_images/2.png", "sample_submission.csv", "train.csv"),
        ("test_images/, train_images/", "no class folders", "train_images --labels", "train.csv"),
    ),
    "splits without classes": BadSource(
        _tree("train/1.png", "train/2.png", "test/3.png", "labels.csv"),
        ("test/, train/", "no class folders", "/train --labels", "labels.csv"),
    ),
    "images without folders": BadSource(
        _tree("1.png", "2.png", "labels.csv"), ("no class folders", "--labels", "labels.csv")
    ),
    "images and masks": BadSource(
        _tree("images/1.png", "masks/1.png"), ("images/ and masks/", "task=semantic-segmentation")
    ),
    "images and masks of splits": BadSource(
        _tree("train/images/1.png", "train/labels/1.png", "val/images/1.png"),
        ("images/ and labels/", "task=semantic-segmentation"),
    ),
    "images and boxes": BadSource(
        _tree("images/1.png", "labels/1.txt"), ("images/ and labels/", "task=object-detection")
    ),
    "a folder around one class": BadSource(
        _tree("photos/cat/1.png", "photos/cat/2.png"), ("photos: class folders", "cat", "two or")
    ),
}

# Tables that do not fit the images.
bad_tables = {
    "label without image": BadSource(
        _labelled("99.png,cat"), ("train.csv: row 12: image: got '99.png'", "--skip-bad"), LABELS
    ),
    "image without label": BadSource(
        _labelled(images=("10.png",)), ("1 of 11 images", "10.png", "--skip-bad"), LABELS
    ),
    "name of two images": BadSource(
        _labelled("a.png,cat", images=("x/a.png", "y/a.png")),
        ("train.csv: row 12: image: got 'a.png'", "give its folder"),
        LABELS,
    ),
    "unknown column": BadSource(
        _labelled(), ("no column 'labl' for --target", "mean label"), (*LABELS, "--target", "labl")
    ),
    "column of something else": BadSource(
        _labelled(),
        ("column 'label' names an image", "'cat'", "--image"),
        (*LABELS, "--image", "label", "--target", "image"),
    ),
    "workbook": BadSource(
        _spoiled(lambda path: path.write_bytes(b"PK\x03\x04\x14\x00"), "train.csv"),
        ("train.csv", "an Excel workbook"),
        LABELS,
    ),
    "table that is not UTF-8": BadSource(
        _spoiled(lambda path: path.write_bytes(b"image,label\n0.png,K\xf6ln\n"), "train.csv"),
        ("train.csv:2: byte 0xf6",),
        LABELS,
    ),
    "folder for a table": BadSource(
        _spoiled(Path.mkdir, "train.csv"), ("train.csv", "directory"), LABELS
    ),
    "two columns of one name": BadSource(
        _labelled(header="image,image"), ("columns 1 and 2", "'image'"), LABELS
    ),
    "no column of images": BadSource(
        _labelled("cat,x", "dog,y", header="animal,label"),
        ("no column names images", "animal (such as 'cat')", "--image"),
        LABELS,
    ),
    "no column of labels": BadSource(
        _labelled("0.png,10,x", "1.png,20,y", header="image,size,colour"),
        ("which column", "image, size, colour", "--target"),
        LABELS,
    ),
    "no such table": BadSource(_labelled(), ("no.csv",), ("--labels", "{source}/no.csv")),
    "empty table": BadSource(_table(""), ("train.csv", "is empty"), LABELS),
    "table without rows": BadSource(_table("image,label\n"), ("train.csv", "rows below"), LABELS),
    "row that is too short": BadSource(
        _table("image,label\n0.png\n"), ("csv: row 2", "1 cells"), LABELS
    ),
    "empty label": BadSource(
        _labelled("10.png,", images=("10.png",)), ("train.csv: row 12: label: got ''",), LABELS
    ),
    "two labels of one image": BadSource(
        _labelled("0.png,dog"), ("train.csv: row 12: label: got 'dog' for '0.png'", "row 2"), LABELS
    ),
    "class of one image": BadSource(
        _labelled("10.png,fish", images=("10.png",)), ("class fish", "--drop-small"), LABELS
    ),
    "mark that is neither 0 nor 1": BadSource(
        _marked("1,2"),
        ("train.csv: row 11: dog: got '2'", "0 or 1"),
        (*LABELS, "--target", "cat", "dog"),
    ),
    "unknown split in the table": BadSource(
        _labelled(
            *(f"{i}.png,{'ab'[i % 2]},train" for i in range(9)),
            "9.png,b,tset",
            header="image,label,part",
        ),
        ("train.csv: row 11: part: got 'tset'", "train, val or test"),
        (*LABELS, "--split", "part"),
    ),
    "class that train lacks": BadSource(
        _labelled(
            *(f"{i}.png,{'ab'[i % 2]},{('train', 'val')[i % 2]}" for i in range(10)),
            header="image,label,part",
        ),
        ("class b", "in train"),
        (*LABELS, "--split", "part"),
    ),
    "empty group": BadSource(
        _labelled(
            *(f"{i}.png,{'ab'[i % 2]},p{i}" for i in range(9)),
            "9.png,b,",
            header="image,label,patient",
        ),
        ("train.csv: row 11: patient: got ''",),
        (*LABELS, "--group", "patient"),
    ),
    "everything in one group": BadSource(
        _labelled(*(f"{i}.png,{'ab'[i % 2]},p" for i in range(10)), header="image,label,patient"),
        ("class a has too few different images", "or groups"),
        (*LABELS, "--group", "patient"),
    ),
}

bad_sources = {
    **other_layouts,
    **bad_tables,
    "missing folder": BadSource(lambda source: None, ("not a folder",)),
    "empty folder": BadSource(Path.mkdir, ("none", "two or more")),
    "one class": BadSource(lambda source: _images(source, "cat"), ("cat", "two or more")),
    "not an image": BadSource(
        _spoiled(lambda path: path.write_text("x"), "cat/x.png"), ("cat/x.png", "--skip-bad")
    ),
    "cut short": BadSource(_spoiled(lambda path: os.truncate(path, 100), "dog/1.png"), ("dog/1",)),
    "empty file": BadSource(_spoiled(lambda path: os.truncate(path, 0), "dog/1.png"), ("dog/1",)),
    "too few to split": BadSource(
        lambda source: _images(source, "cat", "dog", count=2), ("3 or more",)
    ),
    "unknown split": BadSource(_splits("a", "b", tset=("a",)), ("tset", "test/")),
    "class only in test": BadSource(_splits("a", "b", test=("a", "c")), ("class c", "train")),
    "class that is not UTF-8": BadSource(
        lambda source: _images(source, "cat", os.fsdecode(b"K\xf6ln")),
        ("K\\xf6ln/", "not read as UTF-8"),
    ),
    "file that is not UTF-8": BadSource(
        _spoiled(lambda path: path.rename(path.with_name(os.fsdecode(b"\xfc.png"))), "cat/1.png"),
        ("cat/\\xfc.png: this name is not read as UTF-8",),
    ),
    "empty test": BadSource(_splits("a", "b", test=()), ("test", "no images")),
}


def _label_out_of_range(data: Path) -> None:
    dataset = json.loads((data / "dataset.json").read_text())
    labels = np.full(dataset["examples"]["train"], len(dataset["classes"]), np.int64)
    np.save(data / dataset["arrays_folder"] / "train_labels.npy", labels)


def make_own_data(folder: Path) -> OwnData:
    """Forty PNGs of each of three classes, of other colours and many sizes."""
    generator = np.random.default_rng(0)
    source = folder / "photos"
    for name, channel in (("red things", 0), ("green $5_to_$10", 1), ("blue", 2)):
        for number in range(40):
            height, width = generator.integers(30, 60, 2)
            pixels = generator.integers(0, 120, (height, width, 3), np.uint8)
            pixels[..., channel] += 100
            path = source / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
    parameters = {
        **{"model.stages": 3, "model.width": 4, "data.flip": True, "data.shift": 4},
        **{"training.epochs": 8, "data.batch_size": 16},
    }
    return OwnData(source, ("120 colour images of 3 classes",), parameters, bar=0.9)


def make_tagged_data(folder: Path) -> OwnData:
    """120 PNGs in folders of their own, and a table with any of three labels for each."""
    generator = np.random.default_rng(0)
    names, lines = np.array(["red", "$green$", "blue"]), ["image_id,tags"]
    for number in range(120):
        marks = generator.random(3) < 0.5
        pixels = generator.integers(0, 120, (16, 16, 3), np.uint8) + np.uint8(100) * marks
        path = folder / "images" / f"{number % 5}" / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        lines.append(f"{path.stem},{'|'.join(names[marks]) or 'none'}")
    table = folder / "train.csv"
    table.write_text("\n".join(lines))
    parameters = {"model.width": 8, "training.epochs": 12, "data.batch_size": 8}
    printed = ("120 colour images of 4 labels", "parted by '|'", "names the images")
    options = ("--labels", str(table))
    return OwnData(folder / "images", printed, parameters, bar=0.9, options=options)


# ---------------------------------------------------------------------------------------------
# What is predicted.


def write_unlabelled(path: Path, inputs: Mapping[str, np.ndarray], dataset: object) -> None:
    """Write images as PNGs, which lose nothing, and a list of them backwards among other columns.

    The path is that of the list.
    """
    del dataset
    folder = path.parent / "unlabelled"
    folder.mkdir()
    lines = ["number,photo"]
    for number, pixels in enumerate(inputs["images"]):
        name = f"{len(inputs['images']) - number:04}.png"
        Image.fromarray(pixels.squeeze(2)).save(folder / name)
        lines.append(f"{number},unlabelled/{name}")
    path.write_text("\n".join(lines) + "\n")


def _replace(old: str, new: str) -> Callable[[Path], object]:
    """Return what replaces a text in a list of images."""
    return lambda path: path.write_text(path.read_text().replace(old, new))


def _spoil_image(spoil: Callable[[Path], object]) -> Callable[[Path], object]:
    """Return what spoils one of the images that a list names."""
    return lambda path: spoil(path.parent / "unlabelled" / "0002.png")


def _instead(make: Callable[[Path], object]) -> Callable[[Path], object]:
    """Return what puts something else where the list was."""

    def spoil(path: Path) -> None:
        path.unlink()
        make(path)

    return spoil


bad_unlabelled = {
    "not there": BadUnlabelled(Path.unlink, ("list.csv", "not found")),
    "empty folder": BadUnlabelled(_instead(Path.mkdir), ("holds no images", ".png")),
    "folder of other files": BadUnlabelled(
        _instead(lambda path: (path.mkdir(), (path / "notes.txt").write_text("x"))),
        ("holds no images",),
    ),
    "not an image": BadUnlabelled(
        _spoil_image(lambda path: path.write_text("x")),
        ("unlabelled/0002.png: not an image", "--skip-bad", "nothing was written"),
        left_out=1,
    ),
    "cut short": BadUnlabelled(
        _spoil_image(lambda path: os.truncate(path, 60)), ("0002.png", "--skip-bad"), left_out=1
    ),
    "empty list": BadUnlabelled(lambda path: os.truncate(path, 0), ("no column names files",)),
    "list of nothing that is there": BadUnlabelled(
        _replace("unlabelled/", "elsewhere/"), ("no column names files", "names of images")
    ),
    "list with a file that is gone": BadUnlabelled(
        _spoil_image(Path.unlink), ("list.csv:", "photo: got 'unlabelled/0002.png'")
    ),
    "list that is not text": BadUnlabelled(
        lambda path: path.write_bytes(b"\xff\xfe"), ("list.csv", "UTF-8")
    ),
}


# ---------------------------------------------------------------------------------------------
# What the parameters do.

SHIFT, CUTOUT, MIXUP, SMOOTHING, BALANCE = 2, 3, 0.5, 0.3, 0.7
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


def check_cutout(before: Arrays, after: Arrays) -> None:
    """A square of each image, or what of it lies inside, is the mean of all images."""
    images, found = before["images"], after["images"]
    mean = np.rint(images.mean((0, 1, 2)))
    _, height, width, _ = images.shape
    fits = np.zeros(len(images), bool)
    for top in range(1 - CUTOUT, height):
        for left in range(1 - CUTOUT, width):
            inside = np.s_[:, max(top, 0) : top + CUTOUT, max(left, 0) : left + CUTOUT]
            erased = images.copy()
            erased[inside] = mean
            fits |= (erased == found).all((1, 2, 3))
    assert fits.all()


def check_mixup(before: Arrays, after: Arrays) -> None:
    """Each image lies between itself and the one before it, by a share of Beta(a + 1, a)."""
    images, found = before["images"].astype(float), after["images"].astype(float)
    others = np.roll(images, 1, axis=0)
    way = ((images - others) ** 2).sum((1, 2, 3))
    shares = ((found - others) * (images - others)).sum((1, 2, 3)) / way
    mixed = others + shares[:, None, None, None] * (images - others)
    assert np.abs(mixed - found).max() < 1  # Whole numbers are stored.
    assert shares.mean() == pytest.approx((MIXUP + 1) / (2 * MIXUP + 1), abs=0.03)
    assert shares.std() == pytest.approx(0.25, abs=0.03)  # of Beta(1.5, 0.5)


def check_label_smoothing(plain: Arrays, smoothed: Arrays, targets: Arrays) -> None:
    """The gradient of a class's bias is the mean of its probability less its share of the label."""
    frequencies = np.bincount(targets["labels"]) / len(targets["labels"])
    (name,) = [name for name, array in plain.items() if array.shape == frequencies.shape]
    moved = SMOOTHING * (frequencies - 1 / len(frequencies))
    assert np.abs(moved).max() > 1e-4  # Rounding cannot hide it.
    np.testing.assert_allclose(smoothed[name], plain[name] + moved, rtol=0, atol=1e-5)


def rarest(targets: Arrays) -> list[int]:
    """Return the rows of the class that has the fewest."""
    return np.flatnonzero(targets["labels"] == np.bincount(targets["labels"]).argmin()).tolist()


def check_balance(plain: Arrays, balanced: Arrays, targets: Arrays) -> None:
    """An example of a class counts counts**-BALANCE, in units of the mean over all examples."""
    counts = np.bincount(targets["labels"])
    weights = counts**-BALANCE / np.mean((counts**-BALANCE)[targets["labels"]])
    weight = weights[counts.argmin()]
    assert weight > 1.005  # Rounding cannot hide it.
    close = 1e-4 * max(np.abs(array).max() for array in plain.values())
    for name in plain:
        np.testing.assert_allclose(balanced[name], weight * plain[name], rtol=0, atol=close)


def count_weights(parameters: Mapping[str, Any], dataset: Mapping[str, Any]) -> int:
    """Each stage: two convolutions of 3 x 3, and a scale and an offset of each channel after them.

    Then a linear layer.
    """
    *_, channels = dataset["arrays"]["images"]["shape"]
    count = 0
    for stage in range(parameters["model.stages"]):
        width = parameters["model.width"] * 2**stage
        count += 9 * channels * width + 9 * width * width + 4 * width
        channels = width
    return count + (channels + 1) * len(dataset["classes"])


task = Task(
    name="image-classification",
    overlays=("images", "classes", "tables", "folders"),
    words=r"image|pixel|label|\bclass(es)?\b|digit|channel|softmax|logits|cross.entropy|confusion"
    r"|accuracy|\bcrop",
    tiny={
        "seed": 1,
        **{"data.batch_size": 256, "data.shift": 1, "data.flip": True},
        **{"data.cutout": 2, "data.mixup": 0.2, "model.width": 4, "model.stages": 1},
        "training.epochs": 2,
    },
    without_dropout={"model.dropout": 0.0},
    plain={
        **{"data.shift": 0, "data.flip": False, "data.cutout": 0, "data.mixup": 0.0},
        **{"model.dropout": 0.0, "model.label_smoothing": 0.0},
    },
    normalises_over_batch=True,
    changes_data={
        "data.shift": Effect(SHIFT, check_shift),
        "data.flip": Effect(True, check_flip),
        "data.cutout": Effect(CUTOUT, check_cutout),
        "data.mixup": Effect(MIXUP, check_mixup),
    },
    changes_loss={
        "model.label_smoothing": Effect(SMOOTHING, check_label_smoothing),
        "model.balance": Effect(BALANCE, check_balance, rarest),
    },
    sizes=("model.width", "model.stages"),
    count_weights=count_weights,
    other_network={"width": 8},
    out_of_memory={"data.batch_size": 1000, "model.width": 30000},
    metric="accuracy",
    maximize=True,
    bar=0.98,
    metrics=("loss", "accuracy"),
    evaluation_files=("confusion_matrix_{name}.png", "worst_{name}.png", "predictions_{name}.csv"),
    pictures={"worst_test.png": 0.34, "confusion_matrix_test.png": 1},
    trivial=always_most_frequent("labels"),
    prepared="preparing the handwritten digits",
    space="  training.learning_rate: {low: 0.001, high: 0.01, log: true}\n"
    "  model.width: {choices: [4, 8]}\n",
    misfits={
        "more stages than the images can be halved": Misfit(
            {"model.stages": 8}, ("model.stages: got 8", "at most 3", "8 pixels")
        ),
        "more parts than a batch has examples": Misfit(
            {"data.batch_size": 8, "training.accumulate": 9},
            ("training.accumulate: got 9", "at most 7"),
        ),
        "a shift out of the image": Misfit(
            {"data.shift": 8}, ("data.shift: got 8", "less than 8", "8 x 8 pixels")
        ),
        "a cutout of all": Misfit({"data.cutout": 8}, ("data.cutout: got 8", "less than 8")),
        "a mixture of one": Misfit(
            {"data.mixup": 0.2, "data.batch_size": 1}, ("data.mixup: got 0.2", "expected 0")
        ),
    },
    damage={"label out of range": (_label_out_of_range, ("10", "0 to 9"))},
    bad_sources=bad_sources,
    bad_build_options=("--image-size=0", "--image-size=x", "--target=x", "--group=x"),
    write_unlabelled=write_unlabelled,
    unlabelled_name="list.csv",
    bad_unlabelled=bad_unlabelled,
    make_own_data=make_own_data,
    own_data_shows_more=False,
    more_own_data={"tagged": make_tagged_data},
    tested_in_projects=tuple(
        f"model.backbone{what}" for what in ("", "_weights", "_learning_rate")
    ),
)
