"""An evening with a competition, word for word as KAGGLE.md has it, up to its scores."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from combinations import Combination, combinations
from competitions import COMPETITIONS
from kaggle_server import KaggleServer, Outcome, running_server, zip_of
from kaggle_wheels import write_wheels

Rendered = Callable[[Combination], Path]
in_competition = {each.task: each for each in combinations if each.kaggle}


@pytest.fixture
def server() -> Iterator[KaggleServer]:
    with running_server() as server:
        yield server


def make_project(name: str, rendered: Rendered, folder: Path) -> Path:
    """Return a new project that takes part in one of the competitions."""
    project = rendered(in_competition[COMPETITIONS[name].task])
    return shutil.copytree(project, folder / "project")


def serve(name: str, server: KaggleServer, folder: Path) -> None:
    """Let the server offer the files of a competition."""
    COMPETITIONS[name].write(folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    server.archive = zip_of(
        {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
    )


def commands(project: Path, section: str) -> list[str]:
    """Return the commands of a section of KAGGLE.md."""
    text = (project / "KAGGLE.md").read_text(encoding="utf-8")
    _, _, rest = text.partition(f"## {section}\n")
    found = re.findall(r"^    ((?:python|git) .*)", rest.partition("\n## ")[0], re.MULTILINE)
    assert found
    return found


def run(project: Path, command: str, home: Mapping[str, str] | None = None, code: int = 0) -> str:
    """Return what a command prints that a person types in a project."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    result = subprocess.run(
        command,
        shell=True,
        cwd=project,
        env={**os.environ, "PYTHONUTF8": "1", "PATH": path, **(home or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == code, result.stdout
    return result.stdout


# What takes a minute where the page's own words take ten, of the same commands: less certain.
SHORTER = {
    "compete.py folds": "--count 2",
    "train.py --experiment": "--training.epochs 4",
    "pseudo-label": "--least 0.7",
}


def spend_the_evening(
    project: Path, home: Mapping[str, str], sections: Sequence[str], more: Mapping[str, str]
) -> None:
    """Give each command of some sections of the page, and options that some commands get beside."""
    for section in sections:
        for command in commands(project, section):
            if command.startswith("git"):
                author = "-c user.name=a -c user.email=a@b"
                command = "git init -q && " + command.replace("git commit", f"git {author} commit")
            options = [more[words] for words in more if words in command]
            printed = run(project, " ".join([command, *options]), home)
            if command.endswith("simulate"):
                assert "would score" in printed


@pytest.mark.parametrize(
    ("sections", "more", "public_scores"),
    [
        # With fewer folds and epochs. A code competition: test_kaggle_code.py.
        pytest.param(("The evening", "A better score"), SHORTER, ["0.91", "0.93"], id="shorter"),
        pytest.param(
            ("The evening", "A better score", "A code competition"),
            {},
            ["0.91", "0.93", "0.92"],
            marks=pytest.mark.deep,
            id="word for word",
        ),
    ],
)
def test_the_whole_evening(
    sections: Sequence[str],
    more: Mapping[str, str],
    public_scores: list[str],
    rendered: Rendered,
    server: KaggleServer,
    tmp_path: Path,
) -> None:
    """Of two classes: each command of the page, and what they leave behind."""
    project = make_project("binary", rendered, tmp_path)
    serve("binary", server, tmp_path / "offered")
    server.outcomes = [Outcome(public_score=score) for score in public_scores]
    home = server.environment(tmp_path) | write_wheels(project, tmp_path / "index")
    spend_the_evening(project, home, sections, more)

    ledger = pd.read_csv(project / "competition/scores.csv")
    assert [*ledger["public_score"]] == [*map(float, public_scores)]
    assert {name.split()[0] for name in ledger["metric"]} == {"AUC"}
    first = project / "experiments/first"
    scored = json.loads((first / "score.json").read_text())
    known = pd.read_csv(first / "out_of_fold.csv").set_index("id")
    train = pd.read_csv(project / "data/raw/train.csv").set_index("person_id")
    assert known.index.is_unique
    assert {*known.index} == {*train.index}
    # Again from the files alone, and what evaluate.py says of the same rows.
    truth = train.loc[known.index, "stayed"]
    assert scored["score"] == pytest.approx(roc_auc_score(truth, known["stayed"]), abs=1e-12)
    assert scored["score"] > 0.8
    run(project, "python evaluate.py --experiment experiments/first/fold-1")
    tested = json.loads((first / "fold-1/metrics_test.json").read_text())
    assert scored["fold_scores"][1] == pytest.approx(tested["auc"], abs=1e-6)
    sent = pd.read_csv(project / "submissions/first.csv")
    sample = pd.read_csv(project / "data/raw/sample_submission.csv")
    assert [*sent] == [*sample]
    assert [*sent["person_id"]] == [*sample["person_id"]]
    run(project, "python compete.py predict --experiment experiments/first", code=2)  # Again.


@pytest.mark.deep
@pytest.mark.parametrize("name", [name for name in COMPETITIONS if name != "binary"])
def test_an_evening_of_each_kind(
    name: str, rendered: Rendered, server: KaggleServer, tmp_path: Path
) -> None:
    """With no edit, from the files to a recorded score."""
    project = make_project(name, rendered, tmp_path)
    serve(name, server, tmp_path / "offered")
    for command in commands(project, "The evening"):
        run(project, command, server.environment(tmp_path))
    ledger = pd.read_csv(project / "competition/scores.csv")
    assert [*ledger["status"]] == ["complete"]
    assert ledger["cv"].notna().all()


# In one process, for each kind: the schema, the truth, predictions.
SCORE = """
import importlib, json, pathlib, sys
import pandas as pd
found, metric = [], None
for schema, *both in json.loads(sys.argv[1]):
    pathlib.Path("competition/schema.yaml").write_text(json.dumps(schema))
    import competition.metric as metric
    metric = importlib.reload(metric)
    frames = []
    for values in both:
        frame = pd.DataFrame(values, columns=[f"c{n}" for n in range(len(values[0]))])
        frame.insert(0, "id", range(len(values)))
        frames.append(frame)
    found.append([metric.score(*frames, "id"), metric.greater_is_better])
print(json.dumps(found))
"""


def test_the_metric_that_ships_needs_no_edit(rendered: Rendered, tmp_path: Path) -> None:
    """Of each kind the score is known."""
    project = make_project("binary", rendered, tmp_path)
    cases = [
        ("regression", "values", [[1.0], [3.0]], [[1.0], [5.0]], 2**0.5, False),
        ("binary", "probabilities", [[0], [1], [1]], [[0.2], [0.1], [0.9]], 0.5, True),
        ("multiclass", "probabilities", [[1, 0], [0, 1]], [[3, 1], [1, 1]], 0.4904146, False),
        ("multiclass", "labels", [["a"], ["b"]], [["a"], ["a"]], 0.5, True),
        ("binary", "labels", [[True], [False]], [[True], [False]], 1, True),
        ("multilabel", "probabilities", [[0, 1], [1, 0]], [[0.1, 0.2], [0.9, 0.8]], 0.5, True),
    ]
    base = COMPETITIONS["binary"].schema
    given = [
        ({**base, "kind": kind, "answer": answer}, truth, predicted)
        for kind, answer, truth, predicted, *_ in cases
    ]
    found = json.loads(run(project, shlex.join(["python", "-c", SCORE, json.dumps(given)])))
    for (score, greater), (*_, expected, expected_direction) in zip(found, cases, strict=True):
        assert score == pytest.approx(expected, abs=1e-6)
        assert greater is expected_direction
