"""What the checks found: in memory, as a table, as JSON; and the list of all checks."""

import dataclasses
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from trainyard.checks.definition import GROUPS, Check, Finding, all_checks
from trainyard.checks.repository import Repository
from trainyard.checks.settings import Settings, read_exceptions, reason_in_line
from trainyard.progress import paint

NO_REASON = " (the comment that leaves it out gives no reason, so it counts)"
SHOWN = 5  # Findings of a check in the table; the JSON has all.


@dataclasses.dataclass
class Result:
    """What a check found.

    Args:
        check: that was made.
        applies: whether it says something about this project.
        findings: that count.
        ignored: those that the project leaves out, each with its reason.
    """

    check: Check
    applies: bool
    findings: list[Finding]
    ignored: list[tuple[Finding, str]]

    @property
    def outcome(self) -> str:
        """Return "passed", "found", "ignored" or "does not apply"."""
        if not self.applies:
            return "does not apply"
        return "found" if self.findings else "ignored" if self.ignored else "passed"


def check_folder(folder: Path, quiet: bool = True) -> list[Result]:
    """Return what each check found in a project.

    Args:
        folder: of the project.
        quiet: show no progress.

    Raises:
        InputError: the folder or the settings in it cannot be read.
    """
    checks = all_checks()
    settings = read_exceptions(folder, [each.identifier for each in checks])
    repository = Repository(folder, settings.exclude)
    bar = tqdm(checks, unit="check", leave=False, disable=True if quiet else None)
    return [_make(each, repository, settings) for each in bar]


def _make(check: Check, repository: Repository, settings: Settings) -> Result:
    result = Result(check, check.applies(repository), [], [])
    for finding in sorted({*check.find(repository)}) if result.applies else []:
        reason = _reason(check.identifier, finding, repository, settings)
        if reason:
            result.ignored.append((finding, reason))
        else:
            said = "" if reason is None else NO_REASON
            result.findings.append(dataclasses.replace(finding, message=finding.message + said))
    return result


def _reason(
    identifier: str, finding: Finding, repository: Repository, settings: Settings
) -> str | None:
    """Return the reason by which a project leaves out a finding; none, or empty: it does not."""
    for rule in settings.ignore:
        if rule.covers(identifier, finding):
            return rule.reason
    if not finding.path or not finding.line:
        return None
    line = ""
    if not finding.cell:
        # Python may name a line after the last.
        line = "".join(repository.text(finding.path).splitlines()[finding.line - 1 : finding.line])
    for source in repository.sources if finding.cell else ():
        if source.path == finding.path and (finding.cell, finding.line) in source.cells:
            line = source.lines[source.cells.index((finding.cell, finding.line))]
    return reason_in_line(identifier, line)


def score(results: Sequence[Result]) -> tuple[int, int]:
    """Return how many checks passed, and how many apply and are not ignored."""
    counted = [each for each in results if each.outcome in ("passed", "found")]
    return sum(each.outcome == "passed" for each in counted), len(counted)


def to_json(folder: Path, results: Sequence[Result]) -> dict[str, Any]:
    """Return the results for other programs."""
    passed, applicable = score(results)
    return {
        "folder": folder.as_posix(),
        "passed": passed,
        "applicable": applicable,
        "checks": {
            each.check.identifier: {
                "title": each.check.title,
                "outcome": each.outcome,
                "findings": [dataclasses.asdict(finding) for finding in each.findings],
                "ignored": [
                    {**dataclasses.asdict(finding), "reason": reason}
                    for finding, reason in each.ignored
                ],
            }
            for each in results
        },
    }


def to_lines(results: Sequence[Result], width: int = 100) -> Iterator[str]:
    """Yield the lines of the table: what was found, group by group, with what to do."""
    for group, title in GROUPS.items():
        found = [each for each in results if each.findings]
        found = [each for each in found if each.check.identifier.startswith(group)]
        if not found:
            continue
        yield f"{group}xx  {title}"
        for each in found:
            yield f"  {paint(each.check.identifier, 'red')}  {each.check.title}"
            shown = each.findings[:SHOWN]
            places = [finding.place for finding in shown]
            longest = min(max(map(len, places)), 48)
            for place, finding in zip(places, shown, strict=True):
                yield f"         {place.ljust(longest)}  {finding.message}"
            if more := len(each.findings) - len(shown):
                yield f"         and {more} more: --json lists them"
            yield from _wrap(f"next: {each.check.mend}", width, " " * 9)
        yield ""
    ignored = [each for each in results if each.ignored]
    for each in ignored:
        reasons = "; ".join(dict.fromkeys(reason for _, reason in each.ignored))
        for line in _wrap(f"left out: {each.check.identifier} ({reasons})", width, ""):
            yield paint(line, "yellow")
    passed, applicable = score(results)
    rest = [each for each in results if not each.applies]
    others = f" {len(rest)} {'does' if len(rest) == 1 else 'do'} not apply." if rest else ""
    colour = "green" if passed == applicable else "red"
    yield f"{paint(f'{passed} of {applicable} checks passed.', colour)}{others}"


def to_list(width: int = 100) -> Iterator[str]:
    """Yield the lines that describe all checks."""
    for group, title in GROUPS.items():
        yield f"{group}xx  {title}"
        for each in all_checks():
            if each.identifier.startswith(group):
                yield f"  {each.identifier}  {each.title}"
                for word, text in (("why", each.why), ("mend", each.mend), ("doubt", each.doubt)):
                    yield from _wrap(f"{word}: {text}", width, " " * 9)
        yield ""


def to_page() -> Iterator[str]:
    """Yield the lines of Markdown that describe all checks, as docs/check.md has them."""
    for group, title in GROUPS.items():
        yield from ("", f"### {group}xx: {title}", "")
        for each in all_checks():
            if each.identifier.startswith(group):
                text = f"- **{each.identifier} {each.title}.** {each.why} *Mend:* {each.mend} "
                yield from _wrap(f"{text}*Doubt:* {each.doubt}", 100, "  ", first="")


def _wrap(text: str, width: int, indent: str, first: str | None = None) -> list[str]:
    start = indent if first is None else first
    return textwrap.wrap(
        text, width, initial_indent=start, subsequent_indent=indent, break_on_hyphens=False
    )
