"""Versions of exports: their numbers, a kill on the way, and what is found out elsewhere."""

import argparse
import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from machinery import elsewhere, exports, intervals, model_card, records
from machinery.elsewhere import ExportError, compare, predict_elsewhere
from machinery.errors import InputError
from machinery.exports import Examples, Format
from machinery.metrics import Objective
from machinery.parameter_file import Section
from machinery.quantised import Quantising

LOAD = """
import numpy as np
def predict(inputs, path):
    weights = np.load(path)
    return {"share": inputs["points"] @ weights, "above": inputs["points"][:, 0] > 0}
"""
POINTS = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
WEIGHTS = np.array([1, 2, 3], np.float32)
RIGHT = Objective("val_right", maximize=True)
EXAMPLES = Examples({"points": POINTS}, {"share": POINTS @ WEIGHTS, "above": POINTS[:, 0] > 0})
FACTS: dict[str, Any] = {
    **{"format": "weights", "experiment": "e", "checkpoint": "best", "step": 5},
    "dataset": {
        **{"task": "points", "source": "a|b", "fingerprint": "f"},
        "examples": {"train": 20, "val": 5, "test": 7},
    },
    "metrics": {"step": 5, "train_loss": 0.5, "val_loss": 0.25},
    "test_metrics": {"loss": 0.125, "examples": 7},
    **{"parameters": {"seed": 3}, "git_commit": "abc", "versions": {"some_package": "1.0+cpu"}},
}


def write(folder: Path, calibration: Any = None) -> str:
    rounded = WEIGHTS if calibration is None else WEIGHTS.astype(np.int8)
    np.save(folder / "weights.npy", rounded)
    return "weights.npy"


def export(folder: Path, write: Any = write) -> Path:
    return exports.write_version(folder, FACTS, Format("NumPy", LOAD), EXAMPLES, write)


def test_test_metrics_are_those_of_the_exported_step(tmp_path: Path) -> None:
    """An experiment may be evaluated while it trains, and its best checkpoint be a later one."""
    with records.writing_evaluation(tmp_path, ["metrics_test.json"], 4):
        (tmp_path / "metrics_test.json").write_text('{"loss": 0.5}')
    words = argparse.Namespace(experiment=tmp_path, checkpoint="best", format="onnx", int8=False)
    dataset = Section()  # What else it holds is of no matter here.
    of_step = {
        step: exports.collect_facts(words, Section(), dataset, step, [], ShareAbove)["test_metrics"]
        for step in (4, 5)
    }
    assert of_step == {4: {"loss": 0.5}, 5: None}


def test_a_version_says_what_it_takes_and_gives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    version = export(tmp_path)
    assert version == tmp_path / "weights" / "1"
    assert (
        "e/best.safetensors of step 5. A fresh process with bare NumPy" in capsys.readouterr().out
    )
    about = json.loads((version / "export.json").read_text("utf-8"))
    assert about.items() >= FACTS.items()
    assert about["file"] == "weights.npy"
    assert about["inputs"] == {"points": {"dtype": "float32", "shape": [None, 3]}}
    assert about["outputs"]["above"] == {"dtype": "bool", "shape": [None]}
    assert about["examples_compared"] == 7
    assert about["largest_difference"] <= 1e-6
    assert about["sha256"].keys() == {"weights.npy", "sbom.cdx.json"}
    for name, digest in about["sha256"].items():
        assert hashlib.sha256((version / name).read_bytes()).hexdigest() == digest


def test_a_format_may_take_one_example_at_a_time(tmp_path: Path) -> None:
    """Its export.json and its card say so."""
    form = Format("NumPy", LOAD, takes=1)
    version = exports.write_version(tmp_path, FACTS, form, EXAMPLES, write)
    about = json.loads((version / "export.json").read_text("utf-8"))
    assert about["inputs"] == {"points": {"dtype": "float32", "shape": [1, 3]}}
    assert about["outputs"]["above"] == {"dtype": "bool", "shape": [1]}
    assert "\n| points | float32 | (1, 3) |\n" in (version / "MODEL_CARD.md").read_text("utf-8")


