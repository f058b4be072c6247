"""What doctor.py checks, in which order."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machinery import (
    checkup_batches,
    checkup_data,
    checkup_learning,
    checkup_machine,
    checkup_network,
)
from machinery.checkup import Checkup, Subject
from machinery.checkup_machine import Machine


def examine(
    arguments: argparse.Namespace,
    parameters: Any,
    describe_machine: Callable[[str, Any], Machine],
    open_dataset: Callable[[Path], Any],
    make_subject: Callable[[Any, Any, Path, str], Subject],
) -> None:
    """Check the machine, and then, with the data, the experiment; end with the verdict.

    Args:
        arguments: of the command line: experiment, data, device.
        parameters: of the experiment.
        describe_machine: says what the framework knows, given a device and the parameters.
        open_dataset: reads dataset.json in the folder of the data.
        make_subject: returns the subject, given parameters, dataset, its folder and the device.

    Raises:
        SystemExit: with 0, nothing is wrong; with 2, something is.
        InputError: there is no such device, no dataset, or the parameters do not fit it.
    """
    checkup = Checkup()
    machine = describe_machine(arguments.device, parameters)
    if checkup_machine.check(checkup, machine):
        checkup.end(complete=False)
    dataset = open_dataset(arguments.data)
    parameters.check_data(dataset)
    subject = make_subject(parameters, dataset, arguments.data, arguments.device)
    checkup.run(
        lambda: checkup_machine.check_memory(checkup, machine, dataset),
        lambda: checkup_data.check(checkup, dataset, arguments.data),
        lambda: checkup_batches.check(checkup, subject),
        lambda: checkup_network.check(checkup, subject),
        lambda: checkup_learning.check(checkup, subject),
    )
