"""The ledger of what was sent, and what it says of a gain."""

import json
from pathlib import Path
from typing import Any

import pytest

from machinery import scores
from machinery.errors import InputError


def row(public: str, deviation: str = "0.01", better: str = "greater") -> scores.Row:
    cells = {"file": f"at {public}.csv", "public_score": public, "better": better, "cv": public}
    return {**dict.fromkeys(scores.COLUMNS, ""), **cells, "cv_deviation": deviation}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row("0.7")], "not two public scores"),
        ([row("0.7"), row(""), row("0.72")], "0.02000 over at 0.7.csv (0.7), more than"),
        ([row("0.7"), row("0.705")], "inside the noise"),
        ([row("0.72"), row("0.71"), row("0.72")], "no gain"),
        ([row("0.7", "", ""), row("0.72", "")], "without fold scores"),
        ([row("3", better="smaller"), row("2", better="smaller")], "a gain of 1.00000"),
        ([row("3", better=""), row("2", better="")], "nothing tells which"),
    ],
)
def test_a_gain_is_compared_with_the_noise(rows: list[scores.Row], said: str) -> None:
    assert said in scores.verdict(rows)


def test_the_ledger_keeps_what_is_the_persons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    scores.FOLDER.mkdir()
    with scores.changing_ledger() as rows:
        rows.append(row("0.7") | {"opinion": "bold"})
    with scores.changing_ledger() as rows:
        rows.append(row("-0.8"))
    first, second = scores.read_ledger()
    assert first == row("0.7") | {"opinion": "bold"}
    assert second == row("-0.8") | {"opinion": ""}
    scores.report(scores.read_ledger())
    assert "0.70000 ± 0.01000" in capsys.readouterr().out
    assert scores.PICTURE.read_bytes().startswith(b"\x89PNG")
    scores.LEDGER.write_text("time,file\n1,2\n", encoding="utf-8")
    with pytest.raises(InputError, match="no column better, "):
        scores.read_ledger()


def test_the_cv_score_comes_from_the_experiment(tmp_path: Path) -> None:
    assert scores.read_cv(tmp_path) == {}
    found: dict[str, Any] = {"score": 0.5, "fold_scores": [0.4, 0.6], "greater_is_better": False}
    found |= {"metric": "RMSE", "metric_sha256": "0123456789"}
    path = tmp_path / "score.json"
    path.write_text(json.dumps(found), encoding="utf-8")
    read = scores.read_cv(tmp_path)
    assert (read["cv"], read["better"], read["metric"]) == ("0.5", "smaller", "RMSE 012345")
    assert float(read["cv_deviation"]) == pytest.approx(0.1 * 2**0.5)
    found |= {"score": None, "fold_scores": [0.4, None], "greater_is_better": True}
    path.write_text(json.dumps(found), encoding="utf-8")
    assert scores.read_cv(tmp_path) == {"cv": "", "better": "greater", "metric": "RMSE 012345"}
    path.write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=r"score\.json"):
        scores.read_cv(tmp_path)


def test_scores_of_several_metrics_are_not_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    scores.FOLDER.mkdir()
    scores.report([row("0.7") | {"metric": "AUC 1"}, row("0.8") | {"metric": "AUC 1"}])
    assert "several metrics" not in capsys.readouterr().out
    scores.report([row("0.7") | {"metric": "AUC 1"}, row("0.8") | {"metric": "score 2"}])
    assert "several metrics (AUC 1, score 2)" in capsys.readouterr().out
