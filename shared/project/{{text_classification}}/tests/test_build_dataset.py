"""Texts become numbers of words, and nothing is lost or leaked on the way."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answer_schema import check_answer

from build_dataset import (
    Dataset,
    build_docstrings,
    build_texts,
    read_dataset,
    read_unlabelled,
)
from machinery.arrays import Ragged
from machinery.errors import InputError
from machinery.words import number_vocabulary, number_words, split_words
from service import Service


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def save(path: Path, names: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows(rows)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twenty texts of each of two classes."""
    for number in range(40):
        name = "good" if number % 2 else "bad"
        write(tmp_path / "texts" / name / f"{number}.txt", f"The {name} film\n no. {number}!")
    return tmp_path / "texts"


def load(data: Path, split: str) -> tuple[list[list[int]], np.ndarray, np.ndarray]:
    """Return the numbers of the words, the labels and the ids of a split."""
    dataset = read_dataset(data)
    arrays = dataset.read_split(data, split)
    tokens = arrays["tokens"]
    assert isinstance(tokens, Ragged)
    rows = [tokens[row].tolist() for row in range(len(tokens))]
    return rows, np.asarray(arrays["labels"]), dataset.read_ids(data, split)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't PANIC, it's 4.2e-3!", ["don", "t", "panic", "it", "s", "4", "2e", "3"]),
        ("snake_case (tab\tand\nline)", ["snake", "case", "tab", "and", "line"]),
        ("Größe ÄRGER naïve", ["größe", "ärger", "naïve"]),
        ("«Отлично», сказал он", ["отлично", "сказал", "он"]),
        ("很好。great电影", ["很", "好", "great", "电", "影"]),
        ("東京タワー", ["東", "京", "タ", "ワ", "ー"]),
        ("안녕 세상", ["안녕", "세상"]),
        ("हिन्दी में।", ["हिन्दी", "में"]),
        ("مرحبا، عالم؟", ["مرحبا", "عالم"]),
        ("super👍🏽 ❤️", ["super", "👍", "🏽", "❤"]),
        ("... ?! — \u3000", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert split_words(text) == words


def test_class_folders(source: Path, tmp_path: Path) -> None:
    dataset = build_texts(tmp_path / "data", source)
    assert dataset == read_dataset(tmp_path / "data")
    assert dataset.classes == ["bad", "good"]
    assert dataset.examples == {"train": 32, "val": 4, "test": 4}
    # The most frequent first; a number stands in one text alone.
    assert dataset.vocabulary == ["film", "no", "the", "bad", "good"]
    seen = []
    for split in dataset.examples:
        for tokens, label, name in zip(*load(tmp_path / "data", split), strict=True):
            path, _, beginning = name.partition("\t")
            number = path.partition("/")[2].removesuffix(".txt")
            assert path.startswith(dataset.classes[label])
            assert beginning == f"The {dataset.classes[label]} film no. {number}!"
            assert tokens == [4, 5 + label, 2, 3, 1]
            seen.append(path)
    assert len({*seen}) == 40


def test_the_vocabulary_is_of_the_training_texts(tmp_path: Path) -> None:
    rows = [
        (f"{'val' if number % 4 == 3 else 'train'} {number} word", number % 2, part)
        for number, part in enumerate(["train", "train", "test", "val"] * 10)
    ]
    path = save(tmp_path / "t.csv", ("a", "b", "c"), rows)
    options: dict[str, Any] = {"target": "b", "split_column": "c"}
    dataset = build_texts(tmp_path / "data", path, "a", **options)
    assert dataset.vocabulary == ["train", "word"]
    assert dataset.text_column == "a"
    assert [row[0] for row in load(tmp_path / "data", "val")[0]] == [1] * 10
    options |= {"vocabulary_size": 1, "longest": 2, "overwrite": True}
    dataset = build_texts(tmp_path / "data", path, "a", **options)
    assert dataset.vocabulary == ["train"]
    assert dataset.arrays["tokens"].longest == 2


def test_texts_of_the_same_words_stay_together(tmp_path: Path) -> None:
    marks = ("Film {}.", "film {}", "FILM: {}!")
    rows = [(marks[i % 3].format(i // 3), i // 3 % 2) for i in range(150)]
    path = save(tmp_path / "t.csv", ("text", "y"), rows)
    dataset = build_texts(tmp_path / "data", path, "text", "y")
    texts = [
        {tuple(split_words(name.partition("\t")[2])) for name in load(tmp_path / "data", split)[2]}
        for split in dataset.examples
    ]
    assert sum(map(len, texts)) == len(set.union(*texts)) == 50


def test_texts_that_are_cut_to_the_same_words_stay_together(tmp_path: Path) -> None:
    rows = [(f"film {i // 3} number {i}", i // 3 % 2) for i in range(150)]
    path = save(tmp_path / "t.csv", ("text", "y"), rows)
    dataset = build_texts(tmp_path / "data", path, "text", "y", longest=2)
    kept = [
        {name.split()[2] for name in load(tmp_path / "data", split)[2]}
        for split in dataset.examples
    ]
    assert sum(map(len, kept)) == len(set.union(*kept)) == 50


def test_what_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = ("train", "train", "val", "test")
    rows = [(f"text {i} of many", "ab"[i // 4 % 2], parts[i % 4]) for i in range(80)]
    rows += [("Text 0, of many!", "b", "test"), ("one two three four five six", "b", "train")]
    path = save(tmp_path / "t.csv", ("text", "y", "part"), rows)
    build_texts(tmp_path / "data", path, "text", "y", split_column="part", longest=5)
    printed = capsys.readouterr().out
    assert "82 texts of 2 classes" in printed
    assert "42 b, 40 a" in printed
    assert "4 words (median), at most 6" in printed
    assert "1 texts (1.2%) are cut after 5 words" in printed
    assert "25.0% of the words of val are unknown" in printed
    assert "warning: 1 texts equal one of another class, such as row-2" in printed
    assert "warning: 1 texts of test are in train too, such as row-82" in printed


def test_split_folders(tmp_path: Path) -> None:
    for number in range(24):
        split = ("train", "train", "valid", "test")[number // 2 % 4]
        name = "ab"[number % 2]
        write(tmp_path / "texts" / split / name / f"{number}.txt", f"text {number}")
    dataset = build_texts(tmp_path / "data", tmp_path / "texts")
    assert dataset.examples == {"train": 12, "val": 6, "test": 6}


def test_skip_bad(source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (source / "bad" / "broken.txt").write_bytes(b"K\xf6ln")
    write(source / "good" / "empty.txt", "\ufeff ...\n")
    with pytest.raises(InputError, match="2 of 42 texts cannot be used"):
        build_texts(tmp_path / "data", source)
    assert not (tmp_path / "data").exists()
    dataset = build_texts(tmp_path / "data", source, skip_bad=True)
    assert sum(dataset.examples.values()) == 40
    printed = capsys.readouterr().out
    assert f"left out: {source / 'bad' / 'broken.txt'}: byte 0xf6 at 1 is not UTF-8" in printed
    assert f"left out: {source / 'good' / 'empty.txt'}: holds no word" in printed


def test_texts_to_predict_become_the_same_numbers(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = build_texts(tmp_path / "data", source)
    table = save(tmp_path / "t.csv", ("id", "text"), [(1, "The good film no. 3!"), (2, "new, new")])
    (source / "bad" / "0.txt").write_bytes(b"\xff")
    paths = [source / "good" / "1.txt", table, source / "bad"]
    with pytest.raises(InputError, match=r"0\.txt"):
        list(read_unlabelled(paths, dataset))
    blocks = list(read_unlabelled(paths, dataset, skip_bad=True))
    ids = [name for block in blocks for name in block.ids]
    assert ids[:3] == [
        paths[0].as_posix(),
        f"{table.as_posix()}:row-2",
        f"{table.as_posix()}:row-3",
    ]
    assert len(ids) == 3 + 19
    tokens = np.concatenate([block.inputs["tokens"] for block in blocks])
    assert tokens.dtype == np.int32
    assert tokens[:3].tolist() == [[4, 6, 2, 3, 1], [4, 6, 2, 3, 1], [1, 1, 0, 0, 0]]
    assert "warning: 1 of 22 texts have no word" in capsys.readouterr().out


def test_a_request_that_is_no_json_may_be_a_text(source: Path, tmp_path: Path) -> None:
    service = Service(build_texts(tmp_path / "data", source))
    with pytest.raises(InputError, match=r"not JSON; for a text as it is send .*: text/plain"):
        service.read(b"The good film", "application/json")
    examples = service.read(b"The good film", "text/plain")
    assert len(examples.ids) == 1
    (answer,) = service.answer(examples, {"probabilities": np.array([[0.25, 0.75]], np.float32)})
    check_answer(answer, service.schemas()["Answer"])


def test_parquet_is_read_as_csv(tmp_path: Path) -> None:
    arrow, parquet = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
    rows = [(f"The {'good' if i % 2 else 'bad'} film\n no. {i}!", i % 2) for i in range(40)]
    table = save(tmp_path / "t.csv", ("text", "y"), rows)
    dataset = build_texts(tmp_path / "data", table, "text", "y")
    columns = {"text": [text for text, _ in rows], "y": [label for _, label in rows]}
    parquet.write_table(arrow.table(columns), tmp_path / "t.parquet")
    build_texts(tmp_path / "same", tmp_path / "t.parquet", "text", "y")
    for found, expected in zip(
        load(tmp_path / "same", "train"), load(tmp_path / "data", "train"), strict=True
    ):
        np.testing.assert_array_equal(found, expected)
    (block,) = read_unlabelled([tmp_path / "t.parquet"], dataset)
    (of_csv,) = read_unlabelled([table], dataset)
    np.testing.assert_array_equal(block.inputs["tokens"], of_csv.inputs["tokens"])
    assert block.ids.tolist() == of_csv.ids.tolist()


def test_docstrings(tmp_path: Path) -> None:
    dataset = build_docstrings(tmp_path / "data")
    assert dataset.arrays["tokens"].longest <= 32
    known = number_vocabulary(dataset.vocabulary)
    names: list[set[str]] = []
    seen: list[set[tuple[int, ...]]] = []
    for split, count in dataset.examples.items():
        tokens, labels, ids = load(tmp_path / "data", split)
        assert len(tokens) == count
        assert np.bincount(labels, minlength=8).min() >= 5
        names.append({name.partition(" ")[0].rpartition(".")[2] for name in ids})
        seen.append({*map(tuple, tokens)})
        for row, name in zip(tokens[:50], ids, strict=False):
            begin = split_words(name.partition("\t")[2])[:-1]  # The last may be cut.
            assert row[: len(begin)] == number_words(begin, known, 32).tolist()
    assert sum(map(len, names)) == len(set.union(*names))  # A name is in one split.
    assert not seen[0] & (seen[1] | seen[2])  # To the network none of them is one of train.
    assert not {"scipy", "sklearn", "numpy"} & {*dataset.vocabulary}
    assert build_docstrings(tmp_path / "again").fingerprint == dataset.fingerprint
    assert build_docstrings(tmp_path / "other", seed=1).fingerprint != dataset.fingerprint


def test_a_dataset_of_another_word_is_refused(source: Path, tmp_path: Path) -> None:
    dataset: Dataset = build_texts(tmp_path / "data", source)
    assert dataset.check("tokens", np.array([1, 6], np.int32)) == ""
    assert "expected 1 to 6" in dataset.check("tokens", np.array([7], np.int32))
    assert "expected 1 to 6" in dataset.check("tokens", np.array([0], np.int32))
    assert "expected 0 to 1" in dataset.check("labels", np.array([2]))
