"""Blends: the best one is found, its score is honest, and what does not fit is refused."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
from small_competition import ROWS, TEST_ROWS, rules, write_competition, write_member

from machinery.blending import Method, blend, blend_folds
from machinery.competition_rules import Rules
from machinery.errors import InputError
from machinery.prediction_files import read_predicted


def rmse(truth: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.sqrt(np.mean((truth - predicted) ** 2)))


@pytest.fixture
def numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Rules, np.ndarray]:
    """A competition of numbers, and the truth."""
    monkeypatch.chdir(tmp_path)
    truth = np.random.default_rng(0).normal(size=ROWS)
    write_competition("regression", "values", {"price": truth}, {"price": 0.5})
    return rules(rmse, greater_is_better=False), truth[:, None]


@pytest.fixture
def labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rules:
    """A competition of two classes that nobody can tell apart."""
    monkeypatch.chdir(tmp_path)
    truth = np.random.default_rng(0).integers(2, size=ROWS)
    write_competition("binary", "probabilities", {"stayed": truth}, {"stayed": 0.5})
    return rules(roc_auc_score, greater_is_better=True)


def test_hill_climbing_finds_the_best_blend(numbers: tuple[Rules, np.ndarray]) -> None:
    """Of two members with errors of known size the best weights are known; a third is useless."""
    of_numbers, truth = numbers
    generator = np.random.default_rng(1)
    errors = np.linalg.qr(generator.normal(size=(ROWS, 3)))[0] * np.sqrt(ROWS) * [0.5, 0.8, 5]
    folders = [
        write_member(f"m{n}", of_numbers, truth + errors[:, [n]], np.full((TEST_ROWS, 1), n))
        for n in range(3)
    ]
    blend(folders, "hill-climbing", Path("experiments/best"), of_numbers, False)
    scored = json.loads(Path("experiments/best/score.json").read_text(encoding="utf-8"))
    precisions = 1 / np.array([0.5, 0.8, 5]) ** 2
    assert scored["naive_score"] == pytest.approx(1 / np.sqrt(precisions.sum()), abs=1e-3)
    expected = precisions / precisions.sum()
    assert scored["weights"] == pytest.approx(expected.tolist(), abs=0.02)
    test = pd.read_csv("experiments/best/test_predictions.csv")
    assert test["price"].to_numpy() == pytest.approx(np.dot(scored["weights"], [0, 1, 2]))
    assert [*pd.read_csv("submissions/best.csv")] == ["id", "price"]


@pytest.mark.parametrize("method", ["hill-climbing", "stacking"])
def test_of_noise_the_nested_score_is_no_better_than_the_naive_one(
    labels: Rules, method: Method
) -> None:
    generator = np.random.default_rng(2)
    folders = [
        write_member(
            f"noise-{n}", labels, generator.random((ROWS, 1)), generator.random((TEST_ROWS, 1))
        )
        for n in range(3)
    ]
    blend(folders, method, Path("experiments/noise"), labels, False)
    scored = json.loads(Path("experiments/noise/score.json").read_text(encoding="utf-8"))
    assert scored["naive_score"] > scored["score"]
    blend([*folders[:2], Path("experiments/noise")], "rank", Path("experiments/two"), labels, False)
    known = read_predicted(Path("experiments/two"), labels)  # A blend can be blended.
    assert len(known.out_of_fold) == ROWS
    assert len(known.test) == TEST_ROWS


def test_stacking_weighs_members_by_what_they_know(numbers: tuple[Rules, np.ndarray]) -> None:
    """Also one that says the opposite, which no mean could use."""
    of_numbers, truth = numbers
    noise = np.random.default_rng(3).normal(size=(2, ROWS, 1))
    tests = np.ones((TEST_ROWS, 1))
    folders = [
        write_member("good", of_numbers, truth + noise[0], tests),
        write_member("opposite", of_numbers, -3 * (truth + 0.1 * noise[1]), -3 * tests),
    ]
    blend(folders, "stacking", Path("experiments/stack"), of_numbers, False)
    assert (
        json.loads(Path("experiments/stack/score.json").read_text(encoding="utf-8"))["score"] < 0.12
    )
    test = pd.read_csv("experiments/stack/test_predictions.csv")
    assert test["price"].to_numpy() == pytest.approx(1, abs=0.1)


def test_what_does_not_fit_is_refused(labels: Rules) -> None:
    def member(name: str) -> Path:
        return write_member(name, labels, np.linspace(0, 1, ROWS)[:, None], np.ones((TEST_ROWS, 1)))

    folders, target = [member("a"), member("b")], Path("experiments/blend")

    def refuse(expected: str, method: Method = "mean") -> None:
        with pytest.raises(InputError, match=expected):
            blend(folders, method, target, labels, False)
        assert not target.exists()

    path = folders[1] / "score.json"
    scored = path.read_text(encoding="utf-8")
    path.write_text(scored.replace(labels.folds_sha256, "0" * 64), encoding="utf-8")
    refuse(r"experiments.b: was predicted with other folds \(SHA-256 000000000000\)")
    path.write_text(scored, encoding="utf-8")
    known = folders[1] / "out_of_fold.csv"
    content = known.read_text(encoding="utf-8")
    known.write_text(content.replace("\n001,", "\nother,"), encoding="utf-8")
    refuse(r"experiments.b.out_of_fold.csv: is not what score.json was written with")
    frame = pd.read_csv(known, dtype={"id": str})
    with pytest.raises(KeyError):  # Such predictions are not even scored.
        write_member("c", labels, frame[["nothing"]].to_numpy(), np.ones((TEST_ROWS, 1)))
    known.unlink()
    refuse("experiments.b.out_of_fold.csv: is not what")
    path.unlink()
    refuse("python compete.py predict --experiment experiments.b")
    folders[1] = folders[0]
    refuse("expected two or more different ones")


def test_ranks_are_for_labels(numbers: tuple[Rules, np.ndarray]) -> None:
    with pytest.raises(InputError, match="regression is blended by mean"):
        blend([Path("a"), Path("b")], "rank", Path("experiments/c"), numbers[0], False)


def test_ranks_are_for_probabilities(labels: Rules) -> None:
    labels.schema = labels.schema.model_copy(update={"answer": "labels"})
    with pytest.raises(InputError, match="where the answer is labels"):
        blend([Path("a"), Path("b")], "rank", Path("experiments/c"), labels, False)


def test_of_times_weights_are_chosen_on_earlier_folds(numbers: tuple[Rules, np.ndarray]) -> None:
    of_numbers, truth = numbers
    of_numbers.schema = of_numbers.schema.model_copy(update={"scheme": "time"})
    fold = of_numbers.folds["fold"].to_numpy()[:, None]
    # The first member is right until the last fold, in which the other one is.
    known = np.stack([truth + (fold == 2), truth + 2 * (fold < 2)])
    nested, _ = blend_folds(known, of_numbers.folds, "hill-climbing", of_numbers)
    errors = (nested - truth).round(6)
    assert [{*errors[fold == number].tolist()} for number in range(3)] == [{1.0}, {0.0}, {1.0}]
