"""The Trainer takes the processes that were started, and no others."""

from types import SimpleNamespace

import pytest
from pytorch_lightning.strategies import DDPStrategy, FSDPStrategy, SingleDeviceStrategy

from framework.launched import Launched, check_strategy
from machinery.errors import InputError
from machinery.share import ALONE, Share


def test_the_trainer_has_as_many_devices_as_there_are_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On two machines here, of which this process is on the second."""
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    launched = Launched(Share(number=3, processes=4, parts=4))
    assert (launched.devices, launched.machines, launched.node_rank()) == (2, 2, 1)
    assert launched.creates_processes_externally
    launched.validate_settings(2, 2)
    with pytest.raises(InputError, match=r"devices=4, .*, expected 2 and 2"):
        launched.validate_settings(4, 1)


def test_one_process_is_on_one_device() -> None:
    launched = Launched(ALONE)
    assert (launched.devices, launched.machines, launched.node_rank()) == (1, 1, 0)
    with pytest.raises(InputError, match=r"devices=2, .*, expected 1 and 1"):
        launched.validate_settings(2, 1)


@pytest.mark.parametrize(
    ("strategy", "processes", "expected"),
    [
        (SingleDeviceStrategy("cpu"), 1, ""),
        (DDPStrategy(), 2, ""),
        (DDPStrategy(), 1, "DDPStrategy, expected SingleDeviceStrategy"),
        (FSDPStrategy(), 2, "FSDPStrategy, expected DDPStrategy"),
    ],
)
def test_a_strategy_that_splits_the_weights_is_refused(
    strategy: object, processes: int, expected: str
) -> None:
    trainer, share = SimpleNamespace(strategy=strategy), Share(0, processes, processes)
    if not expected:
        check_strategy(trainer, share)
    else:
        with pytest.raises(InputError, match=expected):
            check_strategy(trainer, share)
