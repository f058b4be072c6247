"""Write cookiecutter.json from Copier's questions, or check that it is up to date.

    .venv/bin/python tools/build_cookiecutter.py            # write it
    .venv/bin/python tools/build_cookiecutter.py --check    # exit 1 if it differs

Needs Copier and PyYAML, which `make test` installs into .venv. Cookiecutter has no conditions, and
no folder before its first question: a question of one template alone says so in its text, and a
default that depends on the folder's name is Copier's for a folder whose name no project can have.
"""

import argparse
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import copier
import yaml
from jinja2 import Environment, meta

root = Path(__file__).resolve().parent.parent
target = root / "cookiecutter.json"
# A question named `template` would be taken for Cookiecutter's choice between nested templates.
renamed = {"template": "template_name"}


class Loader(yaml.SafeLoader):
    """Reads `!include`, as Copier does."""


def include(loader: yaml.Loader, node: yaml.Node) -> list[Any]:
    return list(documents(str(node.value)))


Loader.add_constructor("!include", include)


def documents(name: str) -> list[dict[str, Any]]:
    """The mappings in a file of the repository, those of files that it includes too."""
    found: list[dict[str, Any]] = []
    for document in yaml.load_all((root / name).read_text(encoding="utf-8"), Loader=Loader):
        found += document if isinstance(document, list) else [document or {}]
    return found


def all_questions() -> dict[str, dict[str, Any]]:
    """What the root entry asks, computes or takes from a house, in its order."""
    return {
        name: question
        for document in documents("copier.yml")
        for name, question in document.items()
        if not name.startswith("_")
    }


def questions() -> dict[str, dict[str, Any]]:
    """What the root entry asks, in its order."""
    return {
        name: each
        for name, each in all_questions().items()
        if each.get("when") is not False and each.get("ask") is not False
    }


def hidden_questions() -> dict[str, dict[str, Any]]:
    """What the root entry computes."""
    return {name: each for name, each in all_questions().items() if each.get("when") is False}


def house_rules() -> dict[str, dict[str, Any]]:
    """What nobody is asked and a house's file of answers or settings sets."""
    return {name: each for name, each in all_questions().items() if each.get("ask") is False}


def answers_for_any_folder() -> dict[str, Any]:
    """What Copier takes without a question for a folder that gives the project no name."""
    template = root / "templates" / questions()["template"]["default"]
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder, "_")
        copier.run_copy(str(template), project, defaults=True, quiet=True)
        return yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))


def default_of(name: str, question: dict[str, Any], asked: set[str]) -> str:
    """The default as Cookiecutter understands it."""
    default = question["default"]
    used = meta.find_undeclared_variables(Environment().parse(default))
    if not used <= asked:
        return answers_for_any_folder()[name]
    for other in used:
        default = re.sub(
            r"\{\{.*?\}\}",
            lambda tag, other=other: re.sub(
                rf"\b{other}\b", f"cookiecutter.{renamed.get(other, other)}", tag[0]
            ),
            default,
        )
    return default


def prompt_of(question: dict[str, Any]) -> str:
    """The question's text; what it is for, where that is not every project."""
    if "when" not in question:
        return question["help"]
    if not re.fullmatch(r"\{\{ \w+ (==|in) \[?'[\w', -]+'\]? \}\}", question["when"]):
        raise ValueError(
            f"when: got {question['when']}, expected a test of one answer, such as "
            "{{ template == '...' }} or {{ ci in ['...', '...'] }}: Cookiecutter asks every "
            "question, and says what it is for."
        )
    owners = re.findall(r"'([\w-]+)'", question["when"])
    return f"For {' and '.join(owners)} only: {question['help']}"


def marked_up(text: str) -> str:
    """Cookiecutter takes what stands in square brackets for a colour."""
    return text.replace("[", "\\[")


def content() -> str:
    """The text of cookiecutter.json."""
    result: dict[str, Any] = {}
    prompts: dict[str, Any] = {}
    asked = questions()
    for name, question in asked.items():
        key, prompt = renamed.get(name, name), marked_up(prompt_of(question))
        if "choices" not in question:
            result[key] = default_of(name, question, set(asked))
            prompts[key] = prompt
            continue
        choices = {value: marked_up(label) for label, value in question["choices"].items()}
        # Cookiecutter's default is the first.
        result[key] = sorted(choices, key=lambda value: value != question["default"])
        prompts[key] = {"__prompt__": prompt, **choices}
    result["__prompts__"] = prompts
    result["_extensions"] = ["hooks.copier_bridge.CopierBridge"]
    return json.dumps(result, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if needed")
    check = parser.parse_args().check
    text = content()
    if target.is_file() and target.read_text(encoding="utf-8") == text:
        return 0
    if check:
        print(f"differs: {target.name}")
        print("Run tools/build_cookiecutter.py and commit what it writes.", file=sys.stderr)
        return 1
    target.write_text(text, encoding="utf-8", newline="\n")
    print(f"written: {target.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
