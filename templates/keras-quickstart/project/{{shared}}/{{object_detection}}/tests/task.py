"""What the tests that know no task have to know of this one."""

# Options of an experiment that trains in a few seconds.
SMALL = (
    *("--model.width", "4", "--model.stages", "2"),
    *("--data.batch_size", "256", "--training.epochs", "2"),
)
METRIC = "ap50"  # One that evaluate.py reports beside the loss.
FILES = ("boxes_test.png", "images_test.csv")  # What it writes beside metrics.
