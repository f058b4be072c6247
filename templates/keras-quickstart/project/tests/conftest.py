"""Keras's backend is chosen before a test imports Keras."""

import backend  # noqa: F401
