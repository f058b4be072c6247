"""Prepare images for training: the handwritten digits of scikit-learn, or a folder of your own.

    python build_dataset.py                      # 1,797 digits of 8 x 8 pixels, no download
    python build_dataset.py --source photos      # photos/cat/1.png, photos/dog/2.jpg, ...

A source folder has one folder of images per class, or train/, val/ and test/ with those in them;
what is missing of val and test is split off train, 10 % each, keeping the shares of the classes.

Written to data/: {train,val,test}_images.npy (N, height, width, channels) uint8, _labels.npy (N,)
int64, _ids.npy (N,) names, and dataset.json, which is written last: it says that all is there.
"""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import pydantic
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


class Example(NamedTuple):
    """One image file and its class."""

    path: Path
    label: int


def read_dataset(folder: Path) -> Dataset:
    """Read dataset.json; raise InputError where it is missing or not ours."""
    path = folder / "dataset.json"
    try:
        return Dataset.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise utils.InputError(
            f"{path}: not found. Prepare the data: python build_dataset.py --data {folder}"
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
        print(f"{folder} holds no dataset yet: preparing the handwritten digits.")
        return build_digits(folder)
    return read_dataset(folder)


def read_arrays(folder: Path, dataset: Dataset, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Map the images and labels of a split into memory.

    Returns:
        images (N, height, width, channels) uint8 and labels (N,) int64

    Raises:
        InputError: the arrays are missing or are not what dataset.json says.
    """
    count = dataset.examples[split]
    images = _read_array(folder / f"{split}_images.npy", (count, *dataset.image_shape), np.uint8)
    labels = _read_array(folder / f"{split}_labels.npy", (count,), np.int64)
    if labels.min() < 0 or labels.max() >= len(dataset.classes):
        raise utils.InputError(
            f"{folder}/{split}_labels.npy: got class numbers from {labels.min()} to "
            f"{labels.max()}, expected 0 to {len(dataset.classes) - 1}. {_again(folder)}"
        )
    return images, labels


def _read_array(path: Path, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    try:
        array = np.load(path, mmap_mode="c")  # Copy on write: PyTorch wants writable memory.
    except (OSError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or "not a NumPy array"
        raise utils.InputError(f"{path}: {reason}. {_again(path.parent)}") from None
    if array.shape != shape or array.dtype != dtype:
        raise utils.InputError(
            f"{path}: got {array.shape} {array.dtype}, expected {shape} {np.dtype(dtype)} as in "
            f"dataset.json. {_again(path.parent)}"
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
    # Pixels are counts from 0 to 16.
    images = np.round(digits.images[..., None] * (255 / 16)).astype(np.uint8)
    rest, test = train_test_split(
        np.arange(len(images)), test_size=0.2, random_state=seed, stratify=digits.target
    )
    train, val = train_test_split(
        rest, test_size=0.125, random_state=seed, stratify=digits.target[rest]
    )
    arrays = {}
    for split, rows in zip(SPLITS, (train, val, test), strict=True):
        ids = np.array([f"digit-{row}" for row in rows])
        arrays[split] = (images[rows], digits.target[rows].astype(np.int64), ids)
    classes = [str(digit) for digit in range(10)]
    return write_dataset(folder, arrays, classes, "scikit-learn's load_digits()")


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
    classes, examples = find_examples(source)
    everything = [example for members in examples.values() for example in members]
    with ThreadPoolExecutor() as threads:  # Pillow decodes outside Python's global lock.
        scans = list(threads.map(scan, [example.path for example in everything]))
        sizes = {found[:2] for found in scans if not isinstance(found, str)}
        grey = all(found[2] for found in scans if not isinstance(found, str))
        shape = choose_shape(sizes, size)
        read = functools.partial(read_image, shape=shape, grey=grey)
        images = dict(zip(everything, threads.map(read, [e.path for e in everything]), strict=True))
    bad = {example.path: found for example, found in images.items() if isinstance(found, str)}
    if bad and not skip_bad:
        shown = "\n  ".join(f"{path}: {reason}" for path, reason in list(bad.items())[:5])
        raise utils.InputError(
            f"{source}: {len(bad)} of {len(images)} images cannot be read; nothing was written.\n"
            f"  {shown}\nMend or remove them, or leave them out with --skip-bad."
        )
    for path, reason in bad.items():
        print(f"left out: {path}: {reason}")
    arrays = {}
    for split, members in examples.items():
        kept = [example for example in members if example.path not in bad]
        if {example.label for example in kept} != {example.label for example in members}:
            raise utils.InputError(f"{source}: a class of {split} has no image that can be read.")
        labels = np.array([example.label for example in kept], np.int64)
        ids = np.array([example.path.relative_to(source).as_posix() for example in kept])
        arrays[split] = (np.stack([images[example] for example in kept]), labels, ids)
    print(
        f"Found {len(images) - len(bad):,} {'grey' if grey else 'colour'} images of "
        f"{len(classes)} classes in {source}, {describe(sizes)}; "
        f"stored as {shape[0]} x {shape[1]} pixels."
    )
    return write_dataset(folder, split_off(arrays, seed), classes, str(source))


def find_examples(source: Path) -> tuple[list[str], dict[str, list[Example]]]:
    """Return the class names and the image files of each split folder, sorted by name."""
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
    return classes, {
        split: [Example(path, classes.index(name)) for name in found for path in found[name]]
        for split, found in listed.items()
    }


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


def read_image(path: Path, shape: tuple[int, int], grey: bool) -> np.ndarray | str:
    """Decode, turn upright, scale, and crop to the middle.

    Returns:
        (height, width, channels) uint8, or a sentence that says why the image cannot be read.
    """
    height, width = shape
    try:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):  # 16 bits a pixel: keep the upper 8.
                upright = Image.fromarray((np.asarray(upright) // 256).astype(np.uint8))
            upright = upright.convert("L" if grey else "RGB")
            if upright.size != (width, height):
                upright = ImageOps.fit(upright, (width, height), Image.Resampling.BILINEAR)
            return np.asarray(upright).reshape(height, width, 1 if grey else 3)
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


Arrays = tuple[np.ndarray, np.ndarray, np.ndarray]  # images, labels, ids of one split


def split_off(arrays: Mapping[str, Arrays], seed: int) -> dict[str, Arrays]:
    """Split the missing val and test off train at random, keeping the shares of the classes.

    Images that are equal in every pixel go to the same split: nothing is tested on what it was
    trained on. Where the splits were given, such leaks are printed.
    """
    splits = dict(arrays)
    for number, split in enumerate(name for name in SPLITS if name not in arrays):
        images, labels, ids = splits["train"]
        content = digests(images)
        held_out = np.zeros(len(labels), bool)
        for label in np.unique(labels):
            unique = np.unique(content[labels == label])
            if len(unique) < 2:
                raise utils.InputError(
                    f"the class of {ids[labels == label][0]} has too few different images to "
                    "split; expected 3 or more. Add images, or give train/, val/ and test/."
                )
            count = max(1, round(HELD_OUT * len(unique)))
            order = np.random.default_rng((seed, number, int(label))).permutation(unique)
            held_out |= np.isin(content, order[:count])
        splits[split] = (images[held_out], labels[held_out], ids[held_out])
        splits["train"] = (images[~held_out], labels[~held_out], ids[~held_out])
    trained = set(digests(splits["train"][0]))
    for split in ("val", "test"):
        leaked = [i for i, content in enumerate(digests(splits[split][0])) if content in trained]
        if leaked:
            first = splits[split][2][leaked[0]]
            print(f"warning: {len(leaked)} images of {split} are in train too, such as {first}.")
    return {split: splits[split] for split in SPLITS}


def digests(images: np.ndarray) -> np.ndarray:
    """Return one digest an image: equal digests, equal pixels."""
    return np.array([hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in images])


def write_dataset(
    folder: Path, splits: Mapping[str, Arrays], classes: Sequence[str], source: str
) -> Dataset:
    """Write the arrays and, last, dataset.json; return what it holds."""
    images = splits["train"][0]
    # From counts of the 256 grey levels: exact, and without a float copy of the images.
    levels = np.arange(256)
    counts = [np.bincount(images[..., c].ravel(), minlength=256) for c in range(images.shape[-1])]
    mean = [float(np.average(levels, weights=count)) for count in counts]
    variance = [
        np.average((levels - m) ** 2, weights=count) for m, count in zip(mean, counts, strict=True)
    ]
    digest = hashlib.sha256(repr(classes).encode())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").unlink(missing_ok=True)
    for split, arrays in splits.items():
        for name, array in zip(("images", "labels", "ids"), arrays, strict=True):
            np.save(folder / f"{split}_{name}.npy", array)
            digest.update(np.ascontiguousarray(array).data)
    dataset = Dataset(
        task="image-classification",
        source=source,
        classes=list(classes),
        image_shape=images.shape[1:],
        examples={split: len(arrays[1]) for split, arrays in splits.items()},
        mean=mean,
        std=[max(float(np.sqrt(v)), 1.0) for v in variance],
        fingerprint=digest.hexdigest()[:16],
    )
    utils.write_atomically(folder / "dataset.json", dataset.model_dump_json(indent=2).encode())
    counts_text = ", ".join(f"{count:,} {split}" for split, count in dataset.examples.items())
    print(f"Wrote {folder}: {counts_text} images of {len(classes)} classes.")
    return dataset


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
        build_images(
            arguments.data,
            arguments.source,
            arguments.image_size,
            arguments.seed,
            arguments.skip_bad,
        )


if __name__ == "__main__":
    with utils.exit_codes():
        main()