def test_a_card_and_a_bill_of_materials_lie_beside_it(tmp_path: Path) -> None:
    version = export(tmp_path)
    card = (version / "MODEL_CARD.md").read_text("utf-8")
    for line in (
        "| metric | val, n = 5 | test, n = 7 | 95 % interval on test |",
        "| loss | 0.25 | 0.125 | no interval |",
        "| points | float32 | (N, 3) |",
        "| seed | 3 |",
        "- Not meant for: (uses that the data do not support)",
    ):
        assert f"\n{line}\n" in card
    assert f"```python{LOAD}" in card
    assert 'is in export.json, under "dataset".' in card
    assert "\n\nNo intervals: evaluate.py kept no predictions of this checkpoint" in card
    bill = json.loads((version / "sbom.cdx.json").read_text("utf-8"))
    assert bill["bomFormat"] == "CycloneDX"
    (package,) = [each for each in bill["components"] if each["name"] == "some_package"]
    assert package["purl"] == "pkg:pypi/some-package@1.0%2Bcpu"


@pytest.mark.parametrize(
    ("groups", "expected", "words"),
    [
        (None, (0.72, 0.87), "resamples of the examples of test"),
        (np.arange(100) // 4, (0.64, 0.92), "resamples of the 25 groups of test, drawn whole "),
    ],
)
def test_a_version_keeps_what_was_evaluated_and_says_how_sure_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], groups: Any, expected: Any, words: str
) -> None:
    answers = {"share": np.where(np.arange(100) < 20, -1, 1)}
    evaluation = ShareAbove(None)
    kept = intervals.KeptExamples(evaluation)
    evaluation.add(answers, {"above": np.ones(100, bool)}, np.arange(100))
    assert evaluation.metrics()["right"] == 0.8
    with records.writing_evaluation(tmp_path, ["metrics_test.json", *kept.files("test")], 5):
        (tmp_path / "metrics_test.json").write_text('{"right": 0.8}')
        kept.write(tmp_path, "test", groups)
    said = "of 25 groups (export.py's intervals draw them whole)\n"
    assert capsys.readouterr().out == ("" if groups is None else said)
    command = argparse.Namespace(experiment=tmp_path, checkpoint="best", format="onnx", int8=False)
    facts = exports.collect_facts(command, Section(), Section(), 5, [], ShareAbove)
    low, high = facts["test_intervals"]["right"]
    assert (low, high) == pytest.approx(expected, abs=0.02)
    about = {**FACTS, **{name: facts[name] for name in facts if name.startswith("test_")}}
    about["experiment"] = str(tmp_path)
    version = exports.write_version(tmp_path, about, Format("NumPy", LOAD), EXAMPLES, write)
    card = (version / "MODEL_CARD.md").read_text("utf-8")
    assert f"\n| right |  | 0.8 | {low:.4g} to {high:.4g} |\n" in card
    assert "Efron" in card
    kept = intervals.read_examples(version / intervals.FILE)
    assert (kept["predictions.share"] == answers["share"]).all()
    assert words in card
    assert intervals.FILE in json.loads((version / "export.json").read_text())["sha256"]


