"""Devices, also those that are not here, and what is set for the whole process."""

from pathlib import Path
from typing import Any

import pytest
import torch

import backend
from build_dataset import Dataset, prepare_default, read_dataset
from machinery.errors import InputError
from parameters import Parameters


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    folder: Path = tmp_path_factory.mktemp("data")
    prepare_default(folder)
    return read_dataset(folder)


@pytest.fixture(autouse=True)
def settings_are_put_back() -> Any:
    threads = torch.get_num_threads()
    yield
    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(threads)


def prepare(dataset: Dataset, **training: Any) -> None:
    backend.prepare(Parameters.model_validate({"training": training}), dataset)


@pytest.mark.parametrize(("capability", "taken"), [((7, 0), "cpu"), ((7, 5), "cuda")])
def test_a_gpu_that_pytorch_has_no_code_for_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], taken: str
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80", "sm_90"])
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    assert backend.choose_device("auto").type == taken
    if taken == "cpu":
        with pytest.raises(InputError, match=r"got cuda.*README\.md, .A GPU.*pip install"):
            backend.choose_device("cuda")


@pytest.mark.parametrize(
    ("capability", "fastest"),
    [((6, 1), "float32"), ((7, 0), "float16"), ((7, 5), "float16"), ((8, 0), "bfloat16")],
)
def test_the_fastest_precision_of_a_gpu(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], fastest: str
) -> None:
    """A T4 (7.5) says that it has bfloat16, which it only emulates."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    device = torch.device("cuda")
    assert backend.choose_precision(device, "auto") == getattr(torch, fastest)
    assert backend.choose_precision(device, "float32") == torch.float32


def test_the_scale_of_the_loss_in_float16() -> None:
    """The step is that of float32, unless gradients are infinite: then none, and half the scale."""
    device = torch.device("cpu")
    assert not backend.make_scaler(device, torch.bfloat16).is_enabled()
    scaler = backend.make_scaler(device, torch.float16)
    model = torch.nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    state = backend.State(model, optimizer, scaler=scaler)
    start = model.weight.item()

    def step(slope: float) -> None:
        optimizer.zero_grad()
        scaler.scale(slope * model.weight.sum()).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()

    step(2.0**-30)  # In float16 it would be 0 without the scale.
    assert start - model.weight.item() == pytest.approx(2.0**-30, abs=2.0**-25)
    scale, before = scaler.get_scale(), model.weight.item()
    step(float("inf"))
    assert model.weight.item() == before
    assert scaler.get_scale() == scale / 2
    step(0.25)
    assert model.weight.item() == pytest.approx(before - 0.25)

    resumed = backend.make_scaler(device, torch.float16)
    arrays = state.to_arrays()
    backend.State(model, optimizer, scaler=resumed).load(arrays, Path("last.safetensors"))
    assert resumed.state_dict() == scaler.state_dict()
    del arrays["scaler.scale"]
    with pytest.raises(InputError, match=r"last\.safetensors .*scale is missing"):
        backend.State(model, optimizer, scaler=resumed).load(arrays, Path("last.safetensors"))


def test_a_step_seeds_its_device_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.manual_seed goes through every kind of device, which takes longer than a small step."""
    seeds = []
    monkeypatch.setattr(torch, "manual_seed", lambda seed: pytest.fail("seeds every device"))
    for module in (torch.cuda, torch.mps):
        monkeypatch.setattr(module, "manual_seed", seeds.append)
    drawn = []
    for device in ("cuda", "mps", "cpu"):
        backend.seed_step(0, 3, torch.device(device))
        drawn.append(torch.rand(3).tolist())
    assert len(seeds) == 2
    assert seeds[0] == seeds[1]
    assert drawn[0] == drawn[1] == drawn[2]


@pytest.mark.parametrize(("device", "converted"), [("cuda", 1), ("cpu", 1), ("mps", 0)])
def test_the_memory_layout_is_changed_where_it_can_be_trusted(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, device: str, converted: int
) -> None:
    calls = []
    monkeypatch.setattr(torch.nn.Module, "to", lambda model, device: model)
    monkeypatch.setattr(
        torch.nn.utils, "convert_conv2d_weight_memory_format", lambda *words: calls.append(words)
    )
    backend.make_model(Parameters(), dataset, torch.device(device))
    assert len(calls) == converted


def test_a_small_run_does_not_slow_down_a_large_one(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search trains both in one process."""
    monkeypatch.setattr(backend, "THREADS", 2)
    for batch_size, threads in ((1, 1), (2**14, 2), (1, 1)):
        parameters = Parameters.model_validate({"data": {"batch_size": batch_size}})
        backend.prepare(parameters, dataset)
        assert torch.get_num_threads() == threads


def test_deterministic_training_does_not_fill_new_memory(dataset: Dataset) -> None:
    prepare(dataset, deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.utils.deterministic.fill_uninitialized_memory  # ty: ignore[missing-attribute]
    prepare(dataset, deterministic=False)
    assert not torch.are_deterministic_algorithms_enabled()


def test_an_optimizer_that_lacks_a_part_of_its_state_is_refused() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2)).sum().backward()
    optimizer.step()
    state = backend.State(model, optimizer)
    arrays = state.to_arrays()
    state.load(dict(arrays), Path("last.safetensors"))
    del arrays["optimizer.bias.exp_avg_sq"]
    with pytest.raises(InputError, match=r"last\.safetensors .* bias\.exp_avg_sq is missing"):
        state.load(arrays, Path("last.safetensors"))


class Compiled:
    """Compiles functions as torch.compile does, and keeps what it would have compiled."""

    def __init__(self) -> None:
        self.graphs: list[Any] = []

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.graphs.append(inputs)
        return graph.forward


def test_every_network_of_a_search_is_compiled(dataset: Dataset) -> None:
    """PyTorch compiles one function eight times, and then no more."""

    class Net(torch.nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.width = width

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.width

    compiled = Compiled()
    for width in range(10):
        prepare(dataset, compile=True)
        net = Net(width)
        net.compile(backend=compiled)
        net(torch.ones(2))
    assert len(compiled.graphs) == 10


def test_each_size_of_a_batch_is_compiled_by_itself(dataset: Dataset) -> None:
    """The sizes of an epoch differ by one. Code for both would round otherwise than code for one,
    with which a run begins that continues.
    """
    prepare(dataset, compile=True)
    compiled = Compiled()
    double = torch.compile(lambda x: x * 2, backend=compiled)
    for size in (8, 7, 8, 7):
        double(torch.ones(size, 3))
    assert len(compiled.graphs) == 2
    sizes = [size for (x,) in compiled.graphs for size in x.shape]
    assert all(isinstance(size, int) for size in sizes), "no size is a variable"
