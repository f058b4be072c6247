"""A small server that answers Kaggle's real client, so that nothing of it needs to be imitated.

With KAGGLE_API_ENVIRONMENT=LOCALHOST the client asks http://localhost, and a proxy leads to any
port. Each method of the API is a POST to /api/v1/SERVICE/METHOD with a JSON body.

    with running_server() as server:
        server.archive = zip_of({"train.csv": "id,target\\n"})
        subprocess.run([...], env={**os.environ, **server.environment(tmp_path)})
"""

import contextlib
import io
import json
import threading
import zipfile
from collections.abc import Generator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

TOKEN = "KGAT_of-the-tests"
USER = "ada"
TIME = "2026-11-20T10:00:00Z"


def zip_of(files: Mapping[str, str | bytes]) -> bytes:
    """Return a zip archive of files, given by their names."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()


class Refusal(NamedTuple):
    """How the server refuses a request."""

    status: int
    message: str
    as_json: bool = True  # Kaggle's own services answer so, what stands before them does not.


class Outcome(NamedTuple):
    """What becomes of a submission once it was scored."""

    status: str = "COMPLETE"
    public_score: str = "0.75"
    error: str = ""
    pending: int = 1  # so many times it is listed without a score before


class KaggleServer(ThreadingHTTPServer):
    """Kaggle, with one user and one competition."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.archive = zip_of({})  # of the competition's files
        self.refusals: dict[str, Refusal] = {}  # by the name of the method
        self.calls: list[tuple[str, dict[str, Any]]] = []  # method and body
        self.uploads: list[bytes] = []
        self.outcomes: list[Outcome] = []  # of the next submissions
        self.submissions: list[dict[str, Any]] = []  # the newest first
        self.allowed = 5  # submissions a day
        self.loses_answers = False  # to submissions, which are taken
        self.kernel_statuses: list[str] = []  # of the notebook; then it is complete
        self.push_errors: list[str] = []  # of the next pushed notebooks; "": it is taken
        self.holds = False  # Stop in the middle of a download...
        self.halfway = threading.Event()  # ...and say so.
        self.datasets: dict[str, int] = {}  # how often its status is asked before it is ready

    def environment(self, home: Path) -> dict[str, str]:
        """Return the variables that lead the client here, with an empty home and a token."""
        proxy = f"http://127.0.0.1:{self.server_port}"
        return {
            **{"KAGGLE_API_ENVIRONMENT": "LOCALHOST", "KAGGLE_API_TOKEN": TOKEN},
            **{"HTTP_PROXY": proxy, "http_proxy": proxy, "NO_PROXY": "", "no_proxy": ""},
            **{"HOME": str(home), "USERPROFILE": str(home), "TMPDIR": str(home)},
            **{"KAGGLE_CONFIG_DIR": str(home / "kaggle")},
        }

    def called(self, method: str) -> list[dict[str, Any]]:
        """Return the bodies of the calls of a method."""
        return [body for name, body in self.calls if name == method]

    def answer(self, method: str, body: dict[str, Any]) -> Any:
        """Return what a method answers: an object, an address to go to, or a refusal."""
        if refusal := self.refusals.get(method):
            return refusal
        reply = getattr(self, f"_{method}", None)
        return reply(body) if reply else Refusal(404, f"no such method: {method}")

    def _IntrospectToken(self, body: dict[str, Any]) -> Any:
        if body["token"] != TOKEN:
            return Refusal(404, "no such token")
        return {"active": True, "username": USER}

    def _DownloadDataFiles(self, body: dict[str, Any]) -> str:
        return f"http://localhost/files/{body['competitionName']}.zip?signature=secret"

    def _StartSubmissionUpload(self, _: dict[str, Any]) -> Any:
        return {"token": "upload", "createUrl": "http://localhost/uploads/submission"}

    _StartBlobUpload = _StartSubmissionUpload

    def _CreateSubmission(self, body: dict[str, Any]) -> Any:
        number = len(self.submissions) + 1
        outcome = self.outcomes.pop(0) if self.outcomes else Outcome()
        named = {"ref": 100 + number, "fileName": "submission.csv", "date": TIME}
        description = body.get("submissionDescription", "")
        self.submissions.insert(0, {**named, "description": description, "outcome": outcome})
        self.allowed -= 1
        if self.loses_answers:
            return Refusal(504, "gateway timeout", as_json=False)
        return {"message": "Successfully submitted to the competition", "ref": 100 + number}

    _CreateCodeSubmission = _CreateSubmission

    def _GetSubmissionLimits(self, _: dict[str, Any]) -> Any:
        total = len(self.submissions)
        return {"numToday": total, "numTotal": total, "numAllowedNow": self.allowed}

    def _ListSubmissions(self, _: dict[str, Any]) -> Any:
        listed = []
        for submission in self.submissions:
            known = {key: value for key, value in submission.items() if key != "outcome"}
            outcome: Outcome = submission["outcome"]
            if outcome.pending:
                submission["outcome"] = outcome._replace(pending=outcome.pending - 1)
                listed.append(known | {"status": "PENDING", "publicScore": ""})
                continue
            known |= {"status": outcome.status, "errorDescription": outcome.error}
            listed.append(known | {"publicScore": outcome.public_score * (not outcome.error)})
        return {"submissions": listed}

    def _SaveKernel(self, body: dict[str, Any]) -> Any:
        version = len(self.called("SaveKernel"))
        if self.push_errors and (error := self.push_errors.pop(0)):
            return {"error": error}
        return {"url": f"https://www.kaggle.com/code/{body['slug']}", "versionNumber": version}

    def _GetKernelSessionStatus(self, _: dict[str, Any]) -> Any:
        status = self.kernel_statuses.pop(0) if self.kernel_statuses else "COMPLETE"
        return {"status": status, "failureMessage": "cell 3 failed" * (status == "ERROR")}

    def _ListKernelSessionOutput(self, _: dict[str, Any]) -> Any:
        file = {"url": "http://localhost/output/submission.csv", "fileName": "submission.csv"}
        return {"files": [file], "log": "what the notebook printed"}

    def _GetAcceleratorQuotaStatistics(self, _: dict[str, Any]) -> Any:
        quota = {"timeUsed": "7200s", "totalTimeAllowed": "108000s"}
        return {"quotaRefreshTime": TIME, "gpuQuota": quota, "tpuQuota": quota}

    def _GetDatasetStatus(self, body: dict[str, Any]) -> Any:
        name = f"{body['ownerSlug']}/{body['datasetSlug']}"
        if name not in self.datasets:
            return Refusal(404, "Dataset not found")
        self.datasets[name] -= 1
        return {"status": "READY" if self.datasets[name] < 0 else "BLOBS_RECEIVED"}

    def _CreateDataset(self, body: dict[str, Any]) -> Any:
        name = f"{body['ownerSlug']}/{body.get('slug') or body.get('datasetSlug')}"
        self.datasets[name] = 1
        return {"status": "ok", "ref": name, "url": f"https://www.kaggle.com/datasets/{name}"}

    _CreateDatasetVersion = _CreateDataset


