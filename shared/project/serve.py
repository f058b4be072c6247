"""Serve an exported network over HTTP, and on a page to try it.

    python serve.py                                       # then open http://127.0.0.1:8000
    python serve.py --port 9000 --exports exports/onnx

Needs requirements/serve.txt and no framework of training, and a version that `python export.py
--format onnx` wrote. service.py says what a request may hold and what the answer is:

    POST /predict                    a body such as service.py shows -> what people read
    POST /v2/models/model/infer      arrays, JSON or bytes: the Open Inference Protocol, version 2
    GET  /openapi.json /livez /readyz /metrics /v2 /v2/models/model

It serves the version in service (promote.py), else the newest, and swaps another one in while it
runs. Requests that wait are computed together; too many get 503. It listens on this machine alone.
For any other --host, set SERVE_TOKEN: each request must bear it (Authorization: Bearer ...); put a
server that speaks HTTPS before it. SIGTERM ends it once every request under way has its answer.
"""

from machinery.server import serving

command = serving.command_line(__name__, __doc__)  # Answers --help and bad input.

from build_dataset import Dataset
from service import CONTENT, Service

command.run(Dataset, Service, CONTENT)
