"""Where the templates are: this program comes from their repository."""

import importlib.metadata
import json
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from trainyard.errors import InputError
from trainyard.git import refuse_credentials


def find_source(given: str | None) -> str:
    """Return the path or URL of the templates' repository.

    Args:
        given: on the command line; None: where this program was installed from.

    Raises:
        InputError: it is no repository of templates, holds a password or cannot be found.
    """
    source = given or _installed_from() or _around()
    if not source:
        raise InputError("--source: not given, and pip did not record where trainyard came from.")
    refuse_credentials(source, "--source")
    if "://" in source or source.startswith(("git@", "gh:", "gl:")):
        return source
    path = Path(source).expanduser().resolve()
    if not (path / "copier.yml").is_file():
        raise InputError(f"--source: {path} has no copier.yml. Name the templates' repository.")
    return path.as_posix()


def _around() -> str:
    """Return the clone that this program lies in; nothing where it is installed."""
    clone = Path(__file__).resolve().parent.parent
    return clone.as_posix() if (clone / "copier.yml").is_file() else ""


def _installed_from() -> str:
    """Return what pip was given, by https://packaging.python.org/specifications/direct-url/."""
    try:
        text = importlib.metadata.distribution("trainyard").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return ""
    url = json.loads(text)["url"] if text else ""
    parts = urlsplit(url)
    return url2pathname(unquote(parts.path)) if parts.scheme == "file" else url
