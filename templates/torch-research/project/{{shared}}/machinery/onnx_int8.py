"""A file of ONNX in eight bits, by ONNX Runtime's quantisation after the training."""

import contextlib
import io
import logging
import tempfile
from pathlib import Path
from typing import Any

from machinery.quantised import Calibration
from machinery.terminal import hidden_standard_error

# Layers with weights; all others stay in float. Gather looks words up in a table of weights.
LAYERS = ["Conv", "ConvTranspose", "Gather", "Gemm", "MatMul"]
BATCH = 32  # examples of the calibration that are computed at a time


def quantise(path: Path, calibration: Calibration | None) -> None:
    """Replace a network of float32 by one in eight bits; do nothing without a calibration.

    Each output of a layer has a scale of its own for its weights, and they keep seven bits: with
    eight, processors without VNNI add pairs of products in sixteen bits, which overflow.
    Source: https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html

    Args:
        path: of the network, which fits into one file.
        calibration: says how activations are rounded.
    """
    if calibration is None:
        return
    from onnxruntime import quantization  # It takes a second.
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.batches = calibration.batches(BATCH)

        def get_next(self) -> Any:
            return next(self.batches, None)

    weights: dict[str, Any] = {
        **{"op_types_to_quantize": LAYERS, "per_channel": True, "reduce_range": True},
        "weight_type": quantization.QuantType.QInt8,
    }
    with tempfile.TemporaryDirectory() as folder, _quiet():
        prepared, found = str(Path(folder, "prepared.onnx")), Path(folder, "int8.onnx")
        quant_pre_process(str(path), prepared, skip_symbolic_shape=True)
        if calibration.mode == "static":
            quantization.quantize_static(prepared, str(found), Reader(), **weights)
        else:
            quantization.quantize_dynamic(prepared, str(found), **weights)
        path.write_bytes(found.read_bytes())


@contextlib.contextmanager
def _quiet() -> Any:
    """Silence what ONNX Runtime says of tensors that stay in float or that nothing uses."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), hidden_standard_error():
            yield
    finally:
        logger.setLevel(level)
