"""An answer reads back exactly from every file that it goes into, or is refused with a message and
nothing is made.
"""

import itertools
import tempfile
import tomllib
from pathlib import Path

import pytest
import yaml
from copier._template import Template
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import combinations
from build_cookiecutter import house_rules
from conftest import render, root
from test_copies import requirements

template = root / "templates" / "torch-research"

refused_texts = {
    "empty": "",
    "blanks": "   ",
    "blank before": " leaf",
    "blank after": "leaf ",
    "no-break space after": "leaf\u00a0",
    "newline": "leaf\nname = 1",
    "newline after": "leaf\n",
    "carriage return": "leaf\rname",
    "tab": "leaf\tname",
    "null": "leaf\0name",
    "escape": "leaf\x1b[31m",
    "delete": "leaf\x7f",
    "next line": "leaf\u0085name",
    "line separator": "leaf\u2028name",
    "paragraph separator": "leaf\u2029name",
    "reversed text": "leaf \u202egpj.exe",
    "isolated text": "leaf \u2066name\u2069",
    "byte order mark": "\ufeffleaf",
    "half of a pair": "leaf \ud83d",
    "no character": "leaf \uffff",
    "too long": "x" * 201,
}

exact_texts = {
    "double quotes": 'say "leaf"',
    "three double quotes": '"""',
    "single quotes": "it's 'a' leaf",
    "backslash": r"C:\new\table",
    "backslash at the end": "leaf\\",
    "Jinja value": "{{ project_name }} {{ 7 * 7 }}",
    "Jinja statement": "{% raw %}{% if x %}",
    "Jinja comment": "{# leaf #}",
    "command substitution": "$(touch /tmp/leaf) `id`",
    "shell separators": "a; b && c | d > e",
    "TOML table": "[tool.leaf]",
    "TOML arrays of tables": "[[a]] = 'b'",
    "YAML mapping": "a: b",
    "YAML list": "- a",
    "YAML comment": "a # b",
    "YAML anchor": "&a *a",
    "YAML tag": "!!python/object:os.system",
    "YAML document": "---",
    "yes": "yes",
    "null": "null",
    "number": "1e3",
    "date": "2026-11-21",
    "option": "-rf",
    "path up": "../../leaf",
    "whole path": "/etc/passwd",
    "a point": ".",
    "umlauts": "Blätter größer als 3 µm",
    "Chinese": "叶子分类",
    "Arabic": "تصنيف الأوراق",
    "emoji": "🍃 and 👩‍🔬",
    "heading": "# Leaf #",
    "numbered list": "1. Leaf",
    "numbered list in brackets": "12) Leaf",
    "plus list": "+ Leaf",
    "star list": "* Leaf",
    "rule": "***",
    "quotation": "> Leaf",
    "underline": "===",
    "fence": "```python",
    "tilde fence": "~~~",
    "emphasis": "*a* _b_ **c** ~~d~~",
    "link": "[a](https://example.org) ![b](c)",
    "reference": "[a]: https://example.org",
    "footnote": "a[^1]",
    "autolink": "<https://example.org>",
    "HTML": "<script>alert(1)</script> <!-- b -->",
    "entity": "&lt; &amp; &#65;",
    "table": "| a | b |",
    "dollars": "costs $5, not $6",
    "two blanks": "a  b",
    "longest": "x" * 200,
}

refused_names = {
    *{"Leaf", "leaf_classifier", "leaf classifier", "2leaf", "-leaf", "leaf-", "leaf--a", "léaf"},
    *{
        "leaf.",
        "leaf/a",
        "../leaf",
        "leaf\n",
        "{{ leaf }}",
        "x" * 51,
        "",
        ".",
        "-rf",
        "$(id)",
        "leaf;",
    },
    *{"con", "nul", "aux", "prn", "com1", "lpt9", "test", "json", "CON", "nul.txt"},
}


def paragraphs(markdown: str) -> list[str]:
    """The text of each paragraph that holds nothing but text, as a reader sees it."""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown)
    inlines = [
        inline.children or []
        for opening, inline in itertools.pairwise(tokens)
        if opening.type == "paragraph_open"
    ]
    return [
        "".join(child.content for child in children)
        for children in inlines
        if all(child.type == "text" for child in children)
    ]


