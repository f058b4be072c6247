"""promote.py: which version serves, what is refused, and the history that only grows."""

import json
import os
import re
import threading
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from filelock import FileLock

from machinery import intervals
from machinery.errors import InputError
from machinery.metrics import Objective
from machinery.server import in_service, models_config, promotion
from machinery.server.in_service import FILE, Decisions, read_registry, version_to_serve
from small_service import digest, write_version

OBJECTIVE = Objective("val_accuracy", maximize=True)


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    """Three versions, the last of which is worse on test."""
    for number, test in enumerate((0.90, 0.95, 0.80), 1):
        write_version(tmp_path, number, test)
    return tmp_path


def measure(examples: intervals.Examples) -> dict[str, float]:
    """Return the accuracy of labels, and 1 less that as the loss."""
    right = float((examples["predictions.labels"] == examples["targets.labels"]).mean())
    return {"accuracy": right, "loss": 1 - right}


def keep_examples(
    exports: Path, number: int, wrong: slice, targets: int = 1, groups: np.ndarray | None = None
) -> None:
    """Write what a version predicted of 400 examples, some of them wrongly."""
    predicted = np.ones(400, np.int64)
    predicted[wrong] = 0
    kept = {"targets.labels": np.full(400, targets), "losses": np.zeros(400)}
    path = exports / str(number) / intervals.FILE
    kept = intervals.with_groups({"predictions.labels": predicted, **kept}, groups)
    intervals.write_examples(path, kept)


def decide(exports: Path, *words: str, objective: Objective = OBJECTIVE) -> None:
    """Do what a command line of promote.py says."""
    with mock.patch("sys.argv", ["promote.py", *words, "--exports", str(exports)]):
        command = promotion.command_line("__main__", "")
    assert command.arguments is not None
    judge = promotion.Judge(objective, measure)
    promotion.decide(command.arguments, lambda _: judge)


