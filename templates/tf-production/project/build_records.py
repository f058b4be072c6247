"""Write a prepared dataset as sharded TFRecords, for pipelines and storage that need those.

    python build_records.py                                 # data -> data/records, 4 shards a split
    python train.py --data data/records                     # the same batches, so the same weights

Written: train-00000-of-00004.tfrecord and so on, for every split. Each record is a tf.train.Example
with a bytes feature for each array, such as images and labels, and one for the id: see
framework/tfrecords.py.
"""

import argparse
from pathlib import Path

from build_dataset import open_dataset
from machinery import places
from machinery.argument_parser import ArgumentParser
from machinery.contents import refuse_to_replace
from machinery.errors import InputError, exit_codes
from machinery.statistics_file import write_statistics


def parse_command_line() -> argparse.Namespace:
    """Read the command line; raise InputError if --records cannot hold the records."""
    parser = ArgumentParser(__doc__)
    usual = places.folder_to_write()
    meaning = f"the arrays [{usual}]".replace("%", "%%")
    parser.add_argument("--data", type=Path, default=usual, help=meaning)
    parser.add_argument("--records", type=Path, help="where to write [records, in --data]")
    parser.add_argument("--shards", type=int, default=4, help="files for each split [4]")
    parser.add_argument("--overwrite", action="store_true", help="replace the records there")
    arguments = parser.parse_args()
    parser.check_range("--shards", arguments.shards, 1, 99_999)
    arguments.records = arguments.records or arguments.data / "records"
    if [*arguments.records.glob("arrays-*")]:
        raise InputError(
            f"--records: {arguments.records} holds a dataset of build_dataset.py, expected a "
            "folder for the records alone. Name another one, such as data/records."
        )
    if not arguments.overwrite:
        refuse_to_replace(arguments.records)
    return arguments


def main() -> None:
    """Write the records that the command line asks for."""
    arguments = parse_command_line()
    dataset = open_dataset(arguments.data)
    # TensorFlow is imported only here, so that --help and bad input are answered at once.
    from framework.quiet import import_tensorflow

    import_tensorflow()
    from framework import tfrecords

    if tfrecords.holds_records(dataset):
        raise InputError(
            f"--data: {arguments.data} holds records, expected the arrays of build_dataset.py."
        )
    tfrecords.write_records(
        arguments.data, dataset, arguments.records, arguments.shards, arguments.overwrite
    )
    write_statistics(arguments.records, dataset, arguments.data)
    counts = ", ".join(f"{count:,} {split}" for split, count in dataset.examples.items())
    print(
        f"Wrote {arguments.records}: {counts} records. "
        f"Next: python train.py --data {arguments.records}"
    )


if __name__ == "__main__":
    with exit_codes():
        main()
