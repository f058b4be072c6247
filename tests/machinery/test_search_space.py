"""What is tried: conditions, grids, several seeds and objectives, every sampler and pruner."""

import dataclasses
import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from build_dataset import Dataset
from helpers import EPOCHS, new_study, new_worker, states, words, write_settings
from machinery import search, search_pictures, search_settings
from machinery.errors import DivergedError, InputError
from machinery.metrics import read_metrics
from machinery.run import Run
from machinery.search_space import Dimension, Space
from machinery.search_study import Study
from parameters import Parameters

CONDITIONAL = """
  model.scale: {low: 1.0, high: 2.0, when: {model.kind: sine, model.width: [4, 8]}}
  model.kind: {choices: [cosine, sine]}
  model.width: {choices: [4, 8, 16]}
"""
GRID = """
  training.momentum: {low: 0, high: 0.3, step: 0.1, when: {model.kind: sine}}
  model.kind: {choices: [cosine, sine, sine]}
  model.width: {low: 4, high: 6, when: {training.momentum: [0.3, 0.5]}}
"""


def pretend(rows: Callable[[Run], list[dict[str, float]]]) -> Callable[[Run], None]:
    """Return a function that trains nothing and reports some metrics."""

    def train(run: Run) -> None:
        lines = ""
        for row in rows(run):
            lines += json.dumps(row) + "\n"
            (run.folder / "metrics.jsonl").write_text(lines)
            assert run.on_epoch
            run.on_epoch(row)

    return train


def rising(run: Run) -> list[dict[str, float]]:
    """Return metrics that are a function of the parameters: the wider the better."""
    value = run.parameters.model.width / 100
    return [
        {"epoch": epoch, "val_accuracy": value * epoch, "val_loss": 1 / epoch}
        for epoch in range(1, EPOCHS + 1)
    ]


# --- conditions


@st.composite
def spaces(draw: st.DrawFn) -> dict[str, Dimension]:
    """Draw dimensions, each of which may depend on those before it."""
    dimensions: dict[str, Dimension] = {}
    for name in draw(st.lists(st.sampled_from("abcde"), unique=True, min_size=1)):
        when = {}
        for other in draw(st.lists(st.sampled_from(sorted(dimensions)), unique=True, max_size=2))\
                if dimensions else ():  # fmt: skip
            known = dimensions[other].choices or []
            when[other] = draw(st.lists(st.sampled_from(known), min_size=1, unique=True))
        choices = draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
        dimensions[name] = Dimension.model_validate({"choices": choices, "when": when})
    return dict(draw(st.permutations([*dimensions.items()])))


@given(dimensions=spaces())
def test_a_grid_holds_every_point_once_and_nothing_else(dimensions: dict[str, Dimension]) -> None:
    base = dict.fromkeys("abcde", 7)  # No choice, so what is not searched meets no condition.
    space = Space(dimensions, base)
    grid = [tuple(sorted(point.items())) for point in space.grid()]
    assert len({*grid}) == len(grid) <= space.grid_size()
    expected = set()
    for values in itertools.product(*(each.choices or [] for each in dimensions.values())):
        whole = dict(zip(dimensions, values, strict=True))
        point: dict[str, Any] = {}
        while True:  # Until nothing is added, without any order.
            added = {
                name: whole[name]
                for name, each in dimensions.items()
                if all(point.get(other, 7) in wanted for other, wanted in each.when.items())
            }
            if added == point:
                break
            point = added
        expected.add(tuple(sorted(point.items())))
    assert {*grid} == expected
    for name in dimensions:
        for beside in space.where_searched(name):
            assert {*beside} <= {*dimensions}


def test_a_conditional_parameter_is_searched_where_its_condition_holds(
    folder: Path, dataset: Dataset
) -> None:
    write_settings(folder, CONDITIONAL, trials=30)
    study = new_study(folder, dataset)
    scales = {}
    worker = new_worker(study, pretend(rising))
    train = worker.train

    def see(run: Run) -> None:
        scales[run.folder.name] = run.parameters.model.scale
        train(run)

    worker.train = see
    worker.work()
    for trial in study.optuna.trials:
        searched = trial.params["model.kind"] == "sine" and trial.params["model.width"] < 16
        assert ("model.scale" in trial.params) == searched
        scale = trial.params.get("model.scale", 1.0)  # Else that of the base.
        assert scales[f"trial_{trial.number:04}"] == scale
    assert len({"model.scale" in trial.params for trial in study.optuna.trials}) == 2


