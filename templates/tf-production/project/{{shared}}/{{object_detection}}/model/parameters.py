"""The parameters of the data and of the network; those of the training are in parameters.py."""

from typing import Any

from pydantic import Field

from machinery.errors import InputError
from machinery.parameter_file import Section


class DataParameters(Section):
    """How the network gets the images: see model/data_loader.py and model/augmentation.py."""

    batch_size: int = Field(16, ge=1, le=1_000_000, description="examples per optimizer step")
    shift: int = Field(
        4, ge=0, le=4096, description="random shift of a training image, at most, in pixels"
    )
    flip: bool = Field(False, description="mirror training images left to right at random")
    workers: int = Field(
        0, ge=0, le=256, description="processes or threads that load; 0: none beside training"
    )

    def check_data(self, dataset: Any) -> None:
        """Refuse a shift that may leave nothing of an image."""
        height, width = dataset.image_shape[:2]
        if self.shift >= min(height, width):
            raise InputError(
                f"data.shift: got {self.shift}, expected less than {min(height, width)} for images "
                f"of {width} x {height} pixels. Change it with --from."
            )


class ModelParameters(Section):
    """What model/net.py builds."""

    width: int = Field(
        16, ge=1, le=2**16, description="channels of the first stage; each next one doubles"
    )
    stages: int = Field(
        2, ge=1, le=8, description="stages of two convolutions; each doubles a cell of the grid"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="probability of dropping a channel")
    box_weight: float = Field(
        1.0, ge=0, le=1000, description="weight of the places of boxes beside their classes"
    )

    def check_data(self, dataset: Any) -> None:
        """Refuse so many stages that the grid has one cell: batch norm needs several values."""
        side = max(dataset.image_shape[:2])
        most = max(side.bit_length() - 1, 1)
        if self.stages > most:
            raise InputError(
                f"model.stages: got {self.stages}, expected at most {most} for images of {side} "
                "pixels: each stage halves them, and the grid needs two cells. Change it with "
                "--from."
            )
