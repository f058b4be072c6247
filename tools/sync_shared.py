"""Copy what the templates share into each of them, or check that the copies are up to date.

    python tools/sync_shared.py            # write the copies
    python tools/sync_shared.py --check    # exit 1 and name the files that differ

Copier lets a template's folder read nothing above itself, and each folder must work alone. So
shared/*.yml is copied to templates/*/_shared/, shared/project/ to the overlay folder
templates/*/project/{{shared}}/, and the answers file's template to templates/*/project/, the one
place where Copier wants it. Edit shared/, never the copies.
"""

import argparse
import subprocess
import sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent
answers_file = Path("{{_copier_conf.answers_file}}.jinja")

note = """\
# Copied, not written here

Everything in this folder is a copy of files in `shared/` at the top of the repository. Change them
there and run `python tools/sync_shared.py`; changes made here are lost.
"""


def files_under(folder: Path) -> list[Path]:
    """The files that git tracks or would track, so that caches and editors' litter stay behind."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", folder],
        cwd=root,
        check=True,
        capture_output=True,
        encoding="utf-8",
    ).stdout
    paths = {root / line for line in listing.split("\0") if line}
    return sorted(path for path in paths if path.is_file())


def expected_copies(template: Path) -> dict[Path, bytes]:
    """Each copy's path and content in one template."""
    settings, project = template / "_shared", template / "project" / "{{shared}}"
    copies = {folder / "_GENERATED.md": note.encode() for folder in (settings, project)}
    for source in files_under(root / "shared"):
        relative = source.relative_to(root / "shared")
        if relative == answers_file:
            copies[template / "project" / relative] = source.read_bytes()
        elif relative.parts[0] == "project":
            copies[project / relative.relative_to("project")] = source.read_bytes()
        else:
            copies[settings / relative] = source.read_bytes()
    return copies


def differences() -> tuple[dict[Path, bytes], list[Path]]:
    """The copies to write, since they are missing or differ, and the stale ones to remove."""
    write: dict[Path, bytes] = {}
    remove: list[Path] = []
    for template in sorted(path.parent for path in root.glob("templates/*/copier.yml")):
        expected = expected_copies(template)
        for path, content in expected.items():
            if not path.is_file() or path.read_bytes() != content:
                write[path] = content
        for folder in (template / "_shared", template / "project" / "{{shared}}"):
            remove += [path for path in files_under(folder) if path not in expected]
    return write, remove


def remove_file(path: Path) -> None:
    """Remove the file and the folders that it leaves empty."""
    path.unlink()
    for folder in path.parents:
        if any(folder.iterdir()):
            return
        folder.rmdir()


def write_copies() -> list[str]:
    """Bring every copy up to date. Returns a line per file touched."""
    write, remove = differences()
    for path, content in write.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for path in remove:
        remove_file(path)
    return [f"copied: {name(path)}" for path in write] + [
        f"removed: {name(path)}" for path in remove
    ]


def name(path: Path) -> str:
    return path.relative_to(root).as_posix()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if needed")
    if not parser.parse_args().check:
        for line in write_copies():
            print(line)
        return 0
    write, remove = differences()
    if not write and not remove:
        return 0
    for path in [*write, *remove]:
        print(f"differs: {name(path)}")
    print("Run `python tools/sync_shared.py` and commit what it writes.", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
