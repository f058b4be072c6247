"""What the tiny project needs of its framework, which is NumPy."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from machinery import checkpoints
from machinery.errors import InputError
from parameters import ModelParameters


def choose_device(name: str) -> str:
    """Return the only device; raise InputError where another is asked for."""
    if name not in ("auto", "cpu"):
        raise InputError(f"--device: got {name}, expected one that is here: cpu.")
    return "cpu"


class State:
    """A linear classifier on random features, and its momentum."""

    optimizer_name = "SGD with momentum"
    is_elastic = False

    def __init__(self, parameters: ModelParameters, classes: int) -> None:
        generator = np.random.default_rng(0)
        self.directions = generator.normal(size=(2, parameters.width)) * parameters.scale
        self.shifts = generator.uniform(0, 2 * np.pi, parameters.width)
        self.weights = np.zeros((parameters.width, classes))
        self.velocity = np.zeros_like(self.weights)

    def features(self, points: np.ndarray) -> np.ndarray:
        return np.cos(points @ self.directions + self.shifts)

    def log_probabilities(self, features: np.ndarray) -> np.ndarray:
        logits = features @ self.weights
        logits = logits - logits.max(axis=1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    def start(self) -> None:
        """There are no pretrained weights."""

    def initial_arrays(self) -> Mapping[str, np.ndarray]:
        return self.to_arrays()

    def to_arrays(self) -> Mapping[str, np.ndarray]:
        return {"model.weights": self.weights, "optimizer.velocity": self.velocity}

    def load(self, arrays: dict[str, np.ndarray], path: Path) -> None:
        expected = {name: array.shape for name, array in self.to_arrays().items()}
        checkpoints.check_fit(arrays, expected, path)
        self.weights = arrays["model.weights"].copy()
        self.velocity = arrays["optimizer.velocity"].copy()
