"""Data sets at a URL, such as s3://bucket/data: a folder of the cache stands for each of them.

    data/.cache/data-1f2e3d4c/.url           the URL
    data/.cache/data-1f2e3d4c/dataset.json   fetched whenever a command begins
    data/.cache/data-1f2e3d4c/shards-1/      those of its shards that are here

So whatever reads a data set reads this folder. URLs are read by fsspec, which knows s3, gs, abfs,
http and others; file:// is read without it.
"""

import hashlib
import os
import re
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from filelock import FileLock

from machinery.errors import InputError, ResourceError
from machinery.files import write_atomically, writing_atomically

CACHE = "SHARD_CACHE"
USUAL_CACHE = Path("data/.cache")
MARKER = ".url"
BLOCK = 2**22  # Bytes that are read at a time.
PAUSES = (0.5, 2.0)  # Seconds before a file is asked for again.


def data_place(text: str) -> Path:
    """Return the folder that is named, in a command line say; of a URL, the one in its place.

    Raises:
        InputError: the URL holds more than a place.
    """
    if not (found := re.match(r"[a-z][a-z0-9+.-]*://", text)):
        return Path(text)
    url = text.rstrip("/")
    parts = urllib.parse.urlsplit(url)
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InputError(
            f"{found[0]}...: a URL with a name, a password or a part behind ? or #, expected none, "
            "as it is recorded with the run. Give credentials as your storage's own tools read "
            "them: environment variables, a file in the home folder."
        )
    name = re.sub(r"\W+", "-", url[found.end() :].rpartition("/")[2]).strip("-") or "data"
    digest = hashlib.sha256(url.encode()).hexdigest()[:8]
    folder = Path(os.environ.get(CACHE) or USUAL_CACHE) / f"{name}-{digest}"
    if url_of(folder) != url:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            write_atomically(folder / MARKER, url.encode())
    return folder


def url_of(folder: Path) -> str | None:
    """Return the URL that a folder stands for; None: it is a folder like any other."""
    try:
        return (folder / MARKER).read_text(encoding="utf-8")
    except OSError:
        return None


def shown(folder: Path) -> str:
    """Return how a command line names the place of a data set."""
    return url_of(folder) or folder.as_posix()


def refresh(folder: Path, *names: str) -> None:
    """Fetch small files of a data set at a URL; of a folder like any other, do nothing.

    Raises:
        InputError: the URL has no such file.
        ResourceError: it cannot be read now.
    """
    if url := url_of(folder):
        with FileLock(folder / ".lock"):
            for name in names:
                (folder / name).parent.mkdir(exist_ok=True)
                fetch(f"{url}/{name}", folder / name)


def fetch(url: str, path: Path, sha256: str | None = None) -> None:
    """Fetch a file, which is then whole or not there; with another SHA-256, once more.

    Raises:
        InputError: there is no such file, or its content is not what was written.
        ResourceError: it cannot be read now.
    """
    for _ in range(2):
        digest = hashlib.sha256()
        try:
            with writing_atomically(path) as file:
                for block in _read_patiently(url):
                    digest.update(block)
                    file.write(block)
                if sha256 not in (None, digest.hexdigest()):
                    raise _OtherContentError
            return
        except _OtherContentError:
            continue
    raise InputError(
        f"{url}: got SHA-256 {digest.hexdigest()[:16]}..., expected {str(sha256)[:16]}... as in "
        "shards.json, twice. Upload the file again, and dataset.json last."
    )


class _OtherContentError(Exception):
    """A file has another SHA-256."""


def _read_patiently(url: str) -> Iterator[bytes]:
    """Yield the content of a file; where reading fails, go on from there after a pause."""
    position = 0
    for pause in (*PAUSES, None):
        try:
            for block in _read(url, position):
                position += len(block)
                yield block
            return
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise InputError(
                f"{url}: not found. Expected a data set written by build_shards.py and uploaded "
                "whole. Upload it, or name another --data."
            ) from None
        except InputError:
            raise
        except Exception as error:  # Each store raises errors of its own.
            if pause is None:
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                raise ResourceError(
                    f"{url}: cannot be read: {reason}. Look at the network and at your "
                    "credentials, and run the command again: a run continues where it was."
                ) from None
            time.sleep(pause)


def _read(url: str, position: int) -> Iterator[bytes]:
    """Yield the content of a file from a position on."""
    with _open(url) as file:
        if position:
            file.seek(position)
        while block := file.read(BLOCK):
            yield block


def _open(url: str) -> IO[bytes]:
    scheme, _, rest = url.partition("://")
    if scheme == "file":
        return open(urllib.request.url2pathname(urllib.parse.unquote(rest)), "rb")
    try:
        import fsspec

        return fsspec.open(url, "rb").open()
    except (ImportError, ValueError) as error:
        raise InputError(
            f"{url}: cannot be opened: {error}. Install what reads it (pip install -r "
            "requirements/remote.txt), or name a folder or a URL such as s3://BUCKET/DATA."
        ) from None
