"""Train one experiment with several processes of this machine, such as one for each of its GPUs.

    python launch.py 2 train.py --experiment experiments/wide

The processes train one network: each computes its part of every batch. The exit code is that of
train.py, and stopping and continuing are as ever. Where a process is killed, all start again from
the last checkpoint.

On several machines, set TF_CONFIG on each, as TensorFlow's guides have it, and start train.py on
each.
"""

import json
from collections.abc import Sequence

from machinery.launcher import main


def tensorflow_names(number: int, addresses: Sequence[str]) -> dict[str, str]:
    """Return what tells a process of TensorFlow who is who: all addresses, and which is its own."""
    task = {"type": "worker", "index": number}
    return {"TF_CONFIG": json.dumps({"cluster": {"worker": [*addresses]}, "task": task})}


if __name__ == "__main__":
    main(__doc__, tensorflow_names)
