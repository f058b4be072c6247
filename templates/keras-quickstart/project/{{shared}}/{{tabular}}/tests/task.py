"""What tests/test_pipeline.py has to know of the task."""

from pathlib import Path

from build_dataset import Dataset

# Options of an experiment that trains in a second.
SMALL = (
    *("--model.width", "8", "--model.layers", "1"),
    *("--data.batch_size", "128", "--training.epochs", "2"),
)
METRIC = "accuracy"  # One that evaluate.py reports beside the loss.
FILES = ("confusion_matrix_test.png", "predictions_test.csv")  # What it writes beside metrics.
UNLABELLED = 3  # How many examples the next function makes.


def make_unlabelled(folder: Path, dataset: Dataset) -> Path:
    """Make a table of UNLABELLED rows; return what to give to predict.py."""
    names = [*dataset.number_columns, *dataset.category_columns]
    rows = [names, *([str(row)] * len(names) for row in range(UNLABELLED))]
    path = folder / "new.csv"
    path.write_text("\n".join(map(",".join, rows)), encoding="utf-8")
    return path
