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
SECRET_FILES = ("kaggle.json", ".env", ".netrc", "id_rsa", "id_ed25519", "credentials.json")
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


def secrets_in(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of a text, from 1, that hold a secret, and its kind."""
    found = {
        text.count("\n", 0, each.start()) + 1: kind
        for kind, pattern in SECRETS.items()
        for each in re.finditer(pattern, text)
        if not PLACEHOLDER.search(each[0])
    }
    yield from sorted(found.items())


@check(
    "TY106",
    "Secret in the tree",
    why="Whoever can read the repository, or a copy of it, can use it; deleting the line leaves "
    "it in the history.",
    mend="Revoke it now, then read it from the environment or a file that git ignores.",
    doubt="It knows the forms of common tokens, no others, and leaves out what looks like an "
    "example. For a whole history use a scanner made for this, such as gitleaks.",
)
def secrets(repository: Repository) -> Iterator[Finding]:
    for name in repository.names:
        # Of UTF-16, as a shell of Windows writes it, text() gives nothing.
        is_named = PurePosixPath(name).name in SECRET_FILES
        if is_named and (repository.folder / name).read_bytes().strip():
            yield Finding(name, 0, "a file that usually holds secrets")
            continue
        for number, kind in secrets_in(repository.text(name)):
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
