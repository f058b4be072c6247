"""Make a release: write the version, renew the copies, check updates, commit, tag, renew examples.

    .venv/bin/python tools/release.py 1.2.0

Refuses, and changes nothing, unless the tree is clean; cookiecutter.json asks what Copier asks;
CHANGELOG.md has the version's heading with its date, and with the mark **[results change]** where
tests/results.json differs from that of the release before; the tag is new; no new file of a project
lies where people's .gitignore would match it; and projects of every template and earlier release
become by `copier update` what the new release would make of them: of the newest one a few of each
template, which have every choice of every question between them, but not all combinations, and of
older ones one of each. The version stands in
shared/version.yml alone: a project copied from a template's folder records it, and `copier update`
looks for the tag of that name. Then the example projects, branches of their own, are updated to it
(tools/renew_examples.py); where that fails, the tag stays, and the exit code is 1. Needs Copier,
which `make test` installs into .venv.
"""

import argparse
import re
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import jinja2
import yaml

import record_version
import renew_examples
import sync_shared

root = Path(__file__).resolve().parent.parent
ignore_rules = root / "tools" / "commonly_ignored.gitignore"
# What an update has to leave as it is; shared/settings.yml keeps these from updates.
yours = ("model/", "experiments/", "data/", "TASK.md", "README.md")


class Refused(Exception):
    """What stands in the way of the release; said without a traceback, exit code 2."""


def git(*arguments: str, folder: Path = root) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=folder, check=True, stdout=subprocess.PIPE, encoding="utf-8"
    ).stdout


