"""docs/web.md: ONNX Runtime Web, under Node, gives for an export what ONNX Runtime gives."""

import base64
import http.server
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import root
from test_export import export, formats

pytestmark = [pytest.mark.deep, pytest.mark.once_a_template]

PACKAGE = "onnxruntime-web@1.30.0"
# The page's code, asked for what a file of JSON holds.
ASK = """
import { readFileSync } from "node:fs";
import { load } from "./web.mjs";
const [address, file] = process.argv.slice(2);
const kinds = { uint8: Uint8Array, int32: Int32Array, float32: Float32Array, int64: BigInt64Array };
const inputs = JSON.parse(readFileSync(file, "utf8"), (key, value) => value?.dtype
  ? { data: new kinds[value.dtype](new Uint8Array(Buffer.from(value.data, "base64")).buffer),
      shape: value.shape }
  : value);
const outputs = await (await load(address))(inputs);
console.log(JSON.stringify(Object.fromEntries(Object.entries(outputs).map(([name, tensor]) =>
  [name, { shape: tensor.dims, data: Array.from(tensor.data, Number) }]))));
"""


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ONNX Runtime Web, the page's code, and a script that asks it."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("Node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", PACKAGE]
    installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if installed.returncode:
        pytest.skip(f"npm has no {PACKAGE}: {installed.stderr[-200:]}")
    page = (root / "docs" / "web.md").read_text(encoding="utf-8")
    code, _ = re.findall(r"```js\n(.*?)```", page, re.DOTALL)
    (folder / "web.mjs").write_text(code, encoding="utf-8")
    (folder / "ask.mjs").write_text(ASK, encoding="utf-8")
    return folder


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Gives the files of a folder."""

    def log_message(self, format: str, *_: object) -> None:
        del format  # Nobody reads it.


@pytest.fixture
def version(project: Path, reference: Path) -> Path:
    """An export of the reference."""
    if "onnx" not in formats(project):
        pytest.skip("Keras on JAX writes no ONNX")
    return export(project, reference, "--format", "onnx")


@pytest.fixture
def address(version: Path) -> Iterator[str]:
    """Where a browser would find it."""
    handler = partial(QuietHandler, directory=str(version))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def make_inputs(version: Path, examples: int) -> dict[str, np.ndarray]:
    """Return inputs as a version takes them, of no meaning."""
    generator, inputs = np.random.default_rng(0), {}
    for name, array in json.loads((version / "export.json").read_text("utf-8"))["inputs"].items():
        shape = (examples, *array["shape"][1:])
        highest = 256 if array["dtype"] == "uint8" else 2  # Any table has so many levels.
        values = generator.integers(0, highest, shape)
        values = generator.normal(size=shape) if array["dtype"] == "float32" else values
        inputs[name] = values.astype(array["dtype"])
    return inputs


def test_the_code_of_the_page_predicts_the_same(
    node: Path, version: Path, address: str, tmp_path: Path
) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(version / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    for examples in (1, 3):
        inputs = make_inputs(version, examples)
        encoded = {
            name: {
                "dtype": str(array.dtype),
                "shape": array.shape,
                "data": base64.b64encode(array.tobytes()).decode(),
            }
            for name, array in inputs.items()
        }
        (tmp_path / "inputs.json").write_text(json.dumps(encoded), encoding="utf-8")
        command = ["node", "ask.mjs", address, tmp_path / "inputs.json"]
        done = subprocess.run(command, cwd=node, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found.keys() == {*names}
        outputs: Any = session.run(names, inputs)
        for name, expected in zip(names, outputs, strict=True):
            values = np.array(found[name]["data"]).reshape(found[name]["shape"])
            assert np.allclose(values, expected, rtol=1e-4, atol=1e-4), name
