"""Write the JSON Schemas that editors complete and check files by, or check that they are current.

    .venv/bin/python tools/build_schemas.py            # write them
    .venv/bin/python tools/build_schemas.py --check    # exit 1 and name those that differ

Those of a task, shared/project/{{the_task}}/schemas/, are what `python parameters.py` writes in a
project of that task; docs/answers.json is the schema of a file of answers such as docs/house.yml,
from Copier's questions. Needs Copier: .venv/bin/python has it once `make test` has run.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import copier

from build_cookiecutter import hidden_questions, house_rules, questions, root
from sync_shared import write_copies

# Python's end of a text, which the patterns of other languages lack.
END = r"\Z"


def schemas_of(task: str) -> dict[Path, str]:
    """The schemas of a task, as a project writes them."""
    overlay = root / "shared" / "project" / ("{{" + task.replace("-", "_") + "}}") / "schemas"
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "leaf")
        template = str(root / "templates" / "torch-research")
        copier.run_copy(template, project, data={"task": task}, defaults=True, quiet=True)
        command = [sys.executable, "-B", "parameters.py"]
        subprocess.run(command, cwd=project, check=True, capture_output=True)
        files = sorted((project / "schemas").glob("*.json"))
        return {overlay / path.name: path.read_text(encoding="utf-8") for path in files}


def answer(name: str, question: dict[str, Any]) -> dict[str, Any]:
    """The schema of one answer."""
    found: dict[str, Any] = {"type": "string"}
    if "help" in question:
        found["description"] = question["help"]
    if "choices" in question:
        found["enum"] = [*question["choices"].values()]
    # The validator names the pattern that an answer has to have.
    pattern = re.search(r"not \w+ \| regex_search\((\w+)\)", question.get("validator", ""))
    if pattern:
        found["pattern"] = hidden_questions()[pattern[1]]["default"].replace(END, "$")
        if f"if {name} and" in question["validator"]:  # Nothing is an answer, too.
            found["pattern"] = f"^$|{found['pattern']}"
    return found


def answers_schema() -> str:
    """The schema of a file of answers."""
    known = questions() | house_rules()
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "description": "Answers to the questions of the templates: see tools/check_answers.py",
        "type": "object",
        "properties": {name: answer(name, question) for name, question in known.items()},
        # What Copier and the template write into a project's .copier-answers.yml.
        "patternProperties": {"^_|^model_of$": {}},
        "additionalProperties": False,
    }
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


def expected() -> dict[Path, str]:
    """Every schema's path and content."""
    found = {root / "docs" / "answers.json": answers_schema()}
    for task in questions()["task"]["choices"].values():
        found |= schemas_of(task)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if needed")
    check = parser.parse_args().check
    if not check:
        write_copies()
    different = {
        path: text
        for path, text in expected().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    }
    for path, text in different.items():
        print(f"{'differs' if check else 'written'}: {path.relative_to(root).as_posix()}")
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
    if check and different:
        print("Run tools/build_schemas.py and commit what it writes.", file=sys.stderr)
    elif not check:
        write_copies()
    return 1 if check and different else 0


if __name__ == "__main__":
    sys.exit(main())
