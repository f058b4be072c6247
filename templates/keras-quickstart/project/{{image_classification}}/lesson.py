"""A first lesson: a network learns to name images, in a few short cells.

    python build_notebook.py        # makes a notebook of these cells: for Jupyter, Colab, Kaggle
    python lesson.py                # runs them as they are

A line that begins with `# %%` begins a cell. Editors such as VS Code run such cells here, too.
"""

import sys

if {"-h", "--help"} & {*sys.argv}:
    print(__doc__)
    raise SystemExit

# %% [markdown]
# # A network learns to read digits
#
# Welcome! In a few minutes you will train a network of your own, see where it is wrong, and let it
# read a digit that you drew. Run one cell after the other, and change what you like: nothing can
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
from PIL import Image, ImageDraw

from build_dataset import open_dataset
from machinery.image_files import read_image
from machinery.parameter_file import load_parameters
from model import net
from model.data_loader import load_split
from parameters import Parameters

print(f"Keras computes with {keras.backend.backend()} on {backend.choose_device('auto')}.")

# %% [markdown]
# ## The data
#
# Each example is a small image (the input) and the digit that it shows (the target). The network
# learns from *train*. We watch it on *val* while it learns. We keep *test* for the end, as an exam
# with questions that it has never seen.

# %%
dataset = open_dataset(Path("data"))
train, val, test = (load_split(Path("data"), dataset, name) for name in ("train", "val", "test"))
print("Examples:", dataset.examples)
print("An image is height x width x channels:", dataset.image_shape)
assert not dataset.multilabel, "This lesson is for images of one label each; see TASK.md."

# %%
figure, places = plt.subplots(2, 8, figsize=(10, 3), layout="constrained")
for number, place in enumerate(places.flat):
    place.imshow(train.inputs["images"][number], cmap="gray")
    place.set_title(dataset.classes[train.targets["labels"][number]])
    place.axis("off")
plt.show()

# %% [markdown]
# ## The network
#
# Convolutions look for patterns: edges first, then shapes. Pooling makes the image smaller. The
# last layer gives a number to each class, and the largest number wins.
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
# epoch is one pass over all training images.

# %%
model.compile(
    optimizer=keras.optimizers.AdamW(learning_rate=0.001),
    loss=net.loss(dataset, parameters.model),
    metrics={"labels": ["accuracy"]},
)
history = model.fit(
    train.inputs,
    train.targets,
    validation_data=(val.inputs, val.targets),
    batch_size=64,
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
# How many images of *test* does it get right? `net.predict` turns the numbers that the network
# gives into probabilities.

# %%
network = keras.Model(model.input, net.predict(model.output, dataset))
probabilities = network.predict(test.inputs, verbose=0)["probabilities"]
labels, answers = test.targets["labels"], probabilities.argmax(axis=1)
print(f"{(answers == labels).sum()} of {len(labels)} are right.")

# %% [markdown]
# These were the hardest: the right answer got the least probability. Would you have known them?

# %%
hardest = np.argsort(probabilities[np.arange(len(labels)), labels])
figure, places = plt.subplots(1, 8, figsize=(11, 2), layout="constrained")
for place, number in zip(places, hardest[:8], strict=True):
    place.imshow(test.inputs["images"][number], cmap="gray")
    is_, said = dataset.classes[labels[number]], dataset.classes[answers[number]]
    place.set_title(f"a {is_}, said {said}", fontsize=9)
    place.axis("off")
plt.show()

# %% [markdown]
# ## Your own picture
#
# We draw a digit with the pen. Change the points, from (0, 0) at the top left to (80, 80) at the
# bottom right, and draw another one. Or put a picture of yours beside this notebook and write its
# name: a white digit on black that fills the picture, like those above.

# %%
picture = Path("my_picture.png")
drawing = Image.new("L", (80, 80))
ImageDraw.Draw(drawing).line([(20, 12), (58, 12), (35, 70)], fill=255, width=12)
drawing.save(picture)  # Leave this line out when the picture is yours.

# %%
image = np.zeros(dataset.image_shape, np.uint8)
print(read_image(picture, image) or f"{picture} is read.")
answer = network.predict({"images": image[None]}, verbose=0)["probabilities"][0]
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
left.imshow(image, cmap="gray")
right.barh(dataset.classes, answer)
right.set_xlabel("probability")
plt.show()

# %% [markdown]
# ## What next?
#
# - Change one thing, such as `epochs` and the learning rate above, or `width` in
#   `experiments/baseline/params.yaml`, and run the cells again from there. Is it better on *val*?
# - `TASK.md` says how to train on photographs of your own.
