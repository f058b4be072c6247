"""What tests/test_pipeline.py has to know of the task."""

# Options of an experiment that trains in a second.
SMALL = (
    *("--model.width", "8", "--model.layers", "1"),
    *("--data.batch_size", "128", "--training.epochs", "2"),
)
METRIC = "accuracy"  # One that evaluate.py reports beside the loss.
FILES = ("confusion_matrix_test.png", "predictions_test.csv")  # What it writes beside metrics.
