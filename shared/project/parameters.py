"""The schema of params.yaml: every parameter with its type, range, meaning and default.

A new parameter is one line here or in model/parameters.py, and the code that uses it. If you rename
one, `old_names` in machinery/parameter_file.py says how older files stay readable.

    python parameters.py     # writes schemas/, by which editors complete and check the files
"""

import math
from typing import Any, Literal

from pydantic import Field

from machinery.errors import InputError
from machinery.parameter_file import Section
from model.parameters import DataParameters, ModelParameters


class TrainingParameters(Section):
    """How train.py optimizes."""

    epochs: int = Field(15, ge=1, le=1_000_000, description="passes over the training examples")
    learning_rate: float = Field(
        4e-3, gt=0, le=1e30, description="highest learning rate of the schedule"
    )
    warmup_epochs: float = Field(2.0, ge=0, le=1_000_000, description="epochs of linear rise to it")
    schedule: Literal["cosine", "constant"] = Field(
        "cosine", description="then: a cosine to zero at the last epoch, or constant"
    )
    weight_decay: float = Field(1e-2, ge=0, le=1000, description="decoupled weight decay of AdamW")
    clip_norm: float = Field(
        1.0, ge=0, le=1_000_000, description="clip gradients to this norm; 0: off"
    )
    average: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay of the moving average of the weights that is evaluated; 0: off",
    )
    accumulate: int = Field(
        1,
        ge=1,
        le=1_000_000,
        description="parts that a batch is computed in, to save memory; gradients add up",
    )
    on_out_of_memory: Literal["stop", "split"] = Field(
        "stop",
        description="split: repeat the step in twice as many parts, and keep to that; batch norm "
        "then sees the parts",
    )
    sharding: Literal["none", "full"] = Field(
        "none",
        description="full: each of several processes keeps a part of the weights (FSDP2)",
    )
    patience: int = Field(
        0, ge=0, le=1_000_000, description="stop after so many epochs without gain; 0: never"
    )
    checkpoint_minutes: float = Field(
        10.0, gt=0, le=1_000_000, description="longest time between checkpoints"
    )
    precision: Literal["auto", "bfloat16", "float16", "float32"] = Field(
        "auto",
        description="auto: bfloat16 or, on a T4 or V100, float16, where the hardware computes in "
        "it; else float32",
    )
    compile: bool = Field(False, description="compile the network; pays off for long runs")
    deterministic: bool = Field(False, description="same bits again on a GPU too, slower there")


class Parameters(Section):
    """All of params.yaml."""

    seed: int = Field(
        0, ge=0, lt=2**32, description="of initial weights, order, augmentation and dropout"
    )
    data: DataParameters = DataParameters()
    model: ModelParameters = ModelParameters()
    training: TrainingParameters = TrainingParameters()

    def check_data(self, dataset: Any) -> None:
        """Refuse more parts of a batch than the smallest one has examples."""
        super().check_data(dataset)
        examples = dataset.examples["train"]
        smallest = examples // math.ceil(examples / self.data.batch_size)
        if (parts := self.training.accumulate) > smallest:
            raise InputError(
                f"training.accumulate: got {parts}, expected at most {smallest}, as each part of a "
                "batch needs an example. Change it with --from."
            )


if __name__ == "__main__":
    from machinery import schemas

    schemas.command_line(__doc__, Parameters)
