"""The paths that serve.py answers: the Open Inference Protocol, /predict, health, metrics, a page.

Source of the protocol: https://github.com/kserve/open-inference-protocol
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol

import fastapi
import numpy as np
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.requests import ClientDisconnect

from machinery.devices import count_cores
from machinery.errors import InputError
from machinery.predictions import Unlabelled
from machinery.server import openapi
from machinery.server.batcher import Arrays, Batcher, FullError
from machinery.server.binary_tensors import (
    EXTENSION,
    LENGTH,
    names_in_bytes,
    read_body,
    write_body,
)
from machinery.server.http_guard import Metrics
from machinery.server.served_version import CurrentVersion, RefusedError, ServedVersion
from machinery.server.tensors import (
    BadRequestError,
    describe_tensors,
    format_json,
    read_tensors,
)

NAME = "model"  # of the network in the protocol's paths, as TensorFlow Serving has it by default
Name = Annotated[str, fastapi.Path(json_schema_extra={"enum": [NAME]})]
PAGE = Path(__file__).with_name("serve_page.html")
UNPACKED = 2**16  # Bytes of a body from which on it is read in a thread, so that others go on.
BODY_SECONDS = 30  # in which a body must arrive


class Service(Protocol):
    """What a task makes of a request, and of what the network says: see service.py."""

    def form(self) -> dict[str, Any]:
        """Return what the page asks for."""
        ...

    def schemas(self) -> dict[str, Any]:
        """Return the JSON Schema of one answer, "Answer", and those that its requests refer to."""
        ...

    def read(self, body: bytes, content_type: str) -> Unlabelled:
        """Return the examples of a request; raise InputError where it cannot be used."""
        ...

    def answer(self, examples: Unlabelled, predictions: Arrays) -> Sequence[Mapping[str, Any]]:
        """Return what people read of each example."""
        ...


class DirectRoute(APIRoute):
    """Calls what reads its request itself; what FastAPI does before costs 100 us a request."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        async def call(request: Request) -> Response:
            return await self.endpoint(request, **request.path_params)

        return call


class Limits(NamedTuple):
    """What is too much."""

    body: int  # bytes of a request
    waiting: int  # requests that wait
    batch: int  # examples that are computed together


