"""Write into shared/version.yml the commit that projects are updated from, or check it.

    python3 tools/record_version.py            # record the commit that made today's templates
    python3 tools/record_version.py --check    # exit 1 if the recorded commit has other templates

A project copied from a template's folder keeps the recorded name, and `copier update` later
compares that commit with a newer one. A commit cannot hold its own hash. So commit a change of the
templates first, run this, and commit what it writes. A release records its tag instead;
tools/release.py does that.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import sync_shared

root = Path(__file__).resolve().parent.parent
version_file = root / "shared" / "version.yml"
next_step = "Run `python3 tools/record_version.py` and commit what it writes."

# Everything that a project is made from. The record itself does not count: it changes afterwards.
record_paths = ["shared/version.yml", "templates/*/_shared/version.yml"]
template_paths = ["copier.yml", "shared", "templates", *map(":(exclude){}".format, record_paths)]


class Refused(Exception):
    """What stands in the way; said without a traceback, exit code 2."""


def git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, encoding="utf-8")


def text(name: str) -> str:
    """What shared/version.yml says when this commit or tag is recorded."""
    return (
        "# A commit with the same templates as this one, or the tag of its release. It is what a\n"
        "# project copied from a template's folder is updated from. tools/record_version.py and\n"
        "# tools/release.py write it; nothing else does.\n"
        f'template_version:\n  type: str\n  default: "{name}"\n  when: false\n'
        "  validator: the template sets it; leave it out\n"
    )


def recorded() -> str:
    """The name that shared/version.yml holds; nothing if it was damaged."""
    match = re.search(r'^  default: "([\w.]+)"$', version_file.read_text("utf-8"), re.MULTILINE)
    return match[1] if match else ""


def missing_history() -> str:
    """Why nothing can be said of commits here; nothing if it can."""
    if not (root / ".git").exists():
        return f"{root} is no git repository, expected one with its history."
    if git("rev-parse", "--is-shallow-repository").stdout.strip() != "false":
        return f"{root} is a shallow clone, expected its whole history: git fetch --unshallow."
    return ""


def problem() -> str:
    """What is wrong with the recorded name; nothing if it is right for HEAD.

    Changes that are not committed do not count, so that a test can ask at any time.
    """
    name = recorded()
    if git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").returncode:
        got = name or "no name"
        return f"shared/version.yml: got {got}, expected a commit or a tag of this clone."
    if git("merge-base", "--is-ancestor", name, "HEAD").returncode:
        return f"shared/version.yml: got {name}, expected a commit in the history of HEAD."
    changed = git("diff", "--name-only", name, "HEAD", "--", *template_paths).stdout.splitlines()
    if changed:
        return (
            f"shared/version.yml: got {name}, expected a commit with the templates of HEAD; "
            f"{len(changed)} files differ, such as {changed[0]}."
        )
    return ""


def write(name: str) -> None:
    """Record the name, in the copies too."""
    version_file.write_text(text(name), encoding="utf-8", newline="\n")
    sync_shared.write_copies()


def record() -> str:
    """Record the commit that made the templates what they are, unless that is done."""
    if reason := missing_history():
        raise Refused(reason)
    if changes := git("status", "--porcelain", "--", *template_paths).stdout:
        raise Refused(f"Templates have changes that no commit has; commit them first:\n{changes}")
    to_write, to_remove = sync_shared.differences()
    if any(path.name != version_file.name for path in [*to_write, *to_remove]):
        raise Refused(
            "Copies of shared/ are out of date; run tools/sync_shared.py and commit what it writes."
        )
    if problem():
        write(git("rev-list", "-1", "HEAD", "--", *template_paths).stdout.strip())
    else:
        sync_shared.write_copies()
    return recorded()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if needed")
    if parser.parse_args().check:
        if found := missing_history() or problem():
            print(f"{found} {next_step}", file=sys.stderr)
        return 1 if found else 0
    try:
        print(f"recorded: {record()}")
    except Refused as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
