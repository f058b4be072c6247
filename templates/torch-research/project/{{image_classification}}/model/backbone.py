"""A pretrained network of timm in place of the stages of net.py.

https://huggingface.co/timm has their weights, and says under which licence.
"""

import importlib
from pathlib import Path
from typing import Any

import torch

from machinery.errors import InputError
from model.parameters import ModelParameters

Shape = tuple[int, int, int]
INSTALL = "python -m pip install -c constraints.txt -r requirements/backbone.txt"


class Backbone(torch.nn.Module):
    """Takes images as they are stored, (B, height, width, channels) uint8; returns (B, features).

    Its weights are random until `load_pretrained`, so that a checkpoint can be loaded without them.
    With model.backbone_learning_rate 0 it is frozen: nothing in it changes, batch norm uses its own
    statistics, and dropout is off.

    Args:
        parameters: name, weights and learning rate of the backbone.
        image_shape: height, width, channels.

    Raises:
        InputError: timm is not installed, or has no such network for these images.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, parameters: ModelParameters, image_shape: Shape) -> None:
        super().__init__()
        self.name, self.path = parameters.backbone, parameters.backbone_weights
        self.own_rate = parameters.backbone_learning_rate
        self.image_shape = image_shape
        try:
            self.network = self.create(num_classes=0)  # Without a classifier.
            with torch.inference_mode():
                found = self.network.eval()(torch.zeros(1, 3, *image_shape[:2]))
        except InputError:
            raise
        except Exception as error:  # Networks of many kinds, each with its own checks.
            raise InputError(
                f"model.backbone: timm cannot make {self.name!r} for images of {image_shape[1]} x "
                f"{image_shape[0]} pixels: {say(error)}. Its names are at "
                "https://huggingface.co/timm, such as resnet18.a1_in1k; build_dataset.py "
                "--image-size prepares other sizes."
            ) from None
        self.features = found.shape[1]
        # Lightning leaves a network in the mode in which it finds it.
        self.network.requires_grad_(self.own_rate > 0).train(self.own_rate > 0)
        for name in ("mean", "std"):
            values = 255 * torch.tensor(self.network.pretrained_cfg[name])
            self.register_buffer(name, values.view(-1, 1, 1))

    def create(self, **options: Any) -> Any:
        """Return a network of timm, for colour images of this size."""
        if ":" in self.name:  # Such as hf-hub:..., of which timm would fetch what it is.
            raise ValueError("the name is an address")
        try:
            timm = importlib.import_module("timm")
        except (ImportError, RuntimeError) as error:  # The latter where torchvision does not fit.
            raise InputError(
                f"model.backbone: timm cannot be imported ({say(error)}). Install it: {INSTALL}"
            ) from None
        configuration = timm.get_pretrained_cfg(self.name)
        if configuration and configuration.fixed_input_size:  # Such as a vision transformer.
            options["img_size"] = self.image_shape[:2]
        return timm.create_model(self.name, **options)

    def load_pretrained(self) -> None:
        """Put pretrained weights in: those of a file, or those that timm downloads.

        Raises:
            InputError: the file cannot be used, or there is nothing to download it from.
        """
        file = {"pretrained_cfg_overlay": {"file": self.path}} if self.path else {}
        try:
            if self.path and not Path(self.path).is_file():
                raise FileNotFoundError("not found")
            # With its classifier: without one, timm would take a file of any network.
            trained = self.create(pretrained=True, **file)
            trained.reset_classifier(0)
            self.network.load_state_dict(trained.state_dict())
        except Exception as error:  # Files of many kinds, and timm's and the hub's own errors.
            if isinstance(error, InputError):
                raise
            page = f"https://huggingface.co/{self.network.pretrained_cfg.get('hf_hub_id', 'timm')}"
            if self.path:
                raise InputError(
                    f"model.backbone_weights: {self.path}: {say(error)}. Expected weights of "
                    f"{self.name} with its classifier, as in model.safetensors of {page}."
                ) from None
            raise InputError(
                f"model.backbone: the weights of {self.name} cannot be downloaded: {say(error)}. "
                f"Bring model.safetensors of {page} here and name it with --model.backbone_weights."
            ) from None

    def train(self, mode: bool = True) -> "Backbone":
        """Switch batch norm and dropout to training, but not in a frozen backbone."""
        return super().train(mode and self.own_rate > 0)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the features, (B, features)."""
        x = images.permute(0, 3, 1, 2).expand(-1, 3, -1, -1)  # Grey, as red, green and blue.
        return self.network((x - self.mean) / self.std)


def say(error: Exception) -> str:
    """Return the beginning of an error's message, on one line."""
    return " ".join(str(error).split())[:300].rstrip(".")


make = Backbone  # So model/net.py calls it, in every template.
