"""The competition's metric. It says which experiment and which blend is better.

Kaggle shows the code of many competitions' metrics, in a function of this name with these three
arguments: paste it here. What stands here until then is chosen by what the schema says.
"""

import numpy as np
import pandas as pd
from sklearn import metrics

greater_is_better = True


def score(solution: pd.DataFrame, submission: pd.DataFrame, row_id_column_name: str) -> float:
    """Return the score of a submission: here the area under the ROC curve, mean over the columns.

    Args:
        solution: the truth, a row for each example, in the columns of the submission; a column of
            classes has numbers from 0 on where the submission has a column for each class.
        submission: the predictions of the same examples in the same order.
        row_id_column_name: the column of both that names the examples.
    """
    columns = [name for name in solution.columns if name != row_id_column_name]
    areas = [metrics.roc_auc_score(solution[name], submission[name]) for name in columns]
    return float(np.mean(areas))
