"""Shards that come from elsewhere, in a folder of limited size, which several processes share.

A shard is fetched whole, into files that are whole or not there, and compared with its SHA-256.
Where room is short, the shards that were opened longest ago are deleted: a process that has mapped
one keeps reading it. A kill leaves at most a file that the next fetch of the shard replaces.

    SHARD_CACHE       the folder [data/.cache]
    SHARD_CACHE_GB    the most that the shards of all data sets in it may fill, in GB [20]
"""

import contextlib
import os
import re
import threading
import zlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from filelock import FileLock, Timeout

from machinery.errors import InputError
from machinery.files import write_atomically
from machinery.shards import remote
from machinery.shards.shard_list import KIND, Shard

GIGABYTES = "SHARD_CACHE_GB"
USUAL_GIGABYTES = "20"
LOCKS = 64  # Files that lock shards; two shards with one of them wait for each other.
ROOM = ".room"  # The ending of a file that reserves space while a shard is fetched.
DIGEST = ".sha256"  # The ending of the file that holds the SHA-256 of the file beside it.
ATTEMPTS = 3  # to open a shard that other processes delete again

Opened = TypeVar("Opened")


class ShardCache:
    """The shards of a data set at a URL, as far as they are here.

    Args:
        contents: the folder of their files.
        url: where they come from.
        limit: bytes of all shards in the folder of the caches.
    """

    def __init__(self, contents: Path, url: str, limit: int) -> None:
        self.contents, self.url, self.limit = contents, url, limit
        self.root = contents.parent.parent
        self.ahead = Ahead(self.fetch)

    @classmethod
    def of(cls, contents: Path) -> Self | None:
        """Return the cache of a folder of arrays; None: it is no copy of one at a URL."""
        url = remote.url_of(contents.parent)
        return cls(contents, f"{url}/{contents.name}", read_limit()) if url else None

    def refuse_small(self, shards: Sequence[Shard], window: int) -> None:
        """Raise InputError where the cache has no room for two windows: the second comes ahead."""
        largest = sorted((each.bytes for each in shards), reverse=True)
        if (needed := sum(largest[: 2 * window])) > self.limit:
            raise InputError(
                f"{GIGABYTES}: got {self.limit / 1e9:g}, expected at least {needed / 1e9:.3g}, the "
                f"size of two windows of {window} shards of {self.url}. Raise it, or write the "
                "shards with a smaller --window or fewer --shard-examples."
            )

    def open(self, stem: str, shard: Shard, open_files: Callable[[], Opened]) -> Opened:
        """Return what `open_files` makes of the files of a shard, which are fetched before.

        Args:
            stem: what the names of its files begin with.
            shard: what shards.json says of it.
            open_files: opens them.

        Raises:
            InputError: they cannot be fetched, or others delete them again and again.
        """
        for _ in range(ATTEMPTS):
            self.fetch(stem, shard)
            try:
                opened = open_files()
            except InputError:
                if not self._missing(shard):
                    raise
                continue  # Another process needed the room.
            for name in shard.sha256:
                with contextlib.suppress(OSError):
                    os.utime(self.contents / name)  # From now on it is the last to be deleted.
            return opened
        raise InputError(
            f"{self.contents / stem}: deleted by other processes as soon as it is here. Raise "
            f"{GIGABYTES} (now {self.limit / 1e9:g}): each process needs two windows of shards."
        )

    def fetch(self, stem: str, shard: Shard) -> None:
        """Bring a shard here, where it is not yet; raise InputError where that is not possible."""
        if not self._missing(shard):
            return
        with self._lock(self.contents, stem):
            if not (missing := self._missing(shard)):
                return
            room = self._make_room(stem, shard)
            try:
                for name in missing:
                    path, digest = self.contents / name, shard.sha256[name]
                    remote.fetch(f"{self.url}/{name}", path, digest)
                    write_atomically(_digest_file(path), digest.encode())
            finally:
                room.unlink(missing_ok=True)

    def fetch_ahead(self, shards: Mapping[str, Shard]) -> None:
        """Fetch some shards in a thread, in place of those that it was still to fetch.

        Args:
            shards: by what the names of their files begin with.
        """
        self.ahead.want({stem: each for stem, each in shards.items() if self._missing(each)})

    def _missing(self, shard: Shard) -> list[str]:
        """Return the files that are not here, or are of another data set that was at the URL."""
        paths = {self.contents / name: digest for name, digest in shard.sha256.items()}
        return [path.name for path, digest in paths.items() if not _is_here(path, digest)]

    def _is_fetched(self, paths: Sequence[Path]) -> bool:
        """Return whether a process is just fetching the shard that these files are of."""
        room = next((path for path in paths if path.suffix == ROOM), None)
        if room is None:
            return False
        lock = self._lock(room.parent, room.stem)
        with contextlib.suppress(Timeout), lock.acquire(blocking=False):
            return False  # A kill has left it.
        return True

    @staticmethod
    def _lock(contents: Path, stem: str) -> FileLock:
        return FileLock(contents / f".lock-{zlib.crc32(stem.encode()) % LOCKS}")

    def _make_room(self, stem: str, shard: Shard) -> Path:
        """Delete shards until another one fits; return a file that holds its room."""
        with FileLock(self.root / ".lock"):
            groups: dict[Path, list[Path]] = defaultdict(list)
            for path in self.root.glob(f"*/{KIND}-*/*.*"):
                if remote.url_of(path.parent.parent) is None:  # A person's own.
                    continue
                if found := re.match(r"\.?((?:train|val|test)-\d+)[_.]", path.name):
                    groups[path.parent / found[1]].append(path)
            groups.pop(self.contents / stem, None)
            known = [_measure(paths) for paths in groups.values()]
            used = sum(size for _, size, _ in known)
            for _, size, paths in sorted(known):
                if used + shard.bytes <= self.limit:
                    break
                if self._is_fetched(paths):
                    continue
                # The digests first: a file without one counts as missing.
                for path in sorted(paths, key=lambda path: path.suffix != DIGEST):
                    with contextlib.suppress(OSError):  # Windows keeps what somebody reads.
                        path.unlink(missing_ok=True)
                used -= size
            room = self.contents / f"{stem}{ROOM}"
            with open(room, "wb") as file:
                file.truncate(shard.bytes)  # It takes no space on most disks, and is counted.
        return room


