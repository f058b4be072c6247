"""What runs in every way with each task: a tiny run and its evaluation, made once for all tests."""

import shutil
from pathlib import Path

from combinations import Combination, find_combination
from fork_server import ForkServer
from projects import answers, experiment, tiny

# Keep what the network predicts, with all its bits, before anything is made of it.
KEEP_EVALUATED = """
import numpy as np
import model.report as report
from machinery.predictions import concatenate_arrays
add, kept = report.Evaluation.add, []
def add_and_keep(self, predictions, targets, losses):
    kept.append(dict(predictions))
    np.savez("evaluated.npz", **concatenate_arrays(kept))
    add(self, predictions, targets, losses)
report.Evaluation.add = add_and_keep
"""


def name_of(combination: Combination) -> str:
    """Return the name of a combination's experiment."""
    return "-".join(word for word in combination[:3] if word != "-")


def spend_evening(project: Path, server: ForkServer, evenings: Path) -> Path:
    """Train for two short epochs and evaluate; return the run folder.

    What the evaluation predicted lies in the project, in evaluated.npz.

    Args:
        project: a project with its data.
        server: of the project.
        evenings: gets a copy of the run folder, named after the combination, whole or not at all.
    """
    given = answers(project)
    choice = given.get("loop") or given.get("backend", "-")
    name = name_of(find_combination(choice, given["task"]))
    # In float32, which every processor has.
    folder = experiment(project, name, tiny(project, {"training.precision": "float32"}))
    for script, setup in (("train", ""), ("evaluate", KEEP_EVALUATED)):
        result = server.run(script, "--experiment", folder, setup=setup)
        assert result.code == 0, result.output
    copy = shutil.copytree(project / folder, project.with_name(name))
    try:
        copy.rename(evenings / name)
    except OSError:  # Another process was quicker.
        assert (evenings / name).exists()
    return project / folder
