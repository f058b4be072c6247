"""A pretrained network in place of embeddings and blocks; the one here is small, and made here."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

import backend
from build_dataset import Dataset, build_texts, read_unlabelled
from framework import pretrained
from machinery import pretrained_tokens
from machinery.errors import InputError
from machinery.pretrained_tokens import read_backbone
from model import net
from model.parameters import ModelParameters
from parameters import Parameters, TrainingParameters

CPU, RATE = torch.device("cpu"), 1e-2
MARKS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = ["no", ".", ":", "a", "good", "bad", "film", *map(str, range(40))]
TEXTS = [f"no. {number}: a {'good' if number % 2 else 'bad'} film" for number in range(40)]


def make_network(folder: Path, **sizes: int) -> None:
    """Write the tokenizer and the weights of a small DistilBERT."""
    transformers = pytest.importorskip("transformers")
    tokenizers: Any = pytest.importorskip("tokenizers")
    numbers = {word: number for number, word in enumerate([*MARKS, *WORDS])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(numbers, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {f"{mark[1:-1].lower()}_token": mark for mark in MARKS}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(
        folder
    )
    small = {"dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 8}
    sizes = small | {"max_position_embeddings": 16} | sizes
    configuration = transformers.DistilBertConfig(vocab_size=len(numbers), **sizes)
    torch.manual_seed(99)
    transformers.AutoModel.from_config(configuration).save_pretrained(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a pretrained network."""
    folder = tmp_path_factory.mktemp("network")
    make_network(folder)
    return folder


@pytest.fixture
def dataset(folder: Path, tmp_path: Path) -> Dataset:
    return build(folder, tmp_path)


def build(folder: Path, tmp_path: Path, longest: int = 8) -> Dataset:
    """Prepare texts for the network of a folder."""
    for number, text in enumerate(TEXTS):
        path = tmp_path / "texts" / "ba"[number % 2] / f"{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    backbone = read_backbone(str(folder))
    return build_texts(tmp_path / "data", tmp_path / "texts", longest=longest, backbone=backbone)


def make_model(dataset: Dataset, **changes: Any) -> Any:
    name = dataset.backbone.name if dataset.backbone else ""
    model = ModelParameters.model_validate({"backbone": name, **changes})
    model.check_data(dataset)
    parameters = Parameters(model=model, training=TrainingParameters(precision="float32"))
    return backend.make_model(parameters, dataset, CPU)


def begin(dataset: Dataset, rate: float) -> Any:
    """Return the State that train.py starts with."""
    model = make_model(dataset, backbone_learning_rate=rate)
    groups = pretrained.parameter_groups(model, RATE)
    state = backend.State(model, torch.optim.AdamW(groups, fused=True))
    state.start()
    return state


def train(state: Any, dataset: Dataset, steps: range) -> None:
    tokens = dataset.backbone.number(TEXTS[:8], 6) if dataset.backbone else []
    inputs = {"tokens": torch.from_numpy(np.stack(tokens))}
    state.model.train()
    for step in steps:
        for group in state.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * RATE
        state.optimizer.zero_grad()
        backend.seed_step(0, step, CPU)
        targets = {"labels": torch.arange(8) % 2}
        net.losses(state.model(inputs), targets, dataset).mean().backward()
        state.optimizer.step()


def test_it_gets_the_texts_as_its_own_tokenizer_cuts_them(
    folder: Path, dataset: Dataset, tmp_path: Path
) -> None:
    """A text has the mean of what its pretrained network says of its tokens, padded or not."""
    transformers: Any = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModel.from_pretrained(folder).eval()
    texts = ["good", "a film that is UNHEARD of: film film film"]
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.txt").write_text(text, encoding="utf-8")
    paths = [tmp_path / f"{number}.txt" for number in range(2)]
    blocks = [block.inputs["tokens"] for block in read_unlabelled(paths, dataset)]
    with torch.no_grad():
        found = begin(dataset, 0).model.backbone(torch.from_numpy(np.concatenate(blocks)))
        for row, text in enumerate(texts):
            read = tokenizer(text, return_tensors="pt", truncation=True, max_length=8)
            expected = network(read["input_ids"]).last_hidden_state[0].mean(dim=0)
            torch.testing.assert_close(found[row], expected)


