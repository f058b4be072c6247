"""Where Optuna keeps a study: in a file beside the trials, or in a database of many machines."""

import os
import zlib
from pathlib import Path
from typing import Any, cast

from filelock import FileLock
from optuna.storages import RDBStorage
from optuna.storages.journal import JournalFileBackend

from machinery.errors import InputError, ResourceError
from machinery.search_url import parse, reason_of, shown

TABLES = -1  # The number of a lock that all studies of a database have in common.


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


class Database:
    """A database of PostgreSQL or MySQL that holds studies, and locks that end with their holder.

    The database frees the locks of a process once the connection of that process is gone: also
    after a kill. So no clock decides whether a trial was left. (See
    https://www.postgresql.org/docs/current/explicit-locking.html, "Advisory Locks", and
    https://dev.mysql.com/doc/refman/en/locking-functions.html.)

    Args:
        url: as SQLAlchemy has it.
        study: the name of the study, whose locks these are.

    Raises:
        InputError: it cannot be reached.
    """

    def __init__(self, url: str, study: str) -> None:
        from sqlalchemy import create_engine

        self.url, self.study = url, study
        # Where a machine is gone without a word, the system of the database finds out.
        ask_after_it = (
            "SET tcp_keepalives_idle = 60; SET tcp_keepalives_interval = 10; "
            "SET tcp_keepalives_count = 6"
        )
        try:
            engine = create_engine(parse(url), isolation_level="AUTOCOMMIT")
            self._connection = engine.connect()
            self.kind = engine.dialect.name
            if self.kind == "postgresql":
                self._connection.exec_driver_sql(ask_after_it)
            else:  # MySQL ends a connection that is idle for eight hours.
                self._connection.exec_driver_sql("SET SESSION wait_timeout = 2147483")
        except Exception as error:  # A driver that is not installed, a wrong password, no network.
            raise InputError(
                f"--storage: {shown(url)} cannot be used: {reason_of(error, url)}\n"
                "requirements/storage.txt holds the drivers."
            ) from None

    def open_storage(self) -> RDBStorage:
        """Return the storage of Optuna; the caller holds the lock of the study."""
        try:
            url = parse(self.url).render_as_string(hide_password=False)
            # Another study may be about to make the tables, too.
            with DatabaseLock(self, TABLES):
                # A connection that was lost while a trial was trained is opened again.
                return RDBStorage(url, engine_kwargs={"pool_pre_ping": True})
        except RuntimeError as error:
            reason = reason_of(error, self.url)
            raise InputError(f"{shown(self.url)}: written by another Optuna: {reason}") from None

    def take(self, number: int, wait: bool) -> bool:
        """Take a lock of the study; return whether it is ours."""
        if self.kind == "postgresql":
            function = "pg_advisory_lock" if wait else "pg_try_advisory_lock"
            taken = self._ask(f"SELECT {function}({self._key(number)}, {number})")
            return wait or bool(taken)
        seconds = 31_536_000 if wait else 0
        return bool(self._ask(f"SELECT GET_LOCK('search {self._key(number)} {number}', {seconds})"))

    def free(self, number: int) -> None:
        """Free a lock of the study; a connection that was lost has taken its locks with it."""
        if self._connection.invalidated:
            return
        if self.kind == "postgresql":
            self._ask(f"SELECT pg_advisory_unlock({self._key(number)}, {number})")
        else:
            self._ask(f"SELECT RELEASE_LOCK('search {self._key(number)} {number}')")

    def check(self) -> None:
        """Raise an error of SQLAlchemy where the connection, and so each lock, was lost."""
        self._ask("SELECT 1")

    def _key(self, number: int) -> int:
        """Return a number of 32 bits, with a sign, for what a lock is of: a study or all studies.

        MySQL has the same locks for all databases of a server, so the name of this one counts.
        """
        place = f"{parse(self.url).database}/{'' if number == TABLES else self.study}"
        return zlib.crc32(place.encode()) - 2**31

    def _ask(self, statement: str) -> Any:
        return self._connection.exec_driver_sql(statement).scalar()


class DatabaseLock:
    """A lock that a database keeps; as a context manager it waits until it is ours.

    Args:
        database: that keeps it.
        number: 0 for the study, 1 for the first trial, and so on; or TABLES.
    """

    def __init__(self, database: Database, number: int) -> None:
        self.database, self.number = database, number
        self.is_locked = False

    def __enter__(self) -> None:
        self.is_locked = self.database.take(self.number, wait=True)
        if not self.is_locked:  # As MySQL says when it is out of memory.
            raise ResourceError(
                f"{shown(self.database.url)}: gave no lock. Run the same command again to continue."
            )

    def __exit__(self, *_error: object) -> None:
        self.is_locked = False
        self.database.free(self.number)

    def is_free(self) -> bool:
        """Return whether no process holds it."""
        if taken := self.database.take(self.number, wait=False):
            self.database.free(self.number)
        return taken
