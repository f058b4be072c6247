"""The study of a search: what Optuna knows of the trials, in study.journal or in a database.

Several processes open the same study, and a process changes it only while it holds its lock. If a
trial is RUNNING but not locked, its process was killed.
"""

import contextlib
import json
import platform
import statistics
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import optuna
from filelock import FileLock
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages.journal import JournalStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from machinery import records
from machinery.errors import CommandError, InputError
from machinery.metrics import read_metrics
from machinery.parameter_file import change, differences, flatten, format_values
from machinery.search_samplers import new_pruner, new_sampler
from machinery.search_settings import WEIGHTS, Search, find_misfit, takes_fractions
from machinery.search_storage import Database, DatabaseLock, Journal
from machinery.search_url import shown

FAILURES_IN_A_ROW = 5  # After so many failed trials the search ends.
STARTS = 3  # A trial has failed once its process was killed so many times.


class MisfitError(InputError):
    """The values of a trial do not go together, or do not fit the data."""


class Study:
    """A study and the folders of its trials, opened by one process.

    Args:
        search: where the study lies, and what it varies.

    Raises:
        InputError: the study is damaged, missing, or began with other settings or data.
    """

    def __init__(self, search: Search) -> None:
        self.search = search
        self.name = search.folder.as_posix() if search.storage else "search"
        self.database = Database(search.storage, self.name) if search.storage else None
        self.lock: FileLock | DatabaseLock = FileLock(search.folder / ".lock")
        if self.database:
            self.lock = DatabaseLock(self.database, 0)
        # Optuna warns of what a conditional space or a trial that is trained anew brings with it.
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        with self.lock:
            self.optuna = self._open()

    def _open(self) -> optuna.Study:
        """Open or begin the study, which is locked."""
        search, folder = self.search, self.search.folder
        place, anew = self._place(), "Name another folder with a search.yaml (--search)"
        if not self.database:
            anew += f", or delete {place} and trial_*"
        directions = {True: StudyDirection.MAXIMIZE, False: StudyDirection.MINIMIZE}
        try:
            storage = self.database.open_storage() if self.database else self._open_journal()
            begun = storage and self.name in optuna.get_all_study_names(storage)
            if not begun and any(folder.glob("trial_*")):
                raise InputError(f"{folder} holds trials, but no {place}. {anew}.")
            study = optuna.create_study(
                storage=storage or self._open_journal(anew=True),
                pruner=new_pruner(search),
                study_name=self.name,
                directions=[directions[each.maximize] for each in search.objectives],
                load_if_exists=True,
            )
        except (ValueError, KeyError) as error:
            raise InputError(f"{place} is damaged ({error}). {anew}.") from None
        facts = json.loads(json.dumps(self._facts()))
        if "facts" not in study.user_attrs:
            study.set_user_attr("facts", facts)
        if changed := differences(study.user_attrs["facts"], facts):
            raise InputError(f"{place} was begun with something else: {changed}. {anew}.")
        return study

    def _place(self) -> str:
        """Return where the study is, for messages."""
        if self.database:
            return f"study {self.name} in {shown(self.database.url)}"
        return str(self.search.folder / "study.journal")

    def _open_journal(self, anew: bool = False) -> JournalStorage | None:
        """Open the file of the study; None where there is none, and it is not to be begun."""
        path = self.search.folder / "study.journal"
        if not anew and not path.exists():
            return None
        return JournalStorage(Journal(path, cast(FileLock, self.lock)))

    def _facts(self) -> dict[str, Any]:
        """Return what must not change while the study lasts, by name."""
        search, settings = self.search, self.search.settings
        space = settings.model_dump(exclude_unset=True)["space"]
        facts: dict[str, Any] = {f"space {name}": dimension for name, dimension in space.items()}
        for direction in ("maximize", "minimize"):
            wanted = direction == "maximize"
            names = [each.metric for each in search.objectives if each.maximize == wanted]
            if names:
                facts[direction] = names[0] if len(names) == 1 else names
        if settings.seeds > 1:
            facts["seeds"] = settings.seeds
        return facts | {"data": search.dataset.fingerprint} | flatten(search.base)

    def trials(self, *states: str) -> list[FrozenTrial]:
        """Return the trials in some states, oldest first."""
        return self.optuna.get_trials(deepcopy=False, states=[TrialState[s] for s in states])

    def missing(self) -> int:
        """Return how many trials are still to be finished."""
        states = ["COMPLETE", "PRUNED"]
        if self.search.settings.sampler == "grid":  # To train the same point again is no use.
            states += ["FAIL"]
        return max(self.search.trial_count - len(self.trials(*states)), 0)

    def folder_of(self, trial: optuna.Trial | FrozenTrial) -> Path:
        """Return the experiment folder of a trial; of several seeds, that of their experiments."""
        return self.search.folder / f"trial_{trial.number:04}"

    def runs_of(self, trial: optuna.Trial | FrozenTrial) -> dict[Path, int]:
        """Return the seed of each experiment of a trial, by its folder."""
        first, folder = trial.params.get("seed", self.search.base.seed), self.folder_of(trial)
        if self.search.settings.seeds == 1:
            return {folder: first}
        seeds = [(first + i) % 2**32 for i in range(self.search.settings.seeds)]
        return {folder / f"seed-{seed}": seed for seed in seeds}

    def host_of(self, trial: FrozenTrial) -> str:
        """Return the machine that has the folder of a trial; an empty text: this one has it."""
        host = trial.user_attrs.get("host", "")  # Without a database there is one machine.
        if host in ("", platform.node()):
            return ""
        # Machines may share their files, too.
        return "" if all(records.is_finished(folder) for folder in self.runs_of(trial)) else host

    def claim(self) -> optuna.Trial | None:
        """Return a trial that was left unfinished or a new one; None if others train all.

        The caller holds the lock of the study until it holds that of the trial.
        """
        running = self.trials("RUNNING")
        for frozen in list(running):
            if not self._is_held(frozen):
                trial = optuna.Trial(self.optuna, frozen._trial_id)
                if frozen.user_attrs.get("starts", 0) < STARTS:
                    return trial
                self.end(trial, "FAIL", f"its process was killed {STARTS} times; out of memory?")
                running.remove(frozen)
        return self.optuna.ask() if self.missing() > len(running) else None

    def _is_held(self, trial: FrozenTrial) -> bool:
        """Return whether a process works on a trial, on whatever machine."""
        if self.database and not DatabaseLock(self.database, trial.number + 1).is_free():
            return True
        return records.is_running(self.folder_of(trial))

    @contextlib.contextmanager
    def hold(self, trial: optuna.Trial) -> Generator[None]:
        """Hold the lock of a trial; where the trial is one run, this has a lock of its own."""
        with contextlib.ExitStack() as stack:
            if self.database:
                stack.enter_context(DatabaseLock(self.database, trial.number + 1))
            if self.search.settings.seeds > 1:
                self.folder_of(trial).mkdir(exist_ok=True)
                stack.enter_context(FileLock(self.folder_of(trial) / ".lock"))
            yield

    def check_hold(self) -> None:
        """Raise an error of the database where this process may have lost the lock of a trial."""
        if self.database:
            self.database.check()

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
        base, space = self.search.base, self.search.space
        trials = self.optuna.get_trials(deepcopy=False)
        self.optuna.sampler = new_sampler(self.search, trials[trial.number], trials)
        values: dict[str, Any] = {}
        for name, dimension in space.dimensions.items():
            if not space.is_searched(name, values):
                continue
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
        """Return the complete trials in the order of the tables of results.

        Of several objectives, those come first that no other trial is better than in all.
        """
        objective = self.search.objective
        front = {trial.number for trial in self.front()}

        def score(trial: FrozenTrial) -> tuple[bool, tuple[float, float]]:
            # A trial that ended under an older version has its value alone.
            row = trial.user_attrs.get("best") or {objective.metric: cast(float, trial.value)}
            return trial.number in front, objective.score(row)

        return sorted(self.trials("COMPLETE"), key=score, reverse=True)

    def front(self) -> list[FrozenTrial]:
        """Return the Pareto front: of several objectives, the trials that no other one beats."""
        return self.optuna.best_trials if len(self.search.objectives) > 1 else []

    def measure(self, trial: optuna.Trial) -> list[dict[str, float]]:
        """Return the metrics of the best epoch of each run of a trial.

        Raises:
            InputError: a run that has begun has none.
        """
        found, metric = [], self.search.objective.metric
        for folder in self.runs_of(trial):
            if found and not folder.exists():  # A trial was pruned before this seed.
                continue
            best = self.search.objective.best(read_metrics(folder))
            if not best:
                raise InputError(
                    f"{folder}/metrics.jsonl: holds no {metric}. Bring back a copy, or delete the "
                    "folder and run the same command again, which trains the trial anew."
                )
            if any(each.metric == WEIGHTS for each in self.search.objectives):
                best = {**best, WEIGHTS: records.read_sessions(folder)[-1][WEIGHTS]}
            found.append(best)
        return found

    def end(self, trial: optuna.Trial, state: str, news: str = "") -> None:
        """Tell Optuna and the person how a trial ended.

        Args:
            trial: the trial.
            state: COMPLETE, PRUNED or FAIL.
            news: the message about it; if empty, it is made from its metrics.

        Raises:
            UpdateFinishedTrialError: another machine, which took it for left, has ended it.
        """
        values = None
        if not news:
            rows = self.measure(trial)
            common = [name for name in rows[0] if all(name in row for row in rows)]
            best = {name: statistics.fmean(row[name] for row in rows) for name in common}
            trial.set_user_attr("best", best)
            if len(rows) > 1:
                columns = [each.metric for each in self.search.objectives]
                deviations = {c: statistics.stdev(row[c] for row in rows) for c in columns}
                trial.set_user_attr("deviation", deviations)
            if self.database:
                trial.set_user_attr("host", platform.node())
            newest = [folder for folder in self.runs_of(trial) if folder.exists()][-1]
            news = f"at epoch {read_metrics(newest)[-1]['epoch']}, {self.describe(trial)}"
            values = [best[each.metric] for each in self.search.objectives]
        values = values if state == "COMPLETE" else None
        parameters, total = format_values(trial.params), self.search.trial_count
        try:
            self.optuna.tell(trial, values, TrialState[state])
        except ValueError:  # The values are numbers, so there is no other reason.
            raise UpdateFinishedTrialError(f"Trial#{trial.number} has already finished.") from None
        done = f"[{total - self.missing()}/{total}] trial_{trial.number:04}"
        print(f"{done} {state.lower()} {news}; {parameters}", flush=True)

    def describe(self, trial: optuna.Trial | FrozenTrial) -> str:
        """Return the objectives of a trial in words: "val_loss 0.1412 ± 0.0031"."""
        row, deviation = trial.user_attrs.get("best", {}), trial.user_attrs.get("deviation", {})
        if isinstance(trial, FrozenTrial) and trial.values:
            names = [each.metric for each in self.search.objectives]
            row = dict(zip(names, trial.values, strict=True))
        words = []
        for metric in (each.metric for each in self.search.objectives):
            number = f"{row[metric]:,.0f}" if metric == WEIGHTS else f"{row[metric]:.4f}"
            spread = f" ± {deviation[metric]:.4f}" if deviation.get(metric) else ""
            words.append(f"{metric} {number}{spread}")
        return ", ".join(words)

    def check_failures(self, error: CommandError) -> None:
        """Raise an error like the last one if FAILURES_IN_A_ROW trials have failed in a row."""
        ended = self.trials("COMPLETE", "PRUNED", "FAIL")
        ended.sort(key=lambda trial: trial.datetime_complete or 0)
        limit = min(FAILURES_IN_A_ROW, self.search.trial_count)
        failed = [t.state.name == "FAIL" or "misfit" in t.user_attrs for t in ended[-limit:]]
        if failed == [True] * limit:
            raise type(error)(
                f"{limit} trials in a row failed; the last: {error}\nMend the cause, or narrow "
                "`space` in a search.yaml of another folder (--search)."
            )
