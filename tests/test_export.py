"""python export.py: what it writes predicts the same without the project."""

import json
from pathlib import Path

import pytest

from projects import answers, run, template

pytestmark = [pytest.mark.once_a_template]

# The formats of each template, with Keras of each backend.
FORMATS = {
    "torch-research": ["onnx", "pt2", "aoti", "executorch"],
    "tf-production": ["saved_model", "onnx", "litert"],
    "tensorflow": ["onnx", "saved_model", "litert"],
    "jax": ["saved_model"],
    "torch": ["onnx"],
}


EIGHT_BITS = {"onnx", "litert"}
# Those whose packages have an environment of their own, in a test of their own.
ELSEWHERE = {"executorch"}
# Runs export.py without a package.
HIDE = """
import runpy, sys
sys.modules[sys.argv.pop(1)] = None
sys.argv[0] = "export.py"
runpy.run_path("export.py", run_name="__main__")
"""


def formats(project: Path) -> list[str]:
    """Return the formats that a project can write."""
    return FORMATS[answers(project).get("backend", template(project))]


def export(project: Path, reference: Path, *options: str) -> Path:
    """Export the reference; return the folder of its version."""
    folder = reference.relative_to(project)
    result = run(project, "export.py", "--experiment", folder, *options)
    assert (result.returncode, result.stderr) == (0, "")
    assert "gave the same predictions" in result.stdout
    return project / result.stdout.partition(":")[0]


def check(project: Path, version: Path, examples: int | None = None) -> None:
    """Fail unless a version's record says what the project's data and network say.

    Args:
        project: the folder.
        version: the folder of the version.
        examples: that it takes at a time; None: any number.
    """
    about = json.loads((version / "export.json").read_text("utf-8"))
    dataset = json.loads((project / "data" / "dataset.json").read_text("utf-8"))
    assert about["dataset"]["fingerprint"] == dataset["fingerprint"]
    assert [*about["inputs"]] == dataset["inputs"]
    for name, array in about["inputs"].items():
        described = dataset["arrays"][name]
        shape = [described["longest"] if n is None else n for n in described["shape"]]
        assert array == {"dtype": described["dtype"], "shape": [examples, *shape]}
    assert about["largest_difference"] <= 1e-4
    assert {path.name for path in version.rglob("*") if path.is_file()} >= {about["file"]}


@pytest.mark.every_way
def test_an_export_predicts_the_same_elsewhere(project: Path, reference: Path) -> None:
    version = export(project, reference)
    check(project, version)
    assert version.parent.name == formats(project)[0]


@pytest.mark.deep
def test_each_format_of_each_task(project: Path, reference: Path) -> None:
    for name in formats(project):
        if name in ELSEWHERE:
            continue
        check(project, export(project, reference, "--format", name))


@pytest.mark.deep
def test_each_format_of_eight_bits_of_each_task(project: Path, reference: Path) -> None:
    """The metric may fall: two epochs leave a network that guesses, and rounding moves guesses."""
    for name in sorted(EIGHT_BITS & {*formats(project)}):
        version = export(project, reference, "--format", name, "--int8", "--margin", "1e6")
        check(project, version)
        about = json.loads((version / "export.json").read_text("utf-8"))
        assert about["test_metrics"] == about["int8"]["int8"]["metrics"]
        assert about["int8"]["int8"]["bytes"] < about["int8"]["float"]["bytes"]


@pytest.mark.every_way
def test_a_format_without_eight_bits_says_so(project: Path, reference: Path) -> None:
    for name in {*formats(project)} - EIGHT_BITS:
        folder = reference.relative_to(project)
        result = run(project, "export.py", "--experiment", folder, "--format", name, "--int8")
        assert result.returncode == 2
        assert f"--int8: --format {name} has no eight bits." in result.stderr


@pytest.mark.every_way
def test_a_package_that_is_missing_is_named(project: Path, reference: Path) -> None:
    packages = {"onnx": ("onnxruntime", "export.txt")}
    packages["executorch"] = ("executorch", "executorch.txt")
    before = sorted(project.rglob("exports/*"))
    for name in packages.keys() & {*formats(project)}:
        package, file = packages[name]
        words = ("--experiment", reference.relative_to(project), "--format", name)
        result = run(project, "-c", HIDE, package, *words)
        assert (result.returncode, result.stdout) == (2, "")
        assert f"--format {name}: needs {package}. Install what is missing: " in result.stderr
        assert result.stderr.endswith(f"-r requirements/{file}\n")
        assert (project / "requirements" / file).is_file()
    assert sorted(project.rglob("exports/*")) == before
