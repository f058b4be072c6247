"""A small project of deep learning in which all is well, and a defect for each check."""

import json
from collections.abc import Mapping

TRAIN = '''"""Train a network: python train.py --seed 0"""

import argparse
import json

import torch
import yaml
from torch.utils.data import DataLoader

from data import Shapes
from evaluate import evaluate


def train(settings, model, device):
    torch.manual_seed(settings["seed"])
    json.dump({"config": settings}, open("experiments/config.json", "w"))
    model.to(device)
    optimizer = torch.optim.AdamW(model.parameters())
    best, total = 0.0, 0.0
    if settings["resume"]:
        optimizer.load_state_dict(torch.load("experiments/last.pt", weights_only=True))
    for inputs, targets in DataLoader(Shapes(0), num_workers=2):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs), targets)
        loss.backward()
        optimizer.step()
        total += loss.item()
    val_accuracy = evaluate(model, Shapes(1))
    if val_accuracy > best:
        best = val_accuracy
    with open("experiments/metrics.jsonl", "a") as file:
        file.write(json.dumps({"val_accuracy": val_accuracy}))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", default="config.yaml")
    settings = yaml.safe_load(open(parser.parse_args().config))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train(settings, torch.nn.Linear(2, 2), device)
'''
WITHOUT_CARE = """import torch


def test(model, batches):
    return [model(inputs) for inputs in batches]


"""
EVALUATE = '''"""Evaluate a network."""

import torch


@torch.inference_mode()
def evaluate(model, data):
    model.eval()
    return sum(float((model(inputs).argmax() == target)) for inputs, target in data)
'''
DATA = '''"""The data."""

import numpy as np
from torch.utils.data import Dataset


class Shapes(Dataset):
    def __init__(self, seed):
        self.seed = seed

    def __getitem__(self, index):
        rng = np.random.default_rng((self.seed, index))
        return rng.normal(size=2), index % 2
'''
WORKFLOW = """on: push
jobs:
  test:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
      - uses: ./.github/actions/own
      - run: python -m pytest
"""


def notebook(outputs: list[object]) -> str:
    """The text of a notebook with one cell."""
    return json.dumps({"cells": [{"cell_type": "code", "source": "1 + 1", "outputs": outputs}]})


NOTEBOOK = notebook([])
CLEAN = {
    "README.md": "# Shapes\n\n    python train.py\n",
    "LICENSE": "MIT",
    ".gitignore": "/data/\n/experiments/\n*.pt\n",
    "pyproject.toml": '[project]\nname = "shapes"\nrequires-python = ">=3.11"\n',
    "requirements.txt": "torch>=2.10\n",
    "constraints.txt": "torch==2.13.0\n",
    "train.py": TRAIN,
    "evaluate.py": EVALUATE,
    "data.py": DATA,
    "look.ipynb": NOTEBOOK,
    "tests/test_data.py": "def test_data():\n    assert True\n",
    ".github/workflows/test.yml": WORKFLOW,
}
LOCATION = "/ho" + "me/ada/"  # Whole, it would be found here.
TRAIN_WITHOUT_RESUME = TRAIN.replace(
    """    if settings["resume"]:
        optimizer.load_state_dict(torch.load("experiments/last.pt", weights_only=True))
""",
    "",
)
assert TRAIN_WITHOUT_RESUME != TRAIN


def in_train(old: str, new: str) -> dict[str, str]:
    """train.py with one thing replaced."""
    assert old in TRAIN
    return {"train.py": TRAIN.replace(old, new)}


