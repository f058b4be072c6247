"""Accelerate: `save_state` every ten steps, `load_state` and `skip_first_batches` to go on.

As https://huggingface.co/docs/accelerate/usage_guides/checkpoint shows it.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration, set_seed
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from data import BATCH, EPOCHS, LEARNING_RATE, SAVE_EVERY, load, say


def main(folder: Path) -> None:
    set_seed(0)
    settings = ProjectConfiguration(folder, automatic_checkpoint_naming=True, total_limit=2)
    accelerator = Accelerator(cpu=True, project_config=settings)
    images, labels = load()
    dataset = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10))
    model, optimizer, loader = accelerator.prepare(
        model,
        torch.optim.AdamW(model.parameters(), LEARNING_RATE),
        DataLoader(dataset, BATCH, shuffle=True),
    )
    step = 0
    found = sorted(
        (folder / "checkpoints").glob("checkpoint_*"), key=lambda path: int(path.name[11:])
    )
    if found:
        accelerator.load_state()
        number = int(found[-1].name[11:])
        settings.iteration = number + 1
        step = (number + 1) * SAVE_EVERY
    first, skipped = divmod(step, len(loader))
    for epoch in range(first, EPOCHS):
        batches = accelerator.skip_first_batches(loader, skipped) if skipped else loader
        skipped = 0
        for inputs, targets in batches:
            optimizer.zero_grad()
            accelerator.backward(nn.functional.cross_entropy(model(inputs), targets))
            optimizer.step()
            step += 1
            if step % SAVE_EVERY == 0:
                accelerator.save_state()
        say(epoch + 1)
    arrays = [parameter.detach().numpy() for parameter in model.parameters()]
    np.savez(folder / "weights.npz", *arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
