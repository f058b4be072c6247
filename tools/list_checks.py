"""Write the list of all checks of `trainyard check` into docs/check.md."""

from pathlib import Path

from trainyard.checks.report import to_page

START, END = "<!-- tools/list_checks.py writes what follows -->", "<!-- up to here -->"


def write_list(page: Path) -> None:
    """Replace the list between its two marks."""
    before, _, rest = page.read_text(encoding="utf-8").partition(START)
    _, _, after = rest.partition(END)
    text = "\n".join([*to_page(), ""])
    page.write_text(f"{before}{START}\n{text}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    write_list(Path(__file__).resolve().parent.parent / "docs" / "check.md")
