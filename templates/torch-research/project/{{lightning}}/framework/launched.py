"""What Lightning is told of processes that launch.py or torchrun has started."""

import os
from typing import Any

from pytorch_lightning.plugins.environments import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy

from machinery.errors import InputError
from machinery.share import Share


class Launched(LightningEnvironment):
    """The processes that train one network, which the Trainer finds and does not start.

    They must be there before the run is opened, as one of them leads it and the others follow. So
    the Trainer gets as many devices as there are processes, and not the other way round. (Under
    SLURM, Lightning's own choice would look for `srun` and take the signals.)

    Args:
        share: what this process computes.
    """

    def __init__(self, share: Share) -> None:
        super().__init__()
        self.share = share
        self.devices = int(os.environ["LOCAL_WORLD_SIZE"]) if share.processes > 1 else 1  # Here.
        self.machines = share.processes // self.devices

    @property
    def creates_processes_externally(self) -> bool:
        return True

    def node_rank(self) -> int:
        return self.share.number // self.devices

    def validate_settings(self, num_devices: int, num_nodes: int) -> None:
        """Refuse a Trainer that would wait for processes that nobody has started.

        Raises:
            InputError: it has more or fewer devices than there are processes.
        """
        if (num_devices, num_nodes) != (self.devices, self.machines):
            raise InputError(
                f"train.py: the Trainer has devices={num_devices}, num_nodes={num_nodes}, expected "
                f"{self.devices} and {self.machines}, as so many processes were started. Leave "
                "both as they were, and start another number: python launch.py "
                f"{num_devices} train.py"
            )


def check_strategy(trainer: Any, share: Share) -> None:
    """Refuse a strategy with which the run folder would not hold all that is trained.

    Args:
        trainer: a pl.Trainer, set up.
        share: what this process computes.

    Raises:
        InputError: naming the strategy.
    """
    expected = DDPStrategy if share.processes > 1 else SingleDeviceStrategy
    if type(trainer.strategy) is not expected:
        raise InputError(
            f"train.py: the Trainer has {type(trainer.strategy).__name__}, expected "
            f"{expected.__name__}: the run folder's checkpoints hold whole weights, which each "
            "process must have. Leave the strategy as it was; python launch.py 2 train.py trains "
            "with several processes."
        )
