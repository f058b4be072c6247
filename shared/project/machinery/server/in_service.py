"""in-service.json: which version serves, since when, and all that was decided before.

Its history only grows. What follows from it is computed: the newest accepted version serves, unless
another one is pinned. Where nothing was ever decided, the newest version serves.
"""

import getpass
from pathlib import Path
from typing import Literal

import pydantic
from filelock import FileLock

from machinery.errors import InputError
from machinery.files import write_atomically
from machinery.records import now
from machinery.server import models_config
from machinery.server.model_versions import check_content, find_versions, no_version, read_facts

FILE = "in-service.json"


class Decision(pydantic.BaseModel):
    """One line of the history."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    at: str  # the time, UTC
    by: str  # the name of the account
    action: Literal["accept", "rollback", "pin", "unpin"]
    version: int  # that it is about; of a rollback, the one that was taken out of service
    serves: int | None  # The version in service afterwards; None: the newest.
    why: str


class Registry(pydantic.BaseModel):
    """What in-service.json holds."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    in_service: int | None = None
    since: str | None = None
    history: tuple[Decision, ...] = ()

    @property
    def accepted(self) -> list[int]:
        """The versions that were accepted and not rolled back, the newest last."""
        found: list[int] = []
        for decision in self.history:
            if decision.action in ("accept", "rollback"):
                found = [number for number in found if number != decision.version]
                found += [decision.version] if decision.action == "accept" else []
        return found

    @property
    def pinned(self) -> int | None:
        """The version that serves whatever is accepted."""
        for decision in reversed(self.history):
            if decision.action in ("pin", "unpin"):
                return decision.version if decision.action == "pin" else None
        return None


def read_registry(exports: Path) -> Registry:
    """Read in-service.json; where there is none, nothing was decided.

    Raises:
        InputError: it is damaged.
    """
    path = exports / FILE
    try:
        return Registry.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return Registry()
    except pydantic.ValidationError:
        raise InputError(
            f"{path}: damaged. Bring back a copy of it, or delete it: then the newest version "
            "serves until one is accepted."
        ) from None


def version_to_serve(exports: Path) -> int:
    """Return the number of the version that is in service.

    Raises:
        InputError: there is none, or in-service.json is damaged.
    """
    if (number := read_registry(exports).in_service) is not None:
        return number
    versions = find_versions(exports)
    if not versions:
        raise no_version(exports)
    return versions[-1]


def serve_with_tensorflow(exports: Path) -> None:
    """Write models.config, which from then on names what serves after each decision.

    Raises:
        InputError: there is no version, or in-service.json is damaged.
    """
    with Decisions(exports) as decisions:
        models_config.write_models_config(exports, decisions.registry.in_service)


class Decisions:
    """Decides which version serves, with the folder of the versions locked.

    Args:
        exports: that folder.

    Raises:
        InputError: there is no version.
    """

    def __init__(self, exports: Path) -> None:
        if not find_versions(exports):
            raise no_version(exports)
        self.exports = exports
        # Not that of the exports: a rollback must not wait for one.
        self._lock = FileLock(exports / ".decisions.lock")

    def __enter__(self) -> "Decisions":
        self._lock.acquire()
        try:
            self.registry = read_registry(self.exports)
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def accept(self, number: int, why: str) -> Registry:
        """Let a version serve, unless another one is pinned."""
        self._must_be_whole(number)
        serves = self.registry.pinned or number
        return self._add("accept", number, serves, why)

    def roll_back(self) -> Registry:
        """Take the newest accepted version out of service: the one before serves again.

        Raises:
            InputError: a version is pinned, or none was accepted before.
        """
        if (pinned := self.registry.pinned) is not None:
            raise InputError(
                f"version {pinned} is pinned, so it serves whatever is accepted. First: python "
                "promote.py unpin. To serve another one at once: python promote.py pin NUMBER"
            )
        accepted = self.registry.accepted
        if len(accepted) < 2:
            raise InputError(
                f"{self.exports / FILE}: no version was accepted before the one in service, so "
                "there is nothing to go back to. Name one: python promote.py pin NUMBER"
            )
        self._must_be_whole(accepted[-2])
        return self._add("rollback", accepted[-1], accepted[-2], "")

    def pin(self, number: int) -> Registry:
        """Let a version serve whatever is accepted."""
        self._must_be_whole(number)
        return self._add("pin", number, number, "")

    def unpin(self) -> Registry:
        """Let the newest accepted version serve again.

        Raises:
            InputError: no version is pinned.
        """
        if (pinned := self.registry.pinned) is None:
            raise InputError("no version is pinned. What serves: python promote.py status")
        serves = next(reversed(self.registry.accepted), None)
        return self._add("unpin", pinned, serves, "")

    def _must_be_whole(self, number: int) -> None:
        """Raise InputError for a version that the server would not load."""
        check_content(self.exports, number, read_facts(self.exports, number))

    def _add(
        self,
        action: Literal["accept", "rollback", "pin", "unpin"],
        version: int,
        serves: int | None,
        why: str,
    ) -> Registry:
        time, before = now(), self.registry
        decision = Decision(
            at=time, by=_account(), action=action, version=version, serves=serves, why=why
        )
        since = before.since if serves == before.in_service else time
        history = (*before.history, decision)
        self.registry = Registry(in_service=serves, since=since, history=history)
        content = self.registry.model_dump_json(indent=2)
        # First, so that after a kill between the two the same decision can be made again.
        if (self.exports / models_config.FILE).exists():
            models_config.write_models_config(self.exports, serves)
        write_atomically(self.exports / FILE, content.encode())
        return self.registry


def _account() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # A container may run as a number without a name.
        return "unknown"
