"""tools/build_gallery.py: a page has its parts, the index all combinations, an error its name."""

import re
from pathlib import Path

import pytest

import build_gallery
import gallery_pages

NAME = "torch-research-plain-tabular"
LINK = re.compile(r"\]\(([^)]+)\)")
PARTS = ["What it learned", "The project", "train.py", "Beside torch-research, lightning"]


def test_a_page_and_the_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one epoch, as the page says."""
    monkeypatch.setattr(gallery_pages, "SHORT_EPOCHS", {("plain", "tabular"): 1})
    assert build_gallery.main([str(tmp_path), "--only", NAME]) == 0
    page = (tmp_path / f"{NAME}.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", page, re.MULTILINE) == PARTS
    for text in (
        "copier copy --defaults -d task=tabular -d loop=plain \\\n",
        "    templates/torch-research myproj\ncd myproj\n",
        "python train.py --experiment experiments/short --from experiments/baseline "
        "--training.epochs 1\n",
        "fewer epochs",
        "| on test | the network | always the most frequent class |",
        "CPU seconds",
        "| auc |",
        "    net.py ",  # In the tree, with what it is for.
        "for epoch in run.epochs():",  # train.py, whole,
        "command.run(train, open_dataset, join)\n```",
        "| `framework/batch_parts.py` | only here |",
        "| `train.py` | written anew: ",
        "+pytorch-lightning",  # The difference of requirements.txt.
        "examples of test:",  # What evaluate.py printed.
    ):
        assert text in page, text
    index = (tmp_path / "index.md").read_text(encoding="utf-8")
    names = [gallery_pages.name_of(each) for each in build_gallery.SHOWN]
    assert len(names) == 30
    assert index.count("has no page yet") == 29
    assert re.search(r"accuracy \*\*0\.\d{3}\*\*, \d+ s", index)
    for target in LINK.findall(page + index):
        assert (tmp_path / target).is_file(), target
    assert len(LINK.findall(page)) == 1 + 2 * 2  # The index; two pictures, each a link to itself.


def test_what_fails_is_named_and_has_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gallery_pages, "training_commands", lambda _: [["train.py", "--wrong"]])
    assert build_gallery.main([str(tmp_path), "--only", NAME]) == 1
    printed = capsys.readouterr().err
    assert f"error: {NAME}: `python train.py --wrong` ended with 2" in printed
    assert f"1 have no page: {NAME}" in printed
    assert not (tmp_path / f"{NAME}.md").exists()
    assert (tmp_path / "index.md").read_text(encoding="utf-8").count("has no page yet") == 30


def test_refusals_write_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "notes.txt"
    other.write_text("mine")
    assert build_gallery.main([str(tmp_path), "--only", NAME]) == 2
    assert "expected an empty folder or an earlier gallery" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == [other]
    assert build_gallery.main([str(other), "--only", NAME]) == 2
    assert f"{other}: expected an empty folder" in capsys.readouterr().err
    assert other.read_text() == "mine"
    for damaged in (b'{"plain": ', b"[]", b"\xff"):
        results = tmp_path / "gallery" / "results.json"
        results.parent.mkdir(exist_ok=True)
        results.write_bytes(damaged)
        assert build_gallery.main([str(results.parent), "--only", NAME]) == 2
        assert f"{results}: damaged; expected" in capsys.readouterr().err
        assert [*results.parent.iterdir()] == [results]
    assert build_gallery.main([str(tmp_path / "new"), "--only", "tabluar"]) == 2
    assert NAME in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_files_that_are_alike_show_their_lines(tmp_path: Path) -> None:
    for name, backend in (("here", "jax"), ("there", "torch")):
        (tmp_path / name / "data").mkdir(parents=True)
        (tmp_path / name / "data" / "made.txt").write_text(name)  # By training: left out.
        (tmp_path / name / "same.py").write_text("same = 1\n")
        (tmp_path / name / "keras.json").write_text(f'{{"backend": "{backend}"}}\n')
    (tmp_path / "there" / "new.py").write_text("new = 1\n")
    text = gallery_pages.difference(tmp_path / "here", tmp_path / "there")
    assert text.startswith("1 files are the same.")
    assert "| `keras.json` | 2 changed lines |\n| `new.py` | only there |" in text
    assert '-{"backend": "jax"}\n+{"backend": "torch"}\n```' in text
    assert "made.txt" not in text
