"""Results with a baseline, of several datasets, and in each form that they are written in."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from machinery import results
from machinery.errors import InputError
from machinery.experiments import find_experiments
from machinery.results_files import escape_latex
from machinery.results_terminal import columns_of, pad, to_text
from parameters import Parameters
from test_results import lines_of, synthesize, write_run


def write_seeds(root: Path, name: str, values: list[float], **facts: object) -> None:
    """Write an experiment with several seeds, as train.py --seeds leaves it."""
    session = {"data": "data", "fingerprint": "abcd", **facts}
    for seed, value in enumerate(values):
        width = len(name)
        write_run(root / name / f"seed-{seed}", [0.1, value], seed, session=session, width=width)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A baseline, one that is better by chance, and one that is clearly better."""
    write_seeds(tmp_path, "base", [0.70, 0.80, 0.75, 0.60])
    write_seeds(tmp_path, "lucky", [0.78, 0.77, 0.79, 0.58])
    write_seeds(tmp_path, "better", [0.72, 0.83, 0.77, 0.62])
    return tmp_path


def test_a_baseline_is_compared_seed_by_seed(root: Path) -> None:
    results.synthesize(root, None, Parameters, baseline=f"{root}/base/")
    first, second, third = lines_of((root / "results.md").read_text())
    assert first.startswith("| **better (4 seeds)** | model.width 6 | **0.7350 ± 0.0889** |")
    assert "| +0.0225 | +0.0145 to +0.0305 | 0.003 | 0.8300 |" in first
    assert second.startswith("| lucky (4 seeds)")
    assert "**" not in second + third
    assert "| baseline |" in third
    notes = (root / "results.md").read_text().rpartition("|\n")[2]
    assert "Against base: the mean difference over common seeds" in notes


def test_what_is_clearly_worse_is_not_bold(root: Path) -> None:
    results.synthesize(root, "val_loss", Parameters, baseline="better")
    assert "**" not in (root / "results.md").read_text()
    write_seeds(root, "much", [0.1, 0.2, 0.16, 0.05])
    results.synthesize(root, None, Parameters, baseline="better")
    assert "**" not in (root / "results.md").read_text()
    assert "< 0.001" in (root / "results.md").read_text()


def test_a_baseline_that_is_not_there_is_refused(root: Path, run: Callable[..., str]) -> None:
    message = run("synthesize_results.py", root, "--baseline", "bases", expected=2)
    assert "--baseline: 'bases' is no experiment below" in message
    assert "did you mean base?" in message
    assert not (root / "results.md").exists()
    assert "0.003" in run("synthesize_results.py", root, "--baseline", "base")


def test_other_data_are_another_table(root: Path) -> None:
    """However the folders are called; and the same data in another folder are the same."""
    write_seeds(root, "there", [0.99], fingerprint="other")
    write_seeds(root, "elsewhere", [0.98], data="copies/data")
    results.synthesize(root, None, Parameters, baseline="base")
    first, second = (root / "results.md").read_text().split("\n## ")[1:]
    assert first.startswith("val accuracy on data\n")
    assert second.startswith("val accuracy on data (other)\n")
    assert lines_of(first)[0].startswith("| elsewhere/seed-0 |")
    assert "base is not here with these data" in second
    assert {row["data"] for row in read_csv(root)} == {"data", "data (other)"}


def test_folds_are_seeds_of_one_experiment(tmp_path: Path) -> None:
    """But not where two experiments have other folds of the same name."""
    for name, gain in (("a", 0.0), ("b", 0.05)):
        for fold, value in enumerate((0.6, 0.7, 0.8)):
            session = {"data": f"data/fold-{fold}", "fingerprint": f"print-{fold}"}
            folder = tmp_path / name / f"fold-{fold}"
            value += gain + fold / 1000
            write_run(folder, [value], session=session, width=len(name) + (name == "b"))
    results.synthesize(tmp_path, None, Parameters, baseline="a")
    text = (tmp_path / "results.md").read_text()
    assert [line.split(" | ")[0] for line in lines_of(text)] == ["| b (3 folds)", "| a (3 folds)"]
    assert "| +0.0500 |" in text
    assert "folds share training rows, so there is no test" in text
    assert "**" not in text
    other = tmp_path / "a" / "fold-1" / "run.json"
    other.write_text(other.read_text().replace("print-1", "moved"))
    assert synthesize(tmp_path).count("\n## ") == 4


def test_a_folder_of_other_experiments_is_no_baseline(tmp_path: Path) -> None:
    """Only that of seeds or folds stands for what is in it."""
    write_run(tmp_path / "monday" / "wide", [0.5])
    write_run(tmp_path / "tuesday" / "seed-3", [0.6], seed=3)
    found = find_experiments(tmp_path, Parameters)
    assert results.find_baseline("tuesday", tmp_path, found) == "tuesday"
    with pytest.raises(InputError, match="'monday' is no experiment"):
        results.find_baseline("monday", tmp_path, found)


def test_a_parent_is_compared_over_the_seeds_that_both_have(tmp_path: Path) -> None:
    for seed, accuracy in enumerate((0.5, 0.9)):
        write_run(tmp_path / "base" / f"seed-{seed}", [accuracy], seed)
    session = {"command": "train.py --from experiments/base"}
    write_run(tmp_path / "wide" / "seed-0", [0.6], 0, session=session, width=2)
    write_run(tmp_path / "other" / "seed-7", [0.95], 7, session=session, width=3)
    table = synthesize(tmp_path)
    assert "| base: model.width 8 → 2 | +0.1000 |" in table
    assert "| base: model.width 8 → 3 |  |" in table


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("[1]", "unreadable: metrics_test.json is damaged"),
        ('{"loss": null, "accuracy": 0.5, "names": ["a"]}', "finished"),
    ],
)
def test_metrics_of_a_test_that_are_no_numbers(tmp_path: Path, text: str, status: str) -> None:
    (write_run(tmp_path / "a", [0.5]) / "metrics_test.json").write_text(text)
    (found,) = find_experiments(tmp_path, Parameters)
    assert found.status == status
    assert found.test == ({"test_accuracy": 0.5} if status == "finished" else {})


