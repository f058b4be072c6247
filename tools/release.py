"""Make a release: write the version, renew the copies, commit, tag.

    python tools/release.py 1.2.0

Refuses, and changes nothing, unless the tree is clean, CHANGELOG.md has the version's heading with
its date, and the tag is new. The version stands in shared/version.yml alone: a project copied from
a template's folder records it, and `copier update` looks for the tag of that name.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import sync_shared

root = Path(__file__).resolve().parent.parent
version_file = root / "shared" / "version.yml"
version_line = re.compile(r"^  default: v(\d+\.\d+\.\d+)$", re.MULTILINE)


class Refused(Exception):
    """What stands in the way of the release; said without a traceback, exit code 2."""


def git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=root, check=True, stdout=subprocess.PIPE, encoding="utf-8"
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
    current = version_of_tree()
    if number(version) < number(current):
        raise Refused(f"VERSION: got {version}, expected {current} or higher.")
    heading = re.compile(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d{{2}}-\d{{2}}$", re.MULTILINE)
    if not heading.search((root / "CHANGELOG.md").read_text(encoding="utf-8")):
        raise Refused(
            f"CHANGELOG.md: expected a heading `## [{version}] - YYYY-MM-DD` with what changed; "
            "add and commit it."
        )


def version_of_tree() -> str:
    """The version that shared/version.yml gives to this tree."""
    match = version_line.search(version_file.read_text(encoding="utf-8"))
    if not match:
        raise Refused(f"{version_file}: expected one line such as `  default: v1.2.0`.")
    return match[1]


def release(version: str) -> None:
    """Write the version into the tree, commit and tag it."""
    text = version_file.read_text(encoding="utf-8")
    text = version_line.sub(f"  default: v{version}", text)
    version_file.write_text(text, encoding="utf-8", newline="\n")
    sync_shared.write_copies()
    if git("status", "--porcelain"):
        try:
            git("commit", "--all", "--quiet", "--message", f"Release {version}")
        except subprocess.CalledProcessError:
            git("checkout", "--quiet", "--", ".")  # The tree was clean before.
            raise Refused("git refused to commit the release; see its message above.") from None
    git("tag", "--annotate", f"v{version}", "--message", f"Release {version}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("version", metavar="VERSION", help="such as 1.2.0")
    version = parser.parse_args().version
    try:
        check(version)
        release(version)
    except Refused as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 2
    print(f"Tagged v{version}. Publish it: git push --follow-tags")
    return 0


if __name__ == "__main__":
    sys.exit(main())
