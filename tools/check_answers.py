"""Check a file of answers before projects are made with it: Copier ignores unknown names silently.

    python tools/check_answers.py house.yml

Takes a data file (`copier copy --data-file`), Copier's settings file (the names below `defaults:`)
and a project's .copier-answers.yml. Needs Copier in the same Python: .venv/bin/python has it once
`make test` has run.
"""

import argparse
import difflib
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import copier
import yaml

from build_cookiecutter import house_rules, questions, root

# Written by the template; `house` by that of before November 2026.
also_known: dict[str, dict[str, Any]] = {"model_of": {}, "house": {}}


def problems(path: Path) -> list[str]:
    """A line for each answer that Copier would ignore or refuse."""
    try:
        answers = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        return [f"{path}: cannot be read: {' '.join(str(error).split())}"]
    if isinstance(answers, dict) and isinstance(answers.get("defaults"), dict):
        answers = answers["defaults"]
    if not isinstance(answers, dict):
        return [f"{path}: expected `name: answer` lines."]
    known = also_known | questions() | house_rules()
    found = []
    sound = {**answers}
    for name, answer in answers.items():
        if str(name).startswith("_"):
            continue  # Copier's own: _src_path, _commit.
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            del sound[name]
            found.append(
                f"{path}: {name}: no question has this name"
                + (f"; did you mean {near[0]}?" if near else f". There are: {', '.join(known)}.")
            )
            continue
        choices = known[name].get("choices", {})
        if choices and answer not in choices.values():
            del sound[name]
            expected = ", ".join(choices.values())
            found.append(f"{path}: {name}: got {answer!r}, expected one of {expected}.")
        elif not isinstance(answer, str) and name != "house":
            del sound[name]
            found.append(f"{path}: {name}: got {answer!r}, expected text; put it in quotes.")
    return found + refused(path, sound)


def refused(path: Path, answers: dict[str, str]) -> list[str]:
    """What Copier says of the values, having rendered nothing; it stops at the first, so again."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            source = root / "templates" / answers.get("template", "torch-research")
            options: Any = {"defaults": True, "pretend": True, "quiet": True}
            copier.run_copy(str(source), folder, data=answers, **options)
    except ValueError as error:
        found = [f"{path}: {' '.join(str(error).split())}"]
        name = re.search(r"question '(\w+)'", str(error))
        if not name or name[1] not in answers:
            return found
        others = {each: answers[each] for each in answers if each != name[1]}
        return found + refused(path, others)
    return []


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="a file of answers")
    found = [line for path in parser.parse_args().files for line in problems(path)]
    for line in found:
        print(f"error: {line}", file=sys.stderr)
    return 2 if found else 0


if __name__ == "__main__":
    sys.exit(main())