def assert_reads_back(project: Path, answers: dict[str, str]) -> None:
    """Each answer, read from each file that holds it, is what was given."""
    record = yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))
    metadata = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for name, answer in answers.items():
        assert record[name] == answer
    if "project_name" in answers:
        assert metadata["name"] == answers["project_name"]
    if "author" in answers:
        assert metadata["authors"] == [{"name": answers["author"]}]
        licence = (project / "LICENSE").read_text(encoding="utf-8")
        assert f"Copyright (c) {answers['author']}\n" in licence
    if "description" in answers:
        assert metadata["description"] == answers["description"]
        assert answers["description"] in paragraphs((project / "README.md").read_text("utf-8"))


def assert_refused(parent: Path, answers: dict[str, str]) -> None:
    """The message names the question, and nothing is made."""
    with pytest.raises(ValueError, match="Validation error for question") as refusal:
        render(template, parent / "leaf", **answers)
    assert any(f"'{name}'" in str(refusal.value) for name in answers)
    assert list(parent.iterdir()) == []


@pytest.mark.parametrize("question", ["description", "author"])
@pytest.mark.parametrize("text", refused_texts.values(), ids=refused_texts)
def test_text_that_no_file_could_hold_is_refused(question: str, text: str, tmp_path: Path) -> None:
    assert_refused(tmp_path, {question: text})


@pytest.mark.parametrize("text", exact_texts.values(), ids=exact_texts)
def test_any_other_text_reads_back(text: str, tmp_path: Path) -> None:
    answers = {"description": text, "author": text[:100].strip()}
    assert_reads_back(render(template, tmp_path / "leaf", **answers), answers)


@pytest.mark.parametrize("name", sorted(refused_names))
def test_harmful_names_are_refused(name: str, tmp_path: Path) -> None:
    assert_refused(tmp_path, {"project_name": name})


@pytest.mark.parametrize("name", ["a", "leaf-classifier", "x" * 50, "r2d2-3", "torch-leaf"])
def test_other_names_read_back(name: str, tmp_path: Path) -> None:
    answers = {"project_name": name}
    assert_reads_back(render(template, tmp_path / "leaf", **answers), answers)


def test_no_project_takes_the_name_of_what_it_installs(tmp_path: Path) -> None:
    for project in root.glob("templates/*/project"):
        for requirement in requirements(project / "{{shared}}" / "requirements/dev.txt"):
            assert_refused(tmp_path, {"project_name": requirement.name.replace(".", "-")})


@pytest.mark.parametrize("folder", sorted(root.glob("templates/*")), ids=lambda path: path.name)
def test_what_is_never_asked_cannot_be_answered(folder: Path, tmp_path: Path) -> None:
    """`--data plain=.` would mix the files of two choices; others would switch off validators."""
    questions = Template(url=str(folder)).questions_data
    hidden = {name for name, details in questions.items() if details.get("when") is False}
    assert {"reserved_names", "shared", "mit", "template", "template_version"} < hidden
    for name in hidden - {*house_rules()}:  # docs/house.yml
        with pytest.raises(ValueError, match=f"question '{name}'"):
            render(folder, tmp_path / "leaf", **{name: "."})
    assert list(tmp_path.iterdir()) == []


@settings(
    max_examples=50 if combinations.deep else 15,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(description=st.text(max_size=210), author=st.text(max_size=110))
def test_any_answers_read_back_or_are_refused(description: str, author: str) -> None:
    answers = {"description": description, "author": author}
    with tempfile.TemporaryDirectory() as folder:
        try:
            project = render(template, Path(folder) / "leaf", **answers)
        except ValueError as refusal:
            if "Validation error for question" not in str(refusal):
                raise
            assert list(Path(folder).iterdir()) == []
        else:
            assert_reads_back(project, answers)


@settings(
    max_examples=25 if combinations.deep else 10,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=100))
def test_letters_digits_and_signs_are_never_refused(text: str) -> None:
    answers = {"description": text, "author": text}
    with tempfile.TemporaryDirectory() as folder:
        assert_reads_back(render(template, Path(folder) / "leaf", **answers), answers)
