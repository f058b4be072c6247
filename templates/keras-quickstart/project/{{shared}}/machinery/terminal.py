"""The run's log lines in the terminal."""

import logging


class TerminalHandler(logging.Handler):
    """Prints log lines above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        tqdm.write(self.format(record))


def log_to_terminal() -> None:
    """Show the run's log lines in the terminal, too."""
    logger = logging.getLogger("run")
    logger.setLevel(logging.INFO)
    logger.addHandler(TerminalHandler())
