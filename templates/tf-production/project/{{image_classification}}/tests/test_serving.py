"""What an exported model returns for arrays, and for image files of all kinds."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from test_model import make_batch, make_dataset, make_net

from model.serving import Served


@pytest.fixture(scope="module")
def served() -> Served:
    """An untrained network for 8 x 8 grey images."""
    return Served(make_net(), make_dataset())


def to_bytes(image: Image.Image, kind: str = "png") -> bytes:
    file = io.BytesIO()
    image.save(file, kind, quality=100)
    return file.getvalue()


def classify(served: Served, files: list[bytes]) -> np.ndarray:
    """Return the probabilities (N, classes) that `encoded` gives for the content of files."""
    return served.signatures()["encoded"](tf.constant(files))["probabilities"].numpy()


def test_both_signatures_agree(served: Served) -> None:
    images = make_batch()[0]["images"]
    outputs = served.signatures()["serving_default"](images=tf.constant(images))
    probabilities = outputs["probabilities"].numpy()
    assert probabilities.shape == (8, 3)
    assert np.allclose(probabilities.sum(axis=1), 1)
    names = outputs["classes"].numpy().astype(str)
    assert names.tolist() == ["abc"[number] for number in probabilities.argmax(axis=1)]
    encoded = classify(served, [to_bytes(Image.fromarray(image[..., 0])) for image in images])
    assert np.allclose(encoded, probabilities, atol=1e-6)


def test_labels_have_no_most_probable_class() -> None:
    served = Served(make_net(), make_dataset(multilabel=True))
    images = tf.constant(make_batch()[0]["images"])
    assert {*served.signatures()["serving_default"](images=images)} == {"probabilities"}


def test_encoded_images_of_another_size_are_cropped_and_scaled(served: Served) -> None:
    square = make_batch()[0]["images"][0, ..., 0].repeat(4, 0).repeat(4, 1)
    wide = np.pad(square, ((0, 0), (10, 10)))  # Cropped away again.
    files = [to_bytes(Image.fromarray(pixels)) for pixels in (square, wide)]
    first, second = classify(served, files)
    assert np.allclose(first, second, atol=1e-6)


def test_every_kind_of_file_is_taken(served: Served) -> None:
    """Grey, in colour and transparent, which is put on white, as build_dataset.py does."""
    x, y = np.meshgrid(*[np.linspace(0, 1, 8)] * 2)
    grey = Image.fromarray(np.uint8(255 * x * y))
    clear = Image.merge("LA", [Image.new("L", grey.size, 0), grey])
    on_white = Image.fromarray(255 - np.asarray(grey))
    kinds = [(grey, "png"), (grey, "bmp"), (grey, "gif"), (grey.convert("RGB"), "png")]
    kinds += [(grey.convert("RGB"), "bmp"), (grey, "jpeg"), (grey.convert("RGB"), "jpeg")]
    kinds += [(on_white, "png"), (clear, "png"), (clear.convert("RGBA"), "png")]
    outputs = classify(served, [to_bytes(image, kind) for image, kind in kinds])
    for row in outputs[1:5]:
        assert np.allclose(row, outputs[0], atol=1e-6)
    for row in outputs[5:7]:  # JPEG loses some.
        assert np.allclose(row, outputs[0], atol=0.01)
    for row in outputs[8:]:
        assert np.allclose(row, outputs[7], atol=1e-3)
    assert not np.allclose(outputs[7], outputs[0], atol=1e-3)
