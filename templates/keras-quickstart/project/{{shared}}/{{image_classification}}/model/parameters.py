"""The parameters of the data and of the network; those of the training are in parameters.py."""

from typing import Any

from pydantic import Field

from machinery.class_balance import refuse_balance
from machinery.errors import InputError
from machinery.parameter_file import Section


class DataParameters(Section):
    """How the network gets the images: see model/data_loader.py and model/augmentation.py."""

    batch_size: int = Field(64, ge=1, le=1_000_000, description="examples per optimizer step")
    shift: int = Field(
        1, ge=0, le=4096, description="random shift of a training image, at most, in pixels"
    )
    flip: bool = Field(False, description="mirror training images left to right at random")
    cutout: int = Field(
        0, ge=0, le=4096, description="side of the square erased in a training image, in pixels"
    )
    mixup: float = Field(
        0.0, ge=0, le=100, description="mix training images in pairs, the more the higher; 0: off"
    )
    workers: int = Field(
        0, ge=0, le=256, description="processes or threads that load; 0: none beside training"
    )

    def check_data(self, dataset: Any) -> None:
        """Refuse what may leave nothing of an image, or finds no other image to mix it with."""
        height, width = dataset.image_shape[:2]
        for name, pixels in (("shift", self.shift), ("cutout", self.cutout)):
            if pixels >= min(height, width):
                raise InputError(
                    f"data.{name}: got {pixels}, expected less than {min(height, width)} for "
                    f"images of {width} x {height} pixels. Change it with --from."
                )
        if self.mixup and self.batch_size == 1:
            raise InputError(
                f"data.mixup: got {self.mixup:g} with a data.batch_size of 1, expected 0, as an "
                "image is mixed with another one of its batch. Change one with --from."
            )


class ModelParameters(Section):
    """What model/net.py builds."""

    width: int = Field(
        32, ge=1, le=2**16, description="channels of the first stage; each next one doubles"
    )
    stages: int = Field(
        2, ge=1, le=8, description="stages of two convolutions; each halves the image"
    )
    dropout: float = Field(0.2, ge=0, lt=1, description="probability of dropping a feature")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="probability moved off the label")
    balance: float = Field(
        0.0, ge=0, le=1, description="how far rare classes count for more; 1: as frequent ones"
    )
    backbone: str = Field(
        "", description="name of a pretrained network in place of the stages; empty: none"
    )
    backbone_weights: str = Field("", description="file of its weights; empty: download them")
    backbone_learning_rate: float = Field(
        0.0, ge=0, le=1e30, description="its highest learning rate; 0: it stays as it is"
    )

    def check_data(self, dataset: Any) -> None:
        """Refuse so many stages that the last has one pixel: batch norm needs several values.

        And a balance of classes that nobody counted, and what is set for no backbone.
        """
        several = "an image may have several labels" if dataset.multilabel else ""
        refuse_balance(self.balance, dataset.counts, several)
        if self.backbone:
            return
        for name in ("backbone_weights", "backbone_learning_rate"):
            if value := getattr(self, name):
                raise InputError(
                    f"model.{name}: got {value!r} without model.backbone. Name the network that it "
                    "is for."
                )
        side = max(dataset.image_shape[:2])
        most = max(side.bit_length() - 1, 1)
        if self.stages > most:
            raise InputError(
                f"model.stages: got {self.stages}, expected at most {most} for images of {side} "
                "pixels: each stage halves them, and the last needs two. Change it with --from."
            )
