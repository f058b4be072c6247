"""Compare experiments: one table, one page.

    python synthesize_results.py                    # everything below experiments/
    python synthesize_results.py experiments/search --metric val_loss
    python synthesize_results.py --baseline baseline

Writes results.md, .csv, .tex (for LaTeX) and .html (a page to send, with curves and pictures)
there. Each dataset has a table of its own. Finished experiments that differ only in `seed` share a
row: mean ± standard deviation over the seeds, the best, the number of seeds, and how many others
diverged or were stopped. With --baseline, each row is compared with an experiment over the seeds
that both have (paired t-test). Bold is what is better beyond chance (p < 0.05); without --baseline
at most the first row, by Welch's t-test against the second.

Only files are read (params.yaml, run.json, metrics.jsonl, metrics_test.json), so experiments of
different frameworks can lie side by side.
"""

from machinery import results
from parameters import Parameters

results.command_line(__name__, __doc__, Parameters).run()
