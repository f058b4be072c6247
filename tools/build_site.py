"""Build the site of the documentation: gather its pages in site/pages, and make site/html of them.

    .venv/bin/python tools/build_site.py
    .venv/bin/python tools/build_site.py --gallery gallery   # with what build_gallery.py made
    .venv/bin/python tools/build_site.py --output FOLDER     # elsewhere than in site/

The pages are the repository's Markdown as it stands: README, docs/, the papers of each task, and
the README of a project that is rendered for it. A link to a file that has a page becomes a link to
that page; one to a file without a page becomes its text. A link to nothing ends the build, and so
does what Zensical warns of. Ends with 0 when the site is there, with 2 when something is wrong.

Needs Copier and Zensical: after `make demo`, `.venv/bin/python -m pip install zensical`.
"""

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import unquote

import copier

root = Path(__file__).resolve().parent.parent
MARK = "Made by tools/build_site.py, which replaces this folder.\n"
templates = ["torch-research", "tf-production", "keras-quickstart"]
tasks = [
    "image-classification",
    "tabular",
    "text-classification",
    "semantic-segmentation",
    "object-detection",
]

# A link or a picture, outside of code: [text](target) or [text](target#part).
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")
CODE = re.compile(r"```[\s\S]*?```|^(?: {4}.*\n)+|`[^`\n]+`", re.MULTILINE)
# What Zensical warns of, on a terminal: Warning: words, and the page:line:column of the words.
WARNING = re.compile(r"Warning: (.*)\n.*?\[ (\S+):(\d+):\d+ \]")
COLOUR = re.compile(r"\x1b\[[\d;]*m")


class Refused(Exception):
    """What is wrong with a page; said without a traceback, exit code 2."""


def overlay(name: str) -> Path:
    """Return the folder in shared/project/ that an answer brings."""
    return root / "shared" / "project" / f"{{{{{name.replace('-', '_')}}}}}"


def find_pages(projects: Path) -> dict[Path, str]:
    """Return the file of each page, and the page's path in the site.

    Args:
        projects: holds a rendered project of each template, in folders of their names.
    """
    pages = {root / "README.md": "index.md", root / "benchmarks" / "README.md": "benchmarks.md"}
    pages |= {path: path.name for path in sorted((root / "docs").glob("*.md"))}
    pages |= {root / f"{name}.md": f"{name.lower()}.md" for name in ("CONTRIBUTING", "CHANGELOG")}
    pages |= {overlay(task) / "TASK.md": f"tasks/{task}.md" for task in tasks}
    pages[overlay("competition") / "KAGGLE.md"] = "kaggle-evening.md"
    pages |= {projects / name / "README.md": f"projects/{name}.md" for name in templates}
    return pages


def find_targets(pages: dict[Path, str], projects: Path) -> dict[Path, str]:
    """Return what a link may lead to: pages, the folders that they stand for, and their papers."""
    targets = dict(pages)
    for name in templates:
        targets[root / "templates" / name] = f"projects/{name}.md"
        targets[projects / name / "TASK.md"] = f"tasks/{tasks[0]}.md"
    for path in sorted((root / "docs").rglob("*")):
        if path.is_file() and path.suffix != ".md":
            targets[path] = path.relative_to(root / "docs").as_posix()
    return targets


def rewrite(text: str, file: Path, page: str, targets: dict[Path, str]) -> str:
    """Return a page with the links of its file turned into those of the site.

    Args:
        text: of the file.
        page: where the site has it.
        targets: the path in the site of each file that has one.

    Raises:
        Refused: if a link leads nowhere.
    """

    def replace(match: re.Match[str]) -> str:
        picture, words, target, part = match.groups()
        if not target or re.match("[a-z]+:", target):
            return match[0]
        found = Path(os.path.normpath(file.parent / unquote(target)))
        if found in targets:
            beside = os.path.relpath(targets[found], Path(page).parent)
            return f"{picture}[{words}]({Path(beside).as_posix()}{part or ''})"
        if found.exists() and not picture:
            return words
        raise Refused(f"{file}: the link to {target} leads nowhere; mend it.")

    parts, end = [], 0
    for code in CODE.finditer(text):
        parts += [LINK.sub(replace, text[end : code.start()]), code[0]]
        end = code.end()
    return "".join([*parts, LINK.sub(replace, text[end:])])


def gather(folder: Path, gallery: Path | None) -> None:
    """Write all pages and what they show into an empty folder.

    Raises:
        Refused: if a link leads nowhere.
    """
    with tempfile.TemporaryDirectory() as temporary:
        projects = Path(temporary).resolve()
        for name in templates:
            template = root / "templates" / name
            copier.run_copy(str(template), projects / name, defaults=True, quiet=True)
        pages = find_pages(projects)
        targets = find_targets(pages, projects)
        for file, page in targets.items():
            target = folder / page
            target.parent.mkdir(parents=True, exist_ok=True)
            if file in pages:
                text = file.read_text(encoding="utf-8")
                text = rewrite(text, file, page, targets)
                target.write_text(text, encoding="utf-8")
            elif file.is_file() and file.suffix != ".md":
                shutil.copy(file, target)
    if gallery:
        shutil.copytree(gallery, folder / "gallery", dirs_exist_ok=True)


def build(site: Path, gallery: Path | None) -> None:
    """Gather the pages and build the site, in a folder that is new or that an earlier build made.

    Raises:
        Refused: if a link leads nowhere, Zensical warns, or the folder holds something else.
    """
    if gallery and not (gallery / "index.md").is_file():
        raise Refused(f"--gallery {gallery}: has no index.md; run tools/build_gallery.py first.")
    mark = site / "made-by.txt"
    if site.exists() and not (mark.is_file() and mark.read_text(encoding="utf-8") == MARK):
        raise Refused(
            f"--output {site}: is there, and not a site of an earlier build; name another."
        )
    if gallery and gallery.resolve().is_relative_to(site.resolve()):
        raise Refused(f"--gallery {gallery}: lies in what is built anew; keep it elsewhere.")
    if importlib.util.find_spec("zensical") is None:
        raise Refused(f"Zensical is not installed here: {sys.executable} -m pip install zensical")
    shutil.rmtree(site, ignore_errors=True)
    (site / "pages").mkdir(parents=True)
    mark.write_text(MARK, encoding="utf-8")
    gather(site / "pages", gallery)
    settings = (root / "docs" / "zensical.toml").read_text(encoding="utf-8")
    if gallery:
        settings = settings.replace("# --gallery: ", "")
    (site / "zensical.toml").write_text(settings, encoding="utf-8")
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    result = subprocess.run(
        command, cwd=site, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )
    if result.returncode:
        printed = COLOUR.sub("", result.stdout)
        found = [f"{page}, line {line}: {words}" for words, page, line in WARNING.findall(printed)]
        raise Refused("\n".join(["The site's pages are not sound:", *found]) if found else printed)


def main() -> int:
    """Build the site; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gallery", type=Path, help="the folder that build_gallery.py wrote")
    parser.add_argument("--output", type=Path, default=root / "site", help="a new folder [site]")
    options = parser.parse_args()
    try:
        build(options.output, options.gallery)
    except Refused as refused:
        print(f"error: {refused}", file=sys.stderr)
        return 2
    print(f"Wrote {options.output / 'html' / 'index.html'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
