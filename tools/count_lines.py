"""Count the lines of Python in a project of each template: for the table in docs/choices.md.

    python tools/count_lines.py

Prints for each template and its loop or backend, with images: the lines that a person reads and
owns (what lies at the top and in model/), and those of framework/ and machinery/, with what the
task adds there: the readers of its files. Blank lines and tests are not counted.
"""

import sys
import tempfile
from pathlib import Path

import copier

root = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(root / "tests"))

from combinations import Combination, checked_combinations, tasks  # noqa: E402


def count_lines(files: list[Path]) -> int:
    """Return how many lines of some files are not blank."""
    texts = (path.read_text(encoding="utf-8") for path in files)
    return sum(bool(line.strip()) for text in texts for line in text.splitlines())


def count(combination: Combination, folder: Path) -> tuple[int, int]:
    """Return the lines of a project that a person owns, and those of its machinery."""
    template = root / "templates" / combination.template
    copier.run_copy(str(template), folder, data=combination.answers, defaults=True, quiet=True)
    owned = [*folder.glob("*.py"), *folder.glob("model/**/*.py")]
    machinery = [*folder.glob("framework/*.py"), *folder.glob("machinery/**/*.py")]
    return count_lines(owned), count_lines(machinery)


def main() -> None:
    print("| template, choice | lines you own | machinery |\n| --- | ---: | ---: |")
    for combination in checked_combinations:
        if combination.task == tasks[0] and not combination.kaggle:
            with tempfile.TemporaryDirectory() as folder:
                owned, machinery = count(combination, Path(folder) / "leaf")
            words = (combination.template, combination.choice)
            way = ", ".join(word for word in words if word != "-")
            print(f"| {way} | {owned:,} | {machinery:,} |")


if __name__ == "__main__":
    main()
