"""Kaggle's own client, run as a process of its own, and what its failures ask of the person.

It is not imported: that alone asks Kaggle who the person is, and prints help where nobody is known.
https://github.com/Kaggle/kaggle-cli
"""

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from machinery.competition import FOLDER, read_slug
from machinery.errors import InputError

NEW_TOKEN = (
    "Make a token at https://www.kaggle.com/settings/api and save it as ~/.kaggle/access_token, or "
    "run: kaggle auth login"
)
INSTALL = "pip install -r requirements/kaggle.txt"

# Failures that the client prints and still ends with exit code 0.
ANNOUNCED = re.compile(r"^([\w ]+ error: |Could not (submit|find) ).*", re.MULTILINE)
# What tells in the client's words, in lower case, how Kaggle answered.
NO_MODULE = re.compile(r"no module named '?([\w.]+)")
NOT_OFFERED = re.compile(r"invalid choice|unrecognized arguments")
NO_NETWORK = re.compile(
    r"connectionerror|max retries exceeded|failed to resolve|name resolution|connection refused"
    r"|proxyerror|timed out|network is unreachable"
)
UNKNOWN_PERSON = re.compile(r"\b401\b|unauthenticated|unauthorized|authentication required")
TOO_MANY = re.compile(r"\b429\b|too many requests|rate limit")
# But not a file of this machine: "PermissionError: [Errno 13] Permission denied".
FORBIDDEN = re.compile(
    r"\b403\b|forbidden|(?<!\[errno 13\] )\bpermissions?\b|accept .*rules",
)
NOT_FOUND = re.compile(r"\b404\b|not found")
OUT_OF_ORDER = re.compile(r"\b5\d\d server error")
# Files that log in to Kaggle or elsewhere.
TOKEN_FILES = re.compile(r"kaggle\.json|credentials\.json|access_token.*|\.env(\..*)?|\.netrc")


class NotOfferedError(InputError):
    """The client that is installed has no such command or option."""


def call(*arguments: str) -> str:
    """Run `kaggle ARGUMENTS` and return what it prints to standard output.

    The progress of a download or an upload is shown meanwhile.

    Raises:
        NotOfferedError: the installed client does not know the command.
        InputError: it failed; the message says what to do.
    """
    code, printed, said = _run("-m", "kaggle", *arguments)
    said = f"{printed}\n{said}"
    if code:
        raise explain(arguments, said)
    if found := ANNOUNCED.search(said):
        raise explain(arguments, found.group())
    return printed


def error_description(slug: str, ref: str) -> str:
    """Return why a submission could not be scored; empty: it is not known.

    The client's commands do not print it.
    """
    code = (
        "import sys, kaggle\n"
        "for each in kaggle.api.competition_submissions(sys.argv[1]):\n"
        "    if str(each.ref) == sys.argv[2]: print(each.error_description or '')"
    )
    failed, printed, _ = _run("-c", code, slug, ref)
    return "" if failed else printed.strip()


def read_quota() -> str:
    """Return how many hours of accelerators are left this week; empty: the client cannot tell."""
    try:
        return call("quota")
    except NotOfferedError:
        return ""


def _run(*arguments: str) -> tuple[int, str, str]:
    """Run Python; return the exit code and what it prints to standard output and error.

    A progress bar is shown meanwhile.
    """
    # With -P no file of the project is taken for a module of the client.
    command = [sys.executable, "-P", *arguments]
    environment = {**os.environ, "PYTHONUTF8": "1"}
    with (
        tempfile.TemporaryFile() as output,
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.PIPE,
            env=environment,
        ) as process,
    ):
        errors = b""
        assert process.stderr
        while piece := os.read(process.stderr.fileno(), 4096):
            errors += piece
            if b"\r" in piece and sys.stderr.isatty():  # A progress bar.
                sys.stderr.write(piece.decode(errors="replace"))
        code = process.wait()
        output.seek(0)
        printed = output.read().decode(errors="replace")
    return code, printed, errors.decode(errors="replace")