@pytest.mark.parametrize(
    ("count", "said", "words"),
    [
        (1, "of 1 group (without an interval: all examples of test are of one group", "one group"),
        (5, "of 5 groups (without an interval: the examples of test are of 5", "fewer than 20 it"),
    ],
)
def test_few_groups_have_no_interval_and_the_reason_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int, said: str, words: str
) -> None:
    evaluation = ShareAbove(None)
    kept = intervals.KeptExamples(evaluation)
    evaluation.add({"share": np.ones(10)}, {"above": np.arange(10) > 3}, np.arange(10))
    kept.write(tmp_path, "test", np.arange(10) % count)
    assert capsys.readouterr().out.startswith(said)
    card = model_card.metrics({**FACTS, "test_groups": count, "test_intervals": {}})
    assert words in card.partition("\n\nNo intervals: ")[2]
    assert "evaluate.py kept no predictions" not in card


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Skip the new process and the comparison in exports."""
    monkeypatch.setattr(exports, "predict_elsewhere", lambda *_: {})
    monkeypatch.setattr(exports, "compare", lambda *_: 0.0)


@pytest.mark.usefixtures("trusting")
def test_a_version_is_never_given_twice(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    (folder / "4").mkdir(parents=True)
    (folder / ".unfinished-killed").mkdir()
    assert export(tmp_path) == folder / "5"
    (folder / "5").rename(folder / "elsewhere")
    assert export(tmp_path) == folder / "6"
    assert sorted(path.name for path in folder.glob("[!.]*")) == ["4", "6", "elsewhere"]
    assert not [*folder.glob(".unfinished-*")]


@pytest.mark.usefixtures("trusting")
def test_a_version_is_on_the_disk_before_it_has_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power cut, too, a version that is there is whole."""
    synced, checked, replace = set(), [], os.replace
    monkeypatch.setattr(os, "fsync", lambda file: synced.add(os.fstat(file).st_ino))

    def check(source: Path, target: Path) -> None:
        if source.is_dir():
            assert {path.stat().st_ino for path in (source, *source.rglob("*"))} <= synced
            checked.append(target)
        replace(source, target)

    monkeypatch.setattr(os, "replace", check)
    assert checked == [export(tmp_path)]


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5"])
def test_a_damaged_count_of_versions_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / exports.LAST_VERSION).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"\.last-version: got .*, expected the highest number"):
        exports.next_version(tmp_path)


def test_other_weights_are_noticed_and_leave_no_version(tmp_path: Path) -> None:
    def write_others(folder: Path) -> str:
        np.save(folder / "weights.npy", WEIGHTS + 1e-2)
        return "weights.npy"

    with pytest.raises(ExportError, match=r"predicts other share: .* differ, by .*nothing was exp"):
        export(tmp_path, write_others)
    assert not [*(tmp_path / "weights").glob("[!.]*")]
    assert not [*(tmp_path / "weights").glob(".unfinished-*")]


def test_decisions_may_differ_in_few_places_and_numbers_in_none() -> None:
    share = np.linspace(0, 1, 200)
    moved = np.where(np.arange(200) == 7, 0.9, share)
    with pytest.raises(ExportError, match=r"predicts other share: 0.5%"):
        compare({"share": moved}, {"share": share})
    chosen = np.arange(200) % 3
    # An order that a rounding changed moves numbers, too.
    found = compare({"share": moved, "chosen": chosen}, {"share": share, "chosen": chosen})
    assert found == 0
    with pytest.raises(ExportError, match=r"predicts other chosen: 100.0%"):
        compare({"share": share, "chosen": chosen + 1}, {"share": share, "chosen": chosen})


def scored_places() -> dict[str, np.ndarray]:
    """Lists of 20 places for each of 6 examples, some scores equal but for a rounding."""
    random = np.random.default_rng(0)
    scores = -np.sort(-random.random((6, 20)).astype(np.float32).round(1), axis=1)
    scores[:, ::7] = 0  # Others cover them.
    kinds = random.integers(0, 3, (6, 20))
    return {
        "places": random.random((6, 20, 4)).astype(np.float32),
        "scores": scores,
        "kinds": kinds,
    }


def test_entries_of_a_list_may_change_places_where_they_are_as_good() -> None:
    expected = scored_places()
    orders = [np.argsort(-scores - 1e-6 * np.arange(20)) for scores in expected["scores"]]
    assert all((order != np.arange(20)).sum() > 4 for order in orders)
    found = {
        name: np.stack([array[i][order] for i, order in enumerate(orders)])
        for name, array in expected.items()
    }
    assert compare(found, expected) == 0
    # One is left out, and all below it move up.
    found = {name: np.concatenate([a[:, 1:], a[:, :1]], axis=1) for name, a in expected.items()}
    found["places"][0, -1] += 1
    assert compare(found, expected) == 0
    with pytest.raises(ExportError, match=r"predicts other"):  # The worst ones first.
        compare({name: array[:, ::-1] for name, array in expected.items()}, expected)
    with pytest.raises(ExportError, match=r"predicts other places"):
        compare({**expected, "places": expected["places"][:, ::-1]}, expected)
    with pytest.raises(ExportError, match=r"predicts other kinds"):
        compare({**expected, "kinds": (expected["kinds"] + 1) % 3}, expected)


