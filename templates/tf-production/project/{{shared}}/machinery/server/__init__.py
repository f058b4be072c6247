"""An exported network over HTTP: serve.py; and which of its versions serves: promote.py.

Each file has one subject:

    serving          serve.py: its command line, the server's life
    http_api         the paths that it answers, and serve_page.html
    http_guard       who may ask, and what is counted
    openapi          what /openapi.json says of them
    tensors          arrays as JSON
    binary_tensors   arrays as bytes behind it
    batcher          requests that wait, computed together
    served_version   a version that has tested itself, and its successor
    model_versions   the versions that export.py wrote
    promotion        promote.py: which version serves
    in_service       the file in-service.json
    models_config    the file models.config, for TensorFlow Serving
    acceptance       whether a version is worse than another
"""
