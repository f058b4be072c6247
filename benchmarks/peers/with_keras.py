"""Stock Keras: `fit` with BackupAndRestore every ten steps.

As https://keras.io/api/callbacks/backup_and_restore/ shows it.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import keras
import numpy as np

from data import BATCH, EPOCHS, LEARNING_RATE, SAVE_EVERY, load, say


def main(folder: Path) -> None:
    keras.utils.set_random_seed(0)
    images, labels = load()
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(128, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(LEARNING_RATE), loss)
    callbacks = [
        keras.callbacks.BackupAndRestore(folder / "backup", save_freq=SAVE_EVERY),
        keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: say(epoch + 1)),
    ]
    model.fit(images, labels, batch_size=BATCH, epochs=EPOCHS, verbose=0, callbacks=callbacks)
    np.savez(folder / "weights.npz", *model.get_weights())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
