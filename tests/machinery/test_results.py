"""Results of experiments: rows, noise, and folders that are not as they should be."""

import json
import math
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from machinery import results, results_curves
from machinery.errors import InputError
from machinery.experiments import Experiment
from machinery.metrics import Objective
from machinery.results_table import Row, Table, best_epoch, is_clear
from machinery.run import Run
from parameters import Parameters


def write_run(
    folder: Path,
    accuracies: list[float],
    seed: int = 0,
    outcome: str = "finished",
    metric: str = "accuracy",
    session: dict[str, Any] | None = None,
    **model: Any,
) -> Path:
    """Write what a run leaves that is read here."""
    folder.mkdir(parents=True)
    lines = [f"seed: {seed}", "training: {epochs: 3}", f"model: {json.dumps(model)}"]
    (folder / "params.yaml").write_text("\n".join(lines))
    objective = {"metric": f"val_{metric}", "maximize": metric != "gap"}
    facts = {"outcome": outcome, "seconds": 2.5, "framework": "torch", "objective": objective}
    (folder / "run.json").write_text(json.dumps({"sessions": [facts | (session or {})]}))
    rows = [
        {"epoch": i, "step": 10 * i, "val_loss": 1 / i, f"val_{metric}": accuracy}
        for i, accuracy in enumerate(accuracies, start=1)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def synthesize(root: Path, metric: str | None = None) -> str:
    """Write the results; return results.md."""
    results.synthesize(root, metric, Parameters)
    return (root / "results.md").read_text()


def lines_of(table: str) -> list[str]:
    """Return the lines of the first table, without its titles."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return lines[2:]


def test_the_command(tmp_path: Path, run: Callable[..., str]) -> None:
    assert "--minimize" in run("synthesize_results.py", "--help")
    message = run("synthesize_results.py", tmp_path, expected=2)
    assert "Train one: python train.py" in message
    assert "expected a folder" in run("synthesize_results.py", tmp_path / "nowhere", expected=2)
    write_run(tmp_path / "a", [0.9])
    message = run("synthesize_results.py", tmp_path, "--metric", "val_acuracy", expected=2)
    assert "did you mean val_accuracy?" in message
    assert not (tmp_path / "results.md").exists()
    assert "| 1 | 1/3" in run("synthesize_results.py", tmp_path)
    (tmp_path / "a" / "metrics.jsonl").write_text('{"epoch": 1, "val_rmse": 0.5}\n')
    words = ("synthesize_results.py", tmp_path, "--metric", "val_rmse")
    assert "Compared by val rmse, higher is better." in run(*words)
    assert "Compared by val rmse, lower is better." in run(*words, "--minimize")
    results.command_line("__mp_main__", None, Parameters).run()  # Imported and not run.


def test_seeds_share_a_row_and_a_clear_winner_is_bold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in (0, 1, 2, 3):
        write_run(tmp_path / f"wide_{seed}", [0.5, 0.9 + seed / 1000, 0.8], seed=seed, width=64)
        small = write_run(tmp_path / f"small_{seed}", [0.7 + seed / 1000], seed=seed, width=4)
        (small / "metrics_test.json").write_text(json.dumps({"accuracy": 0.6, "loss": 1.5}))
    first, second = lines_of(synthesize(tmp_path))
    assert (
        "**wide\\_0, wide\\_1, wide\\_2 and 1 more** | model.width 64 | **0.9015 ± 0.0013**"
        in first
    )
    assert "| 4 | 3/3 | 2.5 | finished |" in first
    assert "model.width 4 | 0.7015 ± 0.0013" in second
    assert "0.6000 ± 0.0000" in second
    assert "**" not in second
    output = " ".join(capsys.readouterr().out.split())  # Lines end where the terminal does.
    assert "model.width 64" in output
    assert "(Welch's t-test, p < 0.05)" in output
    assert "Compared by val accuracy, higher is better." in output
    assert "count once" not in output


def test_nothing_is_bold_within_the_noise_or_for_one_seed(tmp_path: Path) -> None:
    for seed, accuracy in enumerate((0.8, 0.9, 0.85)):
        write_run(tmp_path / f"a{seed}", [accuracy], seed=seed, width=8)
        write_run(tmp_path / f"b{seed}", [accuracy - 0.01], seed=seed, width=4)
    assert "**" not in synthesize(tmp_path)
    write_run(tmp_path / "lucky", [0.99], width=16)
    write_run(tmp_path / "lucky again", [0.99], width=16)  # the same seed: no second observation
    table = synthesize(tmp_path)
    assert "Nothing is bold" in table
    assert "**" not in table
    assert "Runs of one seed count once: lucky, lucky again." in table
    assert "| lucky, lucky again | model.width 16 | 0.9900 | 0.9900 | 1.0000 | 1 |" in table


def test_one_seed_each_is_not_tested(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [0.8], width=8)
    write_run(tmp_path / "b", [0.9], width=4)
    table = synthesize(tmp_path)
    assert "Nothing is bold: the first two rows need two seeds each, or there is no test." in table
    assert "Welch" not in table


def test_equal_configurations_are_rarely_bold() -> None:
    """The share of five hundred pairs is near the threshold, of two seeds as of five."""
    generator = np.random.default_rng(0)
    one = [Experiment("a", "finished")]
    for seeds in (2, 5):
        bold = 0
        for _ in range(500):
            first, second = generator.normal(0.9, 0.01, (2, seeds)).tolist()
            rows = [
                Row(one, {"val_accuracy": dict(zip("abcde", values, strict=False))})
                for values in (first, second)
            ]
            bold += is_clear(rows, Objective("val_accuracy", True))
        assert bold / 500 < 0.065, seeds


def test_seeds_without_a_metric_are_counted(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        run = write_run(tmp_path / f"a{seed}", [0.9], seed=seed)
        if seed:
            (run / "metrics_test.json").write_text(json.dumps({"accuracy": 0.9 + seed / 100}))
    table = synthesize(tmp_path)
    assert "0.9150 ± 0.0071 (2)" in table
    assert "| 0.9000 ± 0.0000 |" in table


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
    for i, wrong in enumerate(({"objective": {"metric": 1}}, {"objective": 3}, {"code": [1]})):
        write_run(tmp_path / f"wrong_{i}", [0.9], session=wrong)
    missing = write_run(tmp_path / "missing", [0.9])
    (missing / "params.yaml").unlink()
    with FileLock(live / ".lock"):
        lines = lines_of(synthesize(tmp_path))
    status = {line.split(" | ")[0].strip("| "): line.split(" | ")[-1].strip("| ") for line in lines}
    assert lines[0].startswith("| fine |")  # What did not finish is not first, however good.
    assert status["stopped"] == "stopped"
    assert status["diverged"] == "diverged"
    assert status["pruned"] == "pruned"
    assert status["died"] == "killed"
    assert status["empty"] == "failed"
    assert status["live"] == "running"
    assert sum(text.startswith("unreadable: ") for text in status.values()) == 10


def test_names_cannot_break_the_table_or_the_page(tmp_path: Path) -> None:
    name = "$5_to_$10"
    write_run(tmp_path / "<b>a|b_$x$*", [0.9, 0.8], metric=name, note="<script>alert(1)</script>")
    write_run(tmp_path / "plain", [0.8], metric=name, note="`|`")
    table = synthesize(tmp_path)
    assert r"\<b\>a\|b\_\$x\$\*" in table
    page = (tmp_path / "results.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert page.count("<svg") == 2  # Of the metric and the loss.
    assert "val $5 to $10" in page
    assert 'href="http' not in page


def test_ticks_of_the_curves_are_whole_epochs(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [0.9, 0.8])
    synthesize(tmp_path)
    ticks = re.findall(r">([\d.]+)</text>", (tmp_path / "results.html").read_text())
    assert {"1", "2"} < {*ticks}
    assert not {"1.2", "1.4", "1.5", "1.25", "1.75"} & {*ticks}


def test_the_same_results_are_the_same_files(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [0.9, 0.8])
    synthesize(tmp_path)
    files = [(tmp_path / name).read_bytes() for name in ("results.md", "results.html")]
    synthesize(tmp_path)
    assert files == [(tmp_path / name).read_bytes() for name in ("results.md", "results.html")]


@pytest.mark.parametrize("name", results.FILES)
@pytest.mark.parametrize("content", ["# Results\n\nOf my thesis.\n", "<!doctype html>\n", "", None])
def test_a_file_of_the_person_is_not_replaced(
    tmp_path: Path, name: str, content: str | None, run: Callable[..., str]
) -> None:
    write_run(tmp_path / "a", [0.9])
    path = tmp_path / name
    path.mkdir() if content is None else path.write_text(content)
    with pytest.raises(InputError, match=rf"{name}: not written by this command.*Rename"):
        synthesize(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a", name]
    assert content is None or path.read_text() == content
    if content:
        assert "Rename" in run("synthesize_results.py", tmp_path, expected=2)


def test_files_of_several_tables_are_replaced(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [0.9])
    write_run(tmp_path / "b", [0.9], metric="gap")
    assert synthesize(tmp_path) == synthesize(tmp_path)


def test_curves_that_cannot_be_drawn_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> str:
        raise ValueError("no font")

    monkeypatch.setattr(results_curves, "_draw", fail)
    write_run(tmp_path / "a", [0.9])
    synthesize(tmp_path)
    assert "could not be drawn: no font" in capsys.readouterr().err
    assert "<svg" not in (tmp_path / "results.html").read_text()


def test_frameworks_side_by_side_are_rows_of_their_own(tmp_path: Path) -> None:
    write_run(tmp_path / "one" / "baseline", [0.9], seed=0)
    other = {"framework": "tensorflow"}
    write_run(tmp_path / "two" / "baseline", [0.8], seed=1, session=other)
    table = synthesize(tmp_path, "val_loss")
    assert "| one/baseline | framework torch |" in table
    assert "| two/baseline | framework tensorflow |" in table


def test_an_experiment_without_metrics_alone_can_be_shown(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [], outcome="diverged")
    assert "diverged" in synthesize(tmp_path)


@pytest.mark.parametrize(
    ("metric", "minimize", "lower"),
    [
        ("val_accuracy", False, False),
        ("val_hinge_loss", False, True),
        ("val_rmse", False, False),
        ("val_rmse", True, True),
        ("val_gap", False, True),
        ("val_score", True, False),
    ],
)
def test_the_direction_is_that_of_the_runs_else_the_one_given(
    metric: str, minimize: bool, lower: bool
) -> None:
    rows = [{"epoch": i, metric: value} for i, value in enumerate((0.5, 0.9, math.nan, 0.1))]
    experiment = Experiment("a", rows=rows)
    if metric in ("val_gap", "val_score"):
        experiment.objective = Objective(metric, maximize=metric == "val_score")
    for wanted in (None, metric):
        found = results.split_by_objective([experiment], wanted, minimize)
        ((objective, members),) = found.items()
        assert members == [experiment]
        assert objective == Objective(metric, maximize=not lower)
        assert best_epoch(experiment, objective) == {metric: 0.1 if lower else 0.9}


def test_the_metric_that_is_asked_for_compares_all(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [0.8, 0.9], width=4)
    write_run(tmp_path / "b", [0.7, 0.8, 0.8], width=8)
    assert [line.split()[1] for line in lines_of(synthesize(tmp_path))] == ["a", "b"]
    write_run(tmp_path / "0 as good but of greater loss", [0.9], width=2)
    assert [line.split()[1] for line in lines_of(synthesize(tmp_path))] == ["a", "0", "b"]
    write_run(tmp_path / "empty", [], width=3)
    table = synthesize(tmp_path, "val_loss")
    assert [line.split()[1] for line in lines_of(table)] == ["b", "a", "0", "empty"]
    assert "Compared by val loss, lower is better." in table


def test_tasks_with_other_objectives_have_tables_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "a", [0.9], seed=0)
    write_run(tmp_path / "b", [0.8], seed=1, width=9)
    write_run(tmp_path / "c", [3.0, 2.0], metric="gap")
    write_run(tmp_path / "older", [0.7], session={"objective": None}, width=3)
    write_run(tmp_path / "older gap", [4.0], metric="gap", session={"objective": None}, width=3)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "run.json").touch()
    _, first, second = synthesize(tmp_path).split("\n## ")
    assert [line.split(" | ")[0] for line in lines_of(first)] == [
        *("| a", "| b", "| older", "| damaged")
    ]
    assert [line.split(" | ")[0] for line in lines_of(second)] == ["| c", "| older gap"]
    assert "lower is better" in second
    assert "| 2.0000 | 0.5000 |" in second
    output = capsys.readouterr().out
    assert output.count("\nexperiment ") == 2
    assert (tmp_path / "results.html").read_text().count("<svg") == 4
    assert "## " not in synthesize(tmp_path, "val_loss")


def test_a_whole_number_is_no_other_rate_and_other_code_is_another_row(tmp_path: Path) -> None:
    code = {"train.py": "11111111", "model/net.py": "22222222"}
    for name, seed, text in (("a", 0, "2"), ("b", 1, "2.0"), ("c", 2, "2.0")):
        digests = code | ({"model/net.py": "1a2b3c4d"} if name == "c" else {})
        folder = write_run(tmp_path / name, [0.5], seed=seed, session={"code": digests})
        (folder / "params.yaml").write_text(f"seed: {seed}\ntraining: {{warmup_epochs: {text}}}\n")
    table = synthesize(tmp_path)
    assert "| a, b | model/net.py 22222222 |" in table
    assert "| c | model/net.py 1a2b3c4d |" in table
    others = {f"{i}.py": "33333333" for i in range(7)}
    write_run(tmp_path / "d", [0.4], session={"code": others})
    assert "(0.py, 1.py, 2.py, 3.py, 4.py and 2 more)" in synthesize(tmp_path)


def differences(root: Path) -> dict[str, str]:
    """Return what differs by the experiment's name, as results.md says it."""
    rows = [line.replace("\\", "").split(" | ") for line in lines_of(synthesize(root))]
    return {name.strip("| "): words for name, words, *_ in rows}


def test_one_that_differs_in_everything_does_not_fill_the_lines_of_all(tmp_path: Path) -> None:
    for i in range(4):
        write_run(tmp_path / f"run_{i}", [0.9], width=i)
    code = {f"{i}.py": "33333333" for i in range(4)}
    outlier = {"framework": "keras", "code": code}
    strange: dict[str, Any] = {f"parameter_{i}": i for i in range(9)}
    write_run(tmp_path / "outlier", [0.9], session=outlier, width=9, **strange)
    found = differences(tmp_path)
    assert found["run_0"] == "model.width 0"
    assert found["outlier"].startswith("model.width 9, model.parameter_0 0, model.parameter_1 1")
    assert " and 3 more, code " in found["outlier"]
    assert found["outlier"].endswith("(0.py, 1.py, 2.py, 3.py)")
    table = (tmp_path / "results.md").read_text()
    assert "What most rows have in common is not named as a difference." in table


def test_changed_files_of_code_are_named(tmp_path: Path) -> None:
    names = ("train.py", "backend.py", "model/net.py")
    for i, changed in enumerate((3, 0, 0, 1, 0)):
        digests = {name: f"{i if j < changed else 9:08}" for j, name in enumerate(names)}
        write_run(tmp_path / f"run_{i}", [0.9], session={"code": digests}, width=i)
    found = differences(tmp_path)
    assert found["run_0"].startswith("model.width 0, code ")
    assert found["run_0"].endswith("(train.py, backend.py, model/net.py)")
    assert found["run_1"] == "model.width 1"
    assert found["run_3"] == "model.width 3, train.py 00000003"


def test_another_optimizer_or_task_is_named(tmp_path: Path) -> None:
    for name, optimizer, task in (("a", "AdamW(eps=1)", "x"), ("b", "SGD(momentum=0.9)", "y")):
        session = {"optimizer": optimizer, "task": task}
        write_run(tmp_path / name, [0.9], session=session, width=1)
    found = differences(tmp_path)
    assert found == {"a": "task x, optimizer AdamW", "b": "task y, optimizer SGD"}


@pytest.mark.parametrize(
    ("begins", "others", "code"),
    [
        ((0, 10), ("aaaa", "bbbb"), "train.py aaaa+bbbb"),
        ((0, 0), ("aaaa", "bbbb"), "train.py bbbb"),  # Trained anew, or killed at once.
        ((0, 30), ("aaaa", "bbbb"), "train.py aaaa"),  # All steps were done.
        ((0, 10, 10), ("aaaa", "cccc", "bbbb"), "train.py aaaa+bbbb"),
    ],
)
def test_a_run_has_the_code_of_all_its_steps(
    tmp_path: Path, begins: tuple[int, ...], others: tuple[str, ...], code: str
) -> None:
    write_run(tmp_path / "a", [0.9, 0.8, 0.7], session={"code": {"train.py": "dddd"}})
    folder = write_run(tmp_path / "b", [0.9, 0.8, 0.7], seed=1)
    (session,) = json.loads((folder / "run.json").read_text())["sessions"]
    parts = zip(begins, others, strict=True)
    sessions = [session | {"from_step": begin, "code": {"train.py": d}} for begin, d in parts]
    (folder / "run.json").write_text(json.dumps({"sessions": sessions}))
    assert differences(tmp_path) == {"a": "train.py dddd", "b": code}


def test_two_that_write_the_results_write_one_after_the_other(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [0.9])
    with ThreadPoolExecutor(1) as threads:
        with FileLock(tmp_path / ".results.lock"):
            written = threads.submit(synthesize, tmp_path)
            with pytest.raises(TimeoutError):
                written.result(timeout=0.5)
            assert not (tmp_path / "results.md").exists()
        assert "| a |" in written.result()


def test_what_a_run_writes_is_what_is_read(tmp_path: Path, train_run: Callable[..., Run]) -> None:
    for name, seed in (("a", 0), ("b", 1), ("again", 0)):
        train_run(tmp_path / name, {"seed": seed, "training": {"epochs": 2}})
    (line,) = lines_of(synthesize(tmp_path))
    assert line.startswith("| a, again, b |  |")
    assert "| 2 | 2/2 |" in line
    assert "count once: a, again." in (tmp_path / "results.md").read_text()


def test_no_experiment_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no trained experiment"):
        synthesize(tmp_path)
    table = Table.of([Experiment("a", "unreadable: x")], Objective("val_loss", False))
    assert table.cells == [["a", "", "1", "0/?", "0.0", "unreadable: x"]]
