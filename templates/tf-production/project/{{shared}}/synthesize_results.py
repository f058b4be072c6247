"""Compare experiments: one table, one page.

    python synthesize_results.py                    # everything below experiments/
    python synthesize_results.py experiments/search --metric val_loss

Writes results.md (the table) and results.html (with the curves, too) there. Finished experiments
that differ only in `seed` share a row: mean ± standard deviation over the seeds, and the number of
values where some seeds lack the metric. The first row is bold only if Welch's t-test says that it
differs from the second (p < 0.05): otherwise the order may be chance.

Only files are read (params.yaml, run.json, metrics.jsonl, metrics_test.json), so experiments of
different frameworks can lie side by side.
"""

from machinery import results
from parameters import Parameters

results.command_line(__name__, __doc__, Parameters).run()
