"""A first lesson: a network learns from the rows of a table, in a few short cells.

    python build_notebook.py        # makes a notebook of these cells: for Jupyter, Colab, Kaggle
    python lesson.py                # runs them as they are

A line that begins with `# %%` begins a cell. Editors such as VS Code run such cells here, too.
"""

import sys

if {"-h", "--help"} & {*sys.argv}:
    print(__doc__)
    raise SystemExit

# %% [markdown]
# # A network learns from a table
#
# Welcome! In a few minutes you will train a network of your own, see where it is wrong, and let it
# judge a row that you make up. Run one cell after the other, and change what you like: nothing can
# break.
#
# First, the tools: Keras builds and trains networks, Matplotlib draws pictures, and the other
# lines take what this project brings along.

# %%
import backend  # Before Keras, as it chooses what Keras computes with.

# isort: split
import inspect
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import numpy as np

from build_dataset import open_dataset
from machinery.parameter_file import load_parameters
from model import net
from model.data_loader import load_split
from parameters import Parameters

print(f"Keras computes with {keras.backend.backend()} on {backend.choose_device('auto')}.")

# %% [markdown]
# ## The data
#
# Each row is a lump of tissue, measured under a microscope: 30 numbers (the inputs), and whether
# it was benign or malignant (the target). The network learns from *train*. We watch it on *val*
# while it learns. We keep *test* for the end, as an exam with questions that it has never seen.

# %%
dataset = open_dataset(Path("data"))
train, val, test = (load_split(Path("data"), dataset, name) for name in ("train", "val", "test"))
print("Examples:", dataset.examples, "of the classes", dataset.classes)
for name, number in zip(dataset.number_columns, train.inputs["numbers"][0], strict=True):
    print(f"{name:25}{number:10.3f}")

# %% [markdown]
# Can you tell the classes apart by one column? Where the colours overlap, you would be wrong.

# %%
figure, places = plt.subplots(1, 4, figsize=(11, 2.5), layout="constrained")
for column, place in enumerate(places):
    for label, name in enumerate(dataset.classes):
        inputs, _ = train.take(np.flatnonzero(train.targets["target"] == label))
        place.hist(inputs["numbers"][:, column], bins=20, alpha=0.6, label=name)
    place.set_title(dataset.number_columns[column])
places[0].legend()
plt.show()

# %% [markdown]
# ## The network
#
# It brings all columns to one scale, and looks at them together in several layers. The last one
# gives a number to each class, and the largest number wins.
#
# Its sizes are in `experiments/baseline/params.yaml`, its code in `model/net.py`. The cell after
# the next shows it.

# %%
parameters = load_parameters(Parameters, Path("experiments/baseline/params.yaml"))
keras.utils.set_random_seed(0)  # The same start each time; try another number.
model = net.build_model(parameters.model, dataset, seed=0)
model.summary()

# %%
print(inspect.getsource(net.build_model))

# %% [markdown]
# ## Learning
#
# `compile` says how it learns. The *loss* measures how wrong it is, and the *optimizer* changes
# the weights a little after each batch, so that the loss falls. `fit` does this over and over: one
# epoch is one pass over all training rows.

# %%
model.compile(
    optimizer=keras.optimizers.AdamW(learning_rate=0.001),
    loss=net.loss(dataset, parameters.model),
    metrics={"target": ["accuracy"]},
)
history = model.fit(
    train.inputs,
    train.targets,
    validation_data=(val.inputs, val.targets),
    batch_size=32,
    epochs=10,
    verbose=2,
)

# %% [markdown]
# Is it still getting better? Look at *val*. If it stands still, more epochs bring nothing. If it
# gets worse while *train* gets better, the network is learning by heart.

# %%
figure, places = plt.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
for place, name in zip(places, ("loss", "accuracy"), strict=True):
    place.plot(history.history[name], marker=".", label="train")
    place.plot(history.history[f"val_{name}"], marker=".", label="val")
    place.set_xlabel("epoch")
    place.set_title(name)
    place.legend()
plt.show()

# %% [markdown]
# ## The exam
#
# How many rows of *test* does it get right? `net.predict` turns the numbers that the network gives
# into probabilities.

# %%
network = keras.Model(model.input, net.predict(model.output, dataset))
probabilities = network.predict(test.inputs, verbose=0)["probabilities"]
labels, answers = test.targets["target"], probabilities.argmax(axis=1)
print(f"{(answers == labels).sum()} of {len(labels)} are right.")

# %% [markdown]
# A row in the middle of this picture was a hard one. A row on the wrong side of the line is a
# mistake.

# %%
figure, place = plt.subplots(figsize=(8, 3), layout="constrained")
for label, name in enumerate(dataset.classes):
    found = probabilities[labels == label, -1]
    place.hist(found, bins=40, range=(0, 1), alpha=0.6, label=name)
place.axvline(0.5, color="grey", linestyle=":")
place.set_xlabel(f"probability of {dataset.classes[-1]}")
place.set_ylabel("rows")
place.legend()
plt.show()

# %% [markdown]
# ## Your own row
#
# We begin with the mean of each column, and change two of them. What else turns the answer round?

# %%
row = dict(zip(dataset.number_columns, dataset.mean, strict=True))
row["worst radius"] = 22.0  # The mean is 16.
row["worst texture"] = 35.0  # The mean is 26.
numbers = np.array([[*row.values()]], np.float32)
answer = network.predict({"numbers": numbers}, verbose=0)["probabilities"][0]

# %%
figure, place = plt.subplots(figsize=(6, 1.5), layout="constrained")
place.barh(dataset.classes, answer)
place.set_xlim(0, 1)
place.set_xlabel("probability")
plt.show()

# %% [markdown]
# ## What next?
#
# - Change one thing, such as `epochs` and the learning rate above, or `width` in
#   `experiments/baseline/params.yaml`, and run the cells again from there. Is it better on *val*?
# - `TASK.md` says how to train on a table of your own.
