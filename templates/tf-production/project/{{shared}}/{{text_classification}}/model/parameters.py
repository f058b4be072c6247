"""The parameters of the data and of the network; those of the training are in parameters.py."""

from pathlib import Path
from typing import Any

from pydantic import Field

from machinery.errors import InputError
from machinery.parameter_file import Section


class DataParameters(Section):
    """How the network gets the texts: see model/data_loader.py and model/augmentation.py."""

    batch_size: int = Field(32, ge=1, le=1_000_000, description="examples per optimizer step")
    hide: float = Field(
        0.1, ge=0, lt=1, description="probability of hiding a word of a training text as unknown"
    )
    workers: int = Field(
        0, ge=0, le=256, description="processes or threads that load; 0: none beside training"
    )


class ModelParameters(Section):
    """What model/net.py builds."""

    width: int = Field(64, ge=1, le=2**16, description="numbers that stand for a word")
    blocks: int = Field(1, ge=0, le=1000, description="residual blocks of two convolutions")
    dropout: float = Field(0.3, ge=0, lt=1, description="probability of dropping a feature")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="probability moved off the label")
    backbone: str = Field(
        "", description="a pretrained network in place of embeddings and blocks; empty: none"
    )
    backbone_weights: str = Field("", description="folder of its weights; empty: as it is named")
    backbone_learning_rate: float = Field(
        0.0, ge=0, le=1e30, description="its highest learning rate; 0: it stays as it is"
    )

    def check_data(self, dataset: Any) -> None:
        """Refuse a backbone that the texts were not cut for, and what is set for no backbone."""
        if not self.backbone:
            for name in ("backbone_weights", "backbone_learning_rate"):
                if value := getattr(self, name):
                    raise InputError(
                        f"model.{name}: got {value!r} without model.backbone. Name the network "
                        "that it is for."
                    )
            return
        if not Path(__file__).with_name("backbone.py").exists():
            raise InputError(
                f"model.backbone: got {self.backbone!r}, expected none: only projects with PyTorch "
                "have pretrained networks for texts."
            )
        made_for = dataset.backbone.name if dataset.backbone else "none"
        if made_for != self.backbone:
            raise InputError(
                f"model.backbone: got {self.backbone!r}, but the data was prepared for {made_for}. "
                "A pretrained network needs texts in its own tokens. Prepare them, with the "
                f"options that made the data: python build_dataset.py --backbone {self.backbone} "
                "--data FOLDER"
            )
