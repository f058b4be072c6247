"""A house with a package index of its own installs by the README's commands, with no network."""

import os
import shutil
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

from packaging.utils import canonicalize_name

from conftest import render, root
from test_copies import pins, requirements


def write_wheel(folder: Path, name: str, version: str) -> None:
    """Write a wheel that holds nothing but its name, where a simple index (PEP 503) has it."""
    plain = canonicalize_name(name).replace("-", "_")
    wheel = folder / canonicalize_name(name) / f"{plain}-{version}-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    info = f"{plain}-{version}.dist-info"
    content = {
        f"{plain}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    content[f"{info}/RECORD"] = "".join(f"{each},,\n" for each in [*content, f"{info}/RECORD"])
    with zipfile.ZipFile(wheel, "w") as file:
        for path, text in content.items():
            file.writestr(path, text)


def without_a_network() -> list[str]:
    """Return what starts a program where nothing but the machine itself can be reached."""
    unshare = shutil.which("unshare")
    probe = ["-rn", "bash", "-c", "ip link set lo up"]
    if unshare and subprocess.run([unshare, *probe], capture_output=True).returncode == 0:
        return [unshare, "-rn", "bash", "-euc", "ip link set lo up\n"]
    return ["bash", "-euc", ""]


def test_the_readme_installs_from_the_index_of_the_house(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    index = f"http://127.0.0.1:{port}/index"
    project = render(root / "templates" / "torch-research", tmp_path / "leaf", package_index=index)
    needed = [each.name for each in requirements(project / "requirements.txt")]
    versions = pins(project / "constraints.txt")
    for name in needed:
        write_wheel(tmp_path / "index", name, versions[canonicalize_name(name)])
    _, _, start = (project / "README.md").read_text("utf-8").partition("## Start")
    start, _, _ = start.partition("## ")
    lines = [line.strip() for line in start.splitlines() if line.startswith("    ")]
    export, install = (
        next(x for x in lines if x.startswith(w)) for w in ("export", "python -m pip")
    )
    server = f'"{sys.executable}" -m http.server {port} --bind 127.0.0.1 --directory "$INDEX"'
    script = f"""
{server} 2>requests.txt &
trap "kill $!" EXIT
until (: </dev/tcp/127.0.0.1/{port}) 2>/dev/null; do sleep 0.1; done
{export}
{install}
"""
    *program, prelude = without_a_network()
    own = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    nowhere = "http://127.0.0.1:9"
    installed = tmp_path / "installed"
    environment = {
        **own,
        **{"PIP_CONFIG_FILE": os.devnull, "PIP_TARGET": str(installed), "PIP_NO_CACHE_DIR": "1"},
        **{"HTTP_PROXY": nowhere, "HTTPS_PROXY": nowhere, "NO_PROXY": "127.0.0.1"},
        **{"http_proxy": nowhere, "https_proxy": nowhere, "no_proxy": "127.0.0.1"},
        "INDEX": str(tmp_path),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    done = subprocess.run(
        [*program, prelude + script],
        cwd=project,
        env=environment,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Looking in indexes: {index}\n" in done.stdout
    found = {canonicalize_name(each.name.split("-")[0]) for each in installed.glob("*.dist-info")}
    assert found == {canonicalize_name(name) for name in needed}
    requests = (project / "requests.txt").read_text("utf-8")
    assert requests.count("GET /index/") >= 2 * len(needed)  # A page and a wheel of each.
