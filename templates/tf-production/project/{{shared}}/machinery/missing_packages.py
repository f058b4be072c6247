"""A command that is run without its packages, as when the virtual environment is forgotten."""

import sys
from types import TracebackType

# What requirements.txt installs, as Python imports it.
PACKAGES = {
    *("PIL", "filelock", "matplotlib", "numpy", "optuna", "pydantic", "ruamel", "safetensors"),
    *("scipy", "sklearn", "tensorboard", "tqdm"),
    *("jax", "keras", "pytorch_lightning", "tensorflow", "torch"),
}
EXIT_CODE = 2  # As for any bad input; errors.py, which defines it, needs packages itself.


def explain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say how to get packages that are not installed; show any other error as Python does.

    Raises:
        SystemExit: with 2, a package is missing.
    """
    package = (getattr(error, "name", "") or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or package not in PACKAGES:
        sys.__excepthook__(kind, error, trace)
        return
    print(
        f"error: {package} is not installed for {sys.executable}. Activate the project's virtual "
        "environment (source .venv/bin/activate; on Windows .venv\\Scripts\\activate), or "
        "install what is missing: python -m pip install -c constraints.txt -r requirements.txt",
        file=sys.stderr,
    )
    raise SystemExit(EXIT_CODE)


def explain_missing_packages() -> None:
    """Let the process end with one line, and not with a traceback, where a package is missing."""
    if sys.excepthook is sys.__excepthook__:  # Neither a notebook's nor another tool's.
        sys.excepthook = explain
