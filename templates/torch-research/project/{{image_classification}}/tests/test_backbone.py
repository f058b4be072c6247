"""A pretrained network in place of the stages: it stays as it is, or learns at its own rate.

Each test runs with a small network behind the functions of timm, and with timm where it is there.
"""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_model import make_batch, make_dataset

import backend
from framework import pretrained
from machinery.errors import InputError
from model import net
from model.parameters import ModelParameters
from parameters import Parameters, TrainingParameters

SHAPE, RATE = (32, 32, 1), 1e-2
CPU = torch.device("cpu")


class Tiny(torch.nn.Module):
    """A network like those of timm, but small."""

    pretrained_cfg = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1), "hf_hub_id": "timm/tiny"}  # noqa: RUF012

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.convolution = torch.nn.Conv2d(3, 4, 3, stride=4)
        self.norm = torch.nn.BatchNorm2d(4)
        self.dropout = torch.nn.Dropout(0.5)
        self.reset_classifier(num_classes)

    def reset_classifier(self, num_classes: int) -> None:
        self.fc = torch.nn.Linear(4, num_classes) if num_classes else torch.nn.Identity()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = self.dropout(self.norm(self.convolution(images)))
        return self.fc(x.mean(dim=(2, 3)))


def create_model(
    model_name: str,
    pretrained: bool = False,
    num_classes: int = 10,
    pretrained_cfg_overlay: dict[str, str] | None = None,
) -> Tiny:
    if model_name != "tiny.fake":
        raise RuntimeError(f"Unknown model ({model_name})")
    network = Tiny(num_classes)
    if pretrained and not pretrained_cfg_overlay:
        raise OSError("no connection")
    if pretrained_cfg_overlay:
        network.load_state_dict(load_file(pretrained_cfg_overlay["file"]))
    return network


