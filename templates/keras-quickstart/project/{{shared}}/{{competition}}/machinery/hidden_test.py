"""A test set as Kaggle puts in place when it scores: larger, with what no training row had."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from machinery.competition import CompetitionSchema
from machinery.competition_columns import read_frame
from machinery.competition_images import file_name, find_images, link_or_copy

TIMES = 3  # As many rows as those that everyone has.
EVERY = 7  # Each so manyth new cell of a category holds one that nobody has seen.


def make_hidden_test(raw: Path, schema: CompetitionSchema, folder: Path) -> dict[str, Path]:
    """Write a larger test set, and its sample_submission.csv.

    Args:
        raw: the folder of the competition's files, which stay as they are.
        schema: of the competition.
        folder: to write into.

    Returns:
        what takes the place of which of the competition's files, by their paths in `raw`.
    """
    sample = read_frame(raw / schema.sample_submission, as_text=True)
    test = read_frame(raw / schema.test, as_text=True) if schema.test else sample
    rename = renaming(test[schema.id])
    path = raw / schema.sample_submission
    made = {schema.sample_submission: folder / f"sample_submission{path.suffix}"}
    write_as(repeat(sample, schema.id, rename), made[schema.sample_submission], path)
    if schema.test and schema.test != schema.sample_submission:
        made[schema.test] = folder / f"test{Path(schema.test).suffix}"
        larger = repeat(test, schema.id, rename)
        for name in test.columns:
            if name not in (schema.id, schema.text) and is_category(test[name]):
                larger.iloc[len(test) :: EVERY, larger.columns.get_loc(name)] = "seen by nobody"
        write_as(larger, made[schema.test], raw / schema.test)
    if schema.test_images:
        made[schema.test_images] = folder / "images"
        copy_images(raw / schema.test_images, made[schema.test_images], {*test[schema.id]}, rename)
    return made


def write_as(table: pd.DataFrame, path: Path, like: Path) -> None:
    """Write a table of texts as CSV or Parquet, in which numbers are those of another one.

    Args:
        table: the rows.
        path: the file, whose name says the format.
        like: a table with the same columns.
    """
    if path.suffix.lower() != ".parquet":
        table.to_csv(path, index=False)
        return
    types = read_frame(like).dtypes
    numbers = [name for name in table if types[name].kind in "iuf"]
    table.assign(**{name: pd.to_numeric(table[name]) for name in numbers}).to_parquet(path)


def renaming(ids: pd.Series) -> Callable[[str, int], str]:
    """Return a function that gives an example's name in a further copy of the test set."""
    if ids.str.fullmatch(r"\d{1,15}").all() and len(ids):
        numbers = ids.astype("int64")
        span = int(numbers.max() - numbers.min()) + 1
        return lambda name, copy: str(int(name) + copy * span)

    def rename(name: str, copy: int) -> str:
        path = Path(name)
        return path.with_name(f"{path.stem}-{copy}{path.suffix}").as_posix()

    return rename


def repeat(table: pd.DataFrame, column: str, rename: Callable[[str, int], str]) -> pd.DataFrame:
    """Return a table several times below itself, with new names in a column."""
    copies = [
        table.assign(**{column: [rename(name, copy) for name in table[column]]})
        for copy in range(1, TIMES)
    ]
    return pd.concat([table, *copies], ignore_index=True)


def is_category(cells: pd.Series) -> bool:
    """Return whether a column holds texts rather than numbers."""
    given = cells[cells != ""]
    return bool(pd.to_numeric(given, errors="coerce").isna().any())


def copy_images(
    source: Path, target: Path, ids: set[str], rename: Callable[[str, int], str]
) -> None:
    """Link or copy a folder of images, and those of the further copies under their new names."""
    for path in source.rglob("*"):
        if path.is_file():
            link_or_copy(path, target / path.relative_to(source))
    for name, path in find_images(source).items():
        for copy in range(1, TIMES) if name in ids else ():
            link_or_copy(path, target / file_name(rename(name, copy), path))
