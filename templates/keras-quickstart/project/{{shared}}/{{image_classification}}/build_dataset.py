"""Prepare images for training: the handwritten digits of scikit-learn, or a folder of your own.

    python build_dataset.py                      # 1,797 digits of 8 x 8 pixels, no download
    python build_dataset.py --source photos      # photos/cat/1.png, photos/dog/2.jpg, ...

A source folder has one folder of images per class, or train/, val/ and test/ with those in them;
what is missing of val and test is split off train, 10 % each, keeping the shares of the classes.

Written to data/: {train,val,test}_images.npy (N, height, width, channels) uint8, _labels.npy (N,)
int64, _ids.npy (N,) names, and dataset.json, which is written last: it says that all is there.
"""

import hashlib
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pydantic
from filelock import FileLock
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

import utils
from command_line import ArgumentParser

DEFAULT_FOLDER = Path("data")
SPLITS = ("train", "val", "test")
HELD_OUT = 0.1  # share of the training images split off for val, and for test, where missing
GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B")
EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


class Dataset(pydantic.BaseModel):
    """What dataset.json says of the arrays beside it."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    task: Literal["image-classification"]
    source: str
    classes: list[str]
    image_shape: tuple[int, int, int]  # height, width, channels
    examples: dict[str, int]  # by split
    mean: list[float]  # of each channel over the training images, in grey levels 0 to 255
    std: list[float]
    fingerprint: str  # of every array: two datasets with one fingerprint are the same


class ImageFile(NamedTuple):
    """One image file, its class and its split."""

    path: Path
    label: int
    split: str


class Examples(NamedTuple):
    """All images, of all splits."""

    images: np.ndarray  # (N, height, width, channels) uint8
    labels: np.ndarray  # (N,) int64
    ids: np.ndarray  # (N,) str, where each came from


def read_dataset(folder: Path) -> Dataset:
    """Read dataset.json; raise InputError where it is missing or not ours."""
    path = folder / "dataset.json"
    try:
        return Dataset.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        there = [str(found.parent) for found in sorted(DEFAULT_FOLDER.rglob("dataset.json"))]
        found = f" Found: {', '.join(there[:5])}." if there else ""
        raise utils.InputError(
            f"{path}: not found.{found} Prepare it: python build_dataset.py --data {folder} "
            "--source FOLDER"
        ) from None
    except OSError as error:
        raise utils.InputError(f"{path}: {error.strerror}.") from None
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "JSON"
        raise utils.InputError(f"{path}: {field}: {first['msg']}. {_again(folder)}") from None


def open_dataset(folder: Path) -> Dataset:
    """Read dataset.json; where the default folder has none yet, prepare the digits there."""
    if folder == DEFAULT_FOLDER and not (folder / "dataset.json").exists():
        folder.mkdir(exist_ok=True)
        with FileLock(folder / ".lock"):  # Several runs may start at once.
            if not (folder / "dataset.json").exists():
                print(f"{folder} holds no dataset yet: preparing the handwritten digits.")
                build_digits(folder)
    return read_dataset(folder)


def read_arrays(folder: Path, dataset: Dataset, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Map the images and labels of a split into memory.

    Returns:
        images (N, height, width, channels) uint8 and labels (N,) int64

    Raises:
        InputError: the arrays are missing or are not what dataset.json says.
    """
    shape = (dataset.examples[split], *dataset.image_shape)
    images = read_array(folder / f"{split}_images.npy", shape, np.uint8, _again(folder))
    return images, read_labels(folder, dataset, split, _again(folder))


def read_labels(folder: Path, dataset: Dataset, split: str, advice: str) -> np.ndarray:
    """Map the labels (N,) int64 of a split into memory; raise InputError as read_array does."""
    path = folder / f"{split}_labels.npy"
    labels = read_array(path, (dataset.examples[split],), np.int64, advice)
    if labels.min() < 0 or labels.max() >= len(dataset.classes):
        raise utils.InputError(
            f"{path}: got class numbers from {labels.min()} to {labels.max()}, expected 0 to "
            f"{len(dataset.classes) - 1}. {advice}"
        )
    return labels


def read_ids(folder: Path, dataset: Dataset, split: str) -> np.ndarray:
    """Return where each example of a split came from, (N,) str; raise InputError as above."""
    shape = (dataset.examples[split],)
    return read_array(folder / f"{split}_ids.npy", shape, np.str_, _again(folder))


