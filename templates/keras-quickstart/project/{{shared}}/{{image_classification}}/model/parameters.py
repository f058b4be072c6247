"""The parameters of the data and of the network; those of the training are in parameters.py."""

from pydantic import Field

from utils import Section


class DataParameters(Section):
    """How model/data_loader.py feeds the images."""

    batch_size: int = Field(64, ge=1, description="examples per optimizer step")
    shift: int = Field(1, ge=0, description="random shift of a training image, at most, in pixels")
    flip: bool = Field(False, description="mirror training images left to right at random")
    workers: int = Field(
        0, ge=0, description="processes or threads that load; 0: none beside training"
    )


class ModelParameters(Section):
    """What model/net.py builds."""

    width: int = Field(32, ge=1, description="channels of the first stage; each next one doubles")
    stages: int = Field(
        2, ge=1, le=8, description="stages of two convolutions; each halves the image"
    )
    dropout: float = Field(0.2, ge=0, lt=1, description="probability of dropping a feature")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="probability moved off the label")
