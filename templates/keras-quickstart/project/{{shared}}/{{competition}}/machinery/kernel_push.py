"""`compete.py push`: the notebook and its weights go to Kaggle, and what it wrote comes back."""

import json
import re
import time
from pathlib import Path
from typing import Any

from machinery.errors import InputError
from machinery.kaggle_client import call, is_refusal, read_quota, refuse_tokens
from machinery.kaggle_setup import MANIFEST
from machinery.kaggle_wheels import refuse_missing_wheels
from machinery.notebook_bundle import NOTEBOOK, OUTPUT, OWNER, digest_of, write_json
from machinery.notebook_file import read_cells, read_settings
from machinery.simulation import read_metadata

PUSHED = NOTEBOOK / "pushed.json"  # Which weights Kaggle has.
VERSION = NOTEBOOK / "version.json"  # Which notebook Kaggle has.
PAUSES = (1.0, 60.0)  # seconds between two looks, at first and at most


def push(minutes: float) -> None:
    """Send dataset and notebook, wait until the notebook has run, and fetch its output.

    Args:
        minutes: to wait for it at most; it goes on without us.

    Raises:
        InputError: Kaggle refused it, or it failed there.
    """
    settings = read_settings(read_cells(NOTEBOOK / read_metadata()["code_file"]))
    refuse_missing_wheels()
    refuse_tokens((NOTEBOOK / "dataset").rglob("*"))  # Kaggle's client sends the whole folder.
    owner = read_owner()
    for name in ("kernel-metadata.json", "dataset/dataset-metadata.json"):
        name_owner(NOTEBOOK / name, owner)
    metadata = read_metadata()
    print(read_quota().rstrip() or "This client cannot tell how much of the quota is left.")
    push_weights(metadata["dataset_sources"][0])
    options = ["--accelerator", shape] if (shape := metadata.get("machine_shape")) else []
    said = call("kernels", "push", "--path", str(NOTEBOOK), *options)
    print(said.strip())
    if "not valid" in said:
        raise InputError(f"{metadata['id']}: Kaggle does not know an input. {said.strip()}")
    if found := re.search(r"version (\d+)", said):
        sent = {"id": metadata["id"], "version": int(found[1])}
        write_json(VERSION, {**sent, "experiment": settings["experiment"]})
    wait_for(metadata["id"], minutes)
    print(call("kernels", "output", metadata["id"], "--path", str(OUTPUT), "--force").strip())
    if settings["train"]:
        print(f"What it trained is in {OUTPUT / 'experiments'}. Copy it to experiments/")
        return
    print(f"Its output is in {OUTPUT}. Let Kaggle score it: python compete.py submit --notebook")


def read_pushed() -> dict[str, Any]:
    """Return "id", "version" and "experiment" of the notebook that was sent last.

    Raises:
        InputError: none was sent.
    """
    try:
        return dict(json.loads(VERSION.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        raise InputError(f"{VERSION}: not found. Send it first: python compete.py push") from None


def read_owner() -> str:
    """Return the person's name at Kaggle.

    Raises:
        InputError: Kaggle does not know who asks.
    """
    said = call("config", "view")
    found = re.search(r"username: (\S+)", said)
    if not found or found[1] == "None":
        raise InputError("kaggle config view names no username. Log in: kaggle auth login")
    return found[1]


def name_owner(path: Path, owner: str) -> None:
    """Put the person's name where a file of metadata has none yet."""
    text = path.read_text(encoding="utf-8")
    values: dict[str, Any] = json.loads(text.replace(f'"{OWNER}/', f'"{owner}/'))
    write_json(path, values)


def push_weights(dataset: str) -> None:
    """Send the dataset of the weights, unless Kaggle has these already, until it is ready.

    Args:
        dataset: OWNER/NAME
    """
    now = {"dataset": dataset, "weights": digest_of(NOTEBOOK / "dataset" / MANIFEST)}
    if PUSHED.exists() and json.loads(PUSHED.read_text(encoding="utf-8")) == now:
        print(f"{dataset}: Kaggle has these weights already.")
        return
    folder = str(NOTEBOOK / "dataset")
    if is_known(dataset):
        note = now["weights"][:12]
        print(call("datasets", "version", "--path", folder, "--message", note).strip())
    else:
        print(call("datasets", "create", "--path", folder).strip())
    for _ in looks(60):
        if "ready" in (status := call("datasets", "status", dataset)).lower():
            write_json(PUSHED, now)
            return
        if "error" in status.lower():
            break
    raise InputError(f"{dataset}: not ready: {status.strip()}. Look at its page, and push again.")


def is_known(dataset: str) -> bool:
    """Return whether Kaggle has a dataset of this name."""
    try:
        call("datasets", "status", dataset)
    except InputError as error:
        if is_refusal(error):
            return False
        raise
    return True


def wait_for(notebook: str, minutes: float) -> None:
    """Wait until a notebook has run.

    Raises:
        InputError: it failed, or runs still.
    """
    status = "no answer"
    for _ in looks(minutes):
        said = call("kernels", "status", notebook).strip()
        found = re.search(r'has status "(?:KernelWorkerStatus\.)?(\w+)"', said)
        if found and found[1].lower() != status:
            status = found[1].lower()
            print(f"{notebook}: {status}")
        if status == "complete":
            return
        if status == "error" or status.startswith("cancel"):
            call("kernels", "output", notebook, "--path", str(OUTPUT), "--force")
            raise InputError(
                f"{said}\nWhat it printed is in {OUTPUT}. Mend it: compete.py simulate"
            )
    raise InputError(
        f"{notebook}: {status}, after {minutes:g} minutes. It goes on at Kaggle; fetch its output "
        f"later: kaggle kernels output {notebook} --path {OUTPUT}"
    )


def looks(minutes: float) -> Any:
    """Yield at once, then after pauses that grow, until the time is over."""
    pause, last = PAUSES
    end = time.monotonic() + 60 * minutes
    while True:
        yield
        if time.monotonic() + pause > end:
            return
        time.sleep(pause)
        pause = min(1.5 * pause, last)
