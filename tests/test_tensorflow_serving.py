"""What tf-production writes for TensorFlow Serving, read with the server's own messages."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from combinations import Combination, find_combination, tasks
from projects import experiment, run

pytestmark = pytest.mark.deep

# Prints what the server would read of a folder of versions; then both packages hold one question.
READ = """
import json, sys
from pathlib import Path
import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2
from serving import messages

folder = Path(sys.argv[1])
config = model_server_config_pb2.ModelServerConfig()
text_format.Parse((folder / "models.config").read_text(), config)
(model,) = config.model_config_list.config
path = folder / "1" / "assets.extra" / "tf_serving_warmup_requests"
(record,) = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
function = tf.saved_model.load(str(folder / "1")).signatures[request.model_spec.signature_name]
outputs = function(**{name: tf.constant(array) for name, array in inputs.items()})
response = predict_pb2.PredictResponse()
for name, tensor in outputs.items():
    response.outputs[name].CopyFrom(tf.make_tensor_proto(tensor))
read = messages.MESSAGES["Response"].FromString(response.SerializeToString())
assert {each.key for each in read.outputs} == {*outputs}
sent = messages.make_request(inputs, "serving_default", "model", 3).SerializeToString()
asked = predict_pb2.PredictRequest.FromString(sent)
assert asked.model_spec.version.value == 3
assert {*asked.inputs} == {*inputs}
print(json.dumps({
    "name": model.name, "path": model.base_path, "platform": model.model_platform,
    "versions": [*model.model_version_policy.specific.versions],
    "newest": model.model_version_policy.latest.num_versions,
    "examples": [len(array) for array in inputs.values()],
}))
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tensorflow-serving-api, in a folder of its own: it would bring `tensorflow`."""
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target"]
    folder = tmp_path / "packages"
    subprocess.run([*command, folder, "tensorflow-serving-api==2.21.0"], check=True)
    monkeypatch.setenv("PYTHONPATH", os.fspath(folder))


@pytest.mark.usefixtures("packages")
def test_the_servers_own_messages_read_it(
    rendered: Callable[[Combination], Path], tmp_path: Path
) -> None:
    project = shutil.copytree(rendered(find_combination("-", tasks[0])), tmp_path / "leaf")
    small = experiment(project, "small")
    for command in ("train.py", "export.py"):
        done = run(project, command, "--experiment", small)
        assert done.returncode == 0, done.stderr
    folder = project / "exports" / "saved_model"
    expected = {"name": "model", "path": "/models/model", "platform": "tensorflow"}
    for words, choice in (((), {"versions": [], "newest": 1}), (("pin", 1), {"versions": [1]})):
        if words:
            assert run(project, "promote.py", *words, "--exports", folder).returncode == 0
        read = run(project, "-c", READ, folder)
        assert read.returncode == 0, read.stderr
        found = json.loads(read.stdout)
        assert {**expected, **choice}.items() <= found.items()
        assert {*found["examples"]} == {1}
