"""The schema of the tiny project's params.yaml."""

from typing import Any

from pydantic import Field

from machinery.errors import InputError
from machinery.parameter_file import Section


class DataParameters(Section):
    """How the points are fed."""

    batch_size: int = Field(16, ge=1, description="examples per step")
    noise: float = Field(0.1, ge=0, description="noise that is added to a training example")
    mirror: bool = Field(False, description="mirror them")


class ModelParameters(Section):
    """What the network is."""

    width: int = Field(8, ge=1, description="random features")
    scale: float = Field(1.0, gt=0, lt=100, description="of the random features")
    kind: str = Field("cosine", description="of the random features")

    def check_data(self, dataset: Any) -> None:
        """Refuse more features than examples."""
        if self.width > dataset.examples["train"]:
            raise InputError(f"model.width: {self.width} features, but fewer examples.")


class TrainingParameters(Section):
    """How it is trained."""

    epochs: int = Field(4, ge=1, description="passes over the examples")
    learning_rate: float = Field(0.5, gt=0, description="of each step")
    momentum: float = Field(0.5, ge=0, lt=1, description="of the steps before")
    accumulate: int = Field(1, ge=1, description="parts of a batch, for advice; not used here")
    warmup_epochs: float = Field(1.0, ge=0, description="of lower rate")
    schedule: str = Field("constant", description="the rate changes with the epochs, or not")
    patience: int = Field(0, ge=0, description="stop after so many epochs without gain; 0: never")
    checkpoint_minutes: float = Field(10.0, gt=0, description="longest time between checkpoints")
    pause: float = Field(0.0, ge=0, description="seconds to sleep each step")


class Parameters(Section):
    """What params.yaml holds."""

    seed: int = Field(0, ge=0, lt=2**32, description="of everything random")
    data: DataParameters = DataParameters()
    model: ModelParameters = ModelParameters()
    training: TrainingParameters = TrainingParameters()
