"""Wheels as pip takes them, so that tests need no package index."""

import re
import zipfile
from pathlib import Path


def write_wheels(project: Path, folder: Path) -> dict[str, str]:
    """Write a wheel of each package that Kaggle lacks; return pip's variables to find it.

    Args:
        project: whose wheels.txt names the packages, and whose constraints.txt their versions.
        folder: where to; made if it is not there.
    """
    folder.mkdir(exist_ok=True)
    pins = (project / "constraints.txt").read_text(encoding="utf-8")
    lines = (project / "competition" / "wheels.txt").read_text(encoding="utf-8").splitlines()
    for name in (line for line in lines if line[:1] not in ("", "#")):
        pin = re.search(rf"^{name.replace('.', '[.-]')}==(\S+)", pins, re.MULTILINE)
        assert pin, name
        base = f"{name.replace('.', '_')}-{pin[1]}"
        with zipfile.ZipFile(folder / f"{base}-py3-none-any.whl", "w") as wheel:
            head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {pin[1]}\n"
            wheel.writestr(f"{base}.dist-info/METADATA", head)
            kind = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            wheel.writestr(f"{base}.dist-info/WHEEL", kind)
            wheel.writestr(f"{base}.dist-info/RECORD", "")
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": folder.as_uri()}
