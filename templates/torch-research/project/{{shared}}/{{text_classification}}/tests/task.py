"""What the tests that know no task have to know of this one."""

# Options of an experiment that trains in a second.
SMALL = (
    *("--model.width", "4", "--model.blocks", "1"),
    *("--data.batch_size", "256", "--training.epochs", "2"),
)
METRIC = "accuracy"  # One that evaluate.py reports beside the loss.
FILES = ("confusion_matrix_test.png", "predictions_test.csv")  # What it writes beside metrics.
