"""Where the data lie of which nobody says where: in data/, or where pyproject.toml says.

    [tool.trainyard]
    data = "/data/leaf"       # a folder, or a URL such as s3://bucket/leaf

What comes with the project is prepared in data/ alone, so that it never mixes with what lies there.
"""

import re
import tomllib
from pathlib import Path

from machinery.errors import InputError

DEFAULT_FOLDER = Path("data")  # of what comes with the project
FILE = Path(__file__).resolve().parent.parent / "pyproject.toml"


def usual() -> str:
    """Return the place that pyproject.toml names, else data.

    Raises:
        InputError: it names none clearly, and nobody should train on other data unawares.
    """
    try:
        content = tomllib.loads(FILE.read_text(encoding="utf-8"))
    except FileNotFoundError:  # Such as in a notebook on another machine.
        return str(DEFAULT_FOLDER)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{FILE}: {reason}. It says where the data lie: mend it.") from None
    table = content.get("tool", {}).get("trainyard", {})
    if not isinstance(table, dict):
        raise InputError(f"{FILE}: tool.trainyard: got {table!r}, expected a table.")
    place = table.get("data", str(DEFAULT_FOLDER))
    if not isinstance(place, str) or not place.strip():
        raise InputError(
            f"{FILE}: tool.trainyard.data: got {place!r}, expected a folder or a URL in quotes, "
            'such as "/data/leaf".'
        )
    return str(Path(place).expanduser()) if place.startswith("~") else place


def folder_to_write() -> Path:
    """Return the usual place; where that is a URL, data: what is uploaded is made there first."""
    place = usual()
    return DEFAULT_FOLDER if re.match(r"[a-z][a-z0-9+.-]+://", place) else Path(place)
