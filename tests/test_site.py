"""The site of the documentation: every page is in it, every link leads somewhere."""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from conftest import root

sys.path.insert(0, str(root / "tools"))

import build_site


def pages_of_the_menu(entry: Any) -> list[str]:
    """Return all pages of a part of the menu."""
    if isinstance(entry, str):
        return [entry]
    parts = entry.values() if isinstance(entry, dict) else entry
    return [page for part in parts for page in pages_of_the_menu(part)]


def test_the_site_is_built_without_a_warning(tmp_path: Path) -> None:
    """And its menu leads to each page once."""
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    (gallery / "index.md").write_text("# Gallery\n")
    build_site.build(tmp_path / "site", gallery)
    settings = tomllib.loads((tmp_path / "site" / "zensical.toml").read_text())
    listed = pages_of_the_menu(settings["project"]["nav"])
    expected = [*build_site.find_pages(tmp_path).values(), "gallery/index.md"]
    assert sorted(listed) == sorted(expected)
    for page in listed:
        html = (tmp_path / "site" / "html" / page).with_suffix(".html").read_text()
        assert "<h1" in html
    start = (tmp_path / "site" / "html" / "index.html").read_text()
    assert 'href="start.html"' in start


def test_a_broken_anchor_is_refused(tmp_path: Path) -> None:
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    (gallery / "index.md").write_text("# Gallery\n\n[nothing](#is-there)\n")
    with pytest.raises(build_site.Refused, match=r"gallery/index\.md, line 3: "):
        build_site.build(tmp_path / "site", gallery)


def test_a_folder_of_something_else_stays(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine\n")
    with pytest.raises(build_site.Refused, match="not a site of an earlier build"):
        build_site.build(tmp_path, None)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[a](docs/a.md#b)", "[a](a.md#b)"),
        ("[code](tools/build_site.py)", "code"),
        ("`[a](docs/none.md)`", "`[a](docs/none.md)`"),
        ("    [a](docs/none.md)\n", "    [a](docs/none.md)\n"),
        ("[out](https://example.org/x)", "[out](https://example.org/x)"),
        ("![drawn](docs/demo.png)", "![drawn](demo.png)"),
    ],
)
def test_links(text: str, expected: str) -> None:
    targets = {root / "docs" / "a.md": "a.md", root / "docs" / "demo.png": "demo.png"}
    found = build_site.rewrite(text, root / "README.md", "index.md", targets)
    assert found == expected


@pytest.mark.parametrize("text", ["[a](docs/none.md)", "![code](tools/build_site.py)"])
def test_a_link_to_nothing_is_refused(text: str) -> None:
    with pytest.raises(build_site.Refused, match="leads nowhere"):
        build_site.rewrite(text, root / "README.md", "index.md", {})


def test_each_page_is_named_in_the_readme() -> None:
    readme = (root / "README.md").read_text(encoding="utf-8")
    named = {*re.findall(r"\]\(docs/([\w-]+\.md)\)", readme)}
    assert named == {path.name for path in (root / "docs").glob("*.md")}


def test_no_page_waits_for_its_table() -> None:
    pages = [*(root / "docs").glob("*.md"), root / "README.md"]
    assert [
        page.name for page in pages if re.search("^TABLE$", page.read_text(), re.MULTILINE)
    ] == []
