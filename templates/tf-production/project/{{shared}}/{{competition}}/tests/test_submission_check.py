"""What is no valid submission is refused with the reason; an order that differs is put right."""

from pathlib import Path

import pytest
import yaml

from machinery.errors import InputError
from machinery.submission_check import check_submission
from machinery.submissions import check

SCHEMA = {
    **{"task": "tabular", "train": "train.csv", "test": "test.csv", "id": "id"},
    "sample_submission": "sample_submission.csv",
}
# By the kind of answer: what is added to the schema, the sample submission, a good submission.
KINDS = {
    "probability": (
        {"kind": "binary", "targets": ["sold"], "answer": "probabilities"},
        "id,sold\n3,0.5\n4,0.5\n5,0.5\n",
        "id,sold\n3,0.25\n4,1\n5,1e-05\n",
    ),
    "classes": (
        {
            **{"kind": "multiclass", "targets": ["town"], "answer": "probabilities"},
            "classes": ["Bonn", "Ulm"],
        },
        "id,Bonn,Ulm\n3,0.5,0.5\n4,0.5,0.5\n",
        "id,Bonn,Ulm\n3,0.25,0.75\n4,1,0\n",
    ),
    "label": (
        {"kind": "binary", "targets": ["sold"], "answer": "labels"},
        "id,sold\n3,yes\n4,yes\n",
        "id,sold\n3,no\n4,yes\n",
    ),
    "value": (
        {"kind": "regression", "targets": ["price"], "answer": "values"},
        "id,price\n3,0\n4,0\n",
        "id,price\n3,-1.5\n4,2e3\n",
    ),
}


