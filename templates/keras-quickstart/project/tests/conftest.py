"""The backend is chosen before a test imports Keras."""

import backend

backend.load()
