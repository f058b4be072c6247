"""What serve.py takes and gives for this task.

    curl -H "Content-Type: application/json" -d '{"size": 70, "town": "Ulm"}' \\
        http://127.0.0.1:8000/predict

    {"model": "model", "version": 1, "answers": [
        {"class": "yes", "probability": 0.98, "probabilities": {"no": 0.02, "yes": 0.98}}]}

For regression an answer is {"values": {"price": 250000.0}}. A request holds a row, rows in a list,
or a table (Content-Type: text/csv). Every column that the network was trained on must be there; a
missing cell is null. Other columns are not used. Where a category is missing or is one that no
training row had, the answer has "unknown": ["town"] beside it.
"""

from typing import TYPE_CHECKING, Any

from machinery.class_answers import LABELS, NAMES, NUMBER, ONE_CLASS, answer_probabilities
from machinery.row_requests import CONTENT, read_rows
from machinery.unlabelled_rows import RowReader

if TYPE_CHECKING:
    from build_dataset import Dataset
    from machinery.predictions import Predictions, Unlabelled

__all__ = ["CONTENT", "Service"]


class Service:
    """Reads rows, and answers with what is predicted.

    Args:
        dataset: what the network was trained on.
    """

    def __init__(self, dataset: "Dataset") -> None:
        self.dataset = dataset
        columns = (dataset.number_columns, dataset.category_columns, dataset.target_columns)
        self._reader = RowReader(*columns, dataset.id_column, skip_bad=False)

    def form(self) -> dict[str, Any]:
        """Return what the page asks for: a field for each column, with a usual value."""
        usual = zip(self.dataset.number_columns, self.dataset.mean, strict=True)
        fields: list[dict[str, Any]] = [
            {"name": name, "usual": float(f"{mean:.4g}")} for name, mean in usual
        ]
        for name, levels in self.dataset.category_columns.items():
            fields.append({"name": name, "levels": levels})
        return {"kind": "fields", "fields": fields}

    def schemas(self) -> dict[str, Any]:
        """Return what /openapi.json says of an answer, and of a row: it may have more columns."""
        columns = {name: {"type": ["number", "null"]} for name in self.dataset.number_columns}
        columns |= {name: {"type": ["string", "null"]} for name in self.dataset.category_columns}
        row: dict[str, Any] = {"type": "object", "required": [*columns], "properties": columns}
        row["additionalProperties"] = {"type": ["number", "string", "null"]}  # They are not used.
        answer: dict[str, Any] = LABELS if self.dataset.kind == "multilabel" else ONE_CLASS
        if self.dataset.kind == "regression":
            (name,) = self.dataset.target_columns
            values = {"type": "object", "required": [name], "properties": {name: NUMBER}}
            answer = {"type": "object", "required": ["values"], "properties": {"values": values}}
        properties = {**answer["properties"], "unknown": NAMES}
        return {"Answer": {**answer, "properties": properties}, "Row": row}

    def read(self, body: bytes, content_type: str) -> "Unlabelled":
        """Return the rows of a request; raise InputError where they cannot be used."""
        return self._reader.read_table(read_rows(body, content_type))

    def answer(self, examples: "Unlabelled", predictions: "Predictions") -> list[dict[str, Any]]:
        """Return what people read of each row."""
        if self.dataset.kind == "regression":
            (name,) = self.dataset.target_columns
            values = predictions["values"].tolist()
            answers: list[dict[str, Any]] = [{"values": {name: value}} for value in values]
        else:
            multilabel = self.dataset.kind == "multilabel"
            probabilities, classes = predictions["probabilities"], self.dataset.classes
            answers = answer_probabilities(probabilities, classes, multilabel)
        names = [*self.dataset.category_columns]
        for answer, numbers in zip(answers, examples.inputs.get("categories", ()), strict=False):
            if unknown := [name for name, n in zip(names, numbers, strict=True) if n == 0]:
                answer["unknown"] = unknown
        return answers