@pytest.fixture(params=["probability"])
def good(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A good submission to a competition, whose files are in the working folder."""
    monkeypatch.chdir(tmp_path)
    schema, sample, good = KINDS[request.param]
    Path("competition").mkdir()
    Path("competition/competition.yaml").write_text("slug: some-competition\n", encoding="utf-8")
    text = yaml.safe_dump({**SCHEMA, **schema})
    Path("competition/schema.yaml").write_text(text, encoding="utf-8")
    raw = Path("data/raw")
    raw.mkdir(parents=True)
    (raw / "sample_submission.csv").write_text(sample, encoding="utf-8")
    (raw / "train.csv").write_text("id,sold\n1,yes\n2,no\n", encoding="utf-8")
    return good


@pytest.mark.parametrize("good", KINDS, indirect=True)
def test_good_ones_are_sent_as_they_are(good: str) -> None:
    path = Path("first.csv")
    path.write_text(good, encoding="utf-8")
    assert check_submission(path) == (good.encode(), good.count("\n") - 1, [])


BAD = {
    "probability": {
        "a column is missing": ("id\n3\n4\n5\n", "column 'sold': missing"),
        "a column too many": ("id,sold,x\n3,0,0\n4,0,0\n5,0,0\n", "column 'x': not expected"),
        "a column renamed": ("id,Sold\n3,0\n4,0\n5,0\n", "'Sold': not expected (did you mean sold"),
        "semicolons": ("id;sold\n3;0\n4;0\n5;0\n", "separated by commas?"),
        "an id is missing": ("id,sold\n3,0\n4,0\n", "id: missing: 5"),
        "an id too many": ("id,sold\n3,0\n4,0\n5,0\n6,0\n", "id: not in the sample: 6"),
        "an id twice": ("id,sold\n3,0\n4,0\n5,0\n5,0\n", "id: more than once: 5"),
        "ids as floats": ("id,sold\n3.0,0\n4.0,0\n5.0,0\n", "without .0"),
        "no value": ("id,sold\n3,\n4,NaN\n5,0\n", "sold: no value (NaN) in line 2, 3"),
        "a short row": ("id,sold\n3,0\n4\n5,0\n", "no value (NaN) in line 3"),
        "a long row": ("id,sold\n3,0,1\n4,0,1\n5,0,1\n", "more cells than the first line"),
        "infinite": ("id,sold\n3,inf\n4,0\n5,0\n", "sold: infinite: inf"),
        "a text": ("id,sold\n3,True\n4,0\n5,0\n", "sold: no number: True"),
        "no probability": (
            "id,sold\n3,1.5\n4,-0.1\n5,0\n",
            "sold: no probability from 0 to 1: 1.5, -0.1",
        ),
        "several at once": ("id,sold\n3,x\n4,2\n", "no number: x; sold: no prob"),
        "an empty file": ("", "empty"),
        "no row": ("id,sold\n", "has no row"),
        "rows of other lengths": ("id,sold\n3,0\n4,0,1,2\n", "not a table of commas"),
        "too large": (f"id,sold\n3,0.{'0' * 1_001_000}\n", "bytes are too large"),
    },
    "classes": {
        "above 1": ("id,Bonn,Ulm\n3,0.5,1.6\n4,0,1\n", "Ulm: no probability from 0 to 1: 1.6"),
        "negative": ("id,Bonn,Ulm\n3,-0.5,1\n4,0,1\n", "Bonn: no probability from 0 to 1: -0.5"),
    },
    "label": {
        "an unknown label": ("id,sold\n3,No\n4,yes\n", "no known class: No (expected: no, yes)"),
    },
    "value": {"infinite": ("id,price\n3,-inf\n4,0\n", "price: infinite: -inf")},
}
CASES = [
    pytest.param(kind, text, reason, id=f"{kind} {name}")
    for kind, cases in BAD.items()
    for name, (text, reason) in cases.items()
]


@pytest.mark.parametrize(("good", "text", "reason"), CASES, indirect=["good"])
def test_bad_ones_are_refused_with_the_reason(good: str, text: str, reason: str) -> None:
    path = Path("first.csv")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        check_submission(path)
    assert reason in str(caught.value)
    assert good != text


@pytest.mark.parametrize("good", ["classes"], indirect=True)
def test_other_sums_than_1_are_noticed(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    path, text = Path("first.csv"), good.replace("0.75", "0.85")
    path.write_text(text, encoding="utf-8")
    assert check_submission(path) == (text.encode(), 2, [])
    assert "do not sum to 1: those of 3, the first to 1.1." in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1"])
def test_other_encodings_are_refused(good: str, encoding: str) -> None:
    path = Path("first.csv")
    path.write_bytes(good.replace("sold", "verkäuflich").encode(encoding))
    with pytest.raises(InputError, match="not UTF-8"):
        check_submission(path)


@pytest.mark.parametrize("good", ["label"], indirect=True)
def test_labels_are_free_where_the_sample_has_others_than_the_training_table(good: str) -> None:
    coded = good.replace("no", "0").replace("yes", "1")
    for path in (Path("first.csv"), Path("data/raw/sample_submission.csv")):
        path.write_text(coded, encoding="utf-8")
    assert check_submission(Path("first.csv")).notices == []


def test_a_schema_that_does_not_fit_is_named(good: str) -> None:
    path = Path("first.csv")
    path.write_text(good, encoding="utf-8")
    Path("data/raw/sample_submission.csv").write_text("row,sold\n3,0\n", encoding="utf-8")
    with pytest.raises(InputError, match="has no column 'id'"):
        check_submission(path)
    Path("data/raw/sample_submission.csv").unlink()
    with pytest.raises(InputError, match=r"there is no data.raw.sample_submission\.csv"):
        check_submission(path)


def test_order_is_put_right_beside_the_file(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path("first.csv")
    text = "\ufeffsold,id\n1e-05,5\n1,4\n0.25,3\n"
    path.write_text(text, encoding="utf-8")
    to_send, rows = check(path)
    assert (to_send, rows) == (Path("first.put-right.csv"), 3)
    assert to_send.read_text(encoding="utf-8") == good
    assert path.read_text(encoding="utf-8") == text
    printed = capsys.readouterr().out
    assert "columns are put into the order id, sold" in printed
    assert "rows are put into the order of sample_submission.csv" in printed