@pytest.fixture(params=["tiny.fake", "test_resnet.r160_in1k"])
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a network."""
    if request.param == "tiny.fake":
        fake = SimpleNamespace(create_model=create_model, get_pretrained_cfg=lambda name: None)
        monkeypatch.setitem(sys.modules, "timm", fake)
        return request.param
    try:
        __import__("timm")
    except (ImportError, RuntimeError) as error:  # The latter where torchvision does not fit.
        pytest.skip(f"no timm: {error}")
    return request.param


@pytest.fixture
def weights(name: str, tmp_path: Path) -> Path:
    """A file of weights that no network begins with."""
    torch.manual_seed(99)
    network = sys.modules["timm"].create_model(name)
    tensors = network.state_dict()
    path = tmp_path / "model.safetensors"
    save_file({key: t + 0.1 if t.is_floating_point() else t for key, t in tensors.items()}, path)
    return path


def make_model(name: str, **changes: Any) -> Any:
    parameters = ModelParameters.model_validate({"backbone": name, **changes})
    training = TrainingParameters(precision="float32")
    parameters = Parameters(model=parameters, training=training)
    return backend.make_model(parameters, make_dataset(SHAPE), CPU)


def begin(name: str, weights: Path, rate: float) -> Any:
    """Return the State that train.py starts with."""
    model = make_model(name, backbone_weights=str(weights), backbone_learning_rate=rate)
    groups = pretrained.parameter_groups(model, RATE)
    state = backend.State(model, torch.optim.AdamW(groups, weight_decay=0.1, fused=True))
    state.start()
    return state


def train(state: Any, steps: range) -> None:
    inputs, targets = make_batch(SHAPE)
    state.model.train()
    for step in steps:
        for group in state.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * RATE
        state.optimizer.zero_grad()
        backend.seed_step(0, step, CPU)
        net.losses(state.model(inputs), targets, make_dataset(SHAPE)).mean().backward()
        state.optimizer.step()


def values(state: Any, part: str) -> dict[str, torch.Tensor]:
    """Return copies of what a part of the network has."""
    found = state.model.state_dict()
    return {key: tensor.clone() for key, tensor in found.items() if key.startswith(part)}


def equal(these: dict[str, torch.Tensor], those: dict[str, torch.Tensor]) -> bool:
    assert these
    return all(torch.equal(these[key], those[key]) for key in these | those)


def test_it_begins_with_the_weights_of_the_file(name: str, weights: Path) -> None:
    state = begin(name, weights, 0)
    expected = load_file(weights)
    found = values(state, "backbone.network.")
    assert len(found) == len([key for key in expected if not key.startswith("fc.")])
    for key, tensor in found.items():
        assert torch.equal(tensor, expected[key.removeprefix("backbone.network.")])


def test_it_gets_the_images_as_it_wants_them(name: str, weights: Path) -> None:
    """In three channels, normalised as for its training."""
    backbone, images = begin(name, weights, 0).model.backbone, make_batch(SHAPE)[0]["images"]
    mean, std = (torch.tensor(backbone.network.pretrained_cfg[key]) for key in ("mean", "std"))
    colour = images.repeat(1, 1, 1, 3) / 255
    expected = backbone.eval().network(((colour - mean) / std).permute(0, 3, 1, 2))
    torch.testing.assert_close(backbone(images), expected, rtol=1e-4, atol=1e-4)


def test_frozen_nothing_in_it_changes(name: str, weights: Path) -> None:
    state = begin(name, weights, 0)
    before, head = values(state, "backbone"), values(state, "classifier")
    train(state, range(2))
    assert equal(values(state, "backbone"), before)
    assert not equal(values(state, "classifier"), head)
    assert not any("backbone" in key for key in state.to_arrays() if key.startswith("optimizer."))
    images = make_batch(SHAPE)[0]["images"]
    trained = state.model.train().backbone(images)
    assert torch.equal(trained, state.model.eval().backbone(images))


def test_it_learns_at_its_own_rate(name: str, weights: Path) -> None:
    """Its first step is a share of the one that it takes at the rate of the others."""
    moved, heads = [], []
    for rate in (RATE, RATE / 10):
        state = begin(name, weights, rate)
        before = {key: weight.detach().clone() for key, weight in state.model.named_parameters()}
        train(state, range(1))
        after = dict(state.model.named_parameters())
        keys = [key for key in before if key.startswith("backbone")]
        moved.append(torch.cat([(after[key] - before[key]).detach().ravel() for key in keys]))
        heads.append(values(state, "classifier"))
    assert moved[0].abs().max() > RATE / 2
    torch.testing.assert_close(moved[1], moved[0] / 10, rtol=0, atol=1e-6)
    assert equal(*heads)


@pytest.mark.parametrize("rate", [0, RATE / 10])
def test_it_continues_to_the_same_bits(name: str, weights: Path, rate: float) -> None:
    state = begin(name, weights, rate)
    train(state, range(2))
    arrays = {key: array.copy() for key, array in state.to_arrays().items()}
    train(state, range(2, 4))
    again = begin(name, weights, rate)
    again.load(arrays, Path("checkpoint"))
    train(again, range(2, 4))
    whole, resumed = state.to_arrays(), again.to_arrays()
    assert all(whole[key].tobytes() == resumed[key].tobytes() for key in whole | resumed)


@pytest.mark.parametrize("rate", [0, RATE])
def test_it_begins_in_its_mode(name: str, rate: float) -> None:
    """Lightning does not switch a network to training."""
    network = make_model(name, backbone_learning_rate=rate).backbone.network
    assert {module.training for module in network.modules()} == {rate > 0}


def test_a_trained_network_needs_no_file(name: str, weights: Path) -> None:
    state = begin(name, weights, 0)
    again = make_model(name, backbone_weights="gone.safetensors").eval()
    backend.load_weights(again, state.to_arrays(), Path("checkpoint"))
    inputs = make_batch(SHAPE)[0]
    assert torch.equal(again(inputs), state.model.eval()(inputs))


def test_weights_that_are_refused(name: str, weights: Path) -> None:
    del weights
    for path, expected in (("gone", "gone: not found"), (__file__, "test_backbone.py: ")):
        model = make_model(name, backbone_weights=path)
        with pytest.raises(InputError, match=rf"model\.backbone_weights: .*{expected}"):
            pretrained.load(model)


def test_weights_that_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    fake = SimpleNamespace(create_model=create_model, get_pretrained_cfg=lambda name: None)
    monkeypatch.setitem(sys.modules, "timm", fake)
    expected = "no connection.*https://huggingface.co/timm/tiny .*--model.backbone_weights"
    with pytest.raises(InputError, match=expected):
        pretrained.load(make_model("tiny.fake"))


def test_an_unknown_network(name: str) -> None:
    del name
    with pytest.raises(InputError, match=r"model\.backbone: .*'tiny.fak'.*Unknown model"):
        make_model("tiny.fak")


def test_an_address_is_no_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    del name
    monkeypatch.setattr(sys.modules["timm"], "create_model", None)  # It is not called.
    with pytest.raises(InputError, match=r"model\.backbone: .*'hf-hub:a/b'.*an address"):
        make_model("hf-hub:a/b")


def test_timm_fails_in_its_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise KeyError("stem")

    fake = SimpleNamespace(create_model=fail, get_pretrained_cfg=lambda name: None)
    monkeypatch.setitem(sys.modules, "timm", fake)
    with pytest.raises(InputError, match=r"model\.backbone: .*'tiny.fake'.*stem"):
        make_model("tiny.fake")


def test_timm_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match="timm cannot be imported"):
        make_model("resnet18")


@pytest.mark.parametrize("changes", [{"backbone_weights": "file"}, {"backbone_learning_rate": 0.1}])
def test_what_is_set_for_no_backbone(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="without model"):
        ModelParameters.model_validate(changes).check_data(make_dataset())
