"""Whether what serve.py answers is what /openapi.json says of it."""

from collections.abc import Mapping
from typing import Any

import jsonschema


def check_answer(
    answer: Mapping[str, Any], schema: Mapping[str, Any], optional: frozenset[str] = frozenset()
) -> None:
    """Compare an answer, or an object in it, with its schema; each key has to matter there.

    Args:
        answer: of a service.
        schema: of it.
        optional: the keys that an answer need not have.
    """
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator({**schema, "additionalProperties": False})
    validator.validate(answer)
    assert {*schema["properties"]} - {*schema["required"]} == optional
    for name in answer:
        others = {key: value for key, value in answer.items() if key != name}
        assert validator.is_valid(others) == (name in optional), name
        assert not validator.is_valid({**others, name: None}), name
