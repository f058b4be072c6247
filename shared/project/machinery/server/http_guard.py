"""What stands before every request: who may ask, how much they may send; and what is counted."""

import hmac
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from starlette.responses import JSONResponse

LOOPBACK = ("127.0.0.1", "localhost", "::1")  # Addresses that only this machine reaches.
# Paths that answer without the secret: they say no more than that the server is there.
OPEN = ("/", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready")
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class Metrics:
    """What Prometheus reads at /metrics."""

    def __init__(self) -> None:
        disable_created_metrics()  # A time for each series, which nobody reads.
        self.registry = CollectorRegistry()
        where: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("serve_requests", "Answers.", ["path", "status"], **where)
        self.seconds = Histogram(
            "serve_seconds", "Time to an answer.", ["path"], buckets=BUCKETS, **where
        )
        self.batches = Histogram(
            "serve_batch_examples", "Examples computed together.", buckets=SIZES, **where
        )
        self.waiting = Gauge("serve_waiting_requests", "Requests that wait.", **where)
        self.version = Gauge("serve_version", "The version in service.", **where)
        self.swaps = Counter("serve_swaps", "Changes of the version.", ["outcome"], **where)


class Guard:
    """Refuses requests without the secret or for other hosts; counts and times the others.

    Args:
        app: answers the requests.
        metrics: counts them.
        secret: that a request must bear; None: none is asked for.
        hosts: names by which this server may be called; empty: any. So a page of the internet
            cannot reach a server on the loopback address under a name of its own (DNS rebinding).
    """

    def __init__(
        self, app: App, metrics: Metrics, secret: str | None = None, hosts: tuple[str, ...] = ()
    ) -> None:
        self.app, self.metrics, self.hosts = app, metrics, hosts
        self._expected = None if secret is None else f"Bearer {secret}".encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            refusal = self._refuse(scope)
            await (refusal or self.app)(scope, receive, note)
        finally:
            # Its pattern, so that no name in a path makes a time series of its own.
            path = getattr(scope.get("route"), "path", "other")
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - begun)

    def _refuse(self, scope: Message) -> JSONResponse | None:
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        name = host.partition("]")[0].strip("[") if host[:1] == "[" else host.partition(":")[0]
        if self.hosts and name.lower() not in self.hosts:
            called = f"expected a request to {self.hosts[0]}; for other names set SERVE_TOKEN"
            return JSONResponse({"error": called}, 421)
        given = headers.get(b"authorization", b"")
        if self._expected is None or scope["path"] in OPEN:
            return None
        if hmac.compare_digest(given, self._expected):
            return None
        return JSONResponse(
            {"error": "expected the header Authorization: Bearer SECRET, as in SERVE_TOKEN"},
            401,
            {"WWW-Authenticate": "Bearer"},
        )
