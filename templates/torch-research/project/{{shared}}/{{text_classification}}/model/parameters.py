"""The parameters of the data and of the network; those of the training are in parameters.py."""

from pydantic import Field

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
