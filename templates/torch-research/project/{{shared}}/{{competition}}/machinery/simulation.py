"""`compete.py simulate`: would the notebook score? Found out here, before it costs a submission."""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from machinery.competition import find_raw, read_schema, read_slug
from machinery.errors import InputError
from machinery.hidden_test import make_hidden_test
from machinery.kaggle_wheels import refuse_missing_wheels
from machinery.notebook_bundle import NOTEBOOK, OUTPUT
from machinery.notebook_file import read_cells, read_settings
from machinery.simulated_machine import Machine, Outcome
from machinery.submission_check import check_submission

LARGEST_OUTPUT = 20e9  # bytes in /kaggle/working, of which Kaggle keeps no more
NETWORK = re.compile(
    r"Network is unreachable|name resolution|Name or service not known|getaddrinfo failed|"
    r"Failed to establish a new connection"
)
# What a notebook prints where a network failed, and other values took the place of its own.
MADE_GOOD = re.compile(
    r"^.*(predict\.py ended with exit code|, because of:|A batch has the values).*", re.MULTILINE
)


def simulate(minutes: float, memory: float) -> None:
    """Run competition/notebook as Kaggle would when it scores, and check its submission.

    Args:
        minutes: that it may take.
        memory: GB that it may take.

    Raises:
        InputError: it would not score; the message says why.
    """
    metadata = read_metadata()
    cells = read_cells(NOTEBOOK / metadata["code_file"])
    settings = read_settings(cells)
    slug, schema, raw = read_slug(), read_schema(), find_raw()
    check_links()
    refuse_missing_wheels()
    tree = Path(tempfile.mkdtemp(prefix="kaggle-"))
    hidden = tree / "hidden"
    hidden.mkdir()
    replaced = make_hidden_test(raw, schema, hidden)
    place = f"competitions/{slug}"
    inputs = {place: raw, **{f"{place}/{name}": path for name, path in replaced.items()}}
    inputs[metadata["dataset_sources"][0].split("/")[1]] = NOTEBOOK / "dataset"
    if OUTPUT.is_dir():
        inputs |= {f"notebooks/{name}": OUTPUT for name in metadata["kernel_sources"]}
    machine = Machine(tree, inputs)
    try:
        print(f"{machine.describe()}; the test set is larger, with categories nobody has seen.")
        script = tree / "notebook.py"
        script.write_text("\n\n".join(cells), encoding="utf-8")
        log = NOTEBOOK / "simulation.log"
        print(f"What it prints goes into {log}.")
        outcome = machine.run(script, minutes, memory, variables(settings), log)
        text = log.read_text(encoding="utf-8", errors="replace")
        print("".join(f"  | {line}\n" for line in text.splitlines()), end="")
        if reason := find_reason(outcome, text, machine.working, bool(settings["train"])):
            raise InputError(f"would not score: {reason}. All that it printed: {log}")
        if settings["train"]:
            print(f"would train: it took {outcome.seconds:.0f} s. It scores nothing itself.")
            return
        try:
            checked = check_submission(
                machine.working / "submission.csv", replaced[schema.sample_submission]
            )
        except InputError as error:
            raise InputError(f"would not score: {error}") from None
        print(
            f"would score: submission.csv fits, {checked.rows:,} rows. "
            f"It took {outcome.seconds:.0f} s"
            + (f" and at most {outcome.memory:.1f} GB." if outcome.memory else ".")
        )
    finally:
        machine.remove()


def check_links() -> None:
    """Raise InputError where no symbolic links can be made, as the notebook does."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            Path(folder, "link").symlink_to(folder)
        except OSError as error:
            raise InputError(
                f"simulate needs symbolic links, which fail here: {error}. On Windows, switch on "
                "the developer mode, or simulate under WSL, Linux or macOS."
            ) from None


def read_metadata() -> dict[str, Any]:
    """Read kernel-metadata.json.

    Raises:
        InputError: there is none.
    """
    path = NOTEBOOK / "kernel-metadata.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(
            f"{path}: not found. Make it: python compete.py notebook --experiment ..."
        ) from None
    except ValueError as error:
        raise InputError(f"{path}: is no JSON: {error}. Mend it, or make it anew.") from None


def variables(settings: dict[str, Any]) -> dict[str, str]:
    """Return the environment variables that Kaggle sets.

    While it scores, an inference server waits for Kaggle's gateway, which nobody else has: such a
    notebook runs as its draft does, with the local gateway. Nor does one that trains score.
    """
    found = {"KAGGLE_KERNEL_RUN_TYPE": "Batch", "KAGGLE_SIMULATED": "1"}
    if settings["server"] is None and not settings["train"]:
        found["KAGGLE_IS_COMPETITION_RERUN"] = "1"
    return found


def find_reason(outcome: Outcome, text: str, working: Path, trains: bool) -> str:
    """Return why a run would not score, as far as that is seen without its submission."""
    if outcome.stopped:
        return f"the notebook {outcome.stopped}"
    if outcome.exit_code:
        last = (text.strip().splitlines() or ["nothing"])[-1]
        network = NETWORK.search(text)
        also = "it wants the network, which is off; " if network else ""
        return f"{also}the notebook ended with exit code {outcome.exit_code}: {last.rstrip('.')}"
    if not trains and not (working / "submission.csv").is_file():
        return "the notebook wrote no /kaggle/working/submission.csv"
    if found := MADE_GOOD.search(text):
        return f"it would, but with other values where a network failed: {found[0].rstrip('.: ')}"
    size = sum(path.stat().st_size for path in working.rglob("*") if path.is_file())
    if size > LARGEST_OUTPUT:
        return f"the notebook wrote {size / 1e9:.0f} GB into /kaggle/working, which keeps 20"
    return ""
