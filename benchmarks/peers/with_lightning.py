"""Stock Lightning: ModelCheckpoint every ten steps, and `ckpt_path="last"` where there is one.

As https://lightning.ai/docs/pytorch/stable/common/checkpointing_intermediate.html shows it.
"""

import sys
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from data import BATCH, EPOCHS, LEARNING_RATE, SAVE_EVERY, load, say


class Digits(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10))

    def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
        images, labels = batch
        return nn.functional.cross_entropy(self.net(images), labels)

    def on_train_epoch_end(self) -> None:
        say(self.current_epoch + 1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), LEARNING_RATE)


def main(folder: Path) -> None:
    pl.seed_everything(0)
    images, labels = load()
    dataset = TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))
    saving = ModelCheckpoint(
        folder, save_last=True, every_n_train_steps=SAVE_EVERY, save_top_k=1, monitor=None
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=EPOCHS,
        default_root_dir=folder,
        callbacks=[saving],
        logger=False,
        enable_progress_bar=False,
    )
    model = Digits()
    resumed = "last" if (folder / "last.ckpt").exists() else None
    trainer.fit(model, DataLoader(dataset, BATCH, shuffle=True), ckpt_path=resumed)
    arrays = [parameter.detach().numpy() for parameter in model.parameters()]
    np.savez(folder / "weights.npz", *arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
