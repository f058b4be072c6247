"""Let Copier make the project in the folder that Cookiecutter has made for it.

Cookiecutter runs this inside of that folder, which holds nothing but what to call Copier with: the
answers, checked by copier_bridge.py.
"""

import json
from pathlib import Path

import copier

folder = Path.cwd()
arguments_file = folder / "copier_arguments.json"
arguments = json.loads(arguments_file.read_text(encoding="utf-8"))
arguments_file.unlink()
copier.run_copy(dst_path=folder, defaults=True, **arguments)
