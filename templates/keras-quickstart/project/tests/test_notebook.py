"""The notebook holds the lesson, and the project as it is."""

import ast
import base64
import io
import json
import re
import zipfile
from pathlib import Path

import build_notebook

ROOT = Path(__file__).parent.parent
CELLS = json.loads(json.dumps(build_notebook.make_notebook()))["cells"]
(FOLDED,) = [cell for cell in CELLS if cell["metadata"]]


def test_the_folded_cell_unpacks_the_project() -> None:
    (text,) = re.findall('^PROJECT = "(.*)"$', FOLDED["source"], re.MULTILINE)
    with zipfile.ZipFile(io.BytesIO(base64.b64decode(text))) as project:
        packed = {name: project.read(name) for name in project.namelist()}
    rooms = ("model", "framework", "machinery")
    paths = [path for room in rooms for path in ROOT.glob(f"{room}/**/*.py")]
    modules = {path.relative_to(ROOT).as_posix() for path in paths}
    assert {*modules, "train.py", "evaluate.py", "utils.py", "keras.json"} < packed.keys()
    for name, content in packed.items():
        assert content == (ROOT / name).read_bytes(), name


def test_the_learner_sees_short_cells() -> None:
    seen = [cell for cell in CELLS if cell is not FOLDED]
    assert seen[0]["cell_type"] == "markdown"
    for cell in seen:
        statements = [line for line in cell["source"].splitlines() if "import" not in line]
        assert len(statements) <= 15, cell["source"]
        if cell["cell_type"] == "code":
            ast.parse(re.sub("^!.*", "", cell["source"], flags=re.MULTILINE))
    assert len({cell["id"] for cell in CELLS}) == len(CELLS)


def test_the_same_project_gives_the_same_notebook() -> None:
    assert json.loads(json.dumps(build_notebook.make_notebook()))["cells"] == CELLS


def test_pip_is_not_asked_for_the_backend() -> None:
    wanted = build_notebook.requirements()
    assert '"keras>' in wanted
    assert '"tensorboard>' in wanted
    assert not any(f'"{name}' in wanted for name in ("jax", "tensorflow", "torch"))