def test_tensorflow_serving_is_told(exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = exports / models_config.FILE
    decide(exports, "accept", "1")
    assert not path.exists()  # Nobody asked for it.
    in_service.serve_with_tensorflow(exports)
    assert "specific { versions: 1 }" in path.read_text("utf-8")
    monkeypatch.setattr(in_service, "write_atomically", mock.Mock(side_effect=KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        decide(exports, "accept", "2")
    monkeypatch.undo()
    assert version_to_serve(exports) == 1
    decide(exports, "accept", "2")  # Again, after the kill between the two files.
    assert "specific { versions: 2 }" in path.read_text("utf-8")
    decide(exports, "rollback")
    assert "specific { versions: 1 }" in path.read_text("utf-8")


def test_tensorflow_serving_serves_the_newest_at_first(exports: Path) -> None:
    in_service.serve_with_tensorflow(exports)
    text = (exports / models_config.FILE).read_text("utf-8")
    assert "latest { num_versions: 1 }" in text
    assert 'base_path: "/models/model"' in text


def test_the_newest_accepted_version_serves(exports: Path) -> None:
    assert version_to_serve(exports) == 3  # Nothing was decided, so it is the newest.
    decide(exports, "accept", "1")
    assert version_to_serve(exports) == 1
    decide(exports, "accept", "2")
    assert version_to_serve(exports) == 2
    decide(exports, "rollback")
    assert version_to_serve(exports) == 1
    decide(exports, "pin", "3")
    assert version_to_serve(exports) == 3
    decide(exports, "accept", "2")
    assert version_to_serve(exports) == 3
    with pytest.raises(InputError, match="version 3 is pinned"):
        decide(exports, "rollback")
    decide(exports, "unpin")
    assert version_to_serve(exports) == 2
    decide(exports, "rollback")
    assert version_to_serve(exports) == 1
    with pytest.raises(InputError, match="nothing to go back to"):
        decide(exports, "rollback")
    registry = read_registry(exports)
    actions = [(each.action, each.version, each.serves) for each in registry.history]
    assert actions == [
        *(("accept", 1, 1), ("accept", 2, 2), ("rollback", 2, 1), ("pin", 3, 3)),
        *(("accept", 2, 3), ("unpin", 3, 2), ("rollback", 2, 1)),
    ]
    assert registry.since == registry.history[-1].at
    assert "version 1 0.9, " in registry.history[0].why
    assert "version 3 in service 0.8. " in registry.history[0].why


def test_a_worse_version_is_refused(exports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decide(exports, "accept", "2")
    before = (exports / FILE).read_bytes()
    with pytest.raises(InputError) as error:
        decide(exports, "accept", "3")
    for words in ("version 3 0.8, ", "worse by 0.15; there is no interval", "--margin 0.01"):
        assert words in str(error.value)
    assert (exports / FILE).read_bytes() == before
    decide(exports, "accept", "1", "--margin", "0.06")
    assert "worse by 0.05" in capsys.readouterr().out
    decide(exports, "accept", "3", "--anyway")
    assert version_to_serve(exports) == 3
    assert read_registry(exports).history[-1].why == "with --anyway"


def test_a_refusal_says_what_chance_could_do(exports: Path) -> None:
    """Examples are drawn in pairs: where both are wrong, nothing changes the difference."""
    keep_examples(exports, 2, slice(0, 20))
    keep_examples(exports, 3, slice(0, 80))
    decide(exports, "accept", "2")
    with pytest.raises(InputError) as error:
        decide(exports, "accept", "3")
    found = re.search(r"worse by 0\.15 \((0\.\d+) to (0\.\d+)\)", str(error.value))
    assert found
    spread = 1.96 * (0.15 * 0.85 / 400) ** 0.5
    assert [float(each) for each in found.groups()] == pytest.approx(
        [0.15 - spread, 0.15 + spread], abs=0.005
    )
    decide(exports, "accept", "1", "--margin", "0.06")
    keep_examples(exports, 1, slice(0, 40))
    decide(exports, "accept", "2", "--margin", "1")
    assert "better by 0.05 (0.0" in read_registry(exports).history[-1].why
    keep_examples(exports, 3, slice(0, 80), targets=2)  # Of other examples.
    with pytest.raises(InputError, match=r"worse by 0\.15; there is no interval"):
        decide(exports, "accept", "3")


def test_a_refusal_says_what_chance_could_do_to_groups(exports: Path) -> None:
    """Of 20 groups, three are wrong in one version alone."""
    groups = np.arange(400) // 20
    for number, wrong in ((2, slice(0, 20)), (3, slice(0, 80))):
        keep_examples(exports, number, wrong, groups=groups)
    change_facts(exports, 3, test_groups=20)
    decide(exports, "accept", "2")
    with pytest.raises(InputError, match="bootstrap, which draws 20 groups whole: ") as error:
        decide(exports, "accept", "3")
    found = re.search(r"worse by 0\.15 \((-?0.*) to (0\.\d+)\)", str(error.value))
    assert found
    assert [float(each) for each in found.groups()] == pytest.approx([0, 0.3], abs=0.05)


def test_few_groups_have_no_interval(exports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a version of before says of its interval is not repeated."""
    for number, groups in ((2, 5), (3, 1)):
        keep_examples(exports, number, slice(0, 80), groups=np.arange(400) % groups)
        change_facts(exports, number, test_groups=groups, test_intervals={"accuracy": [0.1, 0.2]})
    decide(exports, "accept", "3")
    why = "; there is no interval: all examples of test are of one group"
    assert f"the first one; accuracy on test 0.8{why}" in capsys.readouterr().out
    decide(exports, "accept", "2")
    why = "; there is no interval: the examples of test are of 5 groups, and over fewer than 20"
    assert f"version 3 in service 0.8. It is better by 0.15{why}" in capsys.readouterr().out


def change_facts(exports: Path, number: int, **changes: Any) -> None:
    """Change what export.json of a version says."""
    path = exports / str(number) / "export.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_versions_are_accepted_without_what_was_evaluated(exports: Path) -> None:
    """A registry of models may hold back the examples, though export.json names them."""
    for number in (1, 2):
        model = (exports / str(number) / "model.onnx").read_bytes()
        sha256 = {"model.onnx": digest(model), intervals.FILE: "0" * 64}
        change_facts(exports, number, sha256=sha256)
    decide(exports, "accept", "1")
    decide(exports, "accept", "2")
    decide(exports, "rollback")
    assert version_to_serve(exports) == 1
    assert "better by 0.05; there is no interval" in read_registry(exports).history[1].why


def test_a_metric_of_which_less_is_better(exports: Path) -> None:
    loss = Objective("val_loss", maximize=False)
    decide(exports, "accept", "1", objective=loss)
    decide(exports, "accept", "2", objective=loss)
    with pytest.raises(InputError, match=r"loss on 400 examples.*version 3 0\.2,.*worse by 0\.15"):
        decide(exports, "accept", "3", objective=loss)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"test": None}, "says nothing of accuracy on the test split"),
        ({"test": float("nan")}, "says nothing of accuracy on the test split"),
        ({"fingerprint": "other"}, r"on other data \(other\) than version 2 \(abc\)"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    changes: dict[str, Any], expected: str, exports: Path
) -> None:
    decide(exports, "accept", "2")
    write_version(exports, 4, **changes)
    with pytest.raises(InputError, match=expected):
        decide(exports, "accept", "4")
    assert version_to_serve(exports) == 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["accept", "7"], r"7: no such version\. There are: 1, 2, 3"),
        (["pin", "7"], r"7: no such version\. There are: 1, 2, 3"),
        (["unpin"], "no version is pinned"),
        (["rollback"], "nothing to go back to"),
    ],
)
def test_bad_decisions_change_nothing(words: list[str], expected: str, exports: Path) -> None:
    with pytest.raises(InputError, match=expected):
        decide(exports, *words)
    assert not (exports / FILE).exists()


@pytest.mark.parametrize("words", [["accept"], ["rollback", "3"], ["go"], ["pin", "x"], []])
def test_bad_command_lines(words: list[str], exports: Path) -> None:
    with pytest.raises(SystemExit) as error:
        decide(exports, *words)
    assert error.value.code == 2


def test_no_version(tmp_path: Path) -> None:
    for words in (["status"], ["accept", "1"]):
        with pytest.raises(InputError, match=r"holds no version\. Write one: python export\.py"):
            decide(tmp_path / "onnx", *words)
    assert not (tmp_path / "onnx").exists()


def test_a_damaged_registry_is_named(exports: Path) -> None:
    for text in ("{", '{"in_service": "x"}', '{"history": [{"action": "go"}]}'):
        (exports / FILE).write_text(text)
        with pytest.raises(InputError, match=r"in-service\.json: damaged"):
            decide(exports, "accept", "1")
        assert (exports / FILE).read_text() == text


def test_status(exports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    decide(exports, "status")
    assert "Version 3 serves as the newest; none is accepted." in capsys.readouterr().out
    decide(exports, "accept", "2")
    decide(exports, "pin", "1")
    capsys.readouterr()
    decide(exports, "status")
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.startswith("Version 1 serves since 20")
    assert first.endswith(", pinned.")
    assert lines[1] == "  2: experiments/a, step 2, accepted; test: loss 0.05, accuracy 0.95"
    assert lines[-1].endswith("pin 1")


def test_status_with_a_damaged_version(exports: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (exports / "1" / "export.json").write_text("{")
    decide(exports, "status")
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("  1: damaged. ")
    assert lines[1].endswith("Export the experiment again.")
    assert lines[2].startswith("  2: ")
    assert "test: " in lines[2]


def test_exactly_the_margin_is_accepted(exports: Path) -> None:
    """Though 0.95 - 0.94 is above 0.01 for a computer."""
    write_version(exports, 4, 0.94)
    decide(exports, "accept", "2")
    decide(exports, "accept", "4")
    assert version_to_serve(exports) == 4


def test_the_first_accepted_version_is_compared_with_the_newest(exports: Path) -> None:
    write_version(exports, 4, 0.99)
    with pytest.raises(InputError, match="version 2 is refused"):
        decide(exports, "accept", "2")


def test_no_damaged_version_is_accepted(exports: Path) -> None:
    (exports / "3" / "model.onnx").write_bytes(b"x")
    for words in (("accept", "3"), ("pin", "3")):
        with pytest.raises(InputError, match="is not as it was written"):
            decide(exports, *words)
    assert not (exports / "in-service.json").exists()


def test_no_decision_waits_for_an_export(exports: Path) -> None:
    with FileLock(exports / ".lock"):
        decide(exports, "pin", "2")
    assert version_to_serve(exports) == 2


def test_decisions_wait_for_one_another(exports: Path) -> None:
    def pin(number: int) -> None:
        for _ in range(5):
            with Decisions(exports) as decisions:
                decisions.pin(number)

    threads = [threading.Thread(target=pin, args=(number,)) for number in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    registry = read_registry(exports)
    assert len(registry.history) == 15
    assert registry.in_service == registry.history[-1].version


def test_an_account_without_a_name(exports: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise OSError("no such user")

    monkeypatch.setattr(in_service.getpass, "getuser", fail)
    decide(exports, "pin", "1")
    assert read_registry(exports).history[0].by == "unknown"
    assert os.listdir(exports).count(FILE) == 1
