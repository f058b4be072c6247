"""TY1, continued: what belongs to a person or a machine."""

import ast
import bisect
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
    "a key of OpenAI or Anthropic": r"\bsk-(?=[\w-]{0,200}\d)(?=[\w-]{0,200}[A-Z])[\w-]{32,}",
    "a token of Slack": r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    "a key of Google": r"\bAIza[0-9A-Za-z_-]{35}\b",
    "a private key": r"-----BEGIN ([A-Z]+ )?PRIVATE KEY-----",
    "a key of Weights & Biases": r"(?i)wandb.{0,30}[\"'= ][0-9a-f]{40}\b",
    "a URL with a password": r"\b[a-z][a-z0-9+]{0,30}://[^/\s:@\"'<{$]+:[^/\s:@\"'<>{}$*]{3,}@[\w.-]+",
    "a secret in a text": r"(?i)(api_?key|secret(_key)?|access_token|auth_token|password)\b"
    # In a notebook, a quote has a backslash before it.
    r"\\?[\"']?\s*[:=]\s*\\?[\"'][A-Za-z0-9/+_.-]{16,}\\?[\"']",
}
# A name that may have more around it (AWS_SECRET_ACCESS_KEY, API_TOKEN_PROD, password1), and the
# value that it gets. No part may take long: each is short, or ends where the next one starts.
WORD = (
    r"(?P<name>(?:api|access|secret|private|account)[_-]?key|secret|token|password|passwd"
    r"|passphrase|pwd)(?:[_-](?!\w{0,40}(?:file|path|name|env|var|url|uri|hash|hasher|type|kind"
    r"|field|algorithm|encoder|policy)\b)\w{0,40}|\d{1,3})?(?!\w)"
)
TYPE = r"(?::\s*[a-z][\w.]*(?:\[[\w.,| ]{1,60}\])?(?:\s*\|\s*None)?\s*)?"
NAMED = rf"(?i){WORD}\\?[\"']?\]?\s*{TYPE}[:=][ \t]*"
# A call's arguments: os.getenv("API_TOKEN", "..."), add_argument("--api-token", default="...").
ARGUMENT = (
    r"\w\(\s*(?:[\"']-\w[\"'],\s*)?\\?[\"'][\w-]{0,60}?"
    rf"{WORD}\\?[\"']\s*,(?:[^()]{{0,100}}\bdefault\s*=)?\s*"
)
SIGN = r"[^\s\"'`<>{}()\[\]$*,;\\]"
QUOTE = r"\(?\s*[bfru]{0,2}(?P<quote>(?:\\?[\"']){3}|\\?[\"'])"
VALUES = rf"{QUOTE}(?P<value>{SIGN}{{8,}})(?P=quote)"
QUOTED = (re.compile(rf"{NAMED}{VALUES}"), re.compile(rf"(?i){ARGUMENT}{VALUES}"))
BARE = rf"(?P<value>{SIGN}{{8,2000}}+)(?=[\"',;`]|\s|$)"
UNQUOTED = re.compile(rf"{NAMED}[\"']?{BARE}")
# A line of a shell or of Docker, which any text may quote: export API_TOKEN=..., ENV API_TOKEN ...
BEFORE = r"[ \t]{1,8}[\"']?\w{0,60}?"
COMMAND = re.compile(
    rf"(?im)(?:^[ \t>$#]{{0,12}}(?:\w{{0,60}}?|(?:export|env|arg|set){BEFORE})"
    rf"|(?<!\w)(?:export|env|-e|--env|set){BEFORE}){WORD}=[\"']?{BARE}"
)
OF_DOCKER = re.compile(rf"(?im)^[ \t]{{0,12}}env{BEFORE}{WORD}[ \t]{{1,8}}[\"']?{BARE}")
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
    *(".bash", ".zsh", ".envrc"),
    *(".npmrc", ".pypirc", "Dockerfile", "Makefile"),
}


def usually_holds_secrets(name: str) -> bool:
    """Return whether a path is that of a file which people keep secrets in."""
    last = PurePosixPath(name).name
    return last in SECRET_FILES or bool(ENVIRONMENT.fullmatch(last))


def secrets_in(text: str, name: str) -> Iterator[tuple[int, str]]:
    """Yield of each secret in a text its line, from 1, and its kind.

    Args:
        text: of a file.
        name: its path.
    """
    places = [
        (*each.span(), len(SECRETS), "a secret in a text")
        for pattern in _forms(PurePosixPath(name))
        for each in pattern.finditer(text)
        if _is_random(each["name"], each["value"]) and not PLACEHOLDER.search(each[0])
    ]
    for rank, (kind, pattern) in enumerate(SECRETS.items()):
        places += [
            (*each.span(), rank, kind)
            for each in re.finditer(pattern, text)
            if not PLACEHOLDER.search(each[0])
        ]
    ends = [each.start() for each in re.finditer("\n", text)]
    found: list[tuple[int, int, int, str]] = []
    for each in sorted(places):
        if not found or each[0] >= found[-1][1]:
            found.append(each)
            continue
        # One secret in several forms: what is known best is named.
        best = min(found[-1], each, key=lambda place: place[2])
        found[-1] = (found[-1][0], max(found[-1][1], each[1]), best[2], best[3])
    for start, *_, kind in found:
        yield bisect.bisect_left(ends, start) + 1, kind


def _forms(path: PurePosixPath) -> tuple[re.Pattern[str], ...]:
    """Return how a name and its value are written in a file."""
    docker = (OF_DOCKER,) if "dockerfile" in path.name.lower() else ()
    if {path.suffix, path.name} & WITHOUT_QUOTES or docker or path.name.startswith(".env"):
        return (UNQUOTED, *docker)
    return QUOTED if path.suffix in (".py", ".ipynb") else (*QUOTED, COMMAND)


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
    "such as API_TOKEN or db_password, no others, and leaves out what looks like an example, is an "
    "entry of a list, or follows a name that ends as password_file or password_hash do. For a "
    "whole history use a scanner made for this, such as gitleaks.",
)
def secrets(repository: Repository) -> Iterator[Finding]:
    for name in repository.names:
        # Of bytes that are no text, text() gives nothing.
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
