"""The notebook of a code competition: one file with the project in it, and a dataset of weights.

Kaggle's client sends a single file, so the project travels in it (zip in base85), and the weights
as a dataset beside it:

competition/notebook/notebook.ipynb          what `compete.py push` sends and `simulate` runs
competition/notebook/kernel-metadata.json    no internet; the competition and the dataset as inputs
competition/notebook/dataset/                weights, their parameters, and wheels, in flat names
"""

import base64
import hashlib
import io
import json
import shlex
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from machinery.competition import FOLDER, fold_folders, read_schema, read_slug
from machinery.errors import InputError
from machinery.files import write_atomically
from machinery.fold_predictions import check_run
from machinery.kaggle_setup import MANIFEST
from machinery.kaggle_wheels import WHEELS, download_wheels, read_packages
from machinery.notebook_file import write_cells, write_script

NOTEBOOK = FOLDER / "notebook"
OUTPUT = NOTEBOOK / "output"  # What `compete.py push` fetches.
OWNER = "OWNER"  # `compete.py push` puts the person's name in its place.
# What predict.py reads of a run, and what says how it was trained.
RUN_FILES = ("params.yaml", "dataset.json", "run.json")
LEFT_OUT = ("tests", "data", "experiments", "submissions", "lesson.ipynb")
LARGEST = 1_000_000  # bytes of a notebook that Kaggle takes
MOMENT = (1980, 1, 1, 0, 0, 0)  # The same for each file, so that equal files give equal bytes.


class Options(NamedTuple):
    """What the person chooses for a notebook."""

    experiment: Path
    models: str = "folds"  # or all
    minutes: float = 510.0
    accelerator: str = "none"
    server: list[str] | None = None  # what its local gateway reads; None: a file is wanted
    train: str = ""  # options of train.py; empty: predict
    resume: bool = False  # take the output of the notebook's earlier version as an input
    script: bool = False


def make_notebook(options: Options) -> None:
    """Write the notebook, its metadata, and the dataset of the weights; say what comes next.

    Raises:
        InputError: the experiment is not trained, or a file is too large.
    """
    words = shlex.split(options.train)
    if "--experiment" in words[:-1]:
        place = words.index("--experiment")
        options = options._replace(experiment=Path(words[place + 1]))
        del words[place : place + 2]
    slug, name = read_slug(), options.experiment.name
    read_schema()
    models, checkpoint = find_models(options)
    (NOTEBOOK / "dataset").mkdir(parents=True, exist_ok=True)
    download_wheels()
    manifest = write_dataset(options.experiment, models, checkpoint)
    settings = {
        "experiment": name,
        "models": models,
        "checkpoint": checkpoint,
        "minutes": options.minutes,
        "accelerator": options.accelerator,
        "server": options.server,
        "train": shlex.join(words),
        "packages": read_packages(),
        "weights": hashlib.sha256(manifest).hexdigest(),
    }
    cells = make_cells(settings, bundle(Path()))
    content = write_script(cells) if options.script else write_cells(cells)
    if len(content) > LARGEST:
        raise InputError(
            f"the notebook has {len(content):,} bytes, and Kaggle takes {LARGEST:,}. Large files "
            "beside the project's code do not belong into it: move them to data/."
        )
    file = "notebook.py" if options.script else "notebook.ipynb"
    for other in {"notebook.py", "notebook.ipynb"} - {file}:
        (NOTEBOOK / other).unlink(missing_ok=True)
    write_atomically(NOTEBOOK / file, content)
    title = title_of(f"{slug} {name}")
    write_json(NOTEBOOK / "kernel-metadata.json", kernel_metadata(options, slug, title, file))
    print(f"Wrote {NOTEBOOK / file} ({len(content):,} bytes) and {NOTEBOOK / 'dataset'}.")
    print("Try it here before it costs a submission: python compete.py simulate")


def find_models(options: Options) -> tuple[list[str], str]:
    """Return the names of the runs that predict, and which checkpoint of each.

    Raises:
        InputError: one is not trained to its end.
    """
    if options.train:
        return [], "best"
    checkpoint = "last" if options.models == "all" else "best"
    names = ["all"]
    if options.models == "folds":
        trained = sorted(options.experiment.glob("fold-*/params.yaml"))
        names = [folder.name for folder in fold_folders()] or [path.parent.name for path in trained]
    for name in names:
        check_run(run := options.experiment / name)
        if not (path := run / f"{checkpoint}.safetensors").exists():
            raise InputError(f"{path}: not found. Bring it back, or train {run} with --overwrite.")
    if not names:
        raise InputError(f"{options.experiment}: holds no folds. Train it: train.py --folds all")
    return names, checkpoint


def title_of(text: str) -> str:
    """Return a title that Kaggle turns into itself: small letters, digits and single dashes."""
    words = "".join(each if each.isascii() and each.isalnum() else " " for each in text.lower())
    return shorten("-".join(words.split()), 50).ljust(5, "0")


def shorten(title: str, longest: int) -> str:
    """Return a title, cut where it is too long; then a digest tells it from others cut alike."""
    if len(title) <= longest:
        return title
    digest = hashlib.sha256(title.encode()).hexdigest()[:6]
    return f"{title[: longest - 7].rstrip('-')}-{digest}"


def dataset_title(title: str) -> str:
    """Return the title of the dataset of a notebook's weights; Kaggle takes 50 characters."""
    return f"{shorten(title, 42)}-weights"


