"""Profile a few training steps: a trace to look at, and the ten dearest operations.

    python profile_steps.py                                   # experiments/baseline, trained or not
    python profile_steps.py --experiment experiments/wide --steps 20

It trains as train.py does, in a temporary folder, and after some steps measures the next ones:
loading of batches, forward and backward pass, optimizer. Open experiments/baseline/profile/
trace.json.gz at https://ui.perfetto.dev, which reads it in the browser and sends it nowhere. The
time of an operation is its own, without that of the operations that it calls. Measuring slows the
steps down, so compare shares, not seconds.
"""

from machinery import profiling
from parameters import Parameters

command = profiling.command_line(__name__, __doc__, Parameters)  # Answers --help and bad input.

from build_dataset import open_dataset
from framework.profiler import Profiler
from train import train

command.run(train, open_dataset, Profiler)
