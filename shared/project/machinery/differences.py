"""What differs between the rows of a table of results, in words that stay short."""

import hashlib
import json
import re
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
    optimizers = shorten_optimizers(experiments)
    settings = [
        {**e.parameters, **e.origin} | ({"optimizer": name} if name else {})
        for e, name in zip(experiments, optimizers, strict=True)
    ]
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


def shorten_optimizers(experiments: Sequence[Experiment]) -> list[str]:
    """Return of each optimizer what tells it from the others: its name, or some of its settings.

    Settings that are parameters, such as weight_decay, are left out: those are named anyway.
    """
    texts = [experiment.optimizer for experiment in experiments]
    names = [text.partition("(")[0] for text in texts]
    if len({*names} - {""}) > 1:
        return names
    known = {name.rpartition(".")[2] for e in experiments for name in e.parameters}
    found = [re.findall(r"(\w+)=(\([^)]*\)|[^,;)]*)", text) for text in texts]
    parts = [[f"{n}={value}" for n, value in each if n not in known] for each in found]
    return [
        f"{name}({', '.join(part for part in own if any(part not in each for each in parts))})"
        for name, own in zip(names, parts, strict=True)
    ]
