"""--storage: the database that a search on several machines shares, and what it says."""

import contextlib
import sys
from collections.abc import Generator
from typing import TYPE_CHECKING

from machinery.errors import InputError, ResourceError

if TYPE_CHECKING:
    from sqlalchemy import URL

EXPECTED = "postgresql://USER@HOST/DATABASE or mysql://USER@HOST/DATABASE"


def parse(url: str) -> "URL":
    """Return a URL with the driver that requirements/storage.txt installs.

    Raises:
        InputError: it is none of a database that many machines may share.
    """
    from sqlalchemy import make_url  # Takes long to import.
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # What they say might hold the password.
        raise InputError(f"--storage: expected {EXPECTED}.") from None
    match parsed.drivername:
        case "postgresql" | "postgres":
            return parsed.set(drivername="postgresql+psycopg")
        case "mysql" | "mariadb":
            return parsed.set(drivername=f"{parsed.drivername}+pymysql")
        case other if other.startswith(("postgresql+", "mysql+", "mariadb+")):
            return parsed
    raise InputError(f"--storage: got {parsed.drivername}, expected {EXPECTED}.")


def shown(url: str) -> str:
    """Return a URL as it may be printed and written: without its password and its options."""
    return parse(url).set(query={}).render_as_string(hide_password=True)


def hide_password(url: str) -> None:
    """Let no record of the command line, which each run.json holds, have the password."""
    sys.argv[:] = [word.replace(url, shown(url)) for word in sys.argv]


@contextlib.contextmanager
def explained(url: str | None) -> Generator[None]:
    """Raise ResourceError in the place of an error of the database.

    Args:
        url: of the database; None: there is none.
    """
    if url is None:
        yield
        return
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        raise ResourceError(
            f"{shown(url)} cannot be used any more: {reason_of(error.__cause__ or error, url)}\n"
            "The trials are saved. Run the same command again to continue."
        ) from None


def reason_of(error: BaseException, url: str) -> str:
    """Return the first line of an error, without the password."""
    line = str(error).strip().partition("\n")[0]
    password = parse(url).password
    return line.replace(str(password), "***") if password else line
