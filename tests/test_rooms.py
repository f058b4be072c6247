"""The rooms of a project: what imports what, who knows a task, what a person has to read.

See docs/architecture.md.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from combinations import Combination, checked_combinations, find_combination
from conftest import root, tracked_files
from projects import TASKS, run

Rendered = Callable[[Combination], Path]
every_trained = pytest.mark.parametrize("combination", checked_combinations, ids=str)
machinery = root / "shared" / "project" / "machinery"

# What each template computes with. Keras and TensorFlow take constants as NumPy's arrays.
FRAMEWORKS = {
    "torch-research": {"torch"},
    "tf-production": {"tensorflow", "keras", "numpy"},
    "keras-quickstart": {"keras", "numpy"},
}


def imported_modules(path: Path) -> Iterator[str]:
    """Yield the top-level packages that a file imports when it runs: none for types alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        if node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


def imported_packages(path: Path) -> set[str]:
    """Return what a file imports beside Python's own modules."""
    return {*imported_modules(path)} - {*sys.stdlib_module_names}


# --- what imports what


@every_trained
def test_the_network_can_leave_the_house(combination: Combination, rendered: Rendered) -> None:
    """It imports its framework; inside a function, what only some networks need of model/."""
    path = rendered(combination) / "model" / "net.py"
    assert imported_packages(path) <= FRAMEWORKS[combination.template] | {"model"}
    assert not re.search(r"^(from|import) model\b", path.read_text("utf-8"), re.MULTILINE)


def test_the_machinery_knows_no_project_and_no_framework() -> None:
    packages = {"filelock", "machinery", "matplotlib", "numpy", "optuna", "PIL", "pydantic"}
    packages |= {"pydantic_core", "ruamel", "safetensors", "scipy", "tensorboard", "tqdm"}
    packages |= {"sqlalchemy"}  # A part of Optuna; it is imported with --storage alone.
    packages |= {"optuna_integration"}  # With the sampler that is in it, alone.
    packages |= {"fsspec"}  # With data at a URL, alone.
    # With serve.py and export.py, alone.
    packages |= {"fastapi", "onnxruntime", "orjson", "prometheus_client", "starlette", "uvicorn"}
    for path in root.glob("shared/project/**/machinery/**/*.py"):
        tables = {"pandas", "sklearn"} if "{{competition}}" in path.parts else set()
        assert imported_packages(path) <= packages | tables, path


# The functions that write to a file, and how they keep it whole.
WRITERS = {
    "arrays.py: _write": "into a folder that nothing names yet",
    "contents.py: new_contents": "into a folder that has no name of its own yet",
    "elsewhere.py: run_elsewhere": "into a folder that is deleted afterwards",
    "files.py: sync_file": "it changes nothing",
    "files.py: writing_atomically": "beside the old file, which it then replaces",
    "image_files.py: read_images": "into a file without a name",
    "mask_files.py: read_masks": "into a file without a name",
    "histograms.py: write": "events, of which TensorBoard leaves out one that a kill cut off",
    "metrics.py: __init__": "what the checkpoint does not count on is cut off or written anew",
    "onnx_int8.py: quantise": "into a folder that has no name of its own yet",
    "metrics.py: append": "a line that the next checkpoint will count on",
    "pictures.py: draw": "into memory",
    "results_curves.py: _draw": "into memory",
    "search_storage.py: _cut_half_line": "under the lock",
    "shard_cache.py: _make_room": "a size that the cache counts, until the fetch is over",
    "shard_writer.py: _write_shard": "into memory",
    "simulated_machine.py: run": "a log, which the next run begins anew",
    "simulation.py: simulate": "into a folder that is deleted afterwards",
    "terminal.py: hidden_standard_error": "nowhere",
    "terminal.py: keep_output_usable": "nowhere",
}


