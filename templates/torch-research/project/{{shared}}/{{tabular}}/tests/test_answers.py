"""What people read of rows: values or classes, and which categories the network does not know."""

import json
from pathlib import Path

import numpy as np
import pytest

from build_dataset import build_table
from machinery.column_roles import Roles
from machinery.errors import InputError
from machinery.row_requests import read_rows
from service import Service


@pytest.mark.parametrize("target", ["price", "kind"])
def test_categories_that_no_training_row_had_are_named(target: str, tmp_path: Path) -> None:
    towns, kinds = ("Ulm", "Bonn"), ("low", "high")
    rows = [f"{n % 7},{towns[n % 2]},{n % 5 + n / 100},{kinds[n % 3 == 0]}" for n in range(100)]
    source = tmp_path / "rows.csv"
    source.write_text("\n".join(["size,town,price,kind", *rows]), encoding="utf-8")
    service = Service(build_table(tmp_path / "data", source, Roles([target])))
    other = {"price": "kind", "kind": "price"}[target]
    known = {"size": 3, "town": "Ulm", other: {"kind": "low", "price": 1.5}[other]}
    asked = [known, {**known, "town": "Oslo"}, {**known, "town": None}]
    examples = service.read(json.dumps(asked).encode(), "application/json")
    found = {"values": np.zeros(3), "probabilities": np.full((3, 2), 0.5)}
    answers = service.answer(examples, found)
    assert [answer.get("unknown") for answer in answers] == [None, ["town"], ["town"]]
    assert all("values" in answer or "probabilities" in answer for answer in answers)


def test_what_is_no_json_may_be_a_table() -> None:
    body = b"size,town\n3,Ulm\n"
    for content_type in ("application/json", "application/x-www-form-urlencoded"):
        with pytest.raises(InputError, match="not JSON; for CSV send Content-Type: text/csv"):
            read_rows(body, content_type)
    assert read_rows(body, "text/csv").columns["town"] == ["Ulm"]
