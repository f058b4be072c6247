"""ADOPT.md: what was added, what stayed, and what is left to do by hand."""

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trainyard.answers import ANSWERS_FILE, read_yaml
from trainyard.checks.report import check_folder, score
from trainyard.checks.repository import Repository, trains
from trainyard.checks.sources import Function, Source

REPORT = "ADOPT.md"
# What to do with files that both have; {pristine} is the branch with the template alone.
ADVICE = {
    "train.py": "The template's records parameters, resumes and refuses bad input. Take it, and "
    "move what is yours into model/",
    "evaluate.py": "Take the template's; your metrics go into `Evaluation` in model/report.py",
    "model/net.py": "Keep your network, and give the file what the template's has: Net(parameters, "
    "dataset), losses(...) -> (B,), predict(...). They take dictionaries, such as {'images': (B, "
    "height, width, channels)} as they are stored: see the docstrings there. Then delete your own "
    "loss",
    "model/data_loader.py": "Take the template's; reading and preparing raw data goes into "
    "build_dataset.py, random changes of examples into model/augmentation.py",
    "build_dataset.py": "Take the template's; TASK.md says how it reads your own data",
    "search_hyperparams.py": "Take the template's; what is searched stands in "
    "experiments/search/search.yaml",
    "synthesize_results.py": "Take the template's; it reads all folders below experiments/",
    "utils.py": "Append the template's lines to yours, or the other way round",
    "README.md": "Keep yours; copy the sections on training, stopping and updates",
    "LICENSE": "Keep yours",
    "pyproject.toml": "Copy requires-python and the tools' settings",
}
CHECKS = (".github/workflows/test.yml", ".gitlab-ci.yml", "azure-pipelines.yml")


def write_report(folder: Path, adopted: Path, rendered: Path, plan: Any, pristine: str) -> str:
    """Write the report into the new branch's files; return its path there.

    Args:
        folder: of the project as it was.
        adopted: the project with the template's files.
        rendered: the template.
        plan: of adoption.py.
        pristine: the branch with the template alone.

    Raises:
        InputError: the project has such a file of its own.
    """
    from trainyard.errors import InputError

    if (adopted / REPORT).exists():
        raise InputError(f"{folder / REPORT}: is there already. Rename it and commit that first.")
    lines = [*_lines(folder, adopted, rendered, plan, pristine)]
    (adopted / REPORT).write_text("\n".join([*lines, ""]), encoding="utf-8")
    return REPORT


def describe_answers(rendered: Path) -> str:
    """Return what the template was made with, such as "task=tabular, loop=plain, licence=none"."""
    stored = read_yaml(rendered / ANSWERS_FILE)
    names = ("template", "task", "loop", "backend", "licence", "ci")
    return ", ".join(f"{name}={stored[name]}" for name in names if stored.get(name))


def _lines(folder: Path, adopted: Path, rendered: Path, plan: Any, pristine: str) -> Iterator[str]:
    before, after = (score(check_folder(each)) for each in (folder, adopted))
    yield from (
        "# The template, taken on",
        "",
        f"{len(plan.added)} files of the template were added. All of yours are as they were. "
        "Delete this file when you are done with it.",
        "",
        f"It was made with {describe_answers(rendered)}. For other answers, delete the two "
        "branches and adopt again with `--data`, such as `--data task=tabular --data licence=MIT`.",
        "",
        f"`trainyard check` passed {before[0]} of {before[1]} before, and passes {after[0]} of "
        f"{after[1]} now. It counts the template's files, also those that your code does not use "
        "yet.",
        "",
        "## Files that both have: yours stayed",
        "",
        f"`git show {pristine}:FILE` shows the template's, `git checkout {pristine} -- FILE` takes "
        "it, and git keeps yours in the commit before.",
        "",
    )
    for name, own in plan.kept.items():
        shown = f"`{name}`" if own == name else f"`{name}`, yours is `{own}`"
        yield f"- {shown}: {_advice(folder / own, rendered, name)}."
    yield from () if plan.kept else ("None.",)
    if plan.left_out:
        yield from ("", "## Files of the template that were left out", "")
        yield from (f"- `{name}`: {reason}." for name, reason in plan.left_out.items())
        yield from ("", f"Move or rename yours first, then `git checkout {pristine} -- FILE`.")
    yield from ("", "## Where your code goes", "")
    repository = Repository(folder)
    found = [*_homes(repository)]
    yield from found or ["Nothing was recognised. README.md says what each file is for."]
    yield from _red_checks(repository, plan)
    yield from (
        "",
        "## Then",
        "",
        "    python -m pip install -c constraints.txt -r requirements.txt -r requirements/dev.txt",
        "    python train.py && python evaluate.py",
        "    python -m pytest",
        "    trainyard check",
        "",
        "The tests of the template test `model/` by the names that it relies on, so they pass once "
        "your network has them. From here on `copier update` brings newer versions of the "
        "template: it merges into what was added, and leaves files alone that you deleted.",
    )


