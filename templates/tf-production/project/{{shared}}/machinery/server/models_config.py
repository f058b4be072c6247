"""models.config: tells TensorFlow Serving which version of exports/saved_model serves.

It reads the file again every few seconds, and loads a version before it drops the one in service.
Source: https://www.tensorflow.org/tfx/serving/serving_config
"""

from pathlib import Path

from machinery.files import write_atomically

FILE = "models.config"
PLACE = "/models/model"  # of the folder of the versions in TensorFlow Serving's container
CONTENT = """\
# Written by export.py and promote.py, which says what serves: do not edit.
model_config_list {{
  config {{
    name: "model"
    base_path: "{place}"
    model_platform: "tensorflow"
    model_version_policy {{ {policy} }}
  }}
}}
"""


def write_models_config(exports: Path, serves: int | None) -> None:
    """Let TensorFlow Serving serve a version.

    Args:
        exports: the folder of the versions.
        serves: the number of the version; None: the newest.
    """
    newest = "latest { num_versions: 1 }"
    policy = newest if serves is None else f"specific {{ versions: {serves} }}"
    text = CONTENT.format(place=PLACE, policy=policy)
    write_atomically(exports / FILE, text.encode())