def test_shares_are_no_list() -> None:
    """Those of labels may fall by chance; in another order they are other ones."""
    expected = {"shares": np.tile([0.9, 0.2], (3, 1)), "chosen": np.tile([True, False], (3, 1))}
    with pytest.raises(ExportError, match="predicts other shares"):
        compare({name: array[:, ::-1] for name, array in expected.items()}, expected)


def test_names_and_numbers_are_compared() -> None:
    expected = {"share": np.array([0.5, 0.1]), "name": np.array([b"a", b"b"], object)}
    found = {"share": np.array([0.5, 0.1 + 1e-7]), "name": np.array([b"a", b"b"])}
    assert 0 < compare(found, expected) <= 1e-6
    for name, other in (("name", [b"a", b"c"]), ("share", [0.5, 0.2]), ("share", [0.5, np.nan])):
        with pytest.raises(ExportError, match=f"predicts other {name}"):
            compare({**found, name: np.array(other)}, expected)
    with pytest.raises(ExportError, match="gives share, expected name, share"):
        compare({"share": found["share"]}, expected)
    with pytest.raises(ExportError, match=r"share of shape \(1,\), expected \(2,\)"):
        compare({**found, "share": np.zeros(1)}, expected)


def test_a_difference_is_a_share_of_what_is_usual() -> None:
    """The prediction of a large number that happens to be near 0 has the rounding of the others."""
    expected = np.array([1e6, -1e6, 1e-3])
    size = elsewhere.usual_size(expected)
    assert elsewhere.differences(expected + 0.1, expected, size).max() < 1e-6
    assert elsewhere.differences(expected / 1e9 + 1e-4, expected / 1e9, size / 1e9).max() > 0.1


def test_nothing_of_the_project_is_there_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(exports.__file__).parent.parent))
    (tmp_path / "weights.npy").touch()
    with pytest.raises(ExportError, match="No module named 'machinery'"):
        predict_elsewhere("import machinery", tmp_path / "weights.npy", EXAMPLES.inputs)


def test_a_missing_package_is_named_with_what_to_type() -> None:
    exports.check_format("onnx", Format("", "", ("numpy",)))
    with pytest.raises(InputError) as caught:
        exports.check_format("onnx", Format("", "", ("numpy", "no_such_a", "no_such_b")))
    with pytest.raises(InputError, match=r"-r requirements/phone\.txt$"):
        exports.check_format("pte", Format("", "", ("no_such",), requirements="phone.txt"))
    assert str(caught.value) == (
        "--format onnx: needs no_such_a and no_such_b. Install what is missing: "
        "python -m pip install -c constraints.txt -r requirements/export.txt"
    )


def test_a_format_that_is_not_to_be_had_says_why() -> None:
    with pytest.raises(InputError, match=r"--format litert: Only TensorFlow writes it\."):
        exports.check_format("litert", Format("", "", refusal="Only TensorFlow writes it."))


class ShareAbove:
    """An Evaluation: the share of the points whose answer has the sign of its target."""

    def __init__(self, dataset: Any) -> None:
        del dataset
        self.right: list[bool] = []

    def add(self, predictions: Any, targets: Any, losses: np.ndarray) -> None:
        assert len(losses) == len(predictions["share"])
        self.right += [*((predictions["share"] > 0) == targets["above"])]

    def metrics(self) -> dict[str, float]:
        return {"loss": 0.0, "right": float(np.mean(self.right))}


class Points:
    """What quantised.py reads of a dataset: 700 points to train on, 7 to test."""

    examples: ClassVar = {"train": 700, "test": 7}
    positions = 1


def quantising(margin: float | None = None, objective: Objective = RIGHT) -> Quantising:
    def take(split: str, rows: np.ndarray) -> tuple[Any, Any]:
        points = POINTS[rows % 7]
        return {"points": points}, {"above": points @ WEIGHTS > 0}

    groups = np.arange(7) // 2
    return Quantising("static", margin, Points(), take, ShareAbove, objective, groups)