def test_a_value_may_fit_the_data_only_where_it_is_searched(folder: Path, dataset: Dataset) -> None:
    class Together(Parameters):
        def check_data(self, dataset: Any) -> None:
            if self.model.scale > 1 and self.model.kind != "sine":
                raise InputError("scale is of sine")

    write_settings(folder, CONDITIONAL)
    here = new_study(folder, dataset).search
    here = dataclasses.replace(here, base=Together.model_validate(here.base.model_dump()))
    search_settings.check_data(here)
    write_settings(folder, CONDITIONAL.replace("sine, model.width: [4, 8]", "cosine"))
    settings, _ = search_settings.load_settings(folder / "search.yaml", Parameters)
    there = dataclasses.replace(here, settings=settings)
    with pytest.raises(InputError, match=r"model\.scale: high: got 2\.0: scale is of sine"):
        search_settings.check_data(there)


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ("{model.kind: other}", "got 'other', expected a value that is tried of model.kind"),
        ("{model.knd: sine}", r"expected a parameter that is searched, too \(did you mean"),
        ("{training.momentum: 0.1}", "expected a parameter with choices, a step or whole numbers"),
        ("{model.width: 4}", r"expected no circle of conditions \(.* <- .* <- "),
    ],
)
def test_conditions_that_never_hold_are_refused(folder: Path, space: str, expected: str) -> None:
    text = (
        f"\n  model.scale: {{low: 1, high: 2, when: {space}}}\n  model.kind: {{choices: [sine]}}\n"
        "  training.momentum: {low: 0, high: 0.5}\n"
        "  model.width: {low: 4, high: 8, when: {model.scale: 1}}\n"
    )
    if "width" not in space:
        text = text.replace(", when: {model.scale: 1}", "")
    else:
        text = text.replace("low: 1, high: 2", "choices: [1.0]")
    write_settings(folder, text)
    with pytest.raises(InputError, match=expected):
        search_settings.load_settings(folder / "search.yaml", Parameters)


# --- grids


def test_a_grid_is_trained_point_by_point_and_ends(
    folder: Path, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    write_settings(folder, GRID, "sampler: grid\npruner: none", trials=99)
    study = new_study(folder, dataset)
    assert study.search.trial_count == 9
    new_worker(study, pretend(rising)).work()
    points = [tuple(sorted(trial.params.items())) for trial in study.optuna.trials]
    assert len(points) == len({*points}) == 9
    momentum = {trial.params.get("training.momentum") for trial in study.optuna.trials}
    assert momentum == {None, 0.0, 0.1, 0.2, 0.3}
    search.run_search(study.search, pretend(rising), new_worker(study).stop, lambda: 1)
    assert "All 9 trials are done.\n" in capsys.readouterr().out


def test_a_point_of_a_grid_that_fails_is_not_trained_again(folder: Path, dataset: Dataset) -> None:
    write_settings(folder, GRID, "sampler: grid\npruner: none", trials=99)
    study = new_study(folder, dataset)

    def train(run: Run) -> None:
        if run.parameters.model.kind == "cosine":
            raise DivergedError("it diverged")
        pretend(rising)(run)

    new_worker(study, train).work()
    assert sorted(states(study)) == ["COMPLETE"] * 6 + ["FAIL"] * 3


def test_a_trial_of_a_grid_that_was_left_keeps_its_point(folder: Path, dataset: Dataset) -> None:
    write_settings(folder, GRID, "sampler: grid\npruner: none", trials=99)
    study = new_study(folder, dataset)
    left = study.optuna.ask()  # Killed while its values were chosen.
    left.suggest_categorical("model.kind", ["cosine", "sine", "sine"])
    new_worker(study, pretend(rising)).work()
    points = [tuple(sorted(trial.params.items())) for trial in study.optuna.trials]
    assert len(points) == len({*points}) == 9
    assert dict(points[0])["model.kind"] == left.params["model.kind"]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("{low: 0, high: 0.5}", "expected choices or a step, because of the grid"),
        ("{low: 0.1, high: 0.5, log: true}", "expected choices or a step, because of the grid"),
        ("{low: 0, high: 0.5, step: 0.00001}", "expected a grid of at most 100,000 points"),
    ],
)
def test_grids_without_an_end_are_refused(folder: Path, entry: str, expected: str) -> None:
    space = f"\n  training.momentum: {entry}\n  model.width: {{low: 1, high: 9}}\n"
    write_settings(folder, space, "sampler: grid")
    with pytest.raises(InputError, match=expected):
        search_settings.load_settings(folder / "search.yaml", Parameters)


