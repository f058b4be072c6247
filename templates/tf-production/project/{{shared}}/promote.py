"""Say which exported version serves: accept a new one, roll back, pin one.

    python promote.py status                 # what serves since when, and the versions there are
    python promote.py accept 3               # version 3 serves, unless it is worse on test
    python promote.py rollback               # the version accepted before serves again
    python promote.py pin 2                  # version 2 serves, whatever is accepted
    python promote.py unpin                  # the newest accepted version serves again

A server that runs swaps the version within a second, without losing a request. `accept` refuses a
version whose metric on the test split is worse by more than --margin than that of the version in
service, and says how far chance could move the difference. Until the first is accepted, the newest
serves. exports/onnx/in-service.json keeps all decisions.
"""

from machinery.server import promotion

command = promotion.command_line(__name__, __doc__)  # Answers --help and bad input.

from build_dataset import Dataset
from model.report import Evaluation, objective

command.run(Dataset, objective, Evaluation)
