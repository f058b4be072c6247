"""What serve.py makes of a request: the arrays that predict.py makes of the same file."""

import mimetypes
from pathlib import Path

import numpy as np
import pytest
import task

from build_dataset import Dataset, open_dataset, read_unlabelled
from machinery.errors import InputError
from machinery.predictions import join
from service import CONTENT, Service


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The data that come with the project."""
    folder = tmp_path_factory.mktemp("service")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        return open_dataset(Path("data"))


def test_a_request_is_read_as_a_file_is(dataset: Dataset, tmp_path: Path) -> None:
    made = task.make_unlabelled(tmp_path, dataset)
    paths = sorted(made.iterdir()) if made.is_dir() else [made]
    expected = join([*read_unlabelled([made], dataset)])
    service = Service(dataset)
    types = [mimetypes.guess_type(path)[0] or "" for path in paths]
    assert {*types} <= {*CONTENT}
    found = join(
        [service.read(path.read_bytes(), kind) for path, kind in zip(paths, types, strict=True)]
    )
    assert len(found.ids) == task.UNLABELLED
    for name, array in expected.inputs.items():
        assert found.inputs[name].dtype == array.dtype
        np.testing.assert_array_equal(found.inputs[name], array)


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"[", b"null", b'{"a": [1]}', b"[" * 9000])
def test_a_request_of_no_use_is_refused(body: bytes, dataset: Dataset) -> None:
    for kind in {*CONTENT} - {"text/plain"}:  # Of that, almost anything is of use.
        with pytest.raises(InputError):
            Service(dataset).read(body, kind)


def test_what_the_page_asks_for(dataset: Dataset) -> None:
    form = Service(dataset).form()
    assert form["kind"] in ("file", "fields", "text")
