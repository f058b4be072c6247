"""Bring the example project of each template, a branch of its own, to a release.

    .venv/bin/python tools/renew_examples.py v1.2.0

The branch example/TEMPLATE shares no commit with the others. Its first one holds what `copier copy`
makes; each release adds what `copier update` makes of it, so the history shows that updates work.
As in people's projects, an update leaves README.md, model/, data/ and experiments/ as they are.
Working tree and index are not touched. tools/release.py calls this after the tag; call it yourself
where that failed, as often as you like. The projects record where `origin` is, from where people
would update them. Exit code 0: done, or nothing to do; 2: refused.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

root = Path(__file__).resolve().parent.parent
PUBLISH = "git push origin 'refs/heads/example/*'"


class Refused(Exception):
    """What stands in the way; said without a traceback, exit code 2."""


def git(*arguments: str, folder: Path = root, **variables: str) -> str:
    """Return what git prints.

    Raises:
        Refused: git does not do it.
    """
    environment = {**os.environ, **variables}
    command = ["git", *arguments]
    result = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8"
    )
    if result.returncode:
        raise Refused(f"git {arguments[0]} failed: {result.stderr.strip()}")
    return result.stdout.strip()


def renew(tag: str, templates: list[str] | None = None) -> list[str]:
    """Bring the branches of templates to a release; return the names of those that were behind.

    Args:
        tag: of the release.
        templates: their names; None: all that the release has.

    Raises:
        Refused: a project cannot be made or updated. The branches before it are renewed.
    """
    renewed = []
    for template in templates or git("ls-tree", "--name-only", f"{tag}:templates").split():
        branch = f"example/{template}"
        parent = head_of(branch)
        with tempfile.TemporaryDirectory() as folder:
            project = Path(folder) / template
            made = update(parent, project, tag) if parent else copy(template, project, tag)
            if made:
                message = f"Update to {tag}" if parent else f"Copy {tag}"
                git("branch", "--force", branch, commit(project, parent, message))
                renewed.append(branch)
    return renewed


def head_of(branch: str) -> str:
    """Return the newest commit of a branch, of here or of `origin`; empty: there is none.

    Raises:
        Refused: each of them has commits that the other lacks.
    """
    places = (f"refs/heads/{branch}", f"refs/remotes/origin/{branch}")
    found = sorted({*git("for-each-ref", "--format=%(objectname)", *places).split()})
    if len(found) < 2:
        return "".join(found)
    newer = [each for each in found if git("merge-base", *found) != each]
    if len(newer) != 1:
        raise Refused(f"{branch}: here and on origin it has commits that the other lacks.")
    return newer[0]


def copy(template: str, project: Path, tag: str) -> bool:
    """Make a project of a release."""
    where = [str(root), str(project)]
    copier("copy", tag, "-d", f"template={template}", *where, folder=project.parent, sources=[])
    return True


def update(commit: str, project: Path, tag: str) -> bool:
    """Make the project of a commit, updated to a release; return whether it was of another."""
    project.mkdir()
    archive = project.with_suffix(".tar")
    git("archive", f"--output={archive}", commit)
    subprocess.run(["tar", "-xf", archive], cwd=project, check=True)
    record = yaml.safe_load((project / ".copier-answers.yml").read_text(encoding="utf-8"))
    if record["_commit"] == tag:
        return False
    # Copier updates a repository without changes.
    person = ["-c", "user.name=Example", "-c", "user.email=example@example.org"]
    git("init", "--quiet", folder=project)
    git("add", "--all", "--force", folder=project)
    git(*person, "commit", "--quiet", "--no-verify", "--message", "before", folder=project)
    sources = [record["_src_path"], origin()]
    copier("update", tag, folder=project, sources=sources)
    if conflicts := git("diff", "--name-only", "--diff-filter=U", folder=project).split():
        raise Refused(f"example/{project.name}: conflicts in {', '.join(conflicts)}.")
    return True


def copier(verb: str, tag: str, *words: str, folder: Path, sources: list[str]) -> None:
    """Run Copier with the default answers, without the person's own settings.

    Args:
        verb: copy or update.
        tag: of the release.
        words: more of the command line.
        folder: where.
        sources: URLs for which this repository is read, since the tag may not be there yet.

    Raises:
        Refused: it did not do it.
    """
    options = ["--defaults", "--vcs-ref", tag, "-d", f"template_source={origin()}"]
    with tempfile.TemporaryDirectory() as apart:
        settings = Path(apart) / "settings.yml"
        settings.write_text("{}\n", encoding="utf-8")
        environment = {**os.environ, "COPIER_SETTINGS_PATH": str(settings)}
        environment["COPIER_CACHE_DIR"] = apart
        urls = sorted({url.removeprefix("git+") for url in sources if url})
        start = int(os.environ.get("GIT_CONFIG_COUNT", "0"))
        for number, url in enumerate(urls, start):
            environment[f"GIT_CONFIG_KEY_{number}"] = f"url.{root}.insteadOf"
            environment[f"GIT_CONFIG_VALUE_{number}"] = url
        environment["GIT_CONFIG_COUNT"] = str(start + len(urls))
        result = subprocess.run(
            [sys.executable, "-m", "copier", verb, *options, *words],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
    if result.returncode:
        last = "\n".join(result.stdout.strip().splitlines()[-5:])
        raise Refused(f"{folder.name}: copier {verb} failed: {last}")


def commit(project: Path, parent: str, message: str) -> str:
    """Make a commit of all files of a folder in this repository; return its name."""
    with tempfile.TemporaryDirectory() as folder:
        where = {"GIT_INDEX_FILE": str(Path(folder) / "index"), "GIT_WORK_TREE": str(project)}
        where["GIT_DIR"] = git("rev-parse", "--absolute-git-dir")
        git("add", "--all", "--force", folder=project, **where)
        tree = git("write-tree", folder=project, **where)
    parents = ["-p", parent] if parent else []
    return git("commit-tree", tree, *parents, "-m", message)


def origin() -> str:
    """Return where other people find this repository.

    Raises:
        Refused: there is no such address, or one with a password, which would be published.
    """
    url = git("config", "--default", "", "--get", "remote.origin.url")
    if not url:
        raise Refused("There is no remote `origin`, which the examples would be updated from.")
    if re.match("(git[+])?https?://[^/]*@|.*://[^/]*:[^/]*@", url):
        raise Refused(
            "The address of `origin` holds a user or a password, which the examples would publish. "
            "Leave that to git's credential helper: `git remote set-url origin ADDRESS`."
        )
    return url


def main() -> int:
    """Renew the branches for the release that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tag", metavar="TAG", help="of the release, such as v1.2.0")
    try:
        renewed = renew(parser.parse_args().tag)
    except Refused as refusal:
        print(f"error: {refusal}", file=sys.stderr)
        return 2
    print(f"Renewed: {', '.join(renewed) or 'none, all were there'}. Publish: {PUBLISH}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
