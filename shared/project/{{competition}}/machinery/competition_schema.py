"""Find out what a competition's files are, and write it to competition/schema.yaml."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
import pandas as pd

from machinery.competition import (
    SCHEMA,
    CompetitionSchema,
    Kind,
    Task,
    check_kind,
    find_raw,
    read_schema,
)
from machinery.competition_columns import (
    find_group_columns,
    find_text_columns,
    find_time_columns,
    find_unusable,
    is_missing,
    is_text,
    read_frame,
    share_columns,
)
from machinery.competition_images import find_image_folders
from machinery.errors import InputError
from machinery.files import write_atomically
from machinery.leak_audit import say_differences, say_leaks

TABLES = (".csv", ".parquet")
FEW_CLASSES = 10  # Different whole numbers that are rather classes than quantities.
METRICS = {
    ("binary", "probabilities"): "area under the ROC curve, log loss",
    ("binary", "labels"): "accuracy, F1",
    ("multiclass", "probabilities"): "log loss, area under the ROC curve of one class against all",
    ("multiclass", "labels"): "accuracy, macro F1; of ordered classes quadratic weighted kappa",
    ("multilabel", "probabilities"): "mean area under the ROC curve, mean log loss",
    ("multilabel", "labels"): "F1 (micro, macro, or mean over the rows)",
    ("regression", "values"): "RMSE, of prices and counts RMSE of the logarithm, MAE",
}
# What stands behind each value in schema.yaml.
COMMENTS = {
    "kind": "binary, multiclass, multilabel or regression",
    "train": "the table with the targets; paths are relative to the competition's files",
    "test": "the table without them; sample_submission.csv, if there is none",
    "id": "names the examples, in all three",
    "targets": "columns of train; several: labels of 0 and 1",
    "classes": "in the order of the submission's columns",
    "answer": "what is sent: values, probabilities or labels",
    "drop": "columns of train that are not learned from",
    "text": "the column of the texts",
    "images": "the folder of the training images, which `id` names",
    "test_images": "the folder of the test images",
    "scheme": "of the folds: random, stratified, group or time",
    "fold_column": "for group and time",
}
OF_TASK = {"text": "text-classification", "images": "image-classification"}
OF_TASK["test_images"] = OF_TASK["images"]


class Files(NamedTuple):
    """The tables of a competition, and what they hold."""

    train_path: Path
    test_path: Path
    sample_path: Path
    train: pd.DataFrame
    test: pd.DataFrame
    sample: pd.DataFrame


def understand(task: str, overwrite: bool = False) -> None:
    """Write competition/schema.yaml, and say what is worth knowing; one that is there is kept.

    Args:
        task: of the project.
        overwrite: replace schema.yaml.

    Raises:
        InputError: the files are not there, or are not what was expected; or the project is for
            another task.
    """
    if task not in get_args(Task):
        raise InputError(
            f"{SCHEMA}: this project is for {task}, and competitions are for "
            f"{', '.join(get_args(Task))}. Make a project of one of these: -d task=..."
        )
    raw = find_raw()
    given = read_schema() if SCHEMA.exists() and not overwrite else None
    files = read_files(*find_tables(raw)) if given is None else read_named(raw, given)
    schema = given or discover(raw, files, task)
    check_task(schema, task)
    if given is None:
        write_atomically(SCHEMA, format_schema(schema).encode())
    say_schema(schema, files)
    say_differences(schema, files.train, files.test)
    say_leaks(schema, files.train, files.test, raw)
    metrics = METRICS.get((schema.kind, schema.answer), "as the competition's page says")
    print(f"Usual metrics: {metrics}. The page says which: write it to competition/metric.py.")
    done = "Wrote" if given is None else "Kept (--overwrite finds it out anew)"
    print(f"{done} {SCHEMA}. Correct it; then: python compete.py folds")


def check_task(schema: CompetitionSchema, task: str) -> None:
    """Raise InputError where the project's task is not the competition's, or not of its kind."""
    if schema.task != task:
        raise InputError(
            f"{SCHEMA}: the competition looks like {schema.task}, and this project is for {task}. "
            f"Make one with -d task={schema.task}, or correct `task` there."
        )
    check_kind(schema)


def find_tables(raw: Path) -> tuple[Path, Path, Path]:
    """Return the paths of train, test and sample_submission; test may be the last.

    Raises:
        InputError: train or sample_submission is not there.
    """
    tables = sorted(path for path in raw.rglob("*.*") if path.suffix.lower() in TABLES)
    tables.sort(key=lambda path: len(path.relative_to(raw).parts))
    samples = [path for path in tables if "submission" in path.stem.lower()]
    samples.sort(key=lambda path: "sample" not in path.stem.lower())
    others = [path for path in tables if path not in samples]
    found = {}
    for word in ("train", "test"):
        named = [path for path in others if word in path.stem.lower()]
        # "train" goes before "train_labels", and that before "old_train".
        named.sort(key=lambda path: (path.stem.lower() != word, not path.stem.startswith(word)))
        found[word] = named[:1]
    for word, paths in (("train", found["train"]), ("sample_submission", samples)):
        if not paths:
            shown = ", ".join(str(path.relative_to(raw)) for path in tables[:8]) or "no table"
            raise InputError(
                f"{raw}: no table there whose name has {word} in it; got {shown}. Complete the "
                f"download (python compete.py get), or write {SCHEMA} yourself."
            )
    return found["train"][0], (found["test"] or samples)[0], samples[0]


def read_files(train: Path, test: Path, sample: Path) -> Files:
    """Read train, test and sample_submission.

    Raises:
        InputError: train or test lacks the first column of sample_submission.
    """
    ids = str(read_frame(sample).columns[0])
    frames = (read_frame(train, [ids]), read_frame(test, [ids]), read_frame(sample, [ids]))
    files = Files(train, test, sample, *frames)
    for path, frame in ((files.train_path, files.train), (files.test_path, files.test)):
        if ids not in frame.columns:
            raise InputError(
                f"{path}: no column {ids!r}, which is the first of {files.sample_path}. Rename the "
                "column that names the examples."
            )
    return files


def read_named(raw: Path, schema: CompetitionSchema) -> Files:
    """Read the tables that schema.yaml names.

    Raises:
        InputError: one is not there, or lacks a column.
    """
    files = read_files(raw / schema.train, raw / schema.test, raw / schema.sample_submission)
    needed = [schema.id, *schema.targets, *filter(None, [schema.text, schema.fold_column])]
    if missing := [name for name in needed if name not in files.train.columns]:
        raise InputError(f"{SCHEMA}: {files.train_path} has no column {missing[0]!r}.")
    return files


def discover(raw: Path, files: Files, task: str) -> CompetitionSchema:
    """Return what the tables look like.

    Args:
        raw: the folder of the files.
        files: the tables.
        task: of the project; where the competition could be of two tasks, it is of this one.

    Raises:
        InputError: the targets cannot be found.
    """
    train, test, sample = files.train, files.test, files.sample
    ids = str(sample.columns[0])
    targets, classes = find_targets(files, ids)
    kind = "multiclass" if classes else find_kind(train, sample, targets)
    columns = [str(name) for name in train.columns if name not in (ids, *targets)]
    shared = share_columns(train, test, (ids, *targets))
    drop = [name for name in columns if name not in shared]
    images, test_images = find_image_folders(raw, train[ids], sample[ids])
    texts = find_text_columns(train, shared or columns)
    possible = ["image-classification"] * bool(images) + ["text-classification"] * bool(texts)
    if len(shared) > len(texts) or not possible:
        possible.append("tabular")
    chosen = task if task in possible else possible[0]
    times = find_time_columns(train, test, shared)
    groups = find_group_columns(train, test, shared)
    fold_column = (times or groups or [""])[0]
    scheme = "time" if times else "group" if groups else "stratified"
    if chosen == "tabular":
        drop += [n for n in shared if n == fold_column or n in find_unusable(train, shared)]
    named = [path.relative_to(raw).as_posix() for path in files[:3]]
    found: Any = {"task": chosen, "kind": kind, "id": ids, "targets": targets, "drop": drop}
    found |= dict(zip(("train", "test", "sample_submission"), named, strict=True))
    found["classes"] = classes
    if kind == "multiclass" and not classes:
        found["classes"] = find_classes(read_frame(files.train_path, as_text=True)[targets[0]])
    found["answer"] = find_answer(sample, targets, kind)
    found["text"] = texts[0] if chosen == "text-classification" else ""
    if chosen == "image-classification":
        found |= {"images": images, "test_images": test_images}
    return CompetitionSchema(**found, scheme=scheme, fold_column=fold_column)


def find_targets(files: Files, ids: str) -> tuple[list[str], list[str]]:
    """Return the target columns of train; of a submission with a column per class, the classes.

    Raises:
        InputError: what the submission asks for is not in train.
    """
    asked = [str(name) for name in files.sample.columns[1:]]
    train = files.train
    if asked and all(name in train.columns for name in asked):
        return asked, []
    cells = read_frame(files.train_path, as_text=True)
    lacking = [str(n) for n in train.columns if n != ids and n not in files.test.columns]
    for name in lacking:
        values = find_classes(cells[name])
        # A class is named by itself, or by the column and itself: Status_C.
        for pattern in ("{1}", "{0}_{1}", "{0}-{1}", "{0} {1}"):
            named = {pattern.format(name, value): value for value in values}
            if {*named} == {*asked}:
                return [name], [named[column] for column in asked]
    if len(lacking) == len(asked) == 1:
        return lacking, []
    raise InputError(
        f"{files.sample_path}: asks for {', '.join(asked[:8]) or 'nothing'}, and "
        f"{files.train_path} has neither such columns nor one with such classes; test lacks "
        f"{', '.join(lacking[:8]) or 'none of its columns'}. Write {SCHEMA} yourself."
    )


def find_kind(train: pd.DataFrame, sample: pd.DataFrame, targets: Sequence[str]) -> Kind:
    """Return the kind of problem.

    Raises:
        InputError: there are several targets that are not labels of 0 and 1.
    """
    if len(targets) > 1:
        for name in targets:
            if is_text(train[name]) or not train[name].isin([0, 1]).all():
                raise InputError(
                    f"{SCHEMA}: {len(targets)} targets, and {name} is not of 0 and 1 alone. The "
                    "project learns one number or class: make a project for each target, or "
                    "write it yourself."
                )
        return "multilabel"
    column = train[targets[0]].dropna()
    different = np.sort(column.unique())
    if len(different) == 2:
        return "binary"
    if is_text(column):
        return "multiclass"
    asked = sample.iloc[:, 1]
    whole = bool((different == np.round(different)).all())
    fractions = not is_text(asked) and bool((asked != asked.round()).any())
    few = len(different) <= min(FEW_CLASSES, len(column) / 4)
    return "multiclass" if whole and few and not fractions else "regression"


def find_classes(cells: pd.Series) -> list[str]:
    """Return the classes in the cells of a target, as they stand there; numbers by their size."""
    different = sorted({*cells[~is_missing(cells)]})
    numbers = pd.to_numeric(pd.Series(different), errors="coerce").to_numpy(float)
    if np.isnan(numbers).any():
        return different
    # 1 and 1.0 are one class.
    return [different[place] for place in np.unique(numbers, return_index=True)[1]]


def find_answer(sample: pd.DataFrame, targets: Sequence[str], kind: Kind) -> str:
    """Return what the submission wants: values, probabilities or labels."""
    asked = sample.iloc[:, 1:]
    if kind == "regression":
        return "values"
    if kind == "multiclass" and len(asked.columns) > len(targets):
        return "probabilities"
    fractions = all(pd.api.types.is_float_dtype(asked[name]) for name in asked.columns)
    return "probabilities" if fractions and kind != "multiclass" else "labels"


def format_schema(schema: CompetitionSchema) -> str:
    """Return schema.yaml, with what may stand at each name in a comment."""
    choices = ("task", "kind", "answer", "scheme")
    lines = ["# What `python compete.py understand` took the files for. Correct what is wrong."]
    for name, value in schema.model_dump().items():
        if OF_TASK.get(name, schema.task) != schema.task or (name == "classes" and not value):
            continue
        text = value if name in choices else json.dumps(value, ensure_ascii=False)
        comment = f"  # {COMMENTS[name]}" if name in COMMENTS else ""
        lines.append(f"{name}: {text}{comment}")
    return "\n".join(lines) + "\n"


def say_schema(schema: CompetitionSchema, files: Files) -> None:
    """Print what the tables hold, and what is in test alone."""
    train, test = files.train, files.test
    for path, frame in dict(zip(files[:3], files[3:], strict=True)).items():
        print(f"{path}: {len(frame):,} rows of {len(frame.columns)} columns")
    column = f" by {schema.fold_column}" if schema.fold_column else ""
    print(
        f"{schema.task}, {schema.kind}. To predict: {', '.join(schema.targets)}, as "
        f"{schema.answer}. Rows are named by {schema.id}. Folds: {schema.scheme}{column}."
    )
    rows = []
    for name in train.columns:
        there, new = name in test.columns and name not in schema.targets, ""
        if there and is_text(train[name]) and train[name].nunique() <= len(train) / 2:
            known, levels = train[name].unique(), test[name].dropna().unique()
            levels = sorted({*map(str, levels)} - {*map(str, known)})
            new = ", ".join(levels[:3]) + (f", ... ({len(levels)})" if len(levels) > 3 else "")
        missing = test[name].isna().sum() if there else "-"
        rows.append((name, train[name].isna().sum(), missing, train[name].nunique(), new))
    titles = ["column", "missing", "in test", "different", "in test alone"]
    shown = pd.DataFrame(rows[:40], columns=titles).to_string(index=False, max_colwidth=40)
    print(shown + (f"\n... {len(rows) - 40} more" if len(rows) > 40 else ""))
    if schema.drop:
        print(f"Not learned from (`drop`): {', '.join(schema.drop)}")
