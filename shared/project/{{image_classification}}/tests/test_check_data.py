"""check_data.py finds what is not as in training, in pictures."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from build_dataset import build_images, read_unlabelled
from machinery.features import concatenate_features
from machinery.shifts import Finding, compare
from machinery.statistics_file import collect

SIDE = 12
Find = Callable[[Path], list[Finding]]


def draw(seed: int) -> np.ndarray:
    """A picture of a light of its own, a little red, with noise."""
    generator = np.random.default_rng(seed)
    light = generator.normal((130, 110, 100), 15) + generator.normal(0, 25, (SIDE, SIDE, 3))
    return light.clip(0, 255).astype(np.uint8)


def write(folder: Path, pictures: dict[str, Image.Image]) -> Path:
    for name, picture in pictures.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    return folder


@pytest.fixture(scope="module")
def find(tmp_path_factory: pytest.TempPathFactory) -> Find:
    """Return what finds the differences of new examples to those of the training."""
    folder = tmp_path_factory.mktemp("trained")
    pictures = {f"{seed % 2}/{seed}.png": Image.fromarray(draw(seed)) for seed in range(300)}
    dataset = build_images(folder / "data", write(folder / "pictures", pictures))
    expected = collect(dataset, folder / "data").features

    def find(path: Path) -> list[Finding]:
        parts = [*dataset.read_features([path], False, read_unlabelled)]
        return compare(expected, concatenate_features(parts), dataset.has_units)[0]

    return find


def change(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[Image.Image], Image.Image]:
    """Return what changes the numbers of a picture."""

    def changed(picture: Image.Image) -> Image.Image:
        numbers = function(np.asarray(picture, np.float32))
        return Image.fromarray(numbers.clip(0, 255).astype(np.uint8))

    return changed


# What is done to new pictures, and the feature that is to be found first.
PLANTED: dict[str, tuple[Callable[[Image.Image], Image.Image], set[str]]] = {
    "darker": (change(lambda numbers: numbers * 0.6), {"brightness"}),
    "less contrast": (change(lambda numbers: numbers / 2 + 60), {"contrast"}),
    "blurred": (lambda picture: picture.filter(ImageFilter.GaussianBlur(1)), {"detail"}),
    "grey": (lambda picture: picture.convert("L"), {"colour"}),
    "red and blue changed": (change(lambda numbers: numbers[..., ::-1]), {"red", "blue"}),
    "larger": (
        lambda picture: picture.resize((40, 30), Image.Resampling.NEAREST),
        {"width of the file", "height of the file"},
    ),
}


@pytest.mark.parametrize("case", PLANTED)
def test_what_is_planted_is_found(find: Find, tmp_path: Path, case: str) -> None:
    plant, features = PLANTED[case]
    pictures = {f"{seed}.png": plant(Image.fromarray(draw(seed))) for seed in range(1000, 1100)}
    found = {each.feature for each in find(write(tmp_path / "new", pictures)) if each.counts}
    assert features <= found


def test_what_is_as_in_training_is_clean(find: Find, tmp_path: Path) -> None:
    pictures = {f"{seed}.png": Image.fromarray(draw(seed)) for seed in range(2000, 2100)}
    assert find(write(tmp_path / "new", pictures)) == []
