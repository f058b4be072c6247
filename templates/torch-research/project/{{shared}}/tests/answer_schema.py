"""Whether what serve.py answers is what /openapi.json says of it."""

from collections.abc import Mapping
from typing import Any

import jsonschema


def check_answer(answer: Mapping[str, Any], schema: Mapping[str, Any]) -> None:
    """Compare an answer, or an object in it, with its schema; each key has to matter there."""
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator({**schema, "additionalProperties": False})
    validator.validate(answer)
    assert {*schema["required"]} <= {*answer} <= {*schema["properties"]}
    for name in answer:
        others = {key: value for key, value in answer.items() if key != name}
        assert validator.is_valid(others) == (name not in schema["required"]), name
        assert not validator.is_valid({**others, name: None}), name
