"""The parameters of the data and of the network; those of the training are in parameters.py."""

from typing import Any

from pydantic import Field

from machinery.class_balance import refuse_balance
from machinery.parameter_file import Section


class DataParameters(Section):
    """How the rows are fed: see model/data_loader.py and model/augmentation.py."""

    batch_size: int = Field(32, ge=1, le=1_000_000, description="examples per optimizer step")
    hide: float = Field(
        0.0, ge=0, lt=1, description="probability of hiding a cell of a training row as missing"
    )
    workers: int = Field(
        0, ge=0, le=256, description="processes or threads that load; 0: none beside training"
    )


class ModelParameters(Section):
    """What model/net.py builds."""

    width: int = Field(128, ge=1, le=2**16, description="features of each layer")
    layers: int = Field(2, ge=0, le=1000, description="residual layers")
    embedding: int = Field(8, ge=1, le=2**16, description="numbers that stand for a category")
    dropout: float = Field(0.2, ge=0, lt=1, description="probability of dropping a feature")
    balance: float = Field(
        0.0, ge=0, le=1, description="how far rare classes count for more; 1: as frequent ones"
    )

    def check_data(self, dataset: Any) -> None:
        """Refuse a balance of classes where a row has not one class, or nobody counted them."""
        single = dataset.kind in ("binary", "multiclass")
        impossible = "" if single else f"in {dataset.kind} no row has one class"
        refuse_balance(self.balance, dataset.counts, impossible)
