"""Export a trained experiment as a SavedModel, ready to be served without this project.

    python export.py                                          # best of baseline -> exports/1
    python export.py --experiment experiments/wide            # the next version: exports/2

The graph takes images as they are stored, normalises them, computes in float32, and returns what
people read: {"probabilities": (N, classes) float32, "classes": (N,) the most probable's name}. It
has two signatures: serving_default of images (N, height, width, channels) uint8, and encoded of
image_bytes (N,), the content of PNG, JPEG, BMP or GIF files. SERVING.md shows how to call them.

A version appears whole or not at all, and only once a fresh process with bare TensorFlow has
loaded it and given the same predictions. In assets.extra/export.json it says where it came from.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import command_line
import run_folder
import utils
from command_line import ArgumentParser
from parameters import Parameters


def parse_command_line() -> tuple[argparse.Namespace, Parameters]:
    """Read the command line, and the parameters of the experiment."""
    parser = ArgumentParser(__doc__)
    parser.add_experiment()
    parser.add_argument("--checkpoint", choices=["best", "last"], default="best", help="[best]")
    parser.add_argument("--exports", type=Path, default=Path("exports"), help="folder [exports]")
    arguments = parser.parse_args()
    return arguments, command_line.trained_parameters(arguments)


if __name__ == "__main__":
    with utils.exit_codes():  # --help and bad input are answered before TensorFlow is imported.
        command = parse_command_line()
    # Here and in the process that compares: a GPU rounds otherwise, and has no room for two.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

from quiet import import_tensorflow

import_tensorflow()

import numpy as np
import tensorflow as tf

from build_dataset import Dataset, read_dataset
from evaluate import load_model, make_forward, make_model
from model import net
from model.data_loader import load_split

TOLERANCE = 1e-6  # of a probability, between this process and the one that loads the export
LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in grey: ITU-R BT.601, as Pillow's "L" has it
EXAMPLES = 256  # of test, at most, to compare them on

# What the fresh process runs: no module of this project, as a user elsewhere has none.
LOAD_AND_PREDICT = """
import sys
import numpy as np
import tensorflow as tf
folder, images, probabilities = sys.argv[1:]
classify = tf.saved_model.load(folder).signatures["serving_default"]
outputs = classify(images=tf.constant(np.load(images)))
np.save(probabilities, outputs["probabilities"].numpy())
"""


class Classifier(tf.Module):
    """A network with what a caller needs around it: decoding, probabilities, names."""

    def __init__(self, model: net.Net, dataset: Dataset) -> None:
        super().__init__()
        self.model = model
        self.names = np.array(dataset.classes)
        self.shape = dataset.image_shape
        images = tf.TensorSpec((None, *self.shape), tf.uint8, name="images")
        image_bytes = tf.TensorSpec((None,), tf.string, name="image_bytes")
        self.classify = tf.function(self.classify, [images], autograph=False)
        self.classify_encoded = tf.function(self.classify_encoded, [image_bytes], autograph=False)

    def classify(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return probabilities (N, classes) and class names (N,) of images (N, H, W, C) uint8."""
        logits = self.model(images)
        names = tf.gather(tf.constant(self.names), tf.argmax(logits, axis=1))
        return {"probabilities": tf.nn.softmax(logits), "classes": names}

    def classify_encoded(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Do so for the content of image files (N,)."""
        image = tf.TensorSpec(self.shape, tf.uint8)
        return self.classify(tf.map_fn(self.decode, image_bytes, fn_output_signature=image))

    def decode(self, content: tf.Tensor) -> tf.Tensor:
        """Return the image (H, W, C) uint8 of a file, cropped and scaled as build_dataset.py does.

        An image of this size already comes out as it is; others differ from that of Pillow, which
        build_dataset.py uses, by some grey levels, and are not turned upright.
        """
        height, width, channels = self.shape
        image = tf.cast(tf.io.decode_image(content, expand_animations=False), tf.float32)
        stored = tf.shape(image)[2]  # 1: grey, 2: with alpha, 3: RGB, 4: with alpha
        colours = stored - (stored + 1) % 2
        alpha = tf.where(colours < stored, image[..., -1:] / 255, 1.0)
        image = image[..., :colours] * alpha + 255 * (1 - alpha)  # On white.
        image += tf.zeros(3)  # Grey becomes RGB.
        if channels == 1:
            image = tf.reduce_sum(image * LUMA, axis=2, keepdims=True)
        image = tf.round(image)
        size = tf.shape(image)[:2]
        scale = tf.reduce_min(size / tf.constant((height, width)))
        crop = tf.cast(tf.round(scale * (height, width)), tf.int32)
        top, left = tf.unstack((size - crop) // 2)
        image = image[top : top + crop[0], left : left + crop[1]]
        image = tf.image.resize(image, (height, width), antialias=True)
        image = tf.cast(tf.round(image), tf.uint8)
        return tf.ensure_shape(image, self.shape)


def next_version(exports: Path) -> int:
    """Return one more than the highest version in a folder."""
    numbers = [int(path.name) for path in exports.glob("[0-9]*") if path.name.isdigit()]
    return max(numbers, default=0) + 1


def write_saved_model(folder: Path, model: net.Net, dataset: Dataset, facts: dict) -> None:
    """Write the SavedModel and, beside it, where it came from."""
    classifier = Classifier(model, dataset)
    signatures = {
        "serving_default": classifier.classify,
        "encoded": classifier.classify_encoded,
    }
    tf.saved_model.save(classifier, str(folder), signatures=signatures)
    (folder / "assets.extra").mkdir()
    (folder / "assets.extra" / "export.json").write_text(json.dumps(facts, indent=2))


def predict_elsewhere(folder: Path, images: np.ndarray) -> np.ndarray:
    """Return the probabilities (N, classes) that a SavedModel gives in a process of its own.

    Args:
        folder: the SavedModel.
        images: (N, height, width, channels) uint8
    """
    with tempfile.TemporaryDirectory() as empty:
        np.save(Path(empty, "images.npy"), images)
        words = [sys.executable, "-I", "-c", LOAD_AND_PREDICT, str(folder.absolute())]
        words += ["images.npy", "probabilities.npy"]
        run = subprocess.run(words, cwd=empty, capture_output=True, text=True, check=False)
        if run.returncode:
            raise RuntimeError(f"{folder} does not load with bare TensorFlow: {run.stderr}")
        return np.load(Path(empty, "probabilities.npy"))


def export(arguments: argparse.Namespace, parameters: Parameters) -> Path:
    """Write the next version of an experiment's checkpoint; return its folder.

    Raises:
        InputError: the checkpoint is damaged, or does not belong to the data or the network.
    """
    dataset = read_dataset(arguments.data)
    path = arguments.experiment / f"{arguments.checkpoint}.safetensors"
    arrays, progress = run_folder.load_trained(path, dataset.fingerprint)
    images = load_split(arguments.data, dataset, "test").images
    images = images.take(np.arange(min(len(images), EXAMPLES)), axis=0)
    # Whatever it was trained in: every processor computes in float32, and to nearly the same bits.
    model = make_model(parameters, dataset, "float32")
    load_model(model, arrays, path)
    expected = tf.nn.softmax(make_forward(model, dataset)(images)).numpy()
    arguments.exports.mkdir(parents=True, exist_ok=True)
    facts = {
        "experiment": str(arguments.experiment),
        "checkpoint": arguments.checkpoint,
        "step": progress.step,
        "best": progress.best,
        "classes": dataset.classes,
        "image_shape": dataset.image_shape,
        "fingerprint": dataset.fingerprint,
        "git_commit": run_folder.git_state()[0],
        "parameters": utils.flatten(parameters),
        "versions": {"tensorflow": tf.__version__, **utils.versions("keras")},
    }
    with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=arguments.exports) as temporary:
        unchecked = Path(temporary, "model")
        write_saved_model(unchecked, model, dataset, facts)
        difference = float(np.abs(predict_elsewhere(unchecked, images) - expected).max())
        if not difference <= TOLERANCE:
            raise RuntimeError(f"the export of {path} predicts otherwise, by {difference:.2g}")
        folder = arguments.exports / str(next_version(arguments.exports))
        os.rename(unchecked, folder)  # Another export that took the number makes this one fail.
    print(
        f"{folder}: {path} of step {progress.step:,}. A fresh process with bare TensorFlow gave "
        f"the same predictions for {len(images)} examples of test, to {difference:.1g}."
    )
    return folder


if __name__ == "__main__":
    with utils.exit_codes():
        export(*command)
