"""A run with a pretrained network, from train.py to evaluate.py; the networks here are small."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from fork_server import ForkServer
from projects import assert_same_results, experiment, template, tiny

RATE = 1e-2

# What a library of networks has, for `setup` of the fork server. A kernel with all sides of three
# has the same shape in PyTorch and Keras, and both list the weights in the same order.
TORCH = """
import sys, types, numpy, torch
class Tiny(torch.nn.Module):
    pretrained_cfg = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1)}
    def __init__(self):
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 3, 3, stride=2, bias=False)
        self.norm, self.dropout = torch.nn.BatchNorm2d(3), torch.nn.Dropout(0.5)
    def reset_classifier(self, classes):
        pass
    def forward(self, images):
        return self.dropout(self.norm(self.convolution(images))).mean(dim=(2, 3))
def create_model(name, pretrained=False, pretrained_cfg_overlay=None, num_classes=None):
    network = Tiny()
    if pretrained:
        arrays = numpy.load(pretrained_cfg_overlay["file"])
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        network.load_state_dict(tensors, strict=False)
    return network
sys.modules["timm"] = types.SimpleNamespace(
    create_model=create_model, get_pretrained_cfg=lambda name: None
)
"""
KERAS = """
import sys, types, keras, numpy
__name__ = "tiny"
sys.modules["tiny"] = types.SimpleNamespace(preprocess_input=lambda images: images / 127.5 - 1)
def Tiny(include_top, weights, input_shape):
    images = keras.Input(input_shape)
    x = keras.layers.Conv2D(3, 3, strides=2, use_bias=False, name="convolution")(images)
    x = keras.layers.BatchNormalization(name="norm")(x)
    network = keras.Model(images, keras.layers.Dropout(0.5)(x))
    if weights:
        network.set_weights([*numpy.load(weights).values()])
    return network
keras.applications.Tiny = Tiny
"""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A file of weights that no network begins with."""
    generator = np.random.default_rng(0)
    names = ("weight", "bias", "running_mean", "running_var")
    shapes = {"convolution.weight": (3, 3, 3, 3), **{f"norm.{name}": (3,) for name in names}}
    path = tmp_path / "weights.npz"
    arrays: dict[str, Any] = {name: generator.random(shapes[name], np.float32) for name in shapes}
    np.savez(path, **arrays)
    return path


@pytest.mark.in_full
def test_a_run_with_a_backbone(project: Path, server: ForkServer, weights: Path) -> None:
    """It learns at its own rate, and is continued and evaluated without the file; or is frozen."""
    setup = TORCH if template(project) == "torch-research" else KERAS
    begun = dict(np.load(weights))
    training = {"learning_rate": RATE, "warmup_epochs": 0, "weight_decay": 0.0, "clip_norm": 0.0}
    changes: dict[str, Any] = {f"training.{name}": value for name, value in training.items()}
    changes |= {"model.backbone": "Tiny", "model.backbone_weights": str(weights)}

    def train(folder: Path, code: int, stop_at: int | None = None) -> list[np.ndarray]:
        """Return the weights of the last checkpoint."""
        result = server.run("train", "--experiment", folder, stop_at=stop_at, setup=setup)
        assert result.code == code, result.output
        last = load_file(project / folder / "last.safetensors")
        return [array for name, array in last.items() if name.startswith("model.")]

    frozen = train(experiment(project, "frozen", tiny(project, changes)), 0)
    for name, array in begun.items():
        assert any(np.array_equal(array, found) for found in frozen), name

    tuned = tiny(project, changes | {"model.backbone_learning_rate": RATE / 10})
    whole, folder = (experiment(project, name, tuned) for name in ("tuned", "stopped-tuned"))
    train(whole, 0)
    found = {array.shape: array for array in train(folder, 75, stop_at=1)}
    moved = np.abs(found[3, 3, 3, 3] - begun["convolution.weight"]).max()
    # A first step of Adam is as long as the rate. Keras takes two steps at once.
    assert 0.9 < moved / (RATE / 10) < 2.1

    weights.unlink()
    train(folder, 0)
    assert_same_results(project / folder, project / whole)
    evaluated = server.run("evaluate", "--experiment", folder, setup=setup)
    assert evaluated.code == 0, evaluated.output
