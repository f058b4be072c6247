"""TY1, continued: what belongs to a person or a machine."""

import ast
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from trainyard.checks.definition import Finding, check
from trainyard.checks.repository import Repository, is_test

SECRETS = {
    "a key of AWS": r"\bAKIA[0-9A-Z]{16}\b",
    "a token of GitHub": r"\b(gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{50,})\b",
    "a token of GitLab": r"\bglpat-[A-Za-z0-9_-]{20,}\b",
    "a token of Hugging Face": r"\bhf_[A-Za-z0-9]{34}\b",
    "a key of OpenAI or Anthropic": r"\bsk-(?=[\w-]*\d)(?=[\w-]*[A-Z])[\w-]{32,}",
    "a token of Slack": r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    "a key of Google": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "a private key": r"-----BEGIN ([A-Z]+ )?PRIVATE KEY-----",
    "a key of Weights & Biases": r"(?i)wandb.{0,30}[\"'= ][0-9a-f]{40}\b",
    "a URL with a password": r"\b[a-z][a-z0-9+]*://[^/\s:@\"'<{$]+:[^/\s:@\"'<>{}$*]{3,}@[\w.-]+",
    "a secret in a text": r"(?i)(api_?key|secret(_key)?|access_token|auth_token|password)\b"
    # In a notebook, a quote has a backslash before it.
    r"\\?[\"']?\s*[:=]\s*\\?[\"'][A-Za-z0-9/+_.-]{16,}\\?[\"']",
}
# A name that may have more before it (AWS_SECRET_ACCESS_KEY), and the value that it gets, which
# needs no quotes in a configuration.
NAMED = (
    r"(?i)(?P<name>(?:api|access|secret|private|account)[_-]?key|secret|token|password|passwd"
    r"|passphrase|pwd)\b\\?[\"']?\]?\s*(?::\s*[a-z]\w*(?:\s*\|\s*None)?\s*)?[:=][ \t]*"
)
VALUE = r"(?P<value>[^\s\"'`<>{}()\[\]$*,;\\]{8,})"
QUOTED = re.compile(rf"{NAMED}\\?(?P<quote>[\"']){VALUE}\\?(?P=quote)")
UNQUOTED = re.compile(rf"{NAMED}[\"']?{VALUE}(?=[\"',;]|\s|$)")
SECRET_FILES = ("kaggle.json", ".netrc", "id_rsa", "id_ed25519", "credentials.json")
# .env and .env.local, and not what is there to be copied.
ENVIRONMENT = re.compile(r"\.env(?!.*(example|sample|template|dist|default))([._-].*)?")
# What stands for a secret in examples.
PLACEHOLDER = re.compile(
    r"(?i)example|placeholder|your|dummy|fake|changeme|xxxx|0000|1234"
    r"|:(password|passwd|pass|pwd|token|secret)@|localhost|127\.0\.0\.1"
)
MACHINE = re.compile(
    r"(?<![\w.$}~-])(/home/(?!user/|runner/|vscode/|jovyan/|\w*\$)[\w.-]+/|/Users/(?!runner/|Shared/)[\w.-]+/"
    r"|/roo[t]/\w|/scratch/\w|/gpfs/\w|/lustre/\w|/mnt/[\w-]+/\w|[A-Za-z]:\\{1,2}Users\\{1,2}\w)"
)
CONFIGURATIONS = {".yaml", ".yml", ".json", ".toml", ".cfg", ".ini", ".sh", ".slurm", ".sbatch"}
# Endings of files, or whole names.
WITHOUT_QUOTES = CONFIGURATIONS | {
    *(".cnf", ".conf", ".env", ".properties", ".tf", ".tfvars", ".bat", ".ps1", ".bashrc"),
    *(".npmrc", ".pypirc", "Dockerfile", "Makefile"),
}


def usually_holds_secrets(name: str) -> bool:
    """Return whether a path is that of a file which people keep secrets in."""
    last = PurePosixPath(name).name
    return last in SECRET_FILES or bool(ENVIRONMENT.fullmatch(last))


def secrets_in(text: str, name: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text, from 1, that hold a secret, and its kind.

    Args:
        text: of a file.
        name: its path.
    """
    path = PurePosixPath(name)
    is_plain = bool({path.suffix, path.name} & WITHOUT_QUOTES) or path.name.startswith(".env")
    places = [
        (each, "a secret in a text")
        for each in (UNQUOTED if is_plain else QUOTED).finditer(text)
        if _is_random(each["name"], each["value"])
    ]
    for kind, pattern in reversed(SECRETS.items()):  # What is known best is named.
        places += [(each, kind) for each in re.finditer(pattern, text)]
    found = {
        text.count("\n", 0, each.start()) + 1: kind
        for each, kind in places
        if not PLACEHOLDER.search(each[0])
    }
    yield from sorted(found.items())


def _is_random(name: str, value: str) -> bool:
    """Return whether a value is no word, path or name that a person would give."""
    if not re.search(r"\d", value) or not re.search("[A-Za-z]", value) or "://" in value:
        return False
    if name.lower().startswith("p") and name.lower() != "private_key":  # A password.
        return not value.startswith(("/", "./", "../", "~"))
    # Words and versions have separators: bert-base-2. Of a token, a part is long.
    return len(value) >= 16 and bool(re.search(r"(?=\w*\d)[A-Za-z0-9+]{10}", value))


@check(
    "TY106",
    "Secret in the tree",
    why="Whoever can read the repository, or a copy of it, can use it; deleting the line leaves "
    "it in the history.",
    mend="Revoke it now, then read it from the environment or a file that git ignores.",
    doubt="It knows the forms of common tokens, and values with letters and digits behind names "
    "such as API_TOKEN or db_password, no others, and leaves out what looks like an example. For a "
    "whole history use a scanner made for this, such as gitleaks.",
)
def secrets(repository: Repository) -> Iterator[Finding]:
    for name in repository.names:
        # Of UTF-16, as a shell of Windows writes it, text() gives nothing.
        is_named = usually_holds_secrets(name)
        if is_named and (repository.folder / name).read_bytes().strip():
            yield Finding(name, 0, "a file that usually holds secrets")
            continue
        for number, kind in secrets_in(repository.text(name), name):
            yield Finding(name, number, f"looks like {kind}")


@check(
    "TY113",
    "Path of one machine",
    why="It works for one person on one machine, and says who that is.",
    mend="Take the path from the command line, the parameters or the environment.",
    doubt="It reads texts in Python (no docstrings, no tests) and configurations, and knows homes "
    "and usual mounts of clusters. Containers have such paths, too, so Docker files are left out.",
)
def machine_paths(repository: Repository) -> Iterator[Finding]:
    for source in repository.code:
        comments = {
            id(node.value)
            for node in source.nodes
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        for node in source.nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found = MACHINE.search(node.value)
                if found and id(node) not in comments:
                    yield source.finding(node, found[0])
    for name in repository.names:
        path = PurePosixPath(name)
        # Where Copier found a template is nobody's setting.
        if path.suffix not in CONFIGURATIONS or is_test(name) or "copier-answers" in path.name:
            continue
        if "docker" in name.lower() or path.name.startswith("compose"):
            continue
        for number, line in repository.lines(name):
            if (found := MACHINE.search(line)) and not line.lstrip().startswith("#"):
                yield Finding(name, number, found[0])
