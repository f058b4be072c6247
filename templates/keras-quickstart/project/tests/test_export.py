"""export.py: which formats each backend writes."""

import pytest

import export
from framework import keras_backend
from machinery.errors import InputError
from machinery.exports import Format, check_format


@pytest.mark.parametrize("name", [*export.WRITTEN_ON])
def test_a_format_of_other_backends_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for backend in keras_backend.NAMES:
        monkeypatch.setattr(keras_backend, "name", backend)
        form = export.offered(name, Format("", ""))
        if backend in export.WRITTEN_ON[name]:
            check_format(name, form)
        else:
            with pytest.raises(InputError, match=f"--format {name}: Keras on {backend} does not"):
                check_format(name, form)


def test_every_backend_writes_some_format() -> None:
    for backend in keras_backend.NAMES:
        assert any(backend in backends for backends in export.WRITTEN_ON.values())