def kernel_metadata(options: Options, slug: str, title: str, file: str) -> dict[str, Any]:
    """Return what kernel-metadata.json holds.

    https://github.com/Kaggle/kaggle-cli/blob/main/docs/kernels_metadata.md
    """
    accelerator = options.accelerator
    chosen = {} if accelerator == "none" else {"machine_shape": accelerator}
    is_tpu = accelerator.lower().startswith("tpu")
    return {
        "id": f"{OWNER}/{title}",
        "title": title,
        "code_file": file,
        "language": "python",
        "kernel_type": "script" if options.script else "notebook",
        "is_private": True,
        "enable_gpu": accelerator != "none" and not is_tpu,
        "enable_tpu": is_tpu,
        "enable_internet": False,  # Where the key is missing, Kaggle's client says true.
        "competition_sources": [slug],
        "dataset_sources": [f"{OWNER}/{dataset_title(title)}"],
        "kernel_sources": [f"{OWNER}/{title}"] if options.resume else [],
        "model_sources": [],
        **chosen,
    }


# ---------------------------------------------------------------------------------------------
# The project in the notebook.


def bundle(project: Path) -> bytes:
    """Return the project's code as a zip: equal files, equal bytes.

    Args:
        project: its folder.
    """
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in sorted(find_code(project)):
            entry = zipfile.ZipInfo(path.relative_to(project).as_posix(), MOMENT)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            entry.create_system = 3  # Unix, wherever it is written.
            archive.writestr(entry, path.read_bytes().replace(b"\r\n", b"\n"))
    return content.getvalue()


def find_code(project: Path) -> Iterator[Path]:
    """Yield the files that the notebook needs: all Python but tests, and the competition's files.

    Parameters of experiments are among them, for training begins with them. Kaggle's token may lie
    in the project (kaggle.json), so each kind of file that goes along is named here.
    """
    yield from (path for kind in ("*.py", "keras.json") for path in project.glob(kind))
    for folder in sorted(path for path in project.iterdir() if is_package(path)):
        yield from (path for path in folder.rglob("*.py") if NOTEBOOK not in path.parents)
    yield from (project / FOLDER).glob("*.yaml")
    yield from project.glob("experiments/*/params.yaml")


def is_package(path: Path) -> bool:
    """Return whether a folder of the project holds code to take along."""
    hidden = path.name.startswith((".", "_")) or path.name in LEFT_OUT
    return path.is_dir() and not hidden and not (path / "pyvenv.cfg").exists()


def make_cells(settings: dict[str, Any], archive: bytes) -> list[str]:
    """Return the cells of the notebook: their code."""
    setup = Path(__file__).with_name("kaggle_setup.py").read_text(encoding="utf-8")
    lines = "\n".join(f"    {name!r}: {value!r}," for name, value in settings.items())
    text = base64.b85encode(archive).decode()
    rows = "\n".join(f"    {text[at : at + 100]!r}" for at in range(0, len(text), 100))
    session = "kaggle_training" if settings["train"] else "kaggle_session"
    return [
        f"import time\n\nSTARTED = time.monotonic()\nSETTINGS = {{\n{lines}\n}}",
        f'{setup}\n\ncheck_hardware(SETTINGS["accelerator"])',
        "# The project: its Python files as a zip in base85.\n"
        f"PROJECT = (\n{rows}\n)\n"
        'weights = find_weights(SETTINGS["weights"])\n'
        'install_wheels(weights, SETTINGS["packages"])\nunpack(PROJECT)',
        f"from machinery import {session}\n\n{session}.run(SETTINGS, weights, STARTED)",
    ]


# ---------------------------------------------------------------------------------------------
# The dataset of the weights.


def write_dataset(experiment: Path, models: Sequence[str], checkpoint: str) -> bytes:
    """Write the dataset that the notebook reads; return its manifest.

    What an earlier call wrote is removed; what a person put beside it goes along.
    """
    folder = NOTEBOOK / "dataset"
    for name in read_manifest():
        (folder / name).unlink(missing_ok=True)
    files = {path.name: path for path in WHEELS.glob("*.whl")}
    for model in models:
        for file in (*RUN_FILES, f"{checkpoint}.safetensors"):
            files[f"{model}.{file}"] = experiment / model / file
    if not models:
        files |= {path.name: path for path in FOLDER.glob("folds.*")}
    files = {name: path for name, path in files.items() if path.exists()}
    for name, path in files.items():
        shutil.copyfile(path, folder / name)
    digests = {name: digest_of(folder / name) for name in sorted(files)}
    write_json(folder / MANIFEST, {"experiment": experiment.name, "files": digests})
    title = dataset_title(title_of(f"{read_slug()} {experiment.name}"))
    metadata = {"title": title, "id": f"{OWNER}/{title}", "licenses": [{"name": "other"}]}
    write_json(folder / "dataset-metadata.json", metadata)
    return (folder / MANIFEST).read_bytes()


def read_manifest() -> list[str]:
    """Return the names of the files that an earlier call wrote into the dataset."""
    try:
        text = (NOTEBOOK / "dataset" / MANIFEST).read_text(encoding="utf-8")
        return [Path(name).name for name in json.loads(text)["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a JSON file that a person can read."""
    write_atomically(path, (json.dumps(values, indent=2) + "\n").encode())
