"""What a failure of Kaggle's client asks of the person; tokens stay here."""

from pathlib import Path

import pytest

from machinery import kaggle_client, kernel_push
from machinery.errors import InputError
from machinery.kaggle_client import explain, refuse_tokens

FILE = "[Errno 13] Permission denied: 'data/.download/x.zip'"


@pytest.mark.parametrize(
    ("said", "accept"),
    [
        ("403 Client Error: Forbidden", True),
        ("Permission 'competitions.participate' was denied", True),
        ("You must accept the rules of this competition", True),
        (FILE, False),
        (f"PermissionError: {FILE}", False),
    ],
)
def test_a_file_that_cannot_be_written_is_no_matter_of_rules(
    said: str, accept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kaggle_client, "read_slug", lambda: "some-competition")
    advice = str(explain(("competitions", "download"), said))
    assert ("Accept the rules" in advice) == accept
    assert said.rpartition(": ")[2] in advice


@pytest.mark.parametrize(("said", "known"), [("404 Client Error: Not Found", False), ("", True)])
def test_a_dataset_that_kaggle_does_not_know(
    said: str, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(*words: str) -> str:
        if said:
            raise explain(words, said)
        return "ready"

    monkeypatch.setattr(kernel_push, "call", call)
    assert kernel_push.is_known("ada/weights") == known
    said = f"PermissionError: {FILE}"
    with pytest.raises(InputError, match="Permission denied"):
        kernel_push.is_known("ada/weights")


@pytest.mark.parametrize("name", ["kaggle.json", "a/access_token", ".kaggle/credentials.json"])
def test_no_token_is_given_away(name: str) -> None:
    refuse_tokens([Path("train.py"), Path("model/tokens.py"), Path("a/score.json")])
    with pytest.raises(InputError, match="looks like a token"):
        refuse_tokens([Path(name)])
