"""Train one experiment with several processes of a Ray cluster.

    python ray_launch.py 4 train.py --experiment experiments/wide
    python ray_launch.py 4 --gpu train.py --experiment experiments/wide       # a GPU for each

Ray Train finds the machines, starts a process for each part, and starts all again where one is
killed. In each, train.py runs as launch.py and torchrun run it, to the same bits. All machines need
this folder at the same path, and Ray: python -m pip install -c constraints.txt -r
requirements/ray.txt. The exit code is that of train.py in the leading process.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from machinery.argument_parser import ArgumentParser
from machinery.errors import InputError, exit_codes
from machinery.launcher import MOST_PROCESSES, again, check_words, decisive, free_ports
from machinery.stopping import STARTED

RESTARTS = 3
HERE = Path(__file__).resolve().parent


def train(config: dict[str, Any]) -> None:
    """Run train.py in a process that Ray has placed, and write down its exit code.

    train.py is a process of its own, since Ray calls this in a thread, where Python hears no
    signals.

    Args:
        config: "words", of the command, "folder", where to run it, "began", when, and "records",
            where to write.

    Raises:
        RuntimeError: it was killed; Ray then starts all of them again.
    """
    from ray.train.collective import broadcast_from_rank_zero

    # Ray has set the variables of torchrun, and listens to its port itself.
    environment = os.environ | {"MASTER_PORT": broadcast_from_rank_zero(str(free_ports(1)[0]))}
    # Of all starts together, for --max-minutes; each machine has a clock of its own.
    environment[STARTED] = str(time.monotonic() - (time.time() - config["began"]))
    command = [sys.executable, *config["words"]]
    code = subprocess.run(command, cwd=config["folder"], env=environment, check=False).returncode
    if code < 0:
        raise RuntimeError(f"process {os.environ['RANK']} was ended by signal {-code}")
    Path(config["records"], os.environ["RANK"]).write_text(str(code), encoding="utf-8")


def main() -> None:
    """Do what the command line says; end with the exit code of train.py."""
    with exit_codes():
        parser = ArgumentParser(__doc__)
        parser.add_argument("processes", type=int, help="how many to start")
        parser.add_argument("--gpu", action="store_true", help="wait for a GPU for each")
        parser.add_argument("script", type=Path, help="train.py")
        parser.add_argument("words", nargs=argparse.REMAINDER, help="the options of train.py")
        arguments = parser.parse_args()
        parser.check_range("processes", arguments.processes, 1, MOST_PROCESSES)
        words = check_words(arguments.script, arguments.words)
        raise SystemExit(run(arguments.processes, arguments.gpu, words))


def run(processes: int, gpu: bool, words: list[str]) -> int:
    """Train with some processes; return the exit code.

    Raises:
        InputError: Ray is not installed.
    """
    try:
        from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
        from ray.train.torch import TorchConfig, TorchTrainer
    except ImportError as error:
        raise InputError(
            f"Ray cannot be imported ({error}). Install it on each machine: python -m pip install "
            "-c constraints.txt -r requirements/ray.txt"
        ) from None
    # Ray Train keeps records, too, which nobody needs afterwards. All machines see this folder.
    with tempfile.TemporaryDirectory(dir=HERE, prefix=".ray-") as records:
        trainer = TorchTrainer(
            train,
            torch_config=TorchConfig(backend="gloo"),  # train.py has a group of its own.
            train_loop_config={
                "words": words,
                "folder": os.getcwd(),
                "began": time.time(),
                "records": records,
            },
            scaling_config=ScalingConfig(num_workers=processes, use_gpu=gpu),
            run_config=RunConfig(
                storage_path=records, failure_config=FailureConfig(max_failures=RESTARTS)
            ),
        )
        try:
            trainer.fit()
        except KeyboardInterrupt:
            print("Ray ended the processes, unsaved. The same command goes on.", file=sys.stderr)
            return 1
        except TrainingFailedError as error:
            print(f"error: {error}. {again(RESTARTS)}", file=sys.stderr)
            return 1
        paths = [path for path in Path(records).iterdir() if path.name.isdecimal()]
        codes = {int(path.name): int(path.read_text("utf-8")) for path in paths}
        return decisive(codes)[1]


if __name__ == "__main__":
    main()
