"""export.py: what it writes predicts what the network does, and what it refuses.

In the format that needs no package beside PyTorch.
"""

import json
import shutil
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import task
import torch

import backend
import export
import train
from build_dataset import prepare_default, read_dataset
from machinery.checkpoints import read_checkpoint
from machinery.errors import InputError
from machinery.parameter_file import load_parameters
from machinery.run import Run
from machinery.stopping import StopRequest
from model import net
from model.data_loader import load_split
from parameters import Parameters

ROOT = Path(__file__).parent.parent
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/ and a small experiment trained on it."""
    folder = tmp_path_factory.mktemp("export")
    prepare_default(folder / "data")
    words = [word.removeprefix("--") for word in task.SMALL]
    values = {**dict(zip(words[::2], words[1::2], strict=True)), "training.epochs": "1"}
    path = ROOT / "experiments" / "baseline" / "params.yaml"
    parameters = load_parameters(Parameters, path, values)
    dataset = read_dataset(folder / "data")
    with Run(folder / "small", parameters, dataset, folder / "data", StopRequest(), "cpu") as run:
        train.train(run)
    return folder


def arguments(folder: Path, exports: Path, **others: Any) -> tuple[Namespace, Parameters]:
    """Return what the command line gives to export."""
    given: dict[str, Any] = {"experiment": folder / "small", "data": folder / "data"}
    given |= {"checkpoint": "best", "int8": None, "margin": None}
    parameters = load_parameters(Parameters, folder / "small" / "params.yaml")
    return Namespace(exports=exports, **{"format": "pt2", **given, **others}), parameters


def test_an_export_predicts_what_the_network_does(folder: Path, tmp_path: Path) -> None:
    """Of one example and of several, with the inputs as they are stored."""
    exported = export.export(*arguments(folder, tmp_path))
    assert exported == tmp_path / "pt2" / "1"
    about = json.loads((exported / "export.json").read_text("utf-8"))
    assert about["step"] == about["metrics"]["step"]
    dataset = read_dataset(folder / "data")
    assert about["dataset"]["fingerprint"] == dataset.fingerprint

    _, parameters = arguments(folder, tmp_path)
    model = backend.make_model(parameters, dataset, CPU).eval()
    path = folder / "small" / "best.safetensors"
    backend.load_weights(model, read_checkpoint(path)[0], path)
    module = torch.export.load(exported / about["file"]).module()
    split = load_split(folder / "data", dataset, "test", CPU)
    for count in (1, 5):
        inputs, _ = split.take(np.arange(count))
        with torch.no_grad():
            expected = net.predict(model(inputs), dataset)
        found = module(inputs)
        assert found.keys() == expected.keys() == about["outputs"].keys()
        for name, tensor in expected.items():
            assert torch.allclose(found[name].float(), tensor.float(), atol=1e-5), name


def test_a_damaged_checkpoint_is_refused(folder: Path, tmp_path: Path) -> None:
    content = bytearray((folder / "small" / "best.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "best.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="SHA-256"):
        export.export(*arguments(folder, tmp_path / "exports", experiment=tmp_path))
    assert not (tmp_path / "exports").exists()


def test_what_executorch_cannot_compute_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets one example; its own package stands aside, as it is large."""

    def lower(program: torch.export.ExportedProgram, **_: Any) -> None:
        (inputs,), _ = program.example_inputs
        assert {len(tensor) for tensor in inputs.values()} == {1}
        raise RuntimeError("no kernel for aten::x\nand more")

    parts = ["executorch", "backends", "xnnpack", "partition", "xnnpack_partitioner"]
    names = [".".join(parts[:count]) for count in range(1, len(parts) + 1)]
    for name in (*names, "executorch.exir"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setattr(sys.modules[names[-1]], "XnnpackPartitioner", object, raising=False)
    monkeypatch.setattr(
        sys.modules["executorch.exir"], "to_edge_transform_and_lower", lower, raising=False
    )
    with pytest.raises(InputError, match=r"no kernel for aten::x\. Choose --format onnx") as error:
        export.export(*arguments(folder, tmp_path, format="executorch"))
    assert "and more" not in str(error.value)
    assert not [*tmp_path.glob("executorch/[!.]*")]


def test_compiling_without_a_compiler_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(InputError, match=r"needs a C\+\+ compiler.*Install one.*or.*--format pt2"):
        export.export(*arguments(folder, tmp_path, format="aoti"))
    assert not [*tmp_path.iterdir()]
