"""Bring an existing project under the template, on a branch; nothing of yours is changed.

    trainyard adopt --template torch-research             # the repository here
    trainyard adopt ../leaf --template keras-quickstart --data backend=jax
    git switch trainyard/adopt && cat ADOPT.md            # what was done, and what is left to you

The branch trainyard/adopt holds your files as they are, and those of the template at all paths that
you do not have. Where both have one, yours stays, and ADOPT.md says what to do by hand. The branch
trainyard/template holds the template alone, to compare with and to take files from. Your branch and
your working tree stay as they are. Afterwards, `copier update` brings new versions of the template.

exit codes: 0 done; 2 refused (uncommitted changes, no repository, a template already): nothing was
changed
"""

import argparse
import tempfile
from pathlib import Path

from trainyard.answers import add_data, read_data
from trainyard.errors import InputError

BRANCH = "trainyard/adopt"
PRISTINE = "trainyard/template"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    meaning = "its folder, the top of a git repository [.]"
    parser.add_argument("project", nargs="?", type=Path, default=Path(), help=meaning)
    parser.add_argument("--template", required=True, metavar="NAME", help="such as torch-research")
    meaning = "path or URL of the templates [where this program was installed from]"
    parser.add_argument("--source", metavar="WHERE", help=meaning)
    parser.add_argument("--to", metavar="VERSION", help="of the template [the newest]")
    add_data(parser)


def run(arguments: argparse.Namespace) -> int:
    """Make the two branches; return the exit code."""
    from trainyard.adoption import make_branches, make_plan, render_template
    from trainyard.adoption_report import describe_answers
    from trainyard.progress import say
    from trainyard.template_source import find_source

    folder = arguments.project
    refuse_unfit(folder)
    answers = read_data(arguments.data, arguments.data_file)
    source = find_source(arguments.source)
    with tempfile.TemporaryDirectory() as temporary:
        say(f"making {arguments.template}")
        rendered = Path(temporary, "rendered", folder.resolve().name)
        render_template(source, arguments.template, arguments.to, answers, rendered)
        answered = describe_answers(rendered)
        plan = make_plan(folder, rendered)
        say("comparing and checking")
        commit = make_branches(folder, rendered, plan, Path(temporary), BRANCH, PRISTINE)
    print(f"{BRANCH}: {len(plan.added)} files of the template added, in {commit[:10]}.")
    print(f"Made with {answered}; --data answers otherwise.")
    print(f"Yours at the same path, kept: {', '.join(plan.kept.values()) or 'none'}.")
    for name, reason in plan.left_out.items():
        print(f"Left out: {name}: {reason}")
    print(f"Next: git switch {BRANCH}, then read ADOPT.md. {PRISTINE} has the template alone.")
    return 0


def refuse_unfit(folder: Path) -> None:
    """Raise InputError where a folder cannot take a template on."""
    from trainyard.answers import ANSWERS_FILE
    from trainyard.git import git, is_dirty, repository_of

    top, below = repository_of(folder)
    if below != Path():
        raise InputError(f"{folder}: is a folder of the repository {top}; adopt takes its top.")
    if is_dirty(folder):
        raise InputError(
            f"{folder}: has changes that are not committed. Commit or stash them first, new files "
            "too: git status lists them."
        )
    if (folder / ANSWERS_FILE).exists():
        raise InputError(
            f"{folder / ANSWERS_FILE}: the project was made from a template already. To another "
            "version: copier update. To another of ours: copier update --data template=NAME."
        )
    # To git a branch is a file: below trainyard/adopt, or at trainyard, there cannot be one either.
    for branch in git(folder, "for-each-ref", "--format=%(refname)", "refs/heads").split():
        branch = branch.removeprefix("refs/heads/")
        for ours in (BRANCH, PRISTINE):
            if f"{branch}/".startswith(f"{ours}/") or f"{ours}/".startswith(f"{branch}/"):
                raise InputError(
                    f"{folder}: has a branch {branch} already, so {ours} cannot be made. Rename or "
                    f"delete it first: git branch --move {branch} NEW_NAME"
                )