def read_array(path: Path, shape: tuple[int, ...], dtype: type, advice: str) -> np.ndarray:
    """Map an array into memory; raise InputError, ending in advice, where it is another one."""
    try:
        array = np.load(path, mmap_mode="c")  # Copy on write: PyTorch wants writable memory.
    except (OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or "not a NumPy array"
        raise utils.InputError(f"{path}: {reason}. {advice}") from None
    if array.shape != shape or not np.issubdtype(array.dtype, dtype):
        raise utils.InputError(
            f"{path}: got {array.shape} {array.dtype}, expected {shape} {dtype.__name__} as in "
            f"dataset.json. {advice}"
        )
    return array


def _again(folder: Path) -> str:
    return f"Prepare the data again: python build_dataset.py --data {folder} --overwrite"


def build_digits(folder: Path, seed: int = 0) -> Dataset:
    """Write scikit-learn's handwritten digits: 1,797 grey images of 8 x 8 pixels, ten classes.

    Source: E. Alpaydin, C. Kaynak, https://doi.org/10.24432/C50P49, its test set.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    labels = digits.target.astype(np.int64)
    # Pixels are counts from 0 to 16.
    images = np.round(digits.images[..., None] * (255 / 16)).astype(np.uint8)
    ids = np.array([f"digit-{row}" for row in range(len(labels))])
    rest, test = train_test_split(
        np.arange(len(labels)), test_size=0.2, random_state=seed, stratify=labels
    )
    train, val = train_test_split(rest, test_size=0.125, random_state=seed, stratify=labels[rest])
    examples = Examples(images, labels, ids)
    classes = [str(digit) for digit in range(10)]
    splits = {"train": train, "val": val, "test": test}
    return write_dataset(folder, examples, splits, classes, "scikit-learn's load_digits()")


def build_images(
    folder: Path, source: Path, size: int | None = None, seed: int = 0, skip_bad: bool = False
) -> Dataset:
    """Read the class folders of `source`, bring the images to one size, and write them.

    Args:
        folder: where the dataset goes.
        source: the folder of images.
        size: height and width to store, in pixels; None: the common size, or 64.
        seed: chooses what is split off train.
        skip_bad: leave out what cannot be read, and say so.

    Raises:
        InputError: naming the folder or the files that cannot be used.
    """
    classes, files = find_examples(source)
    there = next(path for path in (folder, *folder.parents) if path.exists())
    with ThreadPoolExecutor() as threads, tempfile.TemporaryFile(dir=there) as file:
        paths = [image.path for image in files]  # Pillow decodes outside Python's global lock.
        scans = list(threads.map(scan, paths))
        found = [entry for entry in scans if not isinstance(entry, str)]
        sizes, grey = {entry[:2] for entry in found}, all(entry[2] for entry in found)
        height, width = choose_shape(sizes, size)
        # On disk: the images together may be more than fits into memory.
        images = np.memmap(
            file, np.uint8, "w+", shape=(len(paths), height, width, 1 if grey else 3)
        )
        reasons = list(threads.map(read_image, paths, images))
        bad = {path: reason for path, reason in zip(paths, reasons, strict=True) if reason}
        if bad and not skip_bad:
            shown = "\n  ".join(f"{path}: {reason}" for path, reason in list(bad.items())[:5])
            raise utils.InputError(
                f"{source}: {len(bad)} of {len(paths)} images cannot be read; nothing was written."
                f"\n  {shown}\nMend or remove them, or leave them out with --skip-bad."
            )
        for path, reason in bad.items():
            print(f"left out: {path}: {reason}")
        labels = np.array([image.label for image in files], np.int64)
        ids = np.array([path.relative_to(source).as_posix() for path in paths])
        examples = Examples(images, labels, ids)
        good = np.array([path not in bad for path in paths])
        names = np.array([image.split for image in files])
        given = {name: np.flatnonzero(good & (names == name)) for name in dict.fromkeys(names)}
        print(
            f"Found {good.sum():,} {'grey' if grey else 'colour'} images of {len(classes)} classes "
            f"in {source}, {describe(sizes)}; stored as {width} x {height} pixels."
        )
        splits = split_off(examples, given, classes, seed)
        return write_dataset(folder, examples, splits, classes, str(source))


def find_examples(source: Path) -> tuple[list[str], list[ImageFile]]:
    """Return the class names and the image files, sorted by split and name."""
    if not source.is_dir():
        raise utils.InputError(f"{source}: not a folder. Give a folder of class folders.")
    folders = {path.name: path for path in sorted(source.iterdir()) if path.is_dir()}
    if "train" in folders:
        names = {"train": "train", "val": "val", "valid": "val", "validation": "val"}
        names["test"] = "test"
        unknown = [name for name in folders if name not in names]
        if unknown:
            raise utils.InputError(
                f"{source}: {', '.join(unknown[:5])} beside train/; expected train/, val/, test/."
            )
        roots = {names[name]: path for name, path in folders.items()}
    else:
        roots = {"train": source}
    listed = {split: list_classes(root) for split, root in roots.items()}
    classes = list(listed["train"])
    if len(classes) < 2:
        found = ", ".join(classes) or "none"
        raise utils.InputError(
            f"{roots['train']}: class folders with images: {found}; expected two or more, as in "
            f"{roots['train']}/cat/1.png and {roots['train']}/dog/1.png."
        )
    for split, found in listed.items():
        extra = sorted(set(found) - set(classes))
        if extra:
            raise utils.InputError(
                f"{roots[split]}: class {extra[0]} has no images in {roots['train']}. "
                "Add some there, or remove the folder."
            )
        if not found:
            raise utils.InputError(f"{roots[split]}: no images. Add some, or remove the folder.")
    return classes, [
        ImageFile(path, classes.index(name), split)
        for split, found in listed.items()
        for name in found
        for path in found[name]
    ]


def list_classes(root: Path) -> dict[str, list[Path]]:
    """Return the image files of each class folder; folders without images do not count."""
    classes = {}
    for folder in sorted(path for path in root.iterdir() if path.is_dir()):
        files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in EXTENSIONS]
        if files:
            classes[folder.name] = files
    return classes


def scan(path: Path) -> tuple[int, int, bool] | str:
    """Return width, height and whether it is grey from an image's header, or why not."""
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) >= 5
            width, height = image.size[::-1] if turned else image.size
            return width, height, image.mode in GREY_MODES
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return str(error)


