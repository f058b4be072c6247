"""The competition's files: downloaded and unpacked into data/raw, which comes whole or not at all.

data/.download/        what Kaggle's client downloads; it goes on where a kill interrupted it
data/.download/files/  the files unpacked, until all are there and the folder becomes data/raw
"""

import contextlib
import re
import shutil
import stat
import zipfile
import zlib
from pathlib import Path

from filelock import FileLock

from machinery.competition import FOLDER, ORIGIN, RAW, find_raw, read_slug
from machinery.errors import InputError
from machinery.files import remove, replace, sync_tree, write_atomically
from machinery.kaggle_client import call

DOWNLOAD = RAW.with_name(".download")
SHOWN = 10  # Names of files in a message.

# What zipfile raises for an archive that is damaged, encrypted or no zip.
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, ValueError)


def download(address: str, overwrite: bool) -> None:
    """Download the competition's files and unpack them into data/raw, once.

    Args:
        address: of the competition, or its name, as a person may paste it; empty: the project's.
        overwrite: download them although there are files already.

    Raises:
        InputError: the address is another competition's, Kaggle gives nothing, or what it gives
            cannot be used.
    """
    slug = read_slug()
    if address and (name := competition_of(address)) != slug:
        raise InputError(
            f"{name} is not the competition of this project, which is {slug}. Make a project for "
            f"it, or correct {FOLDER / 'competition.yaml'}."
        )
    DOWNLOAD.mkdir(parents=True, exist_ok=True)
    with FileLock(DOWNLOAD.with_name(".download.lock")):
        if ORIGIN.exists():
            find_raw()  # Refuses those of another competition.
        if not overwrite:
            with contextlib.suppress(InputError):
                print(f"{find_raw()}: the files are there. Download them anew: --overwrite")
                return
        call("competitions", "download", slug, "--path", str(DOWNLOAD))
        files = DOWNLOAD / "files"
        for left in (files, DOWNLOAD / "old"):  # By a kill.
            shutil.rmtree(left, ignore_errors=True)
        archives = [path for path in DOWNLOAD.iterdir() if path.stem == slug]
        if not archives:
            raise InputError(f"Kaggle's client downloaded no file of {slug}. Repeat it later.")
        _unpack_download(archives[0], files)
        write_atomically(files / ORIGIN.name, f"{slug}\n".encode())
        _refuse_to_lose_files(files)
        sync_tree(files)
        if RAW.exists():
            replace(RAW, DOWNLOAD / "old")
        replace(files, RAW)
        shutil.rmtree(DOWNLOAD)
    found = sorted(path for path in RAW.rglob("*") if path.is_file() and path != ORIGIN)
    print(f"{RAW}: {len(found)} files")
    for path in found[:SHOWN]:
        print(f"  {path.relative_to(RAW).as_posix()}  {path.stat().st_size:,} bytes")
    print("Next: python compete.py understand")


def competition_of(address: str) -> str:
    """Return the name of the competition that an address names, or a name itself.

    Raises:
        InputError: it is an address of something else.
    """
    page = re.match(r"(https?://)?(www\.)?kaggle\.com/(competitions|c)/([^/?#]+)", address)
    name = page.group(4) if page else address
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
        raise InputError(
            f"{address}: got no competition's address or name, expected one such as "
            "https://www.kaggle.com/competitions/titanic or titanic."
        )
    return name


def _unpack_download(archive: Path, files: Path) -> None:
    """Unpack what was downloaded; what is no archive is moved as it is."""
    if archive.suffix != ".zip":
        files.mkdir()
        replace(archive, files / archive.name)
        return
    try:
        unpack(archive, files)
    except (*DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # Such as a full disk.
            raise
        remove(archive)
        raise InputError(
            f"{archive}: cannot be unpacked: {error}. It is deleted; repeat the command to "
            "download it anew."
        ) from None
    _unpack_nested(files)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip archive.

    Args:
        archive: the file.
        folder: where to; made if it is not there.

    Raises:
        zipfile.BadZipFile: it is damaged.
        InputError: a member would come to lie outside of the folder, or is a link.
    """
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            parts = re.split(r"[/\\]", member.orig_filename)
            outside = ".." in parts or not parts[0] or ":" in parts[0]
            if outside or stat.S_ISLNK(member.external_attr >> 16):
                raise InputError(
                    f"{archive}: refused, for {member.orig_filename!r} in it leads out of the "
                    "folder. Nothing of it is unpacked."
                )
        folder.mkdir(parents=True, exist_ok=True)
        opened.extractall(folder)


def _unpack_nested(folder: Path) -> None:
    """Unpack the archives among files, and delete them; what cannot be unpacked stays.

    An archive of one file or one folder of its own name is unpacked beside it, such as train.zip
    of train.csv; another one into a folder of its name.
    """
    for archive in sorted(folder.rglob("*.zip")):
        inside = archive.with_name(f".{archive.name}.files")
        try:
            unpack(archive, inside)
        except (*DAMAGED, InputError) as error:
            shutil.rmtree(inside, ignore_errors=True)
            print(f"{archive.relative_to(folder)}: kept as it is, it cannot be unpacked: {error}")
            continue
        _unpack_nested(inside)
        found = [*inside.iterdir()]
        alone = len(found) == 1 and Path(found[0].name).stem == Path(archive.stem).stem
        source, target = (
            (found[0], archive.with_name(found[0].name))
            if alone
            else (inside, archive.with_suffix(""))
        )
        if target.exists():
            print(f"{archive.relative_to(folder)}: kept as it is, for there is a {target.name}")
        else:
            replace(source, target)
            remove(archive)
        shutil.rmtree(inside, ignore_errors=True)


def _refuse_to_lose_files(files: Path) -> None:
    """Raise InputError where data/raw holds files that are not among those downloaded."""
    present = [path.relative_to(RAW) for path in RAW.rglob("*") if path.is_file()]
    if own := sorted(path.as_posix() for path in present if not (files / path).exists()):
        names = ", ".join(own[:SHOWN]) + (", ..." if len(own) > SHOWN else "")
        raise InputError(
            f"{RAW}: holds what is not in the download: {names}. Move it elsewhere, and repeat it."
        )