def test_a_version_in_eight_bits_says_what_it_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    form, plan = Format("NumPy", LOAD, int8=True), quantising()
    version = exports.write_version(tmp_path, FACTS, form, EXAMPLES, write, plan)
    assert np.load(version / "weights.npy").dtype == np.int8
    about = json.loads((version / "export.json").read_text("utf-8"))
    found = about["int8"]
    assert about["test_metrics"] == found["int8"]["metrics"] == {"right": 1.0}
    assert found["calibration_examples"] == 256
    assert found["examples_together"] == 7
    assert found["margin"] == 0.01
    assert about["test_intervals"] == {}  # All are right, and so is every resample.
    kept = intervals.read_examples(version / intervals.FILE)
    assert kept["predictions.share"] == pytest.approx(POINTS @ WEIGHTS.astype(np.int8))
    assert kept["groups"].tolist() == [0, 0, 1, 1, 2, 2, 3]
    assert about["test_groups"] == 4
    assert found["int8"]["bytes"] < found["float"]["bytes"]
    assert min(found["int8"]["seconds_one"], found["int8"]["seconds_together"]) > 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].startswith("Int8 is static, calibrated on 256 examples of train; times")
    assert [line.split()[:2] for line in printed[3:]] == [["float", "1.0000"], ["int8", "1.0000"]]
    card = (version / "MODEL_CARD.md").read_text("utf-8")
    assert "\n|  | right | kB | ms, 1 example | ms, 7 examples |\n" in card


def test_calibration_takes_every_so_many_th_example() -> None:
    inputs = [*quantising().calibration.one_by_one()]
    assert len(inputs) == 256
    rows = np.arange(256) * 700 // 256
    assert (np.concatenate([each["points"] for each in inputs]) == POINTS[rows % 7]).all()


def test_a_version_that_loses_more_than_the_margin_is_no_version(tmp_path: Path) -> None:
    def write_worse(folder: Path, calibration: Any = None) -> str:
        np.save(folder / "weights.npy", WEIGHTS if calibration is None else -WEIGHTS)
        return "weights.npy"

    form = Format("NumPy", LOAD, int8=True)
    with pytest.raises(ExportError, match=r"right on 7 .* 1 in float and 0 in int8: .*--int8 dyn"):
        exports.write_version(tmp_path, FACTS, form, EXAMPLES, write_worse, quantising())
    assert not [*(tmp_path / "weights").glob("[!.]*")]
    exports.write_version(tmp_path, FACTS, form, EXAMPLES, write_worse, quantising(margin=1))


@pytest.mark.parametrize(
    ("before", "after", "maximize", "refused"),
    [
        *[(0.95, 0.945, True, False), (0.95, 0.93, True, True), (0.95, np.nan, True, True)],
        *[(200.0, 201.0, False, False), (200.0, 203.0, False, True), (200.0, 150.0, False, False)],
        *[(np.nan, np.nan, True, True), (0.5, None, True, True)],
    ],
)
def test_what_int8_may_cost(before: float, after: Any, maximize: bool, refused: bool) -> None:
    """A point of a share, a hundredth of any other metric."""
    plan = quantising(objective=Objective("val_right", maximize))
    found = {} if after is None else {"right": after}
    about = {"mode": "static", "float": {"metrics": {"right": before}}, "int8": {"metrics": found}}
    with pytest.raises(ExportError) if refused else contextlib.nullcontext():
        plan.refuse_worse(about)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"int8": None, "margin": 0.1}, "--margin: says what --int8 may cost"),
        ({"int8": "static", "margin": -1.0}, "--margin: got -1, expected 0 or more"),
        ({"int8": "static", "margin": np.nan}, "--margin: got nan"),
        ({"format": "b", "int8": "static"}, "--int8: --format b has no eight bits. Choose --forma"),
    ],
)
def test_options_of_int8_that_cannot_be_are_refused(words: Any, message: str) -> None:
    formats = {"a": Format("", "", int8=True), "b": Format("", "")}
    arguments = argparse.Namespace(**{"format": "a", "margin": None, **words})
    with pytest.raises(InputError, match=message):
        exports.check_int8(arguments, formats)
