"""check_data.py finds what is not as in training, in pictures."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from build_dataset import Dataset, build_images

SIDE = 12
Check = Callable[[Path], tuple[dict[str, Any], str]]


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
def check(
    tmp_path_factory: pytest.TempPathFactory, check_against: Callable[[Dataset, Path], Check]
) -> Check:
    folder = tmp_path_factory.mktemp("trained")
    pictures = {f"{seed % 2}/{seed}.png": Image.fromarray(draw(seed)) for seed in range(300)}
    source = write(folder / "pictures", pictures)
    return check_against(build_images(folder / "data", source), folder / "data")


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
def test_what_is_planted_is_found(check: Check, tmp_path: Path, case: str) -> None:
    plant, features = PLANTED[case]
    pictures = {f"{seed}.png": plant(Image.fromarray(draw(seed))) for seed in range(1000, 1100)}
    report, _ = check(write(tmp_path / "new", pictures))
    assert report["verdict"] == "train anew"
    assert features <= {each["feature"] for each in report["findings"]}


def test_what_is_as_in_training_is_clean(check: Check, tmp_path: Path) -> None:
    pictures = {f"{seed}.png": Image.fromarray(draw(seed)) for seed in range(2000, 2100)}
    report, _ = check(write(tmp_path / "new", pictures))
    assert report["findings"] == []
    assert report["features"] == 9