def test_seeds_that_failed_are_counted_and_say_why(root: Path) -> None:
    for seed, outcome in ((8, "diverged"), (9, "stopped")):
        session = {"data": "data", "fingerprint": "abcd"}
        folder = write_run(
            root / "lucky" / f"seed-{seed}", [0.2], seed, outcome, session=session, width=5
        )
        log = "2026-01-01 10:00:00,123 epoch 1\n2026-01-01 10:00:01,123 it went\nwrong\n"
        (folder / "train.log").write_text(log)
    lines = lines_of(synthesize(root))
    assert any("| finished; 1 diverged; 1 stopped |" in line for line in lines)
    assert any(line.endswith("| diverged: it went wrong |\n".strip()) for line in lines)


def test_what_an_experiment_was_made_from(root: Path) -> None:
    """Recorded from the project's folder; also where the parent was never trained."""
    command = "python train.py --experiment x --from 'experiments/base/seed-0' --seed 3"
    write_seeds(root, "kid", [0.90, 0.80], command=command)
    (root / "plain").mkdir()
    (root / "plain" / "params.yaml").write_text("seed: 4\nmodel: {width: 99}\n")
    write_seeds(root, "other one", [0.5], command="train.py --from=experiments/plain")
    table = synthesize(root)
    assert "| base: model.width 4 → 3, training.epochs" not in table
    assert "| base: model.width 4 → 3 | +0.1000 |" in table
    assert "| plain: model.width 99 → 9, training.epochs 4 → 3 |  |" in table


def read_csv(root: Path) -> list[dict[str, str]]:
    with open(root / "results.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_csv_has_the_numbers(root: Path) -> None:
    synthesize(root)
    (row,) = [row for row in read_csv(root) if row["experiment"] == "base (4 seeds)"]
    assert float(row["val_accuracy mean"]) == pytest.approx(0.7125)
    assert float(row["val_accuracy deviation"]) == pytest.approx(0.0853913)
    assert row["val_accuracy n"] == "4"
    assert row["val_accuracy best"] == "0.8"
    assert row["val_loss best"] == ""  # Which direction is better is not known.
    assert row["status"] == "finished"


def test_latex_is_a_table_of_booktabs(root: Path) -> None:
    write_seeds(root, "50%_of\\{all}~^&#$", [0.5])
    results.synthesize(root, None, Parameters, baseline="base")
    text = (root / "results.tex").read_text()
    assert r"\textbf{better (4 seeds)} & model.width 6 & \textbf{0.7350 $\pm$ 0.0889}" in text
    assert r"50\%\_of\textbackslash{}\{all\}\textasciitilde{}\textasciicircum{}\&\#\$" in text
    rules = re.findall(r"\\(toprule|midrule|bottomrule)", text)
    assert rules == ["toprule", "midrule", "bottomrule"]
    body = text.partition("\\toprule\n")[2].partition("\\bottomrule")[0].splitlines()
    lines = [line for line in body if "&" in line]
    assert len({len(re.findall(r"(?<!\\)&", line)) for line in lines}) == 1
    assert escape_latex("a < b → c") == r"a \textless{} b $\rightarrow$ c"


@pytest.mark.parametrize("width", [40, 60, 80, 120, 300])
def test_the_table_is_no_wider_than_the_terminal(width: int, root: Path) -> None:
    write_seeds(root, "a" * 70, [0.5], command="train.py --from experiments/base")
    write_seeds(root, "层" * 30, [0.4])
    experiments = find_experiments(root, Parameters)
    objective = experiments[0].objective
    assert objective
    table = results.Table.of(experiments, objective, "data", "base")
    lines = to_text([table, table], width).splitlines()
    assert max(map(columns_of, lines)) <= width
    assert any(line.startswith("experim") for line in lines)
    whole = r"0\.7350 ± 0\.0889" if width > 40 else r"0\.7350"
    assert any(re.match(rf"better.* \| .*{whole}", line) for line in lines)
    shown = sum("Not shown for want of place" in line for line in lines)
    assert (shown > 0) == (width < 300)
    table.rows *= 10
    for column in table.columns:
        column.cells[:] = column.cells * 10
    assert "10 more rows are in the files." in to_text([table], width)


def test_a_cell_is_as_wide_as_it_should_be() -> None:
    assert pad("abc", 5) == "abc  "
    assert pad("abcdef", 5) == "abcd…"
    assert pad("层层层", 5) == "层层…"
    assert columns_of(pad("层层层", 4)) == 4


def test_runs_are_read_whatever_their_command(tmp_path: Path) -> None:
    for i, command in enumerate(("it's --from", "--from", None, 'x --from "a b/c"')):
        write_run(tmp_path / str(i), [0.5], session={"command": command})
    found = [experiment.parent for experiment in find_experiments(tmp_path, Parameters)]
    assert found == ["", "", "", "a b/c"]
    shutil.rmtree(tmp_path / "0")
    record = json.loads((tmp_path / "1" / "run.json").read_text())
    assert record["sessions"][0]["command"] == "--from"
    with pytest.raises(InputError, match="is no experiment"):
        results.find_baseline("0", tmp_path, find_experiments(tmp_path, Parameters))