def explain(arguments: tuple[str, ...], said: str) -> InputError:
    """Return the error to raise for a call that failed: what is wrong, and the next step.

    Args:
        arguments: of the call.
        said: all that the client printed.
    """
    words = " ".join(["kaggle", *arguments[:2]])
    lines = [line.strip() for line in re.split(r"[\r\n]", said) if line.strip()]
    # The address of a download holds a signature.
    last = re.sub(r" for url: \S+", "", lines[-1] if lines else "no word").rstrip(".")
    text = said.lower()
    if found := NO_MODULE.search(text):
        return InputError(f"Kaggle's client needs {found.group(1)}. Install both: {INSTALL}")
    if NOT_OFFERED.search(text):
        return NotOfferedError(f"{words}: {last}. A newer client may: {INSTALL} --upgrade")
    if UNKNOWN_PERSON.search(text):
        return InputError(_explain_token())
    if TOO_MANY.search(text):
        return InputError(f"{words}: too many requests (429). Wait some minutes, and repeat it.")
    if FORBIDDEN.search(text) or NOT_FOUND.search(text):
        return InputError(f"{words}: {last}. {_explain_refusal(arguments)}")
    if NO_NETWORK.search(text):
        return InputError(f"{words}: Kaggle cannot be reached. Is there a network, or a proxy?")
    if OUT_OF_ORDER.search(text):
        return InputError(f"{words}: {last}. Kaggle itself has a problem: repeat it later.")
    return InputError(f"{words}: {last}. Mend this, or repeat it later.")


def _explain_refusal(arguments: tuple[str, ...]) -> str:
    """Return what to do where Kaggle says that it may not be, or that there is no such thing."""
    if not arguments or arguments[0] != "competitions":
        return "Is the name right, and is it yours? A phone number must be verified for some things"
    slug = read_slug()
    return (
        f"Accept the rules at https://www.kaggle.com/competitions/{slug}/rules and repeat it. "
        f"Where no such page opens, {slug} is misspelled: correct {FOLDER / 'competition.yaml'}."
    )


def _explain_token() -> str:
    """Return what to do where Kaggle does not know the person: which tokens there are."""
    known = token_sources()
    if found := [name for name, is_there in known.items() if is_there]:
        where = ", ".join(found)
        return f"Kaggle takes no token from {where}: wrong, or no longer valid. {NEW_TOKEN}"
    return f"Kaggle needs a token, and there is none in {', '.join(known)}. {NEW_TOKEN}"


def refuse_tokens(paths: Iterable[Path]) -> None:
    """Raise InputError where one of the files that others will get looks like a token."""
    if found := [path for path in paths if TOKEN_FILES.fullmatch(path.name)]:
        raise InputError(
            f"{found[0]}: looks like a token, which others must not get. Move it out of the "
            "project, and out of its commits; where others have seen it, make a new one."
        )


def is_refusal(error: InputError) -> bool:
    """Return whether Kaggle said that something may not be, or that there is no such thing."""
    said = str(error).lower()
    return bool(FORBIDDEN.search(said) or NOT_FOUND.search(said))


def token_sources() -> dict[str, bool]:
    """Return where the client looks for a token, in its order, and whether there is one."""
    home = Path("~/.kaggle").expanduser()
    settings = os.environ.get("XDG_CONFIG_HOME") or Path("~/.config").expanduser()
    own = os.environ.get("KAGGLE_CONFIG_DIR")
    folder = Path(own) if own else home if home.exists() else Path(settings, "kaggle")
    tokens = [home / "access_token", home / "access_token.txt"]
    logins = [folder / "kaggle.json", home / "credentials.json"]
    keys = ("KAGGLE_USERNAME", "KAGGLE_KEY")
    return {
        "KAGGLE_API_TOKEN": bool(os.environ.get("KAGGLE_API_TOKEN")),
        **{str(path): path.exists() for path in tokens},
        " with ".join(keys): all(os.environ.get(key) for key in keys),
        **{str(path): path.exists() for path in logins},
    }