def writes(call: ast.Call) -> bool:
    """Return whether a call opens a file to write it, or writes one."""
    name = ast.unparse(call.func)
    if name.rpartition(".")[2] == "open":
        modes = [ast.literal_eval(a) for a in call.args[1:] if isinstance(a, ast.Constant)]
        return any({*"wax+"} & {*mode} for mode in modes)
    return re.search(r"(np\.save|\.write_text|\.write_bytes|savefig|memmap)$", name) is not None


def test_few_functions_write_files_and_a_kill_leaves_them_whole() -> None:
    """Tests crash at each of their operations: see fork_server.py."""
    paths = [*root.glob("shared/project/**/machinery/**/*.py"), *root.glob("shared/**/model/*.py")]
    found = set()
    for path in paths:
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef):
                calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
                found |= {f"{path.name}: {function.name}" for call in calls if writes(call)}
    assert found == {*WRITERS}


@every_trained
def test_the_machinery_is_the_same_in_every_project(
    combination: Combination, rendered: Rendered
) -> None:
    """But what a task adds to it."""
    found = rendered(combination) / "machinery"
    for path in machinery.rglob("*.py"):
        assert path.read_bytes() == (found / path.relative_to(machinery)).read_bytes()


ROOMS = (machinery / "server", machinery / "shards")


@every_trained
def test_the_first_lines_of_a_room_name_its_files(
    combination: Combination, rendered: Rendered
) -> None:
    for room in (rendered(combination) / "framework", machinery, *ROOMS):
        text = (room / "__init__.py").read_text(encoding="utf-8")
        named = re.findall(r"^    (\w+) ", text, re.MULTILINE)
        assert sorted(named) == sorted({path.stem for path in room.glob("*.py")} - {"__init__"})


# --- the same file in the same role


def public_names(path: Path) -> set[str]:
    """Return the functions and classes that a module defines for others."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    definitions = [n for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    return {node.name for node in definitions if not node.name.startswith("_")}


# What the verbs need of every framework.
BACKEND = {
    *("choose_device", "choose_precision", "prepare", "make_model", "make_schedule"),
    *("State", "load_weights", "describe_optimizer", "describe_device", "facts"),
}


@every_trained
def test_backend_has_the_same_names(combination: Combination, rendered: Rendered) -> None:
    assert public_names(rendered(combination) / "backend.py") >= BACKEND


# The functions of the other files that every template has.
ROLES = {
    "train.py": {"train"},
    "evaluate.py": {"evaluate", "main"},
    "predict.py": {"predict", "main"},
    "doctor.py": {"Network", "Subject", "describe_machine", "make_subject"},
    "build_dataset.py": {
        *("Dataset", "open_dataset", "read_dataset", "prepare_default", "read_unlabelled", "main"),
    },
    "model/net.py": {"losses", "predict"},
    "model/data_loader.py": {"Split", "load_split", "evaluation_batches"},
    "model/augmentation.py": {"draw", "augment"},
    "model/report.py": {"objective", "initial_loss", "Evaluation", "PredictionWriter"},
    "model/parameters.py": {"DataParameters", "ModelParameters"},
}


@every_trained
def test_every_file_has_the_same_role(combination: Combination, rendered: Rendered) -> None:
    for name, roles in ROLES.items():
        assert public_names(rendered(combination) / name) >= roles, name


@every_trained
def test_every_project_has_the_same_verbs(combination: Combination, rendered: Rendered) -> None:
    verbs = {"train", "evaluate", "predict", "check_data", "doctor", "build_dataset"}
    verbs |= {"search_hyperparams", "synthesize_results"}
    files = {path.stem for path in rendered(combination).glob("*.py")}
    assert files >= {*verbs, "backend", "parameters", "utils"}


@every_trained
def test_the_record_of_a_run_knows_every_file_that_trains(
    combination: Combination, rendered: Rendered
) -> None:
    """Otherwise runs of different code would count as seeds of one experiment."""
    project, found, ahead = rendered(combination), set(), ["train"]
    while ahead:
        path = project / f"{ahead.pop()}.py"
        if path.exists() and path not in found:
            found.add(path)
            ahead += imported_modules(path)
    found |= {*project.glob("model/*.py"), *project.glob("framework/*.py")}
    names = {path.relative_to(project).as_posix() for path in found}
    # What came of the first three is in the record; the others only hide messages and measure.
    names -= {"parameters.py", "model/parameters.py", "build_dataset.py"}
    names -= {"framework/quiet.py", "framework/profiler.py"}
    code = "from machinery import records; print(*records.code_digests())"
    assert names <= {*run(project, "-c", code).stdout.split()}


# --- what is read at once


@every_trained
def test_files_and_functions_are_short(combination: Combination, rendered: Rendered) -> None:
    project = rendered(combination)
    for path in project.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(project)
        assert len(text.splitlines()) <= 350, name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno
                assert node.end_lineno - node.lineno < 60, f"{name}: {node.name}"


@pytest.mark.parametrize("combination", [find_combination("plain")], ids=str)
def test_four_frames_lead_to_the_optimizer(combination: Combination, rendered: Rendered) -> None:
    """From `python train.py` to optimizer.step(), of the project's own; PyTorch's aside."""
    project = rendered(combination)
    code = f"""
