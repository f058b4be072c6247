"""TensorFlow Serving: what starts it, and what asks it. SERVING.md shows how.

compose.yaml   the container
client         asks it over HTTP and gRPC
messages       what goes over gRPC, and what a version warms up with
"""
