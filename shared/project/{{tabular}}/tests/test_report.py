"""Metrics, the best epoch and the list of predictions, for every kind of target."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from build_dataset import Dataset
from machinery.class_report import confusion_matrix, measure_labels, write_predicted_classes
from machinery.targets import KINDS
from model.report import (
    Evaluation,
    measure_classes,
    measure_numbers,
    objective,
)


@pytest.mark.parametrize("decimals", [1, 8])  # With one, many scores are equal.
def test_metrics_are_those_of_scikit_learn(decimals: int) -> None:
    from sklearn import metrics

    generator = np.random.default_rng(0)
    for classes in (2, 4):
        scores = generator.dirichlet(np.ones(classes), 300).round(decimals)
        labels = generator.integers(0, classes, 300)
        found, predicted = measure_classes(labels, scores), scores.argmax(axis=1)
        average = "binary" if classes == 2 else "macro"
        assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, predicted))
        assert found["f1"] == pytest.approx(metrics.f1_score(labels, predicted, average=average))
        if classes == 2:
            assert found["auc"] == pytest.approx(metrics.roc_auc_score(labels, scores[:, 1]))
    marks, scores = generator.random((300, 3)) < 0.3, generator.random((300, 3)).round(decimals)
    found = measure_labels(marks.astype(np.float32), scores)
    assert found["auc"] == pytest.approx(metrics.roc_auc_score(marks, scores, average="macro"))
    assert found["f1"] == pytest.approx(metrics.f1_score(marks, scores > 0.5, average="macro"))
    assert found["accuracy"] == pytest.approx(((scores > 0.5) == marks).mean())
    true, values = generator.normal(size=(2, 300))
    found = measure_numbers(true, values)
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(true, values))
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(true, values))
    assert found["r2"] == pytest.approx(metrics.r2_score(true, values))


def test_the_rows_of_a_confusion_matrix_are_the_labels() -> None:
    labels, predicted = np.array([0, 0, 0, 1, 2]), np.array([0, 2, 2, 1, 0])
    assert confusion_matrix(labels, predicted, 3).tolist() == [[1, 0, 2], [0, 1, 0], [1, 0, 0]]


def test_predictions_begin_with_the_most_certain_mistakes(tmp_path: Path) -> None:
    shares = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]])
    ids, labels = np.array(["a", "b", "c", "d"]), np.array([0, 1, 0, 1])
    write_predicted_classes(tmp_path / "p.csv", ids, labels, shares, ["no", "yes"])
    _, *rows = csv.reader((tmp_path / "p.csv").read_text(encoding="utf-8").splitlines())
    assert rows == [
        ["c", "no", "yes", "0.8000"],
        ["b", "yes", "no", "0.6000"],
        ["a", "no", "no", "0.9000"],
        ["d", "yes", "yes", "0.7000"],
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_the_objective_of_every_kind_prefers_what_is_right(kind: Any) -> None:
    dataset = Dataset.model_construct(kind=kind)
    right = np.eye(3)[[0, 1, 2, 1]]
    if kind == "regression":
        targets, predictions = np.arange(4.0), {"values": np.arange(4.0)}
    elif kind == "multilabel":
        targets, predictions = right, {"probabilities": right}
    else:
        right = right if kind == "multiclass" else np.eye(2)[[0, 1, 0, 1]]
        targets, predictions = right.argmax(axis=1), {"probabilities": right}
    rows = []
    for order in ([0, 1, 2, 3], [1, 0, 3, 2]):  # As it is, and with examples exchanged.
        evaluation = Evaluation(dataset)
        found = {name: array[order] for name, array in predictions.items()}
        evaluation.add(found, {"target": targets}, np.ones(4))
        rows.append({f"val_{name}": value for name, value in evaluation.metrics().items()})
    assert objective(dataset).is_better(*rows)


def test_a_metric_that_is_not_defined_is_left_out() -> None:
    assert "auc" not in measure_classes(np.zeros(3, int), np.full((3, 2), 0.5))
    assert "r2" not in measure_numbers(np.ones(3), np.ones(3))
    assert "auc" not in measure_labels(np.ones((3, 2)), np.full((3, 2), 0.5))
