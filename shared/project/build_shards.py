"""Write a prepared data set as shards, for data larger than the disk of who trains on them.

    python build_shards.py                                  # data -> data/shards
    python train.py --data data/shards
    aws s3 sync data/shards s3://BUCKET/DATA --exclude "*/.*"   # upload it as you like
    python train.py --data s3://BUCKET/DATA                 # the same batches, so the same weights

Training reads the shards in a random order, some at a time (--window), and shuffles their examples
together. From a URL they are fetched before they are needed, into a folder of limited size.
requirements/remote.txt has the packages that read URLs; SHARD_CACHE names the folder, and
SHARD_CACHE_GB how much it may hold.
"""

from build_dataset import open_dataset
from machinery.errors import exit_codes
from machinery.shards.shard_writer import parse_command_line, say_written, write_shards


def main() -> None:
    """Write the shards that the command line asks for."""
    arguments = parse_command_line(__doc__)
    say_written(arguments, write_shards(arguments, open_dataset(arguments.data)))


if __name__ == "__main__":
    with exit_codes():
        main()
