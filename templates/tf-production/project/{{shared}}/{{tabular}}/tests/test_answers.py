"""What people read of rows: values or classes, and which categories the network does not know."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from answer_schema import check_answer

from build_dataset import build_table
from machinery.column_roles import Roles
from machinery.errors import InputError
from machinery.row_requests import read_rows
from service import Service


@pytest.mark.parametrize("targets", [["price"], ["kind"], ["red", "blue"]])
def test_categories_that_no_training_row_had_are_named(targets: list[str], tmp_path: Path) -> None:
    towns, kinds = ("Ulm", "Bonn"), ("low", "high")
    rows = [
        f"{n % 7},{towns[n % 2]},{n % 5 + n / 100},{kinds[n % 3 == 0]},{n % 2},{n // 2 % 2}"
        for n in range(100)
    ]
    source = tmp_path / "rows.csv"
    source.write_text("\n".join(["size,town,price,kind,red,blue", *rows]), encoding="utf-8")
    service = Service(build_table(tmp_path / "data", source, Roles(targets)))
    known: dict[str, Any] = {"size": 3, "town": "Ulm", "price": 1.5, "kind": "low"}
    known = {**known, "red": None, "blue": 1}
    known = {name: value for name, value in known.items() if name not in targets}
    asked = [known, {**known, "town": "Oslo"}, {**known, "town": None}]
    examples = service.read(json.dumps(asked).encode(), "application/json")
    found = {"values": np.zeros(3), "probabilities": np.full((3, 2), 0.5)}
    answers = service.answer(examples, found)
    assert [answer.get("unknown") for answer in answers] == [None, ["town"], ["town"]]
    schemas = service.schemas()
    for answer in answers:
        check_answer(answer, schemas["Answer"], frozenset({"unknown"}))
    if "values" in answers[0]:
        check_answer(answers[0]["values"], schemas["Answer"]["properties"]["values"])
    validator = jsonschema.Draft202012Validator(schemas["Row"])
    for row in (*asked, {**known, "another": 1}):
        validator.validate(row)
        service.read(json.dumps(row).encode(), "application/json")
    assert not validator.is_valid({**known, "another": [1]})
    with pytest.raises(InputError, match="another: expected"):
        service.read(json.dumps({**known, "another": [1]}).encode(), "application/json")
    for name, value in known.items():
        others = {key: each for key, each in known.items() if key != name}
        assert not validator.is_valid(others)
        with pytest.raises(InputError, match=f"missing .*{name}"):
            service.read(json.dumps(others).encode(), "application/json")
        wrong = 3 if isinstance(value, str) else "a text"
        assert not validator.is_valid({**known, name: wrong})


def test_what_is_no_json_may_be_a_table() -> None:
    body = b"size,town\n3,Ulm\n"
    for content_type in ("application/json", "application/x-www-form-urlencoded"):
        with pytest.raises(InputError, match="not JSON; for CSV send Content-Type: text/csv"):
            read_rows(body, content_type)
    assert read_rows(body, "text/csv").columns["town"] == ["Ulm"]
