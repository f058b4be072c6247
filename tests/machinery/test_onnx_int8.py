"""A file of ONNX in eight bits: it takes and gives the same arrays, nearly."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from machinery.onnx_int8 import quantise
from machinery.quantised import Calibration

FLOAT, BYTES = TensorProto.FLOAT, TensorProto.UINT8
ANSWERS = 10
random = np.random.default_rng(0)
POINTS = random.integers(0, 256, size=(96, 64), dtype=np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A network of bytes: scaled, two layers, ten shares."""
    arrays = {
        "scale": np.array(255, np.float32),
        "first": random.normal(size=(64, 256)).astype(np.float32) / 8,
        "second": random.normal(size=(256, ANSWERS)).astype(np.float32) / 16,
    }
    nodes = [
        helper.make_node("Cast", ["points"], ["cast"], to=FLOAT),
        helper.make_node("Div", ["cast", "scale"], ["scaled"]),
        helper.make_node("Gemm", ["scaled", "first"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["positive"]),
        helper.make_node("Gemm", ["positive", "second"], ["sums"]),
        helper.make_node("Sigmoid", ["sums"], ["shares"]),
    ]
    graph = helper.make_graph(
        nodes,
        "points",
        [helper.make_tensor_value_info("points", BYTES, ["examples", 64])],
        [helper.make_tensor_value_info("shares", FLOAT, ["examples", ANSWERS])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    model.metadata_props.add(key="step", value="5")
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def run(path: Path, points: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_outputs()] == ["shares"]
    (shares,) = session.run(None, {"points": points})
    assert isinstance(shares, np.ndarray)
    return shares


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_eight_bits_give_nearly_the_same(
    path: Path, mode: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before, size = run(path, POINTS), path.stat().st_size
    quantise(path, Calibration(mode, {"points": POINTS[:70]}))
    assert capfd.readouterr() == ("", "")
    assert path.stat().st_size < size / 2
    after = run(path, POINTS)
    assert after.dtype == np.float32
    assert 0 < np.abs(after - before).max() < 0.05
    assert run(path, POINTS[:1]).shape == (1, ANSWERS)
    model = onnx.load(path)
    assert "5" in [each.value for each in model.metadata_props if each.key == "step"]
    assert [path.name for path in path.parent.iterdir()] == ["model.onnx"]


def test_without_a_calibration_nothing_is_done(path: Path) -> None:
    content = path.read_bytes()
    quantise(path, None)
    assert path.read_bytes() == content