def read_limit() -> int:
    """Return how many bytes the shards of all data sets may fill.

    Raises:
        InputError: the variable holds no number.
    """
    text = os.environ.get(GIGABYTES, USUAL_GIGABYTES)
    try:
        limit = float(text) * 1e9
        if not 0 < limit < float("inf"):
            raise ValueError(text)
    except ValueError:
        raise InputError(
            f"{GIGABYTES}: got {text!r}, expected a number above 0, of GB on this disk. Change the "
            "variable, or remove it from the environment."
        ) from None
    return int(limit)


def _digest_file(path: Path) -> Path:
    return path.with_name(f".{path.name}{DIGEST}")


def _is_here(path: Path, digest: str) -> bool:
    try:
        return path.exists() and _digest_file(path).read_text(encoding="utf-8") == digest
    except OSError:
        return False


def _measure(paths: list[Path]) -> tuple[float, int, list[Path]]:
    """Return when the files of a shard were last opened, their bytes, and the files."""
    for room in [path for path in paths if path.suffix == ROOM]:
        with contextlib.suppress(FileNotFoundError):
            found = room.stat()  # While the shard comes, its room is that of all its files.
            return found.st_mtime, found.st_size, paths
        paths = [*room.parent.glob(f"*{room.stem}_*")]  # Its fetch has just come to its end.
    times, size = [0.0], 0
    for path in [path for path in paths if path.suffix != DIGEST]:  # Those have a few bytes.
        with contextlib.suppress(FileNotFoundError):
            found = path.stat()
            times.append(found.st_mtime)
            size += found.st_size
    return max(times), size, paths


class Ahead:
    """Fetches shards in a thread, in the process that asks for them.

    Nobody waits for it: who needs a shard fetches it, and says what is wrong with it.
    """

    def __init__(self, fetch: Callable[[str, Shard], None]) -> None:
        self.fetch = fetch
        self.wanted: dict[str, Shard] = {}
        self.thread: threading.Thread | None = None
        self.process = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "wanted": {}, "thread": None}

    def want(self, shards: dict[str, Shard]) -> None:
        """Fetch these next."""
        self.wanted = shards
        if self.process != os.getpid():  # A fork has no threads of its parent.
            self.thread, self.process = None, os.getpid()
        if shards and not (self.thread and self.thread.is_alive()):
            self.thread = threading.Thread(target=self._run, daemon=True)
            self.thread.start()

    def _run(self) -> None:
        while self.wanted:
            stem = next(iter(self.wanted), "")
            shard = self.wanted.pop(stem, None)
            if shard:
                with contextlib.suppress(Exception):
                    self.fetch(stem, shard)
