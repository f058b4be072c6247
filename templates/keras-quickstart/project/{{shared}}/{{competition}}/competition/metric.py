"""The competition's metric. It says which experiment and which blend is better.

Kaggle shows the code of many competitions' metrics, in a function of this name with these three
arguments: paste it here, and say whether more is better. What stands here until then is chosen by
what competition/schema.yaml says: the root mean squared error of numbers, the accuracy of labels,
the log loss of a column for each class, else the area under the ROC curve, mean over the columns.
"""

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from machinery.competition import read_schema

schema = read_schema()
is_log_loss = schema.kind == "multiclass" and schema.answer == "probabilities"
greater_is_better = schema.kind != "regression" and not is_log_loss
name = "AUC"  # What scores are called, in messages.
if schema.kind == "regression":
    name = "RMSE"
elif schema.answer == "labels":
    name = "accuracy"
elif is_log_loss:
    name = "log loss"


def score(solution: pd.DataFrame, submission: pd.DataFrame, row_id_column_name: str) -> float:
    """Return the score of a submission.

    Args:
        solution: the truth, a row for each example, in the columns of the submission. Of the
            columns of classes, that of the right one holds 1, the others 0.
        submission: the predictions of the same examples in the same order.
        row_id_column_name: the column of both that names the examples.
    """
    columns = [name for name in solution.columns if name != row_id_column_name]
    truth, predicted = solution[columns].to_numpy(), submission[columns].to_numpy()
    if schema.kind == "regression":
        return float(np.sqrt(np.mean((predicted - truth) ** 2)))
    if schema.answer == "labels":
        return float((predicted == truth).mean())
    if is_log_loss:
        shares = predicted / predicted.sum(axis=1, keepdims=True)
        right = (shares * truth).sum(axis=1)
        return float(-np.log(np.clip(right, 1e-15, 1)).mean())
    return float(np.mean([roc_auc_score(*each) for each in zip(truth.T, predicted.T, strict=True)]))
