"""The command check_data.py, on a dataset of points whose places are its features."""

import argparse
import csv
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import build_dataset
from machinery import arrays, data_check
from machinery.errors import InputError, ShiftError
from machinery.predictions import Unlabelled
from machinery.statistics_file import write_description


class Dataset(build_dataset.Dataset):
    """Points, of which it is known where they are."""

    def describe(
        self, inputs: Mapping[str, np.ndarray], originals: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Return both coordinates."""
        points = inputs["points"].astype(np.float64)
        return {"x": points[:, 0], "y": points[:, 1]}


def read_unlabelled(paths: Sequence[Path], dataset: Any, skip_bad: bool) -> Iterator[Unlabelled]:
    """Yield the points of .npy files."""
    for path in paths:
        points = np.load(path)
        yield Unlabelled(np.array([f"{row}" for row in range(len(points))]), {"points": points})


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    """The folder of an experiment that was trained on the tiny project's data."""
    build_dataset.build(tmp_path / "data")
    folder = tmp_path / "experiment"
    folder.mkdir()
    write_description(folder, arrays.read_dataset(tmp_path / "data", Dataset), tmp_path / "data")
    return folder


def write_points(path: Path, seed: int = 1, moved: float = 0) -> Path:
    """Write points like those of the training, or moved ones."""
    generator = np.random.default_rng(seed)
    points = generator.normal(size=(200, 2)) + 2 * (np.arange(200) % 2)[:, None]
    points[:, 0] += moved
    np.save(path, points.astype(np.float32))
    return path


def write_predictions(path: Path, titles: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([titles, *rows])
    return path


def check(experiment: Path, path: Path, **options: Path) -> dict[str, Any]:
    """Return what was written, whether it is an alarm or not."""
    output = experiment.with_name("check.json")
    chosen = {"predictions": None, "expected": None, "skip_bad": False, **options}
    arguments = argparse.Namespace(paths=[path], experiment=experiment, output=output, **chosen)
    try:
        data_check.check(arguments, Dataset, read_unlabelled)
        code = 0
    except ShiftError as error:
        code = error.exit_code
    report = json.loads(output.read_text(encoding="utf-8"))
    assert report["exit_code"] == code
    return report


def test_a_clean_and_a_shifted_report(
    experiment: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = check(experiment, write_points(tmp_path / "new.npy"))
    assert (report["verdict"], report["exit_code"], report["findings"]) == ("clean", 0, [])
    assert "Nothing has shifted." in capsys.readouterr().out
    report = check(experiment, write_points(tmp_path / "moved.npy", moved=2))
    assert (report["verdict"], report["exit_code"], report["examples"]) == ("train anew", 65, 200)
    assert {each["feature"] for each in report["findings"]} == {"x"}
    title, row, step, *_ = capsys.readouterr().out.splitlines()[1:]
    assert title.split() == ["feature", "|", "problem", "|", "expected", "|", "found"]
    assert row.startswith("x ")
    assert step.startswith("    next: ")


def test_broken_data_is_mended_first(experiment: Path, tmp_path: Path) -> None:
    path = write_points(tmp_path / "new.npy", moved=2)
    points = np.load(path)
    points[points > 3] = 3  # Less than the largest of the training.
    points[:30, 1] = np.nan
    np.save(path, points)
    report = check(experiment, path)
    assert report["verdict"] == "mend the data"
    assert [each["problem"] for each in report["findings"]] == ["shifted", "empty"]


def test_statistics_are_kept_by_a_run_that_goes_on(experiment: Path, tmp_path: Path) -> None:
    path, dataset = experiment / "statistics.json", arrays.read_dataset(tmp_path / "data", Dataset)
    time = path.stat().st_mtime_ns
    write_description(experiment, dataset, tmp_path / "data")
    assert path.stat().st_mtime_ns == time


def test_an_older_experiment_gets_statistics_from_its_dataset(
    experiment: Path, tmp_path: Path
) -> None:
    path, new = experiment / "statistics.json", write_points(tmp_path / "new.npy")
    before = path.read_bytes()
    path.unlink()
    with pytest.raises(InputError, match="not found, and data does not hold"):
        check(experiment, new)
    assert not path.exists()
    session = {"outcome": "finished", "data": (tmp_path / "data").as_posix()}
    (experiment / "run.json").write_text(json.dumps({"sessions": [session]}))
    assert check(experiment, new)["exit_code"] == 0
    assert path.read_bytes() == before
    for damaged in (before[:-9], before.replace(b'"fingerprint":"', b'"fingerprint":"0')):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="Delete it"):
            check(experiment, new)


def test_a_dataset_without_features(tmp_path: Path, experiment: Path) -> None:
    data = tmp_path / "data"
    (experiment / "statistics.json").unlink()
    write_description(experiment, build_dataset.open_dataset(data), data)
    assert not (experiment / "statistics.json").exists()


def test_predictions_beside_those_for_val(experiment: Path, tmp_path: Path) -> None:
    """As evaluate.py writes them, in another form than predict.py does."""
    new = write_points(tmp_path / "new.npy")
    rows = [(row, "left" if row % 3 else "right", 0.25, 0.75) for row in range(300)]
    made = functools.partial(write_predictions, tmp_path / "p.csv", ["id", "predicted", "l", "r"])
    with pytest.raises(InputError, match=r"evaluate\.py .* --split val"):
        check(experiment, new, predictions=made(rows))
    usual = [(row, "left", "left" if row % 3 else "right", 0.7) for row in range(100)]
    titles = ["id", "target", "predicted", "certainty"]
    write_predictions(experiment / "predictions_val.csv", titles, usual)
    assert check(experiment, new, predictions=made(rows))["exit_code"] == 0
    other = [(row, "left", 0.75, 0.25) for row in range(300)]
    report = check(experiment, new, predictions=made(other))
    assert [each["feature"] for each in report["findings"]] == ["prediction: predicted"]
    assert report["verdict"] == "train anew"


def test_predicted_numbers_and_shares(experiment: Path, tmp_path: Path) -> None:
    """A number is named after what is predicted; a share of several is in a column of its own."""
    new, generator = write_points(tmp_path / "new.npy"), np.random.default_rng(0)
    numbers = generator.normal(size=300)
    usual = [(row, 0, f"{number:.6g}", 0) for row, number in enumerate(numbers)]
    titles = ["id", "target", "predicted", "error"]
    write_predictions(experiment / "predictions_val.csv", titles, usual)
    rows = [(row, number) for row, number in enumerate(numbers.astype(np.float32))]
    path = write_predictions(tmp_path / "p.csv", ["id", "price"], rows)
    assert check(experiment, new, predictions=path)["exit_code"] == 0
    shares = 1 - 1e-5 * generator.random(300)
    usual = [(row, 1, f"{share:.4f}") for row, share in enumerate(shares)]
    titles = ["id", "wet", "wet: probability"]
    write_predictions(experiment / "predictions_val.csv", titles, usual)
    path = write_predictions(tmp_path / "p.csv", ["id", "wet"], list(enumerate(shares)))
    report = check(experiment, new, predictions=path)
    assert (report["exit_code"], report["features"]) == (0, 3)


def test_of_several_rows_of_an_example_the_first_counts(experiment: Path, tmp_path: Path) -> None:
    new = write_points(tmp_path / "new.npy")
    once = [(row, row % 2) for row in range(100)]
    often = [*once, *((0, 1) for _ in range(500))]
    usual = write_predictions(tmp_path / "usual.csv", ["id", "score"], once)
    path = write_predictions(tmp_path / "p.csv", ["id", "score"], sorted(often))
    assert check(experiment, new, predictions=path, expected=usual)["exit_code"] == 0


@pytest.mark.parametrize(
    ("content", "expected"),
    [("", "holds no predictions"), ("id,other\n1,2\n", "Name what"), (None, "cannot be read")],
)
def test_bad_predictions(
    experiment: Path, tmp_path: Path, content: str | None, expected: str
) -> None:
    write_predictions(experiment / "predictions_val.csv", ["id", "one", "two"], [(1, 2, 3)])
    path = tmp_path / "p.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=expected):
        check(experiment, write_points(tmp_path / "new.npy"), predictions=path)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "PATH"),
        (["not-there"], "not-there: not found"),
        (["new.npy", "--output", "check.txt"], "ends in .json"),
        (["new.npy", "--output", "there.json"], "is there already"),
        (["new.npy", "--expected", "x.csv"], "goes with --predictions"),
    ],
)
def test_bad_words(
    words: list[str],
    expected: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_points(tmp_path / "new.npy")
    (tmp_path / "there.json").touch()
    monkeypatch.setattr("sys.argv", ["check_data.py", *words])
    with pytest.raises(SystemExit) as ended:
        data_check.command_line("__main__", "Check.")
    assert ended.value.code == 2
    assert expected in capsys.readouterr().err
