"""A stop request for tests."""

import math

from machinery.stopping import StopRequest


class NoStop(StopRequest):
    """Catches no signals: a test sets its error."""

    def __init__(self) -> None:
        self.error = None
        self.deadline = math.inf
