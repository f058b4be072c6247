"""Check new examples, or logged requests, against what a network was trained on.

    python check_data.py PATH ...                             # against experiments/baseline
    python check_data.py PATH --predictions predictions.csv   # and what predict.py said of them

A PATH is what predict.py reads. Needs the experiment's folder and no dataset. It names what is not
there, other units, what is new, and what has shifted, the worst first, each with the next step, and
writes the same as JSON. Of a thousand checks of unchanged examples about three raise an alarm, at
most, if the examples are drawn at random: those of one hour or one place seldom are.

Exit code 0: nothing has shifted; 65: something has; 2: the PATH cannot be read.
"""

from machinery import data_check

command = data_check.command_line(__name__, __doc__)  # Answers --help and bad input.

from build_dataset import Dataset, read_unlabelled

command.run(Dataset, read_unlabelled)
