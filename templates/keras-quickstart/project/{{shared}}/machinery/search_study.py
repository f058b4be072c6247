"""The study of a search: what Optuna knows of the trials, kept in study.journal.

Several processes open the same study, and a process changes it only while it holds the lock of the
search's folder. If a trial is RUNNING but its own folder is not locked, its process was killed.
"""

import json
import os
from pathlib import Path
from typing import Any, cast

import optuna
from filelock import FileLock
from optuna.storages.journal import JournalFileBackend, JournalStorage
from optuna.trial import FrozenTrial, TrialState

from machinery import records
from machinery.errors import CommandError, InputError
from machinery.metrics import read_metrics
from machinery.parameter_file import change, differences, flatten, format_values
from machinery.sampling import fold_seed
from machinery.search_settings import Search, find_misfit, takes_fractions

FAILURES_IN_A_ROW = 5  # After so many failed trials the search ends.
STARTS = 3  # A trial has failed once its process was killed so many times.


class MisfitError(InputError):
    """The values of a trial do not go together, or do not fit the data."""


class Journal(JournalFileBackend):
    """Optuna's file of a study, where what is appended begins a line of its own.

    A kill or a full disk may leave half a line while other workers go on. What they append would
    become the rest of that line, and the study could not be read any more.

    Args:
        path: the file.
        lock: of the study. Optuna's own lock would outlive a kill.
    """

    def __init__(self, path: Path, lock: FileLock) -> None:
        super().__init__(str(path), cast(Any, lock))
        self.path, self.lock = path, lock

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append operations, under the lock; cut off half a line before."""
        with self.lock:
            self._cut_half_line()
            super().append_logs(logs)

    def _cut_half_line(self) -> None:
        with open(self.path, "rb+") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(end - 1, 0))
            if file.read(1) not in (b"", b"\n"):  # No more of it is read than its last byte.
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)


class Study:
    """A study and the folders of its trials, opened by one process.

    Args:
        search: where the study lies, and what it varies.

    Raises:
        InputError: the study is damaged, missing, or began with other settings or data.
    """

    def __init__(self, search: Search) -> None:
        self.search = search
        self.lock = FileLock(search.folder / ".lock")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self.lock:
            self.optuna = self._open()

    def _open(self) -> optuna.Study:
        """Open or begin the study of the folder, which is locked."""
        search, folder = self.search, self.search.folder
        path = folder / "study.journal"
        anew = f"Name another folder with a search.yaml (--search), or delete {path} and trial_*."
        begun = path.exists() and path.stat().st_size
        if not begun and any(folder.glob("trial_*")):
            raise InputError(f"{folder} holds trials, but no {path.name}. {anew}")
        direction = "maximize" if search.objective.maximize else "minimize"
        try:
            study = optuna.create_study(
                storage=JournalStorage(Journal(path, self.lock)),
                pruner=optuna.pruners.MedianPruner(n_warmup_steps=search.base.training.epochs // 4),
                study_name="search",
                direction=direction,
                load_if_exists=True,
            )
        except (ValueError, KeyError) as error:
            raise InputError(f"{path} is damaged ({error}). {anew}") from None
        space = search.settings.model_dump(exclude_unset=True)["space"]
        facts: dict[str, Any] = {f"space {name}": dimension for name, dimension in space.items()}
        facts |= {"data": search.dataset.fingerprint, direction: search.objective.metric}
        facts = json.loads(json.dumps(facts | flatten(search.base)))
        if "facts" not in study.user_attrs:
            study.set_user_attr("facts", facts)
        if changed := differences(study.user_attrs["facts"], facts):
            raise InputError(f"{path} was begun with something else: {changed}. {anew}")
        return study

    def trials(self, *states: str) -> list[FrozenTrial]:
        """Return the trials in some states, oldest first."""
        return self.optuna.get_trials(deepcopy=False, states=[TrialState[s] for s in states])

    def missing(self) -> int:
        """Return how many trials are still to be finished."""
        return max(self.search.settings.trials - len(self.trials("COMPLETE", "PRUNED")), 0)

    def folder_of(self, trial: optuna.Trial | FrozenTrial) -> Path:
        """Return the experiment folder of a trial."""
        return self.search.folder / f"trial_{trial.number:04}"

    def claim(self) -> optuna.Trial | None:
        """Return a trial that was left unfinished or a new one; None if others train all.

        The caller holds the lock of the study until it holds that of the trial's folder.
        """
        running = self.trials("RUNNING")
        for frozen in list(running):
            if not records.is_running(self.folder_of(frozen)):
                trial = optuna.Trial(self.optuna, frozen._trial_id)
                if frozen.user_attrs.get("starts", 0) < STARTS:
                    return trial
                self.end(trial, "FAIL", f"its process was killed {STARTS} times; out of memory?")
                running.remove(frozen)
        return self.optuna.ask() if self.missing() > len(running) else None

    def choose_parameters(self, trial: optuna.Trial) -> Any:
        """Return the parameters of a trial; a trial that is continued gets the same again.

        Raises:
            MisfitError: they do not go together, or do not fit the data. Each bound in search.yaml
                fits by itself, so other trials may be trained.
        """
        values = self._suggest(trial)
        if problem := find_misfit(self.search, values):
            where = f"{self.search.file}: space: {format_values(values)}"
            raise MisfitError(f"{where}: cannot be trained together: {problem}")
        return change(self.search.base, values)

    def _suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Ask Optuna for the values of a trial."""
        base = self.search.base
        seed = fold_seed(base.seed, trial.number) % 2**32
        self.optuna.sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
        values: dict[str, Any] = {}
        for name, dimension in self.search.settings.space.items():
            low, high, log = cast(Any, dimension.low), cast(Any, dimension.high), dimension.log
            if dimension.choices is not None:
                values[name] = trial.suggest_categorical(name, dimension.choices)
            elif takes_fractions(base, name):
                values[name] = trial.suggest_float(name, low, high, step=dimension.step, log=log)
            else:
                step = cast(int, dimension.step or 1)
                values[name] = trial.suggest_int(name, low, high, step=step, log=log)
        return values

    def best_first(self) -> list[FrozenTrial]:
        """Return the complete trials in the order of the tables of results."""
        objective = self.search.objective

        def score(trial: FrozenTrial) -> tuple[float, float]:
            # A trial that ended under an older version has its value alone.
            return objective.score(trial.user_attrs.get("best", {objective.metric: trial.value}))

        return sorted(self.trials("COMPLETE"), key=score, reverse=True)

    def end(self, trial: optuna.Trial, state: str, news: str = "") -> None:
        """Tell Optuna and the person how a trial ended.

        Args:
            trial: the trial.
            state: COMPLETE, PRUNED or FAIL.
            news: the message about it; if empty, it is made from its metrics.
        """
        value = None
        if not news:
            metric, folder = self.search.objective.metric, self.folder_of(trial)
            rows = read_metrics(folder)
            best = self.search.objective.best(rows)
            if not best:
                raise InputError(
                    f"{folder}/metrics.jsonl: holds no {metric}. Bring back a copy, or delete the "
                    "folder and run the same command again, which trains the trial anew."
                )
            trial.set_user_attr("best", best)
            news = f"at epoch {rows[-1]['epoch']}, {metric} {best[metric]:.4f}"
            value = best[metric] if state == "COMPLETE" else None
        values, total = format_values(trial.params), self.search.settings.trials
        self.optuna.tell(trial, value, TrialState[state])
        done = f"[{total - self.missing()}/{total}] trial_{trial.number:04}"
        print(f"{done} {state.lower()} {news}; {values}", flush=True)

    def check_failures(self, error: CommandError) -> None:
        """Raise an error like the last one if FAILURES_IN_A_ROW trials have failed in a row."""
        ended = self.trials("COMPLETE", "PRUNED", "FAIL")
        ended.sort(key=lambda trial: trial.datetime_complete or 0)
        limit = min(FAILURES_IN_A_ROW, self.search.settings.trials)
        failed = [t.state.name == "FAIL" or "misfit" in t.user_attrs for t in ended[-limit:]]
        if failed == [True] * limit:
            raise type(error)(
                f"{limit} trials in a row failed; the last: {error}\nMend the cause, or narrow "
                "`space` in a search.yaml of another folder (--search)."
            )
