"""What the tests that know no task have to know of this one."""

from pathlib import Path

from build_dataset import Dataset

# Options of an experiment that trains in a second.
SMALL = (
    *("--model.width", "4", "--model.blocks", "1"),
    *("--data.batch_size", "256", "--training.epochs", "2"),
)
METRIC = "accuracy"  # One that evaluate.py reports beside the loss.
FILES = ("confusion_matrix_test.png", "predictions_test.csv")  # What it writes beside metrics.
UNLABELLED = 3  # How many examples the next function makes.


def make_unlabelled(folder: Path, dataset: Dataset) -> Path:
    """Make a folder of UNLABELLED text files; return what to give to predict.py."""
    (folder / "new").mkdir()
    for number in range(UNLABELLED):
        text = f"{dataset.vocabulary[number]} and words that nobody knows, 很好"
        (folder / "new" / f"{number}.txt").write_text(text, encoding="utf-8")
    return folder / "new"