def test_a_hidden_token_is_its_mask(dataset: Dataset) -> None:
    backbone = begin(dataset, 0).model.backbone
    mask = dataset.vocabulary.index("[MASK]") + 2
    assert torch.equal(backbone(torch.tensor([[4, 1, 9]])), backbone(torch.tensor([[4, mask, 9]])))


@pytest.mark.parametrize("rate", [0, RATE / 10])
def test_it_continues_to_the_same_bits(dataset: Dataset, rate: float) -> None:
    """Frozen nothing in it changes; else it learns, and less in a step than the last layer."""
    state = begin(dataset, rate)
    torch.nn.init.normal_(state.model.classifier.weight)  # Of zeros no gradient would go through.
    before = {key: each.detach().clone() for key, each in state.model.named_parameters()}
    train(state, dataset, range(1))
    after = {key: each.detach() for key, each in state.model.named_parameters()}
    moved = {key: (after[key] - before[key]).abs().max().item() for key in after}
    most = max(moved[key] for key in moved if key.startswith("backbone."))
    assert most == pytest.approx(rate, rel=0.1)  # A first step of Adam is as long as the rate.
    assert moved["classifier.weight"] == pytest.approx(RATE, rel=0.1)
    arrays = {key: array.copy() for key, array in state.to_arrays().items()}
    train(state, dataset, range(1, 3))
    again = begin(dataset, rate)
    again.load(arrays, Path("checkpoint"))
    train(again, dataset, range(1, 3))
    whole, resumed = state.to_arrays(), again.to_arrays()
    assert all(whole[key].tobytes() == resumed[key].tobytes() for key in whole | resumed)


def test_a_trained_network_needs_no_folder(dataset: Dataset) -> None:
    state = begin(dataset, 0)
    assert dataset.backbone
    moved = dataset.backbone.model_copy(update={"name": "gone"})
    dataset = Dataset.model_validate_json(
        dataset.model_copy(update={"backbone": moved}).model_dump_json()
    )
    again = make_model(dataset).eval()
    backend.load_weights(again, state.to_arrays(), Path("checkpoint"))
    tokens = torch.tensor([[4, 9, 5]])
    assert torch.equal(again({"tokens": tokens}), state.model.eval()({"tokens": tokens}))


def test_other_weights_are_refused(folder: Path, dataset: Dataset, tmp_path: Path) -> None:
    make_network(tmp_path / "larger", dim=16)
    make_network(tmp_path / "other")
    path = tmp_path / "other" / "tokenizer.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"film"', '"movie"'), encoding="utf-8")
    for name, expected in (("larger", "size mismatch"), ("other", "its tokens are not those")):
        model = make_model(dataset, backbone_weights=str(tmp_path / name))
        with pytest.raises(InputError, match=rf"{name}: .*{expected}.*model.safetensors of"):
            pretrained.load(model)
    pretrained.load(make_model(dataset, backbone_weights=str(folder)))


def test_texts_that_are_too_long_or_too_short(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--longest: got 2, expected 3 or more"):
        build(folder, tmp_path, longest=2)
    make_network(tmp_path / "short", max_position_embeddings=4)
    with pytest.raises(InputError, match=r"cannot take texts of 8 tokens.*--longest"):
        make_model(build(tmp_path / "short", tmp_path))


def test_what_cannot_be_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says which files to bring where."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no connection")

    logging = SimpleNamespace(set_verbosity_error=lambda: None)
    fake = SimpleNamespace(AutoTokenizer=SimpleNamespace(from_pretrained=fail), logging=logging)
    monkeypatch.setattr(pretrained_tokens, "import_package", lambda name: fake)
    expected = "bert-tiny: .*no connection.*config.json.*huggingface.co/bert-tiny .*--backbone"
    with pytest.raises(InputError, match=expected):
        read_backbone("bert-tiny")


def test_transformers_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"transformers.*requirements/backbone.txt"):
        read_backbone("bert-tiny")


def test_texts_that_were_not_prepared_for_it() -> None:
    words: Any = SimpleNamespace(backbone=None)
    with pytest.raises(InputError, match=r"prepared for none.*build_dataset.py --backbone tiny"):
        ModelParameters(backbone="tiny").check_data(words)


@pytest.mark.parametrize("changes", [{"backbone_weights": "file"}, {"backbone_learning_rate": 0.1}])
def test_what_is_set_for_no_backbone(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="without model"):
        ModelParameters.model_validate(changes).check_data(SimpleNamespace(backbone=None))
