"""serve.py: its command line, and the server's life from its socket to its end."""

import argparse
import importlib.util
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

from machinery.argument_parser import ArgumentParser
from machinery.command_line import Command
from machinery.errors import InputError, exit_codes
from machinery.server.promotion import add_exports

SECRET = "SERVE_TOKEN"  # The environment variable that holds what a request must bear.
SHORTEST = 16  # characters of it
PACKAGES = ("fastapi", "onnxruntime", "orjson", "prometheus_client", "uvicorn")
LOCAL = "127.0.0.1"
LARGEST_PORT = 65535
DRAIN_SECONDS = 30  # in which the requests that are under way may end


class ServeCommand(Command):
    """The command line of serve.py."""

    def run(
        self, schema: type[Any], make_service: Callable[[Any], Any], content: dict[str, Any]
    ) -> None:
        """Serve until a signal asks to end; end with the exit code of what happened.

        Args:
            schema: of dataset.json.
            make_service: makes what knows the task, given the dataset of a version.
            content: how OpenAPI describes the body of /predict, by media type.
        """
        if self.arguments is not None:
            with exit_codes():
                serve(self.arguments, schema, make_service, content)


def command_line(name: str, description: str | None) -> ServeCommand:
    """Read the command line of serve.py; end the process if it is wrong.

    Args:
        name: __name__ of the script.
        description: its docstring.
    """
    if name != "__main__":
        return ServeCommand()
    with exit_codes():
        parser = ArgumentParser(description)
        add_exports(parser)
        add = parser.add_argument
        add(
            "--host",
            default=LOCAL,
            help=f"address; others than this machine's need {SECRET} [%(default)s]",
        )
        add("--port", type=int, default=8000, help="0: a free one [%(default)s]")
        add("--threads", type=int, default=0, help="that compute; 0: one for each core [0]")
        add("--largest-batch", type=int, default=32, help="examples computed together [32]")
        add("--waiting", type=int, default=256, help="requests that may wait [256]")
        add("--largest-body", type=float, default=10, help="megabytes of a request [10]")
        arguments = parser.parse_args()
        parser.check_range("--port", arguments.port, 0, LARGEST_PORT)
        parser.check_range("--threads", arguments.threads, 0, 1024)
        parser.check_range("--largest-batch", arguments.largest_batch, 1, 4096)
        parser.check_range("--waiting", arguments.waiting, 1, 100_000)
        parser.check_range("--largest-body", arguments.largest_body, 0.001, 1024)
        check_packages()
        read_secret(arguments.host)
        return ServeCommand(arguments)


def check_packages() -> None:
    """Raise InputError where a package is not installed that serving needs alone."""
    if missing := [name for name in PACKAGES if not importlib.util.find_spec(name)]:
        raise InputError(
            f"serve.py needs {', '.join(missing)}. Install what is missing: python -m pip install "
            "-c constraints.txt -r requirements/serve.txt"
        )


def read_secret(host: str) -> str | None:
    """Return what a request must bear: the content of SERVE_TOKEN; None where it is not set.

    Raises:
        InputError: it is too short, or others reach the address and it is not set.
    """
    from machinery.server.http_guard import LOOPBACK

    secret = os.environ.get(SECRET)
    if secret is None and host in LOOPBACK:
        return None
    secret = secret.strip() if secret else None  # One from a file ends its line.
    if secret and len(secret) >= SHORTEST and secret.isascii():
        return secret
    got = "is too short or not ASCII" if secret else "is not set"
    raise InputError(
        f"--host {host}: {SECRET} {got}, and a request must bear it. Set it to {SHORTEST} or more "
        f'characters: export {SECRET}=$(python -c "import secrets; print(secrets.token_urlsafe())")'
    )


def serve(
    arguments: argparse.Namespace,
    schema: type[Any],
    make_service: Callable[[Any], Any],
    content: dict[str, Any],
) -> None:
    """Serve the version in service until a signal asks to end.

    Raises:
        InputError: there is no version that can serve, or the port is taken.
    """
    import uvicorn

    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.WARNING)
    # What uvicorn caught it raises again once every request has its answer: then there is nothing
    # more to do. Ctrl-C ends the process as it ends any command.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    listening = listen(arguments.host, arguments.port)
    app, current = make_app(arguments, schema, make_service, content)
    port = listening.getsockname()[1]
    shown = f"[{arguments.host}]" if ":" in arguments.host else arguments.host
    facts = current.version.facts
    print(
        f"Serving version {current.version.number} ({facts.experiment}, step {facts.step:,}) at "
        f"http://{shown}:{port}",
        flush=True,
    )
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )
    uvicorn.Server(config).run(sockets=[listening])


def make_app(
    arguments: argparse.Namespace,
    schema: type[Any],
    make_service: Callable[[Any], Any],
    content: dict[str, Any],
) -> tuple[Any, Any]:
    """Return what answers requests, and the version in service.

    Raises:
        InputError: there is no version that can serve.
    """
    from machinery.server.http_api import Api, Limits
    from machinery.server.http_guard import LOOPBACK, Guard, Metrics
    from machinery.server.served_version import CurrentVersion, ServedVersion

    def load(number: int) -> ServedVersion:
        version = ServedVersion(arguments.exports, number, schema, arguments.threads)
        version.test_itself(arguments.largest_batch)
        version.service = make_service(version.dataset)
        return version

    metrics = Metrics()
    current = CurrentVersion(load, arguments.exports, lambda how: metrics.swaps.labels(how).inc())
    body = int(arguments.largest_body * 2**20)
    limits = Limits(body, arguments.waiting, arguments.largest_batch)
    api = Api(current, content, limits, metrics)
    secret = read_secret(arguments.host)
    return Guard(api.app, metrics, secret, LOOPBACK if secret is None else ()), current


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        InputError: the port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=2048)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"--host {host} --port {port}: {reason}. Name another --port, or 0 for a free one."
        ) from None
