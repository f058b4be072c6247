"""Prepare texts for training: docstrings that are on every machine, or texts of your own.

    python build_dataset.py                      # descriptions of eight packages, no download
    python build_dataset.py --source reviews     # reviews/good/1.txt, reviews/bad/2.txt, ...
    python build_dataset.py --source reviews.csv --text review --target stars
    python build_dataset.py --source reviews --backbone distilbert-base-uncased   # see TASK.md

A source folder has one folder of .txt files per class, or train/, val/ and test/ with such folders
in them; a CSV file names its columns in the first line, a Parquet file in itself. Texts and CSV are
in UTF-8. If val or test is missing, 10 % of train becomes it, with the same share of each class;
texts that are kept of the same words stay in one split.

Written to data/: the words of each text as numbers, tokens (words,) int32, and labels (N,) int64
for each split and, last, dataset.json: once it is there, all is there.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from machinery import arrays
from machinery.argument_parser import LARGEST_SEED, ArgumentParser
from machinery.class_overview import warn_of_leaks
from machinery.contents import refuse_to_replace
from machinery.docstrings import SUBJECTS, read_docstrings
from machinery.errors import exit_codes
from machinery.predictions import Unlabelled
from machinery.pretrained_tokens import Backbone, read_backbone
from machinery.splits import digests, find_leaks
from machinery.tables import read_names
from machinery.text_checks import count_strange, say_cut, say_texts, say_unknown
from machinery.text_features import TextFeatures
from machinery.text_numbers import TextReader, number_texts, renumber
from machinery.text_sources import Texts, read_columns, read_folders
from machinery.text_splits import split_classes
from machinery.unlabelled_texts import read_blocks
from machinery.words import UNKNOWN, choose_vocabulary

VOCABULARY = 20_000  # Words that are known, at most,
LONGEST = 256  # and words that are kept of a text;
LONGEST_DOCSTRING = 32  # of a docstring fewer, so that training takes seconds.
BEGINNING = 60  # Characters of a text that are kept to recognise it by.


class Dataset(TextFeatures, arrays.BaseDataset):
    """What dataset.json holds for this task."""

    task: Literal["text-classification"]
    inputs: tuple[str, ...] = ("tokens",)  # (words,) int32, 0 where a batch is padded
    targets: tuple[str, ...] = ("labels",)  # (N,) int64
    classes: list[str]
    vocabulary: list[str]  # Word i is number i + 2; 1 is any other word.
    text_column: str  # of the table that the texts came from; empty: they came from files
    backbone: Backbone | None = None  # whose tokens the vocabulary holds; None: it holds words

    default_source: ClassVar[str] = "docstrings of SciPy and scikit-learn"

    def check(self, name: str, array: np.ndarray) -> str:
        """Return what is wrong with the numbers of words or classes, or an empty string."""
        words = (UNKNOWN, UNKNOWN + len(self.vocabulary))
        least, most = words if name == "tokens" else (0, len(self.classes) - 1)
        if array.min() >= least and array.max() <= most:
            return ""
        return f"got numbers from {array.min()} to {array.max()}, expected {least} to {most}"


def read_dataset(folder: Path) -> Dataset:
    """Read dataset.json; raise InputError if it is missing or not of this task."""
    return arrays.read_dataset(folder, Dataset)


def open_dataset(folder: Path) -> Dataset:
    """Read dataset.json; if the default folder is empty, prepare the docstrings there first."""
    return arrays.open_dataset(folder, Dataset, prepare_default)


def prepare_default(folder: Path) -> None:
    """Prepare the docstrings in a folder that holds nothing."""
    print(f"{folder} holds no dataset yet: preparing the docstrings.")
    build_docstrings(folder)


def build_docstrings(
    folder: Path,
    vocabulary_size: int = VOCABULARY,
    longest: int = LONGEST_DOCSTRING,
    seed: int = 0,
    overwrite: bool = False,
    backbone: Backbone | None = None,
) -> Dataset:
    """Write the descriptions of functions and classes, each of the package that it stands in.

    Descriptions of one name, such as fit, stay in one split: many of them are nearly equal. Those
    of val and test that the network cannot tell from one of train are left out.
    """
    found = read_docstrings()
    names = [each.name.rpartition(".")[2] for each in found]
    texts = Texts(
        ids=np.array([f"{each.name} ({each.place})" for each in found]),
        texts=[each.text for each in found],
        labels=np.array([each.subject for each in found], np.int64),
        classes=list(SUBJECTS),
        given={"train": np.arange(len(found))},
    )
    source = Dataset.default_source
    groups = np.unique(names, return_inverse=True)[1]
    common = (vocabulary_size, longest, seed, overwrite, backbone)
    return write_texts(folder, texts, source, "", *common, groups, leave_out_repeats=True)


def build_texts(
    folder: Path,
    source: Path,
    text: str = "",
    target: str = "",
    id_column: str | None = None,
    split_column: str | None = None,
    vocabulary_size: int = VOCABULARY,
    longest: int = LONGEST,
    seed: int = 0,
    skip_bad: bool = False,
    overwrite: bool = False,
    backbone: Backbone | None = None,
) -> Dataset:
    """Read texts of a person's own, split them, and write them.

    Args:
        folder: where the dataset goes.
        source: the folder of class folders, or the table, CSV or Parquet.
        text: the column of the texts; empty: `source` is a folder.
        target: the column of the classes.
        id_column: names the texts.
        split_column: says train, val or test; None: chosen at random.
        vocabulary_size: how many words are known, at most.
        longest: how many words of a text are kept.
        seed: of the random split.
        skip_bad: leave out what cannot be used, and say so.
        overwrite: replace the dataset that is there.
        backbone: the pretrained network whose tokens take the place of words.

    Raises:
        InputError: naming the files, or the rows and columns, that cannot be used.
    """
    if text:
        texts = read_columns(source, text, target, id_column, split_column, skip_bad)
    else:
        texts = read_folders(source, skip_bad)
    common = (vocabulary_size, longest, seed, overwrite, backbone)
    return write_texts(folder, texts, source.as_posix(), text, *common)


def write_texts(
    folder: Path,
    texts: Texts,
    source: str,
    text_column: str,
    vocabulary_size: int,
    longest: int,
    seed: int,
    overwrite: bool,
    backbone: Backbone | None = None,
    groups: np.ndarray | None = None,
    leave_out_repeats: bool = False,
) -> Dataset:
    """Split texts, number their words, write the dataset, and say what was found.

    Args:
        folder: where the dataset goes.
        texts: all of them.
        source: where they came from, in words.
        text_column: of a table, or empty.
        vocabulary_size: how many words are known, at most.
        longest: how many words of a text are kept.
        seed: of the random split.
        overwrite: replace the dataset that is there.
        backbone: the pretrained network whose tokens take the place of words.
        groups: (N,), what stays together; None: texts that are kept of the same words.
        leave_out_repeats: leave out of val and test what the network cannot tell from one of train.

    Raises:
        InputError: a class has too few texts.
    """
    numbers, tokens, vocabulary = number_texts(texts, longest, backbone)
    unit = "tokens" if backbone else "words"
    say_texts(source, texts.labels, texts.classes, numbers, unit)
    content = digests(tokens)
    splits = split_classes(content if groups is None else groups, texts, source, seed)
    say_cut(numbers, longest, unit)
    if not backbone:
        of_train = np.concatenate([numbers[row] for row in splits["train"].tolist()])
        known = choose_vocabulary(of_train, vocabulary, vocabulary_size)
        tokens, vocabulary = renumber(tokens, vocabulary, known), known
    if leave_out_repeats:
        for split, rows in find_leaks(digests(tokens), splits):
            splits[split] = np.setdiff1d(splits[split], rows)
    warn_of_leaks(content, texts.labels, splits, texts.ids, "texts")
    if not backbone:
        say_unknown(tokens, splits["val"], vocabulary)
    dataset: Dataset = arrays.write_dataset(
        *(folder, Dataset, {"tokens": tokens, "labels": texts.labels}),
        *(name_texts(texts), splits, overwrite, None, groups),
        task="text-classification",
        source=source,
        classes=texts.classes,
        vocabulary=vocabulary,
        text_column=text_column,
        backbone=backbone,
    )
    counts = ", ".join(f"{count:,} {split}" for split, count in dataset.examples.items())
    print(f"Wrote {folder}: {counts} texts of {len(texts.classes)} classes.")
    return dataset


def name_texts(texts: Texts) -> np.ndarray:
    """Return where each text came from, a tab and how it begins, (N,) str."""
    begins = [" ".join(text[: 2 * BEGINNING].split())[:BEGINNING] for text in texts.texts]
    pairs = zip(texts.ids.tolist(), begins, strict=True)
    return np.array([f"{name}\t{begin}" for name, begin in pairs])


def read_unlabelled(
    paths: Sequence[Path], dataset: Dataset, skip_bad: bool = False
) -> Iterator[Unlabelled]:
    """Yield blocks of texts to predict, in the order of `paths`.

    Args:
        paths: .txt files, folders of them at any depth, and tables with the column of the texts.
        dataset: what the network was trained on.
        skip_bad: leave out what cannot be used, and say so.

    Raises:
        InputError: naming the files, or the rows, that cannot be used.
    """
    reader = TextReader(dataset.vocabulary, dataset.arrays["tokens"].longest, dataset.backbone)
    count = strange = 0
    for ids, texts in read_blocks(paths, dataset.text_column, skip_bad):
        tokens = reader.number(texts)
        strange += 0 if dataset.backbone else count_strange(tokens)
        count += len(texts)
        yield Unlabelled(ids, {"tokens": reader.pad(tokens)})
    if strange:
        print(f"warning: {strange:,} of {count:,} texts have no word that the network knows.")


def main() -> None:
    """Prepare the dataset that the command line names."""
    parser = ArgumentParser(__doc__)
    parser.add_argument("--source", type=Path, help="folder, CSV or Parquet file [the docstrings]")
    parser.add_argument("--text", metavar="COLUMN", default="", help="of a table: the texts")
    parser.add_argument("--target", metavar="COLUMN", default="", help="of it: their classes")
    parser.add_argument("--id", metavar="COLUMN", help="names the texts [row-2, row-3, ...]")
    parser.add_argument("--split", metavar="COLUMN", help="says train, val or test [at random]")
    words = f"words that are known, at most [{VOCABULARY}]"
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY, help=words)
    words = f"words that are kept of a text [{LONGEST}; of a docstring {LONGEST_DOCSTRING}]"
    parser.add_argument("--longest", type=int, help=words)
    words = "a pretrained network, whose tokens take the place of words: see TASK.md"
    parser.add_argument("--backbone", metavar="NAME_OR_FOLDER", help=words)
    parser.add_data_to_write()
    parser.add_argument("--seed", type=int, default=0, help="chooses the random split [0]")
    parser.add_argument("--skip-bad", action="store_true", help="leave out texts of no use")
    parser.add_argument("--overwrite", action="store_true", help="replace a dataset in --data")
    arguments = parser.parse_args()
    parser.check_range("--seed", arguments.seed, 0, LARGEST_SEED)
    parser.check_range("--vocabulary", arguments.vocabulary, 1, 10_000_000)
    if arguments.longest is not None:
        parser.check_range("--longest", arguments.longest, 1, 1_000_000)
    check_columns(parser, arguments)
    if not arguments.overwrite:
        refuse_to_replace(arguments.data)
    build_from_arguments(arguments)


def check_columns(parser: ArgumentParser, arguments: argparse.Namespace) -> None:
    """End the process with a message where columns are named without a table, or not named."""
    made = Path(__file__).with_name("model") / "backbone.py"
    if arguments.backbone and not made.exists():
        parser.error("--backbone: only projects with PyTorch have pretrained networks for texts")
    source, told = arguments.source, {"--text": arguments.text, "--target": arguments.target}
    given = told | {"--id": arguments.id, "--split": arguments.split}
    if source and arguments.data.resolve() == source.resolve():
        parser.error(f"--data: got {source}, the folder of the texts, expected one for the arrays")
    if source is None or source.is_dir():
        for option, name in given.items():
            if name:
                parser.error(f"{option}: goes with a CSV or Parquet file as --source")
    elif source.exists() and (missing := [option for option, name in told.items() if not name]):
        shown = ", ".join(read_names(source)[:20])
        parser.error(f"{' and '.join(missing)}: missing; the columns of {source} are {shown}")


def build_from_arguments(arguments: argparse.Namespace) -> None:
    """Prepare the docstrings, or texts of one's own."""
    common = {"vocabulary_size": arguments.vocabulary, "seed": arguments.seed}
    common["overwrite"] = arguments.overwrite
    common["backbone"] = read_backbone(arguments.backbone) if arguments.backbone else None
    if arguments.source is None:
        build_docstrings(arguments.data, longest=arguments.longest or LONGEST_DOCSTRING, **common)
        return
    build_texts(
        arguments.data,
        arguments.source,
        arguments.text,
        arguments.target,
        arguments.id,
        arguments.split,
        longest=arguments.longest or LONGEST,
        skip_bad=arguments.skip_bad,
        **common,
    )


if __name__ == "__main__":
    with exit_codes():
        main()