import os, runpy, sys, traceback
import torch
def step(*arguments, **named):
    frames = [f.filename for f in traceback.extract_stack()]
    print(*(f[{len(str(project)) + 1}:] for f in frames if f.startswith({str(project)!r})))
    sys.stdout.flush()
    os._exit(0)
torch.optim.AdamW.step = step
sys.path.insert(0, {str(project)!r})
sys.argv = ["train.py"]
runpy.run_path({str(project / "train.py")!r}, run_name="__main__")
"""
    command = [sys.executable, "-c", code]
    folder = project.parent / "elsewhere"  # The rendered project stays as it is.
    (folder / "experiments" / "baseline").mkdir(parents=True)
    shipped = project / "experiments" / "baseline" / "params.yaml"
    (folder / "experiments" / "baseline" / "params.yaml").write_bytes(shipped.read_bytes())
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    *_, files = result.stdout.splitlines()
    assert files.split() == ["train.py", "machinery/command_line.py", "train.py", "train.py"]


def test_a_page_says_how_much_there_is_to_read() -> None:
    """For each way: what a person reads and owns, and the machinery."""
    command = [sys.executable, root / "tools" / "count_lines.py"]
    rows = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    page = (root / "docs" / "choices.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith("|")]
    tables = [
        [re.sub(r"\[(.*?)\]\(.*?\)", r"\1", cell.strip()) for cell in line.split("|")]
        for line in lines
    ]
    assert len(rows) == 2 + 6
    for row in rows[2:]:
        way, owned, of_machinery = (cell.strip() for cell in row.strip("|").split("|"))
        (found,) = [cells for cells in tables if cells[1] == way]
        assert {owned, of_machinery} <= {*found}, (
            f"docs/choices.md: {way} has {owned} and {of_machinery}"
        )


# --- who knows a task

WORDS = re.compile("|".join(task.words for task in TASKS.values()), re.IGNORECASE)

# Lines that may hold one of them, and why: by a part of the path ("" for all), as patterns.
ALLOWED: dict[str, dict[str, str]] = {
    "": {
        r"^\s*class \w+": "Python's keyword",
        r"(?i)unlabelled": "examples without targets",
        r"such as .*(image|class|accuracy)": "an example, and it says so",
    },
    "machinery/arrays.py": {
        r"train_images\.npy": "an example of a file's name",
        r"pixels, tokens, 1 for a row": "examples of what it counts",
        r"holds the channels or the columns": "examples of an axis",
    },
    "machinery/metrics.py": {r"val accuracy 0\.9889": "an example of the words"},
    "machinery/onnx_int8.py": {r"per_channel": "what ONNX Runtime calls a scale for each output"},
    "machinery/pictures.py": {r"\blabel\b|set_xlabel": "what Matplotlib calls a curve's name"},
    "machinery/results_curves.py": {
        r"xlabel=|axes\.labelcolor": "what Matplotlib calls the name of an axis",
    },
    "machinery/results": {
        r"(?i)csv": "a form of the files of results",
        r"\{+tabular\}": "what LaTeX calls a table",
    },
    "machinery/results_page.py": {
        r"tabular-nums": "what CSS calls digits of one width",
        r"aria-label": "what HTML calls a name that is read out",
        r"class=\\?[\"']|box-sizing": "what HTML and CSS call kinds and edges of elements",
        r"pixels at most|Image\b|image/jpeg": "of the small copies of pictures",
    },
    "machinery/server/__init__.py": {r"binary_tensors": "the protocol's word for bytes"},
    "machinery/server/binary_tensors.py": {r"binary": "the protocol's word for bytes"},
    "machinery/server/http_api.py": {r"binary": "the protocol's word for bytes"},
    "machinery/server/openapi.py": {r"binary": "the protocol's word for bytes"},
    "tests/machinery/test_serving": {r"binary": "the protocol's word for bytes"},
    "machinery/server/http_guard.py": {r"\.labels\(": "what Prometheus calls parts of a count"},
    "machinery/server/serving.py": {r"\.labels\(": "what Prometheus calls parts of a count"},
    "machinery/sampling.py": {r"\(pixels, \.\.\.\)": "an example of what it counts"},
    "machinery/search.py": {r"trials\.csv": "the form of the table of trials"},
    "machinery/search_pictures.py": {
        r"label": "what Matplotlib calls the name of a curve or an axis",
        r"(?i)csv": "the form of the table of trials",
    },
    "tests/machinery/test_search_report.py": {r"trials\.csv": "the form of the table of trials"},
    "tests/machinery/test_search_space.py": {
        r"suggest_categorical": "what Optuna calls a choice",
        r"trials\.csv": "the form of the table of trials",
    },
    "search_hyperparams.py": {r"trials\.csv": "the form of the table of trials"},
    "machinery/tensorboard_page.py": {r"Summary\.Image|image=": "TensorBoard's name of a picture"},
    "machinery/search_study.py": {r"suggest_categorical": "what Optuna calls a choice"},
    "spreadsheets.py": {r"(?i)csv": "the form of a file that every task may write"},
    "project/tests/test_pipeline.py": {r"csv": "the form of the file of predictions"},
    "synthesize_results.py": {r"\.csv": "a form of the files of results"},
    "predict": {r"(?i)csv": "the form of the file of predictions"},
    "check_data.py": {r"(?i)csv": "the form of the file of predictions"},
    "tests/machinery/test_data_check.py": {r"(?i)csv": "the form of the file of predictions"},
    "machinery/trained.py": {r"(?i)csv": "the form of the file of predictions"},
    "machinery/command_line.py": {r"(?i)csv": "the form of the file of predictions"},
    "machinery/__init__.py": {r"(?i)csv": "the form of the file of predictions"},
    "serving/client.py": {r"channel": "what gRPC calls a connection"},
    "serving/messages.py": {r"field\.label = ": "what protobuf calls whether there are several"},
    "framework/run_callback.py": {r"has lost digits": "of a number"},
    "tf-production/project/tests/test_records.py": {r"\blabel\b": "an array of that test"},
    "torch-research/project/backend.py": {r"channels_last": "PyTorch's name of a memory layout"},
    "tests/combinations.py": {
        r'^    "[a-z-]+": \[|^            \("': "the names of the tasks",
    },
    "tests/test_answers.py": {
        r"letters_digits": "what names are made of",
        r"st\.characters\(categories=": "what Unicode calls kinds of characters",
    },
    "tests/test_house.py": {
        r"image.*/?python:": "what a container is made of",
        r'(container|ci)_image|"image"\]': "what a container is made of",
        r'task="tabular"|accuracy': "the task that trains fastest",
    },
    "tests/test_notebook.py": {r"image/png": "the type of a picture"},
    "tests/test_untagged.py": {r"overlapping_edit": "one that an update changes, too"},
    "tests/test_update.py": {
        r"overlapping_edit": "one that the template changes, too",
        r'"(image-classification|tabular)"': "the tasks, to change them",
    },
    "tests/test_serve.py": {
        r"\.csv": "the form of the file of predictions",
        r"image/png": "the type of a picture",
        r"Image\b": "Pillow's name of a picture",
    },
    "tests/test_cookiecutter.py": {r"image-classification": "one of the tasks"},
    "tests/test_resume.py": {r"predictions_ensemble\.csv": "a file that a person put there"},
    "tests/defects.py": {r"softmax": "what PyTorch, TensorFlow and Keras call a function"},
    "machinery/checkup_learning.py": {r"a softmax too many": "an example of a defect"},
    "tests/test_class_report.py": {r"class|label|confusion": "it tests the report on classes"},
    "tests/machinery/": {
        r"label|\bclasses\b|logits|accuracy": "the tiny project's own task, points of two classes",
        r"\bval[_ ](auc|f1|rmse)\b": "names of metrics, as a task may choose them",
    },
    "tests/machinery/test_serving_processes.py": {r"st\.binary": "what Hypothesis calls bytes"},
    "tests/machinery/test_results_files.py": {r"(?i)csv": "a form of the files of results"},
    "tests/machinery/test_results_page.py": {r"(?i)image|pixels": "the pictures and the page"},
    "tests/machinery/test_arrays.py": {r"\bboxes\b": "examples that differ in length"},
    "tests/machinery/test_metrics.py": {r"\bbox\b|overlaps": "where Matplotlib draws a panel"},
    "tests/test_average_precision.py": {r".": "it tests the measure of a task"},
    "tests/machinery/test_splits.py": {r"\bimages\b": "examples of what is split"},
    "tests/test_release.py": {r"image_classification|\{\{tabular": "folders of tasks"},
    "tests/competitions.py": {r".": "it makes data of three tasks"},
    "tests/test_kaggle": {r".": "competitions are of three tasks"},
    "tests/kaggle_server.py": {r"\.csv": "the form of the files that Kaggle sends and takes"},
    "tests/test_scikit_learn.py": {r"tabular|accuracy": "the page shows one task"},
    "tests/test_pages.py": {r"predictions\.csv|Image": "the page shows one task"},
    "tests/test_gallery.py": {r".": "it makes the page of one task"},
    "tests/test_backbones.py": {r"images|classes": "the task that has backbones"},
}


# Tests of the program `trainyard`: the projects of others in them have tasks of their own.
PROJECTS_OF_OTHERS = {
    *("fleets.py", "planted.py", "test_adopt.py", "test_change_request.py", "test_check.py"),
    *("test_extract.py", "test_members.py"),
}


def files_without_a_task() -> dict[str, str]:
    """The core of every template, the machinery and this harness, without copies and this file."""
    overlays = {path.name for path in root.glob("shared/project/{{*}}")} | {"{{shared}}"}
    found = {}
    for path in tracked_files(root):
        name = path.relative_to(root).as_posix()
        core = re.fullmatch(r"(shared|templates/[\w-]+)/project/.*\.py", name)
        harness = re.fullmatch(r"tests/(machinery/.*)?\w+\.py", name)
        if path.parent.name == "tests" and path.name in PROJECTS_OF_OTHERS:
            continue
        if (core or harness) and not overlays & {*path.parts} and path != Path(__file__):
            found[name] = path.read_text(encoding="utf-8")
    return found


def test_nothing_but_a_task_knows_a_task() -> None:
    found, used = [], set()
    for name, text in files_without_a_task().items():
        known = {p: end for end in ALLOWED if end in name for p in ALLOWED[end]}
        for number, line in enumerate(text.splitlines(), 1):
            if WORDS.search(line):
                reasons = {(end, p) for p, end in known.items() if re.search(p, line)}
                used |= reasons
                found += [] if reasons else [f"{name}:{number}: {line.strip()}"]
    assert found == [], "\n".join(found)
    assert used == {(end, pattern) for end, patterns in ALLOWED.items() for pattern in patterns}
