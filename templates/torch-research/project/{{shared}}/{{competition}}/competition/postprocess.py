"""What happens to predictions before they are scored and sent: clipping, rounding, thresholds."""

import pandas as pd


def postprocess(submission: pd.DataFrame, row_id_column_name: str) -> pd.DataFrame:
    """Return the submission to score and to send; what stands here changes nothing.

    It is called with the predictions of the folds and with those of the test rows, so it cannot
    know the truth: what it learns (a threshold, say) must be written here as a number.

    Args:
        submission: a row for each example, in the columns of sample_submission.csv.
        row_id_column_name: the column that names the examples.
    """
    del row_id_column_name
    return submission
