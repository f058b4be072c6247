"""Compare experiments: one table, one page.

    python synthesize_results.py                    # everything below experiments/
    python synthesize_results.py experiments/search --metric val_loss
    python synthesize_results.py --baseline baseline

Writes results.md, results.csv, results.tex (for LaTeX) and results.html (a page with curves
and pictures to send). Each dataset has a table of its own. Finished experiments that differ only in
`seed` share a row: mean ± standard deviation over the seeds, the best and the number of seeds, and
how many others diverged or were stopped. With --baseline each row is compared with an experiment
over the seeds that both have (paired t-test). Bold is what is better beyond chance (p < 0.05), and
without --baseline the first row alone, by Welch's t-test against the second.

Only files are read (params.yaml, run.json, metrics.jsonl, metrics_test.json), so experiments of
different frameworks can lie side by side.
"""

from machinery import results
from parameters import Parameters

results.command_line(__name__, __doc__, Parameters).run()
