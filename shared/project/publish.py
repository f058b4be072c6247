"""Send experiments to a tracker: MLflow, Weights & Biases, or TensorBoard's own page.

    python publish.py --to mlflow                             # everything below experiments/
    python publish.py experiments/wide --to wandb --watch     # beside a training
    python publish.py --to tensorboard                        # pictures and test metrics there, too

Parameters, the metrics of each epoch and of evaluate.py, what run.json says, and pictures are sent;
weights are not. Run it at any time: only what is new is sent, and published.json in a run folder
notes what was. As it is a process of its own, a server that is away does nothing to a training.

    mlflow   needs requirements/trackers.txt and MLFLOW_TRACKING_URI, such as http://localhost:5000
    wandb    needs requirements/trackers.txt and `wandb login`, or WANDB_MODE=offline
"""

import importlib
import os
import re
from typing import Any

from machinery import publishing
from machinery.errors import InputError
from machinery.publishing import PublishedRun
from machinery.tensorboard_page import TensorBoardPage

LONGEST = 5000  # Characters of a tag that MLflow takes.
MOST = 100  # Parameters, tags or metrics in a request to MLflow; it takes no more of the first two.


def import_tracker(name: str) -> Any:
    """Import the package of a tracker; raise InputError where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"--to {name}: {error}. Install it: python -m pip install -r requirements/trackers.txt"
        ) from None


class MLflow:
    """A server of MLflow: an experiment there is a project, and a run is a run.

    Args:
        project: the name of the experiment, which is made where it is missing.

    Raises:
        InputError: MLflow is not installed, or no server is named.
    """

    def __init__(self, project: str) -> None:
        # Otherwise a server that is away would be asked for minutes.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
        if not (uri := os.environ.get("MLFLOW_TRACKING_URI")):
            raise InputError(
                "MLFLOW_TRACKING_URI: not set, expected the address of a server, such as "
                "http://localhost:5000, or a file: sqlite:///mlflow.db (pip install mlflow)."
            )
        self.mlflow, self.project = import_tracker("mlflow"), project
        without_password = re.sub(r"//.*@", "//", uri)
        self.place = f"{without_password}, {project}"

    def send(self, run: PublishedRun, first_row: int, rest: bool) -> None:
        """Send the rows from `first_row` on, and with `rest` what is no row, too."""
        client, entities = self.mlflow.MlflowClient(), self.mlflow.entities
        experiment = client.get_experiment_by_name(self.project)
        number = experiment.experiment_id if experiment else client.create_experiment(self.project)
        found = client.search_runs([number], f"tags.identity = '{run.identity}'")
        if not found:
            identity = {"identity": run.identity}
            found = [client.create_run(number, run.started, tags=identity, run_name=run.name)]
        run_id, known = found[0].info.run_id, found[0].data.params
        values = run.parameters.items()
        parameters = [
            entities.Param(name, str(value)[:LONGEST])
            for name, value in values
            if name not in known
        ]
        for some in in_parts(parameters):
            client.log_batch(run_id, params=some)
        rows = [*run.rows[first_row:]]
        if rest and run.evaluations:
            rows.append({"step": run.rows[-1]["step"] if run.rows else 0, **run.evaluations})
        # A row holds no time. One that is sent again needs the same, as then MLflow keeps it once.
        metrics = [
            entities.Metric(clean(name), value, run.started + int(row["step"]), int(row["step"]))
            for row in rows
            for name, value in row.items()
            if name != "step"
        ]
        for some in in_parts(metrics):
            client.log_batch(run_id, metrics=some)
        if not rest:
            return
        facts = [
            entities.RunTag(clean(n), str(v)[:LONGEST]) for n, v in run.facts.items() if v != ""
        ]
        for some in in_parts(facts):
            client.log_batch(run_id, tags=some)
        for path in run.files if run.status != "running" else ():
            client.log_artifact(run_id, path)
        statuses = {"running": "RUNNING", "finished": "FINISHED", "stopped": "KILLED"}
        client.update_run(run_id, statuses.get(run.status, "FAILED"))


def clean(name: str) -> str:
    """Return a name with the characters that MLflow takes."""
    return re.sub(r"[^\w\-. /]", "_", name)


def in_parts(values: list[Any]) -> list[list[Any]]:
    """Return parts of a list that fit into a request each."""
    return [values[first : first + MOST] for first in range(0, len(values), MOST)]


class WeightsAndBiases:
    """Weights & Biases, or with WANDB_MODE=offline files in wandb/ that `wandb sync` sends.

    Args:
        project: its name, below the person's or the team's (WANDB_ENTITY).

    Raises:
        InputError: wandb is not installed.
    """

    def __init__(self, project: str) -> None:
        os.environ.setdefault("WANDB_SILENT", "true")
        self.wandb, self.project = import_tracker("wandb"), project
        team, mode = (os.environ.get(name) for name in ("WANDB_ENTITY", "WANDB_MODE"))
        self.place = ", ".join(filter(None, ["wandb", team, project, mode]))

    def send(self, run: PublishedRun, first_row: int, rest: bool) -> None:
        """Send the rows from `first_row` on, and with `rest` what is no row, too.

        It drops a row whose step is not above those that it has, so none is there twice.
        """
        wandb = self.wandb
        with wandb.init(
            id=run.identity,
            project=self.project,
            name=run.name,
            config={**run.parameters, "run": run.facts},
            resume="allow",
            settings=wandb.Settings(silent=True, console="off", init_timeout=30),
        ) as sent:
            for row in run.rows[first_row:]:
                sent.log(row, step=int(row["step"]))
            if rest:
                sent.summary.update({**run.evaluations, "status": run.status})
            for path in run.files if rest and run.status != "running" else ():
                sent.save(str(path.absolute()), base_path=str(run.folder.absolute()), policy="now")


TRACKERS = {"mlflow": MLflow, "wandb": WeightsAndBiases, "tensorboard": TensorBoardPage}
publishing.command_line(__name__, __doc__, TRACKERS).run(TRACKERS)
