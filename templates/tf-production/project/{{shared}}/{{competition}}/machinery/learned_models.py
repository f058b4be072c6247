"""Models of scikit-learn that predict what a competition asks for, whatever its kind is."""

from collections.abc import Callable
from typing import Any

import numpy as np

Predict = Callable[[Any], np.ndarray]  # of inputs (N, ...), predictions (N, columns)


def learn(
    make: Callable[[], Any], inputs: Any, truth: np.ndarray, kind: str, columns: int
) -> Predict:
    """Fit a model, or one for each label; return what predicts with it.

    Args:
        make: returns a new model: for numbers a regressor, else a classifier.
        inputs: (N, ...)
        truth: (N,) numbers or class numbers, or (N, labels) of 0 and 1.
        kind: as in schema.yaml.
        columns: of the predictions.
    """
    if kind == "regression":
        model = make().fit(inputs, truth)
        return lambda new: np.asarray(model.predict(new)).reshape(-1, 1)
    if kind == "multiclass":
        return _classifier(make, inputs, truth, columns)
    each = [_classifier(make, inputs, labels, 2) for labels in truth.reshape(len(truth), -1).T]
    return lambda new: np.stack([predict(new)[:, 1] for predict in each], axis=1)


def _classifier(make: Callable[[], Any], inputs: Any, labels: np.ndarray, classes: int) -> Predict:
    """Fit a classifier; return what gives a probability to every class, (N, classes)."""
    found = np.unique(labels)
    if len(found) == 1:  # No classifier learns from one class.
        return lambda new: np.tile(np.eye(classes)[found[0]], (new.shape[0], 1))
    model = make().fit(inputs, labels)

    def predict(new: Any) -> np.ndarray:
        probabilities = np.zeros((new.shape[0], classes))
        probabilities[:, model.classes_] = model.predict_proba(new)
        return probabilities

    return predict
