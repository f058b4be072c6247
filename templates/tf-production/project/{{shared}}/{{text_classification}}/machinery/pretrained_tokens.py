"""Tokens: what the tokenizer of a pretrained network makes of a text, in place of words.

A pretrained network understands only the tokens that it has learnt with. Its tokenizer reads whole
texts, and data/ holds none, so the texts are cut into tokens when the data is built. dataset.json
keeps the tokenizer and the configuration of the network, and each experiment has a copy of it, so
going on and predicting need neither a download nor the folder that they came from.

A token's number is that of the tokenizer, plus 2, so that 0 is padding and 1 is hidden, as with
words.
"""

import functools
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from machinery.errors import InputError
from machinery.words import UNKNOWN

INSTALL = "python -m pip install -c constraints.txt -r requirements/backbone.txt"


class Backbone(pydantic.BaseModel):
    """What dataset.json holds of the pretrained network that the texts were cut for."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    name: str  # on huggingface.co, or the folder
    configuration: dict[str, Any]  # its config.json
    tokenizer: str  # its tokenizer.json
    hidden: int  # the tokenizer's number for a hidden token: its mask, or what it does not know

    def tokens(self) -> list[str]:
        """Return the tokens by their numbers; an empty one where a number has none."""
        numbers = _open(self.tokenizer).get_vocab()
        names = {number: token for token, number in numbers.items()}
        return [names.get(number, "") for number in range(max(names) + 1)]

    def number(self, texts: Sequence[str], longest: int | None = None) -> list[np.ndarray]:
        """Return the numbers of the tokens of texts, each (tokens,) int32.

        Args:
            texts: some.
            longest: how many tokens are kept, with those that mark begin and end; None: all.

        Raises:
            InputError: so few would leave nothing of a text.
        """
        marks = _open(self.tokenizer).num_special_tokens_to_add(False)
        if longest is not None and longest <= marks:
            raise InputError(
                f"--longest: got {longest}, expected {marks + 1} or more, as {self.name} marks "
                f"each text with {marks} tokens."
            )
        encoded = _open(self.tokenizer, longest).encode_batch(texts)
        return [np.array(each.ids, np.int32) + (UNKNOWN + 1) for each in encoded]


@functools.cache  # predict.py numbers its texts in blocks.
def _open(text: str, longest: int | None = None) -> Any:
    """Return the tokenizer of a tokenizer.json, which keeps so many tokens of a text.

    It is not changed any more, as several threads of a server use it.
    """
    tokenizer = import_package("tokenizers").Tokenizer.from_str(text)
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if longest is not None:
        tokenizer.enable_truncation(longest)
    return tokenizer


def import_package(name: str) -> Any:
    """Return transformers or tokenizers, which are needed for pretrained networks alone.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(
            f"{name}, for pretrained networks, cannot be imported ({say(error)}). Install it: "
            f"{INSTALL}"
        ) from None


def read_backbone(name: str, option: str = "--backbone") -> Backbone:
    """Read the tokenizer and the configuration of a pretrained network, or download them.

    Args:
        name: on huggingface.co, or a folder with its files.
        option: that a folder is named with.

    Raises:
        InputError: there is no such network, nothing to download it from, or no fast tokenizer.
    """
    transformers = import_package("transformers")
    transformers.logging.set_verbosity_error()
    try:
        # What is downloaded is data: code that comes with a network is not run.
        read = transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        found = transformers.AutoConfig.from_pretrained(name, trust_remote_code=False)
        hidden = read.unk_token_id if read.mask_token_id is None else read.mask_token_id
        return Backbone(
            name=name,
            configuration=json.loads(found.to_json_string()),
            tokenizer=read.backend_tokenizer.to_str(),
            hidden=hidden or 0,
        )
    except Exception as error:  # Files of many kinds, and the hub's own errors.
        raise InputError(
            f"{option}: {name}: tokenizer and configuration cannot be read: {say(error)}. "
            f"{bring(name, option)}"
        ) from None


def bring(name: str, option: str) -> str:
    """Return the advice for a network that cannot be downloaded."""
    page = name if Path(name).is_absolute() else f"https://huggingface.co/{name}"
    return (
        "Bring config.json, tokenizer.json, tokenizer_config.json and model.safetensors of "
        f"{page} into a folder here and name it with {option}."
    )


def say(error: Exception) -> str:
    """Return the beginning of an error's message, on one line."""
    return " ".join(str(error).split())[:300].rstrip(".")
