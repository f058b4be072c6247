"""--storage: a database that several machines share, and a password that nobody gets to see."""

import contextlib
import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial
from sqlalchemy import URL
from sqlalchemy.exc import OperationalError

from build_dataset import Dataset
from helpers import new_study, new_worker, states, words, write_base, write_settings
from machinery import search_url
from machinery.errors import DivergedError, InputError, ResourceError
from machinery.run import Run
from machinery.search_storage import TABLES, Database, DatabaseLock
from train import train

OTHERS = "abc/"  # What the rest of the URL consists of.


@given(
    password=st.text(min_size=1, alphabet=st.characters(exclude_characters=OTHERS, codec="utf-8"))
)
def test_nobody_gets_to_see_a_password(password: str) -> None:
    url = URL.create("postgresql", "a", password, "b", database="c").render_as_string(False)
    option = URL.create("mysql", "a", host="b", database="c", query={"passwd": password})
    assert search_url.shown(url) == "postgresql+psycopg://a:***@b/c"
    assert search_url.shown(option.render_as_string(False)) == "mysql+pymysql://a@b/c"
    line = f"the server refuses {password} of a"
    if len(password) > 3:
        assert password not in search_url.reason_of(ValueError(line), url)


@pytest.mark.parametrize("form", [["--storage", "{}"], ["--storage={}"]])
def test_no_record_of_the_command_holds_it(
    monkeypatch: pytest.MonkeyPatch, form: list[str]
) -> None:
    url = "postgresql://me:secret@server/db?password=hidden"
    monkeypatch.setattr(sys, "argv", ["search.py", *(word.format(url) for word in form)])
    search_url.hide_password(url)
    assert "secret" not in " ".join(sys.argv)
    assert "hidden" not in " ".join(sys.argv)
    assert "me:***@server/db" in sys.argv[-1]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///file", "got sqlite, expected postgresql://"),
        ("secret", "--storage: expected postgresql://"),
        ("postgresql://a:secret@b:port/c", "--storage: expected postgresql://"),
    ],
)
def test_other_urls_are_refused(url: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        search_url.parse(url)
    assert "secret" not in str(error.value)


def test_a_database_that_cannot_be_reached_is_bad_input(
    folder: Path, data: Path, run: Callable[..., str]
) -> None:
    url = "postgresql://me:secret@127.0.0.1:1/db"
    message = run(*words(folder, data, "--storage", url), expected=2)
    assert "me:***@127.0.0.1:1/db cannot be used" in message
    assert "requirements/storage.txt" in message
    assert "secret" not in message
    assert [path.name for path in folder.iterdir()] == ["search.yaml"]


def test_no_search_is_debugged_in_a_shared_database(
    folder: Path, data: Path, run: Callable[..., str]
) -> None:
    url = "postgresql://me@127.0.0.1:1/db"
    message = run(*words(folder, data, "--debug", "--storage", url), expected=2)
    assert "--debug: a search is debugged in a copy, without --storage" in message


def test_a_database_that_goes_away_ends_the_search_with_a_message() -> None:
    url = "postgresql://me:secret@server/db"
    lost = OperationalError("SELECT 1", None, ValueError("secret is of no use"))
    with (
        pytest.raises(ResourceError, match=r"me:\*\*\*@server/db.*\*\*\* is of no use") as error,
        search_url.explained(url),
    ):
        raise lost
    assert error.value.__suppress_context__  # A traceback would show what was hidden.
    with pytest.raises(OperationalError), search_url.explained(None):
        raise lost


@pytest.mark.parametrize("end", ["complete", "fail"])
def test_a_trial_that_another_machine_has_ended_is_left_to_it(
    folder: Path, data: Path, dataset: Dataset, capsys: pytest.CaptureFixture[str], end: str
) -> None:
    study, other = new_study(folder, dataset, data), new_study(folder, dataset, data)

    def train_twice(run: Run) -> None:
        if run.folder.name == "trial_0001":
            other.optuna.tell(1, 0.5)
            if end == "fail":
                raise DivergedError("it diverged")
        train(run)

    new_worker(study, train_twice).work()
    assert states(study) == ["COMPLETE"] * 4
    assert study.optuna.trials[1].value == 0.5
    assert "Another machine has trained it; this one goes on" in capsys.readouterr().out


class MySQL(Database):
    """A server that is not there: it keeps what it was asked, and answers what it was told to."""

    def __init__(self, database: str, answer: int | None = 1) -> None:
        self.url, self.study, self.kind = f"mysql://me@server/{database}", "study", "mysql"
        self.asked, self.answer = [], answer

    def _ask(self, statement: str) -> Any:
        self.asked.append(statement)
        return self.answer


def test_databases_of_a_server_of_mysql_have_locks_of_their_own() -> None:
    one, two = MySQL("one"), MySQL("two")
    for database in (one, two):
        for number in (TABLES, 0, 1):
            DatabaseLock(database, number).__enter__()
    assert len({*one.asked, *two.asked}) == 6


@pytest.mark.parametrize("answer", [0, None])
def test_a_lock_that_was_not_given_is_not_held(answer: int | None) -> None:
    with pytest.raises(ResourceError, match="me@server/one: gave no lock"):
        DatabaseLock(MySQL("one", answer), 0).__enter__()


# ---------------------------------------------------------------------------------------------
# With a server.


def find_program(name: str) -> str | None:
    """Return a program of PostgreSQL, which Debian keeps out of the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


@pytest.fixture(scope="module")
def server() -> Generator[str]:
    """A server of PostgreSQL, reached by a socket in its own folder; yields its URL."""
    initdb, postgres = find_program("initdb"), find_program("postgres")
    if not initdb or not postgres:
        pytest.skip("needs PostgreSQL: apt-get install postgresql")
    if not importlib.util.find_spec("psycopg"):
        pytest.skip("needs psycopg: python -m pip install -r requirements/storage.txt")
    # PostgreSQL refuses to run as root. Of a socket's path Linux takes 107 characters.
    options: dict[str, Any] = {"stdout": subprocess.DEVNULL, "cwd": "/"}
    place = Path(tempfile.mkdtemp(prefix="postgres-"))
    if os.getuid() == 0:
        options["user"] = "postgres"
        shutil.chown(place, "postgres")
    command = [initdb, "--pgdata", place / "db", "--auth", "trust", "--no-sync", "--username", "me"]
    subprocess.run(command, check=True, **options)
    settings = ["-F", "-c", "listen_addresses=", "-c", f"unix_socket_directories={place}"]
    log = {"stderr": subprocess.DEVNULL}
    process = subprocess.Popen([postgres, "-D", place / "db", *settings], **options, **log)
    url = f"postgresql://me:secret@/postgres?host={place}"
    try:
        for _ in range(300):
            with contextlib.suppress(InputError):
                Database(url, "a first connection")
                break
            time.sleep(0.1)
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=600)
        shutil.rmtree(place)


def trials_of(server: str, name: str) -> list[FrozenTrial]:
    url = search_url.parse(server).render_as_string(hide_password=False)
    return optuna.load_study(study_name=name, storage=url).trials


@pytest.mark.deep
def test_a_lock_of_a_database_ends_with_its_holder(server: str) -> None:
    ours, theirs = Database(server, "study"), Database(server, "study")
    with DatabaseLock(ours, 1):
        assert not DatabaseLock(theirs, 1).is_free()
        assert DatabaseLock(theirs, 2).is_free()
        assert DatabaseLock(Database(server, "another"), 1).is_free()
        assert not DatabaseLock(theirs, 1).is_free()
    assert DatabaseLock(theirs, 1).is_free()
    lock = DatabaseLock(ours, 3)
    lock.__enter__()
    ours._connection.invalidate()  # As when the process is killed.
    for _ in range(100):
        if DatabaseLock(theirs, 3).is_free():
            break
        time.sleep(0.1)
    assert DatabaseLock(theirs, 3).is_free()


@pytest.mark.deep
def test_a_lock_that_is_lost_is_noticed_and_studies_are_reached_again(server: str) -> None:
    ours, theirs = Database(server, "lost"), Database(server, "lost")
    storage = ours.open_storage()
    number = storage.create_new_study([optuna.study.StudyDirection.MINIMIZE], "lost")
    with DatabaseLock(ours, 1):
        ours.check()
        theirs._ask(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND datname = current_database()"
        )
        with pytest.raises(OperationalError):
            ours.check()
    assert storage.get_study_name_from_id(number) == "lost"


@pytest.mark.deep
def test_studies_that_begin_at_once_in_an_empty_database(server: str) -> None:
    Database(server, "")._connection.exec_driver_sql("CREATE DATABASE empty")
    url = server.replace("/postgres?", "/empty?")
    with ThreadPoolExecutor(8) as pool:
        databases = [*pool.map(lambda number: Database(url, str(number)), range(8))]
        storages = [*pool.map(Database.open_storage, databases)]
    assert storages[0].get_all_studies() == []


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Return the processes that train for a search."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    with contextlib.suppress(OSError):
        found = [int(number) for number in children.read_text().split()]
        return [n for n in found if "spawn_main" in Path(f"/proc/{n}/cmdline").read_text()]
    return []


@pytest.mark.deep
def test_two_machines_make_exactly_as_many_trials_as_asked_for(
    folder: Path, data: Path, project: Path, start: Callable[..., Any], server: str
) -> None:
    """Eight workers begin cold, and are killed now and then; so is the search of one machine."""
    total, chance = 40, random.Random(0)
    write_base(folder, epochs=3, pause=0.02)
    write_settings(folder, trials=total)
    machines = []
    for name in ("one", "two"):
        code = folder.parent / name
        shutil.copytree(project, code)
        shutil.copytree(folder, code / "search")
        machines.append(code)
    command = ("search_hyperparams.py", "--search", "search", "--data", data, "--workers", "4")

    def begin(code: Path) -> subprocess.Popen[str]:
        return start(*command, "--storage", server, cwd=code)

    running, printed, kills = {code: begin(code) for code in machines}, "", 0
    deadline = time.monotonic() + 1500
    while running:
        assert time.monotonic() < deadline, printed
        time.sleep(1)
        for code, process in list(running.items()):
            workers = workers_of(process)
            if kills < 12 and workers and any(code.glob("search/trial_*")):
                kills += 1
                os.kill(process.pid if kills == 6 else chance.choice(workers), signal.SIGKILL)
            if process.poll() is None:
                continue
            output, errors = process.communicate()
            printed += output + errors
            assert process.returncode in (0, 4, -signal.SIGKILL), printed
            if process.returncode == 0:
                del running[code]
            else:
                running[code] = begin(code)
    assert kills == 12
    trials = trials_of(server, "search")
    states = [trial.state.name for trial in trials]
    assert states.count("COMPLETE") + states.count("PRUNED") == total, states
    assert len(states) == total + states.count("FAIL")
    ended = [line for line in printed.splitlines() if f"/{total}] trial_" in line]
    assert len({line.split()[1] for line in ended}) == len(ended)  # None was told of twice.
    assert "secret" not in printed
    for code in machines:
        for path in code.glob("search/**/*"):
            assert not path.is_file() or b"secret" not in path.read_bytes(), path
