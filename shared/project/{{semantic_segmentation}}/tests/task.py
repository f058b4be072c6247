"""What the tests that know no task have to know of this one."""

# Options of an experiment that trains in seconds.
SMALL = (
    *("--model.width", "2", "--model.stages", "1"),
    *("--data.batch_size", "128", "--training.epochs", "2"),
)
METRIC = "iou"  # One that evaluate.py reports beside the loss.
FILES = ("masks_test.png", "classes_test.csv", "images_test.csv")  # What it writes beside metrics.
