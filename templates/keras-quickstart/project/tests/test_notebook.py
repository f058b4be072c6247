"""The notebook holds the project as it is."""

import json
from pathlib import Path

import build_notebook

ROOT = Path(__file__).parent.parent


def test_every_cell_that_writes_a_file_writes_that_of_the_project() -> None:
    notebook = json.loads(json.dumps(build_notebook.make_notebook()))
    written = {}
    for cell in notebook["cells"]:
        if cell["source"].startswith("%%writefile "):
            head, _, body = cell["source"].removeprefix("%%writefile ").partition("\n")
            written[head] = body
            folded = cell["metadata"].get("jupyter", {}).get("source_hidden", False)
            assert folded == (head not in build_notebook.READ), head
    paths = [path for room in ("model", "machinery") for path in ROOT.glob(f"{room}/[a-z]*.py")]
    modules = {path.relative_to(ROOT).as_posix() for path in paths}
    assert {*modules, "train.py", "evaluate.py", "utils.py", "keras.json"} < written.keys()
    for name, body in written.items():
        assert body.strip("\n") == (ROOT / name).read_text("utf-8").strip("\n"), name


def test_pip_is_not_asked_for_the_backend() -> None:
    wanted = build_notebook.requirements()
    assert '"keras>' in wanted
    assert '"tensorboard>' in wanted
    assert not any(f'"{name}' in wanted for name in ("jax", "tensorflow", "torch"))