class Api:
    """Answers requests with the version in service.

    Args:
        current: the version in service.
        make_service: makes what knows the task, given the dataset of a version.
        request_content: how OpenAPI describes the body of /predict, by media type.
        limits: what is too much.
        metrics: counts.
    """

    def __init__(
        self,
        current: CurrentVersion,
        request_content: dict[str, Any],
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self.current, self.limits, self.metrics = current, limits, metrics
        self.batcher = Batcher(limits.batch, limits.waiting, metrics.batches.observe)
        metrics.waiting.set_function(self.batcher.waiting)
        metrics.version.set_function(lambda: current.version.number)
        self._under_way = 0  # requests whose bodies are in memory
        self._reading = asyncio.Semaphore(count_cores())  # A picture may fill much memory.
        # Metrics counts; asking whether others do, too, costs 5 % of a small request.
        self.app = FastAPI(
            title="serve.py",
            docs_url=None,
            redoc_url=None,
            lifespan=self._lifespan,
            telemetry={"tracing": False, "metrics": False, "logs": False},
        )
        self._describe, self.app.openapi = self.app.openapi, self.describe
        self._described: tuple[int, dict[str, Any]] = 0, {}  # of which version, and what
        self.app.add_exception_handler(StarletteHTTPException, answer_refusal)
        self.app.add_exception_handler(Exception, answer_bug)
        add = self.app.add_api_route
        add("/", self.page, response_class=HTMLResponse, include_in_schema=False)
        add("/livez", self.live)
        add("/readyz", self.live)
        add("/metrics", self.counted, include_in_schema=False)
        body = {"requestBody": {"required": True, "content": request_content}}
        posts: dict[str, Any] = {"methods": ["POST"], "route_class_override": DirectRoute}
        described: dict[str, Any] = {"responses": {**openapi.PREDICTED, **openapi.REFUSALS}}
        described["openapi_extra"] = body
        self.app.router.add_api_route("/predict", self.predict, **described, **posts)
        add("/form", self.form)
        self._add_protocol(posts)

    def _add_protocol(self, posts: dict[str, Any]) -> None:
        add = self.app.add_api_route
        add("/v2", self.server)
        add("/v2/health/live", self.live)
        add("/v2/health/ready", self.live)
        for place in ("/v2/models/{name}", "/v2/models/{name}/versions/{number}"):
            add(place, self.model, responses=openapi.MISSING)
            add(f"{place}/ready", self.model_ready, responses=openapi.MISSING)
            described: dict[str, Any] = {**posts, "openapi_extra": openapi.INFERENCE}
            refused = {**openapi.REFUSALS, **openapi.MISSING}
            described["responses"] = {**openapi.INFERRED, **refused}
            self.app.router.add_api_route(f"{place}/infer", self.infer, **described)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _app: FastAPI) -> AsyncGenerator[None]:
        """Look for new versions while the server runs; compute what waits before it ends."""
        self.current.start()
        yield
        self.current.close()
        self.batcher.close()

    # --- what is there

    async def page(self) -> HTMLResponse:
        """A page to try the network in a browser."""
        return HTMLResponse(PAGE.read_text(encoding="utf-8"))

    async def live(self) -> dict[str, bool]:
        """The server runs; it begins only when the version has tested itself."""
        return {"live": True, "ready": True}

    async def counted(self) -> Response:
        """The metrics, as Prometheus reads them."""
        return Response(generate_latest(self.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def form(self) -> dict[str, Any]:
        """What /predict takes, for the page."""
        version = self.current.version
        facts = {"experiment": version.facts.experiment, "step": version.facts.step}
        form = version.service.form()
        return {"version": version.number, **facts, "metrics": version.facts.test_metrics, **form}

    def describe(self) -> dict[str, Any]:
        """Return what /openapi.json says, with the types and requests of the version in service."""
        version = self.current.version
        if self._described[0] != version.number:
            task = version.service.form(), version.service.schemas()
            facts = self._describe(), version.inputs, *task, version.number
            self._described = version.number, openapi.describe_version(*facts)
        return self._described[1]

    async def server(self) -> dict[str, Any]:
        """What this server is."""
        return {"name": "serve.py", "version": "2", "extensions": [EXTENSION]}

    async def model(self, name: Name, number: str | None = None) -> dict[str, Any]:
        """What the network takes and gives."""
        version = self._find(name, number)
        return {
            "name": NAME,
            "versions": [str(version.number)],
            "platform": "onnxruntime_onnx",
            "inputs": describe_tensors(version.inputs),
            "outputs": describe_tensors(version.outputs),
        }

    async def model_ready(self, name: Name, number: str | None = None) -> dict[str, Any]:
        """Whether the network is there."""
        self._find(name, number)
        return {"name": NAME, "ready": True}

    def _find(self, name: str, number: str | None) -> ServedVersion:
        version = self.current.version
        if name != NAME or number not in (None, str(version.number)):
            raise HTTPException(404, f"expected {NAME}, of which version {version.number} serves")
        return version

    # --- what is computed

    async def predict(self, request: Request) -> Response:
        """What people read of each example in the body."""
        version = self.current.version
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        with self._admit():
            body = await self._read(request)
            try:
                async with self._reading:
                    examples = await run_in_threadpool(version.service.read, body, content_type)
            except (InputError, BadRequestError) as error:
                raise HTTPException(400, str(error)) from None
            outputs = await self._compute(version, examples.inputs)
            for array in outputs.values():
                if array.dtype.kind == "f" and not np.isfinite(array).all():
                    raise HTTPException(400, "the network has no number to answer this with")

            def answer() -> bytes:  # It may take long for what is large.
                answers = version.service.answer(examples, outputs)
                return format_json({"model": NAME, "version": version.number, "answers": answers})

            return Response(await run_in_threadpool(answer), media_type="application/json")

    async def infer(self, request: Request, name: Name, number: str | None = None) -> Response:
        """What the network gives for arrays, by the Open Inference Protocol."""
        version = self._find(name, number)
        with self._admit():
            body = await self._read(request)
            try:
                length = request.headers.get(LENGTH)
                unpacked = self._hand_over(len(body), self._unpack, body, length, version)
                asked, inputs = await unpacked
            except BadRequestError as error:
                raise HTTPException(400, str(error)) from None
            outputs = await self._compute(version, inputs)
            wanted = {name: outputs[name] for name in asked["outputs"]}
            answer = {"model_name": NAME, "model_version": str(version.number)}
            answer |= {"id": asked["id"]} if asked["id"] else {}
            size = sum(array.nbytes for array in wanted.values())
            arguments = (answer, wanted, asked["binary"])
            content, headers = await self._hand_over(size, write_body, *arguments)
            return Response(content, headers=headers)

    @contextlib.contextmanager
    def _admit(self) -> Generator[None]:
        """Refuse a request before its body is read, where too many are under way."""
        if self._under_way >= self.limits.waiting:
            raise too_many()
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def _unpack(
        self, body: bytes, length: str | None, version: ServedVersion
    ) -> tuple[dict[str, Any], Arrays]:
        request = read_body(body, length)
        inputs = read_tensors(request, version.inputs)
        outputs = request.get("outputs", [])
        if outputs == []:
            outputs = [{"name": name} for name in version.outputs]
        found = outputs if isinstance(outputs, list) else [None]
        names = [each.get("name") if isinstance(each, dict) else None for each in found]
        if not all(isinstance(name, str) and name in version.outputs for name in names):
            raise BadRequestError(f"outputs: expected names among {', '.join(version.outputs)}")
        if problem := version.check(inputs):
            raise BadRequestError(problem)
        binary = names_in_bytes(request, found)
        asked = {"id": clean(str(request.get("id", "")))[:256], "outputs": names, "binary": binary}
        return asked, inputs

    async def _hand_over(self, size: int, function: Any, *arguments: Any) -> Any:
        """Call a function; where there are many bytes in a thread, so that no other waits."""
        if size < UNPACKED:
            return function(*arguments)
        return await run_in_threadpool(function, *arguments)

    async def _read(self, request: Request) -> bytes:
        """Return the body of a request; refuse one that is too large, as soon as that is known."""
        said = request.headers.get("content-length", "0")
        too_large = HTTPException(413, f"the body: expected at most {self.limits.body:,} bytes")
        if not said.isdecimal() or int(said) > self.limits.body:
            raise too_large
        parts, size = [], 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for part in request.stream():
                    parts.append(part)
                    size += len(part)
                    if size > self.limits.body:
                        raise too_large
        except TimeoutError:
            raise HTTPException(408, f"the body did not come in {BODY_SECONDS} seconds") from None
        except ClientDisconnect:
            raise HTTPException(400, "the body ended before all of it had come") from None
        return b"".join(parts)

    async def _compute(self, version: ServedVersion, inputs: Arrays) -> Arrays:
        try:
            return await asyncio.wrap_future(self.batcher.submit(version.compute, inputs))
        except FullError:
            raise too_many() from None
        except RefusedError as error:
            raise HTTPException(400, f"the network cannot compute this: {error}") from None


async def answer_refusal(_request: Request, error: Exception) -> JSONResponse:
    """Return an error as the protocol has it."""
    assert isinstance(error, StarletteHTTPException)
    return JSONResponse({"error": clean(str(error.detail))}, error.status_code, error.headers)


async def answer_bug(_request: Request, _error: Exception) -> JSONResponse:
    """Answer in JSON what nobody foresaw; the traceback is in the log."""
    return JSONResponse({"error": "the server failed; its log says why"}, 500)


def too_many() -> HTTPException:
    """Return the answer where too many requests wait."""
    return HTTPException(503, "too many requests wait", {"Retry-After": "1"})


def clean(text: str) -> str:
    """Return a text without what UTF-8 cannot hold: JSON may bring halves of characters."""
    return text.encode("utf-8", "replace").decode()
