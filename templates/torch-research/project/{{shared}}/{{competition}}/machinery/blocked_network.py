"""Refuses connections to other machines. `compete.py simulate` puts it in as sitecustomize.py.

Only where the system lends no network namespace: this stops Python's own sockets, and no others.
"""

import errno
import socket
from typing import Any

look_up = socket.getaddrinfo
NEAR = ("localhost", "127.0.0.1", "::1", "", None)


class NearSocket(socket.socket):
    """A socket that reaches this machine only."""

    def connect(self, address: Any) -> None:
        """Connect to this machine; raise OSError for another."""
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in NEAR:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        super().connect(address)


def look_up_near(host: Any, *arguments: Any, **options: Any) -> Any:
    """Look up this machine; raise socket.gaierror for another."""
    if host not in NEAR:
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return look_up(host, *arguments, **options)


vars(socket).update(socket=NearSocket, getaddrinfo=look_up_near)
