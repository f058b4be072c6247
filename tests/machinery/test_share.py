"""Several devices of one process share a batch as several processes do."""

from types import SimpleNamespace

import pytest

from machinery.errors import InputError
from machinery.share import Share, share_among_devices

DATASET = SimpleNamespace(examples={"train": 100})


def parameters(accumulate: int) -> SimpleNamespace:
    training = SimpleNamespace(accumulate=accumulate)
    return SimpleNamespace(training=training, data=SimpleNamespace(batch_size=32))


@pytest.mark.parametrize(("accumulate", "devices", "parts"), [(1, 1, 1), (1, 3, 3), (6, 3, 6)])
def test_a_process_computes_the_parts_of_all_its_devices(
    accumulate: int, devices: int, parts: int
) -> None:
    share = share_among_devices(parameters(accumulate), DATASET, devices)
    assert share == Share(0, 1, parts, devices)
    assert [*share.own_parts] == [*range(parts)]
    words, facts = ("; 3 devices", {"devices": 3}) if devices > 1 else ("", {})
    assert (share.words, share.facts) == (words, {"processes": 1, **facts})


@pytest.mark.parametrize(
    ("accumulate", "devices", "message"),
    [(1, 40, "devices: got 40, expected at most 25"), (6, 4, "got 6, expected 1 or a multiple")],
)
def test_devices_that_cannot_share_are_refused(accumulate: int, devices: int, message: str) -> None:
    with pytest.raises(InputError, match=message) as refusal:
        share_among_devices(parameters(accumulate), DATASET, devices)
    assert "CUDA_VISIBLE_DEVICES=0" in str(refusal.value)