@contextlib.contextmanager
def running_server() -> Generator[KaggleServer]:
    """Run a server in a thread, on a free port."""
    with KaggleServer() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    """One request. A client behind a proxy names the whole address."""

    @property
    def kaggle(self) -> KaggleServer:
        """The server."""
        assert isinstance(self.server, KaggleServer)
        return self.server

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing."""

    def do_POST(self) -> None:
        method = urlsplit(self.path).path.rpartition("/")[2]
        body = json.loads(self._read() or b"{}")
        self.kaggle.calls.append((method, body))
        answer = self.kaggle.answer(method, body)
        if isinstance(answer, str):
            self._send(302, b"", {"Location": answer})
        elif not isinstance(answer, Refusal):
            self._send(200, json.dumps(answer).encode(), {"Content-Type": "application/json"})
        elif answer.as_json:
            said = json.dumps({"code": answer.status, "message": answer.message}).encode()
            self._send(answer.status, said, {"Content-Type": "application/json"})
        else:
            self._send(answer.status, answer.message.encode(), {"Content-Type": "text/plain"})

    def do_PUT(self) -> None:
        self.kaggle.calls.append(("PUT", {}))
        self.kaggle.uploads.append(self._read())
        refusal = self.kaggle.refusals.get("PUT")
        self._send(refusal.status if refusal else 200, b"", {})

    def do_GET(self) -> None:
        self.kaggle.calls.append(("GET", {}))
        modified = {"Last-Modified": "Fri, 20 Nov 2026 10:00:00 GMT", "ETag": '"1"'}
        if not self.kaggle.holds:
            self._send(200, self.kaggle.archive, modified)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.kaggle.archive)))
        self.end_headers()
        self.wfile.write(self.kaggle.archive[: len(self.kaggle.archive) // 2])
        self.wfile.flush()
        self.kaggle.halfway.set()
        threading.Event().wait(60)  # The test kills the client before.

    def _read(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
