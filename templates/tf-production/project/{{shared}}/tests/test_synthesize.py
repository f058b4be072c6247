"""synthesize_results.py: rows, noise, and folders that are not as they should be."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

import run_folder
import synthesize_results

ROOT = Path(__file__).parent.parent


def write_run(
    folder: Path,
    accuracies: list[float],
    seed: int = 0,
    outcome: str = "finished",
    framework: str = "torch",
    **model: Any,
) -> Path:
    """Write what a run leaves that is read here."""
    folder.mkdir(parents=True)
    lines = [f"seed: {seed}", "training: {epochs: 3}", f"model: {json.dumps(model)}"]
    (folder / "params.yaml").write_text("\n".join(lines))
    session = {"outcome": outcome, "seconds": 2.5, "framework": framework}
    (folder / "run.json").write_text(json.dumps({"sessions": [session]}))
    rows = [
        {"epoch": i, "step": 10 * i, "val_loss": 1 / i, "val_accuracy": accuracy}
        for i, accuracy in enumerate(accuracies, start=1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def synthesize(root: Path, *words: str, expected: int = 0) -> str:
    """Run the command; return what it printed."""
    result = subprocess.run(
        [sys.executable, "synthesize_results.py", str(root), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == expected, result.stdout + result.stderr
    return result.stdout + result.stderr


def test_seeds_share_a_row_and_a_clear_winner_is_bold(tmp_path: Path) -> None:
    for seed in (0, 1, 2, 3):
        write_run(tmp_path / f"wide_{seed}", [0.5, 0.9 + seed / 1000, 0.8], seed=seed, width=64)
        small = write_run(tmp_path / f"small_{seed}", [0.7 + seed / 1000], seed=seed, width=4)
        (small / "metrics_test.json").write_text(json.dumps({"accuracy": 0.6, "loss": 1.5}))
    output = synthesize(tmp_path)
    first, second = (tmp_path / "results.md").read_text().splitlines()[4:6]
    assert (
        "**wide\\_0, wide\\_1, wide\\_2 and 1 more** | model.width 64 | **0.9015 ± 0.0013**"
        in first
    )
    assert "| 4 | 3/3 | 2.5 | finished |" in first
    assert "model.width 4 | 0.7015 ± 0.0013" in second
    assert "0.6000 ± 0.0000" in second
    assert "**" not in second
    assert "model.width 64" in output
    assert "(Welch's t-test, p < 0.05)" in output


def test_nothing_is_bold_within_the_noise_or_for_one_seed(tmp_path: Path) -> None:
    for seed, accuracy in enumerate((0.8, 0.9, 0.85)):
        write_run(tmp_path / f"a{seed}", [accuracy], seed=seed, width=8)
        write_run(tmp_path / f"b{seed}", [accuracy - 0.01], seed=seed, width=4)
    synthesize(tmp_path)
    assert "**" not in (tmp_path / "results.md").read_text()
    write_run(tmp_path / "lucky", [0.99], width=16)
    write_run(tmp_path / "lucky_again", [0.99], width=16)  # the same seed: no second observation
    assert "nothing is bold" in synthesize(tmp_path).lower()
    assert "**" not in (tmp_path / "results.md").read_text()


def test_equal_configurations_are_rarely_bold() -> None:
    """The share of a thousand pairs is near the threshold, of two seeds as of five."""
    generator = np.random.default_rng(0)
    one = [synthesize_results.Experiment("a", "finished")]
    for seeds in (2, 3, 5):
        bold = 0
        for _ in range(1000):
            first, second = generator.normal(0.9, 0.01, (2, seeds)).tolist()
            rows = [synthesize_results.Row(one, {"val_accuracy": v}) for v in (first, second)]
            bold += synthesize_results.is_clear(rows, "val_accuracy")
        assert bold / 1000 < 0.065, seeds


def test_seeds_without_a_metric_are_counted(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        run = write_run(tmp_path / f"a{seed}", [0.9], seed=seed)
        if seed:
            (run / "metrics_test.json").write_text(json.dumps({"accuracy": 0.9 + seed / 100}))
    assert "0.9150 ± 0.0071 (2)" in synthesize(tmp_path)
    assert "| 0.9000 ± 0.0000 |" in (tmp_path / "results.md").read_text()


def test_every_status_is_shown_and_unreadable_folders_too(tmp_path: Path) -> None:
    write_run(tmp_path / "fine", [0.9])
    for outcome in ("stopped", "diverged", "pruned"):
        write_run(tmp_path / outcome, [0.95], outcome=outcome)
    write_run(tmp_path / "died", [0.2], outcome="running")
    write_run(tmp_path / "empty", [], outcome="failed")
    live = write_run(tmp_path / "live", [0.3], outcome="running")
    for name in ("params.yaml", "run.json", "metrics.jsonl"):
        broken = write_run(tmp_path / f"broken_{name}", [0.9])
        (broken / name).write_text("{\n")
    for i, record in enumerate(("[]", '{"sessions": [{}]}', '{"sessions": 1}')):
        (write_run(tmp_path / f"damaged_{i}", [0.9]) / "run.json").write_text(record)
    missing = write_run(tmp_path / "missing", [0.9])
    (missing / "params.yaml").unlink()
    with FileLock(live / ".lock"):
        synthesize(tmp_path)
    lines = (tmp_path / "results.md").read_text().splitlines()[4:]
    status = {line.split(" | ")[0].strip("| "): line.split(" | ")[-1].strip("| ") for line in lines}
    assert lines[0].startswith("| fine |")  # What did not finish is not first, however good.
    assert status["stopped"] == "stopped"
    assert status["diverged"] == "diverged"
    assert status["pruned"] == "pruned"
    assert status["died"] == "killed"
    assert status["empty"] == "failed"
    assert status["live"] == "running"
    assert sum(text.startswith("unreadable: ") for text in status.values()) == 7


def test_names_cannot_break_the_table_or_the_page(tmp_path: Path) -> None:
    write_run(tmp_path / "<b>a|b_$x$*", [0.9], note="<script>alert(1)</script>")
    write_run(tmp_path / "plain", [0.8], note="`|`")
    synthesize(tmp_path)
    table = (tmp_path / "results.md").read_text()
    assert r"\<b\>a\|b\_$x$\*" in table
    page = (tmp_path / "results.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert page.count("<svg") == 1
    assert 'href="http' not in page


def test_frameworks_side_by_side_are_rows_of_their_own(tmp_path: Path) -> None:
    write_run(tmp_path / "one" / "baseline", [0.9], seed=0)
    write_run(tmp_path / "two" / "baseline", [0.8], seed=1, framework="tensorflow")
    synthesize(tmp_path, "--metric", "val_loss")
    table = (tmp_path / "results.md").read_text()
    assert "| one/baseline | framework torch |" in table
    assert "| two/baseline | framework tensorflow |" in table


def test_bad_requests_are_refused(tmp_path: Path) -> None:
    assert "Train one: python train.py" in synthesize(tmp_path, expected=2)
    assert "expected a folder" in synthesize(tmp_path / "nowhere", expected=2)
    write_run(tmp_path / "a", [0.9])
    message = synthesize(tmp_path, "--metric", "val_acuracy", expected=2)
    assert "did you mean val_accuracy?" in message
    assert not (tmp_path / "results.md").exists()


def test_an_experiment_without_metrics_alone_can_be_shown(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [], outcome="diverged")
    assert "diverged" in synthesize(tmp_path)


@pytest.mark.parametrize(("metric", "lower"), [("val_accuracy", False), ("val_rmse", True)])
def test_losses_and_errors_are_better_lower(metric: str, lower: bool) -> None:
    rows = [{"epoch": i, metric: value} for i, value in enumerate((0.5, 0.9, 0.1))]
    experiment = synthesize_results.Experiment("a", rows=rows)
    assert synthesize_results.choose_metric([experiment], None) == metric
    assert synthesize_results.best_epoch(experiment, metric) == {metric: 0.1 if lower else 0.9}
    assert run_folder.read_metrics(Path("nowhere")) == []


def test_a_whole_number_is_no_other_rate_and_other_code_is_another_row(tmp_path: Path) -> None:
    for name, seed, text in (("a", 0, "2"), ("b", 1, "2.0"), ("c", 2, "2.0")):
        folder = write_run(tmp_path / name, [0.5], seed=seed)
        (folder / "params.yaml").write_text(f"seed: {seed}\ntraining: {{warmup_epochs: {text}}}\n")
    record = json.loads((tmp_path / "c" / "run.json").read_text())
    record["sessions"][-1]["model_code"] = "1a2b3c4d"
    (tmp_path / "c" / "run.json").write_text(json.dumps(record))
    synthesize(tmp_path)
    table = (tmp_path / "results.md").read_text()
    assert "| a, b |" in table
    assert "| c | model code 1a2b3c4d |" in table