# --- seeds


def test_the_mean_over_seeds_counts(
    folder: Path, dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    write_settings(folder, objective="maximize: val_accuracy\nseeds: 3\npruner: none", trials=2)

    def rows(run: Run) -> list[dict[str, float]]:
        length = 2 if run.parameters.seed == 1 else EPOCHS  # Patience ended it.
        value = 0.1 * run.parameters.seed
        return [{"epoch": e, "val_accuracy": value, "val_loss": 1.0} for e in range(1, length + 1)]

    study = new_study(folder, dataset)
    new_worker(study, pretend(rows)).work()
    trial = study.optuna.trials[0]
    assert trial.value == pytest.approx(0.1)
    assert trial.user_attrs["deviation"]["val_accuracy"] == pytest.approx(0.1)
    assert "val_accuracy 0.1000 ± 0.1000" in capsys.readouterr().out
    found = sorted(path.name for path in (folder / "trial_0000").glob("seed-*"))
    assert found == ["seed-0", "seed-1", "seed-2"]
    # After the same number of epochs, trials are compared by the same mean.
    steps = [EPOCHS * seed + epoch for seed, end in ((0, 8), (1, 2), (2, 8)) for epoch in
             range(1, end + 1)]  # fmt: skip
    assert sorted(trial.intermediate_values) == steps
    assert trial.intermediate_values[EPOCHS + 1] == pytest.approx(0.05)
    assert trial.intermediate_values[3 * EPOCHS] == pytest.approx(0.1)
    search.report(study)
    assert f"--experiment {folder}/trial_0000/seed-0" in capsys.readouterr().out


def test_a_trial_of_several_seeds_is_locked_between_them(
    folder: Path, data: Path, dataset: Dataset
) -> None:
    write_settings(folder, objective="seeds: 2", trials=1)
    study, other = new_study(folder, dataset, data), new_study(folder, dataset, data)
    seen = []

    def train(run: Run) -> None:
        with other.lock:
            seen.append(other.claim())
        pretend(rising)(run)

    new_worker(study, train).work()
    assert seen == [None, None]
    assert states(study) == ["COMPLETE"]


def test_a_search_that_began_with_other_seeds_is_refused(folder: Path, dataset: Dataset) -> None:
    new_study(folder, dataset)
    write_settings(folder, objective="maximize: val_accuracy\nseeds: 2")
    with pytest.raises(InputError, match=r"something else: seeds \(None -> 2\)"):
        new_study(folder, dataset)


# --- several objectives


def test_several_objectives_have_a_front(
    folder: Path, data: Path, dataset: Dataset, run: Callable[..., str]
) -> None:
    write_settings(
        folder, CONDITIONAL, "maximize: val_accuracy\nminimize: [val_loss, weights]", trials=6
    )
    printed = run(*words(folder, data, "--workers", "1"))
    assert "The Pareto front" in printed
    study = new_study(folder, dataset, data)
    trials = study.optuna.trials
    best = {trial.number for trial in study.front()}

    def beats(one: Any, other: Any) -> bool:
        signs = (-1, 1, 1)
        pairs = [(s * a, s * b) for s, a, b in zip(signs, one.values, other.values, strict=True)]
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    assert best == {t.number for t in trials if not any(beats(each, t) for each in trials)}
    for trial in trials:
        width = trial.params["model.width"]
        assert trial.values is not None
        assert trial.values[2] == width * dataset.classes
        rows = read_metrics(study.folder_of(trial))
        chosen = [row for row in rows if row["val_accuracy"] == trial.values[0]]
        assert trial.values[1] == min(row["val_loss"] for row in chosen)
    table = (folder / "trials.csv").read_text().splitlines()
    assert table[0].startswith("trial,state,pareto_front,val_accuracy,val_loss,weights,model")
    assert {row.split(",")[0] for row in table[1:] if row.split(",")[2] == "1"} == {
        f"trial_{number:04}" for number in best
    }
    for name in search_pictures.PICTURES:
        assert (folder / name).read_bytes()[1:4] == b"PNG", name


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("maximize: [val_accuracy, val_auc]\npruner: median", "none, because of several obj"),
        ("minimize: [val_loss, seconds]\nsampler: cmaes", "sampler: got 'cmaes'"),
        ("minimize: weights", "expected a column of metrics.jsonl beside weights"),
        ("minimize: [val_loss, val_loss]", "expected no column twice"),
        ("sampler: gird", "expected 'tpe', 'gp', 'botorch', 'cmaes', 'random' or 'grid'"),
        ("pruner: medain", "expected 'median', 'hyperband', 'successive_halving' or 'none'"),
        ("seeds: 0", "seeds: got '0', expected greater than or equal to 1"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    folder: Path, lines: str, expected: str
) -> None:
    write_settings(folder, objective=lines)
    with pytest.raises(InputError) as error:
        search_settings.load_settings(folder / "search.yaml", Parameters)
    assert expected in str(error.value)


def test_every_problem_is_in_one_message(folder: Path) -> None:
    text = (
        "from: nowhere\nsampler: gird\nseeds: none\nminimise: val_loss\nspace:\n"
        "  model.width: {low: 9, high: 4}\n  model.kind: {chioces: [sine]}\n"
    )
    (folder / "search.yaml").write_text(text)
    with pytest.raises(InputError) as error:
        search_settings.load_settings(folder / "search.yaml", Parameters)
    for line in (
        *(":1: from: got 'nowhere'", ":2: sampler: got 'gird'", ": trials: not found"),
        *(":3: seeds: got 'none'", ":4: minimise: unknown parameter (did you mean minimize?)"),
        *(":6: space.model.width: ", ":7: space.model.kind.chioces: unknown parameter"),
    ):
        assert line in str(error.value)
    text = text.replace("from: nowhere", f"from: {folder.parent / 'base'}")
    (folder / "search.yaml").write_text(text + "  model.widht: {choices: [4]}\n")
    with pytest.raises(InputError, match=r":8: space\.model\.widht: .*did you mean model\.width"):
        search_settings.load_settings(folder / "search.yaml", Parameters)


# --- samplers and pruners


@pytest.mark.parametrize("sampler", ["tpe", "gp", "botorch", "cmaes", "random"])
def test_each_sampler_is_a_function_of_the_seed(
    folder: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    for package in search_settings.PACKAGES.get(sampler, ()):
        pytest.importorskip(package, reason="python -m pip install -r requirements/search.txt")
    found: list[list[Mapping[str, Any]]] = []
    for name in ("search", "again"):
        other = folder.parent / name
        other.mkdir(exist_ok=True)
        write_settings(other, objective=f"sampler: {sampler}\npruner: none", trials=13)
        study = new_study(other, dataset)
        new_worker(study, pretend(rising)).work()
        found.append([trial.params for trial in study.optuna.trials])
    assert found[0] == found[1]
    assert len({str(values) for values in found[0]}) == 13


def test_a_sampler_that_is_not_installed_says_how_to_get_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_settings, "_is_installed", lambda name: False)
    write_settings(folder, objective="sampler: botorch")
    with pytest.raises(InputError, match=r"botorch and optuna_integration: .*requirements.search"):
        search_settings.load_settings(folder / "search.yaml", Parameters)


@pytest.mark.parametrize(
    ("pruner", "pruned"),
    [("median", True), ("hyperband", True), ("successive_halving", True), ("none", False)],
)
def test_each_pruner_ends_what_is_hopeless(
    folder: Path, dataset: Dataset, pruner: str, pruned: bool
) -> None:
    write_settings(folder, objective=f"pruner: {pruner}\nsampler: random", trials=20)

    def rows(run: Run) -> list[dict[str, float]]:
        value = -int(run.folder.name[-4:])  # Each is worse than all before.
        return [{"epoch": epoch, "val_accuracy": value} for epoch in range(1, EPOCHS + 1)]

    study: Study = new_study(folder, dataset)
    new_worker(study, pretend(rows)).work()
    assert ("PRUNED" in states(study)) == pruned
    assert states(study)[0] == "COMPLETE"


def test_a_trial_that_is_trained_anew_is_not_pruned_by_what_it_was(
    folder: Path, dataset: Dataset
) -> None:
    """Its process was killed on another machine: the steps are known, the files are not here."""
    write_settings(folder, objective="sampler: random", trials=8)

    def rows(run: Run) -> list[dict[str, float]]:
        return [{"epoch": epoch, "val_accuracy": 0.5} for epoch in range(1, EPOCHS + 1)]

    study = new_study(folder, dataset)
    worker = new_worker(study, pretend(rows))
    for _ in range(6):
        worker.train_next()
    left = study.optuna.ask()
    for epoch in range(1, EPOCHS):
        left.report(0.1, epoch)
    assert left.should_prune()
    worker.work()
    assert states(study) == ["COMPLETE"] * 8
