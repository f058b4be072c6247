"""What differs between the rows of a table of results, in words that stay short."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from machinery.experiments import Experiment
from machinery.parameter_file import format_values

SETTINGS_SHOWN = 8  # of a row; parameters, framework, data and optimizer
FILES_SHOWN = 2  # changed files of code with a digest each; more of them share one
NAMES_SHOWN = 5  # of those files

Settings = Mapping[str, Any]


def describe_differences(experiments: Sequence[Experiment]) -> list[str]:
    """Return what makes each experiment differ from the others.

    A setting that most of three or more have is named only where it is another, so that one that
    differs in everything does not fill the lines of all.

    Args:
        experiments: one of each row.
    """
    settings = [{**e.parameters, **e.origin} for e in experiments]
    code = _unusual([e.code for e in experiments])
    return [
        ", ".join(filter(None, [_format_settings(own), _format_code(files)]))
        for own, files in zip(_unusual(settings), code, strict=True)
    ]


def _unusual(settings: Sequence[Settings]) -> list[dict[str, Any]]:
    """Return of each what is neither the same in all nor, if there are many, the same in most."""
    named: list[dict[str, Any]] = [{} for _ in settings]
    for name in {name: None for each in settings for name in each}:
        texts = [json.dumps(each.get(name), default=str) for each in settings]
        ((most, count), *others) = Counter(texts).most_common()
        usual = most if len(texts) > 2 and 2 * count > len(texts) else None
        for own, each, text in zip(named, settings, texts, strict=True):
            if others and name in each and text != usual:
                own[name] = each[name]
    return named


def _format_settings(settings: Settings) -> str:
    shown = dict([*settings.items()][:SETTINGS_SHOWN])
    more = len(settings) - len(shown)
    return format_values(shown) + (f" and {more} more" if more else "")


def _format_code(digests: Mapping[str, str]) -> str:
    """Return the files of code that differ, each with its digest, or with one for all."""
    if len(digests) <= FILES_SHOWN:
        return format_values(digests)
    digest = hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()[:8]
    more = len(digests) - NAMES_SHOWN
    names = ", ".join([*digests][:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
    return f"code {digest} ({names})"
