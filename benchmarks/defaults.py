"""What each default of torch-research buys: the training loop as it comes, and without it.

    python benchmarks/defaults.py
    python benchmarks/defaults.py --rounds 3 --images 32x32

Each round trains one epoch of random images in each way, one after another in one process, on one
thread, by processor time (benchmarks/training.py says more). Given is the speed of the project as
it comes, divided by its speed without the default: above 1, the default pays.

- bfloat16: training.precision, against float32; where the processor has no bfloat16 they are alike.
- channels_last: the weights of convolutions in that memory layout, against PyTorch's own.
- fused: AdamW in one call, against one in a loop over the weights.
- not compiled: training.compile; compiling itself, in the round before, is not timed.
- whole batches: a batch fetched by one index, against a DataLoader that collates examples; both in
  float32, in PyTorch's own memory layout and not augmented.
- again: the same as it comes; how far to trust a ratio.
"""

import argparse
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from common import (
    import_project,
    in_own_process,
    machine,
    make_parameters,
    print_table,
    ratios,
    render,
    spread,
    take_turns,
    timed,
    write_data,
)
from training import per_sample_loop, project_loop


@contextmanager
def own_memory_layout() -> Generator[None]:
    """Let networks be made in PyTorch's own memory layout."""
    kept = torch.nn.utils.convert_conv2d_weight_memory_format
    torch.nn.utils.convert_conv2d_weight_memory_format = lambda model, layout: model  # ty: ignore
    try:
        yield
    finally:
        torch.nn.utils.convert_conv2d_weight_memory_format = kept


def measure(data: Path, dataset: Any, batch: int, rounds: int) -> dict[str, list[float]]:
    """Return the examples per second of each way in each round."""

    def parameters(**training: Any) -> Any:
        sections = {"data": {"batch_size": batch}, "training": {"epochs": rounds + 1, **training}}
        return make_parameters(sections)

    def loop(name: str, given: Any, fused: bool = True) -> Callable[[], object]:
        return project_loop(data / name, data, dataset, given, fused)

    loops: dict[str, Callable[[], object]] = {
        "as it comes": loop("as_it_comes", parameters()),
        "bfloat16": loop("float32", parameters(precision="float32")),
        "fused": loop("not_fused", parameters(), fused=False),
        "not compiled": loop("compiled", parameters(compile=True)),
        "again": loop("again", parameters()),
    }
    plain = {"batch_size": batch, "shift": 0}
    sections = {"data": plain, "training": {"epochs": rounds + 1, "precision": "float32"}}
    with own_memory_layout():
        loops["channels_last"] = loop("own_layout", parameters())
        loops["plain"] = loop("plain", make_parameters(sections))
    loops["whole batches"] = per_sample_loop(data, dataset, parameters())
    torch.set_num_threads(1)  # The project chose for itself when it was set up.
    count = dataset.examples["train"]
    return take_turns({name: timed(each, count) for name, each in loops.items()}, rounds)


def measure_images(images: str, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return what `measure` does for each kind of images whose name begins so."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        import_project(render(folder / "project"))
        found = write_data(folder, "image-classification", images)
        return {kind: measure(data, dataset, batch, rounds) for kind, data, dataset, batch in found}


def main() -> None:
    """Measure each kind of images and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="rounds to time [5]")
    parser.add_argument("--images", default="", help="such as 8x8 or 32x32 [all]")
    options = parser.parse_args()
    results = in_own_process(partial(measure_images, options.images, options.rounds))
    print(machine("torch", "numpy"))
    names = [name for name in next(iter(results.values())) if name not in ("as it comes", "plain")]
    rows = []
    for kind, speeds in results.items():
        whole = {
            name: speeds["plain" if name == "whole batches" else "as it comes"] for name in names
        }
        rows.append([kind, *(spread(ratios(whole[name], speeds[name])) for name in names)])
    print_table(["images", *names], rows)


if __name__ == "__main__":
    main()