def number(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def check(version: str) -> None:
    """Refuse what would not be a sound release."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise Refused(f"VERSION: got {version}, expected three numbers such as 1.2.0.")
    if changes := git("status", "--porcelain"):
        raise Refused(f"The working tree has changes; commit them first:\n{changes}")
    write, remove = sync_shared.differences()
    if write or remove:
        raise Refused(
            "Copies of shared/ are out of date; run tools/sync_shared.py and commit what it writes."
        )
    if git("tag", "--list", f"v{version}"):
        raise Refused(f"The tag v{version} exists; choose a higher version.")
    tags = earlier_tags()
    if tags and number(version) < number(tags[-1].removeprefix("v")):
        raise Refused(f"VERSION: got {version}, expected a higher one than {tags[-1]}.")
    heading = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d{{2}}-\d{{2}}$(.*?)(^## |\Z)"
    text = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    section = re.search(heading, text, re.MULTILINE | re.DOTALL)
    if not section:
        raise Refused(
            f"CHANGELOG.md: expected a heading `## [{version}] - YYYY-MM-DD` with what changed; "
            "add and commit it."
        )
    if results_changed() and "[results change]" not in section[1]:
        raise Refused(
            f"tests/results.json differs from that of {earlier_tags()[-1]}, and CHANGELOG.md has "
            f"no entry under [{version}] that begins with **[results change]**; add and commit it."
        )


def earlier_tags() -> list[str]:
    """The tags of the releases so far, the oldest first."""
    tags = git("tag", "--merged=HEAD", "--sort=v:refname").split()
    return [tag for tag in tags if re.fullmatch(r"v\d+\.\d+\.\d+", tag)]


def results_changed() -> bool:
    """Whether the same project trains to other numbers than at the release before."""
    tags = earlier_tags()
    return bool(tags and git("diff", "--name-only", tags[-1], "--", "tests/results.json"))


def release(version: str) -> None:
    """Write the version into the tree, commit and tag it."""
    before = git("rev-parse", "HEAD").strip()
    record_version.write(f"v{version}")
    act = "commit"
    try:
        if git("status", "--porcelain"):
            git("commit", "--all", "--quiet", "--message", f"Release {version}")
        act = "tag"
        git("tag", "--annotate", f"v{version}", "--message", f"Release {version}")
    except subprocess.CalledProcessError:
        git("reset", "--quiet", "--hard", before)  # The tree was clean before.
        raise Refused(
            f"git refused to {act} the release; see its message above. Nothing is changed."
        ) from None


def check_cookiecutter() -> None:
    """Refuse a release whose cookiecutter.json asks other questions than Copier."""
    import build_cookiecutter

    if build_cookiecutter.target.read_text(encoding="utf-8") != build_cookiecutter.content():
        raise Refused(
            "cookiecutter.json is out of date; run tools/build_cookiecutter.py and commit what it "
            "writes."
        )


def files_of_projects(commit: str) -> dict[str, set[str]]:
    """What each template can give to a project, whatever is chosen, by the names there."""
    files: dict[str, set[str]] = {}
    for name in git("ls-tree", "-r", "-z", "--name-only", commit, "templates/").split("\0"):
        if match := re.fullmatch(r"templates/([^/]+)/project/(.+)", name):
            target = re.sub(r"\{\{\w+\}\}/", "", match[2]).removesuffix(".jinja")
            files.setdefault(match[1], set()).add(target)
    return files


def check_ignored_paths() -> None:
    """Refuse a new file where people may have one that git ignores.

    An update would overwrite theirs, and git could not bring it back.
    """
    import copier

    tags = earlier_tags()
    before = files_of_projects(tags[-1]) if tags else {}
    for template, files in files_of_projects("HEAD").items():
        new = sorted(files - before.get(template, set()))
        with tempfile.TemporaryDirectory() as project:
            options: Any = {"defaults": True, "quiet": True}
            copier.run_copy(str(root / "templates" / template), project, **options)
            git("init", "--quiet", folder=Path(project))
            found = subprocess.run(
                ["git", "-c", f"core.excludesFile={ignore_rules}", "check-ignore", "-v", "--stdin"],
                cwd=project,
                input="\n".join(new),
                stdout=subprocess.PIPE,
                encoding="utf-8",
            )
        if found.returncode not in (0, 1):
            raise Refused("git check-ignore failed; see its message above.")
        for line in found.stdout.splitlines():
            rule, path = line.split("\t")
            pattern = rule.split(":", 2)[2]
            if not pattern.startswith("!"):
                raise Refused(
                    f"templates/{template}: {path} is new, and the rule {pattern} in people's "
                    ".gitignore would match it. An update would overwrite a file of theirs there, "
                    "and git could not bring it back. Give it a path that none of "
                    f"{ignore_rules.relative_to(root).as_posix()} and the project's own .gitignore "
                    "matches."
                )


def check_updates(version: str) -> None:
    """Refuse a release to which projects of earlier ones do not come.

    In a clone of its own, where the release is made first: a few projects of each earlier tag and
    template are updated, and compared with new ones.
    """
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "repository")
        git("clone", "--quiet", str(root), str(clone))
        path = clone / record_version.version_file.relative_to(root)
        path.write_text(record_version.text(f"v{version}"), encoding="utf-8")
        words = [sys.executable, clone / "tools/sync_shared.py"]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        git("commit", "--all", "--quiet", "--allow-empty", "--message", version, folder=clone)
        git("tag", f"v{version}", folder=clone)
        tags = earlier_tags()
        for tag in tags:
            for template in git("ls-tree", "--name-only", f"{tag}:templates").split():
                print(f"Updating {template} projects of {tag} ...", flush=True)
                varied = varied_answers(tag, template)
                # Of the newest one each choice is tried; most projects are brought there first.
                for answers in varied if tag == tags[-1] else varied[:1]:
                    with tempfile.TemporaryDirectory(dir=folder) as place:
                        check_update(clone, Path(place), tag, version, answers)


def check_update(clone: Path, place: Path, tag: str, version: str, answers: dict[str, str]) -> None:
    """Refuse a release to which one project of an earlier tag does not come.

    Args:
        clone: of this repository, in which the release is tagged.
        place: an empty folder.
        tag: the earlier release.
        version: the new one.
        answers: of the project; the others are the usual ones of the earlier release.
    """
    import copier

    project, new = place / "old" / "leaf", place / "new" / "leaf"
    options: Any = {"defaults": True, "quiet": True}
    copier.run_copy(str(clone), project, vcs_ref=tag, data=answers, **options)
    git("init", "--quiet", folder=project)
    git("add", "--all", folder=project)
    git("commit", "--quiet", "--message", tag, folder=project)
    copier.run_update(project, overwrite=True, **options)
    # It keeps its answers, also where another one has become the usual one.
    stored = yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))
    kept = {name: each for name, each in stored.items() if not name.startswith("_")}
    copier.run_copy(str(clone), new, vcs_ref=f"v{version}", data=kept, **options)
    if different := differing_files(project, new):
        raise Refused(
            f"A {answers['template']} project of {tag} does not become one of v{version} by "
            f"`copier update`: {', '.join(different)} differ. Its answers: "
            + ", ".join(f"{name}={each}" for name, each in answers.items())
        )


def varied_answers(tag: str, template: str) -> list[dict[str, str]]:
    """Answers for a few projects, which have each choice of each question between them.

    Not the product: the first project has every question's first choice, the second one the second.
    """
    choices = {}
    for folder in ("shared", f"templates/{template}"):
        for document in yaml.safe_load_all(git("show", f"{tag}:{folder}/questions.yml")):
            for name, question in (document or {}).items():
                if found := question.get("choices"):
                    choices[name] = [*found.values()]
    return [
        {"template": template, **{name: each[i % len(each)] for name, each in choices.items()}}
        for i in range(max(map(len, choices.values())))
    ]


def differing_files(project: Path, new: Path) -> list[str]:
    """The template's files that an updated project and a new one do not have in common."""
    files = [
        {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        for folder in (project, new)
    ]
    names = sorted(files[0].keys() | files[1].keys())
    return [
        name
        for name in names
        if not name.startswith((*yours, ".git/")) and files[0].get(name) != files[1].get(name)
    ]


def place_of(error: jinja2.TemplateError) -> str:
    """The file and line of an error; Jinja has templates in the traceback as if they were code."""
    if isinstance(error, jinja2.TemplateSyntaxError):
        file, line = error.filename or error.name or "a template", error.lineno
    else:
        frames = traceback.extract_tb(error.__traceback__)
        found = [
            (each.filename, each.lineno) for each in frames if each.filename.endswith(".jinja")
        ]
        file, line = found[-1] if found else ("the name of a file, or a question", 0)
    return f"{re.sub('.*/templates/', 'templates/', file)}:{line}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("version", metavar="VERSION", help="such as 1.2.0")
    parser.add_argument(
        "--trust-updates",
        action="store_true",
        help="leave out what takes long: updates, ignored paths, cookiecutter.json, examples",
    )
    arguments = parser.parse_args()
    version = arguments.version
    try:
        check(version)
        if not arguments.trust_updates:
            check_cookiecutter()
            check_ignored_paths()
            check_updates(version)
        release(version)
    except Refused as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 2
    except jinja2.TemplateError as error:
        print(f"error: {place_of(error)}: cannot be rendered: {error}", file=sys.stderr)
        return 2
    print(f"Tagged v{version}. Publish it: git push --follow-tags")
    return 0 if arguments.trust_updates else show(version)


def show(version: str) -> int:
    """Update the example projects to a release that is tagged; return the exit code."""
    try:
        renew_examples.renew(f"v{version}")
    except renew_examples.Refused as refusal:
        print(
            f"error: v{version} is tagged, but not all examples are renewed: {refusal}\n"
            f"Mend it, then: python tools/renew_examples.py v{version}",
            file=sys.stderr,
        )
        return 1
    print(f"Publish the examples, too: {renew_examples.PUBLISH}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