def read_image(path: Path, pixels: np.ndarray) -> str:
    """Decode an image, turn it upright, scale it, and crop it to the middle.

    Args:
        path: the file.
        pixels: where the result goes, (height, width, channels) uint8.

    Returns:
        A sentence that says why the image cannot be read, or an empty string.
    """
    height, width, channels = pixels.shape
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits a pixel: keep the upper 8.
                upright = Image.fromarray((np.asarray(upright) // 256).astype(np.uint8))
            if upright.has_transparency_data:
                white = Image.new("RGBA", upright.size, "white")
                upright = Image.alpha_composite(white, upright.convert("RGBA"))
            upright = upright.convert("L" if channels == 1 else "RGB")
            if upright.size != (width, height):
                upright = ImageOps.fit(upright, (width, height), Image.Resampling.BILINEAR)
            pixels[:] = np.asarray(upright).reshape(pixels.shape)
            return ""
    except UnidentifiedImageError:
        return "not an image"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return str(error) or type(error).__name__


def choose_shape(sizes: set[tuple[int, int]], size: int | None) -> tuple[int, int]:
    """Return height and width to store: what was asked for, the common size, or 64 x 64."""
    if size:
        return size, size
    if len(sizes) == 1:
        width, height = next(iter(sizes))
        if max(width, height) <= 256:
            return height, width
    return 64, 64


def describe(sizes: set[tuple[int, int]]) -> str:
    """Say which sizes, width x height, were found."""
    shown = [f"{width} x {height}" for width, height in sorted(sizes)]
    return f"{shown[0]} pixels" if len(shown) == 1 else f"from {shown[0]} to {shown[-1]} pixels"


def split_off(
    examples: Examples, given: Mapping[str, np.ndarray], classes: Sequence[str], seed: int
) -> dict[str, np.ndarray]:
    """Split the missing val and test off train at random, keeping the shares of the classes.

    Images that are equal in every pixel go to the same split: nothing is tested on what it was
    trained on. Where the splits were given, such leaks are printed.

    Args:
        examples: all of them.
        given: the row numbers of each split that there is.
        classes: their names.
        seed: chooses.

    Returns:
        The row numbers of train, val and test.
    """
    splits = dict(given)
    digests = (
        hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in examples.images
    )
    content = np.array(list(digests))  # Equal digests, equal pixels.
    for number, split in enumerate(name for name in SPLITS if name not in given):
        train, held_out = splits["train"], np.zeros(len(content), bool)
        for label, name in enumerate(classes):
            unique = np.unique(content[train][examples.labels[train] == label])
            if len(unique) < 2:
                raise utils.InputError(
                    f"class {name} has too few different images to split; expected 3 or more. "
                    "Add images, or give train/, val/ and test/ folders."
                )
            count = max(1, round(HELD_OUT * len(unique)))
            order = np.random.default_rng((seed, number, label)).permutation(unique)
            held_out |= np.isin(content, order[:count])
        splits[split], splits["train"] = train[held_out[train]], train[~held_out[train]]
    for split in ("val", "test"):
        leaked = splits[split][np.isin(content[splits[split]], content[splits["train"]])]
        if len(leaked):
            first = examples.ids[leaked[0]]
            print(f"warning: {len(leaked)} images of {split} are in train too, such as {first}.")
    return {split: splits[split] for split in SPLITS}


def write_dataset(
    folder: Path,
    examples: Examples,
    splits: Mapping[str, np.ndarray],
    classes: Sequence[str],
    source: str,
) -> Dataset:
    """Write the arrays of each split and, last, dataset.json; return what it holds.

    Args:
        folder: where to.
        examples: all of them.
        splits: the row numbers of each.
        classes: their names.
        source: where they came from, in words.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").unlink(missing_ok=True)
    digest = hashlib.sha256(repr(list(classes)).encode())
    channels = examples.images.shape[-1]
    counts = np.zeros((channels, 256), np.int64)  # of each grey level in the training images
    for split, rows in splits.items():
        for name, array in zip(("images", "labels", "ids"), examples, strict=True):
            for block in write_array(folder / f"{split}_{name}.npy", array, rows):
                digest.update(np.ascontiguousarray(block).data)
                if (split, name) == ("train", "images"):
                    counts += [
                        np.bincount(block[..., c].ravel(), minlength=256) for c in range(channels)
                    ]
    levels = np.arange(256)
    mean = counts @ levels / counts.sum(axis=1)
    variance = counts @ levels**2 / counts.sum(axis=1) - mean**2
    dataset = Dataset(
        task="image-classification",
        source=source,
        classes=list(classes),
        image_shape=examples.images.shape[1:],
        examples={split: len(rows) for split, rows in splits.items()},
        mean=mean.tolist(),
        std=np.sqrt(np.maximum(variance, 1)).tolist(),
        fingerprint=digest.hexdigest()[:16],
    )
    utils.write_atomically(folder / "dataset.json", dataset.model_dump_json(indent=2).encode())
    counts_text = ", ".join(f"{count:,} {split}" for split, count in dataset.examples.items())
    print(f"Wrote {folder}: {counts_text} images of {len(classes)} classes.")
    return dataset


def write_array(path: Path, array: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Write some rows of an array to a .npy file, yielding them in blocks.

    The file is replaced, not written over: another process may have mapped the old one.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    shape = (len(rows), *array.shape[1:])
    written = np.lib.format.open_memmap(temporary, "w+", array.dtype, shape)
    for start in range(0, len(rows), 1024):
        block = array[rows[start : start + 1024]]
        written[start : start + 1024] = block
        yield block
    written.flush()
    del written  # Windows cannot rename what is mapped.
    os.replace(temporary, path)


def main() -> None:
    """Prepare the dataset that the command line names."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--source", type=Path, help="folder of images [the digits]")
    parser.add_argument("--data", type=Path, default=DEFAULT_FOLDER, help="where to write [data]")
    parser.add_argument("--image-size", type=int, help="pixels [the images' own size, or 64]")
    parser.add_argument("--seed", type=int, default=0, help="chooses the random split [0]")
    parser.add_argument("--skip-bad", action="store_true", help="leave out unreadable images")
    parser.add_argument("--overwrite", action="store_true", help="replace a dataset in --data")
    arguments = parser.parse_args()
    if arguments.image_size is not None and not 1 <= arguments.image_size <= 4096:
        parser.error(f"--image-size: got {arguments.image_size}, expected 1 to 4096 pixels")
    if arguments.seed < 0:
        parser.error(f"--seed: got {arguments.seed}, expected 0 or more")
    if (arguments.data / "dataset.json").exists() and not arguments.overwrite:
        raise utils.InputError(
            f"{arguments.data / 'dataset.json'} exists. Name another folder with --data, or "
            "replace the dataset with --overwrite."
        )
    if arguments.source is None:
        build_digits(arguments.data, arguments.seed)
    else:
        options = (arguments.image_size, arguments.seed, arguments.skip_bad)
        build_images(arguments.data, arguments.source, *options)


if __name__ == "__main__":
    with utils.exit_codes():
        main()