# Of each: the check, the files that are other than in the clean project, the place that it names.
RANDOM = "Zx9kQ2mW7p" + "L4vT8nB3cR6d"  # As a token is; whole, the check would find it here.
PLANTED: list[tuple[str, Mapping[str, str | None], str]] = [
    ("TY101", {"a.txt": "a\n<<<<<<< HEAD\nb\n=======\nc\n>>>>>>> other\n"}, "a.txt:2"),
    ("TY102", {"train.py.rej": "@@"}, "train.py.rej"),
    ("TY102", {"train.py.orig": "old"}, "train.py.orig"),
    ("TY103", {"weights.pth": "x"}, "weights.pth"),
    ("TY103", {"tests/large.npy": "x" * 200_000}, "tests/large.npy"),
    ("TY104", {"film.bin": "x" * 5_000_001}, "film.bin"),
    ("TY105", {".gitignore": "__pycache__/\n"}, "."),
    ("TY106", {"a.sh": "export TOKEN=ghp_" + "a1B2c3D4e5" * 3 + "f6G7h8\n"}, "a.sh:1"),
    ("TY106", {"a.yml": "url: postgresql://leaf:" + "hunter22@db.company.org/x\n"}, "a.yml:1"),
    ("TY106", {"a.yml": "url: postgresql://user:" + "S3cr3tPassw0rd@db/x\n"}, "a.yml:1"),
    (
        "TY106",
        {"a.ipynb": json.dumps({"s": 'API_KEY = "' + "a1b2c3d4e5f6g7h8" * 2 + '"'})},
        "a.ipynb:1",
    ),
    ("TY106", {"a.py": f"aws_secret_access_key = '{RANDOM}'\n"}, "a.py:1"),
    ("TY106", {"a.py": f"import os\n\nos.environ['HF_HUB_TOKEN'] = '{RANDOM}'\n"}, "a.py:3"),
    ("TY106", {"a.py": f"API_TOKEN: str = '{RANDOM}'\n"}, "a.py:1"),
    ("TY106", {"a.yml": f"tracker:\n  api_key: {RANDOM}  # mine\n"}, "a.yml:2"),
    ("TY106", {"a.yml": "db_password: " + "S3cr3t!Pass\n"}, "a.yml:1"),
    ("TY106", {"my.cnf": "[client]\npassword = " + "S3cr3t!Pass\n"}, "my.cnf:2"),
    ("TY106", {"Dockerfile": f"FROM python:3.13\nENV API_TOKEN={RANDOM}\n"}, "Dockerfile:2"),
    *(
        ("TY106", {name: f"{text}\n"}, f"{name}:1")
        for name, texts in {
            "a.py": [
                f'token = os.environ.get("API_TOKEN", "{RANDOM}")',
                'password = os.getenv("DB_PASSWORD", "' + 'hunter22xyz9")',
                f'os.environ.setdefault("API_TOKEN", "{RANDOM}")',
                f'parser.add_argument("--api-token", type=str, default="{RANDOM}")',
                f'parser.add_argument("-t", "--api-token", default="{RANDOM}")',
                f'API_TOKEN = b"{RANDOM}"',
                f'API_TOKEN = f"{RANDOM}"',
                f'API_TOKEN = """{RANDOM}"""',
                f'API_TOKEN = ("{RANDOM}")',
                f'TOKEN: Optional[str] = "{RANDOM}"',
                f'API_TOKEN_PROD = "{RANDOM}"',
                "password1='" + "hunter22xyz9'",
            ],
            "a.ipynb": [json.dumps({"source": f'os.getenv("API_KEY", "{RANDOM}")'})],
            "docs/use.md": [
                f"    export API_TOKEN={RANDOM}",
                f"Say `API_TOKEN={RANDOM}`, or `export API_TOKEN={RANDOM}`.",
                f"$ API_TOKEN='{RANDOM}' python train.py",
                f"docker run -e API_TOKEN={RANDOM} leaf",
            ],
            "notes.txt": [f"export API_TOKEN={RANDOM}"],
            "run.bash": [f"export API_TOKEN={RANDOM}"],
            "run": [f"export API_TOKEN={RANDOM}"],
            "a.yml": ["password1: " + "hunter22xyz9"],
            "Dockerfile": [f"ENV API_TOKEN {RANDOM}"],
            "Dockerfile.gpu": [f"ENV API_TOKEN={RANDOM}"],
        }.items()
        for text in texts
    ),
    ("TY106", {".env.local": "A=b\n"}, ".env.local"),
    ("TY106", {".env": "T\0O\0K\0"}, ".env"),
    ("TY106", {"kaggle.json": '{"key": "x"}'}, "kaggle.json"),
    ("TY107", {"LICENSE": None}, "."),
    ("TY108", {"README.md": "# Shapes\n\nA network.\n"}, "README.md"),
    ("TY109", {"look.ipynb": notebook([{"data": 1}])}, "look.ipynb:cell 1"),
    (
        "TY110",
        {".github/workflows/test.yml": WORKFLOW.replace("actions/checkout@3d", "a/b@v3 # 3d")},
        ".github/workflows/test.yml:6",
    ),
    ("TY111", {".github/workflows/test.yml": None}, "."),
    ("TY112", {"tests/test_data.py": "DATA = 1\n"}, "."),
    ("TY113", {"paths.py": f'ROOT = "{LOCATION}data"\n'}, "paths.py:1"),
    ("TY113", {"config.yaml": f"a: 1\nroot: {LOCATION}data\n"}, "config.yaml:2"),
    ("TY201", {"pyproject.toml": '[project]\nname = "shapes"\n'}, "."),
    ("TY202", {"constraints.txt": None}, "."),
    ("TY203", {"a.py": "import os\nfrom math import *\n"}, "a.py:2"),
    ("TY204", {"a.py": "try:\n    a = 1\nexcept:\n    pass\n"}, "a.py:3"),
    ("TY205", {"a.py": "print 'old'\n"}, "a.py:1"),
    ("TY206", {"a.py": "import pdb; pdb.set_trace()\n"}, "a.py:1"),
    ("TY301", in_train("weights_only=True", "weights_only=False"), "train.py:21"),
    ("TY302", {"a.py": "import pandas as pd\npd.read_pickle('a')\n"}, "a.py:2"),
    ("TY303", {"a.py": "import numpy as np\nnp.load('a', allow_pickle=True)\n"}, "a.py:2"),
    ("TY304", in_train("yaml.safe_load(", "yaml.load("), "train.py:38"),
    ("TY304", {"a.py": "import yaml\nyaml.load(x, Loader=yaml.FullLoader)\n"}, "a.py:2"),
    ("TY305", {"a.py": "from_pretrained('a/b', trust_remote_code=True)\n"}, "a.py:1"),
    ("TY306", {"a.py": "exec(open('settings.py').read())\n"}, "a.py:1"),
    ("TY307", {"a.py": "import keras\nkeras.models.load_model('a', safe_mode=False)\n"}, "a.py:2"),
    ("TY308", {"a.py": "import requests\nrequests.get('a', verify=False)\n"}, "a.py:2"),
    ("TY401", in_train('torch.manual_seed(settings["seed"])', "pass"), "train.py"),
    (
        "TY401",
        in_train('torch.manual_seed(settings["seed"])', "pass")
        | {"a.py": "train, test = train_test_split(rows, random_state=0)\n"},
        "train.py",
    ),
    (
        "TY402",
        {
            "train.py": TRAIN.replace('{"config": settings}', "1")
            .replace("json.dump(1", "print(1")
            .replace('json.dumps({"val_accuracy": val_accuracy})', "str(val_accuracy)"),
        },
        "train.py",
    ),
    ("TY403", {"train.py": TRAIN_WITHOUT_RESUME}, "train.py"),
    (
        "TY404",
        in_train('with open("experiments/metrics.jsonl", "a") as file:', "if True:")
        | {
            "train.py": TRAIN.replace(
                'json.dump({"config": settings}, open("experiments/config.json", "w"))',
                'torch.save({"config": settings}, "experiments/config.pt")',
            )
            .replace('with open("experiments/metrics.jsonl", "a") as file:', "if True:")
            .replace('file.write(json.dumps({"val_accuracy": val_accuracy}))', "print(best)")
        },
        "train.py",
    ),
    (
        "TY405",
        {
            "data.py": DATA.replace(
                "        self.seed = seed\n", "        self.rng = np.random.default_rng(seed)\n"
            ).replace("np.random.default_rng((self.seed, index))", "self.rng")
        },
        "data.py:12",
    ),
    ("TY406", {"a.py": "train, test = train_test_split(rows, test_size=0.2)\n"}, "a.py:1"),
    ("TY407", {"a.py": "import numpy as np\nrng = np.random.default_rng()\n"}, "a.py:2"),
    ("TY501", in_train("if val_accuracy > best", "if test_accuracy > best"), "train.py:29"),
    ("TY501", {"a.py": "def test(acc, best_acc):\n    return acc > best_acc\n"}, "a.py:2"),
    ("TY501", {"a.py": "EarlyStopping(monitor='test_loss')\n"}, "a.py:1"),
    ("TY501", {"a.py": "model.fit(x, y, validation_data=(x_test, y_test))\n"}, "a.py:1"),
    ("TY502", {"evaluate.py": EVALUATE.replace("    model.eval()\n", "")}, "evaluate.py:8"),
    ("TY502", {"a.py": WITHOUT_CARE + "torch.set_grad_enabled(False)\n"}, "a.py:5"),
    ("TY503", {"a.py": WITHOUT_CARE + "network.eval()\n"}, "a.py:5"),
    (
        "TY503",
        {"evaluate.py": EVALUATE.replace("@torch.inference_mode()\n", "")},
        "evaluate.py:8",
    ),
    ("TY504", in_train("model.to(device)", "model.cuda()"), "train.py:17"),
    ("TY504", in_train("model.to(device)", 'model.to("cuda:0")'), "train.py:17"),
    ("TY505", in_train("optimizer.zero_grad()", "pass"), "train.py:26"),
    ("TY506", in_train("total += loss.item()", "total += loss"), "train.py:27"),
    (
        "TY507",
        in_train("model(inputs), targets)", "torch.softmax(model(inputs), 1), targets)"),
        "train.py:24",
    ),
]
