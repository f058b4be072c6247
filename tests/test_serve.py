"""From an export to an answer over HTTP, for each task: that of predict.py; and the page."""

import base64
import json
import mimetypes
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image

from browser import Page, visit
from projects import run
from test_export import export, formats
from test_predict import read_rows

pytestmark = [pytest.mark.deep, pytest.mark.once_a_template]

TOLERANCE = 0.02  # predict.py may compute in bfloat16, and an export computes in float32.
EXAMPLES = """
import sys
from pathlib import Path
from build_dataset import read_dataset
sys.path.append("tests")
import task
print(task.make_unlabelled(Path(sys.argv[1]), read_dataset(Path("data"))))
"""
# Drops a file onto the page, or fills in its form, as far as it has one; a text holds markup.
TRY = """(async () => {
  const drop = document.querySelector(".drop"), text = document.querySelector("textarea");
  if (drop) {
    const bytes = Uint8Array.from(atob(CONTENT), letter => letter.charCodeAt(0));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([bytes], "x.png", { type: "image/png" }));
    drop.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
    return;
  }
  if (text) text.value = "A text <b id='evil'>with</b> words";
  document.querySelector("form button").click();
})()"""
# Sends the requests that the page offers, as they are.
SEND = "document.querySelectorAll('#requests button').forEach(button => button.click())"


def copy_container(project: Path, folder: Path) -> list[str]:
    """Copy what the Dockerfile does into a folder; return the command that it starts."""
    text = (project / "Dockerfile").read_text("utf-8")
    for line in re.findall(r"^COPY (.*) \S+$", text, re.MULTILINE):
        for path in (path for pattern in line.split() for path in project.glob(pattern)):
            copy = shutil.copytree if path.is_dir() else shutil.copy
            copy(path, folder / path.name)
    copied = re.findall(r"^COPY (.*) (\S+)$", text, re.MULTILINE)
    names = {
        f"{to.removeprefix('./')}{Path(each).name}"
        for files, to in copied
        for each in files.split()
    }
    assert {*re.findall(r" -[cr] (\S+)", text)} <= names
    found = re.search(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)
    assert found
    return [sys.executable, *json.loads(found[1])[1:]]


@pytest.fixture
def served(project: Path, reference: Path, tmp_path_factory: Any) -> Iterator[str]:
    """The address of a server of the reference, exported; it ends in order.

    It runs as in its container, where there are only the files that the Dockerfile copies.
    """
    if "onnx" not in formats(project):
        pytest.skip("Keras on JAX writes no ONNX")
    export(project, reference, "--format", "onnx")
    folder = tmp_path_factory.mktemp("container")
    command = copy_container(project, folder)
    words = [*command, "--host", "127.0.0.1", "--port", "0", "--exports", project / "exports/onnx"]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=folder, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found, process.communicate()
        yield found[0]
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=600)[1] == ""
        assert process.returncode == 0


def numbers(value: Any) -> list[float]:
    """Return the numbers in an answer, at any depth."""
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return [number for each in inner for number in numbers(each)]
    return [float(value)] if isinstance(value, int | float) else []


def test_answers_are_those_of_predict(
    served: str, project: Path, reference: Path, tmp_path: Path
) -> None:
    made = Path(run(project, "-c", EXAMPLES, tmp_path).stdout.splitlines()[-1])
    output = tmp_path / "out.csv"
    words = ("--experiment", reference, made, "--output", output)
    assert run(project, "predict.py", *words).returncode == 0
    rows = [row for _, *row in read_rows(output)[1:]]
    known = [float(cell) for row in rows for cell in row if re.fullmatch(r"-?\d+(\.\d+)?", cell)]
    with urllib.request.urlopen(f"{served}/openapi.json") as response:
        described = json.load(response)
    schema = {**described, "$ref": "#/components/schemas/Answers"}
    answers = []
    for path in sorted(made.iterdir()) if made.is_dir() else [made]:
        kind = mimetypes.guess_type(path)[0] or ""
        request = urllib.request.Request(
            f"{served}/predict", path.read_bytes(), {"Content-Type": kind}
        )
        with urllib.request.urlopen(request) as response:
            found = json.load(response)
        jsonschema.validate(found, schema, jsonschema.Draft202012Validator)
        answers += found["answers"]
    assert len(answers) == 3
    for answer in answers:
        sizes = {"width", "height"}
        found = numbers({name: each for name, each in answer.items() if name not in sizes})
        for number in found:
            assert np.abs(np.array(known) - number).min() < TOLERANCE * max(1, abs(number))


def test_the_examples_of_the_description_are_answered(served: str) -> None:
    """As a viewer of OpenAPI sends them; a picture has none that JSON holds."""
    with urllib.request.urlopen(f"{served}/openapi.json") as response:
        examples = json.load(response)["components"]["examples"]
    assert "infer" in examples
    places = {"infer": "v2/models/model/infer", "predict": "predict"}
    for name, example in examples.items():
        body, headers = json.dumps(example["value"]).encode(), {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{served}/{places[name]}", body, headers)
        with urllib.request.urlopen(request) as response:
            assert response.status == 200
            assert numbers(json.load(response))


def test_the_page_in_a_browser(served: str, project: Path, tmp_path: Path) -> None:
    """Screenshots lie in pytest's temporary folder, to be looked at."""
    picture = tmp_path / "x.png"
    side = np.add.outer(np.arange(32), np.arange(48)).astype(np.uint8)
    Image.fromarray(side).save(picture)
    content = json.dumps(base64.b64encode(picture.read_bytes()).decode())

    async def act(page: Page) -> None:
        await page.wait_for(".drop, form button")
        await page.evaluate(TRY.replace("CONTENT", content))
        assert re.search(r"Version \d+, \d+ ms", await page.wait_for("#answer > small:last-child"))
        assert await page.evaluate("document.querySelector('.error, #evil')") is None
        await page.evaluate("document.querySelector('#requests').open = true")
        await page.wait_for("#requests button")
        await page.evaluate(SEND)
        for place in ("first-of-type", "last-of-type"):  # /predict, where it takes JSON; infer.
            answered = json.loads(await page.wait_for(f"#requests div:{place} pre:not(:empty)"))
            assert numbers(answered.get("outputs") or answered["answers"])
        wide = "[document.documentElement.scrollWidth, innerWidth]"
        inner, outer = await page.evaluate(wide)
        assert inner <= outer
        await page.screenshot(tmp_path / "page.png")

    for width in (400, 1200):
        folder = tmp_path / f"browser-{width}"
        folder.mkdir()
        visit(served, folder, act, width)
        with Image.open(tmp_path / "page.png") as shot:
            drawn = np.asarray(shot.convert("L"))
        assert (np.abs(drawn - np.median(drawn)) > 40).any(axis=1).mean() > 0.1
