"""Train one experiment with several processes of this machine, such as one for each of its GPUs.

    python launch.py 2 train.py --experiment experiments/wide

The processes train one network: each computes its part of every batch. The exit code is that of
train.py, and stopping and continuing are as ever, also with another number of processes. Where a
process is killed, all start again from the last checkpoint.

    torchrun --nproc-per-node 2 --signals-to-handle SIGTERM,SIGINT,SIGUSR1 train.py

does the same, but ends with exit code 1 where train.py is stopped and ends with 75.
"""

from machinery.launcher import main

if __name__ == "__main__":
    main(__doc__)