def _red_checks(repository: Repository, plan: Any) -> Iterator[str]:
    """Yield lines on the checks that came with the template and judge the project's own code."""
    came = [name for name in CHECKS if name in plan.added]
    if not came or not repository.find("*.py", "*.ipynb"):
        return
    yield from (
        "",
        "## Checks that may fail until you have mended them",
        "",
        f"`{came[0]}` came with the template, and judges your code, too, which was not written "
        "for it:",
        "",
        "- `ruff check` and `ruff format --check`: the commands below mend most of it; `git diff` "
        "shows what they changed, and the first names what is left to do by hand.",
        "- `ty check`: mend the types that it names.",
    )
    own = [name for name in (*plan.kept.values(), *plan.left_out) if name.endswith(".py")]
    if own:
        shown = ", ".join(f"`{name}`" for name in own)
        yield (
            "- `pytest`, and the training of two epochs: they use the template's names in "
            f"{shown}, so they fail until these are there."
        )
    yield from (
        *("", "    python -m pip install -c constraints.txt -r requirements/dev.txt"),
        *("    python -m ruff check --fix", "    python -m ruff format"),
    )


def _advice(path: Path, rendered: Path, name: str) -> str:
    """Return what to do with a file that both have; the project's is at the path."""
    is_list = name in (".gitignore", ".gitattributes", ".dockerignore") or name.endswith(".txt")
    if is_list and path.is_file():
        own = path.read_text(encoding="utf-8", errors="replace").splitlines()
        lines = (rendered / name).read_text(encoding="utf-8").splitlines()
        missing = [each for each in lines if each and each[0] != "#" and each not in own]
        packages = {_package(each) for each in own if name.endswith(".txt")} - {""}
        other = [each for each in missing if _package(each) in packages]
        new = [each for each in missing if each not in other]
        words = {"Add what yours has not": new, "Take in place of yours": other}
        said = [
            f"{word}: {', '.join(f'`{each}`' for each in found)}"
            for word, found in words.items()
            if found
        ]
        return ". ".join(said) or "Yours has all lines of it"
    return ADVICE.get(name, "Compare the two, and decide")


def _package(line: str) -> str:
    """Return the name of the package that a line of requirements asks for, as pip compares it.

    Nothing where the line is an option or an address.
    """
    name = re.match(r"([A-Za-z0-9][\w.-]*)\s*($|[\[=<>!~;#@])", line.strip())
    return re.sub(r"[-_.]+", "-", name[1]).lower() if name else ""


def _homes(repository: Repository) -> Iterator[str]:
    """Yield lines that say which file of the template a piece of the project's code belongs to."""
    for source in repository.code:
        place = f"`{source.path}`"
        classes = [node for node in source.nodes if isinstance(node, ast.ClassDef)]
        homes = [(f"class `{node.name}`", _home_of_class(source, node)) for node in classes]
        homes += [(f"`{node.name}()`", _home_of_function(node)) for node in source.functions]
        for what, home in homes:
            if home and not home.startswith(source.path):
                yield f"- {place}: {what}: {home}."
        options = [*_options(source)]
        if options:
            shown = ", ".join(f"`{each}`" for each in options)
            yield (
                f"- {place}: its options {shown}: parameters.py (training), model/parameters.py "
                "(network and data); their values go into experiments/baseline/params.yaml."
            )
        if source.cells and trains(source):
            yield f"- {place}: trains. Move its code into the files above; keep what only looks."


def _home_of_class(source: Source, node: ast.ClassDef) -> str:
    bases = [source.name(base).rpartition(".")[2] for base in node.bases]
    if {"Module", "LightningModule", "Model", "Layer"} & {*bases}:
        return "model/net.py, as `Net` or a part of it"
    if {"Dataset", "IterableDataset", "Sequence", "PyDataset", "LightningDataModule"} & {*bases}:
        return "reading raw data goes into build_dataset.py, which writes arrays once"
    return ""


def _home_of_function(node: Function) -> str:
    name = node.name.lower()
    if name.startswith("train"):
        return "train.py"
    if name.startswith(("eval", "valid", "test_", "accuracy")) or name in ("test", "metrics"):
        return "metrics go into `Evaluation` in model/report.py"
    if "augment" in name or "transform" in name:
        return "model/augmentation.py"
    if name.startswith(("loss", "criterion")) or name.endswith("_loss"):
        return "`losses` in model/net.py, per example: (B,)"
    return ""


def _options(source: Source) -> Sequence[str]:
    """Return the options that a file takes by argparse or click."""
    return [
        str(call.args[0].value)
        for name, call in source.calls
        if name.rpartition(".")[2] in ("add_argument", "option") and call.args
        if isinstance(call.args[0], ast.Constant) and str(call.args[0].value).startswith("--")
    ]
