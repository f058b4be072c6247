"""check_data.py finds what is not as in training, in texts."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from build_dataset import build_texts, read_unlabelled
from machinery.features import concatenate_features
from machinery.shifts import Finding, compare
from machinery.statistics_file import collect

WORDS = [f"{first}{last}" for first in "bdfgklmnprst" for last in ("al", "en", "ir", "os", "ut")]
Find = Callable[[Path], list[Finding]]


def make_texts(seed: int, count: int, words: list[str] = WORDS, length: int = 12) -> list[str]:
    """Texts of so many words or a few more, of which some are rare."""
    generator = np.random.default_rng(seed)
    rare = [f"rare{number}" for number in generator.integers(0, 10**6, count)]
    sizes = generator.poisson(length, count) + 1
    return [
        " ".join([*generator.choice(words, size), *([each] if generator.random() < 0.2 else [])])
        for size, each in zip(sizes, rare, strict=True)
    ]


@pytest.fixture(scope="module")
def find(tmp_path_factory: pytest.TempPathFactory) -> Find:
    """Return what finds the differences of new examples to those of the training."""
    folder = tmp_path_factory.mktemp("trained")
    texts = make_texts(0, 1000)
    rows = ["text,kind", *(f"{text},{row % 2}" for row, text in enumerate(texts))]
    source = folder / "texts.csv"
    source.write_text("\n".join(rows), encoding="utf-8")
    dataset = build_texts(folder / "data", source, text="text", target="kind", longest=40)
    expected = collect(dataset, folder / "data").features

    def find(path: Path) -> list[Finding]:
        parts = [*dataset.read_features([path], False, read_unlabelled)]
        return compare(expected, concatenate_features(parts), dataset.has_units)[0]

    return find


def write(folder: Path, texts: list[str]) -> Path:
    """Write texts as a log of requests."""
    path = folder / "requests.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    return path


def test_longer_texts(find: Find, tmp_path: Path) -> None:
    (finding,) = find(write(tmp_path, make_texts(1, 200, length=18)))
    assert (finding.feature, finding.problem, finding.counts) == ("words", "shifted", True)


def test_other_words(find: Find, tmp_path: Path) -> None:
    """As of another language, or another subject."""
    others = [*WORDS, *(f"{word}ski" for word in WORDS[:15])]
    findings = find(write(tmp_path, make_texts(2, 200, others)))
    assert {each.feature for each in findings} == {"share of unknown words"}


def test_what_is_as_in_training_is_clean(find: Find, tmp_path: Path) -> None:
    """New texts have new rare words, as those of val have."""
    assert find(write(tmp_path, make_texts(3, 400))) == []
