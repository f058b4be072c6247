"""Draw docs/tasks/: for each task what evaluate.py of torch-research draws of the default data.

    python tools/draw_tasks.py    # takes some minutes

Needs what requirements/test.txt installs.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import copier
from PIL import Image

root = Path(__file__).resolve().parent.parent

# The picture of each task, and how much of its height is shown.
PICTURES = {
    "image-classification": ("confusion_matrix_test.png", 1.0),
    "tabular": ("confusion_matrix_test.png", 1.0),
    "text-classification": ("confusion_matrix_test.png", 1.0),
    "semantic-segmentation": ("masks_test.png", 0.48),
    "object-detection": ("boxes_test.png", 1.0),
}
WIDTH = 640  # of a picture, in pixels


def draw(task: str, picture: str, share: float, folder: Path) -> None:
    """Make a project with a task, train and evaluate it, and keep the picture in docs/tasks/."""
    answers = {"task": task}
    copier.run_copy(
        str(root / "templates/torch-research"), folder, data=answers, defaults=True, quiet=True
    )
    for command in ("train.py", "evaluate.py"):
        subprocess.run([sys.executable, command], cwd=folder, check=True)
    with Image.open(folder / "experiments/baseline" / picture) as image:
        shown = image.convert("RGB").crop((0, 0, image.width, round(share * image.height)))
    shown.thumbnail((WIDTH, 10 * WIDTH))
    target = root / "docs" / "tasks" / f"{task}.png"
    target.parent.mkdir(exist_ok=True)
    shown.save(target, optimize=True)


def main() -> None:
    for task, (picture, share) in PICTURES.items():
        with tempfile.TemporaryDirectory() as folder:
            draw(task, picture, share, Path(folder) / "leaf")


if __name__ == "__main__":
    main()
