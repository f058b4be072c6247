"""A search of hyperparameters: the command line, the search itself and its report.

The script:
    command = search.command_line(__name__, __doc__, Parameters)
    ...                                          # imports that take long
    command.run(train, open_dataset, choose_device, objective)
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from machinery import debugging, records, search_settings, search_url
from machinery.argument_parser import ArgumentParser
from machinery.command_line import Command
from machinery.devices import count_cores, list_gpus
from machinery.errors import InputError, ResourceError, exit_codes
from machinery.parameter_file import Section, format_values
from machinery.search_settings import Search, SearchSettings
from machinery.shards import remote
from machinery.stopping import StopRequest, ignore_signals
from machinery.terminal import quote

if TYPE_CHECKING:  # NumPy and Optuna take longer to import than --help takes to answer.
    from machinery.metrics import Objective
    from machinery.search_study import Study

BEST_SHOWN = 5
FRONT_SHOWN = 20
LARGEST_WORKERS = 1024


class SearchCommand(Command):
    """The command line of search_hyperparams.py.

    Args:
        arguments: as argparse gives them.
        parameters: of the experiment to vary.
        settings: what search.yaml holds.
    """

    def __init__(
        self,
        arguments: argparse.Namespace | None = None,
        parameters: Any = None,
        settings: SearchSettings | None = None,
    ) -> None:
        super().__init__(arguments, parameters)
        self.settings = settings

    def run(
        self,
        train: Callable[[Any], object],
        open_dataset: Callable[[Path], Any],
        choose_device: Callable[[str], object],
        objective: "Callable[[Any], Objective]",
    ) -> None:
        """Search as search.yaml says; end with the exit code of what happened.

        Args:
            train: trains a Run to its end. It is a function of a module, as worker processes
                import it.
            open_dataset: reads dataset.json in the folder of the data.
            choose_device: returns the device of a name; as text it begins with "cpu" for a
                processor. Raises InputError if there is no such device.
            objective: returns the objective of a dataset, for a search.yaml that names none.
        """
        if self.arguments is None:
            return
        assert self.settings is not None
        assert self.stop is not None
        arguments, settings = self.arguments, self.settings
        with exit_codes(), search_url.explained(arguments.storage):
            dataset = open_dataset(arguments.data)
            search = Search(
                folder=arguments.search,
                data=arguments.data,
                device=arguments.device,
                settings=settings,
                base=self.parameters,
                dataset=dataset,
                objectives=settings.choose_objectives(objective(dataset)),
                storage=arguments.storage,
            )
            search_settings.check_data(search)
            run_search(search, train, self.stop, lambda: self._count_workers(choose_device))

    def _count_workers(self, choose_device: Callable[[str], object]) -> int:
        """Return how many trials to train at a time: one per core of a processor, or per GPU."""
        assert self.arguments is not None
        if self.arguments.workers:
            return self.arguments.workers
        # To say whether there is a GPU, JAX starts it. Its memory is for the workers.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        device = str(choose_device(self.arguments.device))
        return count_cores() if device.startswith("cpu") else max(len(list_gpus()), 1)


def command_line(name: str, description: str | None, schema: type[Section]) -> SearchCommand:
    """Read the command line of search_hyperparams.py; end the process where it is wrong.

    Args:
        name: __name__ of the script.
        description: its docstring.
        schema: of params.yaml.
    """
    if name != "__main__":  # A worker process imports the script and does not run it.
        if name == "__mp_main__":  # What multiprocessing calls it.
            ignore_signals()  # Until the worker has a stop request of its own.
        return SearchCommand()
    with exit_codes():
        parser = ArgumentParser(description)
        folder = Path("experiments/search")
        parser.add_argument("--search", type=Path, default=folder, help=f"folder [{folder}]")
        parser.add_data("that of `from`")
        parser.add_device()
        parser.add_argument("--workers", type=int, help="[one per processor core or GPU]")
        parser.add_max_minutes()
        where = "database that the workers of several machines share [a file in the folder]"
        parser.add_argument("--storage", metavar="URL", help=where)
        debugging.add_option(parser)
        arguments = parser.parse_args()
        if arguments.storage is not None:
            search_url.hide_password(arguments.storage)
            if arguments.debug:
                raise InputError("--debug: a search is debugged in a copy, without --storage.")
        if arguments.workers is not None:
            parser.check_range("--workers", arguments.workers, 1, LARGEST_WORKERS)
        if arguments.debug and arguments.search.is_dir():
            arguments.search = debugging.enter_copy(arguments.search)
        file = arguments.search / search_settings.FILE
        settings, base = search_settings.load_settings(file, schema)
        arguments.data = arguments.data or records.data_of(Path(settings.source))
        return SearchCommand(arguments, base, settings)


def run_search(
    search: Search,
    train: Callable[[Any], object],
    stop: StopRequest,
    count_workers: Callable[[], int],
) -> None:
    """Train the trials that are missing, and report the best of all.

    Raises:
        InputError: a file of the person would be replaced.
        StoppedError: on request, with everything saved.
        ResourceError: the worker processes were killed.
    """
    from machinery.search_pictures import check_files
    from machinery.search_study import Study
    from machinery.search_workers import Worker, run_workers

    check_files(search.folder)
    study = Study(search)
    missing, started = study.missing(), time.perf_counter()
    if missing and debugging.is_on():  # In this process, where a debugger can stop.
        debugging.release_interrupts()
        Worker(study, train, stop).work()
    elif missing:
        run_workers(min(count_workers(), missing), stop, search, train)
    else:
        whole = search.trial_count == len(search.grid)
        more = "" if whole else f" For more, raise `trials` in {search.file}."
        print(f"All {search.trial_count} trials are done.{more}")
    if done := missing - study.missing():
        seconds = time.perf_counter() - started
        rate = 60 * done / max(seconds, 1e-9)  # Never divided by 0, whatever the clock.
        print(
            f"{done} {'trial' if done == 1 else 'trials'} in {seconds:.0f} s: {rate:.0f} a minute."
        )
    if to_go := study.missing():
        again = f"{to_go} of {search.trial_count} trials to go. Run the same command again"
        if stop.error:
            saved = "the unfinished ones saved"
            raise type(stop.error)(f"Stopped by {stop.error}, {saved}; {again} to continue.")
        raise ResourceError(f"The workers were killed; out of memory? {again}: --workers 1")
    report(study)


def report(study: "Study") -> None:
    """Print the best trials and what to do next."""
    from machinery.search_pictures import draw_search, write_trials

    search = study.search
    complete = study.best_first()
    pruned, failed = len(study.trials("PRUNED")), len(study.trials("FAIL"))
    front = study.front()
    which = "The Pareto front (no trial is better in all)" if front else "The best"
    print(f"\n{len(complete)} trials complete, {pruned} pruned, {failed} failed. {which}:")
    for trial in complete[: min(len(front), FRONT_SHOWN) or BEST_SHOWN]:
        place, host = study.folder_of(trial), study.host_of(trial)
        where = f"{place} (on {host})" if host else str(place)
        print(f"  {where}  {study.describe(trial)}  {format_values(trial.params)}")
    write_trials(study)
    drawn = draw_search(study)
    print(f"All trials: {', '.join(['trials.csv', *drawn])} in {search.folder}")
    if not complete or study.host_of(complete[0]):
        return
    folder = next(iter(study.runs_of(complete[0])))
    words: list[object] = ["python", "evaluate.py", "--experiment", folder]
    if search.data != Path("data"):
        words += ["--data", remote.shown(search.data)]
    print(f"The best of many trials is also lucky; see it on test: {quote(*words)}")
