"""The text of a change request: what an update brings, for those who merge it."""

import re
from collections.abc import Iterator
from pathlib import Path

from trainyard.errors import InputError
from trainyard.git import git
from trainyard.members import Member
from trainyard.updates import LOST


def write_request(member: Member, behind: str, news: str) -> str:
    """Return the text in Markdown; its first line is the title.

    Args:
        member: with a branch.
        behind: how far, in words.
        news: from the template's changelog.
    """
    return "\n".join(_lines(member, behind, news)) + "\n"


def _lines(member: Member, behind: str, news: str) -> Iterator[str]:
    yield f"# {member.title}"
    yield f"\nBranch `{member.branch}`; {behind or member.to} of {member.source}."
    if member.answers:
        yield f"\nChanged answers: {', '.join(f'`{name}`' for name in member.answers)}."
    if member.conflicts:
        yield "\n**Not to be merged as it is.**"
    if marked := [each.path for each in member.changes if each.kind == "conflict"]:
        yield "\nLook for `<<<<<<< before updating` and choose; the project's own checks fail until"
        yield "then. Look first at:\n"
        yield from (f"- `{path}`" for path in marked)
    if lost := [each.path for each in member.changes if each.note == LOST]:
        yield "\nThe update deletes these files with your changes in them; move what you need"
        yield "first:\n"
        yield from (f"- `{path}`" for path in lost)
    yield "\n## Files\n"
    yield "| file | change | |\n| --- | --- | --- |"
    for change in member.changes:
        if change.kind != "kept":
            yield f"| `{change.path}` | {change.kind} | {change.note} |"
    if member.drifted:
        yield "\nFiles of the template that had been changed here before, and still are:"
        yield ", ".join(f"`{path}`" for path in member.drifted) + "."
    if member.metrics:
        yield "\n## Two epochs of training, before and after\n"
        yield from _metrics(member)
    if news:
        yield f"\n## What is new in the template\n\n{news}"


def _metrics(member: Member) -> Iterator[str]:
    """Yield a table of the metrics on test; where there are none, why."""
    before, after = member.metrics
    if isinstance(before, str) or isinstance(after, str):
        for when, told in (("Before", before), ("After", after)):
            yield f"{when}: {told if isinstance(told, str) else 'trained'}\n"
        return
    yield "| metric on test | before | after |\n| --- | --- | --- |"
    for name in dict.fromkeys([*before, *after]):
        cells = (f"{each[name]:.4f}" if name in each else "-" for each in (before, after))
        yield f"| {name} | {' | '.join(cells)} |"


def read_news(repository: Path, old: str, new: str) -> str:
    """Return what the template's changelog says of the releases after a version.

    Args:
        repository: with the history of the template.
        old: the version that a project has.
        new: that it is updated to.
    """
    try:
        text = git(repository, "cat-file", "blob", f"{new}:CHANGELOG.md")
    except InputError:
        return ""  # It has none.
    sections = re.split(r"^(?=## \[)", text, flags=re.MULTILINE)[1:]
    told = []
    for section in sections:
        version = section[4:].partition("]")[0]
        if version == old.removeprefix("v"):
            return "\n".join(told).strip()
        if version != "Unreleased":
            told.append(section.replace("## ", "### ", 1).strip() + "\n")
    return ""  # The old version is no release.
