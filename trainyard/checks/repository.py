"""The files of a project, as git lists them. Nothing of it is run."""

import codecs
import fnmatch
import functools
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from trainyard.checks.sources import Source, read_notebook, read_python
from trainyard.errors import InputError
from trainyard.git import git

LARGEST_TEXT = 5_000_000  # Bytes; what is longer is data.
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
# That of UTF-32 begins as that of UTF-16 does.
MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
FRAMEWORKS = {
    *("torch", "tensorflow", "keras", "jax", "flax", "lightning", "pytorch_lightning"),
    *("mxnet", "paddle", "mlx", "tinygrad", "transformers", "fastai"),
}
TRAINING_CALLS = {"backward", "GradientTape", "value_and_grad", "train_on_batch"}


class Repository:
    """A project: what git tracks or would track in its folder.

    Args:
        folder: a repository, a folder in one, or one without git.
        exclude: patterns of paths to leave out.

    Raises:
        InputError: it is no folder, or git cannot read it.
    """

    def __init__(self, folder: Path, exclude: Sequence[str] = ()) -> None:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder. Give the folder of a project.")
        self.folder = folder
        self._texts: dict[str, str] = {}
        listed = list_files(folder)
        left_out = [
            name for name in listed if any(fnmatch.fnmatch(name, pattern) for pattern in exclude)
        ]
        self.names = sorted({*listed} - {*left_out})
        if not self.names:
            raise InputError(f"{folder}: holds no file to check. Give the folder of a project.")

    def text(self, name: str) -> str:
        """Return the text of a file; of one that is binary or too long, nothing."""
        if name not in self._texts:
            path = self.folder / name
            try:
                content = path.read_bytes() if path.stat().st_size <= LARGEST_TEXT else b"\0"
            except OSError as error:
                raise InputError(f"{path}: cannot be read: {error.strerror}.") from None
            self._texts[name] = decode(content)
        return self._texts[name]

    def size(self, name: str) -> int:
        """Return the bytes that git keeps for a file; of one in LFS, those of its pointer."""
        return (self.folder / name).stat().st_size

    def is_in_lfs(self, name: str) -> bool:
        """Return whether a file is a pointer to Git LFS, or is to become one."""
        with open(self.folder / name, "rb") as file:
            if file.read(len(LFS_POINTER)) == LFS_POINTER:
                return True
        patterns = [
            line.split()[0].lstrip("/")
            for attributes in self.find(".gitattributes")
            for _, line in self.lines(attributes)
            if "filter=lfs" in line
        ]
        return any(
            fnmatch.fnmatchcase(each, pattern)
            for pattern in patterns
            for each in (name, PurePosixPath(name).name)
        )

    def lines(self, name: str) -> Iterator[tuple[int, str]]:
        """Yield the lines of a text, with their numbers from 1."""
        yield from enumerate(self.text(name).splitlines(), 1)

    def find(self, *patterns: str) -> list[str]:
        """Return the paths that fit one of the patterns, whatever their case; `*` takes any `/`."""
        return [
            name
            for name in self.names
            if any(fnmatch.fnmatchcase(name.lower(), pattern) for pattern in patterns)
        ]

    @functools.cached_property
    def _python(self) -> dict[str, Source | tuple[int, str]]:
        return {name: read_python(name, self.text(name)) for name in self.find("*.py")}

    @functools.cached_property
    def broken(self) -> list[tuple[str, int, str]]:
        """Return the Python files that are not Python 3: path, line, what is wrong."""
        read = self._python.items()
        return [(name, each[0], each[1]) for name, each in read if isinstance(each, tuple)]

    @functools.cached_property
    def sources(self) -> list[Source]:
        """Return the Python files and notebooks that can be read."""
        notebooks = [read_notebook(name, self.text(name)) for name in self.find("*.ipynb")]
        files = (*self._python.values(), *notebooks)
        return [each for each in files if isinstance(each, Source)]

    @functools.cached_property
    def code(self) -> list[Source]:
        """Return the sources that are no tests."""
        return [source for source in self.sources if not is_test(source.path)]

    @functools.cached_property
    def training(self) -> list[Source]:
        """Return the sources that train a network, as far as their syntax shows it."""
        return [source for source in self.code if trains(source)]


def decode(content: bytes) -> str:
    """Return the text that bytes are; of those of a binary file, nothing.

    Args:
        content: of a file. PowerShell writes UTF-16, which has zeros in it, but begins with a mark.
    """
    for mark, encoding in MARKS.items():
        if content.startswith(mark):
            return content.decode(encoding, "replace")
    return "" if b"\0" in content[:8192] else content.decode("utf-8-sig", "replace")


def trains(source: Source) -> bool:
    """Return whether a source takes steps of training, by its own loop or by `fit`."""
    frameworks = FRAMEWORKS & {name.partition(".")[0] for name in source.imports.values()}
    for name, call in source.calls:
        last = name.rpartition(".")[2]
        if last in TRAINING_CALLS and (frameworks or not call.args):
            return True
        owner = name.rpartition(".")[0].lower()
        if last == "fit" and (frameworks or re.search(r"model|net|trainer", owner)):
            return True
    return False


def is_test(name: str) -> bool:
    """Return whether a path is one of the project's tests."""
    path = PurePosixPath(name)
    return (
        bool({"test", "tests"} & {*path.parts[:-1]})
        or path.name.startswith(("test_", "conftest."))
        or path.stem.endswith("_test")
    )


def list_files(folder: Path) -> list[str]:
    """Return the files of a folder that git tracks, or would track if they were added.

    A folder that is in no repository is listed as if it were one, so `.gitignore` counts.

    Raises:
        InputError: git cannot be run, or not there.
    """
    words = ("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
    try:
        listing = git(folder, *words)
    except InputError:
        if any((each / ".git").exists() for each in (folder.resolve(), *folder.resolve().parents)):
            raise
        with tempfile.TemporaryDirectory() as empty:
            git(folder, "init", "--quiet", "--bare", empty)
            where = (f"--git-dir={empty}", f"--work-tree={folder.resolve()}")
            listing = git(folder, *where, *words)
    paths = [folder / name for name in listing.split("\0") if name]
    return [
        path.relative_to(folder).as_posix()
        for path in paths
        if path.is_file() and not path.is_symlink()
    ]
